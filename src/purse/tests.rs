//! The purse over a real store: an end counts once, however it falls in with the balance.

use super::*;
use crate::attribution::{Attribution, Source, Sourced};
use crate::ledger::Footing;
use crate::ledger::{Caps, Edition, Settings};
use crate::store::CallEntry;
use crate::store::{Options, SqliteStore};
use crate::units::{Meter, NanoUsd, TaskKey};

const NEVER: UnixMs = UnixMs(i64::MAX);
/// The longest that anything is waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

fn purse() -> (tempfile::TempDir, Arc<Purse>) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(directory.path().join("bursar.db"));
    let (store, _) = SqliteStore::open(options).unwrap();
    let ledger = Ledger::new(Settings {
        wait_for_holds_ms: 30_000,
        line_max_waiters: 10,
        line_max_bytes: 1 << 20,
    });
    (directory, Purse::new(ledger, Arc::new(store)))
}

fn cover(limit: &str, observe: bool) -> Cover {
    Cover {
        key: AccountKey {
            limit: limit.into(),
            per: [].into(),
            window: None,
        },
        caps: Caps::default().with(Meter::Usd, 1_000),
        observe,
        warn_permille: None,
        edition: Edition::Policy(0),
    }
}

fn usd(nano: u64) -> Amounts {
    Amounts::ZERO.with(Meter::Usd, nano)
}

async fn hold(purse: &Arc<Purse>, covers: Vec<Cover>) -> Hold {
    let asker = Asker {
        stand: crate::ledger::Stand::default(),
        task: TaskKey {
            owner: "o".into(),
            task: "t".into(),
        },
        agent: None,
        parent: None,
        bytes: 0,
        paused_ms: 0,
        windows_until: None,
    };
    let mut ask = Ask {
        covers,
        fixed: usd(100),
        elastic: None,
    };
    let held = purse.hold(&asker, &mut ask, NEVER, |_| {}).await;
    held.unwrap_or_else(|error| panic!("{error:?}"))
}

fn entry(hold: &Hold, charged: Amounts) -> Box<CallEntry> {
    fn said<T>(value: T) -> Sourced<T> {
        Sourced {
            value,
            source: Source::Header,
        }
    }
    Box::new(CallEntry {
        request: "r".into(),
        admitted: UnixMs(1),
        ended: UnixMs(2),
        attribution: Arc::new(Attribution {
            owner: "o".into(),
            identity: "i".into(),
            task: said("t".into()),
            agent: None,
            role: None,
            invocation: None,
            parent: None,
            on_behalf_of: None,
            joined: None,
        }),
        trace: None,
        dialect: "openai-chat",
        translated: None,
        hedge: None,
        model: "m".into(),
        provider: None,
        answered: None,
        answer_id: None,
        ending: crate::store::Ending::Settle,
        reason: None,
        limit: None,
        quoted: hold.terms.quoted,
        charged,
        told: None,
        overrun: NanoUsd::ZERO,
        price_version: "-".into(),
        route: None,
        asked: None,
        shadow: None,
        tools: vec![],
        status: None,
        steps: None,
        joins: None,
        accounts: Arc::clone(&hold.accounts),
    })
}

fn settle(hold: Hold, nano: u64) {
    let entry = entry(&hold, usd(nano));
    drop(hold.end(Outcome::Settle(usd(nano)), Some(entry), || Box::new(|_| {})));
}

