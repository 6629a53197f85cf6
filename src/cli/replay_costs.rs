//! `bursar replay --costs FILE`: prices recorded usage objects, one JSON line a case.
//!
//! A case is `{"id", "provider", "model", "api", "usage", "context"}`; an answer is
//! `{"id", "nano_usd"}`, or `{"id", "error"}` where there is no price. Nothing is ever priced at
//! zero for want of one.

use crate::price::usage::{Shape, from_json};
use crate::price::{Catalogue, Context};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the cases are.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// JSON lines, one case each.
    #[arg(long = "costs", value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Deserialize)]
struct Case<'a> {
    id: String,
    provider: String,
    model: String,
    api: String,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default)]
    context: CaseContext,
}

/// What is known of the call beside its usage; members not listed here do not change a price.
#[derive(Default, Deserialize)]
struct CaseContext {
    service_tier: Option<String>,
    processing: Option<String>,
    speed: Option<String>,
    inference_geo: Option<String>,
    timestamp: Option<String>,
}

#[derive(serde::Serialize)]
struct Line<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nano_usd: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A line may be as long as this, in bytes.
const MOST_LINE_BYTES: u64 = 4 << 20;

/// Prices every case of the file, to standard output.
#[must_use]
pub fn run(args: &Args, catalogue: &Catalogue) -> ExitCode {
    let file = match std::fs::File::open(&args.file) {
        Ok(file) => file,
        Err(error) => {
            eprintln!("bursar: {}: {error}", args.file.display());
            return ExitCode::from(66);
        }
    };
    match replay(BufReader::new(file), std::io::stdout().lock(), catalogue) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bursar: {}: {error}", args.file.display());
            ExitCode::from(74)
        }
    }
}

fn replay(
    mut cases: impl BufRead,
    mut out: impl Write,
    catalogue: &Catalogue,
) -> std::io::Result<()> {
    let mut text = String::new();
    loop {
        text.clear();
        if (&mut cases).take(MOST_LINE_BYTES).read_line(&mut text)? == 0 {
            return out.flush();
        }
        if text.trim().is_empty() {
            continue;
        }
        let case: Case<'_> = serde_json::from_str(&text)?;
        let (nano_usd, error) = match price(&case, catalogue) {
            Ok(nano) => (Some(nano), None),
            Err(error) => (None, Some(error)),
        };
        let id = &case.id;
        serde_json::to_writer(
            &mut out,
            &Line {
                id,
                nano_usd,
                error,
            },
        )?;
        out.write_all(b"\n")?;
    }
}

fn price(case: &Case<'_>, catalogue: &Catalogue) -> Result<u64, String> {
    let shape = match case.api.as_str() {
        "chat" | "completions" | "embeddings" => Shape::OpenaiChat,
        "responses" => Shape::OpenaiResponses,
        "messages" => Shape::Anthropic,
        "generateContent" => Shape::Gemini,
        other => return Err(format!("`{other}` is no known api")),
    };
    let object = case.usage.map_or("null", RawValue::get);
    let usage = from_json(shape, object.as_bytes())
        .ok_or_else(|| "the usage object holds no counts".to_owned())?;
    let card = match catalogue.find(&case.provider, &case.model) {
        Ok(card) => card,
        // The provider's own statement needs no list.
        Err(unpriced) => {
            return usage
                .stated_cost
                .map(|cost| cost.0)
                .ok_or_else(|| unpriced.to_string());
        }
    };
    let context = &case.context;
    let at = context.timestamp.as_deref().and_then(|text| {
        let at: jiff::Timestamp = text.parse().ok()?;
        Some(crate::units::UnixMs(at.as_millisecond()))
    });
    let context = Context {
        batch: context.processing.as_deref() == Some("batch"),
        service_tier: context.service_tier.as_deref(),
        speed: context.speed.as_deref(),
        inference_geo: context.inference_geo.as_deref(),
        at,
    };
    Ok(catalogue.charge(&card, &usage, &context).nano.0)
}

#[cfg(test)]
mod tests {
    use super::replay;
    use crate::price::Catalogue;

    #[test]
    fn prices_cases_and_refuses_what_has_no_price() {
        let cases = concat!(
            r#"{"id":"a","provider":"any","model":"sim-fast","api":"chat","usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
            "\n\n",
            r#"{"id":"b","provider":"anthropic","model":"claude-instant-1.2","api":"messages","usage":{"input_tokens":3,"output_tokens":1},"context":{}}"#,
            "\n",
            r#"{"id":"c","provider":"openai","model":"gpt-5","api":"chat","usage":null,"context":{}}"#,
            "\n",
        );
        let mut out = Vec::new();
        replay(cases.as_bytes(), &mut out, &Catalogue::builtin()).unwrap();
        let out = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], r#"{"id":"a","nano_usd":7000}"#);
        assert!(lines[1].contains("retired on 2024-11-06"), "{}", lines[1]);
        assert!(lines[2].contains("no counts"), "{}", lines[2]);
    }
}
