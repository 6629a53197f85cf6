//! Reads the configuration again, on SIGHUP or when a file changes. A bad file keeps the old
//! configuration in force, and says so.

use super::run::{ledger_settings, limit_ids};
use super::tls::Certificate;
use crate::clock;
use crate::config::{Config, Listen, Loaded};
use crate::gateway::{Gateway, Live};
use crate::ledger::Edition;
use crate::store::NoteKind;
use arc_swap::ArcSwapOption;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// Editors write a file in several steps: how long to let them finish.
const SETTLE: Duration = Duration::from_millis(200);

/// The link that Kubernetes turns to a new folder when a mounted ConfigMap or Secret changes: the files
/// themselves are links through it, and nothing is ever written to them.
const KUBERNETES_DATA: &str = "..data";

/// How often accounts of limits that come back are looked at until the store has answered for all.
const RETIRE_TRIES: u32 = 10;

/// The state of reloading, for `/readyz`.
#[derive(Clone, Default)]
pub struct Reloads {
    certificate: Option<Arc<Certificate>>,
    fault: Arc<ArcSwapOption<String>>,
    asked: Arc<Notify>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Reloads {
    /// None yet. `certificate`: the listener's, renewed with the rest.
    #[must_use]
    pub fn new(certificate: Option<Arc<Certificate>>) -> Self {
        Self {
            certificate,
            ..Self::default()
        }
    }

    /// Why the newest configuration is not in force, if it is not.
    #[must_use]
    pub fn fault(&self) -> Option<Arc<String>> {
        self.fault.load_full()
    }

    /// Asks for a reload.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// Begins to look out for reasons to reload: before the gateway says that it serves, for until
    /// somebody listens for SIGHUP it ends the process.
    ///
    /// # Errors
    /// No signal can be listened for.
    pub fn look_out(&self, gateway: &Gateway) -> std::io::Result<Lookout> {
        Ok(Lookout {
            hangup: signal(SignalKind::hangup())?,
            watched: Watched::of(gateway, &self.asked),
        })
    }

    /// Reloads whenever it is asked to or a file changes. Runs until it is dropped.
    pub async fn run(self, gateway: Arc<Gateway>, config: PathBuf, lookout: Lookout) {
        let Lookout {
            mut hangup,
            mut watched,
        } = lookout;
        loop {
            tokio::select! {
                _ = hangup.recv() => {}
                () = self.asked.notified() => tokio::time::sleep(SETTLE).await,
            }
            // What is wrong was logged, and `/readyz` tells it.
            let _ = self.reload(&gateway, &config).await;
            watched.renew(&gateway);
        }
    }

    fn renew_certificate(&self, live: Live) -> Result<Live, String> {
        if let (Some(certificate), Some(files)) = (&self.certificate, &live.config().listen.tls) {
            let renewed = certificate.renew(&files.cert, &files.key);
            renewed.map_err(|error| error.to_string())?;
        }
        Ok(live)
    }

    /// Reads the files once and puts them in force if they are in order.
    ///
    /// # Errors
    /// What is wrong with them; the old configuration stays in force.
    pub async fn reload(&self, gateway: &Arc<Gateway>, config: &Path) -> Result<(), Arc<String>> {
        // One at a time, so that what was read last is in force at the end.
        let _turn = self.turn.lock().await;
        let live = fresh(gateway, config).and_then(|live| self.renew_certificate(live));
        let result = match live {
            Ok(live) => put_in_force(gateway, live).await,
            Err(fault) => Err(fault),
        };
        let word = if result.is_ok() { "ok" } else { "error" };
        gateway.metrics.reloads.with_label_values(&[word]).inc();
        match result {
            Ok(()) => {
                tracing::info!("the configuration was reloaded");
                self.fault.store(None);
                Ok(())
            }
            Err(fault) => {
                tracing::error!(
                    fault,
                    "the configuration was not reloaded; the old one stays in force"
                );
                let fault = Arc::new(fault);
                self.fault.store(Some(Arc::clone(&fault)));
                Err(fault)
            }
        }
    }
}

/// Reasons to reload as they come.
pub struct Lookout {
    hangup: Signal,
    watched: Watched,
}

/// Says which changes wait for a restart: sockets are bound and the store is opened only once.
fn say_what_waits(old: &Config, new: &Config) {
    let bound = |listen: &Listen| Listen {
        tls: None,
        body_timeout: Duration::ZERO,
        ..listen.clone()
    };
    let listen = bound(&old.listen) != bound(&new.listen)
        || old.listen.tls.is_some() != new.listen.tls.is_some();
    for (section, changed) in [
        ("[listen]", listen),
        ("[store]", old.store != new.store),
        ("[journal]", old.journal != new.journal),
        ("[log]", old.log != new.log),
    ] {
        if changed {
            tracing::warn!(
                section,
                "this part of the configuration changes with a restart"
            );
        }
    }
}

fn fresh(gateway: &Gateway, config: &Path) -> Result<Live, String> {
    let loaded = Loaded::from_path(config).map_err(|faults| faults.to_string())?;
    Live::new(loaded, Some(&gateway.live())).map_err(|error| error.to_string())
}

async fn put_in_force(gateway: &Arc<Gateway>, live: Live) -> Result<(), String> {
    let store = gateway.purse.store();
    // Before the first call meets the new limits, so that their accounts open with what calls cost.
    store
        .set_limits(limit_ids(&live))
        .await
        .map_err(|error| error.to_string())?;
    let before = gateway.live();
    let (old, new) = (&before.loaded.policies, &live.loaded.policies);
    let returning = new.limits().filter(|limit| old.by_id(&limit.id).is_none());
    let returning: Vec<Arc<str>> = returning.map(|limit| Arc::clone(&limit.id)).collect();
    retire(gateway, &returning).await?;
    let changed = new.limits().filter_map(|limit| {
        let before = old.by_id(&limit.id)?;
        (before.caps != limit.caps).then(|| (Arc::clone(&limit.id), before.caps, limit.caps))
    });
    let changed: Vec<_> = changed.collect();
    let settings = ledger_settings(live.config());
    let limits = live.loaded.policies.limits().len();
    gateway.journal(
        NoteKind::Reload,
        "configuration",
        &format!("{limits} limits in force"),
    );
    say_what_waits(before.config(), live.config());
    let version = live.loaded.policies.version();
    let replaced = gateway.replace(live, returning).await;
    replaced.map_err(|error| error.to_string())?;
    gateway.purse.change(|ledger| {
        ledger.set_settings(settings);
        for (limit, from, to) in &changed {
            ledger.take_caps(clock::now(), limit, from, to, Edition::Policy(version));
        }
    });
    Ok(())
}

/// A limit that comes back may find its accounts in memory still, ignorant of the time between.
async fn retire(gateway: &Gateway, limits: &[Arc<str>]) -> Result<(), String> {
    for _ in 0..RETIRE_TRIES {
        let retired = gateway.purse.retire(limits).await;
        if retired.map_err(|error| error.to_string())? {
            return Ok(());
        }
        tokio::time::sleep(SETTLE).await;
    }
    Err("the store does not answer what limits that come back have counted".to_owned())
}

/// The folders of the files that matter: editors replace files, so the folders are watched.
struct Watched {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl Watched {
    fn of(gateway: &Gateway, asked: &Arc<Notify>) -> Self {
        let asked = Arc::clone(asked);
        let files: BTreeSet<PathBuf> = gateway
            .live()
            .loaded
            .watched
            .iter()
            .map(|path| tidy(path))
            .collect();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            let concerns =
                |path: &PathBuf| path.ends_with(KUBERNETES_DATA) || files.contains(&tidy(path));
            let concerns = event.paths.iter().any(concerns);
            if concerns && !event.kind.is_access() {
                asked.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "files are not watched; send SIGHUP"))
            .ok();
        let mut watched = Self {
            watcher,
            folders: BTreeSet::new(),
        };
        watched.renew(gateway);
        watched
    }

    fn renew(&mut self, gateway: &Gateway) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for file in &gateway.live().loaded.watched {
            let folder = match file.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
                _ => PathBuf::from("."),
            };
            if folder.is_dir() && self.folders.insert(folder.clone()) {
                // A folder that cannot be watched leaves SIGHUP.
                let _ = watcher.watch(&folder, RecursiveMode::NonRecursive);
            }
        }
    }
}

/// One spelling for each path.
fn tidy(path: &Path) -> PathBuf {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return path.to_owned();
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    folder
        .canonicalize()
        .map_or_else(|_| path.to_owned(), |folder| folder.join(name))
}
