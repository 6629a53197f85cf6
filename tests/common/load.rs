//! Load: many callers at once who never stop asking, of every kind that clients send.

use super::Draw;
use super::calls::{Ask, Caller, Dialect, Reply};
use bursar::units::NanoUsd;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Answers read to their end.
    pub answered: usize,
    /// Plain answers' own word on their cost, by request.
    pub costs: Vec<(String, NanoUsd)>,
    /// Clients that hung up in the middle.
    pub hung_up: usize,
    /// Error answers of the provider.
    pub failed: usize,
    /// Answers of ours that an exchange broke (502, 504), and streams that broke off.
    pub broken: usize,
    /// Connections to the gateway that failed.
    pub unreachable: usize,
    /// Refusals by their code.
    pub refused: BTreeMap<String, usize>,
    /// Anything else: a fault.
    pub odd: Vec<String>,
}

impl Seen {
    /// Refusals with this code.
    pub fn refusals(&self, code: &str) -> usize {
        self.refused.get(code).copied().unwrap_or(0)
    }

    fn add(&mut self, other: Self) {
        let Self {
            answered,
            costs,
            hung_up,
            failed,
            broken,
            unreachable,
            refused,
            odd,
        } = other;
        self.answered += answered;
        self.costs.extend(costs);
        self.hung_up += hung_up;
        self.failed += failed;
        self.broken += broken;
        self.unreachable += unreachable;
        self.odd.extend(odd);
        for (code, count) in refused {
            *self.refused.entry(code).or_default() += count;
        }
    }
}

/// A crew of callers.
pub struct Crew {
    pub tasks: Vec<Member>,
    pub workers_per_task: usize,
    pub agents_per_task: usize,
    pub seed: u64,
    /// Share of callers that hang up in the middle of a stream, percent.
    pub hang_up_percent: u64,
}

/// One task of a crew, and whose it is.
#[derive(Clone, Debug)]
pub struct Member {
    pub task: String,
    pub identity: String,
    pub owner: String,
}

/// The refusals that waiting will not cure.
const FINAL: [&str; 5] = [
    "task_budget_exceeded",
    "agent_budget_exceeded",
    "identity_budget_exceeded",
    "budget_exceeded",
    "turns_exceeded",
];

impl Crew {
    /// Lets them all call until each has been refused often enough, the gateway is gone, or `stop`
    /// says so.
    pub async fn spend(&self, caller: &Caller, stop: &Arc<AtomicBool>) -> Seen {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut workers = tokio::task::JoinSet::new();
        for (index, member) in self.tasks.iter().enumerate() {
            for number in 0..self.workers_per_task {
                let caller = caller
                    .clone()
                    .header("x-bursar-task-id", &member.task)
                    .identity(&member.identity)
                    .agent(&format!("agent-{}", number % self.agents_per_task));
                let seed = self.seed << 32 | (index as u64) << 16 | number as u64;
                let worker = Worker {
                    caller,
                    refused: 0,
                    talk: None,
                    draw: Draw::new(seed),
                    hang_up_percent: self.hang_up_percent,
                    seen: Seen::default(),
                };
                let (seen, stop) = (Arc::clone(&seen), Arc::clone(stop));
                workers.spawn(async move {
                    let done = worker.spend(&stop).await;
                    seen.lock().add(done);
                });
            }
        }
        while let Some(joined) = workers.join_next().await {
            joined.expect("a worker");
        }
        let seen = seen.lock();
        seen.clone()
    }
}

/// Refusals in a row after which a worker gives up: another kind of call might still fit.
const REFUSALS: u32 = 12;

struct Worker {
    caller: Caller,
    refused: u32,
    /// A conversation that the next call may go on with.
    talk: Option<Ask>,
    draw: Draw,
    hang_up_percent: u64,
    seen: Seen,
}

impl Worker {
    async fn spend(mut self, stop: &AtomicBool) -> Seen {
        while !stop.load(Ordering::Relaxed) && self.once().await {}
        self.seen
    }

