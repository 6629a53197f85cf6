//! What is told without being done: shadow mode and `bursar route explain`.

use crate::common::calls::{Ask, Dialect};
use crate::common::program::Ends as _;
use crate::rig::Rig;
use serde_json::{Value, json};
use std::process::Command;

const ROUTES: &str = r#"
[[route]]
name = "trial"
match = { role = "worker" }
to = ["second/sim-cheap"]
shadow = true

[[route]]
name = "long"
match = { context_tokens = { over = 1000 }, budget_left = { under = 0.5 } }
to = [{ model = "second/sim-cheap", weight = 3 }, { model = "sim/*", weight = 1 }, "sim-anthropic/sim-strong"]

[[route]]
name = "nobody"
match = { role = "writer" }
to = ["sim-anthropic/sim-strong"]
shadow = true
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_in_shadow_is_only_recorded() {
    let mut rig = Rig::start(ROUTES, "").await;
    let ask = Ask::chat("sim-strong");
    let caller = rig.caller("t", "worker");
    let reply = caller.call(&ask).await.unwrap();
    assert_eq!(reply.header("x-bursar-model").unwrap(), "sim-strong");
    let real = reply.cost().unwrap().0;
    let completions = ask.clone().dialect(Dialect::Completions);
    let writer = rig.caller("t", "writer");
    let told = writer.call(&completions).await.unwrap();
    assert!(told.status.is_success());
    assert_eq!(rig.billed()[1], 0);
    rig.gateway.quiet().await;
    let went = rig.went(&reply.request_id());
    assert_eq!((&*went.provider, &*went.route), ("sim", ""));
    let (to, usd) = went.shadow.expect("a shadow");
    assert_eq!(to, "second/sim-cheap");
    // The same tokens at a fiftieth of the price for input, and less for output.
    let usd = usd.expect("a price");
    assert!(usd > 0 && usd * 40 < real, "{usd} of {real}");
    // In that dialect the route would have refused.
    let (to, usd) = rig.went(&told.request_id()).shadow.expect("a shadow");
    assert_eq!((&*to, usd), ("", None));
    let metrics = rig.gateway.metrics().await;
    let counted = |route: &str, target: &str| {
        let labels = format!("{{route=\"{route}\",target=\"{target}\"}}");
        metrics.get(&format!("bursar_shadow_calls_total{labels}"))
    };
    assert!((counted("trial", "second/sim-cheap") - 1.0).abs() < 0.1);
    assert!((counted("nobody", "-") - 1.0).abs() < 0.1);
    let cost = |cost: &str| {
        let labels = format!("cost=\"{cost}\",route=\"trial\",target=\"second/sim-cheap\"");
        metrics.nano(&format!("bursar_shadow_cost_usd_total{{{labels}}}"))
    };
    assert_eq!(
        (cost("real"), cost("shadow")),
        (real, went_usd(&rig, &reply.request_id()))
    );
    rig.settles().await;
}

fn went_usd(rig: &Rig, request: &str) -> u64 {
    let (_, usd) = rig.went(request).shadow.expect("a shadow");
    usd.expect("a price")
}

fn explain(rig: &Rig, args: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
    let command = command.args(["route", "explain", "--config"]);
    let command = command.arg(rig.gateway.config()).args(args);
    command.ended()
}

fn explained(rig: &Rig, args: &[&str]) -> Value {
    let output = explain(rig, &[args, &["--json"]].concat());
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_says_of_every_route_why() {
    let rig = Rig::start(ROUTES, "").await;
    let plain = explained(&rig, &["--model", "sim-strong", "--role", "worker"]);
    assert_eq!(plain["route"], Value::Null);
    assert_eq!(plain["goes_to"][0]["provider"], "sim");
    let usd = json!({"input": "5.00", "output": "25.00"});
    assert_eq!(plain["goes_to"][0]["usd_per_million"], usd);
    assert_eq!(plain["routes"][0]["takes"], true);
    assert_eq!(plain["routes"][0]["shadow"], true);
    let why = &plain["routes"][1]["why_not"];
    assert_eq!(why, "its input is of 0 tokens, not over 1000");
    let rich = ["--model", "x", "--context-tokens", "2000"];
    let why = &explained(&rig, &rich)["routes"][1]["why_not"];
    assert_eq!(why, "1 of its budget is left, not at most 0.5");
    let poor = [
        "--model",
        "sim/sim-x",
        "--context-tokens",
        "2000",
        "--budget-left",
        "0.25",
        "--output-tokens",
        "1000",
        "--dialect",
        "openai-completions",
    ];
    let poor = explained(&rig, &poor);
    assert_eq!(poor["route"], "long");
    assert_eq!(
        poor["routes"][0]["why_not"],
        "it has no role, and `worker` is wanted"
    );
    let names = poor["goes_to"].as_array().unwrap().iter();
    let names: Vec<String> = names
        .map(|to| format!("{}/{}", to["provider"], to["model"]).replace('"', ""))
        .collect();
    assert_eq!(names, ["second/sim-cheap", "sim/sim-x"]);
    assert_eq!(poor["goes_to"][0]["usd"], "0.0006");
    assert_eq!(poor["goes_to"][0]["weight"], "weight 3 of 4");
    let out = &poor["routes"][1]["targets"][2]["left_out"];
    assert_eq!(out, "does not take openai-completions");
    let text = explain(&rig, &["--model", "nobody", "--role", "worker"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("trial (line 2, in shadow): takes it\n    second/sim-cheap, $0.10 in, $0.40 out per million tokens"), "{text}");
    assert!(
        text.ends_with("it is refused: no provider has the model `nobody`\n"),
        "{text}"
    );
    let wrong = explain(&rig, &["--model", "x", "--dialect", "chat"]);
    assert_eq!(wrong.status.code(), Some(64));
}
