//! A stream that says the same over and over is ended in its dialect, and billed for what was produced.

use crate::talk::{Form, Scene};
use serde_json::{Value, json};
use std::fmt::Write as _;

const WORDS: &str = "Let me check that again.\n";

/// A stream in which the model says this, piece by piece.
fn stream(form: Form, pieces: impl Iterator<Item = String>) -> String {
    let mut events = String::new();
    let mut event = |name: &str, data: Value| {
        let name = match form {
            Form::Chat => String::new(),
            _ => format!("event: {name}\n"),
        };
        let _ = write!(events, "{name}data: {data}\n\n");
    };
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 5000, "total_tokens": 5009,
        "input_tokens": 9, "output_tokens": 5000});
    match form {
        Form::Chat => {
            let chunk = |delta: Value, finish: Value| {
                json!({"id": "c1", "object": "chat.completion.chunk",
                "created": 1, "model": "sim-cheap", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
            };
            for piece in pieces {
                event("", chunk(json!({"content": piece}), Value::Null));
            }
            event("", chunk(json!({}), "stop".into()));
            event(
                "",
                json!({"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": usage}),
            );
            events.push_str("data: [DONE]\n\n");
        }
        Form::Messages | Form::Threaded => {
            event(
                "message_start",
                json!({"type": "message_start", "message": {"id": "m1", "type": "message",
                "role": "assistant", "model": "sim-cheap", "content": [], "usage": {"input_tokens": 9, "output_tokens": 1}}}),
            );
            event(
                "content_block_start",
                json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "text", "text": ""}}),
            );
            for piece in pieces {
                event(
                    "content_block_delta",
                    json!({"type": "content_block_delta", "index": 0,
                    "delta": {"type": "text_delta", "text": piece}}),
                );
            }
            event(
                "content_block_stop",
                json!({"type": "content_block_stop", "index": 0}),
            );
            event(
                "message_delta",
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}),
            );
            event("message_stop", json!({"type": "message_stop"}));
        }
        Form::Responses | Form::Chained => {
            let response = |status: &str| {
                json!({"id": "r1", "object": "response", "status": status,
                "model": "sim-cheap", "output": [], "usage": usage})
            };
            event(
                "response.created",
                json!({"type": "response.created", "sequence_number": 0,
                "response": {"id": "r1", "object": "response", "status": "in_progress", "output": []}}),
            );
            for piece in pieces {
                event(
                    "response.output_text.delta",
                    json!({"type": "response.output_text.delta",
                    "item_id": "i1", "output_index": 0, "content_index": 0, "delta": piece}),
                );
            }
            event(
                "response.completed",
                json!({"type": "response.completed", "response": response("completed")}),
            );
        }
    }
    events
}

fn body(form: Form) -> Value {
    let messages = json!([{"role": "user", "content": "Go on."}]);
    match form {
        Form::Chat => json!({"model": "sim-cheap", "stream": true, "messages": messages}),
        Form::Messages => {
            json!({"model": "sim-cheap", "stream": true, "max_tokens": 9000, "messages": messages})
        }
        _ => json!({"model": "sim-cheap", "stream": true, "input": messages}),
    }
}

const FORMS: [(Form, &str); 3] = [
    (Form::Chat, r#""finish_reason":"length""#),
    (Form::Messages, r#""stop_reason":"max_tokens""#),
    (Form::Responses, "response.incomplete"),
];

#[tokio::test]
async fn a_chant_is_ended_and_billed() {
    let scene = Scene::new("").await;
    for (form, ending) in FORMS {
        scene
            .provider
            .stream(&stream(form, (0..800).map(|_| WORDS.to_owned())));
        let reply = scene.send(form, ("chant", "singer"), &body(form)).await;
        let text = reply.text();
        assert_eq!(reply.status, 200, "{text}");
        let times = text.matches("Let me check").count();
        // What had come when it was told passes; a kilobyte at least.
        assert!((40..800).contains(&times), "{form:?}: {times}");
        assert!(
            text.contains(ending),
            "{}",
            &text[text.len().saturating_sub(600)..]
        );
    }
    let metrics = scene.gateway.quiet().await;
    assert_eq!(metrics.get("bursar_loops_total{kind=\"chant\"}"), 3.0);
    // Settled at what the provider said, its last word having come behind the ending.
    assert_eq!(metrics.get("bursar_in_doubt_usd"), 0.0);
    assert!(metrics.sum("bursar_turns_total") >= 3.0);
}

#[tokio::test]
async fn lists_pass_and_so_does_a_chant_where_nobody_minds() {
    let scene = Scene::new(
        "[[override]]\nmatch = { agent = \"singer\" }\n[override.chant]\naction = \"off\"\n",
    )
    .await;
    for (form, _) in FORMS {
        scene
            .provider
            .stream(&stream(form, (0..800).map(|_| WORDS.to_owned())));
        let reply = scene.send(form, ("off", "singer"), &body(form)).await;
        assert_eq!(
            reply.text().matches("Let me check").count(),
            800,
            "{form:?}"
        );
        scene.provider.stream(&stream(
            form,
            (0..500).map(|n| format!("| row {n} | yes |\n")),
        ));
        let reply = scene.send(form, ("list", "clerk"), &body(form)).await;
        assert_eq!(reply.text().matches("| yes |").count(), 500, "{form:?}");
    }
}
