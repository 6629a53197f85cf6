//! One agent: a conversation that it continues, turn by turn, until its work is done or it is refused.

use super::company::{Habit, Member, Speaks};
use super::wire::{Answer, From, Wire};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Turns after which even an agent without an end gives up: nothing in the demo is unbounded.
const MOST_TURNS: u32 = 400;
/// Lines of a page that the runaway reads each turn, 23 bytes each.
const PAGE_LINES: u32 = 90;

/// What an agent is at.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum State {
    /// Has not begun.
    #[default]
    Waiting,
    /// Between two calls.
    Thinking,
    /// A call is in flight.
    Calling,
    /// Its work is done.
    Done,
    /// It was refused.
    Stopped(Refusal),
    /// It got no answer that can be read.
    Failed(String),
}

/// What a refused agent got.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The HTTP status; 200 for an error within a stream.
    pub status: u16,
    /// The answer's body.
    pub body: Value,
}

impl Refusal {
    /// The `code` of the error.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("unknown")
    }

    /// The `message` of the error.
    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }
}

/// An agent at work: what the board shows of it.
#[derive(Clone)]
pub struct Agent {
    pub task: &'static str,
    pub member: Member,
    state: Arc<Mutex<State>>,
}

impl Agent {
    /// One that has not begun.
    pub fn new(task: &'static str, member: Member) -> Self {
        Self {
            task,
            member,
            state: Arc::default(),
        }
    }

    /// What it is at.
    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Whom its calls are for.
    pub fn from(&self) -> From {
        From {
            task: self.task,
            agent: self.member.agent,
            parent: (self.member.agent != "supervisor").then_some("supervisor"),
        }
    }

    /// Works until it is done or stopped, so paced that the run takes about `run`.
    pub async fn work(self, wire: Wire, run: Duration) {
        let (turns, pace) = match self.member.habit {
            Habit::Turns(turns) => (turns, run.mul_f64(0.9) / turns.max(1)),
            // About as many as its cap is good for.
            Habit::RunsAway => (MOST_TURNS, run.mul_f64(0.75) / 17),
            Habit::Polishes => (MOST_TURNS, run.mul_f64(0.6) / 10),
        };
        let begun = Instant::now();
        let mut messages = Vec::new();
        for turn in 0..turns {
            self.is(State::Thinking);
            tokio::time::sleep_until(begun + pace * turn).await;
            messages.push(json!({"role": "user", "content": self.says(turn)}));
            self.is(State::Calling);
            let body = self.request(&messages);
            let answer = wire.generate(self.member.speaks, self.from(), &body).await;
            match answer {
                Ok(Answer::Said(said)) => {
                    messages.push(json!({"role": "assistant", "content": said}));
                }
                Ok(Answer::Refused(status, body)) => {
                    return self.is(State::Stopped(Refusal { status, body }));
                }
                Err(error) => return self.is(State::Failed(error.to_string())),
            }
        }
        self.is(State::Done);
    }

    fn is(&self, state: State) {
        *self.state.lock() = state;
    }

    fn request(&self, messages: &[Value]) -> Value {
        let Member {
            agent,
            model,
            speaks,
            stream,
            max_tokens,
            habit: _,
        } = self.member;
        let brief = format!(
            "You are the {agent} of a crew of four at work on {}.",
            self.task
        );
        match speaks {
            Speaks::Messages => json!({
                "model": model, "max_tokens": max_tokens, "stream": stream,
                "system": brief, "messages": messages,
            }),
            Speaks::Chat => {
                let mut all = vec![json!({"role": "system", "content": brief})];
                all.extend_from_slice(messages);
                json!({"model": model, "max_tokens": max_tokens, "stream": stream, "messages": all})
            }
        }
    }

    fn says(&self, turn: u32) -> String {
        match self.member.habit {
            Habit::Turns(_) => format!("Step {}: go on.", turn + 1),
            Habit::Polishes => format!("Pass {}: not good yet, do it all again.", turn + 1),
            Habit::RunsAway => page(turn),
        }
    }
}

/// A page of links, none read before: the context grows by it every turn.
fn page(turn: u32) -> String {
    let mut page = format!("Page {}. One of these may say more:\n", turn + 1);
    for line in 0..PAGE_LINES {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "/p/{turn:03}/{line:04}?q={:08x}", line * 7_919 + turn);
    }
    page
}
