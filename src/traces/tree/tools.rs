//! Tools at work in a task: from the answer that asks for them to the call that brings their result.

use super::task::OpenTask;
use super::{Entering, Leaving, MAX_TOOLS};
use crate::traces::content::ToolContent;
use crate::traces::half;
use crate::traces::item::{Item, Tags, ToolSpan, UnixNs};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(super) struct Tool {
    span: u64,
    parent: u64,
    id: Arc<str>,
    name: Arc<str>,
    agent: Option<Arc<str>>,
    role: Option<Arc<str>>,
    caller: Option<Arc<str>>,
    started: UnixNs,
    content: Option<Box<ToolContent>>,
}

impl OpenTask {
    pub(super) fn begin_tools(&mut self, parent: u64, leaving: &Leaving<'_>) {
        let whose = leaving.whose;
        for (id, name) in leaving.tools {
            if id.is_empty() || self.tools.len() >= MAX_TOOLS {
                continue;
            }
            let seed = half(self.belongs.trace) ^ parent;
            self.tools.push(Tool {
                span: xxh3_64_with_seed(id.as_bytes(), seed).max(1),
                parent,
                id: id.as_str().into(),
                name: name.as_str().into(),
                agent: whose.agent.as_ref().map(|agent| agent.value.shared()),
                role: whose.role.as_ref().map(|role| role.value.shared()),
                caller: whose.parent.as_ref().map(|caller| caller.value.shared()),
                started: leaving.at,
                content: leaving.content.map(|content| content.tool(id)),
            });
        }
    }

    /// Ends the tools whose results the call brings.
    pub(super) fn end_tools(&mut self, entering: &Entering<'_>, over: &mut Vec<Item>) {
        let answered = (entering.answered)();
        for id in answered {
            if let Some(at) = self.tools.iter().position(|tool| *tool.id == *id) {
                let mut tool = self.tools.swap_remove(at);
                let asked = entering.content.map(|content| &content.asked);
                if let (Some(content), Some(asked)) = (&mut tool.content, asked) {
                    match asked.result_of(&id) {
                        Some(result) => content.answer(result),
                        None => content.is_cut = true,
                    }
                }
                over.push(self.tool_span(tool, Some(entering.at)));
            }
        }
    }

    pub(super) fn tool_span(&self, tool: Tool, ended: Option<UnixNs>) -> Item {
        Item::Tool(Box::new(ToolSpan {
            belongs: self.belongs,
            span: tool.span,
            parent: tool.parent,
            tags: Tags {
                agent: tool.agent,
                role: tool.role,
                parent: tool.caller,
                ..self.tags.clone()
            },
            name: tool.name,
            id: tool.id,
            started: tool.started,
            ended: ended.unwrap_or(tool.started),
            answered: ended.is_some(),
            content: tool.content,
        }))
    }
}
