//! What stands in place of the oldest part of a conversation that is too long: a summary by a model.

use crate::common::books;
use crate::common::calls::Dialect;
use crate::rig::{DIALECTS, Rig, Talk, messages};
use bursar::units::Meter;
use serde_json::Value;
use std::collections::HashSet;

fn limits(with: &str) -> String {
    format!(
        "[[limit]]\nname = \"workers\"\nmatch = {{ role = \"worker\" }}\ncontext_tokens = 3_000\n\
         on_exceed = \"summarise\"\nsummarise_with = \"{with}\"\n\
         [[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"1.00\"\n"
    )
}

const HEAD: &str = "[Summary by the gateway of ";

/// The text of a message, if it is the gateway's summary.
fn summary(message: &Value) -> Option<&str> {
    let text = message["content"].as_str()?;
    text.starts_with(HEAD).then_some(text)
}

/// Ids of tool calls made and of those answered.
fn pairs(messages: &[Value]) -> (HashSet<String>, HashSet<String>) {
    let (mut made, mut answered) = (HashSet::new(), HashSet::new());
    let mut note = |set: bool, id: &Value| {
        if let Some(id) = id.as_str() {
            if set { &mut made } else { &mut answered }.insert(id.to_owned());
        }
    };
    for message in messages {
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            note(true, &call["id"]);
        }
        for block in message["content"].as_array().into_iter().flatten() {
            note(true, &block["id"]);
            note(false, &block["tool_use_id"]);
        }
        note(message["type"] == "function_call", &message["call_id"]);
        note(false, &message["tool_call_id"]);
    }
    (made, answered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_growing_conversation_is_summed_up_seldom_and_stays_valid() {
    for (dialect, with) in
        DIALECTS
            .into_iter()
            .zip(["sim/sim-cheap", "sim/sim-cheap", "sim-anthropic/sim-cheap"])
    {
        let mut rig = Rig::start(&limits(with)).await;
        let mut talk = Talk::new(dialect);
        let head = talk.messages.clone();
        let mut before: Vec<Value> = Vec::new();
        let (mut made, mut summed_up) = (0, 0);
        for turn in 0..30 {
            talk.tool_turn(600);
            let calls = rig.left().len();
            let reply = rig.say("a:worker", &talk).await;
            assert!(reply.status.is_success(), "{turn}: {}", reply.text());
            assert_eq!(
                reply.header("x-bursar-warning"),
                None,
                "nothing is lost to the caller"
            );
            let left = rig.left();
            let fresh = left.len() - calls == 2;
            made += u32::from(fresh);
            let left = messages(left.last().unwrap());
            assert_eq!(left[..head.len()], head[..]);
            assert_eq!(
                left[left.len() - 2..],
                talk.messages[talk.messages.len() - 2..]
            );
            let (calls, results) = pairs(&left);
            assert_eq!(calls, results, "a pair was parted");
            let told = reply.header("x-bursar-trimmed").unwrap_or_default();
            let text = left.get(head.len()).and_then(summary);
            assert_eq!(text.is_some(), told.contains(" summary="), "{told}");
            if let Some(text) = text {
                summed_up += 1;
                let gone = talk.messages.len() + 1 - left.len();
                assert!(
                    text.starts_with(&format!("{HEAD}{gone} earlier messages")),
                    "{text}"
                );
                assert!(
                    told.starts_with(&format!("messages={gone} bytes=")),
                    "{told}"
                );
                assert!(
                    told.ends_with(&format!(" summary={}", text.len())),
                    "{told}"
                );
            } else {
                assert!(told.is_empty(), "{told}");
            }
            // Until the next summary, what left before is how this begins.
            assert!(fresh || left.starts_with(&before));
            before = left;
        }
        assert!((2..=12).contains(&made), "{made} summaries");
        assert!(summed_up > 12, "{summed_up}");
        // Each summary takes in the one before.
        let asked = rig.left();
        let asked = asked
            .iter()
            .filter(|body| body.to_string().contains("You sum up the earlier part"));
        let asked: Vec<&Value> = asked.collect();
        assert_eq!(asked.len(), usize::try_from(made).unwrap());
        assert!(asked[1].to_string().contains(HEAD));
        let bill = rig.sim.bill();
        assert!(rig.gateway.stop().await.success());
        let store = rig.gateway.store();
        books::verify(&store);
        let rows = books::calls(&store);
        let reasons = |reason: &str| rows.iter().filter(|row| row.reason == reason).count();
        assert_eq!(
            reasons("summary"),
            asked.len(),
            "each is a call of the task's own"
        );
        assert_eq!(reasons("summarised"), summed_up);
        assert!(rows.iter().all(|row| row.agent == "a" && row.task == "t"));
        let charged: u64 = rows.iter().map(|row| row.charged[Meter::InputTokens]).sum();
        assert_eq!(bill.by_task["t"].input_tokens, charged);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_summary_is_to_be_had_the_conversation_is_trimmed() {
    // The model fails; or a cap is in the way of the second summary.
    let tight = "[[limit]]\nname = \"dear\"\nmatch = { model = \"sim-strong\" }\nper = [\"task\"]\nturns = 1\non_exceed = \"escalate\"\n";
    for (with, more, summaries) in [("sim/sim-cheap-503", "", 0), ("sim/sim-strong", tight, 1)] {
        let mut rig = Rig::start(&(limits(with) + more)).await;
        let mut talk = Talk::new(Dialect::Chat);
        let mut trimmed = 0;
        for turn in 0..20 {
            talk.tool_turn(600);
            let reply = rig.say("a:worker", &talk).await;
            assert!(reply.status.is_success(), "{turn}: {}", reply.text());
            let told = reply.header("x-bursar-trimmed").unwrap_or_default();
            trimmed += u32::from(!told.is_empty() && !told.contains("summary="));
        }
        assert!(trimmed > 3, "{trimmed}");
        assert!(rig.gateway.stop().await.success());
        books::verify(&rig.gateway.store());
        let rows = books::calls(&rig.gateway.store());
        let made = rows.iter().filter(|row| row.reason == "summary");
        assert_eq!(made.count(), summaries, "{with}");
    }
}
