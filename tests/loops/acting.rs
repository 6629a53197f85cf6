//! What is done about a loop: a refusal in each dialect, one notice to the model, a question to a person, a
//! warning; and who gets through all the same.

use crate::common::calls::Reply;
use crate::common::program::Ends as _;
use crate::common::until;
use crate::runs::step;
use crate::talk::{Form, Scene, Talk};
use http::StatusCode;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const NOTHING: &str = "The archive holds no document of that name in any of its rooms at present.";
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that takes the same step again and again.
struct Looping<'a> {
    scene: &'a Scene,
    task: &'a str,
    form: Form,
    talk: Talk,
}

impl<'a> Looping<'a> {
    fn new(scene: &'a Scene, form: Form, task: &'a str) -> Self {
        let talk = Talk::new(form, "seeker");
        Self {
            scene,
            task,
            form,
            talk,
        }
    }

    /// Makes the call that is due, without going on from its answer.
    async fn call(&mut self) -> (Reply, Value, Vec<Value>) {
        let step = step("seeker", "search", r#"{"q":"purse"}"#, NOTHING);
        let delta = step["delta"].as_array().expect("a delta").clone();
        let answer = self.talk.answer(&delta);
        self.scene.provider.say(200, &answer);
        let reply = self.again().await;
        (reply, answer, delta)
    }

    /// Makes the call that was made last once more.
    async fn again(&self) -> Reply {
        let body = self.talk.body();
        self.scene
            .send(self.form, (self.task, "seeker"), &body)
            .await
    }

    /// Takes one step.
    async fn step(&mut self) -> Reply {
        let (reply, answer, delta) = self.call().await;
        if reply.status.is_success() {
            self.talk.goes_on(&answer, &delta);
        }
        reply
    }

    /// Takes the three steps that make a loop.
    async fn three(&mut self) {
        for n in 0..3 {
            let reply = self.step().await;
            assert_eq!(reply.status, 200, "{n}: {}", reply.text());
            assert_eq!(reply.header("x-bursar-warning"), None, "{n}");
        }
    }
}

#[tokio::test]
async fn a_refusal_names_rule_calls_and_digests_in_each_dialect() {
    let scene = Scene::new("").await;
    for (n, form) in Form::ALL.into_iter().enumerate() {
        let task = format!("deny-{n}");
        let mut looping = Looping::new(&scene, form, &task);
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(looping.step().await.request_id());
        }
        let asked = scene.provider.asked();
        for _ in 0..2 {
            // The second is what an SDK would do that tries again.
            let reply = looping.again().await;
            assert_eq!(reply.status, StatusCode::PAYMENT_REQUIRED, "{form:?}");
            assert_eq!(reply.header("x-should-retry").as_deref(), Some("false"));
            let error = &reply.json()["error"];
            let kind = match form {
                Form::Messages | Form::Threaded => "billing_error",
                _ => "insufficient_quota",
            };
            assert_eq!(
                (&error["type"], &error["code"]),
                (&json!(kind), &json!("loop_detected"))
            );
            let details = &error["bursar"];
            assert_eq!(details["rule"], "repeat");
            assert_eq!(details["agent"], "seeker");
            assert_eq!(details["calls"], json!(ids), "{form:?}");
            assert_eq!(details["digests"].as_array().map(Vec::len), Some(1));
            assert_eq!(details["retryable"], false);
            let message = error["message"].as_str().expect("a message");
            assert!(
                message.contains("`repeat`") && message.contains(&ids[2]),
                "{message}"
            );
        }
        assert_eq!(scene.provider.asked(), asked, "nothing was sent");
        // A person speaks to it, and it goes on.
        looping
            .talk
            .told("Let the search be and write down what you know.");
        let reply = looping.step().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let metrics = scene.gateway.quiet().await;
    assert_eq!(metrics.get("bursar_loops_total{kind=\"repeat\"}"), 5.0);
    let denied = "bursar_denials_total{code=\"loop_detected\",limit=\"repeat\"}";
    assert_eq!(metrics.get(denied), 10.0);
    let done = Command::new(env!("CARGO_BIN_EXE_bursar"))
        .args(["audit", "trace", "deny-0", "--json", "--config"])
        .arg(scene.gateway.config())
        .ended();
    let trace = String::from_utf8_lossy(&done.stdout);
    assert!(
        trace.contains("loop_detected") && trace.contains("repeat"),
        "{trace}"
    );
}

#[tokio::test]
async fn a_nudge_is_given_once_and_behind_the_last_message() {
    let scene = Scene::new("[repeat]\naction = \"nudge\"\n").await;
    for (n, form) in Form::ALL.into_iter().enumerate() {
        let task = format!("nudge-{n}");
        let mut looping = Looping::new(&scene, form, &task);
        looping.three().await;
        let sent = looping.talk.body();
        let reply = looping.step().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(
            reply.header("x-bursar-warning").as_deref(),
            Some("loop=repeat")
        );
        assert_eq!(reply.header("x-bursar-notice").as_deref(), Some("loop"));
        let asked: Value = serde_json::from_slice(&scene.provider.asked_last()).expect("JSON");
        let list = if sent["messages"].is_array() {
            "messages"
        } else {
            "input"
        };
        let (sent, asked) = (
            sent[list].as_array().unwrap(),
            asked[list].as_array().unwrap(),
        );
        assert_eq!(asked.len(), sent.len() + 1, "{form:?}");
        assert_eq!(asked[..sent.len()], sent[..]);
        let notice = asked.last().expect("a notice");
        assert_eq!(notice["role"], "user");
        let text = notice["content"].as_str().expect("a text");
        assert!(text.contains("Notice of the gateway"), "{text}");
        // The episode goes on: it is warned of, and the model was told.
        let sent = looping.talk.body();
        let reply = looping.step().await;
        assert_eq!(
            reply.header("x-bursar-warning").as_deref(),
            Some("loop=repeat")
        );
        let asked: Value = serde_json::from_slice(&scene.provider.asked_last()).expect("JSON");
        assert_eq!(asked[list], sent[list], "{form:?}");
    }
}

#[tokio::test]
async fn a_person_is_asked_and_lets_it_go_on() {
    let scene = Scene::new("[repeat]\naction = \"escalate\"\n").await;
    let mut looping = Looping::new(&scene, Form::Chat, "ask");
    looping.three().await;
    let approving = async {
        let question = until("a question", PATIENCE, || async {
            let waiting = scene.get("/api/escalations?state=waiting").await;
            waiting["escalations"].as_array()?.first().cloned()
        })
        .await;
        assert_eq!(question["task"], "ask");
        let id = question["id"].as_str().expect("an id").to_owned();
        let shown = scene
            .get(&format!("/api/escalations/{id}"))
            .await
            .to_string();
        assert!(
            shown.contains("\"repeat\"") && shown.contains("req_"),
            "{shown}"
        );
        scene
            .post(
                &format!("/api/escalations/{id}/approve"),
                &json!({"by": "ann"}),
            )
            .await
    };
    let (reply, approved) = tokio::join!(looping.step(), approving);
    assert_eq!(approved.status, 200, "{}", approved.text());
    assert_eq!(reply.status, 200, "{}", reply.text());
    // The windows began anew: two more of the same are no loop yet.
    for _ in 0..2 {
        let reply = looping.step().await;
        assert_eq!(
            (reply.status, reply.header("x-bursar-warning")),
            (StatusCode::OK, None)
        );
    }
}

#[tokio::test]
async fn a_person_is_asked_and_says_no() {
    let scene = Scene::new("[repeat]\naction = \"escalate\"\n").await;
    let mut looping = Looping::new(&scene, Form::Responses, "no");
    looping.three().await;
    let denying = async {
        let id = until("a question", PATIENCE, || async {
            let waiting = scene.get("/api/escalations?state=waiting").await;
            let first = waiting["escalations"].as_array()?.first()?.clone();
            first["id"].as_str().map(str::to_owned)
        })
        .await;
        let why = json!({"by": "ann", "why": "enough"});
        scene
            .post(&format!("/api/escalations/{id}/deny"), &why)
            .await
    };
    let (reply, _) = tokio::join!(looping.step(), denying);
    assert_eq!(reply.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(reply.refusal().as_deref(), Some("task_suspended"));
}

#[tokio::test]
async fn rules_are_switched_off_for_some_and_reloaded() {
    let off = "[[override]]\nmatch = { agent = \"seeker\" }\n[override.repeat]\naction = \"off\"\n[override.no_progress]\naction = \"off\"\n";
    let scene = Scene::new(off).await;
    let mut looping = Looping::new(&scene, Form::Chat, "off");
    looping.three().await;
    for _ in 0..3 {
        assert_eq!(looping.step().await.header("x-bursar-warning"), None);
    }
    let rules = scene.gateway.dir().join("policies/loops.toml");
    std::fs::write(rules, "[repeat]\naction = \"warn\"\n").expect("written");
    scene.gateway.signal("HUP");
    until("the new rules", PATIENCE, || async {
        let reloads = "bursar_config_reloads_total{result=\"ok\"}";
        (scene.gateway.metrics().await.get(reloads) >= 1.0).then_some(())
    })
    .await;
    let reply = looping.step().await;
    assert_eq!(
        reply.header("x-bursar-warning").as_deref(),
        Some("loop=repeat")
    );
}

#[tokio::test]
async fn a_person_may_speak_to_any_agent_where_no_task_is_named() {
    let scene = Scene::new("").await;
    for agent in ["first", "second"] {
        let mut talk = Talk::new(Form::Chat, agent);
        let step = step(agent, "search", r#"{"q":"purse"}"#, NOTHING);
        let delta = step["delta"].as_array().expect("a delta").clone();
        for n in 0..4 {
            let answer = talk.answer(&delta);
            scene.provider.say(200, &answer);
            let reply = scene.send_bare(Form::Chat, &talk.body()).await;
            let expected = if n < 3 { 200 } else { 402 };
            assert_eq!(reply.status, expected, "{agent} {n}: {}", reply.text());
            if n < 3 {
                talk.goes_on(&answer, &delta);
            }
        }
        talk.told(&format!(
            "Let it be, {agent}, and write down what you know."
        ));
        let reply = scene.send_bare(Form::Chat, &talk.body()).await;
        assert_eq!(reply.status, 200, "{agent}: {}", reply.text());
    }
}
