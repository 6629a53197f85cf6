//! `bursar replay --loops FILE`: recorded runs through the loop detection that serves calls, one
//! JSON line a run.
//!
//! A run is `{"id", "agent_calls": [{"agent", "delta": [{"role", "content", "tool_calls"}], …}]}`;
//! an answer is `{"id", "fired", "at", "rule"}`, `at` being the index of the call at which a rule
//! fires first. `delta` is the answer of that call and what came of it.

use crate::loops::{
    Circumstance, Firing, Handoff, Message, Observed, Role, Rules, ToolCall, Watch,
};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read, Write};

/// A line may be as long as this, in bytes.
const MOST_LINE_BYTES: u64 = 64 << 20;

/// One recorded run; what else stands in the line is about the recording.
#[derive(Debug, Deserialize)]
struct Run {
    id: String,
    agent_calls: Vec<RecordedCall>,
}

#[derive(Debug, Deserialize)]
struct RecordedCall {
    agent: String,
    /// The action's tool and arguments, where they were recorded beside the message; they are what
    /// was done where the two differ.
    tool: Option<String>,
    args: Option<String>,
    delta: Vec<RecordedMessage>,
    /// The work handed to another agent, and to which.
    to: Option<String>,
    instruction: Option<String>,
    http_status: Option<u16>,
    x_stainless_retry_count: Option<u32>,
    /// Calls of one group were started at once with the same body.
    parallel_group: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RecordedMessage {
    role: String,
    content: Option<String>,
    name: Option<String>,
    tool_calls: Option<Vec<RecordedTool>>,
}

#[derive(Debug, Deserialize)]
struct RecordedTool {
    name: String,
    arguments: String,
}

/// What a run gave.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line<'a> {
    id: &'a str,
    fired: bool,
    at: Option<u64>,
    rule: Option<&'static str>,
}

/// Replays every run in `runs` and writes a line for each.
///
/// # Errors
/// If a line cannot be read or is no run, or `out` cannot be written.
pub fn run(mut runs: impl BufRead, rules: &Rules, mut out: impl Write) -> io::Result<()> {
    let mut text = String::new();
    loop {
        text.clear();
        if (&mut runs).take(MOST_LINE_BYTES).read_line(&mut text)? == 0 {
            return out.flush();
        }
        if text.trim().is_empty() {
            continue;
        }
        let run: Run = serde_json::from_str(&text)?;
        let firing = first_firing(&run, rules);
        serde_json::to_writer(
            &mut out,
            &Line {
                id: &run.id,
                fired: firing.is_some(),
                at: firing.as_ref().map(|(at, _)| *at),
                rule: firing.as_ref().map(|(_, firing)| firing.rule.name()),
            },
        )?;
        out.write_all(b"\n")?;
    }
}

fn first_firing(run: &Run, rules: &Rules) -> Option<(u64, Firing)> {
    let mut watch = Watch::default();
    let mut traffic = Traffic::default();
    (0_u64..).zip(&run.agent_calls).find_map(|(at, call)| {
        let circumstance = traffic.circumstance(call);
        let firing = call.observe(at, circumstance, &mut watch, rules)?;
        Some((at, firing))
    })
}

/// What the calls before say about the next.
#[derive(Debug, Default)]
struct Traffic<'a> {
    failed: bool,
    groups: Vec<&'a str>,
}

impl<'a> Traffic<'a> {
    /// A call whose answer failed did nothing; of calls started at once with one body, one counts.
    fn circumstance(&mut self, call: &'a RecordedCall) -> Circumstance {
        let failed = call.http_status.is_some_and(|status| status >= 400);
        let after_failed = std::mem::replace(&mut self.failed, failed);
        if failed {
            return Circumstance::Failed;
        }
        if let Some(group) = call.parallel_group.as_deref() {
            if self.groups.contains(&group) {
                return Circumstance::Twin;
            }
            self.groups.push(group);
        }
        let is_retry = call.x_stainless_retry_count.unwrap_or(0) > 0;
        match is_retry && !after_failed {
            true => Circumstance::Retry,
            false => Circumstance::Fresh,
        }
    }
}

impl RecordedCall {
    fn observe(
        &self,
        at: u64,
        circumstance: Circumstance,
        watch: &mut Watch,
        rules: &Rules,
    ) -> Option<Firing> {
        let tools: Vec<Vec<ToolCall<'_>>> = self.delta.iter().map(|m| self.tools(m)).collect();
        let messages = self
            .delta
            .iter()
            .zip(&tools)
            .map(|(message, tools)| Message {
                role: message.role(),
                text: message.content.as_deref().unwrap_or_default(),
                tools,
                name: message.name.as_deref(),
                media: 0,
            });
        let messages: Vec<Message<'_>> = messages.collect();
        let handoff = self.to.as_deref().map(|to| Handoff {
            to,
            text: self.instruction.as_deref().unwrap_or_default(),
        });
        watch.observe(
            rules,
            &Observed {
                call: at,
                agent: &self.agent,
                line: 0,
                messages: &messages,
                handoff,
                circumstance,
                chain: None,
                context: None,
            },
        )
    }

    fn tools<'a>(&'a self, message: &'a RecordedMessage) -> Vec<ToolCall<'a>> {
        let tools = message.tool_calls.as_deref().unwrap_or_default();
        match (tools, &self.tool, &self.args) {
            ([_], Some(name), Some(arguments)) => vec![ToolCall { name, arguments }],
            (tools, ..) => {
                let tool = |RecordedTool { name, arguments }: &'a RecordedTool| ToolCall {
                    name,
                    arguments,
                };
                tools.iter().map(tool).collect()
            }
        }
    }
}

impl RecordedMessage {
    fn role(&self) -> Role {
        match self.role.as_str() {
            "assistant" => Role::Assistant,
            "tool" | "function" => Role::Tool,
            "user" => Role::User,
            _ => Role::Other,
        }
    }
}

#[cfg(test)]
mod tests;
