//! The table while the company works: figures out of the gateway's ledger, states from the agents.
//!
//! On a terminal it is redrawn in place; elsewhere it is one plain line per task now and then.

use super::agent::{Agent, State};
use super::company::COMPANY;
use crate::config::Limit;
use crate::gateway::Gateway;
use crate::ledger::AccountKey;
use crate::units::{Amounts, Meter, NanoUsd};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;
use tokio::time::Instant;

/// Characters of a bar.
const BAR: u64 = 20;

/// What one account says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub settled: Amounts,
    pub held: Amounts,
    pub cap: NanoUsd,
}

/// The value of one side of an account.
pub fn side<'k>(key: &'k AccountKey, side: &str) -> Option<&'k str> {
    let mut per = key.per.iter();
    per.find_map(|(name, value)| (*name == side).then_some(&**value))
}

/// The accounts of every task (the one with the least cap), and of every agent in a task.
#[derive(Default)]
pub struct Books {
    pub tasks: HashMap<String, Figures>,
    pub agents: HashMap<(String, String), Figures>,
}

impl Books {
    /// As the ledger has them now.
    pub fn of(gateway: &Gateway) -> Self {
        let mut books = Self::default();
        gateway.purse.look(|ledger| {
            for account in ledger.accounts() {
                let Some(task) = side(account.key, "task") else {
                    continue;
                };
                let figures = Figures {
                    settled: account.settled,
                    held: account.held,
                    cap: NanoUsd(account.cap(Meter::Usd).unwrap_or(u64::MAX)),
                };
                match side(account.key, "agent") {
                    None => {
                        let kept = books.tasks.entry(task.to_owned()).or_insert(figures);
                        if figures.cap < kept.cap {
                            *kept = figures;
                        }
                    }
                    Some(agent) if Limit::name_in(&account.key.limit) == "agent" => {
                        let key = (task.to_owned(), agent.to_owned());
                        books.agents.insert(key, figures);
                    }
                    Some(_) => {}
                }
            }
        });
        books
    }

    fn task(&self, task: &str) -> Figures {
        self.tasks.get(task).copied().unwrap_or_default()
    }

    /// What one agent's account says; nothing before its first call.
    pub fn agent(&self, task: &str, agent: &str) -> Figures {
        let key = (task.to_owned(), agent.to_owned());
        self.agents.get(&key).copied().unwrap_or_default()
    }
}

/// How the board is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Redrawn in place, with or without colours.
    InPlace { colours: bool },
    /// A plain line per task.
    Lines,
    /// Not at all.
    Nothing,
}

/// The table.
pub struct Board {
    show: Show,
    drawn_lines: usize,
}

impl Board {
    pub const fn new(show: Show) -> Self {
        Self {
            show,
            drawn_lines: 0,
        }
    }

    /// How long between two looks.
    pub const fn pause(&self) -> Duration {
        match self.show {
            Show::InPlace { .. } => Duration::from_millis(150),
            Show::Lines | Show::Nothing => Duration::from_secs(2),
        }
    }

    /// When to look first: a table stands there at once, a plain line has something to say.
    pub fn first_look(&self) -> Instant {
        match self.show {
            Show::InPlace { .. } => Instant::now(),
            Show::Lines | Show::Nothing => Instant::now() + self.pause(),
        }
    }

