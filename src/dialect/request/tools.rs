//! Tool declarations and answer schemas: how much they say, what the provider adds to them, and
//! which of them the provider runs itself.

use super::{Cursor, DecodeError, Dialect, Field, Range, Reader, TOOLS_MAX};
use crate::conversation::Digester;
use crate::dialect::TaskBudget;
use std::borrow::Cow;

/// Who runs a declared tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    /// The client, by a description of its own.
    Client,
    /// The client, by a description that the provider has.
    Builtin,
    /// The provider.
    Hosted,
    /// It holds further tools.
    Namespace,
}

/// What the walk of one declaration has gathered.
#[derive(Default)]
struct Tool<'a> {
    kind: Option<Cow<'a, str>>,
    max_uses: Option<u64>,
    is_local: bool,
}

const NAMES: [&str; 13] = [
    "type",
    "function",
    "toolSpec",
    "input_schema",
    "parameters",
    "max_uses",
    "environment",
    "execution",
    "tools",
    "custom",
    "format",
    "output_schema",
    "input_examples",
];

/// What names another schema in a schema.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// Longest name kept of a hosted tool's type, in bytes.
const KIND_BYTES_MAX: usize = 64;

impl<'a> Reader<'a> {
    /// A list of declarations. `declared`: the request's own, which say which agent this is (others
    /// come in by way of messages).
    pub(super) fn tools(
        &mut self,
        cursor: &mut Cursor<'a>,
        name: &str,
        declared: bool,
    ) -> Result<(), DecodeError> {
        if cursor.peek() != Some(b'[') {
            if cursor.skip()?.is_null() {
                return Ok(());
            }
            return Err(DecodeError::field(name, "must be an array"));
        }
        let before = (
            self.call.prompt.tools,
            self.call.prompt.builtin_tools,
            self.call.prompt.schema_refs,
        );
        cursor.array(|cursor, _| {
            if cursor.peek() != Some(b'{') {
                cursor.skip()?;
                return Err(DecodeError::field(name, "must hold objects"));
            }
            let at = self.tool(cursor)?;
            if declared {
                self.call.places.has_tools |= name == "tools";
                let mut digester = Digester::default();
                digester.add_without(self.body, &at, &self.cuts);
                let digest = digester.digest();
                self.tools_digest = self.tools_digest.wrapping_add(digest);
                self.frame.add(&digest.to_le_bytes());
            }
            Ok(())
        })?;
        if !declared {
            let prompt = &self.call.prompt;
            self.media.tools += prompt.tools - before.0;
            self.media.builtin_tools += prompt.builtin_tools - before.1;
            self.media.schema_refs += prompt.schema_refs - before.2;
        }
        Ok(())
    }

    fn tool(&mut self, cursor: &mut Cursor<'a>) -> Result<Range<usize>, DecodeError> {
        if self.call.prompt.tools >= TOOLS_MAX {
            let message = format!("must have at most {TOOLS_MAX} elements");
            return Err(DecodeError::field("tools", message));
        }
        let mut tool = Tool::default();
        let at = self.object(cursor, &NAMES, |reader, cursor, name| {
            match name {
                "type" => tool.kind = reader.string(cursor, "tools.type")?,
                "max_uses" => {
                    (_, tool.max_uses) =
                        reader.whole(cursor, "tools.max_uses", super::TOKENS_MAX)?;
                }
                "tools" if cursor.peek() == Some(b'[') => {
                    cursor.array(|cursor, _| reader.nested_tool(cursor))?;
                }
                "environment" => {
                    let value = cursor.skip()?;
                    let text = &reader.body[value.at];
                    tool.is_local = memchr::memmem::find(text, b"\"local\"").is_some();
                }
                "execution" => {
                    let value = cursor.skip()?;
                    tool.is_local = value.text(reader.body).as_deref() == Some("client");
                }
                _ => reader.schema(cursor)?,
            }
            Ok(())
        })?;
        let bytes = u64::try_from(at.len()).unwrap_or(u64::MAX);
        let longest = &mut self.call.prompt.longest_tool_bytes;
        *longest = (*longest).max(bytes);
        self.declared(&tool);
        Ok(at)
    }

    /// A tool of a namespace; its bytes are in the namespace's digest.
    fn nested_tool(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        if cursor.peek() == Some(b'{') {
            self.tool(cursor)?;
        } else {
            cursor.skip()?;
        }
        Ok(())
    }

