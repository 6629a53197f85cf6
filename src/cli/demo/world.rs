//! The world of the demo: simulated providers and a real gateway in this process, on ports of loopback
//! that the system chooses, over a folder that is removed at the end.

use super::company::{CONFIG, LIMITS};
use crate::config::Loaded;
use crate::gateway::Gateway;
use crate::server::run::{self, Running, StartError};
use crate::sim::{Settings, Sim};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Why the demo cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The temporary folder, or a port.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
    /// The demo's own configuration: a fault of Bursar.
    #[error("the demo's configuration is at fault: {0}")]
    Config(String),
    /// The gateway.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Everything that runs.
pub struct World {
    pub sim: Sim,
    pub running: Running,
    folder: Folder,
}

impl World {
    /// Starts the providers and the gateway before them. A run is to take about `seconds`.
    ///
    /// # Errors
    /// [`WorldError`].
    pub async fn start(seconds: u32) -> Result<Self, WorldError> {
        let settings = Settings {
            latency: Duration::from_millis(6) * seconds,
            chunk_delay: Duration::from_millis(1) * seconds,
            chunk_tokens: 8,
            output_tokens: 120..=300,
            ..Settings::default()
        };
        let system = |what| move |error| WorldError::System(what, error);
        let sim = Sim::start(settings).await.map_err(system("loopback"))?;
        let folder = Folder::new().map_err(system("the temporary folder"))?;
        let config = folder.0.join("bursar.toml");
        let policies = folder.0.join("policies");
        let text = CONFIG.replace("SIM", &sim.addr().to_string());
        std::fs::create_dir(&policies)
            .and_then(|()| std::fs::write(&config, text))
            .and_then(|()| std::fs::write(policies.join("limits.toml"), LIMITS))
            .map_err(system("the temporary folder"))?;
        // The environment has no say: a `BURSAR_KEY` in it is for another gateway.
        let loaded = Loaded::load(&config, &|_| None)
            .map_err(|faults| WorldError::Config(faults.to_string()))?;
        let running = run::start(loaded, Some(&config)).await?;
        Ok(Self {
            sim,
            running,
            folder,
        })
    }

    /// The gateway's state.
    pub const fn gateway(&self) -> &Arc<Gateway> {
        &self.running.gateway
    }

    /// Where the configuration and the store lie until the end.
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Ends everything in good order; the folder goes last.
    pub async fn stop(self) {
        let Self {
            sim,
            running,
            folder,
        } = self;
        running.stop().await;
        sim.shutdown().await;
        drop(folder);
    }
}

/// A folder of our own, readable by us alone, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let name = format!("bursar-demo-{:016x}", u64::from_le_bytes(nonce));
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody is left to be told; the system clears its temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
