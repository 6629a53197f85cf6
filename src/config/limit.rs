//! One `[[limit]]` and one `[[tool]]` of `policies/limits.toml`, read and checked.

mod check;

use super::context::{self, ContextCaps, OnContext};
use super::facts::{Match, Side};
use super::fault::Place;
use super::glob::{Glob, Globs};
use super::read::{Section, advice};
use super::value;
use super::window::{Every, Window};
use crate::ledger::Caps;
use crate::task::tree::{MAX_DEPTH, MAX_PAIRS};
use crate::units::{LimitName, Meter, NanoUsd};
use check::{check_downgrade, check_escalation, check_review, check_shape, check_wrap_up};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::Arc;

/// What of each cap is kept for last calls unless said otherwise, in parts per million.
const RESERVE: u32 = 100_000;
/// The most that can be kept.
const RESERVE_MAX: u32 = 500_000;
/// What a last call takes, and so what is kept for it.
const RESERVED: [Meter; 6] = [
    Meter::Usd,
    Meter::Tokens,
    Meter::InputTokens,
    Meter::OutputTokens,
    Meter::FreshTokens,
    Meter::Turns,
];
/// The largest cap on `fan_out`: a quarter of what a tree can hold.
const MAX_FAN_OUT: u64 = MAX_PAIRS as u64 / 4;

/// What a limit counts per.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Per {
    /// One account for each combination of these; empty: one for all.
    Sides(Vec<Side>),
    /// No account: each call by itself.
    Call,
}

/// A rule: which calls it covers, what it counts per, over which window, and the caps.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Its name, unique.
    pub name: LimitName,
    /// `name#digest`; the digest is of `match`, `per` and `window`. A limit whose caps change keeps
    /// its accounts; one whose shape changes opens new ones, which start with what the journal says.
    pub id: Arc<str>,
    /// What it counts per.
    pub per: Per,
    /// Its calendar window; `None`: as long as the task lives.
    pub window: Option<Window>,
    /// What is capped. Duration in milliseconds, dollars in nano-dollars.
    pub caps: Caps,
    /// Warn when this share of a cap is settled, in parts per million.
    pub warn_at: Option<u32>,
    /// `on_exceed = "observe"`: journal and count, never refuse.
    pub observe: bool,
    /// `on_exceed = "escalate"`: suspend the task and ask a person.
    pub escalate: bool,
    /// `on_exceed = "downgrade"`: from `warn_at` on, routes that have cheaper models for it send calls there.
    pub downgrade: bool,
    /// `on_exceed = "wrap_up"`: this share of each cap, in parts per million, is kept for one last call
    /// of each agent.
    pub reserve: Option<u32>,
    /// A person looks after so many hand-offs of a task.
    pub review_every: Option<u64>,
    /// Caps on the context of each call by itself.
    pub context: Option<ContextCaps>,
    /// `on_exceed = "summarise"`: the model that does it.
    pub summarise_with: Option<Arc<str>>,
    /// Which calls it covers.
    pub matches: Match,
    /// Where it is written.
    pub place: Place,
}

impl Limit {
    /// The cap on one meter.
    #[must_use]
    pub const fn cap(&self, meter: Meter) -> Option<u64> {
        self.caps.0[meter as usize]
    }

    /// The sides it counts per; none for `per = ["call"]`.
    #[must_use]
    pub fn sides(&self) -> &[Side] {
        match &self.per {
            Per::Sides(sides) => sides,
            Per::Call => &[],
        }
    }

    /// True if it counts per this side.
    #[must_use]
    pub fn is_per(&self, side: Side) -> bool {
        self.sides().contains(&side)
    }

    /// True if it concerns single tool calls rather than model calls.
    #[must_use]
    pub fn is_of_tools(&self) -> bool {
        self.is_per(Side::Tool) || self.matches.on(Side::Tool).is_some()
    }

