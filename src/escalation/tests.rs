use super::notice::{event_type, message, signature, signing_key};
use super::*;
use crate::config::{Secret, Webhook, WebhookKind, WebhookUrl};

fn escalation(task: &str) -> Escalation {
    Escalation {
        id: "esc_0123456789abcdef".into(),
        task: TaskKey {
            owner: "research".into(),
            task: task.into(),
        },
        opened: UnixMs(1_760_000_000_000),
        state: State::Waiting,
        reason: Reason::of_rule("cycle", "writer and critic go round & round"),
        evidence: Vec::new(),
        asker: Asker {
            agent: Some("<!channel>".into()),
            ..Asker::default()
        },
        decision: None,
    }
}

fn slack() -> Webhook {
    Webhook {
        name: "chat".into(),
        kind: WebhookKind::Slack,
        url: WebhookUrl::Plain("http://127.0.0.1/x".parse().unwrap()),
        secret: None::<Secret>,
        ca_file: None,
        place: crate::config::Place {
            file: "bursar.toml".into(),
            line: 1,
        },
    }
}

/// The example of the Standard Webhooks specification.
#[test]
fn signatures_are_those_of_the_specification() {
    let key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let body = r#"{"test": 2432232314}"#;
    let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn a_key_that_signs_nothing_is_no_key() {
    for wrong in ["", "short", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%%"] {
        assert!(signing_key(wrong).is_err(), "{wrong}");
    }
    assert!(signing_key("a text of sixteen bytes or more").is_ok());
}

#[test]
fn ids_bring_no_mark_up_into_a_chat() {
    let (headers, body) = message(
        &slack(),
        &escalation("`<@U1>`"),
        State::Waiting,
        UnixMs(1_760_000_000_000),
    )
    .unwrap();
    assert!(!headers.contains_key("webhook-signature"));
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let text = body["text"].as_str().unwrap();
    assert!(
        !text.contains("<@U1>") && !text.contains("<!channel>"),
        "{text}"
    );
    assert!(text.contains("round &amp; round"), "{text}");
    assert!(
        text.contains("bursar escalation approve esc_0123456789abcdef"),
        "{text}"
    );
}

#[test]
fn a_question_that_was_answered_meanwhile_says_so() {
    let mut escalation = escalation("t");
    escalation.state = State::Denied;
    escalation.decision = Some(Decision {
        at: UnixMs(1_760_000_001_000),
        by: "ops:ann".into(),
        why: Some("enough".into()),
        raised: Vec::new(),
        ends: None,
        turns: None,
    });
    let (_, body) = message(&slack(), &escalation, State::Waiting, UnixMs(0)).unwrap();
    assert!(body.contains("denied by ops:ann: enough"), "{body}");
}

#[test]
fn states_have_words_and_events() {
    for state in State::ALL {
        assert_eq!(State::from_name(state.name()), Some(state));
        assert!(event_type(state).starts_with("escalation."));
    }
    assert_eq!(State::from_name("maybe"), None);
    let (one, other) = (new_id(), new_id());
    assert_ne!(one, other);
    assert_eq!(one.as_str().len(), "esc_".len() + 16);
}

// === the desk ===

use crate::ledger::{Caps, Ledger, Settings};
use crate::purse::Purse;
use crate::store::{Options, SqliteStore, Store, StoreError, TaskOpening, TaskState};
use crate::task::{Task, Tasks};
use crate::traces::Traces;
use std::time::Duration;
use tokio::time::Instant;

struct Rig {
    _directory: tempfile::TempDir,
    desk: Arc<Escalations>,
    tasks: Arc<Tasks>,
    task: Arc<Task>,
}

async fn rig() -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(directory.path().join("bursar.db"));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options).unwrap().0);
    let ledger = Ledger::new(Settings {
        wait_for_holds_ms: 0,
        line_max_waiters: 0,
        line_max_bytes: 0,
    });
    let purse = Purse::new(ledger, Arc::clone(&store));
    let tasks = Tasks::new(store, Vec::new());
    let opening = TaskOpening {
        key: key(),
        caps: Caps::default(),
        by: "local".into(),
    };
    let task = tasks.open(opening, async { Ok::<(), StoreError>(()) });
    let task = task.await.unwrap();
    Rig {
        _directory: directory,
        desk: Escalations::new(purse, Arc::clone(&tasks), Traces::new()),
        tasks,
        task,
    }
}

