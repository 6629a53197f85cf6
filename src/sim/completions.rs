//! OpenAI's older text completions, plain and streamed.

use super::plan::{Finish, Part, Plan};
use super::script::{At, Voice};
use super::usage;
use bytes::{BufMut, BytesMut};
use std::fmt::Write as _;

/// The whole answer as one JSON object.
pub fn plain(plan: &Plan, out: &mut BytesMut) {
    head(plan, out);
    for (index, output) in plan.outputs.iter().enumerate() {
        out.put_slice(if index == 0 {
            b"{\"text\":\"".as_slice()
        } else {
            b",{\"text\":\""
        });
        for part in output.parts.iter().filter(|part| is_text(part)) {
            part.say(out);
        }
        let reason = finish(output.finish);
        let _ = write!(
            out,
            "\",\"index\":{index},\"logprobs\":null,\"finish_reason\":\"{reason}\"}}"
        );
    }
    out.put_slice(b"]");
    usage::member(plan, usage::completions, out);
    out.put_slice(b"}");
}

/// Everything up to the opening bracket of `choices`.
fn head(plan: &Plan, out: &mut BytesMut) {
    let _ = write!(
        out,
        "{{\"id\":\"cmpl-{}\",\"object\":\"text_completion\",\"created\":{},\"model\":{},\"choices\":[",
        plan.id, plan.created, plan.model_json
    );
}

const fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::Stop | Finish::Tools => "stop",
    }
}

const fn is_text(part: &Part) -> bool {
    matches!(part, Part::Words(_) | Part::Literal(_))
}

/// The streamed form.
#[derive(Default)]
pub struct CompletionsVoice {
    /// Everything of a chunk before its choices, written once.
    head: BytesMut,
}

impl CompletionsVoice {
    fn chunk(&self, plan: &Plan, output: usize, text: &[u8], reason: &str, out: &mut BytesMut) {
        out.put_slice(&self.head);
        out.put_slice(b"{\"text\":\"");
        out.put_slice(text);
        let _ = write!(
            out,
            "\",\"index\":{output},\"logprobs\":null,\"finish_reason\":{reason}}}]"
        );
        out.put_slice(if plan.include_usage {
            b",\"usage\":null}\n\n".as_slice()
        } else {
            b"}\n\n"
        });
    }
}

impl Voice for CompletionsVoice {
    fn open(&mut self, plan: &Plan, _out: &mut BytesMut) {
        self.head.put_slice(b"data: ");
        head(plan, &mut self.head);
    }

    fn open_part(&mut self, _plan: &Plan, _at: At, _part: &Part, _out: &mut BytesMut) {}

    fn more(&mut self, plan: &Plan, at: At, part: &Part, text: &[u8], out: &mut BytesMut) {
        if is_text(part) {
            self.chunk(plan, at.output, text, "null", out);
        }
    }

    fn close_part(&mut self, _plan: &Plan, _at: At, _part: &Part, _out: &mut BytesMut) {}

    fn close_output(&mut self, plan: &Plan, output: usize, out: &mut BytesMut) {
        let reason = match finish(plan.outputs[output].finish) {
            "length" => "\"length\"",
            _ => "\"stop\"",
        };
        self.chunk(plan, output, b"", reason, out);
    }

    fn usage(&mut self, plan: &Plan, out: &mut BytesMut) {
        usage::last_chunk(plan, &self.head, usage::completions, out);
    }

    fn close(&mut self, _plan: &Plan, out: &mut BytesMut) {
        out.put_slice(b"data: [DONE]\n\n");
    }

    fn fail(&mut self, _plan: &Plan, out: &mut BytesMut) {
        usage::failed_chunk(out);
    }
}
