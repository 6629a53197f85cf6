//! What is done about a loop, and in which words: the refusal, the evidence for people, the notice to
//! the model, the row in the journal. Digests and names of calls, never a text of theirs.

use crate::dialect::refusal::{Circle, Refusal};
use crate::escalation::{Evidence, Reason};
use crate::loops::{Action, Firing, Growing, Rule};
use http::HeaderValue;
use std::fmt::Write as _;
use std::sync::Arc;

/// As many calls are named in a sentence; the details name them all.
const CALLS_IN_WORDS: usize = 4;

/// A rule that fired on a call.
#[derive(Debug)]
pub(super) struct Verdict {
    pub rule: Rule,
    pub action: Action,
    /// The first of an episode.
    pub first: bool,
    /// The agent's name, if it gave one.
    agent: Option<Arc<str>>,
    /// The calls that make up the pattern, the latest last.
    calls: Vec<u128>,
    digests: Vec<u64>,
    growth: Option<Growing>,
}

impl Verdict {
    pub(super) fn new(firing: &Firing, agent: Option<Arc<str>>, calls: Vec<u128>) -> Self {
        Self {
            rule: firing.rule,
            action: firing.action,
            first: firing.first,
            agent,
            calls,
            digests: firing.digests.iter().map(|digest| digest.0).collect(),
            growth: firing.growth,
        }
    }

    /// What grew was handed on.
    fn inherits(&self) -> bool {
        self.growth.as_ref().is_some_and(|growth| growth.inherited)
    }

    /// What was seen, in a sentence.
    fn finding(&self) -> String {
        let who = match &self.agent {
            Some(agent) => format!("Agent `{agent}`"),
            None => "An agent".to_owned(),
        };
        let did = match self.rule {
            Rule::Repeat => "did the same and got the same again and again",
            Rule::ErrorRetry => "did the same again and again and got the same error",
            Rule::Cycle => "goes through the same steps over and over",
            Rule::Monologue => "says the same again and again with nothing in between",
            Rule::Rounds => "hands the same work to another over and over",
            Rule::NoProgress => "does other things, but learns nothing new",
            Rule::Growth if self.inherits() => "was handed another agent's whole conversation",
            Rule::Growth => "has a context that grows faster than what is added to it",
        };
        let mut text = format!("{who} {did} (rule `{}`)", self.rule);
        if let Some(growth) = &self.growth {
            let Growing {
                context_bytes,
                grown_bytes,
                added_bytes,
                inherited,
            } = growth;
            let how = match inherited {
                true => format!("of which {grown_bytes} are inherited"),
                false => format!("grown by {grown_bytes} while {added_bytes} were added"),
            };
            let _ = write!(text, ": {context_bytes} bytes of context, {how}");
        }
        text
    }

    /// The calls and digests, in a sentence.
    fn seen_in(&self) -> String {
        let from = self.calls.len().saturating_sub(CALLS_IN_WORDS);
        let calls: Vec<String> = self.calls[from..]
            .iter()
            .map(|call| request(*call))
            .collect();
        let digests = self.digests.iter().take(CALLS_IN_WORDS);
        let digests: Vec<String> = digests.map(|digest| digest_hex(*digest)).collect();
        let mut text = String::new();
        if !calls.is_empty() {
            let _ = write!(
                text,
                "{} calls, the last being {}",
                self.calls.len(),
                calls.join(", ")
            );
        }
        if !digests.is_empty() {
            let _ = write!(text, "; digests {}", digests.join(", "));
        }
        text
    }

    /// The answer to the call.
    pub(super) fn refusal(&self) -> Refusal {
        let message = format!(
            "Loop detected: {}. Seen in {}. A message of the person's own, or an operator's decision, lets the task go on.",
            self.finding(),
            self.seen_in()
        );
        let circle = Circle {
            rule: self.rule.name(),
            agent: self.agent.clone(),
            calls: self.calls.iter().map(|call| request(*call)).collect(),
            digests: self
                .digests
                .iter()
                .map(|digest| digest_hex(*digest))
                .collect(),
        };
        Refusal::circle(&message, circle)
    }

    /// Why a person is asked.
    pub(super) fn question(&self) -> (Reason, Vec<Evidence>) {
        let reason = Reason::of_rule(self.rule.name(), &format!("{}.", self.finding()));
        let what: Arc<str> = match self.rule {
            Rule::Repeat | Rule::ErrorRetry | Rule::Cycle => "step",
            Rule::Monologue => "text",
            Rule::Rounds => "hand-off",
            Rule::NoProgress => "observation",
            Rule::Growth => "context",
        }
        .into();
        let digest = |i: usize| {
            let at = i.checked_rem(self.digests.len())?;
            Some(digest_hex(self.digests[at]).into())
        };
        let evidence = (0..).zip(&self.calls).map(|(i, call)| Evidence {
            request: Some(request(*call).into()),
            what: Arc::clone(&what),
            digest: digest(i),
        });
        (reason, evidence.collect())
    }

    /// What the model is told, once.
    pub(super) fn notice(&self) -> String {
        let what = match self.rule {
            Rule::Repeat => "you took the same step again and its outcome was the same",
            Rule::ErrorRetry => "you took the same step again and it failed in the same way",
            Rule::Cycle => "you go through the same steps over and over",
            Rule::Monologue => "you said nearly the same again",
            Rule::Rounds => "you handed the same work over again",
            Rule::NoProgress => "your last steps brought nothing that was not known before",
            Rule::Growth if self.inherits() => "you were handed another agent's whole conversation",
            Rule::Growth => "the conversation grows faster than what is added to it",
        };
        format!(
            "[Notice of the gateway; the user did not write this.] {}{}. Do not do it once more: try something else, or finish with what you have and say what is missing.",
            what[..1].to_uppercase(),
            &what[1..]
        )
    }

    /// What the journal keeps.
    pub(super) fn row(&self, owner: &str, task: &str) -> String {
        format!(
            "{}: task {task} of {owner}: {}; {}",
            self.action.name(),
            self.finding(),
            self.seen_in()
        )
    }

    /// The value of `x-bursar-warning`.
    pub(super) fn warning(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&format!("loop={}", self.rule)).ok()
    }

    /// The memory this takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.calls.capacity() * size_of::<u128>()
            + self.digests.capacity() * size_of::<u64>()
    }
}

/// A request's id from its number: see [`request_number`](crate::units::request_number).
fn request(number: u128) -> String {
    format!("req_{number:032x}")
}

fn digest_hex(digest: u64) -> String {
    format!("{digest:016x}")
}
