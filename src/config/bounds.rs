//! The top-level settings: how calls are admitted, how they are refused, and the bounds that keep
//! one caller from taking the gateway's memory or time.

use super::fault::Place;
use super::glob::Glob;
use super::read::Section;
use super::secret::{self, Secret};
use super::value;
use crate::units::Role;
use std::time::Duration;
use toml::de::DeValue;

/// The keys that stand above the first table.
pub(super) const TOP_LEVEL: [&str; 13] = [
    "policies",
    "wait_for_holds",
    "min_output_tokens",
    "output_when_unasked",
    "unlisted_fields",
    "refusal_status",
    "max_body",
    "max_waiting",
    "max_waiting_bytes",
    "finish_upstream",
    "drain",
    "ops_token",
    "metrics_token",
];

/// What happens to a field that the catalogue does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnlistedFields {
    /// It passes, is journalled and lies outside the guarantee.
    Pass,
    /// The call is refused with `unlisted_field`.
    Refuse,
}

/// Output tokens taken as asked for when the caller names no cap.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputWhenUnasked {
    /// For everybody else.
    pub default: u64,
    /// By role. A role wins over a model.
    pub roles: Vec<(Role, u64)>,
    /// By model; the first match in the file counts.
    pub models: Vec<(Glob, u64)>,
}

impl OutputWhenUnasked {
    /// The number for one call.
    #[must_use]
    pub fn of(&self, model: &str, role: Option<&str>) -> u64 {
        let by_role = role.and_then(|role| self.roles.iter().find(|(r, _)| r.as_str() == role));
        let by_model = || self.models.iter().find(|(glob, _)| glob.matches(model));
        match by_role {
            Some((_, tokens)) => *tokens,
            None => by_model().map_or(self.default, |(_, tokens)| *tokens),
        }
    }
}

/// The top-level settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// How long a call waits for money that is only held.
    pub wait_for_holds: Duration,
    /// A clamp below this many output tokens is no use: the call is denied.
    pub min_output_tokens: u64,
    /// What is taken as asked for when nothing is.
    pub output_when_unasked: OutputWhenUnasked,
    /// Fields that the catalogue does not know.
    pub unlisted_fields: UnlistedFields,
    /// The status of refusals that waiting will not cure: 402, or 429 for the older habit.
    pub refusal_status: u16,
    /// Bytes of a request's body, decoded.
    pub max_body: usize,
    /// Calls that wait for held money at once.
    pub max_waiting: usize,
    /// Bytes of their bodies.
    pub max_waiting_bytes: usize,
    /// How long an upstream answer is read to its usage after the client is gone.
    pub finish_upstream: Duration,
    /// How long a stopping gateway waits for calls in flight.
    pub drain: Duration,
    /// What the API and the dashboard on `ops` ask for; required beyond loopback.
    pub ops_token: Option<Secret>,
    /// What `/metrics` asks for.
    pub metrics_token: Option<Secret>,
    /// Where the file is, for what is found wanting later.
    pub place: Place,
}

/// Default of `output_when_unasked`, in tokens.
const OUTPUT_WHEN_UNASKED: u64 = 8192;
/// Most output tokens that can be configured anywhere.
const MAX_OUTPUT_TOKENS: u64 = 10_000_000;

pub(super) fn read(section: &Section<'_>) -> Bounds {
    let secret = |key: &'static str| {
        let kept = section.get(key, |value| secret::kept(value, |file| section.path(file)));
        kept.map(|kept| Secret::new(kept, section.place_of(key)))
    };
    let seconds = Duration::from_secs;
    let tokens = value::count_in(1, MAX_OUTPUT_TOKENS);
    let fields = [
        ("pass", UnlistedFields::Pass),
        ("refuse", UnlistedFields::Refuse),
    ];
    Bounds {
        wait_for_holds: section.or("wait_for_holds", seconds(30), value::span),
        min_output_tokens: section.or("min_output_tokens", 256, tokens),
        output_when_unasked: output_when_unasked(section),
        unlisted_fields: section.or(
            "unlisted_fields",
            UnlistedFields::Pass,
            value::word(&fields),
        ),
        refusal_status: section.or("refusal_status", 402, |value| match value::count(value)? {
            402 => Ok(402),
            429 => Ok(429),
            other => Err(format!("{other} is neither 402 nor 429")),
        }),
        max_body: section.or("max_body", 32 << 20, value::bytes),
        max_waiting: section.or("max_waiting", 10_000, value::size_in(0, 1_000_000)),
        max_waiting_bytes: section.or("max_waiting_bytes", 256 << 20, value::bytes),
        finish_upstream: section.or("finish_upstream", seconds(120), value::span),
        drain: section.or("drain", seconds(30), value::span),
        ops_token: secret("ops_token"),
        metrics_token: secret("metrics_token"),
        place: section.place(),
    }
}

fn output_when_unasked(parent: &Section<'_>) -> OutputWhenUnasked {
    let key = "output_when_unasked";
    let tokens = value::count_in(1, MAX_OUTPUT_TOKENS);
    if !parent.holds_table(key) {
        return OutputWhenUnasked {
            default: parent.or(key, OUTPUT_WHEN_UNASKED, tokens),
            roles: Vec::new(),
            models: Vec::new(),
        };
    }
    let mut read = OutputWhenUnasked {
        default: OUTPUT_WHEN_UNASKED,
        roles: Vec::new(),
        models: Vec::new(),
    };
    if let Some(section) = parent.section(key) {
        read.default = section.or("default", OUTPUT_WHEN_UNASKED, tokens);
        read.roles = section.pairs("role", |name, value| Ok((name.into(), tokens(value)?)));
        read.models = section.pairs("model", |glob, value: &DeValue<'_>| {
            Ok((glob.into(), tokens(value)?))
        });
        section.close();
    }
    read
}
