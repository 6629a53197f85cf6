//! Exchanges whose caller has gone: read on to their usage, for a bounded time, and passed to nobody.

use super::error::ERROR_BYTES_MAX;
use super::{Part, is_event_stream, unpack};
use crate::dialect::answer::{BodyBuffer, Kept, StreamFilter};
use crate::stack::record::{Outcome, Record};
use crate::stack::upstream::{Reached, reached};
use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use std::sync::Arc;
use tokio::time::timeout;

/// Sees an exchange through to its usage in a task of its own, for a bounded time.
pub(super) fn see_through(part: Part, record: Box<Record>) {
    let gateway = Arc::clone(record.gateway());
    let bounded = record.reads_on_for(gateway.live().config().bounds.finish_upstream);
    gateway.clone().finishing(async move {
        let mut record = record;
        if let Part::Stream(_, filter) = &part {
            record.saw(filter.reader().visible_bytes());
        }
        let outcome = match timeout(bounded, read_to_end(part, &mut record)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Doubt(record.unread()),
        };
        record.end(outcome);
    });
}

async fn read_to_end(part: Part, record: &mut Record) -> Outcome {
    let (body, mut reading) = match part {
        Part::Sent(future) => match future.await {
            Ok(response) => {
                let (mut parts, body) = response.into_parts();
                record.answered(parts.status);
                let body = unpack(&mut parts.headers, body);
                if !parts.status.is_success() {
                    let limited = http_body_util::Limited::new(body, ERROR_BYTES_MAX);
                    let Ok(body) = limited.collect().await else {
                        return Outcome::Doubt("billed_error");
                    };
                    return match record.provider.bills(parts.status, &body.to_bytes()) {
                        true => Outcome::Doubt("billed_error"),
                        false => Outcome::Void("provider_refused"),
                    };
                }
                let dialect = record.call.dialect;
                if is_event_stream(&parts.headers) {
                    let filter = Box::new(StreamFilter::new(dialect, false).keeping(record.keep()));
                    (body, Reading::Stream(filter))
                } else {
                    let length = body.size_hint().exact();
                    let buffer = Box::new(BodyBuffer::new(dialect, length).keeping(record.keep()));
                    (body, Reading::Plain(buffer))
                }
            }
            Err(error) if reached(&error) == Reached::Never => return Outcome::Void("unreachable"),
            Err(_) => return Outcome::Doubt("reset"),
        },
        Part::Plain(body, buffer) => (body, Reading::Plain(buffer)),
        Part::Stream(body, filter) => (body, Reading::Stream(filter)),
    };
    let mut body = body;
    loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                if !reading.push(data) {
                    return Outcome::Doubt("too_long");
                }
                if let Reading::Stream(filter) = &reading {
                    record.saw(filter.reader().visible_bytes());
                }
                // A provider that does not close after its last word has said all the same.
                if reading.is_over() {
                    break;
                }
            }
            Some(Err(_)) => return Outcome::Doubt("reset"),
            None => break,
        }
    }
    let answer = match reading {
        Reading::Plain(buffer) => buffer.finish(true).1,
        Reading::Stream(mut filter) => {
            filter.end();
            filter.finish(true)
        }
    };
    record.outcome(answer)
}

/// An answer that is read for its usage alone.
enum Reading {
    Plain(Box<BodyBuffer>),
    Stream(Box<StreamFilter>),
}

impl Reading {
    /// The terminal event was read.
    fn is_over(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Stream(filter) => filter.reader().terminal_seen(),
        }
    }

    /// False if the answer is too long to be read.
    fn push(&mut self, data: Bytes) -> bool {
        match self {
            Self::Plain(buffer) => matches!(buffer.push(data), Kept::Waiting),
            Self::Stream(filter) => {
                filter.push(data);
                while filter.pop().is_some() {}
                true
            }
        }
    }
}