    /// One call; false when there is no use in another.
    async fn once(&mut self) -> bool {
        let ask = self.next_ask();
        if ask.stream && self.draw.percent(self.hang_up_percent) {
            let after = self.draw.below(4);
            match self.caller.hang_up(&ask, after).await {
                Ok(_) => self.seen.hung_up += 1,
                Err(_) => return self.lost(),
            }
            return true;
        }
        let reply = match self.caller.call(&ask).await {
            Ok(reply) => reply,
            Err(_) => return self.lost(),
        };
        if reply.status.is_success() {
            self.refused = 0;
            // A stream of ours that an upstream broke ends with our error event.
            if ask.stream && reply.text().contains("\"upstream_error\"") {
                self.seen.broken += 1;
            } else {
                self.seen.answered += 1;
                self.remember(&ask, &reply);
                let cost = reply.cost().map(|cost| (reply.request_id(), cost));
                self.seen.costs.extend(cost);
            }
            return true;
        }
        let code = reply.refusal().unwrap_or_default();
        if matches!(code.as_str(), "upstream_error" | "upstream_timeout") {
            self.seen.broken += 1;
            return true;
        }
        if reply.status == 402 {
            *self.seen.refused.entry(code.clone()).or_default() += 1;
            self.refused += 1;
            return !FINAL.contains(&code.as_str()) || self.refused < REFUSALS;
        }
        if matches!(reply.status.as_u16(), 429 | 500 | 503) {
            self.seen.failed += 1;
            return true;
        }
        self.seen
            .odd
            .push(format!("{} {}", reply.status, reply.text()));
        false
    }

    /// Goes on with the conversation, or begins another.
    fn next_ask(&mut self) -> Ask {
        let talk = self.talk.take().filter(|talk| talk.history.len() < 40);
        match talk.filter(|_| self.draw.percent(75)) {
            None => any_ask(&mut self.draw),
            Some(talk) => Ask {
                text: self
                    .draw
                    .pick(&["Go on.", "ok", "", "And then — naïvely?"])
                    .to_owned(),
                stream: self.draw.percent(30),
                image: self.draw.percent(3),
                ..talk
            },
        }
    }

    fn remember(&mut self, ask: &Ask, reply: &Reply) {
        if ask.stream || ask.dialect == Dialect::Completions {
            return;
        }
        let mut talk = ask.clone();
        if ask.dialect == Dialect::Responses && self.draw.percent(50) {
            let id = reply.json()["id"].as_str().expect("an id").to_owned();
            (talk.previous, talk.history) = (Some(id), Vec::new());
        } else {
            talk.history = ask.answered(reply);
        }
        self.talk = Some(talk);
    }

    fn lost(&mut self) -> bool {
        self.seen.unreachable += 1;
        false
    }
}

/// Chat and messages (and now and then the others), plain and streaming, with tools, `n`, with and
/// without an output cap, of models that are dear, cheap, dense, greedy, or reason.
fn any_ask(draw: &mut Draw) -> Ask {
    const MODELS: [&str; 8] = [
        "sim-plain",
        "sim-plain",
        "sim-cheap",
        "sim-strong",
        "sim-tools",
        "sim-dense",
        "sim-cheap-greedy",
        "sim-reasoning",
    ];
    let dialect = match draw.below(10) {
        0..=4 => Dialect::Chat,
        5..=7 => Dialect::Messages,
        8 => Dialect::Responses,
        _ => Dialect::Completions,
    };
    let asked = draw.percent(60).then(|| 16 + draw.below(600));
    let words = draw.below(40);
    let text = (0..words).fold(format!("Call {}.", draw.next()), |text, _| {
        text + " naïve — word"
    });
    let max_tokens = match dialect {
        Dialect::Messages => Some(asked.unwrap_or(1_500)),
        _ => asked,
    };
    Ask {
        dialect,
        model: draw.pick(&MODELS).to_owned(),
        stream: draw.percent(50),
        max_tokens,
        n: (dialect == Dialect::Chat && draw.percent(15)).then(|| 2 + draw.below(2)),
        tools: dialect != Dialect::Completions && draw.percent(40),
        structured: false,
        // Long enough to be cached.
        system: draw.percent(10).then(|| "You keep a purse. ".repeat(300)),
        history: Vec::new(),
        previous: None,
        image: draw.percent(5),
        text,
    }
}
