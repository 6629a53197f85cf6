//! Amazon Bedrock's Converse, plain and in binary frames, for callers whose signature is right.

use super::Shared;
use super::behaviour::UsageShown;
use super::plan::{Finish, Part, Plan};
use super::prices::Tokens;
use super::refusal::{Refusal, quote};
use super::script::{At, Voice};
use super::usage;
use crate::aws::sigv4::{self, Message, Scope};
use crate::units::UnixMs;
use bytes::{BufMut, Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use std::fmt::Write as _;

/// How far the signer's clock may be from ours.
const SKEW_MS: i64 = 5 * 60 * 1_000;
/// Reasoning's signature: opaque to every client.
const SIGNATURE: &str = "c2ltdWxhdGVkLXRoaW5raW5n";
/// Padding that hides how long an event is from who counts bytes.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyz";

/// Who may call: an access key and its secret. Bearer tokens are taken whatever they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl Default for AwsKey {
    fn default() -> Self {
        Self {
            id: "AKIASIMULATED".to_owned(),
            secret: "sim-secret".to_owned(),
        }
    }
}

/// The path of a call: the model's name, still encoded, and whether the answer is streamed.
pub fn path(path: &str) -> Option<(&str, bool)> {
    let (model, verb) = path.strip_prefix("/model/")?.rsplit_once('/')?;
    match verb {
        "converse" => Some((model, false)),
        "converse-stream" => Some((model, true)),
        _ => None,
    }
}

/// A segment of a path without its percent signs; what is no text stays as it is.
pub fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| segment.to_owned())
}

/// Why a request is not let in; `None` if its signature is right.
pub fn unsigned(shared: &Shared, head: &Parts, body: &[u8]) -> Option<Refusal> {
    let denied = |kind, message: String| {
        Some(Refusal {
            status: StatusCode::FORBIDDEN,
            kind,
            ..Refusal::invalid(message.into())
        })
    };
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = text("authorization").unwrap_or_default();
    if authorization.starts_with("Bearer ") {
        return None;
    }
    let Some(signed) = Signed::of(authorization) else {
        let message = "Missing Authentication Token".to_owned();
        return denied("MissingAuthenticationTokenException", message);
    };
    let key = &shared.settings.aws_key;
    if signed.key_id != key.id {
        let message = "The security token included in the request is invalid.".to_owned();
        return denied("UnrecognizedClientException", message);
    }
    let instant = text("x-amz-date").unwrap_or_default();
    let (now, at) = (crate::clock::now(), parsed(instant));
    if at.is_none_or(|at| (at.0 - now.0).abs() > SKEW_MS) {
        let (now, most) = (sigv4::instant(now), SKEW_MS / 60_000);
        let message =
            format!("Signature expired: {instant} is now earlier than {now} ({now} - {most} min.)");
        return denied("InvalidSignatureException", message);
    }
    let values: Option<Vec<_>> = signed
        .names
        .iter()
        .map(|name| Some((*name, value_of(head, name)?)))
        .collect();
    let values = values.unwrap_or_default();
    let headers: Vec<_> = values
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let needed = ["host", "x-amz-date"].into_iter();
    let token = text("x-amz-security-token").map(|_| "x-amz-security-token");
    let covers = needed.chain(token).all(|name| signed.names.contains(&name));
    let body_digest = sigv4::hex_digest(body);
    let scope = Scope {
        instant,
        region: signed.region,
        service: "bedrock",
    };
    let message = Message {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or(""),
        headers: &headers,
        body_digest: &body_digest,
    };
    let is_right = signed.scope == scope.text()
        && signed.signature == sigv4::signature(&message, &scope, &key.secret);
    if covers && is_right {
        return None;
    }
    let message = "The request signature we calculated does not match the signature you provided. \
                   Check your AWS Secret Access Key and signing method.";
    denied("InvalidSignatureException", message.to_owned())
}

/// A header's value as it is signed; the host, where HTTP/2 has it in the address.
fn value_of(head: &Parts, name: &str) -> Option<String> {
    let values: Option<Vec<_>> = head
        .headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().ok())
        .collect();
    match values?.as_slice() {
        [] if name == "host" => head.uri.authority().map(ToString::to_string),
        [] => None,
        values => Some(values.join(",")),
    }
}

