//! What the disk, other processes and other versions do to the store.

use super::*;
use rusqlite::Connection;
use std::os::unix::fs::PermissionsExt;

fn error(path: &Path) -> StoreError {
    SqliteStore::open(Options::new(path)).unwrap_err()
}

#[tokio::test]
async fn a_second_gateway_refuses_to_start() {
    let (directory, path) = place();
    let store = open(&path);
    assert!(matches!(error(&path), StoreError::Locked(_)));
    // Another name of the same file is the same file.
    let link = directory.path().join("other.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(error(&link), StoreError::Locked(_)));
    store.stop(Duration::from_secs(1)).await.unwrap();
    let (store, loaded) = SqliteStore::open(Options::new(&path)).unwrap();
    assert_eq!((loaded.epoch, loaded.after_crash), (2, false));
    drop(store);
}

#[tokio::test]
async fn a_fenced_predecessor_writes_nothing_more() {
    let (directory, path) = place();
    let store = open(&path);
    let key = account("task", "t-1");
    store
        .open(opening("t-1"), vec![grant(&key, 100)])
        .await
        .unwrap();
    // The lock is lost, as on a network disk.
    std::fs::remove_file(directory.path().join("bursar.db.lock")).unwrap();
    let successor = open(&path);
    let fenced = store.open(None, vec![grant(&key, 200)]).await;
    assert_eq!(
        fenced.unwrap_err(),
        StoreError::Fenced { ours: 1, theirs: 2 }
    );
    assert!(!store.health().is_healthy());
    // What the predecessor was granted and had not proven is in doubt.
    assert_eq!(balance(&successor, &key).await.in_doubt, usd(100));
    successor.stop(Duration::from_secs(1)).await.unwrap();
    store.die().await;
    assert_sound(&path);
}

#[tokio::test]
async fn files_that_are_no_store_are_refused_by_kind() {
    let (directory, path) = place();
    std::fs::write(
        &path,
        "this is no database, but long enough to be looked at ".repeat(40),
    )
    .unwrap();
    assert!(
        matches!(error(&path), StoreError::Corrupt(_)),
        "{}",
        error(&path)
    );
    assert!(matches!(Reader::open(&path), Err(StoreError::Corrupt(_))));

    let other = directory.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE mine (x)")
        .unwrap();
    assert!(matches!(error(&other), StoreError::Corrupt(_)));

    let newer = directory.path().join("newer.db");
    open(&newer).stop(Duration::from_secs(1)).await.unwrap();
    Connection::open(&newer)
        .unwrap()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    assert_eq!(
        error(&newer),
        StoreError::NewerSchema {
            found: 99,
            known: 2
        }
    );
    assert!(matches!(error(directory.path()), StoreError::CannotOpen(_)));
    assert!(matches!(
        Reader::open(&directory.path().join("none.db")),
        Err(StoreError::CannotOpen(_))
    ));
}

#[tokio::test]
async fn a_damaged_page_is_an_error_not_a_panic() {
    let (_directory, path) = place();
    let store = open(&path);
    for row in 0..200 {
        post(
            &store,
            call(
                &format!("r-{row}"),
                "t-1",
                Ending::Settle,
                usd(1),
                &[account("task", "t-1")],
            ),
        );
    }
    store.stop(Duration::from_secs(1)).await.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    // Behind the tables that are still empty, where the rows are.
    let rows = bytes.len() * 3 / 4;
    bytes[rows..rows + 8192].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let found = Reader::open(&path).and_then(|reader| reader.verify(&VerifyOptions::default()));
    assert!(
        !matches!(&found, Ok(verdict) if verdict.is_ok()),
        "{found:?}"
    );
}

/// Root may write anywhere, so this can only be tried as somebody else.
#[test]
fn a_directory_that_cannot_be_written_is_said() {
    let (directory, path) = place();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o500)).unwrap();
    let may_write = std::fs::write(directory.path().join("probe"), "").is_ok();
    if !may_write {
        assert!(matches!(error(&path), StoreError::ReadOnly(_)));
    }
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o700)).unwrap();
}

