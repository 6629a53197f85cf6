//! Configurations for one test each, in a directory of their own.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    provider: SocketAddr,
    scheme: &'static str,
    top: String,
    listen: String,
    provider_keys: String,
    more: String,
    limits: String,
    loops: String,
    routes: String,
    env: String,
    under: String,
    identities: Vec<(String, String, String)>,
}

/// The key of an identity of that name.
pub fn key_of(identity: &str) -> String {
    format!("bk-test-{identity}")
}

impl Setup {
    /// The simulated providers at that address, no limits, nobody but `local`.
    pub fn new(provider: SocketAddr) -> Self {
        Self {
            provider,
            scheme: "http",
            top: String::new(),
            listen: "agents = \"127.0.0.1:0\"".to_owned(),
            provider_keys: String::new(),
            more: String::new(),
            limits: String::new(),
            loops: String::new(),
            routes: String::new(),
            env: String::new(),
            under: String::new(),
            identities: Vec::new(),
        }
    }

    /// Top-level keys of `bursar.toml`.
    pub fn top(mut self, toml: &str) -> Self {
        let _ = writeln!(self.top, "{toml}");
        self
    }

    /// The keys of `[listen]` but `ops`, in place of a free port for `agents`.
    pub fn listen(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.listen);
        self
    }

    /// Further tables of `bursar.toml`.
    pub fn more(mut self, toml: &str) -> Self {
        let _ = writeln!(self.more, "{toml}");
        self
    }

    /// The provider is reached by TLS, its certificate signed by this authority.
    pub fn tls(mut self, ca_file: &Path) -> Self {
        self.scheme = "https";
        self.provider(&format!("ca_file = {ca_file:?}"))
    }

    /// Further keys of both providers.
    pub fn provider(mut self, toml: &str) -> Self {
        let _ = writeln!(self.provider_keys, "{toml}");
        self
    }

    /// `[[limit]]` tables.
    pub fn limits(mut self, toml: &str) -> Self {
        let _ = writeln!(self.limits, "{toml}");
        self
    }

    /// Tables of `loops.toml`.
    pub fn loops(mut self, toml: &str) -> Self {
        let _ = writeln!(self.loops, "{toml}");
        self
    }

    /// Tables of `routes.toml`.
    pub fn routes(mut self, toml: &str) -> Self {
        let _ = writeln!(self.routes, "{toml}");
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let _ = writeln!(self.env, "{name}={value}");
        self
    }

    /// Shell commands that bound what it may use (`ulimit`), before it runs.
    pub fn under(mut self, shell: &str) -> Self {
        shell.clone_into(&mut self.under);
        self
    }

    /// An identity of an owner; its key is [`key_of`] its name.
    pub fn identity(self, name: &str, owner: &str) -> Self {
        self.identity_with(name, owner, "")
    }

    /// The same with further keys.
    pub fn identity_with(mut self, name: &str, owner: &str, toml: &str) -> Self {
        let identity = (name.to_owned(), owner.to_owned(), toml.to_owned());
        self.identities.push(identity);
        self
    }

    /// Writes the files into a directory that goes with its handle.
    pub fn write(&self) -> TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        };
        write("config/bursar.toml", &self.bursar());
        write("policies/limits.toml", &self.limits);
        write("policies/identities.toml", &self.identities());
        if !self.loops.is_empty() {
            write("policies/loops.toml", &self.loops);
        }
        if !self.routes.is_empty() {
            write("policies/routes.toml", &self.routes);
        }
        write("env", &self.env);
        write("under", &self.under);
        dir
    }

    fn bursar(&self) -> String {
        let Self {
            provider,
            scheme,
            top,
            listen,
            provider_keys,
            more,
            ..
        } = self;
        format!(
            r#"policies = "../policies"
{top}
[listen]
{listen}
ops = "127.0.0.1:0"

[store]
url = "sqlite:../data/bursar.db"

[[provider]]
name = "sim"
kind = "openai"
base_url = "{scheme}://{provider}/v1"
models = ["sim-*"]
forward_attribution = true
{provider_keys}
[[provider]]
name = "sim-anthropic"
kind = "anthropic"
base_url = "{scheme}://{provider}"
models = ["sim-*"]
forward_attribution = true
{provider_keys}
{more}"#
        )
    }

    fn identities(&self) -> String {
        self.identities
            .iter()
            .fold(String::new(), |mut text, (name, owner, more)| {
                let digest = Sha256::digest(key_of(name));
                let hex = digest.iter().fold(String::new(), |mut hex, byte| {
                    let _ = write!(hex, "{byte:02x}");
                    hex
                });
                let _ = writeln!(
                    text,
                    "[[identity]]\nname = \"{name}\"\nowner = \"{owner}\"\nkey_sha256 = \"{hex}\"\n{more}"
                );
                text
            })
    }
}

/// Where the store of a directory is.
pub fn store_in(dir: &TempDir) -> PathBuf {
    dir.path().join("data/bursar.db")
}
