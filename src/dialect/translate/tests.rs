use super::*;
use crate::dialect::{decode, decode_for};
use serde_json::{Value, json};

mod answers;
mod bedrock;
mod errors;
mod gemini;
mod requests;
mod round;
mod same;
mod streams;
mod table;

/// A target that drops what is named.
fn to<'a>(drop: &'a [String], field: &'a str) -> To<'a> {
    To {
        model: "target-1",
        output_cap_field: field,
        output_when_unasked: 8_192,
        asks_usage: true,
        drop,
    }
}

fn field(pair: Pair) -> &'static str {
    match pair.target() {
        Dialect::AnthropicMessages => "max_tokens",
        Dialect::Bedrock => "maxTokens",
        Dialect::Gemini => "maxOutputTokens",
        _ => "max_completion_tokens",
    }
}

fn names(drop: &[&str]) -> Vec<String> {
    drop.iter().map(|name| (*name).to_owned()).collect()
}

/// Translates what decodes, and checks that what leaves decodes too.
fn translated_with(pair: Pair, body: &Value, drop: &[&str]) -> Result<Translated, Unfit> {
    let body = Bytes::from(body.to_string());
    decode(pair.caller(), body.clone()).expect("the caller's body decodes");
    let drop = names(drop);
    let translated = request(pair, &body, &to(&drop, field(pair)))?;
    decode_for(pair.target(), translated.body.clone(), Some("target-1"))
        .expect("what leaves decodes");
    Ok(translated)
}

fn translated(pair: Pair, body: &Value) -> Translated {
    translated_with(pair, body, &[]).expect("it can be carried")
}

fn leaves(pair: Pair, body: &Value) -> Value {
    serde_json::from_slice(&translated(pair, body).body).expect("JSON leaves")
}

fn refused(pair: Pair, body: &Value) -> String {
    translated_with(pair, body, &[])
        .expect_err("it cannot be carried")
        .to_string()
}

fn back(pair: Pair) -> Back {
    let echo = match pair {
        Pair::ResponsesChat => r#""tools":[],"tool_choice":"auto""#,
        _ => "",
    };
    Back {
        pair,
        include_usage: true,
        echo: echo.into(),
    }
}

fn answered(pair: Pair, answer: &Value) -> Value {
    let body = back(pair).answer(answer.to_string().as_bytes());
    serde_json::from_slice(&body.expect("an answer")).expect("JSON comes back")
}
