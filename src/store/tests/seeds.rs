//! A new or changed limit opens with what its calls already cost.

use super::*;

fn day(limit: &str) -> AccountKey {
    AccountKey {
        limit: limit.into(),
        per: [("owner", Arc::from("research"))].into(),
        window: Some(UnixMs(500)),
    }
}

fn seeded(key: &AccountKey, nano: u64, matching: Vec<(Field, Vec<Arc<str>>)>) -> Grant {
    let from = match key.window {
        Some(start) => SeedFrom::Window(start),
        None => SeedFrom::Task(task_key("t-1")),
    };
    let per = key.per.iter().map(|(name, value)| match *name {
        "owner" => (Field::Owner, value.clone()),
        _ => (Field::Task, value.clone()),
    });
    Grant {
        key: key.clone(),
        upto: usd(nano),
        seed: Some(Arc::new(SeedQuery {
            from,
            matching,
            per: per.collect(),
            whenever_new: false,
        })),
    }
}

async fn opened(store: &SqliteStore, grant: Grant) -> Balance {
    store
        .open(opening("t-1"), vec![grant])
        .await
        .unwrap()
        .balances[0]
        .1
        .clone()
}

/// Two calls settled, one in doubt, one doubt released, under a limit that is not the new one.
async fn with_calls(store: &SqliteStore) {
    store.set_limits(vec!["old".into()]).await.unwrap();
    let old = account("old", "t-1");
    store
        .open(opening("t-1"), vec![grant(&old, 10)])
        .await
        .unwrap();
    let keys = [old];
    post(store, call("r-1", "t-1", Ending::Settle, usd(300), &keys));
    post(
        store,
        call("r-2", "t-1", Ending::Unreconciled, usd(50), &keys),
    );
    post(
        store,
        call("r-3", "t-1", Ending::Unreconciled, usd(60), &keys),
    );
    post(store, call("r-4", "t-2", Ending::Settle, usd(5), &keys));
    let released = store
        .release(Release::Request("r-3".into()), "ann".into())
        .await
        .unwrap();
    assert_eq!(released.doubts, 1);
}

