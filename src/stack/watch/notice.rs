//! A notice to the model: one message of the gateway's, behind the caller's last, so that what a provider
//! has cached of the conversation stays good.

use crate::dialect::said::said;
use crate::dialect::{Call, Dialect, decode_for};
use crate::json::{Change, quoted, splice};

/// The call with the notice in it, read anew: the quote is of the bytes that leave. `None` where a call
/// cannot take one: it ends with the beginning of the answer, or it is none of messages.
pub(super) fn with_notice(call: &Call, deployment: Option<&str>, notice: &str) -> Option<Call> {
    let links = &call.chain.links;
    let last = links.last()?;
    let text = quoted(notice);
    let message = match call.dialect {
        Dialect::OpenaiChat | Dialect::OpenaiResponses | Dialect::AnthropicMessages => {
            format!(r#"{{"role":"user","content":{text}}}"#)
        }
        Dialect::OpenaiCompletions | Dialect::OpenaiEmbeddings => return None,
    };
    let is_begun = said(call, links.len() - 1..links.len());
    if is_begun.iter().any(crate::dialect::said::Said::is_answer) {
        return None;
    }
    let end = last.at.end;
    let insert = |at: usize, with: String| Change {
        at: at..at,
        with: with.into(),
    };
    let changes = match call.body.get(last.at.start) {
        // A text alone becomes the first of two messages.
        Some(b'"') => vec![
            insert(last.at.start, r#"[{"role":"user","content":"#.to_owned()),
            insert(end, format!("}},{message}]")),
        ],
        _ => vec![insert(end, format!(",{message}"))],
    };
    let body = splice(&call.body, changes);
    decode_for(call.dialect, body, deployment).ok()
}

#[cfg(test)]
mod tests;
