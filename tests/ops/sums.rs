//! What Prometheus says of costs by role, model and identity is what the journal says.

use crate::common::calls::Ask;
use crate::common::gateway::Gateway;
use crate::common::setup::{Setup, key_of};
use crate::rig::{LIMITS, Operator, nano, sim};

/// Who calls whom: identity, role, model, and how often.
const CALLS: [(&str, &str, &str, usize); 4] = [
    ("crew", "supervisor", "sim-strong", 1),
    ("crew", "worker", "sim-cheap", 3),
    ("desk", "worker", "sim-cheap", 2),
    ("desk", "reviewer", "sim-strong", 2),
];

#[tokio::test(flavor = "multi_thread")]
async fn costs_by_role_model_and_identity_are_the_journals() {
    let sim = sim().await;
    let setup = Setup::new(sim.addr())
        .limits(LIMITS)
        .identity("crew", "research")
        .identity("desk", "support");
    let gateway = Gateway::start(&setup).await;
    for (identity, role, model, times) in CALLS {
        let caller = gateway
            .caller("t-1")
            .header("authorization", &format!("Bearer {}", key_of(identity)))
            .header("x-bursar-agent-role", role);
        for _ in 0..times {
            let reply = caller.call(&Ask::chat(model)).await.expect("an answer");
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
    }
    let metrics = gateway.quiet().await;
    let ops = Operator::of(&gateway);
    for by in ["role", "model", "identity"] {
        let report = ops.sees(&format!("/api/report?by={by}")).await;
        let rows = report["rows"].as_array().expect("rows");
        let mut all = 0;
        for row in rows {
            let label = (by, row["key"].as_str().expect("a key"));
            let spent = metrics.nano_where("bursar_cost_usd_total", label);
            assert_eq!(spent, nano(&row["usd"]), "{label:?}: {row}");
            all += spent;
        }
        assert!(rows.len() > 1 && all > 0, "{report}");
        assert_eq!(all, sim.bill().total_nano_usd, "{report}");
    }
}
