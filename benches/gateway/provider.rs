//! A provider that does nothing but answer: a canned chat completion of 1 kB, a canned stream, or a
//! stream that stays open until it is told to end. It runs in the bench's own process, so the mode is
//! a shared value and no request needs to be understood.

use crate::Fault;
use crate::wire::Wire;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How the provider answers from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A whole answer of about 1 kB.
    Answer,
    /// The same in Anthropic's dialect.
    Message,
    /// This many chunks, each in a write of its own.
    Stream(u64),
    /// Four chunks, then nothing until the mode changes.
    Held,
}

/// What answers say, over and over.
const TEXT: &str = "The floor of the house was swept before the guests arrived. ";
/// Chunks that a held stream sends before it falls silent.
pub const HELD_CHUNKS: u64 = 4;

/// A running provider.
#[derive(Debug)]
pub struct Provider {
    /// Where it listens.
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Provider {
    /// Listens on a free port of loopback and serves until the runtime ends.
    pub async fn start() -> Result<Self, Fault> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (mode, seen) = watch::channel(Mode::Answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(wire) = Wire::new(stream) {
                    tokio::spawn(serve(wire, seen.clone()));
                }
            }
        });
        Ok(Self { address, mode })
    }

    /// Answers like this from now on; held streams come to their end.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

/// A peer that goes away in the middle is nothing to report: hang-ups are part of the load.
async fn serve(mut wire: Wire, mut mode: watch::Receiver<Mode>) {
    let (answer, message) = (answer(), message());
    while let Ok(Some(_)) = wire.read().await {
        let now = *mode.borrow_and_update();
        let sent = match now {
            Mode::Answer => wire.write(&answer).await,
            Mode::Message => wire.write(&message).await,
            Mode::Stream(chunks) => stream(&mut wire, chunks, None).await,
            Mode::Held => stream(&mut wire, HELD_CHUNKS, Some(&mut mode)).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

fn answer() -> Vec<u8> {
    let text = TEXT.repeat(9);
    whole(&format!(
        r#"{{"id":"chatcmpl-bench0000000000000000","object":"chat.completion","created":1760000000,"model":"gpt-4o-mini-2024-07-18","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":180,"completion_tokens":108,"total_tokens":288,"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}},"service_tier":"default","system_fingerprint":"fp_bench"}}"#
    ))
}

fn message() -> Vec<u8> {
    let text = TEXT.repeat(9);
    whole(&format!(
        r#"{{"id":"msg_bench0000000000000000","type":"message","role":"assistant","model":"claude-haiku-4-5-20251001","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":180,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}},"output_tokens":108,"service_tier":"standard"}}}}"#
    ))
}

fn whole(body: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head + body).into_bytes()
}

/// Sends `chunks` deltas, waits for the mode to change if it is held, then the end and the usage.
async fn stream(
    wire: &mut Wire,
    chunks: u64,
    held: Option<&mut watch::Receiver<Mode>>,
) -> Result<(), Fault> {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
    wire.write(HEAD).await?;
    let delta = chunk(
        r#"[{"index":0,"delta":{"content":" swept"},"logprobs":null,"finish_reason":null}],"usage":null"#,
    );
    for _ in 0..chunks {
        wire.write(&delta).await?;
        // Lets the load read in between, as a network would.
        tokio::task::yield_now().await;
    }
    if let Some(mode) = held {
        mode.changed().await?;
    }
    let mut end =
        chunk(r#"[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null"#);
    let usage = format!(
        r#"[],"usage":{{"prompt_tokens":180,"completion_tokens":{chunks},"total_tokens":{}}}"#,
        180 + chunks
    );
    end.extend_from_slice(&chunk(&usage));
    end.extend_from_slice(&framed("data: [DONE]\n\n"));
    end.extend_from_slice(b"0\r\n\r\n");
    wire.write(&end).await
}

fn chunk(choices_on: &str) -> Vec<u8> {
    framed(&format!(
        "data: {{\"id\":\"chatcmpl-bench0000000000000000\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\",\"choices\":{choices_on}}}\n\n"
    ))
}

fn framed(event: &str) -> Vec<u8> {
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}
