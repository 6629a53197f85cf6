//! Anthropic's messages, plain and streamed.

use super::behaviour::UsageShown;
use super::plan::{Finish, Part, Plan};
use super::prices::Tokens;
use super::refusal::quote;
use super::script::{At, Voice};
use super::usage;
use bytes::{BufMut, BytesMut};
use std::fmt::Write as _;

/// A thinking block's signature: opaque to every client.
const SIGNATURE: &str = "c2ltdWxhdGVkLXRoaW5raW5n";

/// The whole answer as one JSON object.
pub fn plain(plan: &Plan, out: &mut BytesMut) {
    head(plan, out);
    let mut first = true;
    for part in plan.outputs.iter().flat_map(|output| &output.parts) {
        if !first && !matches!(part, Part::Unseen) {
            out.put_u8(b',');
        }
        first &= !block(part, out);
    }
    let _ = write!(
        out,
        "],\"stop_reason\":\"{}\",\"stop_sequence\":null",
        stop(plan)
    );
    usage::member(plan, usage::messages, out);
    out.put_slice(b"}");
}

/// Everything up to the opening bracket of `content`.
fn head(plan: &Plan, out: &mut BytesMut) {
    let _ = write!(
        out,
        "{{\"id\":\"msg_{}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":{},\"content\":[",
        plan.id, plan.model_json
    );
}

fn stop(plan: &Plan) -> &'static str {
    match plan.outputs.first().map(|output| output.finish) {
        Some(Finish::Length) => "max_tokens",
        Some(Finish::Tools) => "tool_use",
        _ => "end_turn",
    }
}

/// Writes a content block; false if nothing of the part is shown.
fn block(part: &Part, out: &mut BytesMut) -> bool {
    match part {
        Part::Words(_) | Part::Literal(_) => {
            out.put_slice(b"{\"type\":\"text\",\"text\":\"");
            part.say(out);
            out.put_slice(b"\"}");
        }
        Part::Thinking(_) => {
            out.put_slice(b"{\"type\":\"thinking\",\"thinking\":\"");
            part.say(out);
            let _ = write!(out, "\",\"signature\":\"{SIGNATURE}\"}}");
        }
        Part::Tool {
            id,
            name,
            arguments,
        } => {
            let _ = write!(
                out,
                "{{\"type\":\"tool_use\",\"id\":\"toolu_{id}\",\"name\":"
            );
            quote(out, name);
            let _ = write!(out, ",\"input\":{arguments}}}");
        }
        Part::Unseen => return false,
    }
    true
}

/// The streamed form.
#[derive(Default)]
pub struct MessagesVoice {
    /// Content blocks begun so far.
    blocks: usize,
}

impl Voice for MessagesVoice {
    fn open(&mut self, plan: &Plan, out: &mut BytesMut) {
        out.put_slice(b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
        head(plan, out);
        out.put_slice(b"],\"stop_reason\":null,\"stop_sequence\":null");
        if plan.usage != UsageShown::Absent {
            out.put_slice(b",\"usage\":");
            let so_far = Tokens {
                output: plan.tokens.output.min(1),
                ..plan.tokens
            };
            usage::value(plan, &so_far, usage::messages, out);
        }
        out.put_slice(b"}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n");
    }

    fn open_part(&mut self, _plan: &Plan, _at: At, part: &Part, out: &mut BytesMut) {
        if matches!(part, Part::Unseen) {
            return;
        }
        let _ = write!(
            out,
            "event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":{},\
             \"content_block\":",
            self.blocks
        );
        self.blocks += 1;
        match part {
            Part::Tool { id, name, .. } => {
                let _ = write!(
                    out,
                    "{{\"type\":\"tool_use\",\"id\":\"toolu_{id}\",\"name\":"
                );
                quote(out, name);
                out.put_slice(b",\"input\":{}}");
            }
            Part::Thinking(_) => {
                out.put_slice(b"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
            }
            _ => out.put_slice(b"{\"type\":\"text\",\"text\":\"\"}"),
        }
        out.put_slice(b"}\n\n");
    }

    fn more(&mut self, _plan: &Plan, _at: At, part: &Part, text: &[u8], out: &mut BytesMut) {
        let (kind, member) = match part {
            Part::Tool { .. } => ("input_json_delta", "partial_json"),
            Part::Thinking(_) => ("thinking_delta", "thinking"),
            _ => ("text_delta", "text"),
        };
        let index = self.blocks.saturating_sub(1);
        let _ = write!(
            out,
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{index},\
             \"delta\":{{\"type\":\"{kind}\",\"{member}\":\""
        );
        out.put_slice(text);
        out.put_slice(b"\"}}\n\n");
    }

    fn close_part(&mut self, _plan: &Plan, _at: At, part: &Part, out: &mut BytesMut) {
        let index = self.blocks.saturating_sub(1);
        if matches!(part, Part::Thinking(_)) {
            let _ = write!(
                out,
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\
                 \"index\":{index},\"delta\":{{\"type\":\"signature_delta\",\"signature\":\
                 \"{SIGNATURE}\"}}}}\n\n"
            );
        }
        if !matches!(part, Part::Unseen) {
            let _ = write!(
                out,
                "event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":{index}}}\n\n"
            );
        }
    }

    fn usage(&mut self, plan: &Plan, out: &mut BytesMut) {
        let _ = write!(
            out,
            "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\
             \"{}\",\"stop_sequence\":null}}",
            stop(plan)
        );
        usage::member(plan, usage::messages, out);
        out.put_slice(b"}\n\n");
    }

    fn close(&mut self, _plan: &Plan, out: &mut BytesMut) {
        out.put_slice(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn fail(&mut self, _plan: &Plan, out: &mut BytesMut) {
        out.put_slice(
            b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\
              \"message\":\"Overloaded\"}}\n\n",
        );
    }
}
