//! `duration` per agent, and the clock that stands still while a task is suspended.

use crate::common::books;
use crate::common::calls::{Ask, Caller, Dialect, Http};
use crate::{DIALECTS, PATIENCE, Scene, ends_with_error, entry_of, until};
use bursar::sim::Settings;
use serde_json::{Value, json};
use std::time::Duration;

const TIME: &str = "[[limit]]\nname = \"time\"\nper = [\"task\", \"agent\"]\nduration = \"1s\"\n";

/// The provider pauses so long: between two chunks, or before a plain answer.
async fn scene(limits: &str, slow_ms: u64) -> Scene {
    let settings = Settings {
        slow_delay: Duration::from_millis(slow_ms),
        ..Settings::default()
    };
    Scene::with(settings, |setup| setup.limits(limits)).await
}

impl Scene {
    fn agent(&self, task: &str, agent: &str) -> Caller {
        self.gateway.caller(task).agent(agent)
    }

    async fn ops(&self, path: &str, body: &Value) {
        let url = format!("{}/api/tasks/t{path}", self.gateway.ops);
        let reply = Http::new().post(&url, body).await.expect("an answer");
        assert!(reply.status.is_success(), "{path}: {}", reply.text());
    }

    async fn shown(&self) -> Value {
        let url = format!("{}/api/tasks/t", self.gateway.ops);
        Http::new().get(&url).await.expect("an answer").json()
    }
}

/// Lasts for several seconds.
fn slow(dialect: Dialect, stream: bool) -> Ask {
    let mut ask = Ask::chat("sim-slow-greedy")
        .dialect(dialect)
        .max_tokens(Some(120));
    ask.stream = stream;
    ask
}

fn assert_of_agent(error: &Value) {
    let told = &error["bursar"];
    assert_eq!(
        (&told["limit"], &told["meter"], &told["cap"]),
        (&json!("time"), &json!("duration"), &json!("1s")),
        "{error}"
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("agent's time of 1s in this task"),
        "{message}"
    );
}

#[tokio::test]
async fn an_agents_time_is_over_and_the_others_go_on() {
    let scene = scene(TIME, 100).await;
    for dialect in DIALECTS {
        let task = format!("t-{dialect:?}");
        let ask = slow(dialect, true);
        let reply = scene.agent(&task, "slow").call(&ask).await;
        let reply = reply.expect("an answer");
        assert_eq!(
            ends_with_error(dialect, &reply).as_deref(),
            Some("deadline_exceeded"),
            "{}",
            reply.text()
        );
        let entry = entry_of(&scene.gateway, &reply.request_id()).await;
        entry.assert_settled(scene.billed(&entry));
        let next = scene.agent(&task, "slow").call(&ask).await.unwrap();
        assert_eq!(next.refusal().as_deref(), Some("deadline_exceeded"));
        assert_of_agent(&next.json()["error"]);
        let other = Ask::chat("sim-cheap").dialect(dialect);
        let other = scene.agent(&task, "other").call(&other).await.unwrap();
        assert!(other.status.is_success(), "{}", other.text());
    }
}

#[tokio::test]
async fn a_plain_answer_is_given_no_longer_than_what_is_left() {
    let mut scene = scene(TIME, 3_000).await;
    let ask = slow(Dialect::Chat, false);
    let reply = scene.agent("t", "slow").call(&ask).await.unwrap();
    assert_eq!(reply.status, 402);
    assert_eq!(reply.refusal().as_deref(), Some("deadline_exceeded"));
    assert_of_agent(&reply.json()["error"]);
    // What the provider bills is settled all the same, and the time stays over.
    let entry = entry_of(&scene.gateway, &reply.request_id()).await;
    entry.assert_settled(scene.billed(&entry));
    scene.gateway.kill();
    scene.gateway.start_again().await;
    let next = scene.agent("t", "slow").call(&Ask::chat("sim-cheap")).await;
    assert_eq!(
        next.unwrap().refusal().as_deref(),
        Some("deadline_exceeded")
    );
    books::verify(&scene.gateway.store());
}

