//! What leaves in place of a conversation that is too long.

use crate::common::books;
use crate::common::calls::Dialect;
use crate::rig::{DIALECTS, Rig, Talk, messages};
use bursar::units::Meter;
use serde_json::Value;

const TRIMMED: &str = "[[limit]]\nname = \"workers\"\nmatch = { role = \"worker\" }\n\
    context_tokens = 3_000\non_exceed = \"trim\"\n\
    [[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"1.00\"\n";

/// Input tokens that the provider reported.
fn input_tokens(body: &Value) -> u64 {
    let usage = &body["usage"];
    let tokens = |name: &str| usage[name].as_u64().unwrap_or(0);
    [
        "prompt_tokens",
        "input_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    ]
    .map(tokens)
    .iter()
    .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_growing_conversation_is_cut_seldom_and_then_at_the_same_place() {
    for dialect in DIALECTS {
        let mut rig = Rig::start(TRIMMED).await;
        let mut talk = Talk::new(dialect);
        let head = talk.messages.clone();
        let mut before: Vec<Value> = Vec::new();
        let (mut cuts, mut billed, mut calls) = (0, 0, Vec::new());
        for turn in 0..40 {
            talk.tool_turn(600);
            let reply = rig.say("a:worker", &talk).await;
            assert!(reply.status.is_success(), "{turn}: {}", reply.text());
            let left = messages(rig.left().last().unwrap());
            // The head and the end are as they were, and what left out is told.
            assert_eq!(left[..head.len()], head[..]);
            assert_eq!(
                left[left.len() - 2..],
                talk.messages[talk.messages.len() - 2..]
            );
            let gone = talk.messages.len() - left.len();
            let told = reply.header("x-bursar-trimmed");
            assert_eq!(told.is_some(), gone > 0);
            assert!(told.is_none_or(|told| told.starts_with(&format!("messages={gone} bytes="))));
            // What the provider counted is within the cap, and is what is charged.
            let counted = input_tokens(&reply.json());
            assert!((1..=3_000).contains(&counted), "{turn}: {counted}");
            billed += counted;
            let bytes = rig.last_bytes().len() as u64;
            calls.push((reply.request_id(), counted, gone, bytes));
            // One cut, contiguous, and not a byte changed.
            let sent = talk.body().to_string().into_bytes();
            let left_bytes = rig.last_bytes();
            let same = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
            let front = same(&sent, &left_bytes);
            let (mut back_sent, mut back_left) = (sent.clone(), left_bytes.to_vec());
            back_sent.reverse();
            back_left.reverse();
            assert!(front + same(&back_sent, &back_left) >= left_bytes.len());
            // Until the next cut, what left before is how this begins.
            if !left.starts_with(&before) {
                cuts += 1;
            }
            before = left;
        }
        assert!((3..=8).contains(&cuts), "{cuts} cuts");
        let metrics = rig.gateway.metrics().await;
        let counted = metrics.get("bursar_context_cuts_total{limit=\"workers\"}");
        assert!(
            (counted - f64::from(cuts)).abs() < 0.5,
            "{counted} of {cuts}"
        );
        let bill = rig.sim.bill();
        assert_eq!(bill.by_task["t"].input_tokens, billed);
        assert!(rig.gateway.stop().await.success());
        books::verify(&rig.gateway.store());
        for (request, counted, gone, bytes) in calls {
            let row = books::call(&rig.gateway.store(), &request);
            assert_eq!(row.charged[Meter::InputTokens], counted);
            assert_eq!(row.reason, if gone > 0 { "trimmed" } else { "" });
            // At most a token a byte, of what left rather than of what was sent.
            let quoted = row.quoted[Meter::InputTokens];
            assert!(
                (counted..=bytes + 200).contains(&quoted),
                "{quoted} of {bytes}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_exchanges_go_when_tool_exchanges_are_not_enough() {
    let rig = Rig::start(TRIMMED).await;
    for dialect in DIALECTS {
        let mut talk = Talk::new(dialect);
        talk.tool_turn(500);
        talk.assistant("So far so good.");
        for at in 0..6 {
            talk.user(&crate::rig::words(at, 600));
            talk.assistant("Noted.");
        }
        talk.user("And now?");
        let reply = rig.say("a:worker", &talk).await;
        assert!(reply.status.is_success(), "{}", reply.text());
        let left = messages(rig.left().last().unwrap());
        let text = serde_json::to_string(&left).unwrap();
        assert!(!text.contains("call_1"), "the tool exchange went first");
        assert!(text.contains("how many purses") && text.contains("And now?"));
        assert!(text.contains("page 5"), "the newest stay");
        assert!(!text.contains("page 0 "), "the oldest went");
    }
}

const HANDED: &str = "[[limit]]\nname = \"handed\"\nhandoff_tokens = 3_000\non_exceed = \"trim\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_out_of_a_hand_off_stays_out() {
    let rig = Rig::start(HANDED).await;
    for (dialect, agent) in DIALECTS.into_iter().zip(["a", "b", "c"]) {
        let mut talk = Talk::new(dialect);
        for _ in 0..8 {
            talk.tool_turn(600);
        }
        let reply = rig.say(agent, &talk).await;
        assert!(reply.status.is_success(), "{}", reply.text());
        let first = messages(rig.left().last().unwrap());
        assert!(first.len() < talk.messages.len());
        talk.tool_turn(3_000);
        let reply = rig.say(agent, &talk).await;
        assert!(reply.status.is_success(), "{}", reply.text());
        let second = messages(rig.left().last().unwrap());
        assert!(second.starts_with(&first), "cut at the same place");
        assert_eq!(second.len(), first.len() + 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_trimmed_is_refused_and_says_so() {
    let rig = Rig::start(TRIMMED).await;
    let mut talk = Talk::new(Dialect::Responses);
    for _ in 0..8 {
        talk.tool_turn(600);
    }
    talk.previous = Some("resp_of_somebody");
    let reply = rig.say("a:worker", &talk).await;
    assert_eq!(reply.refusal().as_deref(), Some("context_exceeded"));
    assert!(
        reply.text().contains("cannot be trimmed"),
        "{}",
        reply.text()
    );
    let mut talk = Talk::new(Dialect::Chat);
    talk.user(&"x".repeat(4_000));
    let reply = rig.say("a:worker", &talk).await;
    assert_eq!(reply.refusal().as_deref(), Some("context_exceeded"));
    assert!(reply.text().contains("may be left out"), "{}", reply.text());
    assert_eq!(rig.sim.bill().calls, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_trimmed_and_refused_like_a_plain_call() {
    let rig = Rig::start(TRIMMED).await;
    for dialect in DIALECTS {
        let mut talk = Talk::new(dialect);
        talk.stream = true;
        for _ in 0..8 {
            talk.tool_turn(600);
        }
        let reply = rig.say("a:worker", &talk).await;
        assert!(reply.status.is_success(), "{}", reply.text());
        assert!(reply.header("x-bursar-trimmed").is_some());
        assert!(reply.events().len() > 1);
        let left = messages(rig.left().last().unwrap());
        assert!(left.len() < talk.messages.len());
        talk.user(&"x".repeat(4_000));
        let reply = rig.say("a:worker", &talk).await;
        assert_eq!(reply.refusal().as_deref(), Some("context_exceeded"));
    }
}
