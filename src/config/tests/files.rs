//! Loading whole deployments: the shipped one, the examples, and broken ones.

use super::*;

fn nothing(_: &str) -> Option<String> {
    None
}

/// A deployment in a temporary folder.
fn deployment(config: &str, limits: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config", "policies"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("config/bursar.toml");
    std::fs::write(&path, config).unwrap();
    std::fs::write(folder.path().join("policies/limits.toml"), limits).unwrap();
    (folder, path)
}

const OWNER: &str =
    "[[limit]]\nname = \"o\"\nper = \"owner\"\nusd = 1\nwindow = { every = \"day\" }\n";

#[test]
fn the_shipped_deployment_starts_with_one_key() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let env = |name: &str| (name == "OPENAI_API_KEY").then(|| "sk-x".to_owned());
    let loaded = Loaded::load(&root.join("config/bursar.toml"), &env).unwrap();
    assert!(loaded.identities.is_local());
    assert_eq!(loaded.policies.limits().len(), 3);
    let key = |i: usize| {
        loaded.config.providers[i]
            .api_key
            .as_ref()
            .and_then(Secret::expose)
    };
    assert_eq!((key(0), key(1)), (Some("sk-x"), None));
    let warnings: Vec<&str> = loaded.warnings.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("ANTHROPIC_API_KEY is not set"));
    assert!(loaded.prices.is_some() && loaded.watched.len() == 6);
}

