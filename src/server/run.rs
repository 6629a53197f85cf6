//! From a checked configuration to a running gateway, and back to nothing in good order.

use super::reload::Reloads;
use super::{Bounds, Listener, serve, tls};
use crate::clock;
use crate::config::{Address, Config, Durability, Loaded};
use crate::conversation;
use crate::escalation::{ALLOWED_TURNS, courier};
use crate::gateway::{Gateway, Live, LiveError, doubt, seeds};
use crate::inference::Past;
use crate::ledger::{Ledger, Settings};
use crate::ops;
use crate::ops::metrics::Metrics;
use crate::purse::Purse;
use crate::stack;
use crate::store::{self, SqliteStore, Store, StoreError};
use crate::task::Tasks;
use crate::units::UnixMs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often tasks are looked at whether they stall, milliseconds.
const PULSE_MS: i64 = 5_000;
/// Stalled tasks told of at one look.
const STALLED_AT_ONCE: usize = 1_000;
/// How often gauges are brought up to date and idle tasks are let go.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The store's file.
    #[error("{0}: {1}")]
    Open(String, StoreError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// TLS files.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// A socket.
    #[error("cannot listen on {0}: {1}")]
    Listen(String, std::io::Error),
    /// Metrics, signals, directories.
    #[error("{0}")]
    System(String),
    /// A successor has taken the store over: it serves from now on.
    #[error("{0}")]
    Fenced(StoreError),
}

/// The gateway, listening.
pub struct Running {
    /// Its state.
    pub gateway: Arc<Gateway>,
    /// Where agents call, as it is bound.
    pub agents: String,
    /// Where operators look, as it is bound.
    pub ops: String,
    stop: CancellationToken,
    agents_done: tokio::task::JoinHandle<usize>,
    ops_stop: CancellationToken,
    ops_done: tokio::task::JoinHandle<usize>,
    chores: tokio::task::JoinSet<()>,
}