    /// The code of a refusal by this limit's cap on `meter`.
    #[must_use]
    pub fn code(&self, meter: Meter) -> &'static str {
        match meter {
            Meter::Turns => "turns_exceeded",
            Meter::ToolCalls => "tool_calls_exceeded",
            Meter::Duration => "deadline_exceeded",
            Meter::Attempts | Meter::Tasks | Meter::Depth | Meter::FanOut => "limit_exceeded",
            _ => match self.sides() {
                [Side::Task] => "task_budget_exceeded",
                [Side::Agent] | [Side::Task, Side::Agent] | [Side::Agent, Side::Task] => {
                    "agent_budget_exceeded"
                }
                [Side::Identity] => "identity_budget_exceeded",
                _ => "budget_exceeded",
            },
        }
    }

    /// The word in `on_exceed`.
    #[must_use]
    pub const fn on_exceed(&self) -> &'static str {
        if let Some(ContextCaps { then, .. }) = self.context
            && then.is_of_contexts()
        {
            return then.name();
        }
        if self.downgrade {
            return "downgrade";
        }
        match (self.observe, self.escalate, self.reserve) {
            (true, ..) => "observe",
            (_, true, _) => "escalate",
            (.., Some(_)) => "wrap_up",
            (false, false, None) => "deny",
        }
    }

    /// `caps` without the reserve for last calls, which is at least one turn.
    #[must_use]
    pub fn without_reserve(&self, caps: &Caps) -> Caps {
        let Some(reserve) = self.reserve else {
            return *caps;
        };
        let mut usual = *caps;
        for meter in RESERVED {
            if let Some(cap) = &mut usual.0[meter as usize] {
                let kept = u128::from(*cap) * u128::from(reserve) / 1_000_000;
                let kept = u64::try_from(kept).unwrap_or(*cap);
                let least = u64::from(meter == Meter::Turns);
                *cap = cap.saturating_sub(kept.max(least));
            }
        }
        usual
    }

    /// The name in a limit's id.
    #[must_use]
    pub fn name_in(id: &str) -> &str {
        id.rsplit_once('#').map_or(id, |(name, _)| name)
    }
}

/// `[[tool]]`: what one call of a tool costs.
#[derive(Clone, Debug, PartialEq)]
struct ToolPrice {
    /// The tool's name, or a glob.
    name: Glob,
    /// The price of one call.
    price: NanoUsd,
}

/// Reads every `[[limit]]`; names are unique.
pub(super) fn read_limits(parent: &Section<'_>) -> Vec<Limit> {
    let mut limits: Vec<Limit> = Vec::new();
    for section in parent.sections("limit") {
        let limit = read_limit(&section);
        section.close();
        let Some(limit) = limit else { continue };
        if let Some(first) = limits.iter().find(|other| other.name == limit.name) {
            let (name, line) = (&limit.name, first.place.line);
            section.fault_of("name", format!("line {line} has a limit `{name}` already"));
        }
        limits.push(limit);
    }
    limits
}

/// What tools cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolPrices(Vec<ToolPrice>);

impl ToolPrices {
    /// What one call of a tool costs; nothing if no price is set. The first that matches counts.
    #[must_use]
    pub fn of(&self, name: &str) -> NanoUsd {
        let priced = self.0.iter().find(|tool| tool.name.matches(name));
        priced.map_or(NanoUsd::ZERO, |tool| tool.price)
    }
}

/// Reads every `[[tool]]`.
pub(super) fn read_tools(parent: &Section<'_>) -> ToolPrices {
    let mut tools: Vec<ToolPrice> = Vec::new();
    for section in parent.sections("tool") {
        let name = section.need("name", value::name);
        let price = section.need("usd", value::money);
        section.close();
        let (Some(name), Some(price)) = (name, price) else {
            continue;
        };
        if tools.iter().any(|tool| tool.name.as_str() == name) {
            section.fault_of("name", format!("the tool `{name}` has a price already"));
        }
        let name = name.as_str().into();
        tools.push(ToolPrice { name, price });
    }
    ToolPrices(tools)
}