#[test]
fn the_examples_load() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let env = |name: &str| Some(format!("value-of-{name}"));
    for example in ["sim", "sidecar", "deployment"] {
        let path = root.join("config/examples").join(format!("{example}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        Config::parse(&text, &path).unwrap();
    }
    Loaded::load(&root.join("config/examples/sim.toml"), &env).unwrap();
}

#[test]
fn faults_of_all_files_come_together() {
    let config = config("drain = 3", "");
    let (_folder, path) = deployment(&config, "[[limit]]\nname = \"a\"\n");
    let faults = Loaded::load(&path, &nothing).unwrap_err();
    let files: Vec<_> = faults.0.iter().filter_map(|f| f.file.file_name()).collect();
    assert!(files.contains(&"bursar.toml".as_ref()) && files.contains(&"limits.toml".as_ref()));
    assert!(faults.to_string().contains("bursar.toml:1: `drain`"));
}

#[test]
fn no_limits_is_a_fault_and_an_empty_file_is_not() {
    let (folder, path) = deployment(&config("", ""), "");
    assert!(Loaded::load(&path, &nothing).is_ok());
    std::fs::remove_file(folder.path().join("policies/limits.toml")).unwrap();
    let faults = Loaded::load(&path, &nothing).unwrap_err().to_string();
    assert!(
        faults.contains("limits.toml: there is no such file"),
        "{faults}"
    );
    let faults = Loaded::load(&folder.path().join("none.toml"), &nothing).unwrap_err();
    assert_eq!(faults.0.len(), 1);
}

#[test]
fn beyond_this_machine_somebody_must_be_known() {
    let config = config("[listen]\nagents = \"0.0.0.0:7070\"", "");
    let (folder, path) = deployment(&config, OWNER);
    let faults = Loaded::load(&path, &nothing).unwrap_err().to_string();
    assert!(faults.contains("no identities are configured"), "{faults}");
    let keyed = |name: &str| (name == "BURSAR_KEY").then(|| "k".to_owned());
    let loaded = Loaded::load(&path, &keyed).unwrap();
    assert!(!loaded.identities.is_local() && !loaded.identities.is_configured());
    let keys = folder.path().join("policies/identities.toml");
    let new = NewKey {
        name: "a".to_owned(),
        ..NewKey::default()
    };
    append(&keys, &new, "k").unwrap();
    let loaded = Loaded::load(&path, &keyed).unwrap();
    assert!(loaded.identities.is_configured());
    assert!(
        loaded
            .warnings
            .iter()
            .any(|w| w.message.contains("BURSAR_KEY"))
    );
}

#[test]
fn secrets_are_read_and_never_shown() {
    let config = config(
        "ops_token = \"file:token\"",
        "api_key = \"env:K\"\nheaders = { x-s = \"env:K\" }\n",
    );
    let (folder, path) = deployment(&config, OWNER);
    let faults = Loaded::load(&path, &nothing).unwrap_err().to_string();
    assert!(faults.contains("bursar.toml:1: the file "), "{faults}");
    assert!(
        faults.contains("the environment variable K is not set"),
        "{faults}"
    );
    std::fs::write(folder.path().join("config/token"), "s3cret-token\n").unwrap();
    let env = |name: &str| (name == "K").then(|| "s3cret-key".to_owned());
    let loaded = Loaded::load(&path, &env).unwrap();
    assert_eq!(
        loaded.config.bounds.ops_token.as_ref().unwrap().expose(),
        Some("s3cret-token")
    );
    assert!(!format!("{loaded:?}").contains("s3cret"));
    let bad = |_: &str| Some("two\nlines".to_owned());
    let faults = Loaded::load(&path, &bad).unwrap_err().to_string();
    assert!(
        faults.contains("no usable secret") && !faults.contains("two"),
        "{faults}"
    );
}

#[test]
fn doubtful_things_are_warned_of() {
    let config = config(
        "",
        r#"models = ["gpt-*"]
unmetered = ["/v1/moderations"]
[[provider]]
name = "far"
kind = "anthropic"
base_url = "http://far.example/v1"
api_key = "env:K"
models = ["gpt-4*", "claude-*"]
[[provider]]
name = "near"
kind = "openai"
base_url = "https://near.example/v1"
models = ["gpt-4*"]
[[trace.exporter]]
endpoint = "http://far.example"
api_key = "env:K"
content = true
[[trace.exporter]]
name = "here"
endpoint = "http://127.0.0.1:4318"
content = true
"#,
    );
    let limits = r#"[[limit]]
name = "task"
per = ["task"]
usd = 1

[[limit]]
name = "nowhere"
per = ["task"]
turns = 1
match = { provider = "azure*" }

[[limit]]
name = "bosses"
match = { role = "boss" }
per = ["task", "role"]
turns = 100

[[limit]]
name = "workers"
match = { role = "worker" }
per = ["task", "role"]
turns = 10
"#;
    let (_folder, path) = deployment(&config, limits);
    let env = |name: &str| (name == "K").then(|| "k".to_owned());
    let loaded = Loaded::load(&path, &env).unwrap();
    let shown = loaded.warnings.iter().map(|w| {
        let file = w.file.file_name().unwrap().to_str().unwrap();
        format!("{file}:{}: {}", w.line.unwrap_or(0), w.message)
    });
    insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"), @r#"
    bursar.toml:2: calls to `/v1/moderations` of `p` pass without a meter: no cap holds for them
    bursar.toml:8: credentials for `far` leave this machine unencrypted
    bursar.toml:8: the base URL of `far` ends with /v1; Anthropic's is written without
    bursar.toml:14: `gpt-4*` of `near` never sees a bare model name: `gpt-*` of `p` comes first; only `near/MODEL` gets here
    bursar.toml:19: credentials for exporter `otlp` leave this machine unencrypted
    bursar.toml:19: prompts and answers for exporter `otlp` leave this machine unencrypted
    limits.toml:1: nothing bounds what one owner or identity spends in all: `task` caps dollars, but its callers can open new accounts under it; add a limit with `per = ["owner"]` and a window
    limits.toml:6: `nowhere` never matches: there is no provider like `azure*`
    limits.toml:12: `bosses` holds in full only for a role or agent bound to the key; a caller that merely claims it gets the tightest such caps, here those of `workers`
    "#);
}