/// Runs until a signal says stop, or a successor has taken the store over.
///
/// # Errors
/// It cannot start, or there is a successor.
pub async fn run(loaded: Loaded, config: &Path) -> Result<(), StartError> {
    let mut terminate = signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = signal(tokio::signal::unix::SignalKind::interrupt())?;
    let running = start(loaded, Some(config)).await?;
    tracing::info!(agents = running.agents, ops = running.ops, "listening");
    running.announce();
    let gateway = Arc::clone(&running.gateway);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        error = fenced(&gateway) => {
            // Nothing that this process does can be written any more: what its calls cost is in doubt
            // with the successor.
            tracing::error!(%error, "this gateway stops serving");
            gateway.drain();
            return Err(StartError::Fenced(error));
        }
    }
    tracing::info!("stopping: calls in flight may end");
    let stopped = running.stop();
    tokio::pin!(stopped);
    tokio::select! {
        () = &mut stopped => {}
        // A second signal does not wait.
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Waits until a successor has taken the store over.
async fn fenced(gateway: &Gateway) -> StoreError {
    let mut every = tokio::time::interval(HOUSEKEEPING);
    loop {
        every.tick().await;
        if let Some(error @ StoreError::Fenced { .. }) = gateway.purse.store().health().fault {
            return error;
        }
    }
}

fn signal(
    kind: tokio::signal::unix::SignalKind,
) -> Result<tokio::signal::unix::Signal, StartError> {
    tokio::signal::unix::signal(kind).map_err(|error| StartError::System(error.to_string()))
}

/// Opens the store, binds the sockets and begins to serve. `config`: the file to reload from.
///
/// # Errors
/// See [`StartError`].
pub async fn start(loaded: Loaded, config: Option<&Path>) -> Result<Running, StartError> {
    let (store, found) =
        SqliteStore::open(store_options(&loaded.config)?).map_err(|error| match error {
            // It says which file.
            StoreError::Locked(_) => StartError::Store(error),
            error => StartError::Open(loaded.config.store.sqlite.display().to_string(), error),
        })?;
    conversation::use_seed(&found.seed.0);
    let store: Arc<dyn Store> = Arc::new(store);
    let live = Live::new(loaded, None)?;
    live.loaded.policies.not_before(found.last_call_at);
    store.set_limits(limit_ids(&live)).await?;
    let mut ledger = Ledger::new(ledger_settings(live.config()));
    let stake = doubt::stake(store.as_ref()).await?;
    let of_crashes = doubt::of_crashes(&stake, &live);
    ledger.begin_with_doubt(stake.of_calls());
    ledger.set_crash_doubt(of_crashes);
    if found.after_crash {
        tracing::warn!(
            accounts = found.doubted.len(),
            in_doubt_usd = %of_crashes,
            "the last run did not stop in good order; what it had been granted and did not prove is in doubt"
        );
    }
    let purse = Purse::new(ledger, Arc::clone(&store));
    let tasks = Tasks::new(Arc::clone(&store), found.switches);
    let metrics = Metrics::new().map_err(|error| StartError::System(error.to_string()))?;
    let gateway = Gateway::new(live, purse, tasks, Arc::new(metrics));
    gateway.traces.of_node(&found.node);
    remember(&gateway).await?;
    gateway
        .purse
        .seed_by(seeds::seeds(Arc::downgrade(&gateway)));
    listen(gateway, config).await
}

/// Calls of the run before this one that are looked at for what the next can be joined to.
const MAX_JOINED: usize = 20_000;

/// What calls of the run before this one can be joined to.
async fn remember(gateway: &Gateway) -> Result<(), StoreError> {
    let live = gateway.live();
    let rules = &live.config().attribution;
    if !rules.infer {
        return Ok(());
    }
    let window_ms = i64::try_from(rules.infer_window.as_millis()).unwrap_or(i64::MAX);
    let since = UnixMs(clock::now().0.saturating_sub(window_ms));
    let rows = gateway.purse.store().joined(since, MAX_JOINED).await?;
    let past = rows.iter().filter_map(|row| {
        let body = row.body().ok()?;
        Some((Past::of(&body)?, body.joins()?))
    });
    gateway.inference.restore(past, window_ms);
    Ok(())
}

async fn listen(gateway: Arc<Gateway>, config: Option<&Path>) -> Result<Running, StartError> {
    let live = gateway.live();
    let settings = &live.config().listen;
    let certificate = match &settings.tls {
        Some(files) => Some(tls::Certificate::read(&files.cert, &files.key)?),
        None => None,
    };
    let acceptor = certificate.as_ref().map(tls::acceptor).transpose()?;
    let agents = bind(&settings.agents).await?;
    let ops = bind(&settings.ops).await?;
    let bounds = Bounds {
        connections: settings.max_connections,
        header_bytes: settings.max_header_bytes,
        header_time: settings.header_timeout,
        idle_time: settings.idle_timeout,
        h2_streams: settings.max_streams,
    };
    let (agents_at, ops_at) = (agents.address(), ops.address());
    let (stop, ops_stop) = (CancellationToken::new(), CancellationToken::new());
    let drain = live.config().bounds.drain;
    let reloads = Reloads::new(certificate);
    let service = stack::build(&gateway);
    let router = ops::router(&gateway, &reloads, config);
    let agents_done = tokio::spawn(serve(
        agents,
        acceptor,
        service,
        bounds.clone(),
        stop.clone(),
        drain,
    ));
    let ops_service = ops::service(router);
    let ops_bounds = Bounds {
        connections: 256,
        ..bounds
    };
    let ops_done = tokio::spawn(serve(
        ops,
        None,
        ops_service,
        ops_bounds,
        ops_stop.clone(),
        Duration::from_secs(1),
    ));
    let mut chores = tokio::task::JoinSet::new();
    chores.spawn(Arc::clone(&gateway.purse).run());
    chores.spawn(housekeeping(Arc::clone(&gateway)));
    chores.spawn(courier::run(Arc::clone(&gateway)));
    chores.spawn(crate::traces::run(Arc::clone(&gateway)));
    if let Some(config) = config {
        let lookout = reloads.look_out(&gateway);
        let lookout = lookout.map_err(|error| StartError::System(error.to_string()))?;
        chores.spawn(reloads.run(Arc::clone(&gateway), config.to_owned(), lookout));
    }
    Ok(Running {
        gateway,
        agents: agents_at,
        ops: ops_at,
        stop,
        agents_done,
        ops_stop,
        ops_done,
        chores,
    })
}

impl Running {
    /// Says on standard output where it listens: with port 0 nobody knows otherwise.
    fn announce(&self) {
        let tls = self.gateway.live().config().listen.tls.is_some();
        let agents = url(&self.agents, tls);
        let ops = url(&self.ops, false);
        // Whoever closed the pipe does not want to know.
        let _ = writeln!(std::io::stdout(), "agents {agents}\nops {ops}");
    }

    /// Stops in good order: new calls are refused, calls in flight end within the configured time,
    /// exchanges are seen through, allotments go back, the journal is flushed.
    pub async fn stop(mut self) {
        let bounds = self.gateway.live().config().bounds.clone();
        self.gateway.drain();
        self.stop.cancel();
        let sockets = self.gateway.sockets.closed(bounds.drain);
        let (connections, sockets) = tokio::join!(self.agents_done, sockets);
        if sockets > 0 {
            tracing::warn!(sockets, "sockets were cut off");
        }
        match connections {
            Ok(0) => {}
            Ok(open) => tracing::warn!(connections = open, "connections were cut off"),
            Err(error) => tracing::error!(%error, "the listener failed"),
        }
        if tokio::time::timeout(bounds.finish_upstream, self.gateway.finished())
            .await
            .is_err()
        {
            tracing::warn!(
                "exchanges with providers were left unfinished; their holds are in doubt"
            );
        }
        self.ops_stop.cancel();
        let _ = self.ops_done.await;
        self.gateway.traces.stop().await;
        self.chores.shutdown().await;
        self.gateway.purse.give_back(-1).await;
        match self
            .gateway
            .purse
            .store()
            .stop(Duration::from_secs(5))
            .await
        {
            Ok(true) => tracing::info!("stopped"),
            Ok(false) => tracing::warn!("stopped with calls unaccounted for; they are in doubt"),
            Err(error) => tracing::error!(%error, "the store did not stop in good order"),
        }
    }
}

fn url(address: &str, tls: bool) -> String {
    match (address.starts_with("unix:"), tls) {
        (true, _) => address.to_owned(),
        (false, true) => format!("https://{address}"),
        (false, false) => format!("http://{address}"),
    }
}

async fn bind(address: &Address) -> Result<Listener, StartError> {
    let bound = match address {
        Address::Tcp(..) => Listener::tcp(&address.to_string()).await,
        Address::Unix(path) => Listener::unix(path),
    };
    bound.map_err(|error| StartError::Listen(address.to_string(), error))
}

fn store_options(config: &Config) -> Result<store::Options, StartError> {
    let path = &config.store.sqlite;
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder)
            .map_err(|error| StartError::System(format!("{}: {error}", folder.display())))?;
    }
    let mut options = store::Options::new(path);
    options.durability = match config.store.durability {
        Durability::Process => store::Durability::Process,
        Durability::Power => store::Durability::Power,
    };
    // Whole days; what is younger than a day stays.
    options.retention.keep_days = config
        .journal
        .keep
        .map(|keep| u32::try_from(keep.as_secs().div_ceil(86_400)).unwrap_or(u32::MAX));
    options
        .retention
        .archive_dir
        .clone_from(&config.journal.archive);
    Ok(options)
}

