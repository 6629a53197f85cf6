//! Counts a prompt in one pass over its JSON, without copying it.
//!
//! The rule: text is `ceil(bytes / 4)` tokens of what it says once unescaped (one token per byte for
//! `dense` models); four tokens for each message and three for the answer's start in dialects that have
//! messages; a token id is one token; an image is 765, a document 1,500 and a sound 500, whatever their
//! size. Ids, roles, types and cache marks are not counted.
//!
//! On the way it keeps a running digest and the places where messages and cached parts end, from which
//! the simulated prompt cache works.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const TOKENS_PER_MESSAGE: u64 = 4;
const TOKENS_PER_TOOL: u64 = 30;
const TOKENS_PER_TOOL_DENSE: u64 = 8;
const TOKENS_PER_IMAGE: u64 = 765;
const TOKENS_PER_FILE: u64 = 1_500;
const TOKENS_PER_SOUND: u64 = 500;
/// Places kept of one prompt; what lies beyond is never read from the cache.
const MOST_MARKS: usize = 4_096;
/// A message that contains this asks for a tool call.
const ASKS_FOR_TOOL: &[u8] = b"use a tool";

/// What stands in a prompt, or in its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub text_bytes: u64,
    pub token_ids: u64,
    pub messages: u64,
    pub tools: u64,
    pub images: u64,
    pub files: u64,
    pub sounds: u64,
    pub digest: u64,
}

impl Tally {
    /// Tokens by the sim's own rule.
    pub const fn tokens(&self, dense: bool) -> u64 {
        let (text, tool) = if dense {
            (self.text_bytes, TOKENS_PER_TOOL_DENSE)
        } else {
            (self.text_bytes.div_ceil(4), TOKENS_PER_TOOL)
        };
        text + self.token_ids
            + self.messages * TOKENS_PER_MESSAGE
            + self.tools * tool
            + self.images * TOKENS_PER_IMAGE
            + self.files * TOKENS_PER_FILE
            + self.sounds * TOKENS_PER_SOUND
    }

    /// This, then that.
    pub fn then(&self, next: &Self) -> Self {
        Self {
            text_bytes: self.text_bytes + next.text_bytes,
            token_ids: self.token_ids + next.token_ids,
            messages: self.messages + next.messages,
            tools: self.tools + next.tools,
            images: self.images + next.images,
            files: self.files + next.files,
            sounds: self.sounds + next.sounds,
            digest: xxh3_64_with_seed(&next.digest.to_le_bytes(), self.digest),
        }
    }

    /// Counts a text.
    pub fn text(&mut self, text: &str) {
        self.text_bytes += text.len() as u64;
        self.digest = xxh3_64_with_seed(text.as_bytes(), self.digest);
    }
}

/// How long a cache keeps what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    FiveMinutes,
    Hour,
}

/// A place in the prompt where the cache may end.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Everything before it.
    pub before: Tally,
    /// The caller asked for a cache to be written up to here.
    pub write: Option<Term>,
}

/// One member of the body that enters the prompt: `messages`, `input`, `system` ….
#[derive(Debug, Default)]
pub struct Section {
    pub total: Tally,
    pub marks: Vec<Mark>,
    /// Top-level elements; one for a bare string.
    pub elements: u64,
    /// The last element asks for a tool call and is no tool's result.
    pub asks_for_tool: bool,
    /// The elements are token ids, so together they are one prompt.
    pub bare_ids: bool,
}

impl Section {
    fn mark(&mut self, write: Option<Term>) {
        if self.marks.len() < MOST_MARKS {
            self.marks.push(Mark {
                before: self.total,
                write,
            });
        }
    }

    /// One element of the section begins.
    fn open(&mut self) {
        self.elements += 1;
        self.asks_for_tool = false;
    }
}

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(SectionVisitor)
    }
}

struct SectionVisitor;

impl<'de> Visitor<'de> for SectionVisitor {
    type Value = Section;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Section, E> {
        let mut section = Section::default();
        section.open();
        section.total.messages = 1;
        Walk::part(&mut section).visit_str::<E>(text)?;
        section.mark(None);
        Ok(section)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Section, A::Error> {
        let mut section = Section::default();
        while let Some(kind) = elements.next_element_seed(Walk::element(&mut section))? {
            section.bare_ids |= kind == Kind::Number;
            // Ids are many and small: marking each would cost more memory than the body itself.
            if kind == Kind::Map {
                section.mark(None);
            }
        }
        Ok(section)
    }
}

/// What a value was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Map,
    Number,
    Other,
}

/// Walks one value and counts it.
struct Walk<'s> {
    section: &'s mut Section,
    /// A top-level element of the section.
    element: bool,
    /// Inside a tool's arguments, where every key and value is text.
    plain: bool,
}

impl<'s> Walk<'s> {
    const fn part(section: &'s mut Section) -> Self {
        Self {
            section,
            element: false,
            plain: false,
        }
    }

    const fn element(section: &'s mut Section) -> Self {
        Self {
            section,
            element: true,
            plain: false,
        }
    }

    const fn plain(section: &'s mut Section) -> Self {
        Self {
            section,
            element: false,
            plain: true,
        }
    }

    /// What follows inside this value.
    const fn inner(&mut self) -> Walk<'_> {
        Walk {
            section: self.section,
            element: false,
            plain: self.plain,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Kind;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Kind, D::Error> {
        if self.element {
            self.section.open();
        }
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Other)
    }