fn key() -> TaskKey {
    TaskKey {
        owner: "research".into(),
        task: "t-1".into(),
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

impl Rig {
    async fn ask(&self) -> Question {
        let reason = Reason::of_rule("cycle", "round and round");
        let (key, asker) = (key(), Asker::default());
        let asked = self.desk.ask(&key, reason, Vec::new(), asker).await;
        match asked.unwrap() {
            Opened::Asked(question) => question,
            Opened::LookAgain => panic!("the task is active or waits"),
        }
    }

    async fn decide(&self, question: &Question, state: State) -> bool {
        let deciding = Deciding {
            id: question.id.clone(),
            state,
            by: "ops:ann".into(),
            why: None,
            raises: Vec::new(),
            ends: None,
            turns: None,
        };
        self.desk.decide(deciding).await.unwrap().applied
    }
}

#[tokio::test]
async fn whoever_waits_hears_of_the_decision() {
    let rig = rig().await;
    let (one, other) = (rig.ask().await, rig.ask().await);
    assert_eq!(one.id, other.id, "the second joins");
    assert_eq!(rig.task.state(), TaskState::Suspended);
    let soon = Instant::now() + Duration::from_millis(20);
    assert_eq!(one.answered(soon).await, Answered::TimedOut);
    let waiting = tokio::spawn(async move { other.answered(far()).await });
    tokio::task::yield_now().await;
    let decisions = rig.task.decisions();
    assert!(rig.decide(&one, State::Approved).await);
    assert_eq!(waiting.await.unwrap(), Answered::Decided);
    assert_eq!(rig.task.state(), TaskState::Active);
    assert_ne!(rig.task.decisions(), decisions);
    assert!(!rig.decide(&one, State::Approved).await);
    // What was seen before the decision asks nothing any more.
    let stale = (
        Reason::of_rule("cycle", "old"),
        Vec::new(),
        Asker::default(),
    );
    let stale = rig.desk.open(&rig.task, decisions, stale).await.unwrap();
    assert!(matches!(stale, Opened::LookAgain));
    assert_eq!(rig.task.state(), TaskState::Active);
}

#[tokio::test]
async fn an_opening_heard_of_late_does_not_undo_a_decision() {
    let rig = rig().await;
    let decisions = rig.task.decisions();
    let question = rig.ask().await;
    let waiting = rig.task.record();
    rig.decide(&question, State::Approved).await;
    rig.task.suspended(&waiting, decisions);
    assert_eq!(rig.task.state(), TaskState::Active);
}

#[tokio::test]
async fn a_resumed_task_answers_its_question_and_an_old_question_expires() {
    let rig = rig().await;
    let question = rig.ask().await;
    let resumed = rig.tasks.set_state(key(), TaskState::Active, "ops".into());
    resumed.await.unwrap();
    assert_eq!(question.answered(far()).await, Answered::Decided);
    let question = rig.ask().await;
    assert_eq!(rig.desk.expire(UnixMs(0)).await.unwrap(), 0);
    let later = UnixMs(crate::clock::now().0 + 1_000);
    assert_eq!(rig.desk.expire(later).await.unwrap(), 1);
    assert_eq!(question.answered(far()).await, Answered::Decided);
    assert_eq!(rig.task.state(), TaskState::Suspended);
    let asked = rig.task.record().escalation.unwrap();
    assert!(!asked.waits);
}

#[tokio::test]
async fn places_are_bounded_in_calls_and_bytes_and_given_back() {
    let rig = rig().await;
    let place = |bytes| rig.desk.place(bytes, 2, 100);
    let first = place(60).expect("a place");
    assert!(place(50).is_none(), "too many bytes");
    let second = place(40).expect("a place");
    assert!(place(0).is_none(), "too many calls");
    drop(first);
    assert!(place(60).is_some());
    drop(second);
    assert_eq!(rig.desk.held_open(), 0);
    let question = rig.ask().await;
    rig.desk.drain();
    assert_eq!(question.answered(far()).await, Answered::Draining);
}
