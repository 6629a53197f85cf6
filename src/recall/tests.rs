use super::*;
use crate::units::{NanoUsd, UnixMs};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::future::poll_fn;
use std::time::Duration;

const BOUNDS: KeptBounds = KeptBounds {
    ttl: Duration::from_secs(60),
    max_bytes: 1 << 20,
    max_answer: 100,
};

fn head() -> Head {
    let mut headers = HeaderMap::new();
    headers.insert("x-a", HeaderValue::from_static("b:c"));
    Head {
        status: StatusCode::OK,
        headers,
    }
}

async fn read(reader: &mut Reader) -> Option<Result<Bytes, std::io::ErrorKind>> {
    let read = poll_fn(|cx| reader.poll_data(cx)).await;
    read.map(|piece| piece.map_err(|error| error.kind()))
}

async fn all(mut reader: Reader) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = read(&mut reader).await {
        all.extend_from_slice(&piece.unwrap());
    }
    all
}

fn new(keys: &Keys, key: u8, print: u8) -> Opened {
    match keys.open(&BOUNDS, [key; 32], [print; 32]) {
        Found::New(opened) => opened,
        Found::Before(_) => panic!("key {key} is taken"),
    }
}

fn before(keys: &Keys, key: u8) -> Arc<Entry> {
    match keys.open(&BOUNDS, [key; 32], [0; 32]) {
        Found::Before(entry) => entry,
        Found::New(_) => panic!("key {key} is free"),
    }
}

#[tokio::test]
async fn whoever_comes_while_an_answer_is_under_way_reads_all_of_it() {
    let keys = Keys::default();
    let opened = new(&keys, 1, 9);
    let entry = before(&keys, 1);
    assert_eq!(entry.print, [9; 32]);
    let early = tokio::spawn({
        let recording = Arc::clone(&entry.recording);
        async move { all(recording.join().await.unwrap().1).await }
    });
    tokio::task::yield_now().await;
    opened.recording().begin(head());
    assert!(!opened.recording().push("one ".into(), 100));
    let (_, late) = entry.recording.join().await.unwrap();
    let late = tokio::spawn(all(late));
    tokio::task::yield_now().await;
    assert!(!opened.recording().push("two".into(), 100));
    opened.finish(End::Whole(Some(NanoUsd(5))));
    assert_eq!(early.await.unwrap(), b"one two");
    assert_eq!(late.await.unwrap(), b"one two");
    // And afterwards, from what is kept.
    let entry = before(&keys, 1);
    assert_eq!(entry.recording.end(), Some(End::Whole(Some(NanoUsd(5)))));
    let (_, reader) = entry.recording.join().await.unwrap();
    assert_eq!(all(reader).await, b"one two");
}

#[tokio::test]
async fn what_came_to_nothing_leaves_its_key_free() {
    let keys = Keys::default();
    let opened = new(&keys, 1, 9);
    let entry = before(&keys, 1);
    let waiting = tokio::spawn({
        let recording = Arc::clone(&entry.recording);
        async move { recording.join().await.is_none() }
    });
    tokio::task::yield_now().await;
    drop(opened);
    assert!(waiting.await.unwrap());
    drop(new(&keys, 1, 8));
    // An answer that is not to be kept is still read to its end.
    let opened = new(&keys, 1, 8);
    opened.recording().begin(head());
    let (_, mut reader) = opened.recording().join().await.unwrap();
    opened.recording().push("x".into(), 100);
    opened.finish(End::Over);
    assert_eq!(read(&mut reader).await, Some(Ok("x".into())));
    assert_eq!(read(&mut reader).await, None);
    drop(new(&keys, 1, 8));
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_all() {
    let keys = Keys::default();
    let opened = new(&keys, 1, 9);
    opened.recording().begin(head());
    let (_, mut reader) = opened.recording().join().await.unwrap();
    opened.recording().push("x".into(), 100);
    drop(opened);
    assert_eq!(read(&mut reader).await, Some(Ok("x".into())));
    let broken = std::io::ErrorKind::ConnectionAborted;
    assert_eq!(read(&mut reader).await, Some(Err(broken)));
}

#[tokio::test]
async fn an_answer_beyond_its_bound_goes_on_at_its_readers_pace() {
    let keys = Keys::default();
    let opened = new(&keys, 1, 9);
    let recording = Arc::clone(opened.recording());
    recording.begin(head());
    let (_, mut reader) = recording.join().await.unwrap();
    let piece = Bytes::from(vec![b'x'; 80]);
    assert!(!recording.push(piece.clone(), 100));
    assert!(
        recording.push(piece.clone(), 100),
        "it has outgrown the bound now"
    );
    opened.let_go();
    assert!(!recording.push(piece.clone(), 100), "told once");
    // Nobody joins any more, and the key is free.
    assert!(recording.join().await.is_none());
    drop(new(&keys, 1, 9));
    // There is no room until the reader has read.
    let waits = tokio::time::timeout(Duration::from_millis(20), recording.room(100));
    assert!(waits.await.is_err());
    for _ in 0..2 {
        assert_eq!(read(&mut reader).await, Some(Ok(piece.clone())));
    }
    assert!(recording.room(100).await);
    // And nobody to wait for once the reader is gone.
    drop(reader);
    assert!(!recording.room(100).await);
    opened.finish(End::Whole(None));
    assert_eq!(recording.end(), Some(End::Over), "not all of it is there");
}

#[test]
fn no_two_lists_of_fields_are_one() {
    let print = |fields: &[&str]| {
        let mut all = Fields::default();
        fields.iter().for_each(|field| all.add(field.as_bytes()));
        all.print()
    };
    assert_ne!(print(&["a", "b"]), print(&["ab", ""]));
    assert_ne!(print(&["a", ""]), print(&["a"]));
}

#[tokio::test]
async fn an_answer_that_is_written_down_outlives_whoever_wrote_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.answers.db");
    let written = |body: &'static str| Written {
        print: [9; 32],
        head: head(),
        body: body.into(),
        cost: Some(NanoUsd(7)),
    };
    let times = |at: i64| (UnixMs(at), UnixMs(at - 100));
    let durable = Durable::new(path.clone(), false);
    assert!(durable.find([1; 32], UnixMs(0)).await.unwrap().is_none());
    durable
        .keep([1; 32], written("one"), times(1_000), 1_000)
        .await
        .unwrap();
    drop(durable);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "nobody else reads it");
    }
    let durable = Durable::new(path, true);
    let found = durable.find([1; 32], UnixMs(900)).await.unwrap().unwrap();
    assert_eq!(
        (&found.body[..], found.cost),
        (&b"one"[..], Some(NanoUsd(7)))
    );
    assert_eq!(found.head.headers, head().headers);
    // Beyond its window it is not given, and goes with the next that is kept.
    assert!(
        durable
            .find([1; 32], UnixMs(1_001))
            .await
            .unwrap()
            .is_none()
    );
    durable
        .keep([2; 32], written("two"), times(1_200), 1_000)
        .await
        .unwrap();
    assert!(durable.find([1; 32], UnixMs(0)).await.unwrap().is_none());
    // The oldest make room.
    durable
        .keep([3; 32], written("three"), times(1_201), 14)
        .await
        .unwrap();
    assert!(durable.find([2; 32], UnixMs(0)).await.unwrap().is_none());
    assert!(durable.find([3; 32], UnixMs(0)).await.unwrap().is_some());
}
