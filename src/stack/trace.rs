//! W3C trace context: whose trace this call belongs to, and the span that the provider will see
//! as its parent.
//!
//! Needs nothing. Adds [`Trace`]. `traceparent` is read leniently (any version, any flags: level 2
//! sends `03`) and never rewritten beyond its span id; baggage is read by `attribute` and not
//! forwarded.

use super::Refused;
use super::gate::Gate;
use http::{HeaderMap, HeaderValue, Request};
use std::sync::Arc;

/// The stage.
#[derive(Clone, Copy, Debug)]
pub struct Continue;

impl<B> Gate<B> for Continue {
    fn pass(&self, request: &mut Request<B>) -> Result<(), Refused> {
        let trace = Trace::from_headers(request.headers());
        if trace.parent_span.is_none() {
            // What vendors keep of a trace belongs to that trace.
            request.headers_mut().remove("tracestate");
        }
        request.extensions_mut().insert(trace);
        Ok(())
    }
}

/// Where a call stands in its trace.
#[derive(Clone, Debug)]
pub struct Trace {
    /// 32 lower-case hex digits.
    pub trace_id: Arc<str>,
    /// The span of this call, 16 lower-case hex digits.
    pub span_id: Arc<str>,
    /// The caller's span, if it named one.
    pub parent_span: Option<Arc<str>>,
    /// Trace flags as they came (`01` for a trace of our own).
    flags: [u8; 2],
}

impl Trace {
    /// Continues the caller's trace, or begins one.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let fresh: u128 = random();
        let span = format!("{:016x}", u64::try_from(fresh >> 64).unwrap_or(1) | 1);
        match headers
            .get("traceparent")
            .and_then(|value| parse(value.as_bytes()))
        {
            Some((trace_id, parent, flags)) => Self {
                trace_id: trace_id.into(),
                span_id: span.into(),
                parent_span: Some(parent.into()),
                flags,
            },
            None => Self {
                trace_id: format!("{:032x}", random() | 1).into(),
                span_id: span.into(),
                parent_span: None,
                flags: *b"01",
            },
        }
    }

    /// Trace and span, for the journal.
    #[must_use]
    pub fn ids(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.trace_id), Arc::clone(&self.span_id))
    }

    /// The header that goes upstream: our span is the parent there.
    #[must_use]
    pub fn traceparent(&self) -> Option<HeaderValue> {
        let mut value = Vec::with_capacity(55);
        value.extend_from_slice(b"00-");
        value.extend_from_slice(self.trace_id.as_bytes());
        value.push(b'-');
        value.extend_from_slice(self.span_id.as_bytes());
        value.push(b'-');
        value.extend_from_slice(&self.flags);
        HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).ok()
    }
}

/// `version-traceid-parentid-flags`; versions above 00 may carry more behind it.
fn parse(value: &[u8]) -> Option<(&str, &str, [u8; 2])> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.splitn(4, '-');
    let (version, trace, parent, rest) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let flags = rest.get(..2)?;
    let well_formed = hex(version, 2)
        && version != "ff"
        && (rest.len() == 2 || (version != "00" && rest.as_bytes()[2] == b'-'))
        && hex(trace, 32)
        && hex(parent, 16)
        && hex(flags, 2)
        && trace.bytes().any(|b| b != b'0')
        && parent.bytes().any(|b| b != b'0');
    let flags = flags.as_bytes();
    well_formed.then(|| (trace, parent, [flags[0], flags[1]]))
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
