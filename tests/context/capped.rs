//! What is refused, what is only noted, and who counts as newly entered.

use crate::common::calls::Dialect;
use crate::rig::{DIALECTS, Rig, Talk, messages};

const WORKERS: &str =
    "[[limit]]\nname = \"workers\"\nmatch = { role = \"worker\" }\ncontext_tokens = 3_000\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_a_context_is_refused_before_anything_is_held() {
    let rig = Rig::start(WORKERS).await;
    for dialect in DIALECTS {
        let mut talk = Talk::new(dialect);
        talk.tool_turn(1_000);
        let reply = rig.say("a:worker", &talk).await;
        assert!(reply.status.is_success(), "{}", reply.text());
        talk.tool_turn(4_000);
        let calls = rig.sim.bill().calls;
        let reply = rig.say("a:worker", &talk).await;
        assert_eq!(reply.status, 402, "{dialect:?}");
        assert_eq!(reply.refusal().as_deref(), Some("context_exceeded"));
        assert_eq!(reply.header("x-should-retry").as_deref(), Some("false"));
        let error = &reply.json()["error"];
        let kind = match dialect {
            Dialect::Messages => "billing_error",
            _ => "insufficient_quota",
        };
        assert_eq!(error["type"], kind);
        let bursar = &error["bursar"];
        assert_eq!(bursar["limit"], "workers");
        assert_eq!(bursar["meter"], "context_tokens");
        assert_eq!(bursar["cap"], "3000");
        assert_eq!(bursar["retryable"], false);
        let needed: u64 = bursar["needed"].as_str().unwrap().parse().unwrap();
        assert!((4_000..6_000).contains(&needed), "{needed}");
        assert_eq!(rig.sim.bill().calls, calls, "it never left");
        // Others are not under this cap.
        let reply = rig.say("b:chief", &talk).await;
        assert!(reply.status.is_success(), "{}", reply.text());
    }
    let metrics = rig.gateway.metrics().await;
    let denied = metrics.get("bursar_denials_total{code=\"context_exceeded\",limit=\"workers\"}");
    assert!((denied - 3.0).abs() < 0.5, "{denied}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_that_the_provider_has_counted_is_taken_as_counted() {
    // Four bytes are a token to this provider: only its own count can show that 8,000 of them fit.
    let rig = Rig::start(WORKERS).await;
    let mut talk = Talk::new(Dialect::Chat);
    for _ in 0..7 {
        talk.tool_turn(1_000);
        let reply = rig.say("a:worker", &talk).await;
        assert!(reply.status.is_success(), "{}", reply.text());
    }
    talk.model = "sim-strong";
    let refused = rig.say("b:worker", &talk).await;
    assert_eq!(refused.refusal().as_deref(), Some("context_exceeded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observed_cap_notes_and_refuses_nothing() {
    let rig = Rig::start(&format!("{WORKERS}on_exceed = \"observe\"\n")).await;
    let mut talk = Talk::new(Dialect::Chat);
    talk.tool_turn(4_000);
    let reply = rig.say("a:worker", &talk).await;
    assert!(reply.status.is_success(), "{}", reply.text());
    let metrics = rig.gateway.metrics().await;
    let seen = metrics.get("bursar_denials_total{code=\"observed\",limit=\"workers\"}");
    assert!((seen - 1.0).abs() < 0.5, "{seen}");
}

const HANDED: &str = "[[limit]]\nname = \"handed\"\nhandoff_tokens = 2_000\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_first_call_of_an_invocation_is_a_hand_off() {
    let mut rig = Rig::start(HANDED).await;
    for (dialect, agent) in DIALECTS.into_iter().zip(["a", "b", "c"]) {
        let mut talk = Talk::new(dialect);
        talk.tool_turn(2_500);
        // The whole history of somebody else: refused however often it is tried.
        for _ in 0..2 {
            let reply = rig.say(agent, &talk).await;
            assert_eq!(reply.refusal().as_deref(), Some("context_exceeded"));
            assert_eq!(reply.json()["error"]["bursar"]["meter"], "handoff_tokens");
        }
        let mut own = Talk::new(dialect);
        let reply = rig.say(agent, &own).await;
        assert!(reply.status.is_success(), "{}", reply.text());
        own.tool_turn(6_000);
        let reply = rig.say(agent, &own).await;
        assert!(reply.status.is_success(), "{}", reply.text());
        // Entered anew: nobody has answered yet.
        let mut fresh = Talk::new(dialect);
        fresh.user(&"x".repeat(2_500));
        let reply = rig.say(agent, &fresh).await;
        assert_eq!(reply.refusal().as_deref(), Some("context_exceeded"));
    }
    // After a restart the journal knows who has been here.
    rig.gateway.kill();
    rig.gateway.start_again().await;
    let mut talk = Talk::new(Dialect::Chat);
    talk.tool_turn(6_000);
    let reply = rig.say("a", &talk).await;
    assert!(reply.status.is_success(), "{}", reply.text());
    // What one agent's calls have counted helps no other model's.
    talk.model = "sim-strong";
    let reply = rig.say("newcomer", &talk).await;
    assert_eq!(reply.refusal().as_deref(), Some("context_exceeded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_id_an_agent_is_known_by_its_system_text_and_tools() {
    let rig = Rig::start(HANDED).await;
    let mut talk = Talk::new(Dialect::Chat);
    let reply = rig.send(&[], &talk).await;
    assert!(reply.status.is_success(), "{}", reply.text());
    talk.tool_turn(4_000);
    let reply = rig.send(&[], &talk).await;
    assert!(reply.status.is_success(), "{}", reply.text());
    talk.messages[0]["content"] = "You are somebody else.".into();
    let reply = rig.send(&[], &talk).await;
    assert_eq!(reply.refusal().as_deref(), Some("context_exceeded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_told_once_that_its_context_is_large() {
    let limits = format!("{WORKERS}on_exceed = \"nudge\"\n");
    let rig = Rig::start(&limits).await;
    for dialect in DIALECTS {
        let mut talk = Talk::new(dialect);
        let small = talk.clone();
        let mut told = Vec::new();
        for bytes in [500, 4_000, 4_000, 4_000] {
            talk.tool_turn(bytes);
            let reply = rig.say("a:worker", &talk).await;
            assert!(reply.status.is_success(), "{}", reply.text());
            let left = messages(rig.left().last().unwrap());
            assert!(
                left.starts_with(&talk.messages),
                "nothing before it changes"
            );
            let more = &left[talk.messages.len()..];
            let notice = reply.header("x-bursar-notice");
            assert_eq!(notice.as_deref(), (!more.is_empty()).then_some("context"));
            told.push(more.len());
        }
        assert_eq!(told, [0, 1, 0, 0], "{dialect:?}");
        // Small again, then large again: another episode.
        let reply = rig.say("a:worker", &small).await;
        assert!(reply.header("x-bursar-notice").is_none());
        let reply = rig.say("a:worker", &talk).await;
        assert_eq!(reply.header("x-bursar-notice").as_deref(), Some("context"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_off_says_how_much_of_it_is_inherited() {
    const HANDED: &str =
        "[[limit]]\nname = \"handed\"\nhandoff_tokens = 1_000\nmatch = { role = \"worker\" }\n";
    for dialect in DIALECTS {
        let rig = Rig::start(HANDED).await;
        let mut talk = Talk::new(dialect);
        for _ in 0..8 {
            talk.tool_turn(600);
            assert!(rig.say("boss:chief", &talk).await.status.is_success());
        }
        let mut handed = talk.clone();
        handed.tool_turn(40);
        let reply = rig.say("a:worker", &handed).await;
        assert_eq!(reply.refusal().as_deref(), Some("context_exceeded"));
        let error = &reply.json()["error"];
        let bytes = |key: &str| error["bursar"][key].as_u64().expect("bytes");
        let (inherited, all) = (bytes("inherited_bytes"), bytes("context_bytes"));
        assert!(
            inherited * 100 > all * 85 && inherited < all,
            "{inherited} of {all}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("% of it stands in the conversation of another agent"),
            "{message}"
        );
        // What somebody has put together anew is nobody's.
        let mut own = Talk::new(dialect);
        own.user(&crate::rig::words(1, 6_000));
        let reply = rig.say("b:worker", &own).await;
        assert_eq!(reply.refusal().as_deref(), Some("context_exceeded"));
        assert!(reply.json()["error"]["bursar"]["inherited_bytes"].is_null());
    }
}
