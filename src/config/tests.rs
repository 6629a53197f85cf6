//! Tests of the configuration, by concern.

mod context;
mod covers;
mod escalation;
mod faults;
mod files;
mod identities;
mod loops;
mod providers;
mod recall;
mod routes;
mod traces;
mod windows;

use super::*;

/// What is wrong with a gateway configuration, as `line: message`.
fn faults_of(text: &str) -> Vec<String> {
    lines(Config::parse(text, Path::new("config/bursar.toml")).err())
}

/// What is wrong with limits.
fn limit_faults(text: &str) -> Vec<String> {
    lines(Policies::parse(text, Path::new("limits.toml")).err())
}

fn lines(faults: Option<Faults>) -> Vec<String> {
    let faults = faults.unwrap_or_default().0;
    let line = |fault: Fault| format!("{}: {}", fault.line.unwrap_or(0), fault.message);
    faults.into_iter().map(line).collect()
}

/// The least that is a configuration, after `top` and before `rest`.
fn config(top: &str, rest: &str) -> String {
    format!(
        "{top}\n[[provider]]\nname = \"p\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n{rest}"
    )
}

fn parsed(top: &str, rest: &str) -> Config {
    Config::parse(&config(top, rest), Path::new("config/bursar.toml")).unwrap()
}

fn at(text: &str) -> crate::units::UnixMs {
    parse_instant(text).unwrap()
}