    /// Shows how things stand.
    ///
    /// # Errors
    /// Standard output.
    pub fn show(
        &mut self,
        out: &mut dyn Write,
        after: Duration,
        gateway: &Gateway,
        agents: &[Agent],
    ) -> io::Result<()> {
        let text = match self.show {
            Show::Nothing => return Ok(()),
            Show::Lines => lines(after, &Books::of(gateway), agents),
            Show::InPlace { colours } => {
                let table = table(&Books::of(gateway), agents, colours);
                let up = match std::mem::replace(&mut self.drawn_lines, table.lines().count()) {
                    0 => String::new(),
                    lines => format!("\x1b[{lines}A"),
                };
                // Each line is cleared behind its text, so that nothing of a longer one stays.
                up + &table.replace('\n', "\x1b[K\n")
            }
        };
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// `$0.1234`: rounded up, for money spent should not look less than it is.
pub fn dollars(amount: NanoUsd) -> String {
    let tenths_of_a_millidollar = amount.0.div_ceil(100_000);
    format!(
        "${}.{:04}",
        tenths_of_a_millidollar / 10_000,
        tenths_of_a_millidollar % 10_000
    )
}

/// `12,345`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn word(state: &State) -> String {
    match state {
        State::Waiting => "waiting".to_owned(),
        State::Thinking => "thinking".to_owned(),
        State::Calling => "calling".to_owned(),
        State::Done => "done".to_owned(),
        State::Stopped(refusal) => format!("stopped {}", refusal.code()),
        State::Failed(_) => "failed".to_owned(),
    }
}

fn colour(state: &State) -> &'static str {
    match state {
        State::Waiting | State::Thinking => "2",
        State::Calling => "36",
        State::Done => "32",
        State::Stopped(_) | State::Failed(_) => "1;31",
    }
}

fn painted(text: &str, colour: &str, colours: bool) -> String {
    match colours {
        true => format!("\x1b[{colour}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// The whole table; every line is shorter than 80 characters.
pub fn table(books: &Books, agents: &[Agent], colours: bool) -> String {
    let mut text = String::from("  task / agent      turns     tokens    dollars  state\n");
    for work in COMPANY {
        let task = books.task(work.task);
        let spent = task.settled.usd();
        let _ = writeln!(
            text,
            "{}{:>10} of {:<5}  {}",
            painted(&format!("{:<37}", work.task), "1", colours),
            dollars(spent),
            cap(&task),
            bar(spent, task.held.usd(), task.cap),
        );
        for agent in agents.iter().filter(|agent| agent.task == work.task) {
            let figures = books.agent(work.task, agent.member.agent);
            let state = agent.state();
            let _ = writeln!(
                text,
                "  {:<16} {:>6} {:>10} {:>10}  {}",
                agent.member.agent,
                figures.settled[Meter::Turns],
                thousands(figures.settled[Meter::Tokens]),
                dollars(figures.settled.usd()),
                painted(&word(&state), colour(&state), colours),
            );
        }
    }
    text
}

/// `███▒▒·····`: settled, held, left.
fn bar(settled: NanoUsd, held: NanoUsd, cap: NanoUsd) -> String {
    let part = |amount: u64| amount.saturating_mul(BAR) / cap.0.max(1);
    let full = part(settled.0).min(BAR);
    let taken = part(settled.0.saturating_add(held.0)).clamp(full, BAR);
    let times = |sign: &str, count: u64| sign.repeat(usize::try_from(count).unwrap_or(0));
    times("█", full) + &times("▒", taken - full) + &times("·", BAR - taken)
}

/// Unknown before a task's first call.
fn cap(task: &Figures) -> String {
    match task.cap {
        NanoUsd::ZERO => "-".to_owned(),
        cap => format!("${cap}"),
    }
}

fn lines(after: Duration, books: &Books, agents: &[Agent]) -> String {
    let mut text = String::new();
    for work in COMPANY {
        let task = books.task(work.task);
        let of_task = || agents.iter().filter(|agent| agent.task == work.task);
        let states =
            of_task().map(|agent| format!("{} {}", agent.member.agent, word(&agent.state())));
        let _ = writeln!(
            text,
            "{:>5.1} s  {:<14} {} of {}, {} turns: {}",
            after.as_secs_f64(),
            work.task,
            dollars(task.settled.usd()),
            cap(&task),
            task.settled[Meter::Turns],
            states.collect::<Vec<_>>().join(", "),
        );
    }
    text
}
