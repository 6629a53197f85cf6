//! The chain: every kind of tampering is found, and its row is named.

use super::*;
use proptest::prelude::*;
use rusqlite::Connection;

/// A stopped store with a dozen rows and more.
async fn written() -> (TempDir, PathBuf) {
    let (directory, path) = place();
    let store = open(&path);
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
    store.top_up(key, usd(5), "ann".into()).await.unwrap();
    store.stop(Duration::from_secs(1)).await.unwrap();
    (directory, path)
}

fn verify(path: &Path) -> Verdict {
    Reader::open(path)
        .unwrap()
        .verify(&VerifyOptions::default())
        .unwrap()
}

/// Runs SQL behind the store's back; the answer is the first bad row.
async fn after(sql: &str) -> Option<FirstBad> {
    let (_directory, path) = written().await;
    assert!(verify(&path).is_ok());
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    verify(&path).first_bad
}

#[tokio::test]
async fn a_changed_row_is_named() {
    let changes = [
        "entry = replace(entry, '\"charged\":[100', '\"charged\":[1')",
        "entry = entry || ' '",
        "at = at + 1",
        "kind = 'alarm'",
        "task = 7",
        "hash = zeroblob(32)",
        "hash = x'00'",
        "entry = x'ff'",
        "at = 'noon'",
    ];
    for change in changes {
        let bad = after(&format!("UPDATE journal SET {change} WHERE seq = 6")).await;
        assert_eq!(bad.map(|bad| bad.seq), Some(6), "{change}");
    }
}

#[tokio::test]
async fn a_row_that_is_gone_or_new_or_elsewhere_is_named() {
    let cases = [
        ("DELETE FROM journal WHERE seq = 5", 5),
        ("DELETE FROM journal WHERE seq = 1", 1),
        ("DELETE FROM journal WHERE seq >= 12", 12),
        (
            "DELETE FROM journal WHERE seq = (SELECT max(seq) FROM journal)",
            15,
        ),
        (
            "INSERT INTO journal SELECT seq + 1, at, kind, task, entry, hash FROM journal ORDER BY seq DESC LIMIT 1",
            16,
        ),
        (
            "INSERT INTO journal SELECT 0, at, kind, task, entry, hash FROM journal WHERE seq = 3",
            0,
        ),
        (
            "UPDATE journal SET seq = -1 WHERE seq = 5; UPDATE journal SET seq = 5 WHERE seq = 6; UPDATE journal SET seq = 6 WHERE seq = -1",
            5,
        ),
        ("UPDATE meta SET head_seq = 14", 15),
    ];
    for (sql, seq) in cases {
        assert_eq!(after(sql).await.map(|bad| bad.seq), Some(seq), "{sql}");
    }
}

#[tokio::test]
async fn a_balance_that_the_rows_do_not_imply_is_named() {
    let changes = [
        "UPDATE accounts SET settled = zeroblob(80)",
        "UPDATE accounts SET topped_up = settled",
        "UPDATE accounts SET key = replace(key, 't-1', 't-2')",
        "DELETE FROM accounts",
        "DELETE FROM doubts",
        "INSERT INTO doubts (id, at, reason, amounts, accounts) VALUES (3, 0, 'crash', zeroblob(80), '[]')",
    ];
    for change in changes {
        let (_directory, path) = written().await;
        Connection::open(&path)
            .unwrap()
            .execute_batch(change)
            .unwrap();
        let verdict = verify(&path);
        assert_eq!(verdict.bad_balances.len(), 1, "{change}: {verdict:?}");
    }
}

/// A forger with write access can make a whole new chain; only a head kept elsewhere shows it.
#[tokio::test]
async fn a_noted_head_finds_a_chain_that_was_rewritten() {
    let (_directory, path) = written().await;
    let noted = Reader::open(&path).unwrap().head().unwrap();
    let noted: Head = noted.to_string().parse().unwrap();
    let forge = |head: Head| {
        let text = format!(
            "DELETE FROM journal WHERE seq > 12;
             UPDATE meta SET head_seq = 12, head_hash = (SELECT hash FROM journal WHERE seq = 12);
             SELECT {}",
            head.seq
        );
        Connection::open(&path)
            .unwrap()
            .execute_batch(&text)
            .unwrap();
    };
    forge(noted);
    let reader = Reader::open(&path).unwrap();
    assert_eq!(
        reader.verify(&VerifyOptions::default()).unwrap().first_bad,
        None
    );
    let options = VerifyOptions {
        head: Some(noted),
        archive_dir: None,
    };
    let bad = reader.verify(&options).unwrap().first_bad.unwrap();
    assert_eq!(bad.seq, noted.seq);
    let other = VerifyOptions {
        head: Some(Head {
            seq: 3,
            hash: [0; 32],
        }),
        archive_dir: None,
    };
    assert_eq!(reader.verify(&other).unwrap().first_bad.unwrap().seq, 3);
}

