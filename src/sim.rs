//! Simulated LLM providers that keep their own bill: what a newcomer without an API key runs against, and
//! the oracle of every test about money.
//!
//! They speak OpenAI's chat, responses, embeddings and completions, Anthropic's messages, Gemini's
//! `generateContent` (also where Vertex has it, with a token endpoint) and Amazon Bedrock's Converse, over
//! HTTP/1.1 and cleartext HTTP/2, plain and streamed. How an answer behaves is chosen by the model's name (see
//! [`behaviour`]) and by [`Settings`], or told beforehand by `POST /scenario`; what it costs by [`prices`].
//! `GET /bill` shows what was charged, `POST /bill/reset` begins a new bill.
//!
//! A call is decided whole before its first byte leaves (`decide` in `answer`): what it produces, how it ends, what it costs.
//! It is on the bill from then on, so a client that hangs up pays for the whole answer, as it does at
//! a real provider.

mod answer;
mod bedrock;
pub mod behaviour;
mod bill;
mod body;
mod caller;
mod chat;
mod completions;
mod embeddings;
mod gemini;
mod memory;
mod messages;
mod plan;
pub mod prices;
mod refusal;
mod request;
mod responses;
mod scenario;
mod schema;
mod script;
mod serve;
mod tally;
mod token;
mod usage;
mod wants;
mod words;

pub use bedrock::AwsKey;
pub use bill::{Bill, Line, OTHERS, RequestLine};

use bill::Books;
use memory::Memory;
use parking_lot::Mutex;
use scenario::Scenarios;
use serve::Stop;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::TcpListener;

/// How long calls in flight may take to end when the providers stop.
const DRAIN: Duration = Duration::from_secs(5);
/// The longest delay that a setting may ask for.
const LONGEST_DELAY: Duration = Duration::from_secs(3_600);
/// The most output tokens that an answer without a cap may come to.
const MOST_OUTPUT_TOKENS: u64 = 128_000;
/// The most tokens in one chunk of a stream.
const MOST_CHUNK_TOKENS: u64 = 4_096;

/// How the simulated providers behave, whatever the model.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Time to the first byte.
    pub latency: Duration,
    /// Time between chunks of a stream.
    pub chunk_delay: Duration,
    /// The pace of a stream; with `chunk_delay` too, both are waited for.
    pub tokens_per_second: Option<NonZeroU32>,
    /// Tokens in one chunk of a stream.
    pub chunk_tokens: u64,
    /// The share of calls answered with a 500, 503 or 429, `0.0..=1.0`.
    pub fail_rate: f64,
    /// The share of the other calls whose connection drops, half of them before the first byte.
    pub reset_rate: f64,
    /// The share of the other calls that get a page of HTML, `0.0..=1.0`.
    pub page_rate: f64,
    /// The share of all calls that are as slow as `sim-slow`, `0.0..=1.0`.
    pub slow_rate: f64,
    /// The share of all calls that hide what they cost, `0.0..=1.0`.
    pub no_usage_rate: f64,
    /// What a 429 asks its caller to wait.
    pub retry_after: Duration,
    /// The same seed and the same requests give the same answers.
    pub seed: u64,
    /// What an answer would come to without a cap, in tokens.
    pub output_tokens: RangeInclusive<u64>,
    /// What `sim-slow` waits before the first byte and before each chunk.
    pub slow_delay: Duration,
    /// What `sim-reasoning` waits.
    pub reasoning_delay: Duration,
    /// What `sim-usage-late` waits before the usage.
    pub late_delay: Duration,
    /// Who may call Bedrock.
    pub aws_key: AwsKey,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            latency: Duration::ZERO,
            chunk_delay: Duration::ZERO,
            tokens_per_second: None,
            chunk_tokens: 4,
            fail_rate: 0.0,
            reset_rate: 0.0,
            page_rate: 0.0,
            slow_rate: 0.0,
            no_usage_rate: 0.0,
            retry_after: Duration::from_secs(1),
            seed: 0,
            output_tokens: 20..=400,
            slow_delay: Duration::from_millis(100),
            reasoning_delay: Duration::from_millis(100),
            late_delay: Duration::from_millis(500),
            aws_key: AwsKey::default(),
        }
    }
}

impl Settings {
    /// Time between chunks.
    fn chunk_pause(&self) -> Duration {
        let paced = self.tokens_per_second.map_or(Duration::ZERO, |rate| {
            let nanos = self.chunk_tokens.saturating_mul(1_000_000_000) / u64::from(rate.get());
            Duration::from_nanos(nanos)
        });
        self.chunk_delay + paced
    }

