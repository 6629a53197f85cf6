//! A stream in the target's dialect, event by event into the caller's. Nothing of it is kept but the
//! beginning of an event that is not over, and what the caller's closing events must repeat.

use super::read::Raw;
use super::{
    Back, Pair, Unreadable, chat_bedrock, chat_gemini, chat_messages, errors, messages_chat,
    responses_chat,
};
use crate::dialect::answer::EVENT_BYTES_MAX;
use crate::dialect::refusal::Family;
use crate::sse::{Boundary, Event};
use bytes::{Bytes, BytesMut};

/// What speaks to the caller.
#[derive(Debug)]
enum Voice {
    Chat(chat_messages::Voice),
    Gemini(chat_gemini::Voice),
    Bedrock(Box<chat_bedrock::Voice>),
    Messages(messages_chat::Voice),
    Responses(Box<responses_chat::Voice>),
}

/// One stream on its way from the target's dialect into the caller's.
#[derive(Debug)]
pub struct Stream {
    caller: Family,
    voice: Voice,
    boundary: Boundary,
    pub(super) partial: BytesMut,
    /// The stream has ended: what still comes goes nowhere.
    over: bool,
}

/// Events being written for the caller.
#[derive(Debug, Default)]
pub(super) struct Events {
    text: String,
}

impl Events {
    /// An event of data alone.
    pub(super) fn data(&mut self, json: &str) {
        self.text.push_str("data: ");
        self.text.push_str(json);
        self.text.push_str("\n\n");
    }

    /// An event with a name.
    pub(super) fn named(&mut self, name: &str, json: &str) {
        self.text.push_str("event: ");
        self.text.push_str(name);
        self.text.push('\n');
        self.data(json);
    }

    /// A comment, which keeps a connection alive.
    pub(super) fn comment(&mut self, text: &str) {
        self.text.push_str(": ");
        self.text.push_str(text);
        self.text.push_str("\n\n");
    }
}

impl Stream {
    pub(super) fn new(back: &Back) -> Self {
        let voice = match back.pair {
            Pair::ChatMessages => Voice::Chat(chat_messages::Voice::new(back.include_usage)),
            Pair::ChatGemini => Voice::Gemini(chat_gemini::Voice::new(back.include_usage)),
            Pair::ChatBedrock => {
                let voice = chat_bedrock::Voice::new(back.include_usage, &back.echo);
                Voice::Bedrock(Box::new(voice))
            }
            Pair::MessagesChat => Voice::Messages(messages_chat::Voice::default()),
            Pair::ResponsesChat => {
                Voice::Responses(Box::new(responses_chat::Voice::new(&back.echo)))
            }
        };
        Self {
            caller: back.pair.caller().into(),
            voice,
            boundary: Boundary::default(),
            partial: BytesMut::new(),
            over: false,
        }
    }

    /// Takes what came; gives what the caller gets for it, perhaps nothing yet.
    pub fn push(&mut self, chunk: &[u8]) -> Bytes {
        let mut events = Events::default();
        let mut rest = chunk;
        if self.boundary.stray_lf(rest) {
            rest = &rest[1..];
        }
        while !self.over && !rest.is_empty() {
            let Some(end) = self.boundary.end_of_event(rest) else {
                self.keep(rest, &mut events);
                break;
            };
            let (event, more) = rest.split_at(end);
            rest = more;
            if self.partial.is_empty() {
                self.event(event, &mut events);
            } else {
                self.partial.extend_from_slice(event);
                let event = std::mem::take(&mut self.partial);
                self.event(&event, &mut events);
            }
        }
        events.text.into()
    }

    /// Nothing more comes: what the caller's dialect needs to end, if the answer itself is over.
    pub fn end(&mut self) -> Bytes {
        let mut events = Events::default();
        if !self.partial.is_empty() {
            let event = std::mem::take(&mut self.partial);
            self.event(&event, &mut events);
        }
        if !self.over {
            self.over = true;
            match &mut self.voice {
                Voice::Chat(voice) => voice.end(&mut events),
                Voice::Gemini(voice) => voice.end(&mut events),
                Voice::Bedrock(voice) => voice.end(&mut events),
                Voice::Messages(voice) => voice.end(&mut events),
                Voice::Responses(voice) => voice.end(&mut events),
            }
        }
        events.text.into()
    }

    fn keep(&mut self, piece: &[u8], events: &mut Events) {
        if self.partial.len() + piece.len() > EVENT_BYTES_MAX {
            self.partial = BytesMut::new();
            self.fail(Unreadable::TooLong, events);
        } else {
            self.partial.extend_from_slice(piece);
        }
    }

    fn event(&mut self, block: &[u8], events: &mut Events) {
        let event = Event::parse(block);
        let Some(data) = event.data.as_deref().filter(|data| !data.is_empty()) else {
            // Comments keep the caller's connection alive too.
            if block.starts_with(b":") {
                events.comment("");
            }
            return;
        };
        if let Err(unreadable) = self.read(data, events) {
            self.fail(unreadable, events);
        }
    }

    fn read(&mut self, data: &[u8], events: &mut Events) -> Result<(), Unreadable> {
        if data == b"[DONE]" {
            self.over = true;
            match &mut self.voice {
                Voice::Chat(voice) => voice.end(events),
                Voice::Gemini(voice) => voice.end(events),
                Voice::Bedrock(voice) => voice.end(events),
                Voice::Messages(voice) => voice.done(events),
                Voice::Responses(voice) => voice.done(events),
            }
            return Ok(());
        }
        let said = Raw::parse(data).and_then(Raw::members);
        let said = said.ok_or(Unreadable::Form)?;
        if let Some(error) = said.get("error").filter(|error| !error.is_nothing()) {
            let error = error.members().unwrap_or_else(|| said.clone());
            self.tell(&errors::event(self.caller, &error), events);
            return Ok(());
        }
        match &mut self.voice {
            Voice::Chat(voice) => voice.event(&said, events),
            Voice::Gemini(voice) => voice.event(&said, events),
            Voice::Bedrock(voice) => voice.event(&said, events),
            Voice::Messages(voice) => voice.event(&said, events),
            Voice::Responses(voice) => voice.event(&said, events),
        }
    }

    fn fail(&mut self, unreadable: Unreadable, events: &mut Events) {
        let error = errors::own(self.caller, &unreadable.to_string());
        self.tell(&error, events);
    }

    /// Ends the stream with an error.
    fn tell(&mut self, error: &str, events: &mut Events) {
        self.over = true;
        match &mut self.voice {
            Voice::Chat(_) | Voice::Gemini(_) | Voice::Bedrock(_) => {
                events.data(error);
                events.data("[DONE]");
            }
            Voice::Messages(_) => events.named("error", error),
            Voice::Responses(voice) => voice.fail(error, events),
        }
    }
}
