//! Deciding: by whom, how often, and what it may change.

use super::rig::{PATIENCE, Scene};
use crate::common::calls::Ask;
use crate::common::{books, until};
use bursar::units::Meter;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_approvals_of_one_question_apply_once() {
    let scene = Scene::new("").await;
    scene.spend_the_turn("t").await;
    let call = scene.call("t", &Ask::chat("sim-cheap"));
    let id = scene.question("t").await;
    let body = json!({"turns": 1, "by": "ann"});
    let (one, other) = tokio::join!(
        scene.approve(&id, body.clone()),
        scene.approve(&id, body.clone())
    );
    let applied = |reply: &crate::common::calls::Reply| {
        assert!(reply.status.is_success(), "{}", reply.text());
        reply.json()["applied"] == Value::Bool(true)
    };
    assert_eq!(
        [applied(&one), applied(&other)]
            .iter()
            .filter(|a| **a)
            .count(),
        1
    );
    assert!(!applied(&scene.approve(&id, body).await), "nor later");
    assert!(call.await.unwrap().status.is_success());
    let denied = scene.deny(&id, "too late").await;
    assert_eq!(denied.status, 409);
    assert_eq!(denied.json()["error"]["code"], "already_decided");
    scene.gateway.quiet().await;
    let accounts = books::accounts(&scene.gateway.store(), "task turns");
    assert_eq!(accounts[0].balance.topped_up[Meter::Turns], 1);
    books::verify(&scene.gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_command_line() {
    let scene = Scene::new("").await;
    scene.spend_the_turn("t").await;
    let call = scene.call("t", &Ask::chat("sim-cheap"));
    let id = scene.question("t").await;
    let (said, code) = scene.bursar(&["escalation", "list"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&id) && said.contains("writer"), "{said}");
    let (said, code) = scene.bursar(&["escalation", "show", &id]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is waiting: task t of local"), "{said}");
    let words = [
        "escalation",
        "approve",
        &id,
        "--turns",
        "1",
        "--why",
        "it is nearly done",
    ];
    let (said, code) = scene.bursar(&words);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("by ops:ann: it is nearly done"), "{said}");
    assert!(said.contains("raised `task turns` by turns 1"), "{said}");
    assert!(call.await.unwrap().status.is_success());
    let (said, _) = scene.bursar(&words);
    assert!(said.starts_with("decided before"), "{said}");

    let call = scene.call("t", &Ask::chat("sim-cheap"));
    let id = scene.question("t").await;
    let (said, code) = scene.bursar(&["escalation", "deny", &id, "--why", "enough"]);
    assert_eq!(code, Some(0), "{said}");
    let reply = call.await.unwrap();
    assert_eq!(reply.refusal().as_deref(), Some("task_suspended"));
    let error = &reply.json()["error"];
    assert_eq!(error["bursar"]["escalation"], id.as_str());
    assert!(
        error["message"].as_str().unwrap().contains("enough"),
        "{error}"
    );
    // Later calls are refused at once.
    let reply = scene.call("t", &Ask::chat("sim-cheap")).await.unwrap();
    let error = &reply.json()["error"];
    assert_eq!(error["bursar"]["escalation"], id.as_str());
    assert!(
        error["message"].as_str().unwrap().contains("enough"),
        "{error}"
    );
    let (said, code) = scene.bursar(&["escalation", "list", "--all", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let all: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    let (_, code) = scene.bursar(&["escalation", "approve", "esc_none"]);
    assert_eq!(code, Some(66));
    let (said, code) = scene.bursar(&["task", "show", "t"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("{id} is denied")), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_so_many_turns_then_a_person_is_asked_again() {
    let limits = "[[limit]]\nname = \"money\"\nper = [\"task\"]\nusd = \"0.0005\"\non_exceed = \"escalate\"\n";
    let scene = Scene::with(|setup| setup.limits(limits)).await;
    scene.spend_the_turn("t").await;
    let call = scene.call("t", &Ask::chat("sim-cheap"));
    let id = scene.question("t").await;
    let body = json!({"scope": "task", "usd": "1.00", "turns": 10, "for_turns": 2});
    let approved = scene.approve(&id, body).await;
    assert!(approved.status.is_success(), "{}", approved.text());
    assert!(call.await.unwrap().status.is_success());
    scene.spend_the_turn("t").await;
    let call = scene.call("t", &Ask::chat("sim-cheap"));
    let again = scene.question("t").await;
    assert_ne!(again, id);
    let question = scene.get(&format!("/api/escalations/{again}")).await;
    assert_eq!(question["limit"]["name"], "turns allowed");
    assert_eq!(question["limit"]["settled"], 2);
    // As it is: the bound is gone with that.
    scene.approve(&again, json!({})).await;
    assert!(call.await.unwrap().status.is_success());
    scene.spend_the_turn("t").await;
    scene.gateway.quiet().await;
    books::verify(&scene.gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_hand_on_the_task_itself() {
    let scene = Scene::new("").await;
    for (verb, state, code) in [
        ("suspend", "denied", "task_suspended"),
        ("close", "denied", "task_closed"),
    ] {
        scene.spend_the_turn(verb).await;
        let call = scene.call(verb, &Ask::chat("sim-cheap"));
        let id = scene.question(verb).await;
        scene.held_open(1.0).await;
        let path = format!("/api/tasks/{verb}/{verb}");
        let done = scene.post(&path, json!({})).await;
        assert!(done.status.is_success());
        assert_eq!(call.await.unwrap().refusal().as_deref(), Some(code));
        let question = scene.get(&format!("/api/escalations/{id}")).await;
        assert_eq!(question["state"], state);
        assert!(scene.waiting().await.is_empty());
    }
    scene.spend_the_turn("t").await;
    let call = scene.call("t", &Ask::chat("sim-cheap"));
    let id = scene.question("t").await;
    let top_up = scene.post("/api/tasks/t/top-up", json!({"turns": 5}));
    assert!(top_up.await.status.is_success());
    let resumed = scene.post("/api/tasks/t/resume", json!({"by": "ann"}));
    assert!(resumed.await.status.is_success());
    assert!(call.await.unwrap().status.is_success());
    let question = scene.get(&format!("/api/escalations/{id}")).await;
    assert_eq!(question["state"], "approved");
    assert_eq!(question["decision"]["by"], "ops:ann");
    scene.gateway.quiet().await;
    books::verify(&scene.gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_meant_is_refused_and_decides_nothing() {
    let scene = Scene::new("").await;
    scene.spend_the_turn("t").await;
    let call = scene.call("t", &Ask::chat("sim-cheap"));
    let id = scene.question("t").await;
    for (body, status) in [
        (json!({"usd": "1.00"}), 409),
        (json!({"usd": 1.5}), 400),
        (json!({"scope": "task"}), 400),
        (json!({"scope": "world", "turns": 1}), 400),
        (
            json!({"scope": "task", "limit": "task turns", "turns": 1}),
            400,
        ),
        (json!({"for_turns": 0}), 400),
        (json!({"limit": "nothing", "turns": 1}), 400),
        (json!({"turn": 1}), 400),
    ] {
        let reply = scene.approve(&id, body.clone()).await;
        assert_eq!(reply.status, status, "{body}: {}", reply.text());
    }
    assert_eq!(scene.approve("esc_none", json!({})).await.status, 404);
    assert_eq!(scene.question("t").await, id);
    scene
        .approve(&id, json!({"limit": "task turns", "turns": 1}))
        .await;
    assert!(call.await.unwrap().status.is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_top_up_with_an_end_is_taken_back() {
    let scene = Scene::new("").await;
    scene.spend_the_turn("t").await;
    let call = scene.call("t", &Ask::chat("sim-cheap"));
    let id = scene.question("t").await;
    for wrong in [
        json!({"expires": "1h"}),
        json!({"turns": 1, "expires": "2001-01-01T00:00:00Z"}),
        json!({"turns": 1, "expires": "soon"}),
    ] {
        assert_eq!(scene.approve(&id, wrong).await.status, 400);
    }
    let approved = scene
        .approve(&id, json!({"turns": 5, "expires": "1s"}))
        .await;
    assert!(approved.status.is_success(), "{}", approved.text());
    assert!(call.await.unwrap().status.is_success());
    until("it is taken back", PATIENCE, || async {
        let accounts = books::accounts(&scene.gateway.store(), "task turns");
        (accounts[0].balance.topped_up[Meter::Turns] == 0).then_some(())
    })
    .await;
    // Two turns are spent of one: a person is asked again.
    let call = scene.call("t", &Ask::chat("sim-cheap"));
    assert_ne!(scene.question("t").await, id);
    call.abort();
    scene.gateway.quiet().await;
    books::verify(&scene.gateway.store());
}