    fn declared(&mut self, tool: &Tool<'_>) {
        let kind = tool.kind.as_deref().unwrap_or("function");
        let runs = match self.call.dialect {
            Dialect::AnthropicMessages => anthropic(kind),
            _ => openai(kind, tool.is_local),
        };
        let prompt = &mut self.call.prompt;
        prompt.tools += 1;
        match runs {
            Runs::Client | Runs::Namespace => return,
            Runs::Builtin => {
                prompt.builtin_tools += 1;
                return;
            }
            Runs::Hosted => {}
        }
        prompt.builtin_tools += 1;
        let name = undated(kind);
        match name {
            // Their tools come from a server that is not seen from here.
            "mcp" | "mcp_toolset" => {
                prompt.opaque = true;
                prompt.steady = false;
            }
            "image_generation" => self.call.selectors.image_output = true,
            "advisor" => self.surcharge(name),
            _ => {}
        }
        let name = name.chars().take(KIND_BYTES_MAX).collect();
        let prompt = &mut self.call.prompt;
        prompt.hosted_tools.push((name, tool.max_uses));
    }

    /// Steps over a schema, counting references in it: a provider may put what they name in their
    /// place, again and again.
    pub(super) fn schema(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        match cursor.peek() {
            Some(b'{') => {
                cursor.object(|cursor, key| {
                    let is_reference = key.may_begin_with(self.body, b'$')
                        && REFERENCES.contains(&&*key.text(self.body));
                    self.call.prompt.schema_refs += u64::from(is_reference);
                    self.schema(cursor)
                })?;
            }
            Some(b'[') => {
                cursor.array(|cursor, _| self.schema(cursor))?;
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok(())
    }

    /// A field that asks for an answer of a given form, or one that may.
    pub(super) fn structured(
        &mut self,
        cursor: &mut Cursor<'a>,
        field: Field,
    ) -> Result<(), DecodeError> {
        if cursor.peek() != Some(b'{') {
            let value = cursor.skip()?;
            self.call.prompt.structured |= !self.is_nothing(&value) && field == Field::Structured;
            return Ok(());
        }
        if field == Field::Structured {
            return self.format(cursor);
        }
        self.object(
            cursor,
            &["format", "task_budget"],
            |reader, cursor, name| match (name, cursor.peek()) {
                ("format", Some(b'{')) => reader.format(cursor),
                ("task_budget", Some(b'{')) if field == Field::OutputConfig => {
                    reader.task_budget(cursor)
                }
                _ => cursor.skip().map(drop).map_err(Into::into),
            },
        )?;
        Ok(())
    }

    /// Anthropic's `{"type": "tokens", "total": …, "remaining": …}`.
    fn task_budget(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        let (mut total, mut left, mut remaining) = (None, None, None);
        let at = self.object(cursor, &["total", "remaining"], |reader, cursor, name| {
            let value = cursor.skip()?;
            // What is no such number is for the provider to refuse.
            let number = value.u64(reader.body);
            if name == "total" {
                total = number;
            } else {
                (left, remaining) = (number, Some(value.at));
            }
            Ok(())
        })?;
        self.call.places.task_budget = left.or(total).map(|tokens| {
            Box::new(TaskBudget {
                at,
                remaining,
                tokens,
            })
        });
        Ok(())
    }

    /// `{"type": "text"}` asks for nothing; every other form does.
    fn format(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        let mut plain = false;
        cursor.object(|cursor, key| {
            if *key.name(self.body) == *b"type" {
                let value = cursor.skip()?;
                plain = value.text(self.body).as_deref() == Some("text");
                return Ok(());
            }
            self.schema(cursor)
        })?;
        self.call.prompt.structured |= !plain;
        Ok(())
    }
}

fn openai(kind: &str, is_local: bool) -> Runs {
    match kind {
        "function" | "custom" => Runs::Client,
        "namespace" => Runs::Namespace,
        "computer" | "computer_use" | "computer_use_preview" | "local_shell" | "apply_patch" => {
            Runs::Builtin
        }
        "shell" | "tool_search" if is_local => Runs::Builtin,
        _ => Runs::Hosted,
    }
}

fn anthropic(kind: &str) -> Runs {
    const BUILTIN: [&str; 6] = [
        "bash",
        "text_editor",
        "computer",
        "memory",
        "browser_toolset",
        "computer_toolset",
    ];
    match undated(kind) {
        "function" | "custom" => Runs::Client,
        name if BUILTIN.contains(&name) => Runs::Builtin,
        _ => Runs::Hosted,
    }
}

/// A type without the date behind it: `web_search_20250305` and `web_search_preview_2025_03_11`.
fn undated(kind: &str) -> &str {
    let bare = kind.trim_end_matches(|c: char| c == '_' || c.is_ascii_digit());
    // `bm25` ends in a digit without being dated.
    match kind[bare.len()..].find('_') {
        Some(at) => &kind[..bare.len() + at],
        None => kind,
    }
}
