//! W3C trace context: whose trace this call belongs to, and the span that the provider will see
//! as its parent.
//!
//! Needs the request's id. Adds [`Trace`]. `traceparent` is read leniently (any version, any flags: level 2
//! sends `03`) and never rewritten beyond its span id; baggage is read by `attribute` and not
//! forwarded.

use super::gate::Gate;
use super::{Refused, arrival, headers};
use crate::traces::AskSpan;
use crate::units::{RequestId, TraceIds, request_number};
use http::{HeaderMap, HeaderValue, Request};

/// The stage.
#[derive(Clone, Copy, Debug)]
pub struct Continue;

impl<B> Gate<B> for Continue {
    fn pass(&self, request: &mut Request<B>) -> Result<(), Refused> {
        let id = &arrival(request.extensions()).id;
        let trace = Trace::from_headers(request.headers(), id);
        if trace.parent_span.is_none() {
            // What vendors keep of a trace belongs to that trace.
            request.headers_mut().remove(&headers::TRACESTATE);
        }
        request.extensions_mut().insert(trace);
        Ok(())
    }
}

/// Where a call stands in its trace.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    /// The trace and the span of this call.
    pub ids: TraceIds,
    /// The caller's span, if it named one.
    pub parent_span: Option<u64>,
    /// Trace flags as they came (`01` for a trace of our own).
    flags: [u8; 2],
}

impl Trace {
    /// Continues the caller's trace, or begins one. The request's own number is the trace's then, and
    /// its lower half the span's: one id less to keep, and the one leads to the other.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap, id: &RequestId) -> Self {
        let number = request_number(id.as_str()).unwrap_or_else(random);
        // Neither may be zero.
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
        let span = (number as u64).max(1);
        let caller = headers.get(&headers::TRACEPARENT);
        match caller.and_then(|value| parse(value.as_bytes())) {
            Some((trace, parent, flags)) => Self {
                ids: TraceIds { trace, span },
                parent_span: Some(parent),
                flags,
            },
            None => Self {
                ids: TraceIds {
                    trace: number.max(1),
                    span,
                },
                parent_span: None,
                flags: *b"01",
            },
        }
    }

    /// The caller exports its spans.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        // The lowest bit of the second digit, which is one of `0-9a-f`.
        let digit = self.flags[1];
        let value = if digit >= b'a' {
            digit - b'a' + 10
        } else {
            digit - b'0'
        };
        value & 1 == 1
    }

    /// A call that brought no trace joins this one, which is exported or not.
    pub const fn join(&mut self, trace: u128, sampled: bool) {
        self.ids.trace = trace;
        self.flags = if sampled { *b"01" } else { *b"00" };
    }

    /// The same place, a span of the call's own further down.
    #[must_use]
    pub const fn at(mut self, span: u64) -> Self {
        self.ids.span = span;
        self
    }

    /// The header of a call's next try: that try's own span is the parent there.
    #[must_use]
    pub fn departing(trace: Option<Self>, span: Option<&AskSpan>) -> Option<HeaderValue> {
        let trace = trace?;
        match span {
            Some(span) => trace.at(span.next_attempt()).traceparent(),
            None => trace.traceparent(),
        }
    }

    /// The header that goes upstream: our span is the parent there.
    #[must_use]
    pub fn traceparent(&self) -> Option<HeaderValue> {
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(self.ids.trace, &mut value[3..35]);
        hex(u128::from(self.ids.span), &mut value[36..52]);
        value[53..].copy_from_slice(&self.flags);
        HeaderValue::from_bytes(&value).ok()
    }
}

/// `version-traceid-parentid-flags`; versions above 00 may carry more behind it.
fn parse(value: &[u8]) -> Option<(u128, u64, [u8; 2])> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.splitn(4, '-');
    let (version, trace, parent, rest) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let flags = rest.get(..2)?;
    let well_formed = is_hex(version, 2)
        && version != "ff"
        && (rest.len() == 2 || (version != "00" && rest.as_bytes()[2] == b'-'))
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2);
    if !well_formed {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok()?;
    let parent = u64::from_str_radix(parent, 16).ok()?;
    let flags = flags.as_bytes();
    (trace != 0 && parent != 0).then_some((trace, parent, [flags[0], flags[1]]))
}

/// Writes the low digits of `number` over all of `text`, in lower-case hex.
pub fn hex(mut number: u128, text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in text.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(number & 15).unwrap_or(0)];
        number >>= 4;
    }
}

/// Ids need to be unlikely to meet again, not secret: a counter from a random start, mixed.
#[must_use]
pub fn random() -> u128 {
    use std::cell::Cell;
    use std::hash::{BuildHasher, RandomState};
    thread_local! {
        static NEXT: Cell<u128> = Cell::new({
            let (high, low) = (RandomState::new().hash_one(0), RandomState::new().hash_one(1));
            (u128::from(high) << 64) | u128::from(low)
        });
    }
    // Odd increments and multiplications are bijections: no id of a thread comes twice.
    const STEP: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    const MIX: u128 = 0xda94_2042_e4dd_58b5_2545_f491_4f6c_dd1d;
    let next = NEXT.with(|next| next.replace(next.get().wrapping_add(STEP)));
    let mixed = (next ^ (next >> 67)).wrapping_mul(MIX);
    mixed ^ (mixed >> 64)
}

#[cfg(test)]
mod tests;
