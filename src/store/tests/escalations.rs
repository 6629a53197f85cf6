//! Questions to people: opened once per task, decided once, and everything that goes with a decision
//! in one step.

use super::*;
use crate::escalation::{Asker, Deciding, Evidence, Opening, Reason, State};
use crate::store::{DeliveryEnd, EscalationFilter};
use crate::units::{EscalationId, UnixMs};
use rusqlite::Connection;

fn now() -> UnixMs {
    crate::clock::now()
}

fn question(id: &str, task: &str) -> Opening {
    Opening {
        id: EscalationId::from(id),
        task: task_key(task),
        reason: Reason::of_rule("cycle", "three agents go round"),
        evidence: vec![Evidence {
            request: Some("r-1".into()),
            what: "tool search".into(),
            digest: Some("00ff".into()),
        }],
        asker: Asker::default(),
    }
}

fn deciding(id: &str, state: State) -> Deciding {
    Deciding {
        id: EscalationId::from(id),
        state,
        by: "ops:ann".into(),
        why: None,
        raises: vec![(account("task", "t-1"), usd(50))],
        ends: None,
        turns: None,
    }
}

async fn with_task(path: &std::path::Path, task: &str) -> SqliteStore {
    let store = open(path);
    store.open(super::opening(task), Vec::new()).await.unwrap();
    store
}

#[tokio::test]
async fn a_task_waits_for_one_question_and_it_is_decided_once() {
    let (_directory, path) = place();
    let store = with_task(&path, "t-1").await;
    let first = store
        .open_escalation(question("esc_1", "t-1"))
        .await
        .unwrap();
    assert!(first.newly);
    assert_eq!(first.task.state, TaskState::Suspended);
    let second = store
        .open_escalation(question("esc_2", "t-1"))
        .await
        .unwrap();
    assert!(!second.newly);
    let joined = second.escalation.expect("the first");
    assert_eq!(joined.id.as_str(), "esc_1");
    assert_eq!(joined, first.escalation.unwrap());
    assert_eq!(&*joined.evidence[0].what, "tool search");

    let ended = store.decide_escalation(deciding("esc_1", State::Approved));
    let ended = ended.await.unwrap();
    assert!(ended.applied);
    assert_eq!(ended.task.state, TaskState::Active);
    assert_eq!(ended.task.escalation, None);
    assert_eq!(ended.balances[0].1.topped_up, usd(50));
    for state in [State::Approved, State::Denied, State::Expired] {
        let again = store.decide_escalation(deciding("esc_1", state)).await;
        let again = again.unwrap();
        assert!(!again.applied);
        assert_eq!(again.escalation, ended.escalation);
    }
    let balance = balance(&store, &account("task", "t-1")).await;
    assert_eq!(balance.topped_up, usd(50));
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

#[tokio::test]
async fn a_no_leaves_the_task_suspended_and_raises_nothing() {
    let (_directory, path) = place();
    let store = with_task(&path, "t-1").await;
    store
        .open_escalation(question("esc_1", "t-1"))
        .await
        .unwrap();
    let ended = store.decide_escalation(deciding("esc_1", State::Denied));
    let ended = ended.await.unwrap();
    assert!(ended.balances.is_empty());
    assert_eq!(ended.task.state, TaskState::Suspended);
    assert_eq!(ended.escalation.decision.unwrap().raised, Vec::new());
    let asked = ended.task.escalation.expect("it is remembered");
    assert!(!asked.waits);
    // Resumed by hand, it may be asked about again.
    let task = store.set_task_state(task_key("t-1"), TaskState::Active, "ann".into());
    assert_eq!(task.await.unwrap().escalation, None);
    let next = store
        .open_escalation(question("esc_2", "t-1"))
        .await
        .unwrap();
    assert!(next.newly);
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

#[tokio::test]
async fn a_task_suspended_by_hand_gets_no_question() {
    let (_directory, path) = place();
    let store = with_task(&path, "t-1").await;
    let suspended = store.set_task_state(task_key("t-1"), TaskState::Suspended, "ann".into());
    suspended.await.unwrap();
    let opened = store
        .open_escalation(question("esc_1", "t-1"))
        .await
        .unwrap();
    assert!(opened.escalation.is_none());
    let unknown = store.open_escalation(question("esc_1", "t-2")).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));
    let unknown = store
        .decide_escalation(deciding("esc_9", State::Denied))
        .await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));
    assert!(store.outbox(now(), 10).await.unwrap().due.is_empty());
}

