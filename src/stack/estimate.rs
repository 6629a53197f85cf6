//! `POST /v1/messages/count_tokens` where the model's provider does not speak Anthropic's dialect and so
//! has no count to give: an estimate, marked as one.
//!
//! Clients ask for it to know how full a context is, and a close number serves them where an error does
//! not. It is of the call as it would leave: what would be refused there is refused here in the same words.
//! What the provider itself has counted of the conversation's beginning counts as it said; the rest is
//! counted by OpenAI's public tokenizer whatever the target. No budget rests on it.

use super::admit::put_into;
use super::body::AnswerBody;
use super::elsewhere::json_answer;
use super::route::Routed;
use super::{Code, Refused, headers};
use crate::dialect::Call;
use crate::gateway::{Gateway, Live};
use crate::tokens;
use http::{HeaderValue, Response};
use serde_json::json;

/// What the answer's head says of it.
const INPUT_TOKENS: HeaderValue = HeaderValue::from_static("input_tokens");

/// About how many input tokens the call would take at this target, which it is translated for.
///
/// # Errors
/// The call says what its target's dialect cannot.
pub fn count(
    gateway: &Gateway,
    live: &Live,
    (call, routed): (&Call, &Routed),
) -> Result<Response<AnswerBody>, Refused> {
    let pair = routed.provider.translates(call.dialect);
    let pair = pair.ok_or_else(|| Refused::internal("a target takes the call's dialect"))?;
    let (call, translation) = put_into(pair, live, call, routed, None)?;
    let seen = gateway.known.seen(&call, &routed.model);
    let tokens = tokens::estimate(&call, &seen);
    let mut answer = json_answer(&json!({"input_tokens": tokens}));
    let head = answer.headers_mut();
    head.insert(&headers::ESTIMATED, INPUT_TOKENS);
    translation.stamp(head);
    // The cap of a count's answer would say nothing.
    head.remove(&headers::OUTPUT_CAP);
    Ok(answer)
}

/// No target of the call has a count, and none is translated for.
pub fn none(call: &Call) -> Refused {
    let message = format!(
        "Tokens of `{}` cannot be counted: its provider takes no calls in {}.",
        call.model,
        call.dialect.name()
    );
    Refused::new(Code::InvalidRequest, &message).status(404)
}
