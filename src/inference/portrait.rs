//! What tells one agent from another: its system text and its tools. A digest that is the same in every
//! process, the tools' names, and the text itself only while somebody looks at it.

use crate::dialect::{Call, Dialect, said};
use crate::json::{Cursor, JsonError};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::fmt;

/// Most names of tools that are kept of one agent.
const MOST_TOOLS: usize = 64;
/// Longest name of a tool that is kept, in bytes.
const MOST_NAME_BYTES: usize = 64;
/// What a client of Anthropic's puts in front of the system text anew for each session.
const VOLATILE_BLOCK: &str = "x-anthropic-billing-header:";
/// Hexadecimal digits of an agent's id that is made of its digest.
const ID_DIGITS: usize = 12;

/// Which agent a call is likely to be of: a digest of its system text and of its tools' names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u128);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Fingerprint {
    /// An agent's id for it.
    #[must_use]
    pub fn id(self) -> String {
        let digits = self.to_string();
        format!("agent-{}", &digits[..ID_DIGITS])
    }
}

/// An agent as one of its calls shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Portrait<'a> {
    /// The system text; several messages or blocks are joined by line ends.
    pub system: Cow<'a, str>,
    /// The names of its tools, sorted.
    pub tools: Vec<String>,
}

impl Portrait<'_> {
    /// Neither system text nor tools: nothing tells this agent from another.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.system.trim().is_empty() && self.tools.is_empty()
    }

    /// The digest.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut digest = Sha256::new();
        digest.update(self.system.trim().as_bytes());
        for tool in &self.tools {
            digest.update([0x1e]);
            digest.update(tool.as_bytes());
        }
        let digest: [u8; 32] = digest.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Fingerprint(u128::from_be_bytes(half))
    }
}

/// Reads the portrait out of a call.
#[must_use]
pub fn portrait(call: &Call) -> Portrait<'_> {
    let mut texts: Vec<Cow<'_, str>> = Vec::new();
    let mut tools = Vec::new();
    // What was walked before cannot be malformed; if it were, it would say nothing.
    let _ = read(call, &mut texts, &mut tools);
    let heads = call.chain.heads;
    texts.extend(said::said(call, 0..heads).into_iter().map(|said| said.text));
    tools.sort_unstable();
    tools.dedup();
    tools.truncate(MOST_TOOLS);
    let system = match texts.len() {
        1 => texts.remove(0),
        _ => Cow::Owned(texts.join("\n")),
    };
    Portrait { system, tools }
}

fn read<'a>(
    call: &'a Call,
    texts: &mut Vec<Cow<'a, str>>,
    tools: &mut Vec<String>,
) -> Result<(), JsonError> {
    let system = match call.dialect {
        Dialect::AnthropicMessages => "system",
        Dialect::OpenaiResponses => "instructions",
        _ => "",
    };
    let body: &'a [u8] = &call.body;
    let mut cursor = Cursor::new(body)?;
    cursor.object(|cursor, key| {
        match &*key.text(body) {
            name if !system.is_empty() && name == system => blocks(cursor, texts)?,
            "tools" | "functions" if cursor.peek() == Some(b'[') => {
                cursor.array(|cursor, _| tool(cursor, tools))?;
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok::<_, JsonError>(())
    })?;
    Ok(())
}

/// A text, or a list of blocks with a `text`.
fn blocks<'a>(cursor: &mut Cursor<'a>, texts: &mut Vec<Cow<'a, str>>) -> Result<(), JsonError> {
    let body = cursor.body();
    if cursor.peek() != Some(b'[') {
        texts.extend(cursor.skip()?.text(body));
        return Ok(());
    }
    cursor.array(|cursor, _| {
        if cursor.peek() != Some(b'{') {
            texts.extend(cursor.skip()?.text(body));
            return Ok(());
        }
        cursor.object(|cursor, key| {
            let value = cursor.skip()?;
            if &*key.text(body) == "text" {
                let text = value.text(body);
                texts.extend(text.filter(|text| !text.starts_with(VOLATILE_BLOCK)));
            }
            Ok::<_, JsonError>(())
        })?;
        Ok(())
    })?;
    Ok(())
}

/// A tool's name, which stands in it or in its `function`; of a hosted one its `type`.
fn tool(cursor: &mut Cursor<'_>, tools: &mut Vec<String>) -> Result<(), JsonError> {
    let body = cursor.body();
    if cursor.peek() != Some(b'{') {
        cursor.skip()?;
        return Ok(());
    }
    let (mut name, mut kind) = (None, None);
    cursor.object(|cursor, key| {
        match &*key.text(body) {
            "name" => name = cursor.skip()?.text(body),
            "type" => kind = cursor.skip()?.text(body),
            "function" if cursor.peek() == Some(b'{') => {
                cursor.object(|cursor, key| {
                    let value = cursor.skip()?;
                    if &*key.text(body) == "name" {
                        name = value.text(body);
                    }
                    Ok::<_, JsonError>(())
                })?;
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok::<_, JsonError>(())
    })?;
    if let Some(name) = name.or(kind) {
        tools.push(name.chars().take(MOST_NAME_BYTES).collect());
    }
    Ok(())
}
