//! Errors of a provider in the shape that the caller's SDK reads.

use super::read::{Members, Raw};
use super::write::Writer;
use crate::dialect::refusal::Family;
use bytes::Bytes;
use http::StatusCode;
use std::borrow::Cow;
use std::convert::Infallible;

/// What of an error answer that is no JSON is told, characters.
const TEXT_CHARS_MAX: usize = 500;

/// A complete error answer.
pub(super) fn answer(caller: Family, status: StatusCode, body: &[u8]) -> (StatusCode, Bytes) {
    let said = Raw::parse(body).and_then(|said| match said.items() {
        // Gemini's errors come as a list of one.
        Some(list) => list.first()?.members(),
        None => said.members(),
    });
    let error = said.as_ref().map(error_in);
    let text;
    let told = match &error {
        Some(error) => Told::of(error),
        None => {
            let lossy = String::from_utf8_lossy(body);
            text = lossy.chars().take(TEXT_CHARS_MAX).collect::<String>();
            Told {
                message: Cow::Borrowed(if text.is_empty() { "no message" } else { &text }),
                ..Told::default()
            }
        }
    };
    // Anthropic's own status for being overloaded, which nobody else has.
    let overloaded = status.as_u16() == 529 && caller == Family::Openai;
    let status = if overloaded {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        status
    };
    let mut out = Writer::default();
    write(
        caller,
        &told,
        kind_of_status(caller, status.as_u16()),
        &mut out,
    );
    (status, out.finish().into())
}

/// An error in mid-stream: its object, as JSON of the caller's dialect.
pub(super) fn event(caller: Family, error: &Members<'_>) -> String {
    let mut out = Writer::default();
    let told = Told::of(error);
    let kind = told
        .kind
        .as_deref()
        .map_or("", |kind| kind_of_kind(caller, kind));
    let kind = if kind.is_empty() {
        let status = error.get("code").and_then(Raw::whole);
        let status = status.and_then(|status| u16::try_from(status).ok());
        kind_of_status(caller, status.unwrap_or(500))
    } else {
        kind
    };
    write(caller, &told, kind, &mut out);
    out.finish()
}

/// An error of the translation itself in mid-stream.
pub(super) fn own(caller: Family, message: &str) -> String {
    let refusal = crate::dialect::refusal::Refusal::new(
        crate::dialect::refusal::Code::UpstreamError,
        message,
    );
    refusal.body(caller)
}

/// The error object, wherever a dialect or a server of one's own puts it.
fn error_in<'a>(said: &Members<'a>) -> Members<'a> {
    match said.get("error").and_then(Raw::members) {
        Some(error) => error,
        None => said.clone(),
    }
}

/// What an error says.
#[derive(Default)]
struct Told<'a> {
    message: Cow<'a, str>,
    kind: Option<Cow<'a, str>>,
    code: Option<Raw<'a>>,
    param: Option<Raw<'a>>,
    bursar: Option<Raw<'a>>,
}

impl<'a> Told<'a> {
    fn of(error: &Members<'a>) -> Self {
        let mut said = ["message", "error", "detail"].iter();
        let said = said.find_map(|name| error.get(name));
        // What is no text is told as it stands.
        let message = said.map(|said| said.text().unwrap_or(Cow::Borrowed(said.json())));
        Self {
            message: message.unwrap_or(Cow::Borrowed("no message")),
            kind: error.text("type"),
            // Google's code is the status again; its status is what others call a code.
            code: error
                .get("status")
                .filter(|status| status.is_string())
                .or(error.get("code")),
            param: error.get("param"),
            bursar: error.get("bursar"),
        }
    }
}

fn write(caller: Family, told: &Told<'_>, kind: &str, out: &mut Writer) {
    let null = |raw: Option<Raw<'_>>| raw.map_or("null", Raw::json).to_owned();
    let written = out.object(|out| {
        if caller == Family::Anthropic {
            out.key("type").string("error");
        }
        out.key("error").object(|out| {
            out.key("type").string(kind);
            if caller == Family::Openai {
                out.key("code").json(&null(told.code));
                out.key("param").json(&null(told.param));
                out.key("message").string(&told.message);
            } else {
                out.key("message").string(&told.message);
                if let Some(code) = told.code {
                    out.key("code").raw(code);
                }
            }
            if let Some(bursar) = told.bursar {
                out.key("bursar").raw(bursar);
            }
            Ok::<(), Infallible>(())
        })
    });
    match written {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

fn kind_of_status(caller: Family, status: u16) -> &'static str {
    match (caller, status) {
        (_, 401) => "authentication_error",
        (_, 403) => "permission_error",
        (_, 429) => "rate_limit_error",
        (Family::Anthropic, 402) => "billing_error",
        (Family::Anthropic, 404) => "not_found_error",
        (Family::Anthropic, 413) => "request_too_large",
        (Family::Anthropic, 503 | 529) => "overloaded_error",
        (Family::Anthropic, 504) => "timeout_error",
        (Family::Anthropic, 500..) => "api_error",
        (Family::Openai, 402) => "insufficient_quota",
        (Family::Openai, 500..) => "server_error",
        (_, _) => "invalid_request_error",
    }
}

/// The caller's word for a kind of error that the other family names; empty if nobody knows it.
fn kind_of_kind(caller: Family, kind: &str) -> &'static str {
    match (caller, kind) {
        (_, "invalid_request_error" | "validationException") => "invalid_request_error",
        (_, "authentication_error") => "authentication_error",
        (_, "permission_error") => "permission_error",
        (_, "rate_limit_error" | "rate_limit_exceeded" | "throttlingException") => {
            "rate_limit_error"
        }
        (Family::Anthropic, "insufficient_quota") => "billing_error",
        (Family::Anthropic, "server_error") => "api_error",
        (Family::Openai, "billing_error") => "insufficient_quota",
        (Family::Openai, "api_error" | "overloaded_error" | "timeout_error") => "server_error",
        (Family::Openai, "not_found_error" | "request_too_large") => "invalid_request_error",
        _ => "",
    }
}
