//! `review_every`: a person looks after so many hand-offs, also over a restart.

use super::rig::{PATIENCE, Scene};
use crate::common::calls::{Ask, Reply};
use crate::common::{books, until};
use serde_json::json;
use tokio::task::JoinHandle;

async fn scene() -> Scene {
    let review = "[[limit]]\nname = \"review\"\nper = [\"task\"]\nreview_every = 3\n";
    Scene::bare(|setup| setup.limits(review)).await
}

fn call(scene: &Scene, agent: &str) -> JoinHandle<Reply> {
    let caller = scene.gateway.caller("t").agent(agent);
    tokio::spawn(async move {
        caller
            .call(&Ask::chat("sim-cheap"))
            .await
            .expect("an answer")
    })
}

async fn pass(scene: &Scene, agents: &[&str]) {
    for agent in agents {
        let reply = call(scene, agent).await.unwrap();
        assert!(reply.status.is_success(), "{agent}: {}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_looks_after_every_third_hand_off() {
    let mut scene = scene().await;
    // Two hand-offs, however many calls an agent makes.
    pass(&scene, &["lead", "lead", "writer", "writer", "lead"]).await;
    let third = call(&scene, "writer");
    let id = scene.question("t").await;
    let question = scene.get(&format!("/api/escalations/{id}")).await;
    assert_eq!(question["rule"], "review");
    assert_eq!(question["agent"], "writer");
    scene.approve(&id, json!({"by": "ann"})).await;
    assert!(third.await.unwrap().status.is_success());
    // The count began anew.
    pass(&scene, &["lead", "writer", "writer"]).await;
    // What is written behind a call must be there before the kill: the count is taken from it.
    until("nine calls in the journal", PATIENCE, || async {
        (books::calls(&scene.gateway.store()).len() == 9).then_some(())
    })
    .await;
    scene.gateway.kill();
    scene.gateway.start_again().await;
    // Two since; the next is the third, and the count has survived.
    let third = call(&scene, "critic");
    let again = scene.question("t").await;
    assert_ne!(again, id);
    scene.deny(&again, "enough hands").await;
    let reply = third.await.unwrap();
    assert_eq!(reply.refusal().as_deref(), Some("task_suspended"));
    let resumed = scene.post("/api/tasks/t/resume", json!({})).await;
    assert!(resumed.status.is_success());
    pass(&scene, &["critic", "lead", "critic"]).await;
    let last = call(&scene, "writer");
    until("a third question", PATIENCE, || async {
        (scene.waiting().await.len() == 1).then_some(())
    })
    .await;
    last.abort();
    books::verify(&scene.gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_name_no_agent_are_no_hand_offs() {
    let scene = scene().await;
    for _ in 0..3 {
        pass(&scene, &["lead"]).await;
        scene.spend_the_turn("t").await;
    }
    assert!(scene.waiting().await.is_empty());
}
