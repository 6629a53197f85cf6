//! What is read out of a translated answer is what is read out of the answer itself: its text, its
//! tool calls, its tokens, and whether it is over.

use super::*;
use crate::dialect::answer::{BodyBuffer, StreamFilter};
use crate::dialect::{Answer, Usage};

/// The facts that must survive.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    complete: bool,
    failed: bool,
    tools: Vec<String>,
    visible_bytes: u64,
    tokens: Option<(u64, u64, u64)>,
}

fn facts(answer: Answer) -> Facts {
    let tokens = |usage: Usage| (usage.all_input(), usage.cache_read, usage.all_output());
    Facts {
        complete: answer.complete,
        failed: answer.error.is_some(),
        tools: answer
            .tool_calls
            .into_iter()
            .map(|(_, name)| name)
            .collect(),
        visible_bytes: answer.visible_bytes,
        // A message must name counts: where nobody told any they are zero, which nobody takes for a count.
        tokens: answer.usage.map(tokens).filter(|(input, _, _)| *input > 0),
    }
}

/// Reads a stream as the gateway does.
fn read(dialect: Dialect, stream: &[u8]) -> Facts {
    let mut filter = StreamFilter::new(dialect, false);
    filter.push(Bytes::copy_from_slice(stream));
    while filter.pop().is_some() {}
    filter.end();
    facts(filter.finish(true))
}

fn read_plain(dialect: Dialect, body: &[u8]) -> Facts {
    let mut buffer = BodyBuffer::new(dialect, None);
    buffer.push(Bytes::copy_from_slice(body));
    facts(buffer.finish(true).1)
}

/// Compares a stream with its translation. Of one that failed, what came before is said.
fn same(pair: Pair, stream: &[u8], name: &str) {
    let mut theirs = read(pair.target(), stream);
    let mut translating = back(pair).stream();
    let mut out = translating.push(stream).to_vec();
    out.extend_from_slice(&translating.end());
    let mut ours = read(pair.caller(), &out);
    if theirs.failed {
        (theirs.complete, ours.complete) = (false, false);
        (theirs.tokens, ours.tokens) = (None, None);
    }
    assert_eq!(
        theirs,
        ours,
        "{pair:?} {name}:\n{}",
        String::from_utf8_lossy(&out)
    );
}

fn pairs_of(dialect: Dialect) -> impl Iterator<Item = Pair> {
    Pair::ALL
        .into_iter()
        .filter(move |pair| pair.target() == dialect)
}

/// The recordings in a folder that `BURSAR_STREAMS` names: `meta.jsonl` says which is of which dialect.
#[test]
fn recordings_say_the_same() {
    let Ok(folder) = std::env::var("BURSAR_STREAMS") else {
        return;
    };
    let folder = std::path::Path::new(&folder);
    let meta = std::fs::read_to_string(folder.join("meta.jsonl")).expect("a list");
    let mut compared = 0;
    for line in meta.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let dialect = match line["api"].as_str() {
            Some("openai.chat") => Dialect::OpenaiChat,
            Some("anthropic.messages") => Dialect::AnthropicMessages,
            Some("gemini.streamGenerateContent") => Dialect::Gemini,
            _ => continue,
        };
        let file = line["file"].as_str().expect("a name");
        let stream = std::fs::read(folder.join(file)).expect("a recording");
        // Nobody is sent a tool that the provider runs, so none comes back.
        let unasked = [&b"server_tool_use\""[..], b"partialArgs\""];
        if unasked
            .iter()
            .any(|mark| memchr::memmem::find(&stream, mark).is_some())
        {
            continue;
        }
        for pair in pairs_of(dialect) {
            same(pair, &stream, file);
            compared += 1;
        }
    }
    assert!(compared > 50, "{compared}");
}

/// The documented answers of every kind of provider.
#[test]
fn every_kind_of_provider_says_the_same() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/presets");
    let mut compared = 0;
    for file in std::fs::read_dir(folder).expect("a folder") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a fixture");
        let fixture: toml::Value = toml::from_str(&text).expect("TOML");
        for answer in fixture["answer"].as_array().expect("answers") {
            let endpoint = fixture["path"].as_str().expect("a path");
            let dialect = match endpoint {
                path if path.ends_with("/v1/messages") => Dialect::AnthropicMessages,
                path if path.contains("/chat/completions") => Dialect::OpenaiChat,
                path if path.ends_with("/converse") => Dialect::Bedrock,
                path if path.ends_with(":generateContent") => Dialect::Gemini,
                _ => continue,
            };
            let body = answer["body"].as_str().expect("a body");
            let name = format!("{}: {body}", path.display());
            let is_stream = answer.get("stream").and_then(toml::Value::as_bool) == Some(true);
            for pair in pairs_of(dialect) {
                compared += 1;
                if is_stream {
                    same(pair, body.as_bytes(), &name);
                } else {
                    let theirs = read_plain(pair.target(), body.as_bytes());
                    let ours = back(pair).answer(body.as_bytes()).expect(&name);
                    assert_eq!(theirs, read_plain(pair.caller(), &ours), "{pair:?} {name}");
                }
            }
        }
    }
    assert!(compared > 30, "{compared}");
}
