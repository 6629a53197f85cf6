//! OpenAI's responses, plain, streamed and in the background.

use super::plan::{Finish, Part, Plan};
use super::refusal::quote;
use super::script::{At, Voice};
use super::usage;
use bytes::{BufMut, BytesMut};
use std::fmt::Write as _;

/// How far a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Queued,
    Running,
    Done,
    Failed,
}

/// The response object.
pub fn plain(plan: &Plan, progress: Progress, out: &mut BytesMut) {
    let is_done = progress == Progress::Done;
    let is_cut = plan
        .outputs
        .first()
        .is_some_and(|output| output.finish == Finish::Length);
    let status = match progress {
        Progress::Queued => "queued",
        Progress::Running => "in_progress",
        Progress::Failed => "failed",
        Progress::Done if is_cut => "incomplete",
        Progress::Done => "completed",
    };
    let error = match progress {
        Progress::Failed => FAILURE,
        _ => "null",
    };
    let incomplete = if is_done && is_cut {
        "{\"reason\":\"max_output_tokens\"}"
    } else {
        "null"
    };
    let _ = write!(
        out,
        "{{\"id\":\"resp_{}\",\"object\":\"response\",\"created_at\":{},\"status\":\"{status}\",\
         \"background\":{},\"error\":{error},\"incomplete_details\":{incomplete},\
         \"instructions\":null,\"max_output_tokens\":",
        plan.id, plan.created, plan.background
    );
    match plan.cap {
        Some(cap) => {
            let _ = write!(out, "{cap}");
        }
        None => out.put_slice(b"null"),
    }
    let _ = write!(out, ",\"model\":{},\"output\":[", plan.model_json);
    if is_done {
        items(plan, out);
    }
    out.put_slice(b"],\"parallel_tool_calls\":true,\"previous_response_id\":");
    match &plan.previous_response {
        Some(id) => quote(out, id),
        None => out.put_slice(b"null"),
    }
    let _ = write!(
        out,
        ",\"reasoning\":{{\"effort\":null,\"summary\":null}},\"service_tier\":\"default\",\
         \"store\":{},\"temperature\":1.0,\"text\":{{\"format\":{{\"type\":\"text\"}}}},\
         \"tool_choice\":\"auto\",\"tools\":[],\"top_p\":1.0,\"truncation\":\"disabled\"",
        plan.store
    );
    if is_done {
        usage::member(plan, usage::responses, out);
    } else {
        out.put_slice(b",\"usage\":null");
    }
    out.put_slice(b",\"user\":null,\"metadata\":{}}");
}

const FAILURE: &str = "{\"code\":\"server_error\",\"message\":\"The server had an error while processing your request.\"}";

fn items(plan: &Plan, out: &mut BytesMut) {
    let parts = plan.outputs.iter().flat_map(|output| &output.parts);
    for (index, part) in parts.enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        item(plan, index, part, Some(status(plan)), out);
    }
}

fn status(plan: &Plan) -> &'static str {
    match plan.outputs.first().map(|output| output.finish) {
        Some(Finish::Length) => "incomplete",
        _ => "completed",
    }
}

/// Writes an item's id: `msg_…`, `fc_…`, `rs_…`.
fn item_id(plan: &Plan, index: usize, part: &Part, out: &mut BytesMut) {
    let kind = match part {
        Part::Tool { .. } => "fc",
        Part::Unseen | Part::Thinking(_) => "rs",
        Part::Words(_) | Part::Literal(_) => "msg",
    };
    let _ = write!(out, "{kind}_{}{index:02x}", plan.id);
}

/// An output item, with its content once it has a final status.
fn item(plan: &Plan, index: usize, part: &Part, status: Option<&str>, out: &mut BytesMut) {
    out.put_slice(b"{\"id\":\"");
    item_id(plan, index, part, out);
    let shown = status.unwrap_or("in_progress");
    match part {
        Part::Unseen | Part::Thinking(_) => {
            out.put_slice(b"\",\"type\":\"reasoning\",\"summary\":[]}");
        }
        Part::Tool {
            id,
            name,
            arguments,
        } => {
            let _ = write!(
                out,
                "\",\"type\":\"function_call\",\"status\":\"{shown}\",\"call_id\":\"call_{id}\",\"name\":"
            );
            quote(out, name);
            out.put_slice(b",\"arguments\":");
            quote(out, if status.is_some() { arguments } else { "" });
            out.put_slice(b"}");
        }
        Part::Words(_) | Part::Literal(_) => {
            let _ = write!(
                out,
                "\",\"type\":\"message\",\"status\":\"{shown}\",\"role\":\"assistant\",\"content\":["
            );
            if status.is_some() {
                content(part, out);
            }
            out.put_slice(b"]}");
        }
    }
}

