//! Cheaper models when little is left, and what keeps a call where it is: a prompt cache, or an id that only
//! one provider knows.

use crate::common::calls::{Ask, Dialect, Http, Reply};
use crate::rig::Rig;
use bytes::Bytes;
use http::Request;
use serde_json::json;

const LADDER: &str = r#"
[[route]]
name = "ladder"
to = ["sim/sim-strong"]
downgrade = ["second/sim-mid", { model = "second/sim-cheap", under = 0.2 }]
"#;

fn limit(usd: &str, more: &str) -> String {
    format!("[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"{usd}\"\n{more}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_the_cap_the_cheaper_model_answers() {
    let limit = limit("0.02", "warn_at = 0.5\non_exceed = \"downgrade\"");
    let mut rig = Rig::start(LADDER, &limit).await;
    let ask = Ask::chat("x").max_tokens(Some(80));
    let mut answered: Vec<(u64, String)> = Vec::new();
    loop {
        let spent = rig.billed().iter().sum();
        let who = rig.say("t", "", &ask).await;
        if answered.len() == 6 {
            // What is left is known after a restart too.
            rig.gateway.stop().await;
            rig.gateway.start_again().await;
        }
        let refused = who == "task_budget_exceeded";
        answered.push((spent, who));
        if refused {
            break;
        }
        assert!(answered.len() < 1_000);
    }
    for (spent, who) in &answered {
        let expected = match spent {
            0..10_000_000 => "sim/sim-strong",
            10_000_000..16_000_000 => "second/sim-mid",
            _ => "second/sim-cheap",
        };
        assert!(
            who == expected || who == "task_budget_exceeded" || *spent > 19_000_000,
            "{spent}: {who}"
        );
    }
    for who in ["sim/sim-strong", "second/sim-mid", "second/sim-cheap"] {
        assert!(
            answered.iter().any(|(_, one)| one == who),
            "{who} never answers"
        );
    }
    assert!(rig.billed().iter().sum::<u64>() <= 20_000_000);
    // Another task has its own budget.
    assert_eq!(rig.say("u", "", &ask).await, "sim/sim-strong");
    rig.settles().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_goes_down_the_ladder_and_no_limit_needs_to_say_so() {
    let rig = Rig::start(LADDER, &limit("0.01", "")).await;
    // A strong answer of 2,000 tokens may cost $0.05, a middling one $0.008.
    let ask = Ask::chat("x").max_tokens(Some(2_000));
    assert_eq!(rig.say("t", "", &ask).await, "second/sim-mid");
}

/// A long conversation, of which the next call knows everything but its last words.
fn talk(words: usize, turns: usize) -> Ask {
    let mut ask = Ask::chat("sim-x").max_tokens(Some(50));
    ask.system = Some("purse ".repeat(words));
    ask.text = format!("Question {turns}?");
    for turn in 0..turns {
        ask.history
            .push(json!({"role": "user", "content": format!("Question {turn}?")}));
        ask.history
            .push(json!({"role": "assistant", "content": format!("Answer {turn}.")}));
    }
    ask
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_prompt_cache_is_left_only_if_that_pays() {
    let routes = |more: &str| {
        format!(
            "[[route]]\nname = \"r\"\nto = \"sim/sim-strong\"\n{more}\n\
             downgrade = [{{ model = \"second/sim-mid\", under = 0.99999 }}]\n"
        )
    };
    // Of ten thousand tokens, all but a few cached, a call costs $0.005 where it is; $0.01 uncached at the other.
    let limit = limit("5.00", "");
    let rig = Rig::start(&routes("max_switch_cost = \"0.00\""), &limit).await;
    assert_eq!(rig.say("t", "", &talk(10_000, 1)).await, "sim/sim-strong");
    assert_eq!(rig.say("t", "", &talk(10_000, 2)).await, "sim/sim-strong");
    // A short one loses nothing, nor does one that has no cache yet.
    assert_eq!(rig.say("t", "", &talk(10, 1)).await, "second/sim-mid");
    assert_eq!(rig.say("t", "", &talk(10_001, 1)).await, "second/sim-mid");
    // Who minds a cent less, goes.
    rig.reload(&routes("max_switch_cost = \"0.01\""), "ok")
        .await;
    assert_eq!(rig.say("t", "", &talk(10_000, 3)).await, "second/sim-mid");
    // Once it is there, it is the other that is cold.
    rig.reload(&routes("max_switch_cost = \"0.00\""), "ok")
        .await;
    assert_eq!(rig.say("t", "", &talk(10_000, 4)).await, "second/sim-mid");
    // Nobody minds unless told to.
    let rig = Rig::start(&routes(""), &limit).await;
    assert_eq!(rig.say("t", "", &talk(10_000, 1)).await, "sim/sim-strong");
    assert_eq!(rig.say("t", "", &talk(10_000, 2)).await, "second/sim-mid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_goes_on_where_the_answer_before_it_came_from() {
    let to = |target: &str| format!("[[route]]\nname = \"r\"\nto = {target}\n");
    let mut rig = Rig::start(&to("\"second/sim-cheap\""), "").await;
    let ask = Ask::chat("x").dialect(Dialect::Responses);
    let first = rig.caller("t", "").call(&ask).await.unwrap();
    let mut next = ask.clone();
    next.previous = Some(first.json()["id"].as_str().unwrap().to_owned());
    rig.reload(&to("\"sim/sim-strong\""), "ok").await;
    assert_eq!(rig.say("t", "", &ask).await, "sim/sim-strong");
    // The route has no target there: the model that answered before goes on.
    assert_eq!(rig.say("t", "", &next).await, "second/sim-cheap");
    // It has one, behind another.
    rig.reload(&to("[\"sim/sim-strong\", \"second/sim-mid\"]"), "ok")
        .await;
    assert_eq!(rig.say("t", "", &next).await, "second/sim-mid");
    rig.gateway.quiet().await;
    rig.gateway.stop().await;
    rig.gateway.start_again().await;
    assert_eq!(rig.say("t", "", &next).await, "second/sim-mid");
    rig.settles().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_and_conversations_stay_with_whoever_lets_them_pass() {
    let routes = "[[route]]\nto = [\"sim/sim-strong\", \"second/sim-cheap\"]\n";
    // The provider `second` lets them pass, `sim` does not.
    let rig = Rig::start(routes, "").await;
    let text =
        json!([{"role": "user", "content": [{"type": "input_text", "text": "Say \"file_id\"."}]}]);
    let file = json!([{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]);
    for (body, who) in [
        (json!({"input": text}), "sim/sim-strong"),
        (json!({"input": file}), "second/sim-cheap"),
        (
            json!({"input": "x", "conversation": "conv_1"}),
            "second/sim-cheap",
        ),
    ] {
        let mut body = body;
        body["model"] = json!("x");
        body["max_output_tokens"] = json!(50);
        let request = Request::post(format!("{}/v1/responses", rig.gateway.agents))
            .header("content-type", "application/json")
            .header("x-bursar-task-id", "t");
        let sent = request.body(Bytes::from(body.to_string()).into()).unwrap();
        let before = rig.billed();
        let reply = Reply::read(Http::new().send(sent).await.unwrap())
            .await
            .unwrap();
        assert_eq!(rig.who(before, &reply), who, "{body}");
    }
}
