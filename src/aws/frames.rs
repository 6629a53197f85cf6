//! `application/vnd.amazon.eventstream`: binary frames with checksums, read over any chunking.
//!
//! A frame is a prelude (length of all, length of the headers, checksum of both), headers, a payload and a
//! checksum of everything before it, numbers big end first:
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>.
//!
//! [`Decoder`] gives whole frames; [`events`] turns them into server-sent events whose data names its
//! event, so that everything behind reads one kind of stream: `data: {"contentBlockDelta":{…}}`, and for an
//! exception `data: {"error":{"type":"throttlingException",…}}`.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest frame that is read, in bytes.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most that the headers of a frame may take, in bytes.
pub const HEADERS_BYTES_MAX: usize = 128 * 1024;
/// Two lengths and their checksum.
const PRELUDE_BYTES: usize = 12;
/// The checksum at the end.
const CHECKSUM_BYTES: usize = 4;
/// The type of a header's value that is a text.
const STRING: u8 = 7;

/// Why a stream is none of this form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A checksum is not that of its bytes.
    #[error("a frame's checksum is wrong")]
    Checksum,
    /// Lengths that contradict each other, or too long.
    #[error("a frame's lengths make no sense")]
    Length,
    /// Headers that are none.
    #[error("a frame's headers make no sense")]
    Headers,
    /// The stream ended within a frame.
    #[error("the stream broke off within a frame")]
    CutShort,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    headers: Bytes,
    /// What it carries.
    pub payload: Bytes,
}

/// Reads frames as their bytes come in.
#[derive(Debug, Default)]
pub struct Decoder {
    held: BytesMut,
    /// Some frame made no sense: nothing behind it does.
    failed: Option<FrameError>,
}

impl Decoder {
    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.held.extend_from_slice(bytes);
        }
    }

    /// The next whole frame; `None` until more has come.
    ///
    /// # Errors
    /// The bytes are no frames; the same error from then on.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let frame = self.frame();
        if let Err(error) = frame {
            self.fail(error);
        }
        frame
    }

    fn fail(&mut self, error: FrameError) {
        self.failed = Some(error);
        self.held = BytesMut::new();
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// Something of a frame had come.
    pub fn end(&self) -> Result<(), FrameError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.held.is_empty() => Ok(()),
            None => Err(FrameError::CutShort),
        }
    }

    fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(mut prelude) = self.held.get(..PRELUDE_BYTES) else {
            return Ok(None);
        };
        // Lengths are believed only once their own checksum holds.
        let sum = crc32fast::hash(&prelude[..PRELUDE_BYTES - CHECKSUM_BYTES]);
        let mut length = || usize::try_from(prelude.get_u32()).map_err(|_| FrameError::Length);
        let (whole, headers) = (length()?, length()?);
        if prelude.get_u32() != sum {
            return Err(FrameError::Checksum);
        }
        let least = PRELUDE_BYTES + headers + CHECKSUM_BYTES;
        if headers > HEADERS_BYTES_MAX || whole > FRAME_BYTES_MAX || whole < least {
            return Err(FrameError::Length);
        }
        if self.held.len() < whole {
            return Ok(None);
        }
        let mut frame = self.held.split_to(whole).freeze();
        let mut end = frame.split_off(whole - CHECKSUM_BYTES);
        if crc32fast::hash(&frame) != end.get_u32() {
            return Err(FrameError::Checksum);
        }
        frame.advance(PRELUDE_BYTES);
        let headers = frame.split_to(headers);
        let frame = Frame {
            headers,
            payload: frame,
        };
        frame.header("")?;
        Ok(Some(frame))
    }
}

impl Frame {
    /// A header's text; `None` if there is no such header, or it holds something else.
    ///
    /// # Errors
    /// The headers are not of their form.
    pub fn header(&self, wanted: &str) -> Result<Option<&str>, FrameError> {
        let mut rest: &[u8] = &self.headers;
        let mut found = None;
        while let [name_bytes, after @ ..] = rest {
            let (name, after) = split(after, usize::from(*name_bytes))?;
            let [kind, value @ ..] = after else {
                return Err(FrameError::Headers);
            };
            let (length, value) = match kind {
                // True, false; whole numbers; bytes and texts with their length; times; UUIDs.
                0 | 1 => (0, value),
                2 => (1, value),
                3 => (2, value),
                4 => (4, value),
                5 | 8 => (8, value),
                6 | 7 => {
                    let (length, value) = split(value, 2)?;
                    let length = <[u8; 2]>::try_from(length).map_err(|_| FrameError::Headers)?;
                    (usize::from(u16::from_be_bytes(length)), value)
                }
                9 => (16, value),
                _ => return Err(FrameError::Headers),
            };
            let (value, after) = split(value, length)?;
            let text = |bytes| std::str::from_utf8(bytes).map_err(|_| FrameError::Headers);
            if text(name)? == wanted && *kind == STRING {
                found = Some(text(value)?);
            }
            rest = after;
        }
        Ok(found)
    }

    /// The frame as a server-sent event.
    ///
    /// # Errors
    /// It has no name to go by.
    fn write(&self, out: &mut BytesMut) -> Result<(), FrameError> {
        let name = |wanted| {
            let plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let name = self.header(wanted)?.filter(plain);
            name.ok_or(FrameError::Headers)
        };
        match self.header(":message-type")? {
            Some("event") => {
                // Says what the connection is for, and nothing of an answer.
                if self.header(":event-type")? == Some("initial-response") {
                    return Ok(());
                }
                open(out, name(":event-type")?);
                put_line(out, &self.payload);
                out.put_slice(b"}\n\n");
            }
            Some("exception") => {
                let kind = name(":exception-type")?;
                open(out, "error");
                let _ = std::fmt::Write::write_fmt(out, format_args!("{{\"type\":\"{kind}\""));
                match self.payload.trim_ascii().strip_prefix(b"{") {
                    Some(members) if !members.trim_ascii_start().starts_with(b"}") => {
                        out.put_u8(b',');
                        put_line(out, members);
                    }
                    _ => out.put_u8(b'}'),
                }
                out.put_slice(b"}\n\n");
            }
            Some("error") => {
                let code = self.header(":error-code")?.unwrap_or("error");
                let message = self.header(":error-message")?.unwrap_or("no message");
                open(out, "error");
                let [code, message] = [code, message].map(crate::json::quoted);
                let told = format_args!("{{\"type\":{code},\"message\":{message}}}");
                let _ = std::fmt::Write::write_fmt(out, told);
                out.put_slice(b"}\n\n");
            }
            _ => return Err(FrameError::Headers),
        }
        Ok(())
    }
}

/// The decoder's frames so far, as server-sent events.
///
/// # Errors
/// The bytes are no frames. What came before is in `out`.
pub fn events(decoder: &mut Decoder, out: &mut BytesMut) -> Result<(), FrameError> {
    while let Some(frame) = decoder.next_frame()? {
        let from = out.len();
        if let Err(error) = frame.write(out) {
            // Nothing of it is told, and nothing behind it.
            out.truncate(from);
            decoder.fail(error);
            return Err(error);
        }
    }
    Ok(())
}

fn open(out: &mut BytesMut, name: &str) {
    out.put_slice(b"data: {\"");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\":");
}

/// JSON on one line: a line break in it is white space between its parts.
fn put_line(out: &mut BytesMut, json: &[u8]) {
    let from = out.len();
    out.put_slice(if json.is_empty() { b"{}" } else { json });
    for byte in &mut out[from..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8]), FrameError> {
    bytes.split_at_checked(at).ok_or(FrameError::Headers)
}

#[cfg(test)]
mod tests;
