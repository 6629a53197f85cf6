//! A notice to the model: one message of the gateway's, behind the caller's last, so that what a provider
//! has cached of the conversation stays good.

use crate::dialect::{Call, Edits, decode_for, rewrite, takes_notice};

/// The call with the notice in it, read anew: the quote is of the bytes that leave. `None` where a call
/// cannot take one: it ends with the beginning of the answer, or it is none of messages.
pub(super) fn with_notice(call: &Call, deployment: Option<&str>, notice: String) -> Option<Call> {
    let edits = Edits {
        notice: takes_notice(call).then_some(notice),
        ..Edits::default()
    };
    edits.notice.as_ref()?;
    let body = rewrite(call, &edits);
    decode_for(call.dialect, body, deployment).ok()
}

#[cfg(test)]
mod tests;
