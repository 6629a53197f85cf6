use super::notice::{event_type, message, signature, signing_key};
use super::*;
use crate::config::{Secret, Webhook, WebhookKind, WebhookUrl};

fn escalation(task: &str) -> Escalation {
    Escalation {
        id: "esc_0123456789abcdef".into(),
        task: TaskKey {
            owner: "research".into(),
            task: task.into(),
        },
        opened: UnixMs(1_760_000_000_000),
        state: State::Waiting,
        reason: Reason::of_rule("cycle", "writer and critic go round & round"),
        evidence: Vec::new(),
        asker: Asker {
            agent: Some("<!channel>".into()),
            ..Asker::default()
        },
        decision: None,
    }
}

fn slack() -> Webhook {
    Webhook {
        name: "chat".into(),
        kind: WebhookKind::Slack,
        url: WebhookUrl::Plain("http://127.0.0.1/x".parse().unwrap()),
        secret: None::<Secret>,
        ca_file: None,
        place: crate::config::Place {
            file: "bursar.toml".into(),
            line: 1,
        },
    }
}

/// The example of the Standard Webhooks specification.
#[test]
fn signatures_are_those_of_the_specification() {
    let key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let body = r#"{"test": 2432232314}"#;
    let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn a_key_that_signs_nothing_is_no_key() {
    for wrong in ["", "short", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%%"] {
        assert!(signing_key(wrong).is_err(), "{wrong}");
    }
    assert!(signing_key("a text of sixteen bytes or more").is_ok());
}

#[test]
fn ids_bring_no_mark_up_into_a_chat() {
    let (headers, body) = message(
        &slack(),
        &escalation("`<@U1>`"),
        State::Waiting,
        UnixMs(1_760_000_000_000),
    )
    .unwrap();
    assert!(!headers.contains_key("webhook-signature"));
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let text = body["text"].as_str().unwrap();
    assert!(
        !text.contains("<@U1>") && !text.contains("<!channel>"),
        "{text}"
    );
    assert!(text.contains("round &amp; round"), "{text}");
    assert!(
        text.contains("bursar escalation approve esc_0123456789abcdef"),
        "{text}"
    );
}

#[test]
fn a_question_that_was_answered_meanwhile_says_so() {
    let mut escalation = escalation("t");
    escalation.state = State::Denied;
    escalation.decision = Some(Decision {
        at: UnixMs(1_760_000_001_000),
        by: "ops:ann".into(),
        why: Some("enough".into()),
        raised: Vec::new(),
        ends: None,
        turns: None,
    });
    let (_, body) = message(&slack(), &escalation, State::Waiting, UnixMs(0)).unwrap();
    assert!(body.contains("denied by ops:ann: enough"), "{body}");
}

#[test]
fn states_have_words_and_events() {
    for state in State::ALL {
        assert_eq!(State::from_name(state.name()), Some(state));
        assert!(event_type(state).starts_with("escalation."));
    }
    assert_eq!(State::from_name("maybe"), None);
    let (one, other) = (new_id(), new_id());
    assert_ne!(one, other);
    assert_eq!(one.as_str().len(), "esc_".len() + 16);
}