#[tokio::test]
async fn what_people_are_to_be_told_survives_a_crash() {
    let (_directory, path) = place();
    let store = with_task(&path, "t-1").await;
    store
        .open_escalation(question("esc_1", "t-1"))
        .await
        .unwrap();
    store.die().await;
    let store = open(&path);
    let later = UnixMs(now().0 + 60_000);
    let outbox = store.outbox(later, 10).await.unwrap();
    assert_eq!(outbox.waiting, 1);
    let [message] = &outbox.due[..] else {
        panic!("{outbox:?}");
    };
    assert_eq!((message.event, &message.target), (State::Waiting, &None));
    let targets = vec!["a".into(), "b".into()];
    store.address_delivery(message.id, targets).await.unwrap();
    let due = store.outbox(later, 10).await.unwrap().due;
    let targets: Vec<_> = due.iter().map(|due| due.target.as_deref()).collect();
    assert_eq!(targets, [Some("a"), Some("b")]);
    store
        .end_delivery(due[0].id, DeliveryEnd::Done)
        .await
        .unwrap();
    let again = DeliveryEnd::Again(UnixMs(later.0 + 5));
    store.end_delivery(due[1].id, again).await.unwrap();
    let outbox = store.outbox(later, 10).await.unwrap();
    assert!(outbox.due.is_empty());
    assert_eq!(outbox.next, Some(UnixMs(later.0 + 5)));
    let filter = EscalationFilter {
        state: Some(State::Waiting),
        ..EscalationFilter::default()
    };
    assert_eq!(store.escalations(filter).await.unwrap().len(), 1);
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

#[tokio::test]
async fn a_top_up_with_an_end_is_taken_back_and_the_journal_says_so() {
    let (_directory, path) = place();
    let store = with_task(&path, "t-1").await;
    store
        .open_escalation(question("esc_1", "t-1"))
        .await
        .unwrap();
    let approved = Deciding {
        ends: Some(UnixMs(now().0 - 1)),
        ..deciding("esc_1", State::Approved)
    };
    store.decide_escalation(approved).await.unwrap();
    let key = account("task", "t-1");
    assert_eq!(balance(&store, &key).await.topped_up, usd(50));
    let lapsed = store.lapse().await.unwrap();
    assert_eq!(lapsed.len(), 1);
    assert!(store.lapse().await.unwrap().is_empty(), "once");
    let after = balance(&store, &key).await;
    assert_eq!((after.topped_up, after.lapsed), (Amounts::ZERO, usd(50)));
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
    let reopened = open(&path);
    assert_eq!(balance(&reopened, &key).await.lapsed, usd(50));
}

#[tokio::test]
async fn a_question_out_of_the_journal_is_found() {
    let (_directory, path) = place();
    let store = with_task(&path, "t-1").await;
    store
        .open_escalation(question("esc_1", "t-1"))
        .await
        .unwrap();
    store.stop(Duration::from_secs(1)).await.unwrap();
    let sql = "UPDATE escalations SET state = 'approved'";
    Connection::open(&path).unwrap().execute(sql, []).unwrap();
    let reader = Reader::open(&path).unwrap();
    let verdict = reader.verify(&VerifyOptions::default()).unwrap();
    assert_eq!(
        verdict.bad_balances,
        ["escalation esc_1 should wait and does not"]
    );
}

#[tokio::test]
async fn a_file_of_the_first_schema_is_brought_up_to_date() {
    let (_directory, path) = place();
    let store = with_task(&path, "t-1").await;
    store.stop(Duration::from_secs(1)).await.unwrap();
    let back = "DROP TABLE escalations; DROP TABLE deliveries; DROP TABLE top_ups;
                ALTER TABLE tasks DROP COLUMN escalation; ALTER TABLE tasks DROP COLUMN escalation_waits;
                ALTER TABLE tasks DROP COLUMN allowed_turns; ALTER TABLE tasks DROP COLUMN allowed_since;
                ALTER TABLE accounts DROP COLUMN lapsed; PRAGMA user_version = 1;";
    Connection::open(&path)
        .unwrap()
        .execute_batch(back)
        .unwrap();
    assert!(matches!(
        Reader::open(&path),
        Err(StoreError::OlderSchema { found: 1, known: 2 })
    ));
    let store = open(&path);
    let opened = store
        .open_escalation(question("esc_1", "t-1"))
        .await
        .unwrap();
    assert!(opened.newly);
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}