    fn visit_u64<E>(self, id: u64) -> Result<Kind, E> {
        self.section.total.token_ids += 1;
        let digest = &mut self.section.total.digest;
        *digest = xxh3_64_with_seed(&id.to_le_bytes(), *digest);
        Ok(Kind::Number)
    }

    fn visit_i64<E: Error>(self, id: i64) -> Result<Kind, E> {
        self.visit_u64(id.unsigned_abs())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Kind, E> {
        self.visit_u64(number.to_bits())
    }

    fn visit_str<E>(self, text: &str) -> Result<Kind, E> {
        if memchr::memmem::find(text.as_bytes(), ASKS_FOR_TOOL).is_some() {
            self.section.asks_for_tool = true;
        }
        self.section.total.text(text);
        Ok(Kind::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Kind, A::Error> {
        while elements.next_element_seed(self.inner())?.is_some() {}
        Ok(Kind::Other)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Kind, A::Error> {
        if self.plain {
            let section = self.section;
            while members.next_key_seed(Walk::plain(section))?.is_some() {
                members.next_value_seed(Walk::plain(section))?;
            }
            return Ok(Kind::Map);
        }
        if self.element {
            self.section.total.messages += 1;
        }
        let mut write = None;
        let mut is_result = false;
        while let Some(key) = members.next_key::<Member>()? {
            match key {
                Member::Kind => match members.next_value::<PartKind>()? {
                    PartKind::Image => self.section.total.images += 1,
                    PartKind::File => self.section.total.files += 1,
                    PartKind::Sound => self.section.total.sounds += 1,
                    PartKind::ToolResult => is_result = true,
                    PartKind::Text => {}
                },
                Member::Role => {
                    is_result |= members.next_value::<PartKind>()? == PartKind::ToolResult
                }
                Member::Media(kind) => {
                    members.next_value::<IgnoredAny>()?;
                    match kind {
                        PartKind::Image => self.section.total.images += 1,
                        _ => self.section.total.files += 1,
                    }
                }
                Member::Result => {
                    members.next_value_seed(self.inner())?;
                    is_result = true;
                }
                Member::CacheControl => write = members.next_value::<Option<CacheControl>>()?,
                Member::Skipped => {
                    members.next_value::<IgnoredAny>()?;
                }
                Member::Arguments => {
                    members.next_value_seed(Walk::plain(self.section))?;
                }
                Member::Counted => {
                    members.next_value_seed(self.inner())?;
                }
            }
        }
        if is_result {
            self.section.asks_for_tool = false;
        }
        if let Some(CacheControl(term)) = write {
            self.section.mark(Some(term));
        }
        Ok(Kind::Map)
    }
}

/// What a member's name says about its value.
enum Member {
    Kind,
    Role,
    CacheControl,
    /// A picture or a document that only its member's name tells (Bedrock).
    Media(PartKind),
    /// A tool's result that only its member's name tells (Bedrock).
    Result,
    /// Ids, signatures and media payloads.
    Skipped,
    /// A tool's input: text, keys and all.
    Arguments,
    Counted,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Member;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }
            fn visit_str<E>(self, name: &str) -> Result<Member, E> {
                Ok(match name {
                    "type" => Member::Kind,
                    "role" => Member::Role,
                    "cache_control" | "cachePoint" => Member::CacheControl,
                    "image" => Member::Media(PartKind::Image),
                    "document" => Member::Media(PartKind::File),
                    "toolResult" => Member::Result,
                    "toolUseId" | "redactedContent" | "id" | "tool_call_id" | "call_id"
                    | "tool_use_id" | "signature" | "status" | "encrypted_content"
                    | "image_url" | "source" | "input_audio" | "file" | "file_data" | "file_id"
                    | "file_url" | "detail" | "item_reference" => Member::Skipped,
                    "input" => Member::Arguments,
                    _ => Member::Counted,
                })
            }
        }
        from.deserialize_identifier(Name)
    }
}

/// What a part's `type`, or a message's `role`, says it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PartKind {
    Text,
    Image,
    File,
    Sound,
    ToolResult,
}

impl<'de> Deserialize<'de> for PartKind {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = PartKind;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_unit<E>(self) -> Result<PartKind, E> {
                Ok(PartKind::Text)
            }
            fn visit_str<E>(self, name: &str) -> Result<PartKind, E> {
                Ok(match name {
                    "image" | "image_url" | "input_image" => PartKind::Image,
                    "document" | "file" | "input_file" => PartKind::File,
                    "input_audio" => PartKind::Sound,
                    "tool" | "function" | "tool_result" | "function_call_output" => {
                        PartKind::ToolResult
                    }
                    _ => PartKind::Text,
                })
            }
        }
        from.deserialize_any(Name)
    }
}

/// Anthropic's `cache_control`.
#[derive(Clone, Copy, Debug)]
pub struct CacheControl(pub Term);

impl<'de> Deserialize<'de> for CacheControl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            ttl: Option<super::request::Text<'a>>,
        }
        let wire = Wire::deserialize(from)?;
        let hour = wire.ttl.is_some_and(|ttl| &*ttl.0 == "1h");
        Ok(Self(if hour { Term::Hour } else { Term::FiveMinutes }))
    }
}

/// Counts tool declarations, response formats and the like by the bytes of their JSON.
pub fn of_json(json: &str, tools: u64) -> Tally {
    let mut tally = Tally {
        tools,
        ..Tally::default()
    };
    tally.text(json);
    tally
}