fn read_limit(section: &Section<'_>) -> Option<Limit> {
    let name = section.need("name", |value| match value::name(value)? {
        name if name.contains('#') => Err("a limit's name has no `#`".to_owned()),
        name => Ok(name),
    });
    let per = read_per(section);
    let window = section
        .section("window")
        .and_then(|window| read_window(&window));
    let matches = read_match(section);
    let caps = read_caps(section);
    let warn_at = section.get("warn_at", value::ratio);
    let on_exceed = section.or("on_exceed", OnExceed::Deny, on_exceed);
    if on_exceed == OnExceed::Escalate {
        check_escalation(section, &caps, per.as_ref());
    }
    let reserve = section.get("reserve", value::ratio);
    if on_exceed == OnExceed::Downgrade {
        check_downgrade(section, &caps, per.as_ref(), &matches);
    }
    if on_exceed == OnExceed::WrapUp {
        check_wrap_up(section, &caps, per.as_ref(), &matches, reserve);
    } else if section.has("reserve") {
        section.fault_of("reserve", "`reserve` goes with `on_exceed = \"wrap_up\"`");
    }
    let review_every = section.get("review_every", value::count_in(1, 1_000_000));
    let on_context = on_exceed.on_context();
    let context = context::read(section, on_context);
    context::check_alone(section, &caps, context.as_ref(), on_context);
    let summarise_with = context::read_summariser(section, on_context);
    let per = context::per_of(per?, context::is_alone(section, &caps));
    if review_every.is_some() {
        check_review(section, &per, &matches);
    }
    check_shape(section, &per, window.as_ref(), &caps, &matches);
    let name = name?;
    Some(Limit {
        id: id(&name, &per, window.as_ref(), &matches),
        name: name.into(),
        per,
        window,
        caps,
        warn_at,
        observe: on_exceed == OnExceed::Observe,
        escalate: on_exceed == OnExceed::Escalate,
        downgrade: on_exceed == OnExceed::Downgrade,
        reserve: (on_exceed == OnExceed::WrapUp).then(|| reserve.unwrap_or(RESERVE)),
        review_every,
        context,
        summarise_with,
        matches,
        place: section.place(),
    })
}

/// What happens at the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnExceed {
    Deny,
    Observe,
    Escalate,
    Downgrade,
    WrapUp,
    Trim,
    Summarise,
    Nudge,
}

impl OnExceed {
    /// What it means for a context that is too large.
    const fn on_context(self) -> Option<OnContext> {
        match self {
            Self::Deny => Some(OnContext::Deny),
            Self::Observe => Some(OnContext::Observe),
            Self::Trim => Some(OnContext::Trim),
            Self::Summarise => Some(OnContext::Summarise),
            Self::Nudge => Some(OnContext::Nudge),
            Self::Escalate | Self::Downgrade | Self::WrapUp => None,
        }
    }
}

fn on_exceed(value: &toml::de::DeValue<'_>) -> Result<OnExceed, String> {
    value::word(&[
        ("deny", OnExceed::Deny),
        ("escalate", OnExceed::Escalate),
        ("downgrade", OnExceed::Downgrade),
        ("wrap_up", OnExceed::WrapUp),
        ("observe", OnExceed::Observe),
        ("trim", OnExceed::Trim),
        ("summarise", OnExceed::Summarise),
        ("nudge", OnExceed::Nudge),
    ])(value)
}

