//! What would have fired, by the digests in the journal: the same as did.

use crate::common::program::Ends as _;
use crate::runs::{harmless, loops};
use crate::talk::{Form, Scene, first_warning};
use serde_json::Value;
use std::collections::HashMap;
use std::process::Command;

/// Every rule warns, so that each run can be seen to its end.
const WARN: &str = "[repeat]\naction = \"warn\"\n[error_retry]\naction = \"warn\"\n[cycle]\naction = \"warn\"\n\
    [monologue]\naction = \"warn\"\n[rounds]\naction = \"warn\"\n[no_progress]\naction = \"warn\"\n";

/// What `bursar replay --loops --journal` says of each task.
async fn replayed(scene: &Scene, more: &[&str]) -> HashMap<String, Value> {
    scene.gateway.quiet().await;
    let done = Command::new(env!("CARGO_BIN_EXE_bursar"))
        .args(["replay", "--loops", "--journal", "--json", "--config"])
        .arg(scene.gateway.config())
        .args(more)
        .ended();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}");
    let lines = String::from_utf8(done.stdout).expect("text");
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line");
        (line["id"].as_str().expect("an id").to_owned(), line)
    };
    lines.lines().map(line).collect()
}

#[tokio::test]
async fn the_journal_fires_where_the_calls_did() {
    for form in Form::ALL {
        let scene = Scene::new(WARN).await;
        let mut fired = HashMap::new();
        for run in loops().iter().chain(&harmless()) {
            let id = run["id"].as_str().expect("an id");
            let live = first_warning(&scene, form, id, run).await;
            fired.insert(id.to_owned(), live);
        }
        let replayed = replayed(&scene, &[]).await;
        assert_eq!(replayed.len(), fired.len());
        for (id, live) in fired {
            let line = &replayed[&id];
            let rule = line["rule"].as_str().map(str::to_owned);
            assert_eq!(rule, live.map(|(_, rule)| rule), "{id} {form:?}: {line}");
            // What fired was the task's last call.
            let calls = line["calls"].as_u64().expect("calls");
            assert!(
                line["at"].as_u64().is_none_or(|at| at == calls - 1),
                "{line}"
            );
            assert_eq!(line["fired"], line["request"].is_string());
            assert!(line["recorded"].as_u64() > Some(0), "{line}");
        }
    }
}

#[tokio::test]
async fn other_rules_are_tried_on_what_was() {
    let scene = Scene::new(WARN).await;
    let run = &loops()[0];
    let live = first_warning(&scene, Form::Chat, "t", run).await;
    let (at, rule) = live.expect("a loop");
    assert_eq!(rule, "repeat");
    let rules = scene.gateway.dir().join("strict.toml");
    let strict = "[repeat]\nin_row = 2\naction = \"escalate\"\n";
    std::fs::write(&rules, strict).expect("written");
    let rules = rules.to_str().expect("a path");
    let line = &replayed(&scene, &["--rules", rules, "--task", "t"]).await["t"];
    assert_eq!(line["at"], at - 1, "one call sooner: {line}");
    assert_eq!(line["action"], "escalate");
    assert_eq!(line["evidence"].as_array().map(Vec::len), Some(2));
    assert_eq!(line["digests"].as_array().map(Vec::len), Some(1));
    assert!(replayed(&scene, &["--task", "other"]).await.is_empty());
    let off = "[repeat]\naction = \"off\"\n[no_progress]\naction = \"off\"\n";
    std::fs::write(rules, off).expect("written");
    assert_eq!(
        replayed(&scene, &["--rules", rules]).await["t"]["fired"],
        false
    );
}

#[tokio::test]
async fn refused_calls_are_replayed_too_and_rows_say_nothing_that_was_said() {
    let scene = Scene::new("").await;
    let mut talk = crate::talk::Talk::new(Form::Chat, "a");
    let mut refused = None;
    for _ in 0..4 {
        let step = crate::runs::step(
            "a",
            "search",
            "{\"q\":\"purse\"}",
            "Nothing of that name is here.",
        );
        let delta = step["delta"].as_array().expect("a delta");
        let answer = talk.answer(delta);
        scene.provider.say(200, &answer);
        let reply = scene.send(Form::Chat, ("t", "a"), &talk.body()).await;
        if reply.status == 402 {
            refused = Some(reply.request_id());
            break;
        }
        talk.goes_on(&answer, delta);
    }
    let line = &replayed(&scene, &[]).await["t"];
    assert_eq!(line["request"].as_str(), refused.as_deref());
    assert!(refused.is_some());
    let export = Command::new(env!("CARGO_BIN_EXE_bursar"))
        .args(["audit", "export", "--config"])
        .arg(scene.gateway.config())
        .ended();
    let rows = String::from_utf8(export.stdout).expect("text");
    assert!(rows.contains("\"steps\":\""));
    assert!(!rows.contains("Nothing of that name") && !rows.contains("purse"));
}

#[tokio::test]
async fn nothing_is_kept_where_that_is_switched_off() {
    let scene = Scene::with("", "[journal]\nsteps = \"off\"\n").await;
    let run = &harmless()[0];
    assert_eq!(first_warning(&scene, Form::Chat, "t", run).await, None);
    let line = &replayed(&scene, &[]).await["t"];
    assert_eq!(
        (&line["fired"], &line["recorded"]),
        (&false.into(), &0.into())
    );
}
