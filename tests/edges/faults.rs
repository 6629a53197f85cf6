//! Faults of the store: nothing passes unmetered, what is wrong is said, and once it is mended all
//! goes on.

use crate::common::gateway::{Gateway, command};
use crate::common::program::ends_within;
use crate::common::setup::{Setup, store_in};
use crate::common::{books, until};
use crate::rig::{CHAT, HIGH_LIMITS, Shape, World, assert_refused, chat};
use bursar::sim::{Settings, Sim};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a gateway that must not start is given to say so.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a gateway that must not start; gives what it said.
pub fn refuses_to_start(dir: &TempDir) -> String {
    let (status, said) = run(dir);
    assert!(!status.success(), "{status}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn run(dir: &TempDir) -> (ExitStatus, String) {
    let mut child = command(dir)
        .args(["serve", "--config"])
        .arg(dir.path().join("config/bursar.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    let mut said = child.stderr.take().expect("piped");
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = said.read_to_string(&mut text);
        text
    });
    let status = ends_within(&mut child, PATIENCE);
    let said = reading.join().expect("a reader");
    let Some(status) = status else {
        panic!("it started, or hangs: {said:?}");
    };
    (status, said)
}

async fn sim() -> Sim {
    Sim::start(Settings::default()).await.expect("a sim")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_in_use_is_not_shared() {
    let sim = sim().await;
    let setup = Setup::new(sim.addr()).limits(HIGH_LIMITS);
    let dir = setup.write();
    let store = store_in(&dir);
    let mut first = Gateway::start_in(dir).await;
    assert!(
        first
            .caller("t")
            .call(&crate::common::calls::Ask::chat("sim-a"))
            .await
            .expect("an answer")
            .status
            .is_success()
    );
    // Another configuration, the same file.
    let second = setup.write();
    let config = second.path().join("config/bursar.toml");
    let text = std::fs::read_to_string(&config).expect("a file");
    let there = format!("sqlite:{}", store.display());
    std::fs::write(&config, text.replace("sqlite:../data/bursar.db", &there)).expect("a file");
    let said = refuses_to_start(&second);
    assert!(
        said.contains(&store.display().to_string()) && said.contains("use"),
        "{said}"
    );
    // The first goes on, and its store is whole.
    let reply = first
        .caller("t")
        .call(&crate::common::calls::Ask::chat("sim-a"))
        .await
        .expect("an answer");
    assert_eq!(reply.status, 200);
    first.quiet().await;
    assert!(first.stop().await.success());
    books::verify(&store);
    // Once it is gone, the other may have it.
    let mut successor = Gateway::start_in(second).await;
    assert!(successor.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_be_used_is_said_at_the_start() {
    let sim = sim().await;
    let setup = Setup::new(sim.addr()).limits(HIGH_LIMITS);

    // No database at all.
    let dir = setup.write();
    std::fs::create_dir_all(dir.path().join("data")).expect("a folder");
    std::fs::write(
        store_in(&dir),
        "this is no database, but long enough to be taken for one".repeat(100),
    )
    .expect("a file");
    let said = refuses_to_start(&dir);
    assert!(said.contains("bursar.db"), "{said}");
    let kept = std::fs::read_to_string(store_in(&dir)).expect("a file");
    assert!(
        kept.starts_with("this is no database"),
        "it is left as it was"
    );

    // One whose pages were overwritten.
    let dir = setup.write();
    let mut gateway = Gateway::start_in(dir).await;
    let caller = gateway.caller("t");
    for _ in 0..20 {
        caller
            .call(&crate::common::calls::Ask::chat("sim-a"))
            .await
            .expect("an answer");
    }
    gateway.quiet().await;
    assert!(gateway.stop().await.success());
    let mut file = std::fs::File::options()
        .write(true)
        .open(gateway.store())
        .expect("a store");
    let length = file.metadata().expect("a store").len();
    for page in 1..length / 4096 {
        file.seek(SeekFrom::Start(page * 4096)).expect("a page");
        file.write_all(&[0xa5; 2048]).expect("a page");
    }
    drop(file);
    let copy = setup.write();
    std::fs::create_dir_all(copy.path().join("data")).expect("a folder");
    std::fs::copy(gateway.store(), store_in(&copy)).expect("a copy");
    let said = refuses_to_start(&copy);
    assert!(
        said.contains("bursar.db") || said.contains("malformed") || said.contains("damaged"),
        "{said}"
    );

    // A folder in its place, and a folder that cannot be.
    let dir = setup.write();
    std::fs::create_dir_all(store_in(&dir)).expect("a folder");
    assert!(refuses_to_start(&dir).contains("bursar.db"));
    let dir = setup.write();
    std::fs::write(dir.path().join("data"), "a file where the folder should be").expect("a file");
    assert!(refuses_to_start(&dir).contains("data"));

    // A later version's.
    let dir = setup.write();
    let mut gateway = Gateway::start_in(dir).await;
    assert!(gateway.stop().await.success());
    let copy = setup.write();
    std::fs::create_dir_all(copy.path().join("data")).expect("a folder");
    std::fs::copy(gateway.store(), store_in(&copy)).expect("a copy");
    let database = rusqlite::Connection::open(store_in(&copy)).expect("a database");
    database
        .pragma_update(None, "user_version", 9_999)
        .expect("a version");
    drop(database);
    let said = refuses_to_start(&copy);
    assert!(
        said.contains("version") || said.contains("schema"),
        "{said}"
    );
    assert_eq!(sim.bill().calls, 20);
}

/// Shell that goes on as nobody in particular: nothing is read-only to root. `None` where that
/// cannot be had.
fn as_nobody() -> Option<&'static str> {
    let said = |program: &str, args: &[&str]| {
        let output = std::process::Command::new(program)
            .args(args)
            .output()
            .ok()?;
        output.status.success().then_some(output.stdout)
    };
    if said("id", &["-u"])?.starts_with(b"0\n") {
        said("setpriv", &["--reuid", "65534", "--clear-groups", "true"])?;
        return Some("exec setpriv --reuid 65534 --clear-groups \"$0\" \"$@\"");
    }
    Some("")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_store_is_said_at_the_start() {
    let Some(under) = as_nobody() else {
        eprintln!("skipped: root cannot become anybody else here");
        return;
    };
    let sim = sim().await;
    let setup = Setup::new(sim.addr()).limits(HIGH_LIMITS);
    let mut gateway = Gateway::start_in(setup.write()).await;
    assert!(gateway.stop().await.success());
    let allow = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    };
    // The file alone, and the folder with it.
    for folder in [0o777, 0o555] {
        let dir = setup.clone().under(under).write();
        let data = dir.path().join("data");
        std::fs::create_dir_all(&data).expect("a folder");
        std::fs::copy(gateway.store(), store_in(&dir)).expect("a copy");
        for path in [
            dir.path().to_owned(),
            dir.path().join("config"),
            dir.path().join("policies"),
        ] {
            allow(&path, 0o755);
        }
        allow(&store_in(&dir), 0o444);
        allow(&data, folder);
        let said = refuses_to_start(&dir);
        assert!(said.contains("bursar.db"), "{said}");
        allow(&data, 0o755);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_lets_nothing_pass() {
    // Files may grow to 512 kB: what lies beyond fails as a full disk does.
    let sim = Sim::start(Settings::default()).await.expect("a sim");
    let setup = Setup::new(sim.addr())
        .limits("[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"2.00\"\n")
        .under("ulimit -f 512; trap '' XFSZ");
    let dir = setup.write();
    let world = World::around(sim, dir).await;
    let began = Instant::now();
    let mut answered = 0_u64;
    let refused = loop {
        let reply = world
            .post(CHAT, &chat("sim-a"))
            .header("x-bursar-task-id", &format!("t-{answered}"))
            .send()
            .await;
        match reply.status.as_u16() {
            200 => answered += 1,
            _ => break reply,
        }
        assert!(
            began.elapsed() < Duration::from_secs(40),
            "never full after {answered} calls"
        );
    };
    assert_refused("full", &refused, Shape::Openai, 503, "store_unavailable");
    // It stays so, in every dialect, and says so where operators look.
    for path in [CHAT, "/v1/messages"] {
        for task in ["t-new", "t-newer"] {
            let call = world
                .post(path, &chat("sim-a"))
                .header("x-bursar-task-id", task);
            let reply = call.send().await;
            assert_refused(path, &reply, Shape::of(path), 503, "store_unavailable");
        }
    }
    // What was granted before may be spent, and no more: it is in doubt if this process dies.
    let refused = loop {
        let call = world
            .post(CHAT, &chat("sim-a"))
            .header("x-bursar-task-id", "t-0");
        let reply = call.send().await;
        match reply.status.as_u16() {
            200 => answered += 1,
            _ => break reply,
        }
        assert!(
            began.elapsed() < Duration::from_secs(50),
            "never spent after {answered} calls"
        );
    };
    assert_refused("spent", &refused, Shape::Openai, 503, "store_unavailable");
    let ready = world.ops("/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text().contains("store"), "{}", ready.text());
    assert_eq!(world.ops("/livez").await.status, 200);
    let billed = world.sim.bill_by_request();
    assert_eq!(billed.calls, answered, "not one more was made");

    // The disk has room again: the next life knows of every call, or holds it in doubt.
    let World {
        sim, mut gateway, ..
    } = world;
    let log = gateway.log();
    assert!(log.contains("store") || log.contains("journal"), "{log}");
    gateway.stop().await;
    std::fs::write(gateway.dir().join("under"), "").expect("a file");
    gateway.start_again().await;
    let reply = gateway
        .caller("after")
        .call(&crate::common::calls::Ask::chat("sim-a"))
        .await
        .expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    gateway.quiet().await;
    assert!(gateway.stop().await.success());
    let bill = sim.bill_by_request();
    let accounts = books::accounts(&gateway.store(), "task");
    for (task, line) in &bill.by_task {
        let of_task = |side: &(&str, std::sync::Arc<str>)| side.0 == "task" && *side.1 == **task;
        let account = accounts.iter().find(|row| row.key.per.iter().any(of_task));
        let account = account.unwrap_or_else(|| panic!("{task} has no account"));
        let (settled, in_doubt) = (
            account.balance.settled.usd(),
            account.balance.in_doubt.usd(),
        );
        assert!(
            settled.0 + in_doubt.0 >= line.nano_usd,
            "{task}: {line:?}, {account:?}"
        );
    }
    books::verify(&gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_others_lock_lets_nothing_pass_until_they_let_go() {
    let world = World::start(|setup| setup.limits(HIGH_LIMITS)).await;
    world.is_well().await;
    // A person with a database shell who forgot to end a transaction.
    let other = rusqlite::Connection::open(world.gateway.store()).expect("a database");
    let locked = other.execute_batch("BEGIN IMMEDIATE");
    if locked.is_err() {
        // The gateway keeps it to itself: nobody can.
        world.is_well().await;
        return;
    }
    let billed = world.sim.bill().calls;
    let call = world
        .post(CHAT, &chat("sim-a"))
        .header("x-bursar-task-id", "t-new");
    let reply = tokio::time::timeout(Duration::from_secs(30), call.send())
        .await
        .expect("an answer");
    assert_refused("locked", &reply, Shape::Openai, 503, "store_unavailable");
    assert_eq!(world.sim.bill().calls, billed);
    other.execute_batch("ROLLBACK").expect("the end");
    drop(other);
    until("the store is back", Duration::from_secs(20), || async {
        let call = world
            .post(CHAT, &chat("sim-a"))
            .header("x-bursar-task-id", "t-back");
        call.send().await.status.is_success().then_some(())
    })
    .await;
    world.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_store_was_taken_over_ends() {
    let sim = sim().await;
    let setup = Setup::new(sim.addr()).limits(HIGH_LIMITS);
    let dir = setup.write();
    let store = store_in(&dir);
    let mut first = Gateway::start_in(dir).await;
    let ask = crate::common::calls::Ask::chat("sim-a");
    let caller = first.caller("t");
    assert_eq!(caller.call(&ask).await.expect("an answer").status, 200);
    first.quiet().await;
    // The lock is lost, as on a network disk, and somebody starts another gateway.
    std::fs::remove_file(store.with_extension("db.lock")).expect("a lock");
    let second = setup.write();
    let config = second.path().join("config/bursar.toml");
    let text = std::fs::read_to_string(&config).expect("a file");
    let there = format!("sqlite:{}", store.display());
    std::fs::write(&config, text.replace("sqlite:../data/bursar.db", &there)).expect("a file");
    let mut successor = Gateway::start_in(second).await;
    // The first one's next grant finds out.
    let refused = first.caller("another").call(&ask).await;
    assert!(refused.is_err() || refused.is_ok_and(|reply| reply.status == 503));
    let ended = first.ended().await;
    assert_eq!(ended.code(), Some(69), "unavailable");
    let log = first.log();
    assert!(
        log.contains("a successor has taken over the store"),
        "{log}"
    );
    let reply = successor.caller("t").call(&ask).await.expect("an answer");
    assert_eq!(reply.status, 200);
    assert!(successor.stop().await.success());
    books::verify(&store);
}

/// Lets the gateway's files grow no further, or lifts that: a disk that takes nothing for a while.
fn set_writable(gateway: &Gateway, writable: bool) {
    let most = if writable { "unlimited" } else { "0" };
    let set = std::process::Command::new("prlimit")
        .args(["--pid", &gateway.pid().to_string()])
        .arg(format!("--fsize={most}:unlimited"))
        .status();
    assert!(set.expect("prlimit").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_nothing_for_a_while_loses_nothing() {
    let sim = sim().await;
    let setup = Setup::new(sim.addr()).limits(HIGH_LIMITS);
    // The write fails, as on a disk; the signal would end the process.
    let dir = setup.under("trap '' XFSZ").write();
    let mut world = World::around(sim, dir).await;
    let call = |task: &str| {
        let call = world.post(CHAT, &chat("sim-a"));
        call.header("x-bursar-task-id", task).send()
    };
    for _ in 0..3 {
        assert_eq!(call("t").await.status, 200);
    }
    world.gateway.quiet().await;
    set_writable(&world.gateway, false);
    // What was granted before may be spent; what must be written first is refused.
    let mut answered = 3;
    for _ in 0..5 {
        let reply = call("t").await;
        match reply.status.as_u16() {
            200 => answered += 1,
            _ => assert_refused("granted", &reply, Shape::Openai, 503, "store_unavailable"),
        }
    }
    for task in ["new", "newer"] {
        let reply = call(task).await;
        assert_refused(task, &reply, Shape::Openai, 503, "store_unavailable");
    }
    let ready = world.ops("/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text().contains("store"), "{}", ready.text());
    let lag = world
        .gateway
        .metrics()
        .await
        .get("bursar_journal_lag_seconds");
    assert!(answered == 3 || lag > 0.0, "{answered} answered, lag {lag}");

    set_writable(&world.gateway, true);
    until("it writes again", PATIENCE, || async {
        (call("after").await.status == 200).then_some(())
    })
    .await;
    answered += 1;
    world.gateway.quiet().await;
    assert_eq!(world.ops("/readyz").await.status, 200);
    assert!(world.gateway.stop().await.success());
    books::verify(&world.gateway.store());
    let bill = world.sim.bill_by_request();
    assert_eq!(bill.calls, answered);
    let journal = books::calls(&world.gateway.store());
    let settled: u64 = journal.iter().map(|entry| entry.charged.usd().0).sum();
    assert_eq!(settled, bill.total_nano_usd, "every call is in the journal");
}