/// `per`: names of sides, or `call` alone, or `none`. Absent: one account for all.
fn read_per(section: &Section<'_>) -> Option<Per> {
    let words = section.list("per", |value| {
        let text = value::text(value)?;
        match Side::from_name(&text) {
            Some(Side::Dialect) => Err("nothing is counted per dialect; `match` it".to_owned()),
            Some(side) => Ok(Some(side)),
            None if text == "call" || text == "none" => Ok(None),
            None => {
                let sides = Side::ALL.into_iter().filter(|side| *side != Side::Dialect);
                let mut known: Vec<&str> = sides.map(Side::name).collect();
                known.extend(["call", "none"]);
                Err(format!(
                    "`{text}` is nothing to count per; {}",
                    advice(&text, &known)
                ))
            }
        }
    });
    let words = match words {
        None if section.has("per") => return None,
        words => words.unwrap_or_default(),
    };
    if words.contains(&None) {
        if words.len() > 1 {
            section.fault_of("per", "`per`: `call` and `none` stand alone");
            return None;
        }
        let is_call = |value: &toml::de::DeValue<'_>| match value {
            toml::de::DeValue::Array(items) => Ok(items
                .iter()
                .any(|item| item.get_ref().as_str() == Some("call"))),
            other => Ok(other.as_str() == Some("call")),
        };
        return match section.or("per", false, is_call) {
            true => Some(Per::Call),
            false => Some(Per::Sides(Vec::new())),
        };
    }
    let mut sides: Vec<Side> = Vec::with_capacity(words.len());
    for side in words.into_iter().flatten() {
        if sides.contains(&side) {
            section.fault_of("per", format!("`per` names `{}` twice", side.name()));
        } else {
            sides.push(side);
        }
    }
    Some(Per::Sides(sides))
}

fn read_window(section: &Section<'_>) -> Option<Window> {
    let every = section.need(
        "every",
        value::word(&Every::ALL.map(|every| (every.name(), every))),
    );
    let timezone = section.or("timezone", "UTC".to_owned(), |value| {
        let name = value::text(value)?;
        match Window::new(Every::Day, &name) {
            Ok(_) => Ok(name),
            Err(_) => Err(format!(
                "`{name}` is no timezone; write \"UTC\" or a name such as \"Europe/Berlin\""
            )),
        }
    });
    section.close();
    Window::new(every?, &timezone).ok()
}

pub(super) fn read_match(parent: &Section<'_>) -> Match {
    let mut sides = Vec::new();
    if let Some(section) = parent.section("match") {
        for side in Side::ALL {
            let Some(patterns) = section.list(side.name(), value::name) else {
                continue;
            };
            if patterns.is_empty() {
                let name = side.name();
                section.fault_of(name, format!("`{name}`: an empty list matches nothing"));
            }
            sides.push((side, patterns.into_iter().collect::<Globs>()));
        }
        section.close();
    }
    Match { sides }
}

fn read_caps(section: &Section<'_>) -> Caps {
    let mut caps = Caps::default();
    for meter in Meter::ALL {
        caps.0[meter as usize] = match meter {
            Meter::Usd => section.get("usd", |value| value::money(value).map(|usd| usd.0)),
            Meter::Duration => section.get("duration", |value| {
                let span = value::positive_span(value)?;
                u64::try_from(span.as_millis()).map_err(|error| error.to_string())
            }),
            Meter::Depth => section.get("depth", value::count_in(0, MAX_DEPTH)),
            Meter::FanOut => section.get("fan_out", value::count_in(0, MAX_FAN_OUT)),
            _ => section.get(meter.name(), value::count),
        };
    }
    caps
}

/// The name and a digest of the shape, stable across versions: written out here in words, never by
/// a derived format.
fn id(name: &str, per: &Per, window: Option<&Window>, matches: &Match) -> Arc<str> {
    let mut shape = String::from("per");
    match per {
        Per::Call => shape.push_str(" call"),
        Per::Sides(sides) => sides.iter().for_each(|side| {
            shape.push(' ');
            shape.push_str(side.name());
        }),
    }
    if let Some(window) = window {
        shape.push_str("\nwindow ");
        shape.push_str(window.every.name());
        shape.push(' ');
        shape.push_str(&window.timezone);
    }
    for (side, globs) in &matches.sides {
        let mut patterns: Vec<&str> = globs.iter().map(Glob::as_str).collect();
        patterns.sort_unstable();
        shape.push_str("\nmatch ");
        shape.push_str(side.name());
        for pattern in patterns {
            // A name has no control characters: the separator cannot be forged.
            shape.push('\t');
            shape.push_str(pattern);
        }
    }
    let digest = Sha256::digest(shape.as_bytes());
    let mut id = format!("{name}#");
    for byte in &digest[..6] {
        let _ = write!(id, "{byte:02x}");
    }
    id.into()
}
