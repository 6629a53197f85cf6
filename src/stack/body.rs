//! Bodies of answers: whole, metered as they stream, or passed through.

use super::cache::Kept;
use super::held::Held;
use super::meter::{Metered, Whole};
use crate::recall::Reader;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a body fails with.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The packing.
    #[error(transparent)]
    Packing(#[from] std::io::Error),
    /// The frames.
    #[error(transparent)]
    Frame(#[from] crate::aws::frames::FrameError),
}

/// A provider's body, unpacked if it came compressed.
pub enum Upstream {
    /// As it came.
    Plain(Incoming),
    /// Unpacked on the way.
    Unpacked(Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>),
}

impl Body for Upstream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Plain(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Unpacked(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::Unpacked(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Unpacked(body) => body.size_hint(),
        }
    }
}

/// The body of an answer.
pub enum AnswerBody {
    /// All of it.
    Whole(Bytes),
    /// A stream that is metered as it passes.
    Metered(Box<Metered>),
    /// A stream whose call waits for a person.
    Held(Box<Held>),
    /// A metered stream that is kept as it passes.
    Kept(Box<Kept>),
    /// An answer that is read along with others, or again.
    Recalled(Box<Reader>),
    /// Passed through.
    Through(Upstream),
}

impl AnswerBody {
    /// What became of a stream that is over: `None` unless all of it came.
    #[must_use]
    pub fn whole(&self) -> Option<Whole> {
        match self {
            Self::Metered(body) => body.whole(),
            Self::Held(body) => body.whole(),
            Self::Kept(body) => body.whole(),
            Self::Whole(_) | Self::Recalled(_) | Self::Through(_) => None,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Metered(body) => body
                .poll_data(cx)
                .map(|data| data.map(|data| Ok(Frame::data(data)))),
            Self::Held(body) => body
                .poll_data(cx)
                .map(|data| data.map(|data| data.map(Frame::data))),
            Self::Kept(body) => body
                .poll_data(cx)
                .map(|data| data.map(|data| Ok(Frame::data(data)))),
            Self::Recalled(body) => body
                .poll_data(cx)
                .map(|data| data.map(|data| data.map(Frame::data).map_err(BodyError::from))),
            Self::Through(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Metered(_) | Self::Held(_) | Self::Kept(_) | Self::Recalled(_) => false,
            Self::Through(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Metered(_) | Self::Held(_) | Self::Kept(_) | Self::Recalled(_) => {
                SizeHint::default()
            }
            Self::Through(body) => body.size_hint(),
        }
    }
}
