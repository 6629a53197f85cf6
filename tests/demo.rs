//! The demo as a newcomer runs it, what the pages say beside the code, and what a strict hold costs a
//! crew that works in parallel near its cap.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use bursar::config::Loaded;
use bursar::server::run;
use bursar::sim::{Settings, Sim};
use bursar::units::NanoUsd;
use bytes::Bytes;
use common::program::Ends as _;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn bursar() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bursar"))
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

// === The demo ===

fn money(value: &Value) -> NanoUsd {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn the_demo_stops_the_runaway_and_nobody_else() {
    let temporary = tempfile::tempdir().unwrap();
    let output = bursar()
        .args(["demo", "--seconds", "3", "--json"])
        // The environment of another gateway changes nothing, and what is left behind would show.
        .env("BURSAR_KEY", "a key of another gateway")
        .env("TMPDIR", temporary.path())
        .ended();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{said}", output.status);
    let summary: Value = serde_json::from_str(&said).unwrap();

    assert_eq!(summary["never_above"], true);
    assert_eq!(summary["equal"], true);
    let accounts = summary["accounts"].as_array().unwrap();
    // Four tasks, one of which has two caps; sixteen agents, four of which have two; the owner.
    assert_eq!(accounts.len(), 5 + 20 + 1);
    for account in accounts {
        let (cap, billed) = (money(&account["cap_usd"]), money(&account["billed_usd"]));
        assert!(NanoUsd::ZERO < billed && billed <= cap, "{account}");
        assert_eq!(money(&account["settled_usd"]), billed, "{account}");
    }

    let agents = summary["agents"].as_array().unwrap();
    assert_eq!(agents.len(), 16);
    let per_agent: u64 = agents
        .iter()
        .map(|agent| money(&agent["billed_usd"]).0)
        .sum();
    assert_eq!(NanoUsd(per_agent), money(&summary["billed_usd"]));
    let turns: u64 = agents
        .iter()
        .filter_map(|agent| agent["turns"].as_u64())
        .sum();
    assert_eq!(turns, summary["calls"].as_u64().unwrap());

    let who = |agent: &Value| format!("{}/{}", agent["task"], agent["agent"]).replace('"', "");
    let stopped = agents.iter().filter(|agent| agent["state"] == "stopped");
    let stopped: BTreeSet<_> = stopped
        .map(|agent| {
            let refusal = &agent["refusal"];
            assert_eq!(refusal["status"], 402, "{agent}");
            let code = refusal["body"]["error"]["code"].as_str().unwrap();
            (who(agent), code)
        })
        .collect();
    assert!(stopped.contains(&("site-audit/researcher".to_owned(), "task_budget_exceeded")));
    assert!(stopped.contains(&("translation/reviewer".to_owned(), "agent_budget_exceeded")));
    for agent in agents {
        let task = agent["task"].as_str().unwrap();
        let may_stop = task == "site-audit" || who(agent) == "translation/reviewer";
        assert!(may_stop || agent["state"] == "done", "{agent}");
    }

    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn the_demo_shows_its_figures_where_there_is_no_terminal() {
    let output = bursar().args(["demo", "--seconds", "3"]).ended();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{said}", output.status);
    assert!(
        !said.contains('\u{1b}'),
        "escapes outside a terminal: {said}"
    );
    assert!(said.contains("Never above"), "{said}");
    assert!(said.contains("HTTP 402 task_budget_exceeded"), "{said}");
}

#[test]
fn prices_are_shown_and_checked_as_they_are_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("policies")).unwrap();
    std::fs::write(at("policies/limits.toml"), "").unwrap();
    let prices =
        "[[model]]\nname = \"gpt-4o\"\nfamily = \"openai\"\nlike = \"gpt-4o\"\ninput = \"7.77\"\n";
    std::fs::write(at("policies/prices.toml"), prices).unwrap();
    let config = "policies = \"policies\"\n[[provider]]\nname = \"p\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n";
    std::fs::write(at("bursar.toml"), config).unwrap();
    let show = |config: &str| {
        let output = bursar()
            .args(["prices", "show", "gpt-4o", "--config"])
            .arg(at(config))
            .ended();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(show("bursar.toml").contains("7.77"));
    // Without a configuration, the catalogue alone.
    assert!(!show("absent.toml").contains("7.77"));

    std::fs::write(at("policies/prices.toml"), format!("{prices}x = 1\n")).unwrap();
    let check = bursar()
        .arg("check")
        .arg("--config")
        .arg(at("bursar.toml"))
        .ended();
    assert_eq!(check.status.code(), Some(78), "{check:?}");
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(said.contains("prices.toml:6: "), "{said}");
}

// === The pages beside the code ===

/// The text of every Rust file below a folder.
fn sources(folder: &str) -> String {
    let mut text = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    text
}

/// Words of a text that begin with `bursar_`.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    words
        .filter(|word| word.starts_with("bursar_"))
        .map(|word| {
            let ends = ["_bucket", "_count", "_sum"];
            let end = ends.iter().find_map(|end| word.strip_suffix(end));
            end.unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn operations_name_the_metrics_that_there_are() {
    let told = metrics_in(&read("docs/OPERATIONS.md"));
    let made = read("src/ops/metrics/registry.rs") + &read("src/traces/metrics.rs");
    let made: BTreeSet<String> = metrics_in(&made);
    assert!(told.len() > 10);
    assert_eq!(told, made);
}

/// The first cells of the tables below a heading `key` (or another), each word in backticks.
fn first_cells(page: &str, heading: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut inside = false;
    for line in page.lines() {
        let Some(cells) = line.strip_prefix("| ") else {
            inside = false;
            continue;
        };
        let cell = cells.split(" |").next().unwrap();
        inside |= cell == heading;
        if inside {
            words.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    words
}

#[test]
fn configuration_names_keys_that_are_read() {
    let code = sources("src/config");
    let keys = first_cells(&read("docs/CONFIGURATION.md"), "key");
    assert!(keys.len() > 60, "{keys:?}");
    for key in keys {
        let last = key.rsplit('.').next().unwrap();
        // A meter's key is its name.
        let is_meter = bursar::units::Meter::from_name(last).is_some();
        assert!(
            is_meter || code.contains(&format!("\"{last}\"")),
            "no such key: {key}"
        );
    }
}

#[test]
fn operations_name_every_code() {
    let codes = first_cells(&read("docs/OPERATIONS.md"), "code");
    let made: BTreeSet<String> = bursar::stack::Code::ALL
        .iter()
        .map(|code| code.name().to_owned())
        .collect();
    assert_eq!(codes, made);
}

#[test]
fn the_refusal_in_the_readme_is_one() {
    let readme = read("README.md");
    let blocks = readme.split("```json").skip(1);
    let blocks: Vec<Value> = blocks
        .map(|block| serde_json::from_str(block.split("```").next().unwrap()).unwrap())
        .collect();
    let refusal = &blocks[0]["error"];
    assert_eq!(refusal["type"], "insufficient_quota");
    let code = refusal["code"].as_str().unwrap();
    assert!(
        bursar::stack::Code::ALL
            .iter()
            .any(|known| known.name() == code)
    );
    for field in [
        "limit",
        "meter",
        "cap",
        "settled",
        "held",
        "in_doubt",
        "needed",
        "retryable",
    ] {
        assert!(!refusal["bursar"][field].is_null(), "{field}");
    }
}

// === A crew near its cap ===

/// What the simulated provider takes for a call.
const CALL: Duration = Duration::from_millis(500);

struct Crew {
    sim: Sim,
    running: run::Running,
    _folder: tempfile::TempDir,
}

async fn crew(cap: &str) -> Crew {
    let sim = Sim::start(Settings {
        latency: CALL,
        output_tokens: 120..=300,
        ..Settings::default()
    })
    .await
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let config = format!(
        "policies = \"policies\"\n[listen]\nagents = \"127.0.0.1:0\"\nops = \"127.0.0.1:0\"\n\
         [store]\nurl = \"sqlite:bursar.db\"\n[[provider]]\nname = \"openai\"\nkind = \"openai\"\n\
         base_url = \"{}\"\nforward_attribution = true\n",
        sim.base_url()
    );
    std::fs::create_dir(at("policies")).unwrap();
    std::fs::write(at("bursar.toml"), config).unwrap();
    let limits = format!("[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"{cap}\"\n");
    std::fs::write(at("policies/limits.toml"), limits).unwrap();
    let loaded = Loaded::load(&at("bursar.toml"), &|_| None).unwrap();
    let running = run::start(loaded, None).await.unwrap();
    Crew {
        sim,
        running,
        _folder: folder,
    }
}

#[derive(Default)]
struct Tally {
    /// Longer than the provider took.
    waits: Vec<Duration>,
    codes: Vec<String>,
}

/// 2,000 tokens as the simulated provider counts, in words that are a token each; no two begin alike.
fn prompt(agent: usize, call: usize) -> String {
    format!("{agent} {call} {}", "the sum ".repeat(998))
}

/// One agent: calls until it is refused.
async fn agent(gateway: String, number: usize, max_tokens: Option<u64>) -> Tally {
    let client =
        Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(HttpConnector::new());
    let mut tally = Tally::default();
    loop {
        let message = json!({"role": "user", "content": prompt(number, tally.waits.len())});
        let mut body = json!({"model": "gpt-4o", "messages": [message]});
        if let Some(max_tokens) = max_tokens {
            body["max_tokens"] = max_tokens.into();
        }
        let request = http::Request::post(format!("http://{gateway}/v1/chat/completions"))
            .header("x-bursar-task-id", "crew")
            .header("x-bursar-agent-id", format!("agent-{number}"))
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .unwrap();
        let begun = Instant::now();
        let sent = common::bounded("an answer", client.request(request)).await;
        let response = sent.unwrap();
        let status = response.status();
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        if status != 200 {
            let refusal: Value = serde_json::from_slice(&answer).unwrap();
            tally
                .codes
                .push(refusal["error"]["code"].as_str().unwrap().to_owned());
            return tally;
        }
        tally.waits.push(begun.elapsed().saturating_sub(CALL));
    }
}

async fn measure(agents: usize, cap: &str, max_tokens: Option<u64>) {
    let crew = crew(cap).await;
    let mut set = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for number in 0..agents {
        set.spawn(agent(crew.running.agents.clone(), number, max_tokens));
    }
    let mut all = Tally::default();
    for tally in set.join_all().await {
        all.waits.extend(tally.waits);
        all.codes.extend(tally.codes);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let bill = crew.sim.bill();
    crew.running.stop().await;
    crew.sim.shutdown().await;

    let cap: NanoUsd = cap.parse().unwrap();
    assert!(bill.total() <= cap);
    assert!(
        all.codes.iter().all(|code| code == "task_budget_exceeded"),
        "{:?}",
        all.codes
    );
    all.waits.sort();
    let calls = all.waits.len();
    // A machine that is busy elsewhere delays calls too, but not by so much.
    let waited: Vec<_> = all.waits.iter().filter(|wait| **wait > CALL / 4).collect();
    let sum: Duration = waited.iter().copied().sum();
    let alone = CALL.as_secs_f64() * (calls as f64) / (agents as f64);
    println!(
        "{agents} agents, max_tokens {max_tokens:?}: {calls} calls in {seconds:.1} s (without waits {alone:.1} s); \
         {} waited, {:.2} s on average, {:.2} s at most; ${} of ${cap} used: {:.1} %",
        waited.len(),
        sum.as_secs_f64() / (waited.len().max(1) as f64),
        all.waits.last().map_or(0.0, Duration::as_secs_f64),
        bill.total(),
        bill.total().0 as f64 * 100.0 / cap.0 as f64,
    );
}

/// The figures of README.md, "What a strict hold costs". Asserts only what must always hold.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of a minute: cargo test --test demo -- --ignored --nocapture"]
async fn what_a_strict_hold_costs_a_parallel_crew() {
    for max_tokens in [Some(400), Some(1_000), Some(4_000), None] {
        measure(8, "1.00", max_tokens).await;
    }
    measure(1, "0.20", Some(1_000)).await;
}
