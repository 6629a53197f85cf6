//! Gemini's answers, plain and streamed: each event of a stream is an answer of the same form.

use crate::sim::behaviour::UsageShown;
use crate::sim::plan::{Finish, Part, Plan};
use crate::sim::refusal::quote;
use crate::sim::script::{At, Voice};
use bytes::{BufMut, BytesMut};
use std::fmt::Write as _;

/// What goes along with a tool call and must come back: opaque to every client.
const SIGNATURE: &str = "c2ltdWxhdGVkLXRob3VnaHQ=";

/// The whole answer as one JSON object.
pub fn plain(plan: &Plan, out: &mut BytesMut) {
    out.put_slice(b"{\"candidates\":[{\"content\":{\"parts\":[");
    let mut first = true;
    for part in plan.outputs.iter().flat_map(|output| &output.parts) {
        if matches!(part, Part::Unseen) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.put_u8(b',');
        }
        whole_part(part, out);
    }
    if first {
        out.put_slice(b"{\"text\":\"\"}");
    }
    let _ = write!(
        out,
        "],\"role\":\"model\"}},\"finishReason\":\"{}\",\"index\":0}}]",
        reason(plan)
    );
    end(plan, true, out);
}

fn whole_part(part: &Part, out: &mut BytesMut) {
    match part {
        Part::Tool {
            name, arguments, ..
        } => tool(name, arguments, out),
        part => {
            out.put_slice(b"{\"text\":\"");
            part.say(out);
            thought(part, out);
        }
    }
}

/// Ends a text part.
fn thought(part: &Part, out: &mut BytesMut) {
    let is_thought = matches!(part, Part::Thinking(_));
    out.put_slice(if is_thought {
        b"\",\"thought\":true}".as_slice()
    } else {
        b"\"}".as_slice()
    });
}

fn tool(name: &str, arguments: &str, out: &mut BytesMut) {
    out.put_slice(b"{\"functionCall\":{\"name\":");
    quote(out, name);
    let _ = write!(
        out,
        ",\"args\":{arguments}}},\"thoughtSignature\":\"{SIGNATURE}\"}}"
    );
}

fn reason(plan: &Plan) -> &'static str {
    match plan.outputs.first().map(|output| output.finish) {
        Some(Finish::Length) => "MAX_TOKENS",
        _ => "STOP",
    }
}

/// The members behind the candidates. Before the last event, only the prompt is counted.
fn end(plan: &Plan, is_last: bool, out: &mut BytesMut) {
    match plan.usage {
        UsageShown::Absent => {}
        UsageShown::Null => out.put_slice(b",\"usageMetadata\":null"),
        UsageShown::Zero => {
            out.put_slice(b",\"usageMetadata\":{\"promptTokenCount\":0,\"totalTokenCount\":0}");
        }
        UsageShown::True => usage(plan, is_last, out),
    }
    let _ = write!(
        out,
        ",\"modelVersion\":{},\"responseId\":\"{}\"}}",
        plan.model_json, plan.id
    );
}

/// Cached tokens lie inside the prompt's count, thoughts outside the candidates'.
fn usage(plan: &Plan, is_last: bool, out: &mut BytesMut) {
    let tokens = &plan.tokens;
    let parts = plan.outputs.iter().flat_map(|output| &output.parts);
    let shown = parts.map(|part| match part {
        Part::Thinking(words) => words.left(),
        _ => 0,
    });
    let thoughts = tokens.reasoning + shown.sum::<u64>();
    let input = tokens.all_input();
    let _ = write!(out, ",\"usageMetadata\":{{\"promptTokenCount\":{input}");
    if tokens.cache_read > 0 {
        let _ = write!(out, ",\"cachedContentTokenCount\":{}", tokens.cache_read);
    }
    if is_last {
        let _ = write!(
            out,
            ",\"candidatesTokenCount\":{}",
            tokens.output.saturating_sub(thoughts)
        );
        if thoughts > 0 {
            let _ = write!(out, ",\"thoughtsTokenCount\":{thoughts}");
        }
    }
    let total = if is_last {
        input + tokens.output
    } else {
        input
    };
    let _ = write!(
        out,
        ",\"totalTokenCount\":{total},\"promptTokensDetails\":[{{\"modality\":\"TEXT\",\"tokenCount\":{input}}}]}}"
    );
}

/// The streamed form.
#[derive(Default)]
pub struct GeminiVoice;

impl GeminiVoice {
    fn event(plan: &Plan, out: &mut BytesMut, part: impl FnOnce(&mut BytesMut)) {
        out.put_slice(b"data: {\"candidates\":[{\"content\":{\"parts\":[");
        part(out);
        out.put_slice(b"],\"role\":\"model\"},\"index\":0}]");
        end(plan, false, out);
        out.put_slice(b"\r\n\r\n");
    }
}

impl Voice for GeminiVoice {
    fn open(&mut self, _plan: &Plan, _out: &mut BytesMut) {}

    fn open_part(&mut self, plan: &Plan, _at: At, part: &Part, out: &mut BytesMut) {
        // A tool call comes whole.
        if let Part::Tool {
            name, arguments, ..
        } = part
        {
            Self::event(plan, out, |out| tool(name, arguments, out));
        }
    }

    fn more(&mut self, plan: &Plan, _at: At, part: &Part, text: &[u8], out: &mut BytesMut) {
        if !matches!(part, Part::Tool { .. }) {
            Self::event(plan, out, |out| {
                out.put_slice(b"{\"text\":\"");
                out.put_slice(text);
                thought(part, out);
            });
        }
    }

    fn close_part(&mut self, _plan: &Plan, _at: At, _part: &Part, _out: &mut BytesMut) {}

    fn usage(&mut self, plan: &Plan, out: &mut BytesMut) {
        let _ = write!(
            out,
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"\"}}],\"role\":\"model\"}},\
             \"finishReason\":\"{}\",\"index\":0}}]",
            reason(plan)
        );
        end(plan, true, out);
        out.put_slice(b"\r\n\r\n");
    }

    fn fail(&mut self, _plan: &Plan, out: &mut BytesMut) {
        out.put_slice(
            b"data: {\"error\":{\"code\":503,\"message\":\"The model is overloaded. Please try again later.\",\
              \"status\":\"UNAVAILABLE\"}}\r\n\r\n",
        );
    }
}
