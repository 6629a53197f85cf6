//! Rows leave, the proof stays.

use super::*;

async fn rotated(retention: Retention, path: &Path) -> SqliteStore {
    let options = Options {
        retention,
        clock: || UnixMs(3 * 86_400_000),
        ..Options::new(path)
    };
    let store = SqliteStore::open(options).unwrap().0;
    store.rotate().await.unwrap();
    // An archive is written beside the writer; it reports back before a later verb is answered,
    // once its thread is done.
    let mut base = 0;
    let begun = std::time::Instant::now();
    while base == 0 {
        assert!(begun.elapsed().as_secs() < 60, "no archive is written");
        store.flush().await.unwrap();
        tokio::task::yield_now().await;
        base = Reader::open(path).unwrap().base().unwrap();
    }
    store
}

/// Ten old calls, their doubt, and their clean stop; all on the first day of 1970.
async fn old_rows(path: &Path) {
    let options = Options {
        clock: || UnixMs(1_000),
        ..Options::new(path)
    };
    let store = SqliteStore::open(options).unwrap().0;
    let key = account("task", "t-1");
    store
        .open(opening("t-1"), vec![grant(&key, 10_000)])
        .await
        .unwrap();
    for row in 0..10 {
        let ending = if row == 4 {
            Ending::Unreconciled
        } else {
            Ending::Settle
        };
        post(
            &store,
            call(
                &format!("r-{row}"),
                "t-1",
                ending,
                usd(100),
                std::slice::from_ref(&key),
            ),
        );
    }
    store.stop(Duration::from_secs(1)).await.unwrap();
}

fn verify(path: &Path, archives: Option<&Path>) -> Verdict {
    let options = VerifyOptions {
        archive_dir: archives.map(Path::to_owned),
        head: None,
    };
    Reader::open(path).unwrap().verify(&options).unwrap()
}

#[tokio::test]
async fn dropped_rows_leave_a_checkpoint() {
    let (_directory, path) = place();
    old_rows(&path).await;
    let days = Retention {
        keep_days: Some(1),
        ..Retention::default()
    };
    let store = rotated(days, &path).await;
    let verdict = verify(&path, None);
    assert!(verdict.is_ok(), "{verdict:?}");
    assert!(!verdict.balances_compared);
    assert_eq!(verdict.rows, 2, "the start and the checkpoint");
    // The money stays.
    assert_eq!(
        balance(&store, &account("task", "t-1")).await.settled,
        usd(900)
    );
    store.stop(Duration::from_secs(1)).await.unwrap();
    // A base without its proof is found.
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute("UPDATE meta SET base_hash = zeroblob(32)", [])
        .unwrap();
    assert!(!verify(&path, None).is_ok());
}

#[tokio::test]
async fn archived_rows_are_still_verified() {
    let (directory, path) = place();
    let archives = directory.path().join("archive");
    old_rows(&path).await;
    let retention = Retention {
        keep_days: Some(1),
        max_bytes: None,
        archive_dir: Some(archives.clone()),
    };
    let store = rotated(retention, &path).await;
    store.stop(Duration::from_secs(1)).await.unwrap();
    let verdict = verify(&path, Some(&archives));
    assert!(verdict.is_ok(), "{verdict:?}");
    assert!(
        verdict.balances_compared && verdict.archived_rows > 10,
        "{verdict:?}"
    );
    assert!(verify(&path, None).is_ok());

    let file = std::fs::read_dir(&archives)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replacen("\"charged\":[100", "\"charged\":[101", 1),
    )
    .unwrap();
    let bad = verify(&path, Some(&archives)).first_bad.unwrap();
    assert!(bad.seq > 1 && bad.archive.is_some(), "{bad:?}");
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(&file, lines[..lines.len() - 1].join("\n")).unwrap();
    assert!(!verify(&path, Some(&archives)).is_ok(), "cut");
    std::fs::remove_file(&file).unwrap();
    let bad = verify(&path, Some(&archives)).first_bad.unwrap();
    assert!(bad.why.contains("archive"), "{bad:?}");
}

#[tokio::test]
async fn a_file_over_its_size_sheds_its_oldest_rows() {
    let (_directory, path) = place();
    old_rows(&path).await;
    let store = open(&path);
    for row in 0..3_000 {
        post(
            &store,
            call(&format!("r-{row}"), "t-1", Ending::Settle, usd(1), &[]),
        );
    }
    store.stop(Duration::from_secs(10)).await.unwrap();
    let size = Retention {
        max_bytes: Some(1),
        ..Retention::default()
    };
    let store = rotated(size, &path).await;
    store.stop(Duration::from_secs(10)).await.unwrap();
    let verdict = verify(&path, None);
    assert!(verdict.is_ok(), "{verdict:?}");
    assert!((1_000..3_000).contains(&verdict.rows), "{verdict:?}");
}