/// What `Authorization` says.
struct Signed<'a> {
    key_id: &'a str,
    scope: &'a str,
    region: &'a str,
    names: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Signed<'a> {
    fn of(authorization: &'a str) -> Option<Self> {
        let rest = authorization.strip_prefix(sigv4::ALGORITHM)?;
        let part = |name: &str| {
            let mut parts = rest.split(',').map(str::trim);
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let (key_id, scope) = part("Credential")?.split_once('/')?;
        Some(Self {
            key_id,
            scope,
            region: scope.split('/').nth(1)?,
            names: part("SignedHeaders")?.split(';').collect(),
            signature: part("Signature")?,
        })
    }
}

/// `20260101T000000Z`
fn parsed(instant: &str) -> Option<UnixMs> {
    let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", instant).ok()?;
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(UnixMs(at.timestamp().as_millisecond()))
}

/// The name of an error, which goes along in a header.
pub fn error_kind(refusal: &Refusal) -> &'static str {
    match refusal.status.as_u16() {
        400 | 413 => "ValidationException",
        403 => refusal.kind,
        404 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        503 => "ServiceUnavailableException",
        _ => "InternalServerException",
    }
}

/// The body of an error.
pub fn error_body(refusal: &Refusal) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(b"{\"message\":");
    quote(&mut out, &refusal.message);
    out.put_u8(b'}');
    out.freeze()
}

/// Notes an error's name.
pub fn name_error(headers: &mut HeaderMap, refusal: &Refusal) {
    let kind = error_kind(refusal);
    headers.insert("x-amzn-errortype", http::HeaderValue::from_static(kind));
}

/// The whole answer as one JSON object.
pub fn plain(plan: &Plan, out: &mut BytesMut) {
    out.put_slice(b"{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[");
    let mut first = true;
    for part in plan.outputs.iter().flat_map(|output| &output.parts) {
        if !first && !matches!(part, Part::Unseen) {
            out.put_u8(b',');
        }
        first &= !block(part, out);
    }
    let _ = write!(
        out,
        "]}}}},\"stopReason\":\"{}\",\"metrics\":{{\"latencyMs\":12}}",
        stop(plan)
    );
    usage::member(plan, members, out);
    out.put_slice(b"}");
}

fn stop(plan: &Plan) -> &'static str {
    match plan.outputs.first().map(|output| output.finish) {
        Some(Finish::Length) => "max_tokens",
        Some(Finish::Tools) => "tool_use",
        _ => "end_turn",
    }
}

/// Members of Converse's usage; cached tokens lie outside `inputTokens`.
fn members(tokens: &Tokens, out: &mut BytesMut) {
    let written = tokens.cache_write_5m + tokens.cache_write_1h;
    let _ = write!(
        out,
        "\"inputTokens\":{},\"outputTokens\":{},\"totalTokens\":{},\"cacheReadInputTokens\":{},\
         \"cacheWriteInputTokens\":{written}",
        tokens.input,
        tokens.output,
        tokens.all_input() + tokens.output,
        tokens.cache_read,
    );
    if written > 0 {
        let _ = write!(
            out,
            ",\"cacheDetails\":[{{\"ttl\":\"1h\",\"inputTokens\":{}}},{{\"ttl\":\"5m\",\
             \"inputTokens\":{}}}]",
            tokens.cache_write_1h, tokens.cache_write_5m
        );
    }
}

/// Writes a content block; false if nothing of the part is shown.
fn block(part: &Part, out: &mut BytesMut) -> bool {
    match part {
        Part::Words(_) | Part::Literal(_) => {
            out.put_slice(b"{\"text\":\"");
            part.say(out);
            out.put_slice(b"\"}");
        }
        Part::Thinking(_) => {
            out.put_slice(b"{\"reasoningContent\":{\"reasoningText\":{\"text\":\"");
            part.say(out);
            let _ = write!(out, "\",\"signature\":\"{SIGNATURE}\"}}}}}}");
        }
        Part::Tool {
            id,
            name,
            arguments,
        } => {
            let _ = write!(
                out,
                "{{\"toolUse\":{{\"toolUseId\":\"tooluse_{id}\",\"name\":"
            );
            quote(out, name);
            let _ = write!(out, ",\"input\":{arguments}}}}}");
        }
        Part::Unseen => return false,
    }
    true
}

