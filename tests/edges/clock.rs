//! The wall clock is set while the gateway runs: no window opens twice, nothing is lost, and time that
//! goes on goes on.

use crate::common::books;
use crate::common::calls::{Ask, Reply};
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use bursar::sim::{Settings, Sim};
use bursar::units::Meter;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const DAY_S: i64 = 86_400;

/// Three calls of one turn a day, for everybody together.
const THREE_A_DAY: &str = "[[limit]]\nname = \"day\"\nper = [\"owner\"]\nturns = 3\nwindow = { every = \"day\", timezone = \"UTC\" }\n";

/// A clock that is set by a file.
struct Clock {
    _dir: TempDir,
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, library) = (dir.path().join("offset"), dir.path().join("clock.so"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edges/clock.c");
        // Whoever builds Rust programs has a C compiler: it links them.
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .status();
        assert!(built.expect("a C compiler").success());
        let clock = Self {
            _dir: dir,
            file,
            library,
        };
        clock.set(0);
        clock
    }

    /// So many seconds beside the real time.
    fn set(&self, seconds: i64) {
        // In one step: the gateway reads it all the time.
        let new = self.file.with_extension("new");
        std::fs::write(&new, seconds.to_string()).expect("a file");
        std::fs::rename(new, &self.file).expect("a file");
    }

    fn under(&self) -> String {
        format!(
            "export BURSAR_TEST_CLOCK='{}' LD_PRELOAD='{}'",
            self.file.display(),
            self.library.display()
        )
    }
}

async fn call(gateway: &Gateway) -> Reply {
    let reply = gateway.caller("t").call(&Ask::chat("sim-a")).await;
    reply.expect("an answer")
}

fn assert_used_up(reply: &Reply) {
    assert_eq!(reply.refusal().as_deref(), Some("turns_exceeded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_steps_back_opens_no_window_again() {
    let clock = Clock::new();
    let sim = Sim::start(Settings::default()).await.expect("a sim");
    let setup = Setup::new(sim.addr()).limits(THREE_A_DAY);
    let mut gateway = Gateway::start(&setup.under(&clock.under())).await;

    // Tomorrow, whatever the time of day: away from midnight by what the test takes.
    clock.set(DAY_S);
    for _ in 0..3 {
        assert_eq!(call(&gateway).await.status, 200);
    }
    assert_used_up(&call(&gateway).await);
    // Yesterday's turns are not there to be had again, nor are today's of the day before.
    for back in [0, -DAY_S, -400 * DAY_S] {
        clock.set(back);
        assert_used_up(&call(&gateway).await);
    }
    // Not even for the next life.
    assert!(gateway.stop().await.success());
    gateway.start_again().await;
    assert_used_up(&call(&gateway).await);

    // The day after, the next window opens; then back, and it does not open again.
    clock.set(2 * DAY_S);
    assert_eq!(call(&gateway).await.status, 200);
    clock.set(-DAY_S);
    for _ in 0..2 {
        assert_eq!(call(&gateway).await.status, 200, "of the same window");
    }
    assert_used_up(&call(&gateway).await);
    assert_eq!(sim.bill().turns, 6);

    gateway.quiet().await;
    assert!(gateway.stop().await.success());
    books::verify(&gateway.store());
    let days = books::accounts(&gateway.store(), "day");
    let turns: Vec<u64> = days
        .iter()
        .map(|day| day.balance.settled[Meter::Turns])
        .collect();
    assert_eq!(turns, [3, 3], "{days:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_steps_back_prolongs_no_wait() {
    let clock = Clock::new();
    let sim = Sim::start(Settings {
        latency: std::time::Duration::from_secs(4),
        ..Settings::default()
    });
    let sim = sim.await.expect("a sim");
    let setup = Setup::new(sim.addr())
        .limits("[[limit]]\nname = \"task\"\nper = [\"task\"]\nturns = 1\n")
        .top("wait_for_holds = \"1s\"");
    let gateway = Gateway::start(&setup.under(&clock.under())).await;
    let ask = Ask::chat("sim-a");
    let (first, second) = (gateway.caller("t"), gateway.caller("t"));
    let both = tokio::join!(first.call(&ask), async {
        let waiting = async {
            crate::common::until(
                "one is on its way",
                std::time::Duration::from_secs(10),
                || async { (sim.bill().calls > 0).then_some(()) },
            )
            .await;
            second.call(&ask).await
        };
        let stepping =
            crate::common::until("one waits", std::time::Duration::from_secs(10), || async {
                let waiting = gateway.metrics().await.get("bursar_waiting_calls");
                (waiting > 0.0).then(|| clock.set(-3600))
            });
        tokio::join!(waiting, stepping).0
    });
    // It gave up after its second, long before the first was answered; had it waited for the clock to
    // come back, the turn would have been spent by then.
    assert_eq!(both.0.expect("an answer").status, 200);
    let second = both.1.expect("an answer");
    assert_eq!(second.refusal().as_deref(), Some("budget_held"));
    gateway.quiet().await;
}