fn content(part: &Part, out: &mut BytesMut) {
    out.put_slice(b"{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"");
    part.say(out);
    out.put_slice(b"\"}");
}

/// The streamed form.
#[derive(Default)]
pub struct ResponsesVoice {
    /// Events so far.
    sequence: u64,
}

impl ResponsesVoice {
    /// `event:` line and the members that every event has; the object stays open.
    fn event(&mut self, kind: &str, out: &mut BytesMut) {
        let _ = write!(
            out,
            "event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{}",
            self.sequence
        );
        self.sequence += 1;
    }

    fn whole(&mut self, kind: &str, plan: &Plan, progress: Progress, out: &mut BytesMut) {
        self.event(kind, out);
        out.put_slice(b",\"response\":");
        plain(plan, progress, out);
        out.put_slice(b"}\n\n");
    }

    fn about_item(&mut self, kind: &str, plan: &Plan, at: At, part: &Part, out: &mut BytesMut) {
        self.event(kind, out);
        out.put_slice(b",\"item_id\":\"");
        item_id(plan, at.part, part, out);
        let _ = write!(out, "\",\"output_index\":{}", at.part);
    }
}

impl Voice for ResponsesVoice {
    fn open(&mut self, plan: &Plan, out: &mut BytesMut) {
        self.whole("response.created", plan, Progress::Running, out);
        self.whole("response.in_progress", plan, Progress::Running, out);
    }

    fn open_part(&mut self, plan: &Plan, at: At, part: &Part, out: &mut BytesMut) {
        self.event("response.output_item.added", out);
        let _ = write!(out, ",\"output_index\":{},\"item\":", at.part);
        item(plan, at.part, part, None, out);
        out.put_slice(b"}\n\n");
        if matches!(part, Part::Words(_) | Part::Literal(_)) {
            self.about_item("response.content_part.added", plan, at, part, out);
            out.put_slice(
                b",\"content_index\":0,\"part\":{\"type\":\"output_text\",\"annotations\":[],\
                  \"logprobs\":[],\"text\":\"\"}}\n\n",
            );
        }
    }

    fn more(&mut self, plan: &Plan, at: At, part: &Part, text: &[u8], out: &mut BytesMut) {
        match part {
            Part::Words(_) | Part::Literal(_) => {
                self.about_item("response.output_text.delta", plan, at, part, out);
                out.put_slice(b",\"content_index\":0,\"logprobs\":[],\"delta\":\"");
            }
            Part::Tool { .. } => {
                self.about_item(
                    "response.function_call_arguments.delta",
                    plan,
                    at,
                    part,
                    out,
                );
                out.put_slice(b",\"delta\":\"");
            }
            Part::Thinking(_) | Part::Unseen => return,
        }
        out.put_slice(text);
        out.put_slice(b"\"}\n\n");
    }

    fn close_part(&mut self, plan: &Plan, at: At, part: &Part, out: &mut BytesMut) {
        match part {
            Part::Words(_) | Part::Literal(_) => {
                self.about_item("response.output_text.done", plan, at, part, out);
                out.put_slice(b",\"content_index\":0,\"logprobs\":[],\"text\":\"");
                part.say(out);
                out.put_slice(b"\"}\n\n");
                self.about_item("response.content_part.done", plan, at, part, out);
                out.put_slice(b",\"content_index\":0,\"part\":");
                content(part, out);
                out.put_slice(b"}\n\n");
            }
            Part::Tool { name, .. } => {
                self.about_item("response.function_call_arguments.done", plan, at, part, out);
                out.put_slice(b",\"name\":");
                quote(out, name);
                out.put_slice(b",\"arguments\":\"");
                part.say(out);
                out.put_slice(b"\"}\n\n");
            }
            Part::Thinking(_) | Part::Unseen => {}
        }
        self.event("response.output_item.done", out);
        let _ = write!(out, ",\"output_index\":{},\"item\":", at.part);
        item(plan, at.part, part, Some(status(plan)), out);
        out.put_slice(b"}\n\n");
    }

    fn usage(&mut self, plan: &Plan, out: &mut BytesMut) {
        let kind = match status(plan) {
            "incomplete" => "response.incomplete",
            _ => "response.completed",
        };
        self.whole(kind, plan, Progress::Done, out);
    }

    fn fail(&mut self, plan: &Plan, out: &mut BytesMut) {
        self.whole("response.failed", plan, Progress::Failed, out);
    }
}
