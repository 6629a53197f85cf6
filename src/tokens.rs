//! Upper bounds on the input tokens of a call, before it leaves.
//!
//! Byte-level tokenizers make at most one token of a byte of literal text, so a bound costs an
//! addition: the provider's own count of the longest prefix seen before, plus the bytes of the rest.
//! What is no literal text takes the target model's worst for its kind. The real tokenizer is asked
//! only when that bound does not fit and a tighter one could.
//!
//! One generation is bounded here. What a provider's hosted tools add in further rounds is for the
//! quote, which knows their number.

use crate::conversation::{Media, Seen};
use crate::dialect::{Call, Dialect};
use crate::json::{Kind, Value, strings};
use bpe_openai::Tokenizer;
use std::ops::Range;

/// Longest text that the real tokenizer is asked about, in bytes: some tens of milliseconds.
pub const EXACT_BYTES_MAX: usize = 1024 * 1024;

/// What a target model and its provider add to literal text, from its price card. Tokens, if not
/// said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overheads {
    /// Once for a request: begin marks, the answer's primer.
    pub per_request: u64,
    /// For each message: role and delimiters.
    pub per_message: u64,
    /// For each tool that the request describes, beside its own bytes.
    pub per_tool: u64,
    /// For each tool that the provider describes to the model itself.
    pub per_builtin_tool: u64,
    /// Once, if there are tools: the provider's tool-use prompt.
    pub tool_prompt: u64,
    /// Once, if an answer format is asked for.
    pub structured: u64,
    /// For each `$ref` in a schema: what it can grow to when it is rendered.
    pub per_ref_schema: u64,
    /// The most that an image takes.
    pub worst_image: u64,
    /// The most that a document or file takes.
    pub worst_file: u64,
    /// The most that an audio input takes.
    pub worst_audio: u64,
    /// The most that a part of a kind that no table lists takes.
    pub worst_unknown: u64,
    /// The context window: what one prompt can take at most. `None` if the card does not say.
    pub context_window: Option<u64>,
}

/// A bound on input tokens. `u64::MAX` where nothing bounds them, which fits no cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputBound {
    /// All input tokens.
    pub all: u64,
    /// Those outside the known prefix.
    pub fresh: u64,
}

/// A public tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// OpenAI's from GPT-4o on.
    O200k,
    /// OpenAI's of GPT-4 and GPT-3.5, and of its embeddings.
    Cl100k,
}

/// Bounds the input tokens of `call` by its bytes and what is known of it.
#[must_use]
pub fn input_bound(call: &Call, overheads: &Overheads, seen: &Seen) -> InputBound {
    bound(call, overheads, seen, |at, payload_bytes| {
        as_u64(at.len()).saturating_sub(payload_bytes)
    })
}

/// A tighter bound by the real tokenizer: each string counted by itself, and everything between
/// strings as one token a byte. `None` if the text is too long to be asked about.
#[must_use]
pub fn exact_bound(
    encoding: Encoding,
    call: &Call,
    overheads: &Overheads,
    seen: &Seen,
) -> Option<InputBound> {
    let text = literal(call, seen);
    let payloads: usize = call
        .prompt
        .payloads
        .iter()
        .map(ExactSizeIterator::len)
        .sum();
    if text.len().saturating_sub(payloads) > EXACT_BYTES_MAX {
        return None;
    }
    let tokenizer = match encoding {
        Encoding::O200k => bpe_openai::o200k_base(),
        Encoding::Cl100k => bpe_openai::cl100k_base(),
    };
    let exact = bound(call, overheads, seen, |at, _| count(tokenizer, call, at));
    let cheap = input_bound(call, overheads, seen);
    Some(if exact.all < cheap.all { exact } else { cheap })
}

/// Typical tokens of an image, a file and an audio input: for [`size`], which bounds nothing.
const TYPICAL: [u64; 3] = [1_000, 5_000, 1_000];
/// Bytes of text that make a token, about.
const BYTES_PER_TOKEN: u64 = 4;