/// What the ledger and the store have settled, once both know.
async fn settled(purse: &Arc<Purse>, key: &AccountKey) -> (u64, u64) {
    let begun = std::time::Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "never known");
        let here = purse.look(|ledger| {
            let account = ledger.account(key).filter(|account| account.loaded);
            account.map(|account| (account.settled.usd().0, account.held.usd().0))
        });
        if let Some((settled, 0)) = here {
            purse.store().flush().await.unwrap();
            let grant = Grant {
                key: key.clone(),
                upto: Amounts::ZERO,
                seed: None,
            };
            let opened = purse.store().open(None, vec![grant]).await.unwrap();
            return (settled, opened.balances[0].1.settled.usd().0);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_call_that_ends_before_the_balance_is_asked_for_counts_once() {
    let (_directory, purse) = purse();
    let watched = cover("watched", true);
    // The grant is on its way but nobody has carried it yet: this runtime has one thread.
    settle(hold(&purse, vec![watched.clone()]).await, 40);
    assert_eq!(settled(&purse, &watched.key).await, (40, 40));
    settle(hold(&purse, vec![watched.clone()]).await, 2);
    assert_eq!(settled(&purse, &watched.key).await, (42, 42));
}

#[tokio::test]
async fn an_account_that_is_added_counts_what_ends_before_and_after_it_is_known() {
    let (_directory, purse) = purse();
    let (old, new) = (cover("old", false), cover("new", false));
    let mut holds = Vec::new();
    for _ in 0..3 {
        holds.push(hold(&purse, vec![old.clone()]).await);
    }
    let added: Vec<_> = holds
        .iter()
        .map(|hold| (hold.id(), vec![new.clone()]))
        .collect();
    assert_eq!(purse.cover(&added), []);
    // One ends before the balance is asked for, one while it is, one after.
    settle(holds.remove(0), 10);
    let loading = tokio::spawn({
        let (purse, key) = (Arc::clone(&purse), new.key.clone());
        async move { purse.load(&[key]).await }
    });
    // A quick store may have answered by then.
    let begun = std::time::Instant::now();
    while purse.look(|ledger| ledger.footing(holds[0].id())) == Some(Footing::Unknown) {
        assert!(begun.elapsed() < PATIENCE, "never asked for");
        tokio::task::yield_now().await;
    }
    settle(holds.remove(0), 20);
    loading.await.unwrap().unwrap();
    purse.delayed().await;
    settle(holds.remove(0), 30);
    assert_eq!(settled(&purse, &new.key).await, (60, 60));
    assert_eq!(settled(&purse, &old.key).await, (60, 60));
    assert_eq!(purse.cover(&added).len(), 3, "all have ended");
}

#[tokio::test]
async fn an_end_that_waits_for_the_store_is_told_of_when_it_comes() {
    let (_directory, purse) = purse();
    let (mut old, new) = (cover("old", false), cover("new", false));
    old.warn_permille = Some(500);
    let hold = hold(&purse, vec![old]).await;
    assert_eq!(purse.cover(&[(hold.id(), vec![new.clone()])]), []);
    let loading = tokio::spawn({
        let (purse, key) = (Arc::clone(&purse), new.key.clone());
        async move { purse.load(&[key]).await }
    });
    let begun = std::time::Instant::now();
    while purse.look(|ledger| ledger.footing(hold.id())) == Some(Footing::Unknown) {
        assert!(begun.elapsed() < PATIENCE, "never asked for");
        tokio::task::yield_now().await;
    }
    let (told, heard) = std::sync::mpsc::channel();
    let entry = entry(&hold, usd(600));
    let later: Later = Box::new({
        let told = told.clone();
        move |end| told.send(end.warned.clone()).unwrap()
    });
    if let Some(end) = hold.end(Outcome::Settle(usd(600)), Some(entry), || later) {
        told.send(end.warned).unwrap();
    }
    loading.await.unwrap().unwrap();
    purse.delayed().await;
    let warned = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!((warned.len(), warned[0].used), (1, 600));
    assert!(heard.try_recv().is_err(), "once");
}

#[tokio::test]
async fn accounts_at_rest_are_paged_out_a_few_at_a_time_and_all_of_them() {
    let (_directory, purse) = purse();
    let covers = |n: usize| {
        (0..n)
            .map(|n| cover(&format!("limit {n}"), false))
            .collect()
    };
    let many = chores::PAGED_AT_ONCE + 100;
    settle(hold(&purse, covers(many)).await, 7);
    let busy = hold(&purse, covers(1)).await;
    assert_eq!(purse.look(|ledger| ledger.totals().accounts), many);
    purse.give_back(-1).await;
    assert_eq!(purse.look(|ledger| ledger.totals().accounts), 1);
    settle(busy, 5);
    purse.give_back(-1).await;
    assert_eq!(purse.look(|ledger| ledger.totals().accounts), 0);
    settle(hold(&purse, covers(1)).await, 1);
    let key = &cover("limit 0", false).key;
    assert_eq!(settled(&purse, key).await, (13, 13));
}
