//! Responses callers on servers that speak chat alone: the stream.
//!
//! Each piece goes on as it comes. The dialect's closing events repeat what they close, and the last
//! one the whole answer; so much is kept, up to a bound.

use super::super::Unreadable;
use super::super::created;
use super::super::heard::{CallPiece, Calls, Counts, Part, Place, calls, choice, finish, pieces};
use super::super::read::{Members, Raw};
use super::super::stream::Events;
use super::super::write::Writer;
use super::answer::{
    call_item, ending, head, item_status, message_item, own_id, part, reasoning_item, usage_of,
};

/// Most that is kept of an answer for its closing events, bytes.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The item that is open, with what it said so far: the inside of a JSON string.
#[derive(Debug)]
enum Item {
    Reasoning(String),
    Message {
        /// `output_text` or `refusal`.
        kind: &'static str,
        text: String,
    },
    Call {
        id: String,
        name: String,
        arguments: String,
    },
}

/// Speaks response events.
#[derive(Debug)]
pub(in super::super) struct Voice {
    echo: Box<str>,
    started: bool,
    id: String,
    created: u64,
    model: String,
    sequence: u64,
    item: Option<Item>,
    /// Items that are over, as JSON.
    items: Vec<String>,
    kept_bytes: usize,
    calls: Calls,
    finish: Option<String>,
    usage: String,
    over: bool,
}

impl Voice {
    pub(in super::super) fn new(echo: &str) -> Self {
        Self {
            echo: echo.into(),
            started: false,
            id: String::new(),
            created: 0,
            model: "\"\"".to_owned(),
            sequence: 0,
            item: None,
            items: Vec::new(),
            kept_bytes: 0,
            calls: Calls::default(),
            finish: None,
            usage: "null".to_owned(),
            over: false,
        }
    }

    pub(in super::super) fn event(
        &mut self,
        said: &Members<'_>,
        events: &mut Events,
    ) -> Result<(), Unreadable> {
        if !std::mem::replace(&mut self.started, true) {
            self.start(said, events);
        }
        if let Some(counts) = Counts::of(said) {
            self.usage = usage_of(Some(counts));
        }
        let Some(choice) = choice(said)? else {
            return Ok(());
        };
        if let Some(delta) = choice.get("delta").and_then(Raw::members) {
            self.delta(&delta, events)?;
        }
        if let Some(finish) = finish(&choice) {
            self.close(item_status(&finish), events);
            self.finish = Some(finish.into_owned());
        }
        Ok(())
    }

    fn start(&mut self, said: &Members<'_>, events: &mut Events) {
        self.id = own_id("resp", &said.text("id").unwrap_or_default());
        let at = said.get("created").and_then(Raw::whole);
        self.created = at.unwrap_or_else(created);
        if let Some(model) = said.get("model") {
            model.json().clone_into(&mut self.model);
        }
        for name in ["response.created", "response.in_progress"] {
            let response = self.response(|out| {
                out.key("status").string("in_progress");
                out.key("error").json("null");
                out.key("incomplete_details").json("null");
            });
            self.tell(name, events, |event| {
                event.key("response").json(&response);
            });
        }
    }

    fn response(&self, ending: impl FnOnce(&mut Writer)) -> String {
        let mut out = Writer::with_capacity(self.echo.len() + self.kept_bytes + 512);
        out.open('{');
        head(&self.id, self.created, &self.model, &mut out);
        ending(&mut out);
        out.key("output").open('[');
        for item in &self.items {
            out.json(item);
        }
        out.close(']');
        out.json(&self.echo);
        out.key("usage").json(&self.usage);
        out.close('}');
        out.finish()
    }

    fn tell(&mut self, name: &str, events: &mut Events, write: impl FnOnce(&mut Writer)) {
        let mut event = Writer::default();
        event.open('{');
        event.key("type").string(name);
        event.key("sequence_number").number(self.sequence);
        self.sequence += 1;
        write(&mut event);
        event.close('}');
        events.named(name, event.as_str());
    }

