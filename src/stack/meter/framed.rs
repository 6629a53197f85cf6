//! Streams in AWS's binary frames, as server-sent events: everything behind reads one kind of stream.

use crate::aws::frames::{Decoder, events};
use crate::stack::body::{BodyError, Upstream};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The content type of such streams.
const FRAMES: &[u8] = b"application/vnd.amazon.eventstream";
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

/// Turns a body in frames into one of events; any other passes as it came.
pub(super) fn unframed(headers: &mut HeaderMap, body: Upstream) -> Upstream {
    let kind = headers.get(header::CONTENT_TYPE);
    let is_framed = kind.is_some_and(|kind| {
        let kind = kind.as_bytes().get(..FRAMES.len());
        kind.is_some_and(|kind| kind.eq_ignore_ascii_case(FRAMES))
    });
    if !is_framed {
        return body;
    }
    headers.insert(header::CONTENT_TYPE, EVENTS);
    headers.remove(header::CONTENT_LENGTH);
    Upstream::Unpacked(Box::pin(Unframed {
        body,
        decoder: Decoder::default(),
        over: false,
    }))
}

struct Unframed {
    body: Upstream,
    decoder: Decoder,
    over: bool,
}

impl Body for Unframed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        while !this.over {
            let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(cx));
            let mut out = BytesMut::new();
            let read = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        this.decoder.push(&data);
                        events(&mut this.decoder, &mut out)
                    }
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    this.over = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.over = true;
                    this.decoder.end()
                }
            };
            // What came whole is passed on before the fault behind it is told, which stays with the decoder.
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.freeze()))));
            }
            if let Err(error) = read {
                this.over = true;
                return Poll::Ready(Some(Err(error.into())));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}
