//! Grants, endings, doubt, tasks.

use super::*;

#[tokio::test]
async fn a_grant_creates_task_and_accounts_in_one_step() {
    let (_directory, path) = place();
    let store = open(&path);
    let (a, b) = (account("task", "t-1"), account("usd", "t-1"));
    let opened = store
        .open(opening("t-1"), vec![grant(&a, 5), grant(&b, 7)])
        .await
        .unwrap();
    assert!(opened.newly_opened);
    assert_eq!(opened.task.unwrap().state, TaskState::Active);
    assert_eq!(opened.balances[0].1.granted, usd(5));
    assert_eq!(opened.balances[1].1.granted, usd(7));
    let again = store
        .open(opening("t-1"), vec![grant(&a, 3)])
        .await
        .unwrap();
    assert!(!again.newly_opened);
    assert_eq!(again.balances[0].1.granted, usd(5), "a grant never lowers");
    assert!(store.stop(Duration::from_secs(1)).await.unwrap());
    assert_sound(&path);
}

#[tokio::test]
async fn endings_move_what_they_charge() {
    let (_directory, path) = place();
    let store = open(&path);
    let key = account("task", "t-1");
    store
        .open(opening("t-1"), vec![grant(&key, 1_000)])
        .await
        .unwrap();
    let keys = [key.clone()];
    post(&store, call("r-1", "t-1", Ending::Settle, usd(300), &keys));
    post(
        &store,
        call("r-2", "t-1", Ending::Unreconciled, usd(500), &keys),
    );
    post(
        &store,
        call(
            "r-3",
            "t-1",
            Ending::Void,
            Amounts::ZERO.with(Meter::Attempts, 1),
            &keys,
        ),
    );
    post(
        &store,
        call("r-4", "t-1", Ending::Denied, Amounts::ZERO, &keys),
    );
    post(&store, call("r-5", "t-1", Ending::Settle, usd(900), &keys));
    let found = balance(&store, &key).await;
    assert_eq!(found.settled, usd(1_200).with(Meter::Attempts, 1));
    assert_eq!(found.in_doubt, usd(500));
    assert_eq!(
        found.granted[Meter::Usd],
        1_700,
        "an overrun is granted at the latest when it is posted"
    );
    store.give_back(vec![(key.clone(), usd(0))]).await.unwrap();
    assert_eq!(
        balance(&store, &key).await.granted[Meter::Usd],
        1_700,
        "what is proven stays granted"
    );
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

#[tokio::test]
async fn doubt_is_ended_by_evidence_or_a_person() {
    let (_directory, path) = place();
    let store = open(&path);
    let key = account("task", "t-1");
    let keys = [key.clone()];
    store
        .open(opening("t-1"), vec![grant(&key, 2_000)])
        .await
        .unwrap();
    for request in ["r-1", "r-2", "r-3"] {
        post(
            &store,
            call(request, "t-1", Ending::Unreconciled, usd(500), &keys),
        );
    }
    store.flush().await.unwrap();
    let doubts = store.doubts(DoubtFilter::default()).await.unwrap();
    assert_eq!(doubts.len(), 3);
    assert_eq!(doubts[0].accounts, keys);
    assert_eq!(doubts[0].request.as_deref(), Some("r-1"));

    let evidence = |key, usd| Evidence {
        key,
        usd: Some(NanoUsd(usd)),
        input_tokens: None,
        output_tokens: None,
    };
    let lines = vec![
        evidence(EvidenceKey::Request("r-1".into()), 120),
        evidence(EvidenceKey::Answer("chatcmpl-r-2".into()), 0),
        evidence(EvidenceKey::Request("r-9".into()), 1),
    ];
    let done = store.reconcile(lines, "export".into()).await.unwrap();
    assert_eq!(
        (done.doubts, done.cleared, done.spent),
        (2, NanoUsd(1_000), NanoUsd(120))
    );
    assert_eq!(done.unmatched, [2]);
    assert_eq!(done.shifts[0].settled_more, usd(120));

    let gone = store
        .release(Release::One(doubts[0].id), "ann".into())
        .await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })));
    let released = store
        .release(Release::Task(task_key("t-1")), "ann".into())
        .await
        .unwrap();
    assert_eq!((released.doubts, released.cleared), (1, NanoUsd(500)));
    let found = balance(&store, &key).await;
    assert_eq!((found.settled, found.in_doubt), (usd(120), usd(0)));
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

#[tokio::test]
async fn late_usage_posted_after_the_end_corrects_it() {
    let (_directory, path) = place();
    let store = open(&path);
    let key = account("task", "t-1");
    store
        .open(opening("t-1"), vec![grant(&key, 2_000)])
        .await
        .unwrap();
    post(
        &store,
        call(
            "r-1",
            "t-1",
            Ending::Unreconciled,
            usd(500),
            std::slice::from_ref(&key),
        ),
    );
    store
        .try_reserve()
        .unwrap()
        .post(Entry::Evidence(Box::new(Evidence {
            key: EvidenceKey::Request("r-1".into()),
            usd: Some(NanoUsd(70)),
            input_tokens: Some(3),
            output_tokens: Some(4),
        })));
    let found = balance(&store, &key).await;
    assert_eq!(found.in_doubt, Amounts::ZERO);
    assert_eq!(found.settled[Meter::Usd], 70);
    assert_eq!(found.settled[Meter::Tokens], 7);
}