/// The encoding is a promise: this hash was computed with another program.
#[test]
fn the_encoding_stays() {
    let genesis = super::super::chain::genesis("00112233aabbccdd");
    let hash =
        super::super::chain::link(&genesis, 1, 1_762_000_000_000, "started", br#"{"epoch":1}"#);
    assert_eq!(
        super::super::chain::hex(&hash),
        "a684848afa928ba857a0ee0956d1dc6fbe1a476d4b372057abc2aa712dee29cf"
    );
}

#[test]
fn a_call_reads_back_as_it_was_written() {
    let accounts = [account("task", "t-1")];
    let entry = call(
        "r-1",
        "t \"1\" \u{1F600}",
        Ending::Unreconciled,
        usd(7),
        &accounts,
    );
    let text = serde_json::to_string(&CallBody::new(&entry, entry.ended, vec![1])).unwrap();
    let body: CallBody<'_> = serde_json::from_str(&text).unwrap();
    assert_eq!(body.task.as_str(), "t \"1\" \u{1F600}");
    assert_eq!(serde_json::to_string(&body).unwrap(), text);
    insta::assert_snapshot!(text);
}

#[test]
fn a_row_leaves_out_what_goes_without_saying() {
    let mut entry = call(
        "req_0af7651916cd43dd8448eb211c80319c",
        "t-1",
        Ending::Settle,
        usd(7),
        &[],
    );
    let who = Arc::make_mut(&mut entry.attribution);
    who.identity = "research".into();
    entry.answered = Some(Arc::clone(&entry.model));
    let number = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
    entry.trace = Some(TraceIds {
        trace: number,
        span: 0x8448_eb21_1c80_319c,
    });
    let text = serde_json::to_string(&CallBody::new(&entry, entry.ended, vec![1])).unwrap();
    for left_out in [
        "identity", "ended", "answered", "status", "trace", "span", "_from",
    ] {
        assert!(!text.contains(left_out), "{left_out}: {text}");
    }
    let read = CallBody::read(entry.ended, &text).unwrap();
    assert_eq!(read.identity.as_str(), "research");
    assert_eq!(read.ended, entry.ended.0);
    assert_eq!(read.answered.unwrap().as_str(), "gpt-4o-mini");
    assert_eq!(read.status, Some(200));
    assert_eq!(read.charged.0, usd(7));
    // Rows with amounts by name are read too.
    let named = text.replace("\"charged\":[7]", "\"charged\":{\"usd\":7}");
    assert_ne!(named, text);
    assert_eq!(
        CallBody::read(entry.ended, &named).unwrap().charged.0,
        usd(7)
    );
    // What is not as usual is said.
    entry.trace = Some(TraceIds { trace: 1, span: 2 });
    let text = serde_json::to_string(&CallBody::new(&entry, UnixMs(9_000), vec![1])).unwrap();
    let said = [
        "\"ended\":2000",
        "\"trace\":\"00000000000000000000000000000001\"",
        "\"span\":\"0000000000000002\"",
    ];
    assert!(said.iter().all(|said| text.contains(said)), "{text}");
}

#[tokio::test]
async fn verify_runs_beside_the_writer() {
    let (_directory, path) = place();
    let store = open(&path);
    let key = account("task", "t-1");
    store
        .open(opening("t-1"), vec![grant(&key, 10_000)])
        .await
        .unwrap();
    let reader = Reader::open(&path).unwrap();
    for row in 0..50 {
        post(
            &store,
            call(
                &format!("r-{row}"),
                "t-1",
                Ending::Settle,
                usd(1),
                std::slice::from_ref(&key),
            ),
        );
        if row % 5 == 0 {
            store.flush().await.unwrap();
            assert!(reader.verify(&VerifyOptions::default()).unwrap().is_ok());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever byte of whatever entry changes, that row is the first bad one.
    #[test]
    fn any_changed_byte_is_found(seq in 1_i64..=15, at in 0_usize..600, xor in 1_u8..=255) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (_directory, path) = runtime.block_on(written());
        let conn = Connection::open(&path).unwrap();
        let entry: String = conn.query_row("SELECT entry FROM journal WHERE seq = ?1", [seq], |row| row.get(0)).unwrap();
        let mut bytes = entry.into_bytes();
        let at = at % bytes.len();
        bytes[at] ^= xor;
        let text = "UPDATE journal SET entry = CAST(?1 AS TEXT) WHERE seq = ?2";
        conn.execute(text, rusqlite::params![bytes, seq]).unwrap();
        prop_assert_eq!(verify(&path).first_bad.map(|bad| bad.seq), Some(seq));
    }

    #[test]
    fn heads_read_back(seq in 0_i64.., hash in any::<[u8; 32]>()) {
        let head = Head { seq, hash };
        prop_assert_eq!(head.to_string().parse::<Head>(), Ok(head));
    }

    #[test]
    fn no_text_panics_as_a_head(text in ".*") {
        let _ = text.parse::<Head>();
    }
}

#[tokio::test]
async fn who_called_whom_is_told_by_the_calls_that_were_let_through() {
    let (_directory, path) = place();
    let store = open(&path);
    let calls = [
        (Some("a"), Some("lead"), Ending::Settle, None),
        (Some("lead"), None, Ending::Settle, None),
        (Some("b"), Some("lead"), Ending::Denied, None),
        (Some("a"), Some("lead"), Ending::Settle, None),
        (None, Some("a"), Ending::Unreconciled, None),
        (Some("d"), Some("lead"), Ending::Settle, Some("task_opened")),
        (Some("e"), Some("a"), Ending::Settle, Some("agent_joined")),
    ];
    for (agent, parent, ending, reason) in calls {
        let mut call = call("r", "t-1", ending, Amounts::ZERO, &[]);
        let mut who = (*call.attribution).clone();
        who.agent = agent.map(|agent| header(agent.into()));
        who.parent = parent.map(|parent| header(parent.into()));
        call.attribution = Arc::new(who);
        call.reason = reason.map(Arc::from);
        post(&store, call);
    }
    store.flush().await.unwrap();
    let pair = |agent: Option<&str>, parent: &str| (agent.map(Into::into), parent.into());
    let all = [
        pair(Some("a"), "lead"),
        pair(None, "a"),
        pair(Some("e"), "a"),
    ];
    assert_eq!(store.agents(task_key("t-1"), 10).await.unwrap(), all);
    let two = store.agents(task_key("t-1"), 2).await.unwrap();
    assert_eq!(two, all[..2]);
    assert!(store.agents(task_key("t-2"), 10).await.unwrap().is_empty());
}
