//! `kill -9`: nothing granted or posted is lost, and what is not proven is in doubt.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[tokio::test]
async fn what_a_crash_left_unproven_is_in_doubt() {
    let (_directory, path) = place();
    let store = open(&path);
    let key = account("task", "t-1");
    store
        .open(opening("t-1"), vec![grant(&key, 1_000)])
        .await
        .unwrap();
    post(
        &store,
        call(
            "r-1",
            "t-1",
            Ending::Settle,
            usd(300),
            std::slice::from_ref(&key),
        ),
    );
    store.flush().await.unwrap();
    store.die().await;
    let (store, loaded) = SqliteStore::open(Options::new(&path)).unwrap();
    assert!(loaded.after_crash);
    assert_eq!(loaded.doubted, [(key.clone(), usd(700))]);
    let found = balance(&store, &key).await;
    assert_eq!(
        (found.settled, found.in_doubt, found.granted),
        (usd(300), usd(700), usd(1_000))
    );
    let doubts = store.doubts(DoubtFilter::default()).await.unwrap();
    assert_eq!((&*doubts[0].reason, doubts[0].amounts), ("crash", usd(700)));
    // A second crash doubts nothing twice.
    store.die().await;
    let (store, loaded) = SqliteStore::open(Options::new(&path)).unwrap();
    assert!(loaded.doubted.is_empty());
    store.release(Release::All, "ann".into()).await.unwrap();
    assert_eq!(balance(&store, &key).await.in_doubt, usd(0));
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

#[derive(Clone, Debug)]
enum Step {
    Grant(usize, u64),
    Settle(usize, u64),
    Doubt(usize, u64),
    GiveBack(usize, u64),
    Release,
    Crash,
    Stop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let account = 0_usize..3;
    let step = prop_oneof![
        4 => (account.clone(), 0_u64..1_000).prop_map(|(a, n)| Step::Grant(a, n)),
        6 => (account.clone(), 0_u64..400).prop_map(|(a, n)| Step::Settle(a, n)),
        2 => (account.clone(), 0_u64..400).prop_map(|(a, n)| Step::Doubt(a, n)),
        2 => (account, 0_u64..1_000).prop_map(|(a, n)| Step::GiveBack(a, n)),
        1 => Just(Step::Release),
        1 => Just(Step::Crash),
        1 => Just(Step::Stop),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What one account must hold, in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Model {
    settled: u64,
    in_doubt: u64,
    granted: u64,
}

impl Model {
    fn cover(&mut self) {
        self.granted = self.granted.max(self.settled + self.in_doubt);
    }
}

async fn play(steps: Vec<Step>) {
    let (_directory, path) = place();
    let mut store = open(&path);
    let mut models: HashMap<usize, Model> = HashMap::new();
    let keys = [
        account("a", "t-1"),
        account("b", "t-1"),
        account("c", "t-1"),
    ];
    for (number, step) in steps.into_iter().enumerate() {
        let request = format!("r-{number}");
        match step {
            Step::Grant(at, upto) => {
                store
                    .open(opening("t-1"), vec![grant(&keys[at], upto)])
                    .await
                    .unwrap();
                let model = models.entry(at).or_default();
                model.granted = model.granted.max(upto);
            }
            Step::Settle(at, spent) => {
                post(
                    &store,
                    call(&request, "t-1", Ending::Settle, usd(spent), &keys[at..=at]),
                );
                let model = models.entry(at).or_default();
                model.settled += spent;
                model.cover();
            }
            Step::Doubt(at, spent) => {
                post(
                    &store,
                    call(
                        &request,
                        "t-1",
                        Ending::Unreconciled,
                        usd(spent),
                        &keys[at..=at],
                    ),
                );
                let model = models.entry(at).or_default();
                model.in_doubt += spent;
                model.cover();
            }
            Step::GiveBack(at, level) => {
                store
                    .give_back(vec![(keys[at].clone(), usd(level))])
                    .await
                    .unwrap();
                if let Some(model) = models.get_mut(&at) {
                    model.granted = model.granted.min(level);
                    model.cover();
                }
            }
            Step::Release => {
                store.release(Release::All, "ann".into()).await.unwrap();
                models.values_mut().for_each(|model| model.in_doubt = 0);
            }
            Step::Crash => {
                // What was posted is written by the next group; a crash may come before it.
                store.flush().await.unwrap();
                store.die().await;
                store = open(&path);
                models
                    .values_mut()
                    .for_each(|model| model.in_doubt = model.granted - model.settled);
            }
            Step::Stop => {
                store.stop(Duration::from_secs(1)).await.unwrap();
                store = open(&path);
                for model in models.values_mut() {
                    model.granted = model.settled + model.in_doubt;
                }
            }
        }
    }
    for (at, model) in models {
        let found = balance(&store, &keys[at]).await;
        let found = [found.settled, found.in_doubt, found.granted].map(|sum| sum[Meter::Usd]);
        assert_eq!(
            found,
            [model.settled, model.in_doubt, model.granted],
            "account {at}"
        );
    }
    store.stop(Duration::from_secs(1)).await.unwrap();
    assert_sound(&path);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn balances_follow_the_model_through_crashes_and_stops(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}

// === a real kill ===

const CHILD: &str = "BURSAR_TEST_STORE_CHILD";

/// No test by itself: the process that [`nothing_acknowledged_is_lost_to_kill_9`] kills. It says
/// what the store acknowledged: `granted N` after a grant, `settled N` after a flush.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (store, _) = SqliteStore::open(Options::new(PathBuf::from(path))).unwrap();
        let key = account("task", "t-1");
        let start = balance(&store, &key).await;
        let mut granted = start.granted[Meter::Usd];
        let mut settled = start.settled[Meter::Usd];
        loop {
            granted += 50;
            store
                .open(opening("t-1"), vec![grant(&key, granted)])
                .await
                .unwrap();
            println!("\ngranted {granted}");
            for _ in 0..5 {
                post(
                    &store,
                    call(
                        "r",
                        "t-1",
                        Ending::Settle,
                        usd(10),
                        std::slice::from_ref(&key),
                    ),
                );
                settled += 10;
            }
            if granted % 200 == 0 {
                store.flush().await.unwrap();
                println!("\nsettled {settled}");
            }
        }
    });
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_to_kill_9() {
    let (_directory, path) = place();
    for round in 0..6_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["store::tests::crash::child", "--exact", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut granted, mut settled, mut lines) = (0, 0, 0);
        let mut killed = false;
        for line in BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
        {
            let Some((what, number)) = line.split_once(' ') else {
                continue;
            };
            match (what, number.parse::<u64>()) {
                ("granted", Ok(number)) => granted = number,
                ("settled", Ok(number)) => settled = number,
                _ => continue,
            }
            lines += 1;
            if !killed && lines > 7 + round * 13 {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(granted > 0 && killed);
        assert_sound(&path);
        let (store, loaded) = SqliteStore::open(Options::new(&path)).unwrap();
        assert!(loaded.after_crash);
        let found = balance(&store, &account("task", "t-1")).await;
        assert!(found.granted[Meter::Usd] >= granted, "{found:?} {granted}");
        assert!(found.settled[Meter::Usd] >= settled, "{found:?} {settled}");
        let proven = found.settled.saturating_add(&found.in_doubt);
        assert_eq!(found.granted, proven, "what is not proven is in doubt");
        store.stop(Duration::from_secs(1)).await.unwrap();
    }
    assert_sound(&path);
}