    /// An event about the item that is open.
    fn tell_of(&mut self, name: &str, events: &mut Events, write: impl FnOnce(&mut Writer)) {
        let (id, at) = (self.item_id(), self.items.len() as u64);
        self.tell(name, events, |event| {
            event.key("item_id").string(&id);
            event.key("output_index").number(at);
            write(event);
        });
    }

    fn item_id(&self) -> String {
        match &self.item {
            Some(Item::Reasoning(_)) => own_id("rs", &self.id),
            Some(Item::Call { id, .. }) => own_id("fc", id),
            _ => {
                let id = own_id("msg", &self.id);
                match self.items.len() {
                    0 => id,
                    at => format!("{id}{at}"),
                }
            }
        }
    }

    fn delta(&mut self, delta: &Members<'_>, events: &mut Events) -> Result<(), Unreadable> {
        for (part, text) in pieces(delta) {
            let kind = match part {
                Part::Thinking => "reasoning_text",
                Part::Text => "output_text",
                Part::Refusal => "refusal",
            };
            let is_open = match &self.item {
                Some(Item::Reasoning(_)) => part == Part::Thinking,
                Some(Item::Message { kind: open, .. }) => *open == kind,
                Some(Item::Call { .. }) | None => false,
            };
            if !is_open {
                let text = String::new();
                let item = match part {
                    Part::Thinking => Item::Reasoning(text),
                    Part::Text | Part::Refusal => Item::Message { kind, text },
                };
                self.open(item, events);
            }
            self.piece(&format!("response.{kind}.delta"), text, events)?;
        }
        for call in calls(delta)? {
            self.call(&call, events)?;
        }
        Ok(())
    }

    fn call(&mut self, call: &Members<'_>, events: &mut Events) -> Result<(), Unreadable> {
        let piece = CallPiece::of(call);
        match self.calls.place(&piece) {
            Place::Begins => {
                let (id, name) = (piece.id.and_then(Raw::text), piece.name.and_then(Raw::text));
                let (Some(id), Some(name)) = (id, name) else {
                    return Err(Unreadable::Form);
                };
                let item = Item::Call {
                    id: id.into_owned(),
                    name: name.into_owned(),
                    arguments: String::new(),
                };
                self.open(item, events);
            }
            Place::GoesOn if matches!(self.item, Some(Item::Call { .. })) => {}
            Place::GoesOn | Place::Earlier => return Err(Unreadable::Mixed),
        }
        match piece.arguments {
            Some(text) => self.piece("response.function_call_arguments.delta", text, events),
            None => Ok(()),
        }
    }

    fn open(&mut self, item: Item, events: &mut Events) {
        self.close("completed", events);
        self.item = Some(item);
        let (json, at) = (self.item_json("in_progress", true), self.items.len() as u64);
        self.tell("response.output_item.added", events, |event| {
            event.key("output_index").number(at);
            event.key("item").json(&json);
        });
        if let Some(Item::Message { kind, .. }) = self.item {
            self.tell_of("response.content_part.added", events, |event| {
                event.key("content_index").number(0);
                event.key("part").json(&part(kind, ""));
            });
        }
    }

    fn piece(&mut self, name: &str, inside: &str, events: &mut Events) -> Result<(), Unreadable> {
        self.kept_bytes = self.kept_bytes.saturating_add(inside.len());
        if self.kept_bytes > KEPT_BYTES_MAX {
            return Err(Unreadable::TooLong);
        }
        let mut in_part = true;
        match &mut self.item {
            Some(Item::Reasoning(said) | Item::Message { text: said, .. }) => said.push_str(inside),
            Some(Item::Call { arguments, .. }) => {
                in_part = false;
                arguments.push_str(inside);
            }
            None => {}
        }
        let is_text = name == "response.output_text.delta";
        self.tell_of(name, events, |event| {
            if in_part {
                event.key("content_index").number(0);
            }
            event.key("delta").joined(std::iter::once(inside));
            if is_text {
                event.key("logprobs").json("[]");
            }
        });
        Ok(())
    }