#[tokio::test]
async fn a_new_limit_opens_with_its_window() {
    let (_directory, path) = place();
    let store = open(&path);
    with_calls(&store).await;
    let limits = ["old", "day", "some", "others", "later"];
    let limits = limits.map(Arc::from).to_vec();
    store.set_limits(limits).await.unwrap();
    let found = opened(&store, seeded(&day("day"), 100, vec![])).await;
    assert_eq!(
        (found.settled, found.in_doubt, found.granted),
        (usd(305), usd(50), usd(455))
    );
    // A second opening adds nothing.
    let found = opened(&store, seeded(&day("day"), 100, vec![])).await;
    assert_eq!((found.settled, found.granted), (usd(305), usd(455)));

    let matching = |field, glob: &str| vec![(field, vec![Arc::from(glob)])];
    let grant = seeded(&day("some"), 0, matching(Field::Role, "res*"));
    assert_eq!(opened(&store, grant).await.settled, usd(305));
    let grant = seeded(&day("others"), 0, matching(Field::Role, "critic"));
    assert_eq!(opened(&store, grant).await.settled, usd(0));
    let mut later = day("later");
    later.window = Some(UnixMs(1_001));
    assert_eq!(
        opened(&store, seeded(&later, 0, vec![])).await.settled,
        usd(0),
        "admitted before"
    );
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

#[tokio::test]
async fn a_new_limit_opens_with_its_task() {
    let (_directory, path) = place();
    let store = open(&path);
    with_calls(&store).await;
    store
        .set_limits(vec!["old".into(), "new".into()])
        .await
        .unwrap();
    let found = opened(&store, seeded(&account("new", "t-1"), 7, vec![])).await;
    assert_eq!(
        (found.settled, found.in_doubt, found.granted),
        (usd(300), usd(50), usd(357))
    );
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

#[tokio::test]
async fn an_account_under_a_limit_known_all_along_opens_empty() {
    let (_directory, path) = place();
    let store = open(&path);
    store.set_limits(vec!["day".into()]).await.unwrap();
    let key = account("old", "t-1");
    post(&store, call("r-1", "t-1", Ending::Settle, usd(300), &[key]));
    let found = opened(&store, seeded(&day("day"), 100, vec![])).await;
    assert_eq!((found.settled, found.granted), (usd(0), usd(100)));
}

#[tokio::test]
async fn a_limit_that_was_away_catches_up() {
    let (_directory, path) = place();
    let store = SqliteStore::open(Options {
        clock: || UnixMs(1_000),
        ..Options::new(&path)
    })
    .unwrap()
    .0;
    let key = day("day");
    store.set_limits(vec!["day".into()]).await.unwrap();
    assert_eq!(
        opened(&store, seeded(&key, 100, vec![])).await.settled,
        usd(0)
    );
    post(
        &store,
        call(
            "r-1",
            "t-1",
            Ending::Settle,
            usd(40),
            std::slice::from_ref(&key),
        ),
    );
    // Away: the next call is not counted by it.
    store.set_limits(vec![]).await.unwrap();
    post(&store, call("r-2", "t-1", Ending::Settle, usd(30), &[]));
    store.set_limits(vec!["day".into()]).await.unwrap();
    let found = opened(&store, seeded(&key, 0, vec![])).await;
    assert_eq!((found.settled, found.granted), (usd(70), usd(130)));
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

#[tokio::test]
async fn a_tasks_own_caps_count_what_came_before_them() {
    let (_directory, path) = place();
    let store = open(&path);
    with_calls(&store).await;
    // The limit is older than the task that comes to it late.
    store
        .set_limits(vec!["old".into(), "own".into()])
        .await
        .unwrap();
    let own = account("own", "t-1");
    let plain = seeded(&own, 7, vec![]);
    let mut always = plain.clone();
    let query = plain.seed.as_deref().unwrap();
    always.seed = Some(Arc::new(SeedQuery {
        whenever_new: true,
        ..query.clone()
    }));
    let found = opened(&store, always.clone()).await;
    assert_eq!((found.settled, found.in_doubt), (usd(300), usd(50)));
    let again = opened(&store, always).await;
    assert_eq!(again, found, "a second opening adds nothing");
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

#[tokio::test]
async fn a_call_that_ends_before_its_limits_account_is_opened_counts_once() {
    let (_directory, path) = place();
    let store = open(&path);
    with_calls(&store).await;
    store
        .set_limits(vec!["old".into(), "day".into()])
        .await
        .unwrap();
    // It was in flight when the limit came, and lists the account that nobody has opened.
    let key = day("day");
    let keys = [account("old", "t-1"), key.clone()];
    post(
        &store,
        call("r-5", "t-1", Ending::Settle, usd(1_000), &keys),
    );
    post(
        &store,
        call("r-6", "t-1", Ending::Unreconciled, usd(7), &keys),
    );
    let found = opened(&store, seeded(&key, 100, vec![])).await;
    assert_eq!((found.settled, found.in_doubt), (usd(1_305), usd(57)));
    let again = opened(&store, seeded(&key, 100, vec![])).await;
    assert_eq!(again, found, "a second opening adds nothing");
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

#[tokio::test]
async fn a_grant_that_was_asked_for_before_the_limit_came_back_hides_nothing() {
    let (_directory, path) = place();
    let store = open(&path);
    let key = day("day");
    store.set_limits(vec!["day".into()]).await.unwrap();
    opened(&store, seeded(&key, 100, vec![])).await;
    store.set_limits(vec![]).await.unwrap();
    post(&store, call("r-1", "t-1", Ending::Settle, usd(30), &[]));
    // Calls from before run on, and ask with and without a seed.
    opened(&store, seeded(&key, 200, vec![])).await;
    balance(&store, &key).await;
    post(&store, call("r-2", "t-1", Ending::Settle, usd(40), &[]));
    store.set_limits(vec!["day".into()]).await.unwrap();
    balance(&store, &key).await;
    let found = opened(&store, seeded(&key, 0, vec![])).await;
    assert_eq!((found.settled, found.granted), (usd(70), usd(270)));
}
