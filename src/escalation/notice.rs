//! What people are told: a signed event (Standard Webhooks), or a line of text for a chat.
//!
//! Ids, numbers and the sentence that agents get too; never a prompt, an answer or a key.

use super::{Escalation, State};
use crate::config::{Webhook, WebhookKind};
use crate::units::UnixMs;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use serde_json::json;

/// The shortest key that signs, bytes.
const KEY_BYTES_MIN: usize = 16;
/// How secrets of Standard Webhooks begin; base64 follows.
const PREFIX: &str = "whsec_";

/// The key in a secret: base64 after `whsec_`, else the text itself.
///
/// # Errors
/// What is wrong with it; its text is not repeated.
pub fn signing_key(secret: &str) -> Result<hmac::Key, &'static str> {
    let key = match secret.strip_prefix(PREFIX) {
        Some(encoded) => STANDARD
            .decode(encoded)
            .map_err(|_| "what follows `whsec_` is no base64")?,
        None => secret.as_bytes().to_vec(),
    };
    if key.len() < KEY_BYTES_MIN {
        return Err("a key of less than 16 bytes signs nothing");
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &key))
}

/// `v1,` and the base64 of the HMAC over `id.timestamp.body`.
#[must_use]
pub fn signature(key: &hmac::Key, id: &str, timestamp_s: i64, body: &str) -> String {
    let signed = format!("{id}.{timestamp_s}.{body}");
    let tag = hmac::sign(key, signed.as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

/// The event's type: `escalation.opened`, `escalation.approved` …
#[must_use]
pub const fn event_type(event: State) -> &'static str {
    match event {
        State::Waiting => "escalation.opened",
        State::Approved => "escalation.approved",
        State::Denied => "escalation.denied",
        State::Expired => "escalation.expired",
    }
}

/// One message to one webhook: headers and body.
///
/// # Errors
/// The webhook's secret cannot sign.
pub fn message(
    webhook: &Webhook,
    escalation: &Escalation,
    event: State,
    now: UnixMs,
) -> Result<(HeaderMap, String), &'static str> {
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    let agent = HeaderValue::from_static(concat!("bursar/", env!("CARGO_PKG_VERSION")));
    headers.insert(header::USER_AGENT, agent);
    if webhook.kind == WebhookKind::Slack {
        let body = json!({"text": text(escalation, event)}).to_string();
        return Ok((headers, body));
    }
    let body = body(escalation, event);
    let secret = webhook.secret.as_ref().and_then(|secret| secret.expose());
    let key = signing_key(secret.ok_or("its secret is missing")?)?;
    // The same message has the same id however often it is sent.
    let id = format!("{}.{}", escalation.id, event.name());
    let timestamp_s = now.0.div_euclid(1_000);
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set("webhook-id", &id);
    set("webhook-timestamp", &timestamp_s.to_string());
    set(
        "webhook-signature",
        &signature(&key, &id, timestamp_s, &body),
    );
    Ok((headers, body))
}

fn body(escalation: &Escalation, event: State) -> String {
    let at = match (event, &escalation.decision) {
        (State::Waiting, _) | (_, None) => escalation.opened,
        (_, Some(decision)) => decision.at,
    };
    json!({
        "type": event_type(event),
        "timestamp": crate::ops::show::instant(at),
        "data": crate::ops::show::escalation(escalation),
    })
    .to_string()
}

/// The line for a chat.
fn text(escalation: &Escalation, event: State) -> String {
    let Escalation {
        id,
        task,
        reason,
        asker,
        decision,
        ..
    } = escalation;
    let name = chat(task.task.as_str());
    if event == State::Waiting && escalation.state == State::Waiting {
        let agent = asker.agent.as_deref();
        let agent = agent.map_or_else(String::new, |agent| format!(" (agent {})", chat(agent)));
        return format!(
            "*Task {name} waits for a person*{agent}\n{}\n`bursar escalation show {id}` · `bursar escalation approve {id}` · \
             `bursar escalation deny {id}`",
            chat(&reason.message)
        );
    }
    let by = decision.as_ref().map_or("-", |decision| &*decision.by);
    let why = decision
        .as_ref()
        .and_then(|decision| decision.why.as_deref());
    let why = why.map_or_else(String::new, |why| format!(": {}", chat(why)));
    let state = escalation.state.name();
    format!("Task {name}: {id} {state} by {}{why}", chat(by))
}

/// Text in which a chat finds no mark-up of its own: no mention can be smuggled in by an id.
fn chat(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '`' => out.push('\''),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
