//! Keys and reloads: what `bursar key` and an editor change comes into force by itself.

use crate::common::calls::Ask;
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::common::until;
use crate::rig::{LIMITS, Operator, gateway, says, sim};
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_known_and_a_revoked_one_unknown_without_a_restart() {
    let sim = sim().await;
    let setup = Setup::new(sim.addr())
        .limits(LIMITS)
        .identity("crew", "research");
    let gateway = Gateway::start(&setup).await;
    let config = gateway.config();
    let key = says(
        &config,
        &["key", "new", "--name", "desk", "--owner", "support"],
    )
    .await;
    let caller = gateway
        .caller("t-1")
        .header("authorization", &format!("Bearer {}", key.trim()));
    let answers = |status: u16| {
        let caller = caller.clone();
        move || {
            let caller = caller.clone();
            async move {
                let reply = caller.call(&Ask::chat("sim-cheap")).await.ok()?;
                (reply.status == status).then_some(())
            }
        }
    };
    until(
        "the new key is known",
        Duration::from_secs(20),
        answers(200),
    )
    .await;
    // The owner that came with it may have tasks now.
    let ops = Operator::of(&gateway);
    ops.does(
        "/api/tasks",
        json!({"id": "t-9", "owner": "support", "turns": 1}),
    )
    .await;
    says(&config, &["key", "revoke", "desk"]).await;
    until(
        "the revoked key is unknown",
        Duration::from_secs(20),
        answers(401),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_on_request_says_what_is_wrong_and_keeps_the_old() {
    let sim = sim().await;
    let gateway = gateway(&sim).await;
    let ops = Operator::of(&gateway);
    let limits = gateway.config().with_file_name("../policies/limits.toml");
    std::fs::write(
        &limits,
        format!("{LIMITS}\n[[limit]]\nname = \"x\"\nper = [\"tsk\"]\nusd = 1\n"),
    )
    .unwrap();
    let (status, said) = ops.post("/api/reload", &json!({})).await;
    assert_eq!(
        (status.as_u16(), &said["error"]["code"]),
        (409, &json!("config_fault"))
    );
    assert!(
        said["error"]["message"]
            .as_str()
            .unwrap()
            .contains("`task`"),
        "{said}"
    );
    assert!(ops.sees("/api/health").await["config"]["fault"].is_string());
    assert_eq!(
        ops.sees("/api/limits").await["limits"]
            .as_array()
            .unwrap()
            .len(),
        3
    );

    std::fs::write(
        &limits,
        format!("{LIMITS}\n[[limit]]\nname = \"x\"\nper = [\"task\"]\nturns = 1\n"),
    )
    .unwrap();
    assert_eq!(
        ops.does("/api/reload", json!({"by": "anna"})).await["limits"],
        4
    );
    let caller = gateway.caller("t-1");
    assert_eq!(
        caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        200
    );
    assert_eq!(
        caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        402
    );
}