/// The bounds of waiting, as configured.
#[must_use]
pub fn ledger_settings(config: &Config) -> Settings {
    let bounds = &config.bounds;
    Settings {
        wait_for_holds_ms: i64::try_from(bounds.wait_for_holds.as_millis()).unwrap_or(i64::MAX),
        line_max_waiters: bounds.max_waiting,
        line_max_bytes: bounds.max_waiting_bytes,
    }
}

/// The ids of the limits in force, those of Bursar's own included.
#[must_use]
pub fn limit_ids(live: &Live) -> Vec<Arc<str>> {
    let limits = live.loaded.policies.limits();
    let limits = limits.map(|limit| Arc::clone(&limit.id));
    let own = [
        crate::task::TASKS_OWN,
        stack::admit::TASKS_PER_HOUR,
        ALLOWED_TURNS,
    ];
    limits.chain(own.map(Arc::from)).collect()
}

/// Brings gauges up to date, and lets go of tasks at rest.
async fn housekeeping(gateway: Arc<Gateway>) {
    let mut every = tokio::time::interval(HOUSEKEEPING);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next_pulse = 0;
    loop {
        every.tick().await;
        let now = crate::clock::now();
        gateway.tasks.sweep(now);
        gateway.watching.sweep(now);
        if now.0 >= next_pulse {
            next_pulse = now.0 + PULSE_MS;
            let live = gateway.live();
            let rules = live.loaded.loops.pulse();
            for (key, sign) in gateway.tasks.stalled(rules, now, STALLED_AT_ONCE) {
                gateway.tell(&key, &sign);
            }
        }
        ops::refresh_gauges(&gateway);
    }
}
