//! The sentences of refusals. Often nothing else survives the framework, so they say which limit,
//! what is spent and what was needed.

use super::{Code, Standing};
use crate::units::{Meter, NanoUsd};

/// A quantity as `bursar` details show it: dollars without a sign, a duration as configured.
pub(super) fn plain(meter: Meter, quantity: u64) -> String {
    match meter {
        Meter::Usd if quantity == 0 => "0".to_owned(),
        Meter::Usd => NanoUsd(quantity).to_string(),
        Meter::Duration => duration(quantity),
        _ => quantity.to_string(),
    }
}

/// `1h30m`, `45s`, `1s500ms`; nothing is rounded.
fn duration(ms: u64) -> String {
    let parts = [
        (ms / 3_600_000, "h"),
        (ms / 60_000 % 60, "m"),
        (ms / 1000 % 60, "s"),
        (ms % 1000, "ms"),
    ];
    let text: String = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// A quantity in a sentence.
fn spoken(meter: Meter, quantity: u64) -> String {
    let number = match meter {
        Meter::Usd => format!("${}", NanoUsd(quantity)),
        _ => plain(meter, quantity),
    };
    without_429(number)
}

/// Rounds a number in which `429` stands up at that place: clients look for those digits and try
/// again. The exact number is in the details.
fn without_429(number: String) -> String {
    let Some(at) = number.find("429") else {
        return number;
    };
    let (head, tail) = number.split_at(at);
    let zeros = |c: char| if c.is_ascii_digit() { '0' } else { c };
    let tail: String = tail[3..].chars().map(zeros).collect();
    format!("about {head}430{tail}")
}

/// The message for an account that leaves too little.
pub(super) fn message(code: Code, standing: &Standing) -> String {
    let meter = standing.meter;
    let say = |quantity| spoken(meter, quantity);
    let (cap, needed) = (say(standing.cap), say(standing.needed));
    let mut text = match meter {
        Meter::Duration => format!(
            "{} is over: {} spent.",
            subject(standing, &format!("time of {cap}")),
            say(standing.settled)
        ),
        Meter::ToolCalls => format!(
            "{} is reached: {} made.",
            subject(standing, &format!("cap of {cap} tool calls")),
            say(standing.settled)
        ),
        Meter::Depth => format!(
            "{} is reached: this agent would stand {} below the root.",
            subject(standing, &format!("cap of {cap} on the depth of agents")),
            say(standing.settled.saturating_add(standing.needed))
        ),
        Meter::FanOut => format!(
            "{} is reached: this agent would be number {} of its parent.",
            subject(standing, &format!("cap of {cap} children per agent")),
            say(standing.settled.saturating_add(standing.needed))
        ),
        Meter::Turns | Meter::Attempts | Meter::Tasks => {
            let what = subject(standing, &format!("cap of {cap} {}", meter.name()));
            format!(
                "{what} is reached: {}; this call needs {needed}.",
                spent(standing)
            )
        }
        _ => {
            let (unit, takes) = if meter == Meter::Usd {
                (String::new(), "may cost up to")
            } else {
                (
                    format!(" {}", meter.name().replace('_', " ")),
                    "may use up to",
                )
            };
            let what = subject(standing, &format!("budget of {cap}{unit}"));
            let state = state(code, standing);
            format!(
                "{what} {state}: {}; this call {takes} {needed}.",
                spent(standing)
            )
        }
    };
    if let Some(at) = standing.resets_at.and_then(super::render::rfc3339) {
        text.push_str(" It resets at ");
        text.push_str(&at);
        text.push('.');
    }
    text
}

/// The message for a call whose context is beyond a cap of that name.
pub(super) fn context(cap_name: &str, standing: &Standing, besides: &str) -> String {
    let say = |tokens| spoken(Meter::InputTokens, tokens);
    let (cap, needed) = (say(standing.cap), say(standing.needed));
    let what = match cap_name {
        "handoff_tokens" => "What this agent is handed is too large: its first call",
        _ => "The context is too large: this call",
    };
    let limit = &standing.limit;
    let message = if standing.needed == u64::MAX {
        format!(
            "{what} draws in what cannot be measured from here, and the cap is {cap} input tokens (limit \"{limit}\")."
        )
    } else {
        format!("{what} has up to {needed} input tokens, and the cap is {cap} (limit \"{limit}\").")
    };
    match besides {
        "" => message,
        besides => format!("{message} {besides}"),
    }
}

fn spent(standing: &Standing) -> String {
    let say = |quantity| spoken(standing.meter, quantity);
    let mut text = format!("{} settled, ", say(standing.settled));
    if standing.in_doubt > 0 {
        text.push_str(&format!("{} in doubt, ", say(standing.in_doubt)));
    }
    text.push_str(&format!("{} held", say(standing.held)));
    text
}

fn state(code: Code, standing: &Standing) -> &'static str {
    let taken = standing
        .settled
        .saturating_add(standing.in_doubt)
        .saturating_add(standing.held);
    let left = standing.cap.saturating_sub(taken);
    if code == Code::BudgetHeld {
        "is held by calls in flight"
    } else if taken == 0 {
        "is too small for this call"
    } else if left <= standing.cap / 10 {
        "is spent"
    } else {
        "leaves too little for this call"
    }
}

/// `The task's budget of $2.00`; with the limit's name where that is not what it says already.
fn subject(standing: &Standing, of: &str) -> String {
    let mut per: Vec<&str> = standing
        .account
        .iter()
        .map(|(dimension, _)| *dimension)
        .collect();
    if per.len() > 1 {
        per.retain(|dimension| *dimension != "owner");
    }
    let text = match per[..] {
        [] => format!("The {of}"),
        ["call"] => format!("The {of} for one call"),
        [one] => format!("The {}'s {of}", one.replace('_', " ")),
        ["task", "agent"] | ["agent", "task"] => format!("The agent's {of} in this task"),
        _ => format!("The {of} per {}", per.join(" and ").replace('_', " ")),
    };
    if per == [&*standing.limit] {
        text
    } else {
        format!("{text} (limit \"{}\")", standing.limit)
    }
}

/// Takes the words out on which clients try again. They can come in with a limit's or a model's name.
pub(super) fn without_retry_words(message: &str) -> String {
    const WORDS: [(&str, &str); 5] = [
        ("429", "4-2-9"),
        ("rate limit", "throughput limit"),
        ("rate_limit", "throughput_limit"),
        ("rate-limit", "throughput-limit"),
        ("too many requests", "too much traffic"),
    ];
    let mut message = message.to_owned();
    for (word, instead) in WORDS {
        // ASCII case folding keeps every byte where it is.
        while let Some(at) = message.to_ascii_lowercase().find(word) {
            message.replace_range(at..at + word.len(), instead);
        }
    }
    message
}