    fn item_json(&self, status: &str, empty: bool) -> String {
        let id = self.item_id();
        match &self.item {
            Some(Item::Reasoning(text)) if !empty => reasoning_item(&id, &[text]),
            Some(Item::Reasoning(_)) => reasoning_item(&id, &[]),
            Some(Item::Message { kind, text }) if !empty => {
                message_item(&id, status, &[(kind, text)])
            }
            Some(Item::Message { .. }) | None => message_item(&id, status, &[]),
            Some(Item::Call {
                id,
                name,
                arguments,
                ..
            }) => call_item(id, name, status, arguments),
        }
    }

    /// The open item is over.
    fn close(&mut self, status: &str, events: &mut Events) {
        let Some(item) = &self.item else { return };
        match item {
            Item::Reasoning(text) => {
                let mut json = Writer::default();
                json.joined(std::iter::once(&**text));
                self.tell_of("response.reasoning_text.done", events, |event| {
                    event.key("content_index").number(0);
                    event.key("text").json(json.as_str());
                });
            }
            Item::Message { kind, text } => {
                let (kind, whole) = (*kind, part(kind, text));
                let mut json = Writer::default();
                json.joined(std::iter::once(&**text));
                let member = if kind == "refusal" { "refusal" } else { "text" };
                self.tell_of(&format!("response.{kind}.done"), events, |event| {
                    event.key("content_index").number(0);
                    event.key(member).json(json.as_str());
                    if kind == "output_text" {
                        event.key("logprobs").json("[]");
                    }
                });
                self.tell_of("response.content_part.done", events, |event| {
                    event.key("content_index").number(0);
                    event.key("part").json(&whole);
                });
            }
            Item::Call {
                name, arguments, ..
            } => {
                let mut json = Writer::default();
                json.joined(std::iter::once(&**arguments));
                let name = name.clone();
                self.tell_of("response.function_call_arguments.done", events, |event| {
                    event.key("name").string(&name);
                    event.key("arguments").json(json.as_str());
                });
            }
        }
        let (json, at) = (self.item_json(status, false), self.items.len() as u64);
        self.tell("response.output_item.done", events, |event| {
            event.key("output_index").number(at);
            event.key("item").json(&json);
        });
        self.items.push(json);
        self.item = None;
    }

    /// The server's last word. Some never say why the model stopped.
    pub(in super::super) fn done(&mut self, events: &mut Events) {
        if self.started && !self.over && self.finish.is_none() {
            self.close("completed", events);
            self.finish = Some("stop".to_owned());
        }
        self.end(events);
    }

    /// The end, once it is known why the model stopped.
    pub(in super::super) fn end(&mut self, events: &mut Events) {
        let Some(finish) = self.finish.take() else {
            return;
        };
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let response = self.response(|out| ending(&finish, out));
        let name = match item_status(&finish) {
            "incomplete" => "response.incomplete",
            _ => "response.completed",
        };
        self.tell(name, events, |event| {
            event.key("response").json(&response);
        });
    }

    /// The stream breaks off with an error, given as the whole body of an error answer.
    pub(in super::super) fn fail(&mut self, error: &str, events: &mut Events) {
        let error = Raw::parse(error.as_bytes()).and_then(Raw::members);
        let error = error.and_then(|body| body.get("error"));
        let error = error.map_or("null", Raw::json).to_owned();
        let response = self.response(|out| {
            out.key("status").string("failed");
            out.key("error").json(&error);
            out.key("incomplete_details").json("null");
        });
        self.tell("response.failed", events, |event| {
            event.key("response").json(&response);
        });
    }
}
