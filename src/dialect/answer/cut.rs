//! Ends a stream early so that the client's SDK finds either a well-formed answer that was cut
//! short, or a typed error. What is written depends on what the stream has open.

use super::{AnswerReader, Progress, bedrock, chat, messages, responses};
use crate::dialect::Dialect;
use crate::dialect::refusal::render::{Told, json};
use crate::dialect::refusal::{Family, Refusal};
use serde_json::{Value, json as object};

/// Ids for a stream that is cut before it told its own.
const CHAT_ID: &str = "chatcmpl-cut";
const MESSAGE_ID: &str = "msg_cut";
const RESPONSE_ID: &str = "resp_cut";

/// Token counts to state in a closing event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    /// All input tokens.
    pub input: u64,
    /// All output tokens.
    pub output: u64,
}

/// How to end a stream early.
#[derive(Clone, Copy, Debug)]
pub enum Cut<'a> {
    /// As if the output cap had been reached: `finish_reason: "length"`, `stop_reason:
    /// "max_tokens"`, `response.incomplete`. The counts go where the dialect's closing event has a
    /// place for them; without them it says what the stream itself has reported, or nothing.
    Length(Option<Stated>),
    /// With an error: an error chunk, `event: error`, `response.failed`.
    Error(&'a Refusal),
}

impl AnswerReader {
    /// The events that end the stream here. Empty if it has ended by itself.
    pub(super) fn ending(&self, cut: Cut<'_>) -> String {
        match (&self.progress, cut) {
            (Progress::Chat(progress), _) if progress.done => String::new(),
            (Progress::Chat(_), _) if self.facts.terminal => data("[DONE]"),
            (Progress::Chat(progress), Cut::Length(_)) => self.chat_length(progress),
            (Progress::Chat(_), Cut::Error(refusal)) => {
                data(&refusal.body(Family::Openai)) + &data("[DONE]")
            }
            (Progress::Messages(progress), _) if progress.stopped => String::new(),
            (Progress::Messages(progress), Cut::Length(stated)) => {
                self.messages_length(progress, stated)
            }
            (Progress::Messages(_), Cut::Error(refusal)) => {
                format!("event: error\n{}", data(&refusal.body(Family::Anthropic)))
            }
            (Progress::Gemini(progress), _) if progress.told_stop => String::new(),
            (Progress::Gemini(_), Cut::Length(_)) => self.gemini_length(),
            (Progress::Gemini(_), Cut::Error(refusal)) => data(&refusal.body(Family::Openai)),
            (Progress::Bedrock(_), _) if self.facts.terminal => String::new(),
            (Progress::Bedrock(progress), Cut::Length(_)) => bedrock::length(progress),
            (Progress::Bedrock(_), Cut::Error(refusal)) => data(&refusal.body(Family::Openai)),
            (Progress::Responses(_), _) if self.facts.terminal => String::new(),
            (Progress::Responses(progress), cut) => self.responses_end(progress, cut),
        }
    }

    fn model_or_empty(&self) -> &str {
        self.facts.model.as_deref().unwrap_or_default()
    }

    fn id_or<'a>(&'a self, instead: &'a str) -> &'a str {
        self.facts.id.as_deref().unwrap_or(instead)
    }

    /// One closing chunk per choice that is open, as providers send them.
    fn chat_length(&self, progress: &chat::Progress) -> String {
        let open = progress.choices.iter().filter(|(_, finished)| !finished);
        let mut open: Vec<u64> = open.map(|(index, _)| *index).collect();
        if progress.choices.is_empty() {
            open.push(0);
        }
        let is_text = self.dialect == Dialect::OpenaiCompletions;
        let chunk = |index: u64| {
            let choice = if is_text {
                object!({"index": index, "text": "", "logprobs": null, "finish_reason": "length"})
            } else {
                object!({"index": index, "delta": {}, "logprobs": null, "finish_reason": "length"})
            };
            let kind = if is_text {
                "text_completion"
            } else {
                "chat.completion.chunk"
            };
            data(&json(&object!({
                "id": self.id_or(CHAT_ID), "object": kind, "model": self.model_or_empty(),
                "created": created(progress.created), "choices": [choice],
            })))
        };
        let mut text: String = open.into_iter().map(chunk).collect();
        text.push_str(&data("[DONE]"));
        text
    }

