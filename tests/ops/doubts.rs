//! Money in doubt: listed, released by a person, reconciled by evidence; the ledger, the journal and
//! the metrics agree.

use crate::common::calls::Ask;
use crate::common::gateway::Gateway;
use crate::rig::{Operator, account, gateway, nano, says, sim};
use serde_json::{Value, json};

/// Three calls whose connection dropped: their ids.
async fn doubtful(gateway: &Gateway) -> Vec<String> {
    let caller = gateway.caller("t-1");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut ask = Ask::chat("sim-cheap-reset");
        ask.max_tokens = Some(100);
        let answer = caller.open(&ask).await.expect("a head, ours at the least");
        let id = answer.headers()["x-bursar-request-id"].to_str().unwrap();
        ids.push(id.to_owned());
    }
    gateway.quiet().await;
    ids
}

async fn in_doubt(ops: &Operator) -> (Value, Value) {
    let task = ops.sees("/api/tasks/t-1").await;
    let usd = account(&task["accounts"], "task")["meters"]["usd"].clone();
    (usd["in_doubt"].clone(), usd["settled"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn doubts_are_listed_released_and_reconciled() {
    let sim = sim().await;
    let gateway = gateway(&sim).await;
    let ops = Operator::of(&gateway);
    doubtful(&gateway).await;
    let listed = ops.sees("/api/doubts?task=t-1").await;
    let doubts = listed["doubts"].as_array().unwrap().clone();
    assert!(doubts.len() >= 3, "{listed}");
    let sum: u64 = doubts.iter().map(|doubt| nano(&doubt["usd"])).sum();
    assert_eq!(
        nano(&listed["in_doubt_usd"]),
        sum,
        "each call once, though three accounts count it"
    );
    assert_eq!(nano(&in_doubt(&ops).await.0), sum);

    // A person: the first was not spent.
    let released = ops
        .does(
            "/api/doubts/release",
            json!({"id": doubts[0]["id"], "by": "anna"}),
        )
        .await;
    assert_eq!(released["doubts"], 1);
    assert_eq!(released["spent_usd"], "0.00");
    let left = sum - nano(&doubts[0]["usd"]);
    assert_eq!(nano(&in_doubt(&ops).await.0), left);
    let again = ops
        .fails("/api/doubts/release", json!({"id": doubts[0]["id"]}))
        .await;
    assert_eq!(again, (404, "not_found".to_owned()));

    // Evidence: the second cost this much, the third that much, a fourth is unknown here.
    let csv = format!(
        "request,model,usd\r\n{},sim,0.0000012\n{},\"a, b\",0.00000000051\nreq-none,sim,1\n",
        doubts[1]["request"].as_str().unwrap(),
        doubts[2]["request"].as_str().unwrap()
    );
    let (status, said) = ops
        .clone()
        .header("content-type", "text/csv")
        .send("POST", "/api/doubts/reconcile?by=anna", &csv)
        .await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(said["doubts"], 2);
    assert_eq!(
        said["spent_usd"], "0.000001201",
        "rounded up to a nano-dollar"
    );
    assert_eq!(said["unmatched"], json!([2]));
    let (doubt, settled) = in_doubt(&ops).await;
    assert_eq!(
        nano(&doubt),
        left - nano(&doubts[1]["usd"]) - nano(&doubts[2]["usd"])
    );
    assert_eq!(settled, "0.000001201");

    ops.does("/api/doubts/release", json!({"all": true})).await;
    let metrics = gateway.quiet().await;
    assert_eq!(metrics.nano("bursar_in_doubt_usd"), 0);
    assert_eq!(in_doubt(&ops).await.0, "0.00");
    let verified = says(&gateway.config(), &["audit", "verify"]).await;
    assert!(verified.contains("balances agree"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_does_the_same_and_the_journal_says_who() {
    let sim = sim().await;
    let gateway = gateway(&sim).await;
    let config = gateway.config();
    let ids = doubtful(&gateway).await;
    let listed = says(&config, &["doubt", "list"]).await;
    assert!(
        listed.starts_with("ID") && listed.contains(&ids[0]),
        "{listed}"
    );
    let listed: Value =
        serde_json::from_str(&says(&config, &["doubt", "list", "--json"]).await).unwrap();
    let first = listed[0]["id"].to_string();

    let ops = ["--ops", &gateway.ops];
    let released = says(&config, &[&["doubt", "release", &first][..], &ops].concat()).await;
    assert!(released.starts_with("doubts ended: 1;"), "{released}");
    let file = config.with_file_name("export.jsonl");
    let line = json!({"request": ids[1], "input_tokens": 7, "output_tokens": 3, "usd": "0.000002"});
    std::fs::write(&file, format!("{line}\n")).unwrap();
    let file = file.to_str().unwrap();
    let said = says(
        &config,
        &[&["doubt", "reconcile", file, "--by", "anna"][..], &ops].concat(),
    )
    .await;
    assert!(
        said.starts_with("doubts ended: 1;") && said.contains("$0.000002 of it spent"),
        "{said}"
    );
    let exported = says(&config, &["audit", "export"]).await;
    let by = |kind: &str| {
        let row = exported
            .lines()
            .find(|line| line.contains(&format!("\"kind\":\"{kind}\"")));
        let row: Value = serde_json::from_str(row.expect(kind)).unwrap();
        row["entry"]["by"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (by("release"), by("reconcile")),
        ("ops:tester".to_owned(), "ops:anna".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_is_shown_by_account_and_counted_once() {
    let sim = sim().await;
    let mut gateway = gateway(&sim).await;
    for task in ["t-1", "t-2"] {
        let reply = gateway.caller(task).call(&Ask::chat("sim-cheap")).await;
        assert!(reply.expect("an answer").status.is_success());
    }
    gateway.quiet().await;
    gateway.kill();
    gateway.start_again().await;
    let ops = Operator::of(&gateway);
    let listed = ops.sees("/api/doubts").await;
    let doubts = listed["doubts"].as_array().unwrap().clone();
    assert!(doubts.len() > 2, "{listed}");
    let mut by_limit = std::collections::BTreeMap::<String, u64>::new();
    for doubt in &doubts {
        assert_eq!(doubt["reason"], "crash");
        let limit = doubt["limits"][0].as_str().expect("a limit");
        *by_limit.entry(limit.to_owned()).or_default() += nano(&doubt["usd"]);
    }
    let largest = by_limit.values().copied().max().unwrap_or(0);
    assert!(
        largest > 0 && largest < by_limit.values().sum(),
        "{by_limit:?}"
    );
    assert_eq!(nano(&listed["in_doubt_usd"]), largest, "{by_limit:?}");
    let metrics = gateway.quiet().await;
    assert_eq!(metrics.nano("bursar_in_doubt_usd"), largest);
    let shown = says(&gateway.config(), &["doubt", "list"]).await;
    assert!(shown.contains("crash: task"), "{shown}");
    assert!(shown.contains("do not add up"), "{shown}");

    // One task's are found by its name, and released by it; the owner's stay.
    let of_task = ops.sees("/api/doubts?task=t-1").await;
    assert!(
        !of_task["doubts"].as_array().unwrap().is_empty(),
        "{of_task}"
    );
    let released = ops
        .does("/api/doubts/release", json!({"task": "t-1"}))
        .await;
    assert!(released["doubts"].as_u64() > Some(0), "{released}");
    assert_eq!(in_doubt(&ops).await.0, "0.00");
    let all = ops.does("/api/doubts/release", json!({"all": true})).await;
    let cleared = nano(&released["cleared_usd"]) + nano(&all["cleared_usd"]);
    assert_eq!(cleared, largest, "{released} {all}");
    let metrics = gateway.quiet().await;
    assert_eq!(metrics.nano("bursar_in_doubt_usd"), 0);
    let verified = says(&gateway.config(), &["audit", "verify"]).await;
    assert!(verified.contains("balances agree"), "{verified}");
}
