//! Plain answers: collected whole, so that their cost stands in their heads.

use super::error::Broken;
use super::{JSON, Part, Underway};
use crate::dialect::answer::Kept;
use crate::dialect::translate::Unreadable;
use crate::stack::body::{AnswerBody, Upstream};
use crate::stack::record::Outcome;
use crate::stack::{Code, Refused};
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{Response, header};
use http_body::Body;
use http_body_util::BodyExt;
use std::pin::pin;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

impl Underway {
    /// Collects a plain answer, so that its cost stands in its headers.
    pub(super) async fn plain_answer(
        mut self,
        mut parts: http::response::Parts,
    ) -> Result<Response<AnswerBody>, Refused> {
        let collected = self.collect().await;
        let Some(record) = self.record.as_ref() else {
            return Err(Refused::internal("no record"));
        };
        match collected {
            Ok(None) => {}
            // Too long to be read: it passes, and nobody can say what it cost.
            Ok(Some(through)) => {
                self.part = None;
                if let Some(record) = self.record.take() {
                    let is_translated = record.back().is_some();
                    let charged = record.end(Outcome::Doubt("too_long"));
                    charged.stamp(&mut parts.headers);
                    if is_translated {
                        return Err(unreadable(Unreadable::TooLong));
                    }
                }
                return Ok(Response::from_parts(parts, through));
            }
            // Dropping `self` sees the exchange through.
            Err(Broken::Stopped(stop)) => return Err(record.stop_refusal(stop)),
            Err(Broken::TimedOut) if record.is_over() => return Err(record.deadline_refusal()),
            Err(broken) => {
                let provider = record.provider.name.clone();
                self.part = None;
                if let Some(record) = self.record.take() {
                    record.end(Outcome::Doubt(broken.reason()));
                }
                return Err(broken.refusal(provider.as_str()));
            }
        }
        let (Some(Part::Plain(_, buffer)), Some(mut record)) =
            (self.part.take(), self.record.take())
        else {
            return Err(Refused::internal("a plain answer was collected"));
        };
        let (body, answer) = buffer.finish(true);
        parts.headers.remove(header::CONTENT_LENGTH);
        let outcome = record.outcome(answer);
        let translated = record.back().map(|back| back.answer(&body));
        let charged = record.end(outcome);
        charged.stamp(&mut parts.headers);
        let body = match translated {
            None => body,
            Some(translated) => {
                parts.headers.insert(header::CONTENT_TYPE, JSON);
                translated.map_err(unreadable)?
            }
        };
        Ok(Response::from_parts(parts, AnswerBody::Whole(body)))
    }

    async fn collect(&mut self) -> Result<Option<AnswerBody>, Broken> {
        let (Some(Part::Plain(body, buffer)), Some(record)) = (&mut self.part, &self.record) else {
            return Ok(None);
        };
        let flight = Arc::clone(record.flight());
        let mut stop = pin!(flight.stop());
        let patience = record.provider.timeouts.between_bytes;
        let mut since = Instant::now();
        loop {
            let by = record.until(since, patience);
            let frame = match select(pin!(timeout_at(by, body.frame())), &mut stop).await {
                Either::Left((frame, _)) => frame,
                Either::Right((stop, _)) => return Err(Broken::Stopped(stop)),
            };
            match frame {
                // The clock of a deadline may have stood still meanwhile.
                Err(_) if !record.is_over() && !record.is_out_of_patience(since, patience) => {}
                Err(_) => return Err(Broken::TimedOut),
                Ok(Some(Err(error))) => return Err(Broken::Failed(error.to_string())),
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => {
                    since = Instant::now();
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    if let Kept::Through(first) = buffer.push(data) {
                        let Some(Part::Plain(rest, _)) = self.part.take() else {
                            return Ok(None);
                        };
                        return Ok(Some(through(first, rest)));
                    }
                    // Nothing need be waited for, not even the end.
                    if body.is_end_stream() {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

/// An answer that was paid for, and that its caller's dialect cannot say.
pub(super) fn unreadable(why: Unreadable) -> Refused {
    Refused::new(Code::UpstreamError, &why.to_string())
}

/// What was collected so far, then the rest.
fn through(first: Bytes, rest: Upstream) -> AnswerBody {
    let first = futures_util::stream::once(async move { Ok(http_body::Frame::data(first)) });
    let rest = http_body_util::BodyStream::new(rest);
    let both = futures_util::StreamExt::chain(first, rest);
    AnswerBody::Through(Upstream::Unpacked(Box::pin(
        http_body_util::StreamBody::new(both),
    )))
}
