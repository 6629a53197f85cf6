//! OpenAI's chat completions, plain and streamed.

use super::plan::{Finish, Output, Part, Plan, escape};
use super::refusal::quote;
use super::script::{At, Voice};
use super::usage;
use bytes::{BufMut, BytesMut};
use std::fmt::Write as _;

/// The whole answer as one JSON object.
pub fn plain(plan: &Plan, out: &mut BytesMut) {
    head(plan, "chat.completion", out);
    for (index, output) in plan.outputs.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{{\"index\":{index},\"message\":");
        message(output, out);
        let _ = write!(
            out,
            ",\"logprobs\":null,\"finish_reason\":\"{}\"}}",
            finish(output.finish)
        );
    }
    out.put_slice(b"]");
    usage::member(plan, usage::chat, out);
    out.put_slice(b"}");
}

/// Everything up to the opening bracket of `choices`.
fn head(plan: &Plan, object: &str, out: &mut BytesMut) {
    let _ = write!(
        out,
        "{{\"id\":\"chatcmpl-{}\",\"object\":\"{object}\",\"created\":{},\"model\":{},\
         \"service_tier\":\"default\",\"system_fingerprint\":\"fp_simulated\",\"choices\":[",
        plan.id, plan.created, plan.model_json
    );
}

fn message(output: &Output, out: &mut BytesMut) {
    out.put_slice(b"{\"role\":\"assistant\",\"content\":");
    let mut calls = 0;
    for part in &output.parts {
        match part {
            Part::Words(_) | Part::Literal(_) => {
                out.put_u8(b'"');
                part.say(out);
                out.put_u8(b'"');
            }
            Part::Tool {
                id,
                name,
                arguments,
            } => {
                out.put_slice(if calls == 0 {
                    b"null,\"tool_calls\":[".as_slice()
                } else {
                    b","
                });
                let _ = write!(
                    out,
                    "{{\"id\":\"call_{id}\",\"type\":\"function\",\"function\":{{\"name\":"
                );
                quote(out, name);
                out.put_slice(b",\"arguments\":");
                quote(out, arguments);
                out.put_slice(b"}}");
                calls += 1;
            }
            Part::Thinking(_) | Part::Unseen => {}
        }
    }
    out.put_slice(if calls > 0 { b"],".as_slice() } else { b"," });
    out.put_slice(b"\"refusal\":null,\"annotations\":[]}");
}

const fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Tools => "tool_calls",
    }
}

/// The streamed form.
#[derive(Default)]
pub struct ChatVoice {
    /// Everything of a chunk before its choices, written once.
    head: BytesMut,
    /// Tool calls of the current answer so far.
    calls: usize,
}

impl ChatVoice {
    fn chunk(&self, output: usize, out: &mut BytesMut, delta: impl FnOnce(&mut BytesMut)) {
        out.put_slice(&self.head);
        let _ = write!(out, "{{\"index\":{output},\"delta\":{{");
        delta(out);
        out.put_slice(b"},\"logprobs\":null,\"finish_reason\":null}]");
    }

    /// Every chunk says `"usage": null` once usage was asked for.
    fn end(plan: &Plan, out: &mut BytesMut) {
        if plan.include_usage {
            out.put_slice(b",\"usage\":null");
        }
        out.put_slice(b"}\n\n");
    }
}

impl Voice for ChatVoice {
    fn open(&mut self, plan: &Plan, _out: &mut BytesMut) {
        self.head.put_slice(b"data: ");
        head(plan, "chat.completion.chunk", &mut self.head);
    }

    fn open_output(&mut self, plan: &Plan, output: usize, out: &mut BytesMut) {
        self.calls = 0;
        let is_tool = plan.outputs[output].finish == Finish::Tools;
        let content: &[u8] = if is_tool { b"null" } else { b"\"\"" };
        self.chunk(output, out, |out| {
            out.put_slice(b"\"role\":\"assistant\",\"content\":");
            out.put_slice(content);
            out.put_slice(b",\"refusal\":null");
        });
        Self::end(plan, out);
    }

    fn open_part(&mut self, plan: &Plan, at: At, part: &Part, out: &mut BytesMut) {
        let Part::Tool { id, name, .. } = part else {
            return;
        };
        let call = self.calls;
        self.calls += 1;
        self.chunk(at.output, out, |out| {
            let _ = write!(
                out,
                "\"tool_calls\":[{{\"index\":{call},\"id\":\"call_{id}\",\"type\":\"function\",\
                 \"function\":{{\"name\":\""
            );
            escape(name, out);
            out.put_slice(b"\",\"arguments\":\"\"}}]");
        });
        Self::end(plan, out);
    }

    fn more(&mut self, plan: &Plan, at: At, part: &Part, text: &[u8], out: &mut BytesMut) {
        let call = self.calls.saturating_sub(1);
        match part {
            Part::Words(_) | Part::Literal(_) => self.chunk(at.output, out, |out| {
                out.put_slice(b"\"content\":\"");
                out.put_slice(text);
                out.put_u8(b'"');
            }),
            Part::Tool { .. } => self.chunk(at.output, out, |out| {
                let _ = write!(
                    out,
                    "\"tool_calls\":[{{\"index\":{call},\"function\":{{\"arguments\":\""
                );
                out.put_slice(text);
                out.put_slice(b"\"}}]");
            }),
            Part::Thinking(_) | Part::Unseen => return,
        }
        Self::end(plan, out);
    }

    fn close_part(&mut self, _plan: &Plan, _at: At, _part: &Part, _out: &mut BytesMut) {}

    fn close_output(&mut self, plan: &Plan, output: usize, out: &mut BytesMut) {
        out.put_slice(&self.head);
        let _ = write!(
            out,
            "{{\"index\":{output},\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"{}\"}}]",
            finish(plan.outputs[output].finish)
        );
        Self::end(plan, out);
    }

    fn usage(&mut self, plan: &Plan, out: &mut BytesMut) {
        usage::last_chunk(plan, &self.head, usage::chat, out);
    }

    fn close(&mut self, _plan: &Plan, out: &mut BytesMut) {
        out.put_slice(b"data: [DONE]\n\n");
    }

    fn fail(&mut self, _plan: &Plan, out: &mut BytesMut) {
        usage::failed_chunk(out);
    }
}
