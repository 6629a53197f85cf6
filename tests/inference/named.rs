//! `bursar agent list`, and names for what it shows.

use super::common::calls::{Ask, Caller, Http};
use super::common::gateway::Gateway;
use super::scene;
use serde_json::Value;
use std::process::Command;

fn ask(system: &str, tools: bool) -> Ask {
    Ask {
        system: Some(system.to_owned()),
        tools,
        ..Ask::chat("sim-cheap")
    }
}

fn list(gateway: &Gateway, more: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_bursar"))
        .args(["agent", "list", "--ops", &gateway.ops, "--config"])
        .arg(gateway.config())
        .args(more)
        .output()
        .expect("the binary");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_seen_is_listed_and_given_names() {
    let limits = "[[limit]]\nname = \"crew\"\nper = [\"task\"]\nturns = 100\n\
        [[limit]]\nname = \"writers\"\nmatch = { role = \"writer\" }\nper = [\"task\", \"role\"]\nturns = 50\n\
        [[limit]]\nname = \"clerks\"\nmatch = { role = \"clerk\" }\nper = [\"task\", \"role\"]\nturns = 1\n";
    let (_sim, mut gateway) = scene(|setup| setup.limits(limits)).await;
    let caller = Caller::of_nobody(&Http::new(), &gateway.agents);
    for system in ["You write.", "You file."] {
        let reply = caller
            .call(&ask(system, system == "You file."))
            .await
            .expect("an answer");
        assert!(
            reply
                .header("x-bursar-agent-id")
                .expect("an agent")
                .starts_with("agent-")
        );
    }
    let shown = list(&gateway, &[]);
    assert_eq!(shown.matches("[[agent]]").count(), 2, "{shown}");
    assert!(!shown.contains("You write"), "no prompt is shown");
    let seen: Value = serde_json::from_str(&list(&gateway, &["--json"])).expect("JSON");
    assert_eq!(seen.as_array().expect("a list").len(), 2);
    assert!(
        seen.as_array()
            .expect("a list")
            .iter()
            .all(|one| one["calls"] == 1 && one["named"] == false && one["owner"] == "local")
    );
    let writer = seen
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["tools"] == serde_json::json!([]));
    let prompt = writer.expect("the writer")["prompt"]
        .as_str()
        .expect("a digest")
        .to_owned();

    let named = format!(
        "\n[[agent]]\nid = \"writer-1\"\nrole = \"writer\"\nmatch = {{ prompt = \"{}\" }}\n\
         [[agent]]\nid = \"clerk-1\"\nrole = \"clerk\"\nmatch = {{ system = \"You f*\", tools = [\"*\"] }}\n",
        &prompt[..12]
    );
    gateway.kill();
    let config = std::fs::read_to_string(gateway.config()).expect("a configuration");
    std::fs::write(gateway.config(), config + &named).expect("a configuration");
    gateway.start_again().await;
    let caller = Caller::of_nobody(&Http::new(), &gateway.agents).header("x-bursar-task-id", "t");
    for (system, agent) in [("You write.", "writer-1"), ("You file.", "clerk-1")] {
        let reply = caller
            .call(&ask(system, system == "You file."))
            .await
            .expect("an answer");
        assert_eq!(
            reply.header("x-bursar-agent-id").as_deref(),
            Some(agent),
            "{}",
            reply.text()
        );
    }
    // A role that only what the call says of itself leads to is a claim: the tightest cap holds.
    let reply = caller
        .call(&ask("You write.", false))
        .await
        .expect("an answer");
    assert_eq!(
        reply.refusal().as_deref(),
        Some("turns_exceeded"),
        "{}",
        reply.text()
    );
    let seen: Value = serde_json::from_str(&list(&gateway, &["--json"])).expect("JSON");
    assert!(
        seen.as_array()
            .expect("a list")
            .iter()
            .all(|one| one["named"] == true && one["role"].is_string())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_match_is_told_with_its_line() {
    let (_sim, gateway) = scene(|setup| setup).await;
    let config = std::fs::read_to_string(gateway.config()).expect("a configuration");
    for (wrong, told) in [
        ("match = {}", "`match` names nothing"),
        ("match = { prompt = \"xyz\" }", "8 to 32 hexadecimal digits"),
        ("match = { prompts = \"00000000\" }", "prompts"),
    ] {
        let path = gateway.dir().join("config/wrong.toml");
        std::fs::write(&path, format!("{config}\n[[agent]]\nid = \"a\"\n{wrong}\n"))
            .expect("a file");
        let out = Command::new(env!("CARGO_BIN_EXE_bursar"))
            .args(["check", "--config"])
            .arg(&path)
            .output()
            .expect("the binary");
        let said = String::from_utf8_lossy(&out.stdout).into_owned()
            + &String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(78), "{said}");
        assert!(
            said.contains(told) && said.contains("wrong.toml:"),
            "{said}"
        );
    }
}
