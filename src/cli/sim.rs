//! `bursar sim`: the simulated providers alone.

use crate::sim::{self, AwsKey, Settings, Sim};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::Duration;

/// Exit code for settings that make no sense (sysexits `EX_USAGE`).
const EX_USAGE: u8 = 64;
/// Exit code when the address cannot be had (sysexits `EX_UNAVAILABLE`).
const EX_UNAVAILABLE: u8 = 69;

/// Runs simulated providers that keep their own bill at GET /bill.
///
/// How an answer behaves is chosen by the model's name, words combined at will: sim-slow, sim-reasoning,
/// sim-dense, sim-greedy, sim-rogue, sim-tools, sim-loop, sim-no-usage, sim-null-usage, sim-zero-usage,
/// sim-usage-late, sim-cost, sim-gzip, sim-echo, sim-reset, sim-reset-early, sim-stall, sim-page, sim-error-event,
/// sim-flaky, sim-400 … sim-529; sim-strong and sim-cheap have prices of their own. What a model says next
/// can be told beforehand: POST /scenario {"model": "sim-x", "steps": [{"tool": "search", "arguments": {},
/// "times": 3}, {"text": "Done."}]}; the last step stays.
#[derive(Clone, Debug, clap::Args)]
pub struct SimArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7080")]
    pub listen: SocketAddr,
    /// Time to the first byte, such as 20ms or 1s.
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = time)]
    pub latency: Duration,
    /// Time between chunks of a stream.
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = time)]
    pub chunk_delay: Duration,
    /// Tokens in one chunk of a stream.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub chunk_tokens: u64,
    /// The pace of a stream.
    #[arg(long, value_name = "N")]
    pub tokens_per_second: Option<NonZeroU32>,
    /// The share of calls answered with a 500, 503 or 429, from 0 to 1.
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    pub fail_rate: f64,
    /// The share of calls whose connection is dropped, from 0 to 1.
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    pub reset_rate: f64,
    /// The share of calls that get a page of HTML, from 0 to 1.
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    pub page_rate: f64,
    /// The share of calls that are as slow as sim-slow, from 0 to 1.
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    pub slow_rate: f64,
    /// The share of calls that hide what they cost, from 0 to 1.
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    pub no_usage_rate: f64,
    /// What a 429 asks its caller to wait.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub retry_after: Duration,
    /// The same seed and requests give the same answers.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Tokens that an answer without a cap comes to: a number, or a range such as 20-400.
    #[arg(long, value_name = "N|N-N", default_value = "20-400", value_parser = tokens)]
    pub output_tokens: RangeInclusive<u64>,
    /// The access key whose signature Bedrock's endpoints take, and its secret.
    #[arg(long, value_name = "ID:SECRET", value_parser = aws_key)]
    pub aws_key: Option<AwsKey>,
    /// Print the address as one line of JSON, and the bill as another at the end.
    #[arg(long)]
    pub json: bool,
}

impl SimArgs {
    /// The settings that these arguments ask for.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            listen: self.listen,
            latency: self.latency,
            chunk_delay: self.chunk_delay,
            tokens_per_second: self.tokens_per_second,
            chunk_tokens: self.chunk_tokens,
            fail_rate: self.fail_rate,
            reset_rate: self.reset_rate,
            page_rate: self.page_rate,
            slow_rate: self.slow_rate,
            no_usage_rate: self.no_usage_rate,
            retry_after: self.retry_after,
            seed: self.seed,
            output_tokens: self.output_tokens.clone(),
            aws_key: self.aws_key.clone().unwrap_or_default(),
            ..Settings::default()
        }
    }
}

/// Runs until SIGINT or SIGTERM.
#[must_use]
pub fn run(args: &SimArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = runtime.and_then(|runtime| runtime.block_on(serve(args)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bursar sim: {error}");
            ExitCode::from(match error.kind() {
                io::ErrorKind::InvalidInput => EX_USAGE,
                _ => EX_UNAVAILABLE,
            })
        }
    }
}

async fn serve(args: &SimArgs) -> io::Result<()> {
    let sim = Sim::start(args.settings())
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => error,
            kind => io::Error::new(kind, format!("cannot listen on {}: {error}", args.listen)),
        })?;
    say(&greeting(&sim, args.json))?;
    sim::asked_to_end().await?;
    let bill = sim.bill();
    sim.shutdown().await;
    if args.json {
        return say(&serde_json::to_string(&bill)?);
    }
    say(&format!(
        "Billed ${} for {} calls.",
        bill.total(),
        bill.calls
    ))
}

/// Whoever started us may have closed its end; only other failures matter.
fn say(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn greeting(sim: &Sim, json: bool) -> String {
    let addr = sim.addr();
    if json {
        return serde_json::json!({
            "address": addr.to_string(),
            "openai_base_url": sim.base_url(),
            "anthropic_base_url": format!("http://{addr}"),
            "bill": format!("http://{addr}/bill"),
        })
        .to_string();
    }
    format!(
        "Simulated providers on http://{addr}; their bill is at http://{addr}/bill\n\
         \n\
         Point Bursar at them in config/bursar.toml:\n\
         \n\
         [[provider]]\n\
         name     = \"sim\"\n\
         kind     = \"openai\"\n\
         base_url = \"http://{addr}/v1\"\n\
         models   = [\"sim-*\"]\n\
         \n\
         (kind = \"anthropic\" takes base_url = \"http://{addr}\".) Ctrl-C ends them and shows the bill."
    )
}

/// `20ms`, `1.5s`, `2m`.
fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let nanos_per_unit: u64 = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        _ => return Err("write a time such as 20ms, 1.5s or 2m".into()),
    };
    let malformed = || format!("`{number}` is no number");
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().map_err(|_| malformed())?;
    let fraction = fraction.get(..9).unwrap_or(fraction);
    let scale = 10_u64.pow(u32::try_from(fraction.len()).unwrap_or(9));
    let fraction: u64 = fraction.parse().map_err(|_| malformed())?;
    let part = u128::from(fraction) * u128::from(nanos_per_unit) / u128::from(scale);
    let whole = whole.checked_mul(nanos_per_unit).ok_or_else(malformed)?;
    let part = u64::try_from(part).map_err(|_| malformed())?;
    Ok(Duration::from_nanos(whole.saturating_add(part)))
}

/// `AKIA…:secret`
fn aws_key(text: &str) -> Result<AwsKey, String> {
    let (id, secret) = text.split_once(':').ok_or("write it as ID:SECRET")?;
    Ok(AwsKey {
        id: id.to_owned(),
        secret: secret.to_owned(),
    })
}

/// `200` or `20-400`.
fn tokens(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let number = |part: &str| {
        part.parse::<u64>()
            .map_err(|_| format!("`{part}` is no number"))
    };
    Ok(number(low)?..=number(high)?)
}
