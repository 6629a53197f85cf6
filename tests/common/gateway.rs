//! `bursar serve` as a child process: started, killed, stopped in good order, started again on the
//! same store.

use super::calls::{Caller, Http};
use super::ops::Metrics;
use super::setup::{Setup, store_in};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long it may take to be ready, and to stop: this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway. Dropping it kills it; a failed test shows its log.
pub struct Gateway {
    child: Child,
    dir: TempDir,
    /// Where agents call: `http://127.0.0.1:port`.
    pub agents: String,
    /// Where operators look.
    pub ops: String,
    /// How often it was started.
    pub lives: u32,
    http: Http,
}

impl Gateway {
    /// Starts one on a new store and waits until it is ready.
    pub async fn start(setup: &Setup) -> Self {
        Self::start_in(setup.write()).await
    }

    /// Starts one with the files of this directory.
    pub async fn start_in(dir: TempDir) -> Self {
        let (child, agents, ops) = spawn(&dir);
        let gateway = Self {
            child,
            dir,
            agents,
            ops,
            lives: 1,
            http: Http::new(),
        };
        gateway.ready().await;
        gateway
    }

    /// Starts the next one on the same store.
    pub async fn start_again(&mut self) {
        assert!(
            self.child.try_wait().expect("a child").is_some(),
            "one at a time"
        );
        (self.child, self.agents, self.ops) = spawn(&self.dir);
        self.lives += 1;
        self.ready().await;
    }

    async fn ready(&self) {
        let (http, url) = (&self.http, format!("{}/readyz", self.ops));
        super::until("the gateway is ready", PATIENCE, || async {
            let reply = http.get(&url).await.ok()?;
            reply.status.is_success().then_some(())
        })
        .await;
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child to kill");
        self.child.wait().expect("a child to wait for");
    }

    /// SIGTERM, and waits until it has stopped in good order.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        let sent = Command::new("kill").args([signal, pid]).status();
        assert!(sent.expect("kill").success(), "it runs");
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(status) = child.try_wait().expect("a child") {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("it stops")
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        store_in(&self.dir)
    }

    /// The configuration's file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config/bursar.toml")
    }

    /// The child's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its files are.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// A caller of this task, as `local`.
    pub fn caller(&self, task: &str) -> Caller {
        Caller::new(&self.http, &self.agents, task)
    }

    /// The metrics of now.
    pub async fn metrics(&self) -> Metrics {
        let reply = self.http.get(&format!("{}/metrics", self.ops)).await;
        Metrics::read(&reply.expect("metrics").text())
    }

    /// Waits until no call is in flight and everything is journalled; returns the metrics of then.
    pub async fn quiet(&self) -> Metrics {
        super::until("all is quiet", PATIENCE, || async {
            let metrics = self.metrics().await;
            let quiet = metrics.get("bursar_held_usd") == 0.0
                && metrics.get("bursar_waiting_calls") == 0.0
                && metrics.get("bursar_journal_lag_seconds") == 0.0;
            quiet.then_some(metrics)
        })
        .await
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(60);
            eprintln!("the gateway's log:\n{}", lines[from..].join("\n"));
        }
    }
}

/// The program in the environment that the setup asks for. `BURSAR_BIN` names another one, so that what is
/// measured here can be measured of any build.
pub fn command(dir: &TempDir) -> Command {
    let named = std::env::var("BURSAR_BIN").ok();
    let program = named.as_deref().unwrap_or(env!("CARGO_BIN_EXE_bursar"));
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    let under = read("under");
    let mut command = Command::new(if under.is_empty() { program } else { "bash" });
    if !under.is_empty() {
        let script = format!("{under}\nexec \"$0\" \"$@\"");
        command.args(["-c", &script, program]);
    }
    let env = read("env");
    command.envs(env.lines().filter_map(|line| line.split_once('=')));
    command
}

fn spawn(dir: &TempDir) -> (Child, String, String) {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.path().join("log"))
        .expect("a log");
    let mut child = command(dir)
        .arg("serve")
        .arg("--config")
        .arg(dir.path().join("config/bursar.toml"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("the binary");
    let said = child.stdout.take().expect("piped");
    let (told, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            let _ = told.send(line);
        }
    });
    let mut url = |name: &str| {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_default();
        match line.split_once(' ') {
            Some((first, url)) if first == name => url.to_owned(),
            _ => {
                let _ = child.kill();
                let log = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
                panic!("no `{name}` line, but `{line}`; its log:\n{log}");
            }
        }
    };
    let agents = url("agents");
    let ops = url("ops");
    (child, agents, ops)
}