    fn check(&self) -> Result<(), String> {
        for (name, rate) in [
            ("fail_rate", self.fail_rate),
            ("reset_rate", self.reset_rate),
            ("page_rate", self.page_rate),
            ("slow_rate", self.slow_rate),
            ("no_usage_rate", self.no_usage_rate),
        ] {
            if !(0.0..=1.0).contains(&rate) {
                return Err(format!("{name} is {rate}; it must be from 0 to 1"));
            }
        }
        let (low, high) = (*self.output_tokens.start(), *self.output_tokens.end());
        if low == 0 || low > high || high > MOST_OUTPUT_TOKENS {
            return Err(format!(
                "output_tokens is {low}-{high}; it must be a range within 1-{MOST_OUTPUT_TOKENS}"
            ));
        }
        if !(1..=MOST_CHUNK_TOKENS).contains(&self.chunk_tokens) {
            return Err(format!(
                "chunk_tokens is {}; it must be from 1 to {MOST_CHUNK_TOKENS}",
                self.chunk_tokens
            ));
        }
        let delays = [
            ("latency", self.latency),
            ("retry_after", self.retry_after),
            ("chunk_delay", self.chunk_delay),
            ("slow_delay", self.slow_delay),
            ("reasoning_delay", self.reasoning_delay),
            ("late_delay", self.late_delay),
        ];
        match delays.into_iter().find(|(_, delay)| *delay > LONGEST_DELAY) {
            Some((name, delay)) => Err(format!("{name} is {delay:?}; the longest is an hour")),
            None => Ok(()),
        }
    }
}

/// What every call needs.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    books: Books,
    memory: Memory,
    scenarios: Scenarios,
    /// Calls so far: part of every id.
    calls: AtomicU64,
    tokens: token::Tokens,
    seed: u64,
    /// Makes ids differ between providers, and between runs.
    nonce: u64,
    /// The version that models answer as; as they are called if there is none.
    version: Mutex<Option<Arc<str>>>,
}

/// Simulated providers that are running. Dropping it drops every connection.
#[derive(Debug)]
pub struct Sim {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: Stop,
}

impl Sim {
    /// Starts on the current runtime.
    ///
    /// # Errors
    /// `InvalidInput` for settings out of range; else why the address cannot be listened on.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        settings
            .check()
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        let listener = TcpListener::bind(settings.listen).await?;
        let addr = listener.local_addr()?;
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            seed: settings.seed,
            settings,
            books: Books::default(),
            memory: Memory::default(),
            scenarios: Scenarios::default(),
            calls: AtomicU64::new(0),
            tokens: token::Tokens::default(),
            nonce: u64::from_le_bytes(nonce),
            version: Mutex::default(),
        });
        let stop = Stop::default();
        tokio::spawn(serve::accept(listener, Arc::clone(&shared), stop.clone()));
        Ok(Self { addr, shared, stop })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL for OpenAI clients; Anthropic's take it without `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// From now on models answer as this version (`sim-cheap` as `sim-cheap-2026-01-01`), and asked for by
    /// another date they are gone.
    pub fn answer_as(&self, version: &str) {
        *self.shared.version.lock() = Some(version.into());
    }

    /// Bearer tokens that its token endpoint has given out.
    #[must_use]
    pub fn tokens_given(&self) -> u64 {
        self.shared.tokens.given()
    }

    /// What was charged so far, without the lines of single requests.
    #[must_use]
    pub fn bill(&self) -> Bill {
        self.shared.books.bill(false)
    }

    /// What was charged so far, with a line for every request id.
    #[must_use]
    pub fn bill_by_request(&self) -> Bill {
        self.shared.books.bill(true)
    }

    /// Begins a new bill.
    pub fn reset_bill(&self) {
        self.shared.books.reset();
    }

    /// Stops accepting, answers what is in flight for a bounded time, and drops the rest.
    pub async fn shutdown(self) {
        self.stop.drain.cancel();
        self.stop.open.close();
        // Past the time, dropping `self` ends what is left.
        let _ = tokio::time::timeout(DRAIN, self.stop.open.wait()).await;
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.abort.cancel();
    }
}

/// Runs until the process is asked to end.
///
/// # Errors
/// As [`Sim::start`], or when signals cannot be waited for.
pub async fn run(settings: Settings) -> io::Result<()> {
    let sim = Sim::start(settings).await?;
    asked_to_end().await?;
    sim.shutdown().await;
    Ok(())
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn asked_to_end() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests;
