//! `wrap_up`: told in time, one last small call without tools, and never beyond the cap.

use super::rig::Scene;
use crate::common::books;
use crate::common::calls::{Ask, Dialect, Reply};

async fn scene(limit: &str) -> Scene {
    Scene::bare(|setup| setup.limits(&format!("[[limit]]\n{limit}\non_exceed = \"wrap_up\"\n")))
        .await
}

async fn call(scene: &Scene, agent: &str, ask: &Ask) -> Reply {
    let caller = scene.gateway.caller("t").agent(agent);
    caller.call(ask).await.expect("an answer")
}

fn notice(reply: &Reply) -> Option<String> {
    reply.header("x-bursar-notice")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_the_cap_it_is_told_and_at_the_cap_it_gets_one_last_call_without_tools() {
    for dialect in [Dialect::Chat, Dialect::Messages, Dialect::Responses] {
        // Five turns, one of them kept; told from three used on.
        let scene = scene("name = \"turns\"\nper = [\"task\"]\nturns = 5\nwarn_at = 0.75").await;
        let mut ask = Ask::chat("sim-tools")
            .dialect(dialect)
            .max_tokens(Some(4_000));
        ask.tools = true;
        for turn in 0..4 {
            let reply = call(&scene, "writer", &ask).await;
            assert!(reply.status.is_success(), "{dialect:?}: {}", reply.text());
            let told = (turn == 3).then(|| "remaining".to_owned());
            assert_eq!(notice(&reply), told, "{dialect:?}, turn {turn}");
            scene.gateway.quiet().await;
        }
        let last = call(&scene, "writer", &ask).await;
        assert!(last.status.is_success(), "{dialect:?}: {}", last.text());
        assert_eq!(notice(&last).as_deref(), Some("wrap_up"), "{dialect:?}");
        for word in ["\"tool_calls\":[", "tool_use", "function_call"] {
            assert!(!last.text().contains(word), "{dialect:?}: {}", last.text());
        }
        scene.gateway.quiet().await;
        for agent in ["writer", "critic"] {
            let reply = call(&scene, agent, &ask).await;
            assert_eq!(
                reply.refusal().as_deref(),
                Some("turns_exceeded"),
                "{agent}"
            );
        }
        assert_eq!(scene.sim.bill().calls, 5, "{dialect:?}");
        books::verify(&scene.gateway.store());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_agent_has_its_own_last_call_and_the_bill_stays_below_the_cap() {
    let scene = scene("name = \"money\"\nper = [\"task\"]\nusd = \"0.004\"\nreserve = 0.4").await;
    let ask = Ask::chat("sim-cheap").max_tokens(Some(3_000));
    let (mut last, mut refused) = (0, 0);
    for round in 0..60 {
        let agent = ["lead", "writer", "critic"][round % 3];
        let reply = call(&scene, agent, &ask).await;
        match reply.refusal().as_deref() {
            Some("task_budget_exceeded") => refused += 1,
            Some(other) => panic!("{other}"),
            None => last += usize::from(notice(&reply).as_deref() == Some("wrap_up")),
        }
        scene.gateway.quiet().await;
    }
    assert!((1..=3).contains(&last), "{last} last calls");
    assert!(refused > 0);
    let billed = scene.sim.bill().by_task["t"].nano_usd;
    assert!(billed <= 4_000_000, "{billed}");
    books::verify(&scene.gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_top_up_there_is_another_last_call() {
    let scene = scene("name = \"turns\"\nper = [\"task\"]\nturns = 2").await;
    let ask = Ask::chat("sim-cheap");
    let mut last = 0;
    for _ in 0..2 {
        for _ in 0..20 {
            let reply = call(&scene, "writer", &ask).await;
            scene.gateway.quiet().await;
            match reply.refusal() {
                Some(_) => break,
                None => last += usize::from(notice(&reply).as_deref() == Some("wrap_up")),
            }
        }
        let more = serde_json::json!({"turns": 2});
        assert!(
            scene
                .post("/api/tasks/t/top-up", more)
                .await
                .status
                .is_success()
        );
    }
    assert_eq!(last, 2);
}