/// `max_page_count` makes SQLite say what it says on a full disk.
#[tokio::test]
async fn a_full_disk_fails_grants_and_keeps_what_was_posted() {
    let (_directory, path) = place();
    let store = open(&path);
    let key = account("task", "t-1");
    store
        .open(opening("t-1"), vec![grant(&key, 1_000)])
        .await
        .unwrap();
    store.set_page_limit(Some(1)).await;
    let filler = "x".repeat(5_000);
    for row in 0..5 {
        post(
            &store,
            call(
                &format!("r-{row}-{filler}"),
                "t-1",
                Ending::Settle,
                usd(10),
                std::slice::from_ref(&key),
            ),
        );
    }
    let refused = store.open(None, vec![grant(&key, 2_000)]).await;
    assert_eq!(refused.unwrap_err(), StoreError::DiskFull);
    assert_eq!(store.health().fault, Some(StoreError::DiskFull));
    assert!(store.health().lag < Duration::from_secs(600));
    store.set_page_limit(None).await;
    // The next verb tries again.
    let found = store.open(None, vec![grant(&key, 2_000)]).await.unwrap();
    assert_eq!(found.balances[0].1.settled, usd(50));
    assert!(store.health().is_healthy());
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

#[tokio::test]
async fn places_run_out_rather_than_memory() {
    let (_directory, path) = place();
    let options = Options {
        places: 2,
        ..Options::new(&path)
    };
    let store = SqliteStore::open(options).unwrap().0;
    let first = store.try_reserve().unwrap();
    let second = store.reserve().await.unwrap();
    assert_eq!(store.try_reserve().unwrap_err(), StoreError::Full);
    drop(second);
    let third = store.try_reserve().unwrap();
    let keys = [account("task", "t-1")];
    first.post(Entry::Call(Box::new(call(
        "r-1",
        "t-1",
        Ending::Settle,
        usd(1),
        &keys,
    ))));
    third.post(Entry::Call(Box::new(call(
        "r-2",
        "t-1",
        Ending::Settle,
        usd(1),
        &keys,
    ))));
    store.flush().await.unwrap();
    assert!(store.try_reserve().is_ok());
}

#[tokio::test]
async fn a_stop_waits_for_the_places_that_are_out() {
    let (_directory, path) = place();
    let store = Arc::new(open(&path));
    let key = account("task", "t-1");
    store
        .open(opening("t-1"), vec![grant(&key, 100)])
        .await
        .unwrap();
    let out = store.try_reserve().unwrap();
    let stop = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.stop(Duration::from_secs(60)).await }
    });
    // Posted while the stop waits, or before it: both must be written.
    tokio::task::yield_now().await;
    out.post(Entry::Call(Box::new(call(
        "r-1",
        "t-1",
        Ending::Settle,
        usd(30),
        std::slice::from_ref(&key),
    ))));
    assert!(stop.await.unwrap().unwrap());
    assert_eq!(store.try_reserve().unwrap_err(), StoreError::Stopped);
    assert!(!store.health().is_healthy());
    let (store, loaded) = SqliteStore::open(Options::new(&path)).unwrap();
    assert!(!loaded.after_crash && loaded.doubted.is_empty());
    let found = balance(&store, &key).await;
    assert_eq!((found.settled, found.granted), (usd(30), usd(30)));
}

#[tokio::test]
async fn a_stop_that_cannot_wait_leaves_doubt() {
    let (_directory, path) = place();
    let store = open(&path);
    let key = account("task", "t-1");
    store
        .open(opening("t-1"), vec![grant(&key, 100)])
        .await
        .unwrap();
    let out = store.try_reserve().unwrap();
    assert!(!store.stop(Duration::ZERO).await.unwrap());
    drop(out);
    let (_store, loaded) = SqliteStore::open(Options::new(&path)).unwrap();
    assert!(loaded.after_crash);
    assert_eq!(loaded.doubted, [(key, usd(100))]);
    assert_sound(&path);
}

#[tokio::test]
async fn a_clock_that_steps_back_does_not_turn_the_journal_back() {
    let (_directory, path) = place();
    let at = |clock: fn() -> UnixMs| Options {
        clock,
        ..Options::new(&path)
    };
    let (store, _) = SqliteStore::open(at(|| UnixMs(9_000))).unwrap();
    store.open(opening("t-1"), vec![]).await.unwrap();
    store.stop(Duration::from_secs(1)).await.unwrap();
    let (store, _) = SqliteStore::open(at(|| UnixMs(4_000))).unwrap();
    let opened = store.open(opening("t-2"), vec![]).await.unwrap();
    assert_eq!(opened.task.unwrap().opened, UnixMs(9_000));
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

#[tokio::test]
async fn what_is_posted_lags_until_it_is_written_and_a_verb_waits_for_all_of_it() {
    let (_directory, path) = place();
    let mut options = Options::new(&path);
    options.linger = Duration::from_secs(60);
    let (store, _) = SqliteStore::open(options).unwrap();
    assert_eq!(store.health().lag, Duration::ZERO);
    let keys = [account("task", "t-1")];
    post(&store, call("r-0", "t-1", Ending::Settle, usd(1), &keys));
    assert!(
        store.health().lag > Duration::ZERO,
        "it is in the queue at least"
    );
    // More than a group's worth, while the writer lingers.
    for row in 1..3_000 {
        let request = format!("r-{row}");
        post(&store, call(&request, "t-1", Ending::Settle, usd(1), &keys));
    }
    store.flush().await.unwrap();
    assert_eq!(store.health().lag, Duration::ZERO);
    let row = Reader::open(&path)
        .unwrap()
        .accounts(&AccountFilter::default());
    assert_eq!(row.unwrap()[0].balance.settled, usd(3_000));
}

#[tokio::test]
async fn a_store_that_turns_read_only_refuses_grants_and_keeps_what_was_posted() {
    let (_directory, path) = place();
    let store = open(&path);
    let key = account("task", "t-1");
    store
        .open(opening("t-1"), vec![grant(&key, 100)])
        .await
        .unwrap();
    store.set_read_only(true).await;
    let keys = [key.clone()];
    post(&store, call("r-1", "t-1", Ending::Settle, usd(40), &keys));
    let refused = store.open(None, vec![grant(&key, 200)]).await;
    assert!(
        matches!(refused, Err(StoreError::ReadOnly(_))),
        "{refused:?}"
    );
    let health = store.health();
    assert!(
        matches!(health.fault, Some(StoreError::ReadOnly(_))),
        "{health:?}"
    );
    assert!(health.lag > Duration::ZERO);
    store.set_read_only(false).await;
    let found = store.open(None, vec![grant(&key, 200)]).await.unwrap();
    assert_eq!(found.balances[0].1.settled, usd(40));
    assert!(store.health().is_healthy());
    assert_eq!(store.health().lag, Duration::ZERO);
    assert!(store.stop(Duration::from_secs(1)).await.unwrap());
    assert_sound(&path);
}
