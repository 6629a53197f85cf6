//! What is measured: the bare proxy or the gateway, started alone on one core, and what `/proc` says
//! of it.

use crate::Fault;
use sha2::Digest as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// The gateway key that the load sends.
pub const KEY: &str = "bursar-bench-0123456789abcdef0123456789abcdef";
/// The core of what is measured.
const CORE: &str = "0";
/// Clock ticks of `/proc/PID/stat`, a second. Linux has no other value on x86 and arm.
const TICKS_PER_SECOND: u64 = 100;
/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(20);

/// One process under measurement. It is killed with this value.
#[derive(Debug)]
pub struct Subject {
    /// The name in the table.
    pub name: &'static str,
    /// Where the load goes.
    pub address: SocketAddr,
    /// From its start to its readiness.
    pub ready: Duration,
    child: Child,
    /// What it logs.
    log: Option<PathBuf>,
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Subject {
    /// The bare proxy; with `read`, the one that holds bodies before it passes them on.
    pub fn floor(upstream: SocketAddr, read: bool) -> Result<Self, Fault> {
        let start = Instant::now();
        let mut command = pinned(&std::env::current_exe()?);
        command.args(["floor", &upstream.to_string()]);
        if read {
            command.arg("--read");
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().ok_or("no output of the floor")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().parse()?;
        let (name, ready) = (
            if read { "floor, reading" } else { "floor" },
            start.elapsed(),
        );
        Ok(Self {
            name,
            address,
            ready,
            child,
            log: None,
        })
    }

    /// The gateway on `directory`, which holds its configuration afterwards and its journal.
    pub async fn bursar(
        binary: &Path,
        directory: &Path,
        upstream: SocketAddr,
    ) -> Result<Self, Fault> {
        let (address, ops) = (free_port()?, free_port()?);
        configure(directory, address, ops, upstream)?;
        let log = fs::File::create(directory.join("log"))?;
        let start = Instant::now();
        let child = pinned(binary)
            .args(["serve", "--config"])
            .arg(directory.join("bursar.toml"))
            .env("BENCH_PROVIDER_KEY", "sk-bench")
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut subject = Self {
            name: "bursar",
            address,
            ready: Duration::ZERO,
            child,
            log: Some(directory.join("log")),
        };
        while !is_ready(ops).await {
            if start.elapsed() > START_MAX || subject.child.try_wait()?.is_some() {
                let log = fs::read_to_string(directory.join("log"))?;
                return Err(format!("the gateway did not come up:\n{log}").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        subject.ready = start.elapsed();
        Ok(subject)
    }

    /// The fault with what is known of its cause: did the process end, and what did it log last?
    pub fn blame(&mut self, fault: &Fault) -> Fault {
        let state = match self.child.try_wait() {
            Ok(Some(status)) => format!("it ended with {status}"),
            _ => "it is running".to_owned(),
        };
        let log = self
            .log
            .as_ref()
            .and_then(|log| fs::read_to_string(log).ok());
        let log = log.unwrap_or_default();
        let tail = log.lines().rev().take(20).collect::<Vec<_>>();
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        format!("{}: {fault}; {state}\n{tail}", self.name).into()
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> Result<Duration, Fault> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the name in brackets and may hold anything; count from behind it.
        let (_, after) = stat.rsplit_once(')').ok_or("odd /proc/PID/stat")?;
        let mut fields = after.split_whitespace().skip(11);
        let mut next = || -> Result<u64, Fault> { Ok(fields.next().ok_or("short stat")?.parse()?) };
        let ticks = next()? + next()?;
        Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
    }

    /// Resident memory in kB.
    pub fn resident_kb(&self) -> Result<u64, Fault> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let digits = line.ok_or("no VmRSS")?.trim().trim_end_matches(" kB");
        Ok(digits.parse()?)
    }
}

/// Puts this process on `core`; false where that cannot be done, and figures are then rough.
pub fn pin_self(core: u32) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pid = std::process::id().to_string();
    cores > 1
        && Command::new("taskset")
            .args(["-cp", &core.to_string(), &pid])
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

/// `taskset` replaces itself by the command, so the child's pid is the subject's.
fn pinned(binary: &Path) -> Command {
    let has_taskset = Path::new("/usr/bin/taskset").exists();
    let mut command = Command::new(if has_taskset {
        PathBuf::from("/usr/bin/taskset")
    } else {
        binary.to_path_buf()
    });
    if has_taskset {
        command.args(["-c", CORE]).arg(binary);
    }
    command.stdin(Stdio::null());
    command
}

fn free_port() -> Result<SocketAddr, Fault> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

async fn is_ready(ops: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect(ops).await else {
        return false;
    };
    let Ok(mut wire) = crate::wire::Wire::new(stream) else {
        return false;
    };
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {ops}\r\nconnection: close\r\n\r\n");
    wire.write(request.as_bytes()).await.is_ok()
        && matches!(wire.read().await, Ok(Some(answer)) if answer.status == 200)
}

/// A key, three covering limits far from their caps, and two providers.
fn configure(
    directory: &Path,
    agents: SocketAddr,
    ops: SocketAddr,
    upstream: SocketAddr,
) -> Result<(), Fault> {
    let digest: String = sha2::Sha256::digest(KEY)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    fs::create_dir_all(directory.join("policies"))?;
    fs::create_dir_all(directory.join("data"))?;
    let config = format!(
        "policies = \"policies\"\n\n[listen]\nagents = \"{agents}\"\nops = \"{ops}\"\n\n[store]\nurl = \"sqlite:data/bursar.db\"\n\n\
         [[provider]]\nname = \"openai\"\nkind = \"openai\"\nbase_url = \"http://{upstream}/v1\"\napi_key = \"env:BENCH_PROVIDER_KEY\"\nmodels = [\"gpt-*\"]\n\n\
         [[provider]]\nname = \"anthropic\"\nkind = \"anthropic\"\nbase_url = \"http://{upstream}\"\napi_key = \"env:BENCH_PROVIDER_KEY\"\nmodels = [\"claude-*\"]\n"
    );
    fs::write(directory.join("bursar.toml"), config)?;
    let limits = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"100000.00\"\nturns = 100000000\n\n\
         [[limit]]\nname = \"agent\"\nper = [\"task\", \"agent\"]\nusd = \"100000.00\"\n\n\
         [[limit]]\nname = \"owner per day\"\nper = [\"owner\"]\nwindow = { every = \"day\", timezone = \"UTC\" }\nusd = \"1000000.00\"\n";
    fs::write(directory.join("policies/limits.toml"), limits)?;
    let identities = format!(
        "[[identity]]\nname = \"research-crew\"\nowner = \"research\"\nkey_sha256 = \"{digest}\"\n"
    );
    fs::write(directory.join("policies/identities.toml"), identities)?;
    Ok(())
}
