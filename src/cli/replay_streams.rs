//! `bursar replay --streams DIR`: pushes recorded streams through the path that live ones take,
//! cut at every awkward byte, and reports whether the bytes stayed the same and what usage was read.
//!
//! `DIR/meta.jsonl` names one recording per line: `file` (relative to `DIR`) and `api`.

use crate::dialect::Dialect;
use crate::dialect::answer::StreamFilter;
use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;
use std::io::{self, BufRead, Write};
use std::path::Path;

/// Recordings up to this many bytes are split once at every single byte; longer ones at a sample.
const EVERY_SPLIT_BYTES_MAX: usize = 4 * 1024;
/// How many single splits of a longer recording are tried.
const SPLITS_OF_LONG: usize = 64;
/// How many runs with chunks of random sizes.
const RANDOM_RUNS: u64 = 16;

/// One line of `meta.jsonl`; what else stands in it does not matter here.
#[derive(Debug)]
struct Recording {
    file: String,
    api: String,
    /// `Some(Value::Null)`: the recording holds no usage.
    expected_usage: Option<Value>,
}

impl Recording {
    fn read(line: &str) -> io::Result<Self> {
        let mut line: Value = serde_json::from_str(line)?;
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        match (text("file"), text("api")) {
            (Some(file), Some(api)) => Ok(Self {
                file,
                api,
                expected_usage: line.get_mut("expected_usage").map(Value::take),
            }),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a line of meta.jsonl has no `file` or no `api`",
            )),
        }
    }
}

/// What one run over a recording gave.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    identical: bool,
    usage: Option<String>,
}

/// Replays every recording in `dir` and writes one JSON line for each: `{"id", "identical",
/// "usage"}`, `usage` being the provider's own object as the stream's final truth, or null.
/// True if all are identical and, where the line has an `expected_usage`, equal to it.
///
/// # Errors
/// If a file cannot be read, a line of `meta.jsonl` is malformed, or `out` cannot be written.
pub fn run(dir: &Path, out: &mut impl Write) -> io::Result<bool> {
    let meta = io::BufReader::new(std::fs::File::open(dir.join("meta.jsonl"))?);
    let mut all_good = true;
    for line in meta.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let recording = Recording::read(&line)?;
        let raw = Bytes::from(std::fs::read(dir.join(&recording.file))?);
        let outcome = replay(&recording.api, &raw);
        all_good &= outcome.identical && is_expected(&recording, outcome.usage.as_deref());
        write_line(out, &recording.file, &outcome)?;
    }
    Ok(all_good)
}

fn write_line(out: &mut impl Write, file: &str, outcome: &Outcome) -> io::Result<()> {
    let id = Path::new(file)
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    // A line end can only stand between JSON tokens, where a space means the same.
    let usage = outcome
        .usage
        .as_deref()
        .unwrap_or("null")
        .replace(['\n', '\r'], " ");
    let usage =
        RawValue::from_string(usage).or_else(|_| RawValue::from_string("null".to_owned()))?;
    serde_json::to_writer(
        &mut *out,
        &Line {
            id: &id,
            identical: outcome.identical,
            usage: &usage,
        },
    )?;
    out.write_all(b"\n")
}

#[derive(serde::Serialize)]
struct Line<'a> {
    id: &'a str,
    identical: bool,
    usage: &'a RawValue,
}

fn is_expected(recording: &Recording, usage: Option<&str>) -> bool {
    let Some(expected) = &recording.expected_usage else {
        return true;
    };
    usage
        .map_or(Some(Value::Null), |usage| serde_json::from_str(usage).ok())
        .as_ref()
        == Some(expected)
}

/// Runs one recording whole, byte by byte, split at single places, and in chunks of random sizes.
/// The outcome is identical only if every run is, and only if all read the same usage.
fn replay(api: &str, raw: &Bytes) -> Outcome {
    let mut whole = once(api, raw, std::iter::once(raw.len()));
    let mut same = |sizes: &mut dyn Iterator<Item = usize>| {
        let outcome = once(api, raw, sizes);
        whole.identical &= outcome
            == Outcome {
                identical: true,
                usage: whole.usage.clone(),
            };
    };
    same(&mut std::iter::repeat(1));
    let step = if raw.len() <= EVERY_SPLIT_BYTES_MAX {
        1
    } else {
        raw.len().div_ceil(SPLITS_OF_LONG)
    };
    for at in (1..raw.len()).step_by(step) {
        same(&mut [at, usize::MAX].into_iter());
    }
    for line_end in memchr::memchr2_iter(b'\n', b'\r', raw).take(SPLITS_OF_LONG) {
        same(&mut [line_end.max(1), 1, usize::MAX].into_iter());
    }
    for run in 1..=RANDOM_RUNS {
        let mut state = run;
        same(&mut std::iter::from_fn(move || {
            // Xorshift: the same sizes in every replay.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % (run * run * 8))
                .ok()
                .map(|size| size + 1)
        }));
    }
    whole
}

/// One run; `sizes` are those of the chunks, the last one cut to fit.
fn once(api: &str, raw: &Bytes, sizes: impl Iterator<Item = usize>) -> Outcome {
    let dialect = match api {
        "openai.responses" => Dialect::OpenaiResponses,
        "anthropic.messages" => Dialect::AnthropicMessages,
        "openai.completions" => Dialect::OpenaiCompletions,
        api if api.starts_with("gemini") => Dialect::Gemini,
        _ => Dialect::OpenaiChat,
    };
    let mut filter = StreamFilter::new(dialect, false);
    let mut passed = Vec::with_capacity(raw.len());
    let mut rest = raw.clone();
    for size in sizes {
        if rest.is_empty() {
            break;
        }
        let chunk = rest.split_to(size.min(rest.len()));
        filter.push(chunk);
        while let Some(piece) = filter.pop() {
            passed.extend_from_slice(&piece);
        }
    }
    filter.end();
    while let Some(piece) = filter.pop() {
        passed.extend_from_slice(&piece);
    }
    let usage = filter
        .reader()
        .usage_json()
        .map(|json| String::from_utf8_lossy(json).into_owned());
    Outcome {
        identical: passed == raw[..],
        usage,
    }
}

#[cfg(test)]
mod tests;