    fn messages_length(&self, progress: &messages::Progress, stated: Option<Stated>) -> String {
        let output = stated
            .map(|stated| stated.output)
            .or(self.output_tokens_reported())
            .unwrap_or(0);
        let mut text = String::new();
        if !progress.started {
            let input = stated.map_or(0, |stated| stated.input);
            text.push_str(&named(&object!({"type": "message_start", "message": {
                "id": self.id_or(MESSAGE_ID), "type": "message", "role": "assistant", "model": self.model_or_empty(),
                "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": input, "output_tokens": 0},
            }})));
        }
        if let Some(index) = progress.open_block {
            text.push_str(&named(
                &object!({"type": "content_block_stop", "index": index}),
            ));
        }
        if !progress.told_stop {
            text.push_str(&named(&object!({
                "type": "message_delta", "delta": {"stop_reason": "max_tokens", "stop_sequence": null},
                "usage": {"output_tokens": output},
            })));
        }
        text + &named(&object!({"type": "message_stop"}))
    }

    fn gemini_length(&self) -> String {
        data(&json(&object!({
            "candidates": [{
                "content": {"role": "model", "parts": []}, "finishReason": "MAX_TOKENS", "index": 0,
            }],
            "modelVersion": self.model_or_empty(), "responseId": self.facts.id,
        })))
    }

    fn responses_end(&self, progress: &responses::Progress, cut: Cut<'_>) -> String {
        let mut sequence = progress.sequence.map_or(0, |last| last.saturating_add(1));
        let mut response = object!({
            "id": self.id_or(RESPONSE_ID), "object": "response", "created_at": created(progress.created),
            "model": self.model_or_empty(), "status": "in_progress", "error": null, "incomplete_details": null,
            "output": [], "parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "usage": null,
        });
        let mut text = String::new();
        if !progress.started {
            let event = object!({"type": "response.created", "sequence_number": sequence, "response": response});
            text.push_str(&named(&event));
            sequence += 1;
        }
        response["output"] = progress.items.iter().map(item).collect();
        let kind = match cut {
            Cut::Length(stated) => {
                response["status"] = object!("incomplete");
                response["incomplete_details"] = object!({"reason": "max_output_tokens"});
                response["usage"] = stated.map_or(Value::Null, |stated| {
                    object!({
                        "input_tokens": stated.input, "input_tokens_details": {"cached_tokens": 0},
                        "output_tokens": stated.output, "output_tokens_details": {"reasoning_tokens": 0},
                        "total_tokens": stated.input.saturating_add(stated.output),
                    })
                });
                "response.incomplete"
            }
            Cut::Error(refusal) => {
                response["status"] = object!("failed");
                response["error"] = object!(Told(refusal, Family::Openai));
                "response.failed"
            }
        };
        text + &named(&object!({"type": kind, "sequence_number": sequence, "response": response}))
    }
}

/// An output item whose content the client has and the gateway did not keep.
fn item((kind, id): &(String, String)) -> Value {
    let mut item = object!({"type": kind, "id": id, "status": "incomplete"});
    match kind.as_str() {
        "message" => {
            item["role"] = object!("assistant");
            item["content"] = object!([]);
        }
        "reasoning" => item["summary"] = object!([]),
        _ => {}
    }
    item
}

/// Seconds since the epoch, as the stream said or as it is now.
fn created(told: Option<u64>) -> u64 {
    told.unwrap_or_else(|| u64::try_from(crate::clock::now().0 / 1000).unwrap_or(0))
}

fn data(data: &str) -> String {
    format!("data: {data}\n\n")
}

/// An event whose `event:` line repeats its type.
fn named(event: &Value) -> String {
    let name = event["type"].as_str().unwrap_or_default();
    format!("event: {name}\n{}", data(&json(event)))
}

#[cfg(test)]
mod tests;