/// About how many tokens a call's input takes, whatever model it goes to: its text by OpenAI's public
/// tokenizer, media by what is usual. Too much, but not more than `least`, where the bytes alone show that
/// it is no more than that. No bound: for choosing a model, not for money.
#[must_use]
pub fn size(call: &Call, least: u64) -> u64 {
    let media = typical(&call.prompt.media);
    let cheap = media.saturating_add(call.prompt.text_bytes);
    if cheap <= least {
        return cheap;
    }
    let bytes = usize::try_from(call.prompt.text_bytes).unwrap_or(usize::MAX);
    let text = match bytes <= EXACT_BYTES_MAX {
        true => count(bpe_openai::o200k_base(), call, 0..call.body.len()),
        false => call.prompt.text_bytes / BYTES_PER_TOKEN,
    };
    media.saturating_add(text)
}

/// About how many tokens a call's input takes where its provider has no count to give: what it has counted
/// of the conversation's beginning, if that is known, and [`size`]'s measure of the rest. No bound.
#[must_use]
pub fn estimate(call: &Call, seen: &Seen) -> u64 {
    let Some(prefix) = &seen.prefix else {
        return size(call, 0);
    };
    let last = call.chain.links.last();
    let media = last.map_or(call.prompt.media, |link| link.media);
    let rest = literal(call, seen);
    let bytes = as_u64(rest.len());
    let text = match rest.len() <= EXACT_BYTES_MAX {
        true => count(bpe_openai::o200k_base(), call, rest),
        false => bytes / BYTES_PER_TOKEN,
    };
    prefix
        .tokens
        .saturating_add(typical(&media.since(&prefix.media)))
        .saturating_add(text)
}

/// What media usually take.
fn typical(media: &Media) -> u64 {
    let counts = [
        media.images,
        media.files.saturating_add(media.unknown),
        media.audio,
    ];
    let typical = counts.into_iter().zip(TYPICAL);
    let tokens = typical.map(|(count, tokens)| count.saturating_mul(tokens));
    tokens.fold(0, u64::saturating_add)
}

/// The bytes that are not covered by a known count: the messages behind the prefix, or everything.
fn literal(call: &Call, seen: &Seen) -> Range<usize> {
    match &seen.prefix {
        Some(prefix) => prefix.rest_from..call.places.messages_end.max(prefix.rest_from),
        None => 0..call.body.len(),
    }
}

/// The sum that both bounds have in common; `text` bounds the literal text of a range with so many
/// payload bytes in it.
fn bound(
    call: &Call,
    overheads: &Overheads,
    seen: &Seen,
    text: impl FnOnce(Range<usize>, u64) -> u64,
) -> InputBound {
    let prompt = &call.prompt;
    let prompts = match call.dialect {
        // Each of several prompts has the window for itself.
        Dialect::OpenaiEmbeddings | Dialect::OpenaiCompletions => prompt.messages.max(1),
        _ => 1,
    };
    let most = overheads
        .context_window
        .map_or(u64::MAX, |window| window.saturating_mul(prompts));
    let stored = match (prompt.unseen, prompt.opaque, seen.stored) {
        (false, ..) => 0,
        (true, false, Some(stored)) => stored,
        (true, ..) => {
            return InputBound {
                all: most,
                fresh: most,
            };
        }
    };
    // Up to the last message, not up to the body's end: what stands in a system text behind the
    // messages is no part of the rest.
    let last = call
        .chain
        .links
        .last()
        .map_or(prompt.media, |link| link.media);
    let (known, media, messages) = match &seen.prefix {
        Some(prefix) => (
            prefix.tokens,
            last.since(&prefix.media),
            prefix.rest_messages,
        ),
        None => (0, prompt.media, prompt.messages),
    };
    let terms = [
        text(literal(call, seen), media.payload_bytes),
        stored,
        overheads.per_message.saturating_mul(messages),
        of_media(&media, call, overheads),
        match &seen.prefix {
            Some(prefix) => {
                refetched(&prefix.media, overheads).saturating_add(prompt.volatile_bytes)
            }
            None => of_frame(call, overheads),
        },
    ];
    let fresh = terms.into_iter().fold(0, u64::saturating_add);
    let all = known.saturating_add(fresh).min(most);
    InputBound {
        all,
        fresh: fresh.min(all),
    }
}

