//! What a frame of a socket asks for, and what the frames of ours say.
//!
//! A frame is the body of a `POST /v1/responses` with `"type": "response.create"` in it. The body that goes
//! down the stack has the frame's own bytes for every member but those that only one of the two has.

use crate::json::{Cursor, JsonError, Kind};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The only event that a client may send.
const CREATE: &str = "response.create";

/// Why a frame is no call.
#[derive(Debug, thiserror::Error)]
pub enum NoCall {
    /// It cannot be read.
    #[error("The frame is no JSON object: {0}.")]
    Json(#[from] JsonError),
    /// Another event.
    #[error("`type` must be \"response.create\"; no other event is taken here.")]
    Kind,
    /// Something that only a socket has.
    #[error("`generate: false` is not supported here; leave it out.")]
    WarmUp,
}

/// The body of the call that a frame asks for.
///
/// # Errors
/// See [`NoCall`].
pub fn call(frame: &[u8]) -> Result<Bytes, NoCall> {
    let mut body = BytesMut::with_capacity(frame.len() + 16);
    body.put_slice(b"{\"stream\":true");
    let mut creates = false;
    let mut cursor = Cursor::new(frame)?;
    cursor.object(|cursor, key| {
        let value = cursor.skip()?;
        match &*key.text(frame) {
            "type" => creates = value.text(frame).is_some_and(|kind| kind == CREATE),
            // A socket always streams.
            "stream" => {}
            "generate" if value.kind == Kind::Bool(false) => return Err(NoCall::WarmUp),
            "generate" => {}
            _ => {
                body.put_u8(b',');
                body.put_slice(&frame[key.at.start..value.at.end]);
            }
        }
        Ok(())
    })?;
    cursor.finish()?;
    if !creates {
        return Err(NoCall::Kind);
    }
    body.put_u8(b'}');
    Ok(body.freeze())
}

/// Whether nothing follows this event.
pub fn is_last(event: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow, rename = "type")]
        kind: std::borrow::Cow<'a, str>,
    }
    let Ok(Typed { kind }) = serde_json::from_slice(event) else {
        return false;
    };
    matches!(
        &*kind,
        "response.completed" | "response.incomplete" | "response.failed" | "error"
    )
}

#[derive(Serialize)]
struct Frame<'a, E: ?Sized> {
    #[serde(rename = "type")]
    kind: &'static str,
    status: u16,
    error: &'a E,
}

#[derive(Serialize)]
struct Told<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    code: &'static str,
    param: Option<()>,
    message: &'a str,
}

fn write<E: Serialize + ?Sized>(status: u16, error: &E) -> String {
    let frame = Frame {
        kind: "error",
        status,
        error,
    };
    serde_json::to_string(&frame).unwrap_or_default()
}

/// An error of the socket's own.
pub fn error(status: u16, code: &'static str, message: &str) -> String {
    let kind = if status < 500 {
        "invalid_request_error"
    } else {
        "server_error"
    };
    let told = Told {
        kind,
        code,
        param: None,
        message,
    };
    write(status, &told)
}

/// An error answer, be it the gateway's refusal or the provider's, as a frame.
pub fn answered(status: u16, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        error: &'a RawValue,
    }
    match serde_json::from_slice::<Body<'_>>(body) {
        Ok(Body { error }) if error.get().starts_with('{') => write(status, error),
        _ => error(
            status,
            "upstream_error",
            &format!("The answer has status {status} and is no stream of events."),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_becomes_a_body_member_by_member() {
        let frame = br#"{"type":"response.create", "model":"m" , "input":[{"type":"message"}],"stream":false}"#;
        let body = call(frame).unwrap();
        assert_eq!(
            body,
            r#"{"stream":true,"model":"m","input":[{"type":"message"}]}"#
        );
        let warm = br#"{"generate":false,"type":"response.create"}"#;
        assert!(matches!(call(warm), Err(NoCall::WarmUp)));
        for other in [
            &b"{}"[..],
            br#"{"type":"response.cancel"}"#,
            br#"{"type":1}"#,
        ] {
            assert!(matches!(call(other), Err(NoCall::Kind)));
        }
        for none in [&b"[]"[..], b"", b"{", b"{} {}"] {
            assert!(matches!(call(none), Err(NoCall::Json(_))), "{none:?}");
        }
    }

    #[test]
    fn an_error_answer_keeps_its_error() {
        let told = answered(
            402,
            br#"{"error":{"code":"turns_exceeded","message":"No."}}"#,
        );
        let expected =
            r#"{"type":"error","status":402,"error":{"code":"turns_exceeded","message":"No."}}"#;
        assert_eq!(told, expected);
        assert!(answered(502, b"<html>").contains("upstream_error"));
        assert!(is_last(told.as_bytes()));
    }
}
