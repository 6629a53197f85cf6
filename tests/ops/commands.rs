//! The command line beside a running gateway, and without one.

use crate::common::calls::Ask;
use crate::rig::{bursar, gateway, says, sim};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_run_from_the_command_line() {
    let sim = sim().await;
    let mut gateway = gateway(&sim).await;
    let config = gateway.config();
    let url = gateway.ops.clone();
    let with = |args: &[&'static str]| {
        [args, &["--ops", &url][..]]
            .concat()
            .iter()
            .map(|arg| (*arg).to_owned())
            .collect::<Vec<_>>()
    };
    let run = async |args: &[&'static str]| {
        let args = with(args);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        says(&config, &args).await
    };
    let opened = run(&["task", "open", "t/1?", "--turns", "1", "--duration", "90s"]).await;
    assert_eq!(
        opened,
        "task t/1? of local: active; own caps: duration 90s, turns 1\n"
    );
    let caller = gateway.caller("t/1?").agent("writer");
    assert_eq!(
        caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        200
    );
    assert_eq!(
        caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        402
    );
    let raised = run(&["task", "top-up", "t/1?", "--turns", "1"]).await;
    assert!(raised.starts_with("LIMIT"), "{raised}");
    assert_eq!(
        caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        200
    );
    assert!(
        run(&["task", "suspend", "t/1?"])
            .await
            .contains("suspended")
    );
    assert_eq!(
        caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        402
    );
    assert!(run(&["task", "resume", "t/1?"]).await.contains("active"));
    assert_eq!(
        run(&["task", "suspend", "--all"]).await,
        "suspended: everything\n"
    );
    assert_eq!(
        run(&["task", "resume", "--all"]).await,
        "nothing is suspended\n"
    );
    gateway.quiet().await;

    let shown = run(&["task", "show", "t/1?"]).await;
    assert!(
        shown.contains("task's own") && shown.contains("writer"),
        "{shown}"
    );
    let listed = says(&config, &["task", "list"]).await;
    assert!(
        listed.contains("t/1?") && listed.contains("turns 1"),
        "{listed}"
    );
    let listed = says(&config, &["task", "list", "--json", "--state", "closed"]).await;
    assert_eq!(listed, "[]\n");
    let report = says(&config, &["report", "--by", "agent", "--json"]).await;
    let report: Value = serde_json::from_str(&report).unwrap();
    let row = report
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["key"] == "writer")
        .unwrap();
    assert_eq!(
        (&row["turns"], &row["denied"]),
        (&Value::from(2), &Value::from(2))
    );
    let csv = says(
        &config,
        &["report", "--by", "task", "--since", "1h", "--csv"],
    )
    .await;
    assert!(csv.starts_with("task,owner,usd"), "{csv}");
    let trace = says(&config, &["audit", "trace", "t/1?"]).await;
    assert!(
        trace.contains("writer: ") && trace.contains("[turns_exceeded]"),
        "{trace}"
    );
    let verified = says(&config, &["audit", "verify"]).await;
    assert!(verified.starts_with("ok: "), "{verified}");

    // Without the gateway: what reads goes on, what writes says that nobody listens.
    gateway.stop().await;
    let offline = says(&config, &["task", "show", "t/1?", "--json"]).await;
    let offline: Value = serde_json::from_str(&offline).unwrap();
    assert_eq!(offline["agents"][0]["turns"], 2);
    assert_eq!(offline["agents"][0]["in_flight"], Value::Null);
    let args = with(&["task", "close", "t/1?"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let unreachable = bursar(&config, &args).await;
    assert_eq!(unreachable.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&unreachable.stderr).contains("bursar serve"));
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_what_was_wrong() {
    let sim = sim().await;
    let gateway = gateway(&sim).await;
    let config = gateway.config();
    let ops = gateway.ops.as_str();
    for (args, code) in [
        (&["task", "suspend"][..], 64),
        (&["task", "suspend", "t", "--all"], 64),
        (&["task", "open", "t", "--usd", "one", "--ops", ops], 64),
        (&["task", "open", "t", "--ops", "https://127.0.0.1:1"], 64),
        (&["task", "open", "t"], 64),
        (&["task", "show", "none", "--ops", ops], 66),
        (&["task", "show", "none"], 66),
        (&["doubt", "release", "9", "--ops", ops], 66),
        (&["doubt", "reconcile", "/nowhere.csv", "--ops", ops], 66),
        (&["doubt", "reconcile", "/dev/null", "--ops", ops], 65),
        (&["task", "list", "--state", "done"], 64),
        (&["report", "--by", "hour"], 64),
        (&["task", "close", "t", "--ops", "unix:/nowhere.sock"], 69),
    ] {
        let output = bursar(&config, args).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(!error.is_empty(), "{args:?} says why");
    }
    let absent = config.with_file_name("absent.toml");
    let output = bursar(&absent, &["task", "list"]).await;
    assert_eq!(output.status.code(), Some(78));
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_the_first_bad_row() {
    let sim = sim().await;
    let mut gateway = gateway(&sim).await;
    let config = gateway.config();
    let caller = gateway.caller("t-1");
    assert_eq!(
        caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        200
    );
    gateway.stop().await;
    let file = rusqlite::Connection::open(gateway.store()).unwrap();
    let row: i64 = file
        .query_row(
            "SELECT seq FROM journal WHERE kind = 'call' ORDER BY seq LIMIT 1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    file.execute(
        "UPDATE journal SET entry = replace(entry, 't-1', 't-2') WHERE seq = ?1",
        [row],
    )
    .unwrap();
    drop(file);
    let output = bursar(&config, &["audit", "verify"]).await;
    assert_eq!(output.status.code(), Some(65));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with(&format!("bad: row {row}")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_serves_operators_as_well() {
    let sim = sim().await;
    let dir = crate::common::setup::Setup::new(sim.addr())
        .limits(crate::rig::LIMITS)
        .write();
    let config = dir.path().join("config/bursar.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("ops = \"127.0.0.1:0\"", "ops = \"unix:../ops.sock\"");
    std::fs::write(&config, text).unwrap();
    let served = std::process::Command::new(env!("CARGO_BIN_EXE_bursar"))
        .args(["serve", "--config"])
        .arg(&config)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _served = Served(served);
    let opens = || async {
        let opened = bursar(&config, &["task", "open", "t-1", "--turns", "3"]).await;
        opened.status.success().then_some(opened.stdout)
    };
    let said = crate::common::until(
        "the socket answers",
        std::time::Duration::from_secs(60),
        opens,
    );
    assert_eq!(
        said.await,
        b"task t-1 of local: active; own caps: turns 3\n"
    );
    assert_eq!(
        says(&config, &["task", "suspend", "--identity", "local"]).await,
        "suspended: local\n"
    );
}

/// Ends with the test.
struct Served(std::process::Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