#[tokio::test]
async fn tasks_are_suspended_lowered_and_closed_for_good() {
    let (_directory, path) = place();
    let store = open(&path);
    let key = task_key("t-1");
    let by: Arc<str> = "ann".into();
    let unknown = store
        .set_task_state(key.clone(), TaskState::Closed, by.clone())
        .await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));
    store.open(opening("t-1"), vec![]).await.unwrap();
    let caps = |usd: u64, turns: Option<u64>| {
        let mut caps = Caps::default();
        caps.0[Meter::Usd as usize] = Some(usd);
        caps.0[Meter::Turns as usize] = turns;
        caps
    };
    store
        .lower_task_caps(key.clone(), caps(5, None), by.clone())
        .await
        .unwrap();
    let task = store
        .lower_task_caps(key.clone(), caps(9, Some(2)), by.clone())
        .await
        .unwrap();
    assert_eq!(task.caps, caps(5, Some(2)));
    let task = store
        .set_task_state(key.clone(), TaskState::Suspended, by.clone())
        .await
        .unwrap();
    assert!(task.paused_since.is_some());
    let task = store
        .set_task_state(key.clone(), TaskState::Active, by.clone())
        .await
        .unwrap();
    assert!(task.paused_since.is_none());
    store
        .set_task_state(key.clone(), TaskState::Closed, by.clone())
        .await
        .unwrap();
    let reopened = store
        .set_task_state(key.clone(), TaskState::Active, by.clone())
        .await;
    assert_eq!(reopened, Err(StoreError::TaskClosed("t-1".to_owned())));

    let identity = Switch::Identity("crew".into());
    store
        .set_switch(identity.clone(), true, by.clone())
        .await
        .unwrap();
    store
        .set_switch(Switch::All, true, by.clone())
        .await
        .unwrap();
    let pressed = store.set_switch(Switch::All, false, by).await.unwrap();
    assert_eq!(pressed, std::slice::from_ref(&identity));
    store.stop(Duration::from_secs(1)).await.unwrap();
    let (store, loaded) = SqliteStore::open(Options::new(&path)).unwrap();
    assert_eq!(loaded.switches, [identity]);
    let tasks = store.tasks(TaskFilter::default()).await.unwrap();
    assert_eq!(tasks[0].state, TaskState::Closed);
    assert_sound(&path);
}

#[tokio::test]
async fn top_ups_last() {
    let (_directory, path) = place();
    let store = open(&path);
    let key = account("task", "t-1");
    store
        .top_up(key.clone(), usd(100), "ann".into())
        .await
        .unwrap();
    store
        .top_up(key.clone(), usd(50), "ann".into())
        .await
        .unwrap();
    store.die().await;
    let store = open(&path);
    assert_eq!(balance(&store, &key).await.topped_up, usd(150));
    let filter = AccountFilter {
        value: Some("t-1".into()),
        ..AccountFilter::default()
    };
    assert_eq!(store.accounts(filter).await.unwrap()[0].key, key);
    let by_key = AccountFilter {
        key: Some(key.clone()),
        ..AccountFilter::default()
    };
    let found = store.accounts(by_key).await.unwrap();
    assert_eq!((found.len(), &found[0].key), (1, &key));
    let nobody = AccountFilter {
        value: Some("t-\"1".into()),
        ..AccountFilter::default()
    };
    assert_eq!(store.accounts(nobody).await.unwrap(), vec![]);
    assert_sound(&path);
}

#[tokio::test]
async fn reports_and_traces_read_beside_the_writer() {
    let (_directory, path) = place();
    let store = open(&path);
    let key = account("task", "t-1");
    let keys = [key.clone()];
    store
        .open(opening("t-1"), vec![grant(&key, 2_000)])
        .await
        .unwrap();
    post(&store, call("r-1", "t-1", Ending::Settle, usd(300), &keys));
    post(
        &store,
        call("r-2", "t-1", Ending::Unreconciled, usd(200), &keys),
    );
    post(&store, call("r-3", "t-2", Ending::Denied, usd(0), &[]));
    store.flush().await.unwrap();
    let report = |by| {
        let query = ReportQuery {
            by,
            since: Some(UnixMs(2_000)),
            until: None,
        };
        store.report(query)
    };
    let tasks = report(By::Task).await.unwrap();
    assert_eq!(tasks.len(), 2);
    assert_eq!((tasks[0].key.as_str(), tasks[0].calls), ("t-1", 2));
    assert_eq!((tasks[0].settled, tasks[0].in_doubt), (usd(300), usd(200)));
    assert_eq!((tasks[1].key.as_str(), tasks[1].denied), ("t-2", 1));
    let tools = report(By::Tool).await.unwrap();
    assert_eq!(tools[0].settled[Meter::ToolCalls], 6);
    store.release(Release::All, "ann".into()).await.unwrap();
    assert_eq!(report(By::Role).await.unwrap()[0].in_doubt, usd(0));

    let trace = store.trace(task_key("t-1"), 10).await.unwrap();
    let requests: Vec<_> = trace
        .iter()
        .map(|row| row.body().unwrap().request.0.into_owned())
        .collect();
    assert_eq!(requests, ["r-1", "r-2"]);
    assert_eq!(store.trace(task_key("t-1"), 1).await.unwrap().len(), 1);
}
