//! A task is suspended or closed, or its time is over, in the middle of an answer: the client's
//! answer ends at once in its dialect, and what the provider bills is settled all the same.

use crate::common::books;
use crate::common::calls::{Ask, Dialect, Http, Reply};
use crate::{DIALECTS, ONE_DOLLAR, PATIENCE, Scene, ends_with_error, entry_of, until};
use bursar::sim::Settings;
use serde_json::{Value, json};
use std::time::Duration;

/// A gateway whose buttons are pressed through its API.
async fn scene() -> Scene {
    let settings = Settings {
        // A button is pressed within that, also on a busy machine.
        slow_delay: Duration::from_millis(300),
        chunk_tokens: 20,
        ..Settings::default()
    };
    Scene::with(settings, |setup| setup.limits(ONE_DOLLAR)).await
}

impl Scene {
    async fn press(&self, path: &str, body: &Value) {
        let url = format!("{}{path}", self.gateway.ops);
        let reply = Http::new().post(&url, body).await.expect("an answer");
        assert!(reply.status.is_success(), "{path}: {}", reply.text());
    }

    /// Begins a call and waits until the provider has it; then presses, then the whole answer.
    async fn stopped(&self, task: &str, ask: &Ask, path: &str, body: &Value) -> Reply {
        let (caller, ask) = (self.gateway.caller(task), ask.clone());
        let before = self.sim.bill().calls;
        let call = tokio::spawn(async move { caller.call(&ask).await });
        until("it has left", PATIENCE, || async {
            (self.sim.bill().calls > before).then_some(())
        })
        .await;
        self.press(path, body).await;
        call.await.expect("a task").expect("an answer")
    }

    async fn assert_settled(&self, reply: &Reply) {
        let entry = entry_of(&self.gateway, &reply.request_id()).await;
        entry.assert_settled(self.billed(&entry));
    }
}

fn slow(dialect: Dialect, stream: bool) -> Ask {
    let mut ask = Ask::chat("sim-slow-greedy")
        .dialect(dialect)
        .max_tokens(Some(60));
    ask.stream = stream;
    ask
}

fn assert_ends(ask: &Ask, reply: &Reply, code: &str) {
    // Stopped before the head of the answer it is a plain refusal, after it an error event.
    let told = if reply.status == 402 {
        reply.refusal()
    } else {
        ends_with_error(ask.dialect, reply)
    };
    assert_eq!(told.as_deref(), Some(code), "{}", reply.text());
}

#[tokio::test]
async fn suspended_and_closed() {
    let mut scene = scene().await;
    for (verb, code) in [("suspend", "task_suspended"), ("close", "task_closed")] {
        for dialect in DIALECTS {
            for stream in [false, true] {
                let task = format!("t-{verb}-{dialect:?}-{stream}");
                let ask = slow(dialect, stream);
                let path = format!("/api/tasks/{task}/{verb}");
                let reply = scene.stopped(&task, &ask, &path, &json!({})).await;
                assert_ends(&ask, &reply, code);
                scene.assert_settled(&reply).await;
                let next = scene.gateway.caller(&task).call(&ask).await;
                let next = next.expect("an answer");
                assert_eq!(next.refusal().as_deref(), Some(code));
            }
        }
    }
    let metrics = scene.gateway.quiet().await;
    assert_eq!(metrics.nano("bursar_in_doubt_usd"), 0);
    scene.gateway.stop().await;
    books::verify(&scene.gateway.store());
}

#[tokio::test]
async fn in_mid_stream_with_an_error_event() {
    let scene = scene().await;
    for dialect in DIALECTS {
        let task = format!("t-{dialect:?}");
        let ask = slow(dialect, true);
        let response = scene.gateway.caller(&task).open(&ask).await;
        let response = response.expect("a head");
        // The head is there: whatever comes now, comes as an event.
        let path = format!("/api/tasks/{task}/suspend");
        scene.press(&path, &json!({})).await;
        let reply = Reply::read(response).await.expect("a clean end");
        assert_eq!(reply.status, 200);
        assert_eq!(
            ends_with_error(dialect, &reply).as_deref(),
            Some("task_suspended"),
            "{}",
            reply.text()
        );
        scene.assert_settled(&reply).await;
    }
}

#[tokio::test]
async fn everybody_at_once() {
    let scene = scene().await;
    for whose in [json!({"all": true}), json!({"identity": "local"})] {
        let ask = slow(Dialect::Chat, true);
        let reply = scene.stopped("t-all", &ask, "/api/suspend", &whose).await;
        assert_ends(&ask, &reply, "task_suspended");
        scene.assert_settled(&reply).await;
        let next = scene.gateway.caller("t-other").call(&ask).await;
        let next = next.expect("an answer");
        assert_eq!(next.refusal().as_deref(), Some("task_suspended"));
        scene.press("/api/resume", &whose).await;
        let next = scene.gateway.caller("t-all").call(&ask).await;
        assert!(next.expect("an answer").status.is_success());
    }
}

#[tokio::test]
async fn the_deadline() {
    let settings = Settings {
        slow_delay: Duration::from_millis(100),
        ..Settings::default()
    };
    let limit = "[[limit]]\nname = \"time\"\nper = [\"task\"]\nduration = \"1s\"\n";
    let scene = Scene::with(settings, |setup| setup.limits(limit)).await;
    for dialect in DIALECTS {
        let task = format!("t-{dialect:?}");
        let ask = slow(dialect, true).max_tokens(Some(120));
        let caller = scene.gateway.caller(&task);
        let reply = caller.call(&ask).await.expect("an answer");
        assert_eq!(
            ends_with_error(dialect, &reply).as_deref(),
            Some("deadline_exceeded"),
            "{}",
            reply.text()
        );
        let entry = crate::entry_of(&scene.gateway, &reply.request_id()).await;
        entry.assert_settled(scene.billed(&entry));
        let next = caller.call(&ask).await.expect("an answer");
        assert_eq!(next.refusal().as_deref(), Some("deadline_exceeded"));
    }
}