/// What the provider adds outside the messages. It is in every known count already.
fn of_frame(call: &Call, overheads: &Overheads) -> u64 {
    let prompt = &call.prompt;
    let inside = &prompt.media;
    let once = |present: bool, tokens: u64| if present { tokens } else { 0 };
    let per_tool = tools(
        prompt.tools.saturating_sub(inside.tools),
        prompt.builtin_tools.saturating_sub(inside.builtin_tools),
        prompt.schema_refs.saturating_sub(inside.schema_refs),
        overheads,
    );
    [
        overheads.per_request,
        per_tool,
        once(
            prompt.tools + prompt.builtin_tools > 0,
            overheads.tool_prompt,
        ),
        once(prompt.structured, overheads.structured),
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}

fn tools(declared: u64, builtin: u64, schema_refs: u64, overheads: &Overheads) -> u64 {
    [
        declared.saturating_mul(overheads.per_tool),
        builtin.saturating_mul(overheads.per_builtin_tool),
        schema_refs.saturating_mul(overheads.per_ref_schema),
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}

/// What of other than text stands in messages, at the worst for its kind.
fn of_media(media: &Media, call: &Call, overheads: &Overheads) -> u64 {
    let per_reference = overheads
        .per_tool
        .saturating_add(call.prompt.longest_tool_bytes);
    let tool_prompt = if media.tools > 0 {
        overheads.tool_prompt
    } else {
        0
    };
    [
        tool_prompt,
        media.images.saturating_mul(overheads.worst_image),
        media.files.saturating_mul(overheads.worst_file),
        media.audio.saturating_mul(overheads.worst_audio),
        media.unknown.saturating_mul(overheads.worst_unknown),
        media.tool_references.saturating_mul(per_reference),
        tools(
            media.tools,
            media.builtin_tools,
            media.schema_refs,
            overheads,
        ),
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}

/// What a URL in a counted prefix may hold by now: the count is of what it held then.
fn refetched(media: &Media, overheads: &Overheads) -> u64 {
    let images = media.remote_images.saturating_mul(overheads.worst_image);
    let files = media.remote_files.saturating_mul(overheads.worst_file);
    images.saturating_add(files)
}

/// Tokens of a range of the body, payloads left out. Two more for each string stand for its quotes
/// and for what its neighbours in the rendered prompt may do to its first and last token.
fn count(tokenizer: &Tokenizer, call: &Call, at: Range<usize>) -> u64 {
    const PER_STRING: u64 = 2;
    let body = &call.body;
    let mut payloads: Vec<usize> = call.prompt.payloads.iter().map(|at| at.start).collect();
    payloads.sort_unstable();
    let between = |gap: Range<usize>| {
        let solid = body[gap].iter().filter(|b| !b.is_ascii_whitespace());
        as_u64(solid.count())
    };
    let (mut tokens, mut last) = (0_u64, at.start);
    for string in strings(body, at.clone()) {
        tokens = tokens.saturating_add(between(last..string.start) + PER_STRING);
        last = string.end;
        if payloads.binary_search(&string.start).is_ok() {
            continue;
        }
        let escaped = body[string.clone()].contains(&b'\\');
        let bytes = as_u64(string.len());
        let value = Value {
            kind: Kind::String { escaped },
            at: string,
        };
        tokens = tokens.saturating_add(match value.text(body) {
            Some(text) => as_u64(tokenizer.count(&*text)),
            None => bytes,
        });
    }
    tokens.saturating_add(between(last..at.end))
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
