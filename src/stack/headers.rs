//! Names of headers that stages read and write, made once: a name that is not one of HTTP's own is
//! otherwise parsed, hashed and allocated at every use. And their values, written in one go.

use crate::units::NanoUsd;
use http::{HeaderName, HeaderValue};
use std::fmt::{self, Display, Write};

macro_rules! names {
    ($($name:ident = $text:literal;)*) => {
        $(pub static $name: HeaderName = HeaderName::from_static($text);)*
    };
}

names! {
    REQUEST_ID = "x-bursar-request-id";
    TASK_ID = "x-bursar-task-id";
    AGENT_ID = "x-bursar-agent-id";
    AGENT_ROLE = "x-bursar-agent-role";
    PARENT_AGENT_ID = "x-bursar-parent-agent-id";
    ATTRIBUTION = "x-bursar-attribution";
    MODEL = "x-bursar-model";
    REMAINING_USD = "x-bursar-remaining-usd";
    REMAINING_TURNS = "x-bursar-remaining-turns";
    OUTPUT_CAP = "x-bursar-output-cap";
    NOTICE = "x-bursar-notice";
    TRIMMED = "x-bursar-trimmed";
    TRANSLATED = "x-bursar-translated";
    DROPPED = "x-bursar-dropped";
    ESTIMATED = "x-bursar-estimated";
    COST_USD = "x-bursar-cost-usd";
    SAVED_USD = "x-bursar-saved-usd";
    CACHE = "x-bursar-cache";
    IDEMPOTENCY_KEY = "idempotency-key";
    IDEMPOTENT_REPLAYED = "idempotent-replayed";
    WARNING = "x-bursar-warning";
    RETRY_COUNT = "x-stainless-retry-count";
    TRACEPARENT = "traceparent";
    TRACESTATE = "tracestate";
    BAGGAGE = "baggage";
    X_API_KEY = "x-api-key";
    API_KEY = "api-key";
    ANTHROPIC_VERSION = "anthropic-version";
}

/// Longest of them, bytes.
const NUMBER_BYTES_MAX: usize = 64;

/// What is made of numbers as a header's value.
pub fn number(number: impl Display) -> Option<HeaderValue> {
    let mut text = Text {
        bytes: [0; NUMBER_BYTES_MAX],
        len: 0,
    };
    write!(text, "{number}").ok()?;
    HeaderValue::from_bytes(&text.bytes[..text.len]).ok()
}

/// An amount of money as a header's value.
pub fn usd(usd: NanoUsd) -> Option<HeaderValue> {
    HeaderValue::from_bytes(usd.text(&mut [0; NanoUsd::TEXT_BYTES])).ok()
}

/// Text on the stack; what does not fit is an error.
struct Text {
    bytes: [u8; NUMBER_BYTES_MAX],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let end = self.len + more.len();
        let place = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        place.copy_from_slice(more.as_bytes());
        self.len = end;
        Ok(())
    }
}