#[tokio::test]
async fn the_time_of_a_suspension_is_not_counted_nor_given_to_whoever_comes_later() {
    let limits = "[[limit]]\nname = \"time\"\nper = [\"task\", \"agent\"]\nduration = \"30s\"\n";
    let mut scene = scene(limits, 0).await;
    let cheap = Ask::chat("sim-cheap");
    let first = scene.agent("t", "first").call(&cheap).await.unwrap();
    assert!(first.status.is_success());
    scene.ops("/suspend", &json!({})).await;
    until("two seconds of suspension", PATIENCE, || async {
        let since = scene.shown().await["suspended_since"].as_str()?.to_owned();
        (age_ms(&since) >= 2_000).then_some(())
    })
    .await;
    scene.ops("/resume", &json!({})).await;
    // One that comes after the suspension has no more time for it.
    let later = scene.agent("t", "later").call(&cheap).await.unwrap();
    assert!(later.status.is_success());
    scene.gateway.kill();
    scene.gateway.start_again().await;
    let again = scene.agent("t", "later").call(&cheap).await.unwrap();
    assert!(again.status.is_success());
    let shown = scene.shown().await;
    let paused = ms(shown["suspended_for"].as_str().unwrap());
    assert!(paused >= 2_000, "{paused}");
    let age = age_ms(shown["opened"].as_str().unwrap());
    let active = |agent: &str| {
        let accounts = shown["accounts"].as_array().unwrap();
        let account = accounts.iter().find(|a| a["account"]["agent"] == agent);
        ms(account.unwrap()["meters"]["duration"]["settled"]
            .as_str()
            .unwrap())
    };
    // The first one's time and the suspension make up the task's age; the later one's began after both.
    let (first, later) = (active("first"), active("later"));
    assert!(first + paused <= age, "{first} {paused} {age}");
    assert!(later > 0 && later <= first, "{later} {first}");
}

/// Milliseconds since an instant as operators see it.
fn age_ms(instant: &str) -> u64 {
    let at: jiff::Timestamp = instant.parse().unwrap();
    u64::try_from(bursar::clock::now().0 - at.as_millisecond()).unwrap()
}

/// A span as operators see it.
fn ms(span: &str) -> u64 {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000)];
    let (digits, times) = units
        .iter()
        .find_map(|(unit, times)| Some((span.strip_suffix(unit)?, times)))
        .unwrap();
    digits.parse::<u64>().unwrap() * times
}

#[tokio::test]
async fn a_stream_goes_on_while_a_person_is_asked_about_its_task() {
    let limits = "[[limit]]\nname = \"time\"\nper = [\"task\"]\nduration = \"3s\"\n\
                  [[limit]]\nname = \"review\"\nper = [\"task\"]\nreview_every = 1\n";
    for (stream, delay_ms) in [(true, 100), (false, 4_000)] {
        let scene = scene(limits, delay_ms).await;
        let task = format!("t-{stream}");
        let (caller, ask) = (scene.agent(&task, "slow"), slow(Dialect::Chat, stream));
        let before = scene.sim.bill().calls;
        let began = std::time::Instant::now();
        let slow = tokio::spawn(async move { caller.call(&ask).await });
        until("it has left", PATIENCE, || async {
            (scene.sim.bill().calls > before).then_some(())
        })
        .await;
        // Asks, and suspends the task.
        let asks = scene.agent(&task, "other");
        let asks = tokio::spawn(async move { asks.call(&Ask::chat("sim-cheap")).await });
        let reply = slow.await.unwrap().unwrap();
        assert!(reply.status.is_success(), "{}", reply.text());
        if stream {
            assert_eq!(ends_with_error(Dialect::Chat, &reply), None);
            assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"));
        }
        assert!(
            began.elapsed() > Duration::from_secs(3),
            "longer than its time"
        );
        asks.abort();
    }
}
