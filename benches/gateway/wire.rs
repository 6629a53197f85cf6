//! As little HTTP/1.1 as load and provider need: whole heads, `content-length`, and the end of a
//! chunked body. It must cost less than the proxies that it measures.

use crate::Fault;
use std::ops::Range;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A message larger than this is a fault of the bench, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// What was read of one message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message {
    /// The status of a response; 0 for a request.
    pub status: u16,
    /// Server-sent events in the body.
    pub events: u64,
}

/// One connection and what is read ahead on it.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Where the body of a message ends.
#[derive(Clone, Copy, Debug)]
enum Body {
    Sized(usize),
    Chunked,
}

impl Wire {
    /// Takes a connected stream over; small writes leave at once.
    pub fn new(stream: TcpStream) -> Result<Self, Fault> {
        stream.set_nodelay(true)?;
        let buffer = Vec::with_capacity(16 << 10);
        Ok(Self { stream, buffer })
    }

    /// Sends these bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Reads one whole message; `None` when the peer closed before its first byte.
    pub async fn read(&mut self) -> Result<Option<Message>, Fault> {
        self.buffer.clear();
        let Some((head, body)) = self.read_head().await? else {
            return Ok(None);
        };
        let mut message = Message {
            status: status(&self.buffer[..head.end]),
            events: 0,
        };
        match body {
            Body::Sized(bytes) => {
                while self.buffer.len() < head.end + bytes {
                    self.more().await?;
                }
            }
            Body::Chunked => message.events = self.read_chunked(head.end).await?,
        }
        Ok(Some(message))
    }

    /// Reads a response's head and at least `events` events, and leaves the rest for later.
    pub async fn read_events(&mut self, events: u64) -> Result<Message, Fault> {
        self.buffer.clear();
        let (head, _) = self.read_head().await?.ok_or("closed before an answer")?;
        let status = status(&self.buffer[..head.end]);
        if status != 200 {
            return Ok(Message { status, events: 0 });
        }
        loop {
            let seen = count_events(&self.buffer[head.end..]);
            if seen >= events {
                return Ok(Message {
                    status,
                    events: seen,
                });
            }
            self.more().await?;
        }
    }

    async fn read_head(&mut self) -> Result<Option<(Range<usize>, Body)>, Fault> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                let body = body_kind(&self.buffer[..at + 2])?;
                return Ok(Some((0..at + 4, body)));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err("closed within a head".into()),
                };
            }
        }
    }

    /// Counts events and forgets bytes as they pass, so that a long stream stays cheap.
    async fn read_chunked(&mut self, head: usize) -> Result<u64, Fault> {
        self.buffer.drain(..head);
        let mut events = 0;
        loop {
            if self.buffer.ends_with(b"0\r\n\r\n") {
                return Ok(events + count_events(&self.buffer));
            }
            // Keep a tail that may be the first part of an event's end or of the last chunk.
            let keep = self.buffer.len().saturating_sub(8);
            let passed = count_events(&self.buffer);
            events += passed - count_events(&self.buffer[keep..]);
            self.buffer.drain(..keep);
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), Fault> {
        if self.buffer.len() > MESSAGE_BYTES_MAX {
            return Err("a message is larger than any that the bench sends".into());
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("closed within a body".into()),
            _ => Ok(()),
        }
    }
}

fn count_events(bytes: &[u8]) -> u64 {
    memchr::memmem::find_iter(bytes, b"\n\n").count() as u64
}

fn status(head: &[u8]) -> u16 {
    match head.strip_prefix(b"HTTP/1.1 ") {
        Some(rest) => std::str::from_utf8(&rest[..3])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0),
        None => 0,
    }
}

/// A message without either header has no body here: `GET`, or a bare answer.
fn body_kind(head: &[u8]) -> Result<Body, Fault> {
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            return Ok(Body::Sized(std::str::from_utf8(value)?.parse()?));
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Ok(Body::Chunked);
        }
    }
    Ok(Body::Sized(0))
}
