//! Reads the configuration again, on SIGHUP or when a file changes. A bad file keeps the old
//! configuration in force, and says so.

use super::run::{ledger_settings, limit_ids};
use crate::config::Loaded;
use crate::gateway::{Gateway, Live};
use crate::store::NoteKind;
use arc_swap::ArcSwapOption;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// Editors write a file in several steps: how long to let them finish.
const SETTLE: Duration = Duration::from_millis(200);

/// How often accounts of limits that come back are looked at until no call uses them.
const RETIRE_TRIES: u32 = 10;

/// The state of reloading, for `/readyz`.
#[derive(Clone, Default)]
pub struct Reloads {
    fault: Arc<ArcSwapOption<String>>,
    asked: Arc<Notify>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Reloads {
    /// Why the newest configuration is not in force, if it is not.
    #[must_use]
    pub fn fault(&self) -> Option<Arc<String>> {
        self.fault.load_full()
    }

    /// Asks for a reload.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// Reloads whenever it is asked to or a file changes. Runs until it is dropped.
    pub async fn run(self, gateway: Arc<Gateway>, config: PathBuf) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            return;
        };
        let mut watched = Watched::of(&gateway, &self.asked);
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

    /// Reads the files once and puts them in force if they are in order.
    ///
    /// # Errors
    /// What is wrong with them; the old configuration stays in force.
    pub async fn reload(&self, gateway: &Arc<Gateway>, config: &Path) -> Result<(), Arc<String>> {
        // One at a time, so that what was read last is in force at the end.
        let _turn = self.turn.lock().await;
        let result = match fresh(gateway, config) {
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
    gateway.replace(live);
    gateway.purse.change(|ledger| {
        ledger.set_settings(settings);
        for (limit, from, to) in &changed {
            ledger.take_caps(crate::clock::now(), limit, from, to);
        }
    });
    Ok(())
}

/// A limit that comes back may find its accounts in memory still, ignorant of the time between. Calls
/// that were admitted when it was in force last are given a moment to end.
async fn retire(gateway: &Gateway, limits: &[Arc<str>]) -> Result<(), String> {
    for _ in 0..RETIRE_TRIES {
        let retired = gateway.purse.retire(limits).await;
        if retired.map_err(|error| error.to_string())? {
            return Ok(());
        }
        tokio::time::sleep(SETTLE).await;
    }
    tracing::warn!(
        "a limit that was away is in force again while calls from before still run: what calls \
         cost meanwhile is counted only once its accounts have been at rest"
    );
    Ok(())
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
            let concerns = event.paths.iter().any(|path| files.contains(&tidy(path)));
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