/// Writes a frame: lengths and checksums are put in once the rest is known.
fn frame(headers: &[(&str, &str)], out: &mut BytesMut, payload: impl FnOnce(&mut BytesMut)) {
    let from = out.len();
    out.put_bytes(0, 12);
    for (name, value) in headers {
        out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.put_slice(name.as_bytes());
        // A text.
        out.put_u8(7);
        out.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        out.put_slice(value.as_bytes());
    }
    let head = u32::try_from(out.len() - from - 12).unwrap_or(u32::MAX);
    payload(out);
    let whole = u32::try_from(out.len() - from + 4).unwrap_or(u32::MAX);
    out[from..from + 4].copy_from_slice(&whole.to_be_bytes());
    out[from + 4..from + 8].copy_from_slice(&head.to_be_bytes());
    let sum = crc32fast::hash(&out[from..from + 8]);
    out[from + 8..from + 12].copy_from_slice(&sum.to_be_bytes());
    let sum = crc32fast::hash(&out[from..]);
    out.put_u32(sum);
}

/// An event of that name: `write` writes the members of its payload.
fn event(name: &str, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let headers = [
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    frame(&headers, out, |out| {
        out.put_u8(b'{');
        write(out);
        let _ = write!(
            out,
            ",\"p\":\"{}\"}}",
            &PADDING[..name.len() % PADDING.len()]
        );
    });
}

/// The streamed form.
#[derive(Default)]
pub struct BedrockVoice {
    /// Content blocks begun so far.
    blocks: usize,
}

impl BedrockVoice {
    fn delta(&self, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        let index = self.blocks.saturating_sub(1);
        event("contentBlockDelta", out, |out| {
            let _ = write!(out, "\"contentBlockIndex\":{index},\"delta\":{{");
            write(out);
            out.put_u8(b'}');
        });
    }
}

impl Voice for BedrockVoice {
    fn open(&mut self, _plan: &Plan, out: &mut BytesMut) {
        event("messageStart", out, |out| {
            out.put_slice(b"\"role\":\"assistant\"");
        });
    }

    fn open_part(&mut self, _plan: &Plan, _at: At, part: &Part, out: &mut BytesMut) {
        if matches!(part, Part::Unseen) {
            return;
        }
        let index = self.blocks;
        self.blocks += 1;
        // Text and reasoning begin without a word, as they do there.
        if let Part::Tool { id, name, .. } = part {
            event("contentBlockStart", out, |out| {
                let _ = write!(
                    out,
                    "\"contentBlockIndex\":{index},\"start\":{{\"toolUse\":{{\"toolUseId\":\
                     \"tooluse_{id}\",\"name\":"
                );
                quote(out, name);
                out.put_slice(b"}}");
            });
        }
    }

    fn more(&mut self, _plan: &Plan, _at: At, part: &Part, text: &[u8], out: &mut BytesMut) {
        let (before, after): (&[u8], &[u8]) = match part {
            Part::Tool { .. } => (b"\"toolUse\":{\"input\":\"", b"\"}"),
            Part::Thinking(_) => (b"\"reasoningContent\":{\"text\":\"", b"\"}"),
            _ => (b"\"text\":\"", b"\""),
        };
        self.delta(out, |out| {
            out.put_slice(before);
            out.put_slice(text);
            out.put_slice(after);
        });
    }

    fn close_part(&mut self, _plan: &Plan, _at: At, part: &Part, out: &mut BytesMut) {
        if matches!(part, Part::Unseen) {
            return;
        }
        if matches!(part, Part::Thinking(_)) {
            self.delta(out, |out| {
                let _ = write!(
                    out,
                    "\"reasoningContent\":{{\"signature\":\"{SIGNATURE}\"}}"
                );
            });
        }
        let index = self.blocks.saturating_sub(1);
        event("contentBlockStop", out, |out| {
            let _ = write!(out, "\"contentBlockIndex\":{index}");
        });
    }

    fn usage(&mut self, plan: &Plan, out: &mut BytesMut) {
        event("messageStop", out, |out| {
            let _ = write!(out, "\"stopReason\":\"{}\"", stop(plan));
        });
    }

    fn close(&mut self, plan: &Plan, out: &mut BytesMut) {
        event("metadata", out, |out| {
            out.put_slice(b"\"metrics\":{\"latencyMs\":12}");
            if plan.usage != UsageShown::Absent {
                usage::member(plan, members, out);
            }
        });
    }

    fn fail(&mut self, _plan: &Plan, out: &mut BytesMut) {
        let headers = [
            (":exception-type", "modelStreamErrorException"),
            (":content-type", "application/json"),
            (":message-type", "exception"),
        ];
        frame(&headers, out, |out| {
            out.put_slice(
                b"{\"message\":\"The system encountered an unexpected error during processing.\",\
                  \"originalStatusCode\":500}",
            );
        });
    }
}
