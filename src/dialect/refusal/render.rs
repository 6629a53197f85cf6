//! Refusals on the wire: in OpenAI's shape, in Anthropic's, and in mid-stream.

use super::wording::plain;
use super::{Refusal, Standing};
use crate::dialect::Dialect;
use crate::units::UnixMs;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Some SDKs honour it.
pub(crate) const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Whose SDKs read the refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Every `openai-*` dialect, and whatever is no dialect.
    Openai,
    /// `anthropic-*`.
    Anthropic,
}

impl From<Dialect> for Family {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::AnthropicMessages => Self::Anthropic,
            Dialect::OpenaiChat
            | Dialect::OpenaiResponses
            | Dialect::OpenaiEmbeddings
            | Dialect::OpenaiCompletions
            | Dialect::Gemini
            | Dialect::Bedrock => Self::Openai,
        }
    }
}

/// The whole body of an error answer.
struct Body<'a>(&'a Refusal, Family);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(refusal, family) = self;
        let mut map = serializer.serialize_map(None)?;
        if *family == Family::Anthropic {
            map.serialize_entry("type", "error")?;
        }
        map.serialize_entry("error", &Told(refusal, *family))?;
        map.end()
    }
}

/// The error object, its members in the order in which the family's own errors have them.
pub(crate) struct Told<'a>(pub(crate) &'a Refusal, pub(crate) Family);

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(refusal, family) = self;
        let mut map = serializer.serialize_map(None)?;
        match family {
            Family::Openai => {
                map.serialize_entry("type", refusal.code.openai_type())?;
                map.serialize_entry("code", refusal.code.name())?;
                map.serialize_entry("param", &None::<()>)?;
                map.serialize_entry("message", &refusal.message)?;
            }
            Family::Anthropic => {
                map.serialize_entry("type", refusal.code.anthropic_type())?;
                map.serialize_entry("message", &refusal.message)?;
                map.serialize_entry("code", refusal.code.name())?;
            }
        }
        map.serialize_entry("bursar", &Details(refusal))?;
        map.end()
    }
}

struct Details<'a>(&'a Refusal);

impl Serialize for Details<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(refusal) = self;
        let mut map = serializer.serialize_map(None)?;
        if let Some(standing) = &refusal.standing {
            let show = |quantity| plain(standing.meter, quantity);
            map.serialize_entry("limit", &*standing.limit)?;
            map.serialize_entry("account", &Account(standing))?;
            let meter = refusal.cap_name.unwrap_or(standing.meter.name());
            map.serialize_entry("meter", meter)?;
            map.serialize_entry("cap", &show(standing.cap))?;
            map.serialize_entry("settled", &show(standing.settled))?;
            map.serialize_entry("held", &show(standing.held))?;
            map.serialize_entry("in_doubt", &show(standing.in_doubt))?;
            map.serialize_entry("needed", &show(standing.needed))?;
            map.serialize_entry("resets_at", &standing.resets_at.and_then(rfc3339))?;
        }
        if let Some((bytes, of_bytes)) = refusal.inherited {
            map.serialize_entry("inherited_bytes", &bytes)?;
            map.serialize_entry("context_bytes", &of_bytes)?;
        }
        if let Some(circle) = &refusal.circle {
            map.serialize_entry("rule", circle.rule)?;
            map.serialize_entry("agent", &circle.agent.as_deref())?;
            map.serialize_entry("calls", &circle.calls)?;
            map.serialize_entry("digests", &circle.digests)?;
        }
        map.serialize_entry("escalation", &refusal.escalation.as_deref())?;
        map.serialize_entry("retryable", &refusal.code.is_retryable())?;
        map.end()
    }
}

struct Account<'a>(&'a Standing);

impl Serialize for Account<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = self.0.account.iter();
        serializer.collect_map(entries.map(|(dimension, value)| (dimension, &**value)))
    }
}

/// `2026-11-21T00:00:00Z`; `None` outside the years that RFC 3339 can write.
pub(super) fn rfc3339(at: UnixMs) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(at.0).ok()?;
    Some(at.to_string())
}

impl Refusal {
    /// The JSON body.
    #[must_use]
    pub fn body(&self, family: Family) -> String {
        json(&Body(self, family))
    }

    /// The whole answer: status, headers and body.
    ///
    /// Final refusals carry `x-should-retry: false`, which is ours and never an upstream's;
    /// `Retry-After` stands on `rate_limited` and `provider_unavailable` alone.
    #[must_use]
    pub fn response(&self, family: Family) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.body(family)));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.code.is_final() {
            headers.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// As JSON text. None of these types can fail to serialise: their keys are strings.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}
