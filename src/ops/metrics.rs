//! Prometheus metrics. Labels are bounded: task ids and agents that no policy names are never
//! labels, and a set that is full counts further values under `other`.

mod registry;

use crate::traces::TraceMetrics;
use crate::units::{Meter, NanoUsd};
use parking_lot::RwLock;
use prometheus::{
    Counter, CounterVec, Encoder, Gauge, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Registry, TextEncoder,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Distinct label sets of the per-call metrics; the next one is `other` in every label.
const MAX_LABEL_SETS: usize = 2_000;
/// Distinct tool names; the next one is `other`.
const MAX_TOOLS: usize = 500;

/// Who and what a call's figures are counted under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Labels {
    /// The identity.
    pub identity: Arc<str>,
    /// The role, or `-`.
    pub role: Arc<str>,
    /// The agent if policy names it, else `other`.
    pub agent: Arc<str>,
    /// The provider.
    pub provider: Arc<str>,
    /// The model asked for.
    pub model: Arc<str>,
}

impl Labels {
    fn values(&self) -> [&str; 5] {
        [
            &self.identity,
            &self.role,
            &self.agent,
            &self.provider,
            &self.model,
        ]
    }
}

const CALL_LABELS: [&str; 5] = ["identity", "role", "agent", "provider", "model"];

/// The counters of one label set, looked up once per call.
pub struct CallMetrics {
    cost: Counter,
    input: IntCounter,
    output: IntCounter,
    turns: IntCounter,
}

/// The counters of one provider, looked up once.
pub struct ProviderMetrics {
    /// Answered, also in mid-answer broken off.
    pub answered: IntCounter,
    /// Definite refusals: not billed.
    pub refused: IntCounter,
    /// The connection failed before a byte left.
    pub unreachable: IntCounter,
    /// May be billed, and nobody can say at what.
    pub in_doubt: IntCounter,
    /// Shed: as many calls in flight as there may be.
    pub shed: IntCounter,
    /// Calls sent to the same target once more.
    pub retries: IntCounter,
    /// Calls that went on to another target.
    pub fallbacks: IntCounter,
    /// Targets that a breaker opened.
    pub opened: IntCounter,
}

/// All metrics of this process.
pub struct Metrics {
    registry: Registry,
    calls: RwLock<HashMap<Labels, Arc<CallMetrics>, foldhash::quality::RandomState>>,
    tools_seen: RwLock<HashSet<String>>,
    cost: CounterVec,
    tokens: IntCounterVec,
    turns: IntCounterVec,
    tool_calls: IntCounterVec,
    translated: IntCounterVec,
    hedged: IntCounterVec,
    /// Refusals, by code and limit.
    pub denials: IntCounterVec,
    /// Loops, by kind.
    pub loops: IntCounterVec,
    /// Held now.
    pub held_usd: Gauge,
    /// In doubt now.
    pub in_doubt_usd: Gauge,
    /// Charged beyond holds, ever.
    pub overrun_usd: Counter,
    /// Tasks in memory, by state.
    pub tasks: GaugeVec,
    /// Accounts in memory.
    pub accounts: IntGauge,
    /// Memory of this process, bytes, by kind.
    pub memory: IntGaugeVec,
    /// Calls standing in line.
    pub waiting: IntGauge,
    /// Time spent in Bursar before a call left, seconds.
    pub overhead: Histogram,
    /// From sending to the end of the answer, seconds.
    pub upstream: Histogram,
    /// From sending to the first byte of the body, seconds.
    pub first_token: Histogram,
    /// Age of the oldest journal entry not yet durable, seconds.
    pub journal_lag: Gauge,
    /// Reloads, by result.
    pub reloads: IntCounterVec,
    /// Uses of a fail-open setting, by name.
    pub fail_open: IntCounterVec,
    /// Accounts that crossed their `warn_at`, by limit.
    pub warnings: IntCounterVec,
    /// Calls that a route sent, by route and target as the file has them.
    routes: IntCounterVec,
    /// Tasks answered by another version of a model, by kind.
    pub skews: IntCounterVec,
    /// Calls that a route with `shadow = true` would have sent, by route and target.
    shadows: IntCounterVec,
    /// What those that settled cost, and would have cost.
    shadow_cost: CounterVec,
    /// Conversations trimmed, by limit.
    pub cuts: IntCounterVec,
    /// Questions to people that wait.
    pub open_escalations: IntGauge,
    /// Calls held open for a person.
    pub held_open: IntGauge,
    webhooks: IntCounterVec,
    replays: IntCounterVec,
    saved: CounterVec,
    cache_misses: IntCounter,
    /// Refusals that the journal had no place for.
    pub unjournalled: IntCounter,
    provider_calls: IntCounterVec,
    provider_retries: IntCounterVec,
    provider_fallbacks: IntCounterVec,
    provider_opened: IntCounterVec,
    /// Calls in flight, by provider.
    pub provider_in_flight: IntGaugeVec,
    /// Calls that wait for a place, by provider.
    pub provider_queued: IntGaugeVec,
    /// Targets that calls pass over now, by provider.
    pub provider_open: IntGaugeVec,
    /// Spans.
    pub traces: TraceMetrics,
}

impl Metrics {
    /// The counters of one label set.
    #[must_use]
    pub fn call(&self, labels: &Labels) -> Arc<CallMetrics> {
        if let Some(found) = self.calls.read().get(labels) {
            return Arc::clone(found);
        }
        let mut calls = self.calls.write();
        if calls.len() >= MAX_LABEL_SETS && !calls.contains_key(labels) {
            let other: Arc<str> = "other".into();
            let labels = Labels {
                identity: Arc::clone(&other),
                role: Arc::clone(&other),
                agent: Arc::clone(&other),
                provider: Arc::clone(&other),
                model: other,
            };
            return Arc::clone(
                calls
                    .entry(labels.clone())
                    .or_insert_with(|| Arc::new(self.counters(&labels))),
            );
        }
        Arc::clone(
            calls
                .entry(labels.clone())
                .or_insert_with(|| Arc::new(self.counters(labels))),
        )
    }

    fn counters(&self, labels: &Labels) -> CallMetrics {
        let [identity, role, agent, provider, model] = labels.values();
        let tokens = |kind| {
            self.tokens
                .with_label_values(&[identity, role, agent, provider, model, kind])
        };
        CallMetrics {
            cost: self.cost.with_label_values(&labels.values()),
            input: tokens("input"),
            output: tokens("output"),
            turns: self.turns.with_label_values(&labels.values()),
        }
    }

    /// The counters of one provider.
    #[must_use]
    pub fn provider(&self, name: &str) -> ProviderMetrics {
        let ended = |result| self.provider_calls.with_label_values(&[name, result]);
        ProviderMetrics {
            answered: ended("answered"),
            refused: ended("refused"),
            unreachable: ended("unreachable"),
            in_doubt: ended("in_doubt"),
            shed: ended("shed"),
            retries: self.provider_retries.with_label_values(&[name]),
            fallbacks: self.provider_fallbacks.with_label_values(&[name]),
            opened: self.provider_opened.with_label_values(&[name]),
        }
    }

    /// Counts a refusal.
    pub fn denied(&self, code: &str, limit: &str) {
        self.denials.with_label_values(&[code, limit]).inc();
    }

    /// Counts a try to tell a person: `delivered`, `failed`, `given_up`.
    pub fn webhook(&self, result: &str) {
        self.webhooks.with_label_values(&[result]).inc();
    }

    /// A call is over that a route in shadow mode would have sent; and what it cost and would have cost.
    pub fn shadowed(&self, (route, target): (&str, &str), costs: Option<[NanoUsd; 2]>) {
        self.shadows.with_label_values(&[route, target]).inc();
        let named = ["real", "shadow"]
            .into_iter()
            .zip(costs.into_iter().flatten());
        for (name, cost) in named {
            let labels = [route, target, name];
            self.shadow_cost
                .with_label_values(&labels)
                .inc_by(dollars(cost));
        }
    }

    /// A call goes to a target of a route; both names are the configuration's, so they are few.
    pub fn routed(&self, route: &str, target: &str) {
        self.routes.with_label_values(&[route, target]).inc();
    }

    /// Counts an answer that was given again, and what it had cost: `cache`, `idempotency_key`, `store`.
    pub fn replayed(&self, from: &str, saved: NanoUsd) {
        self.replays.with_label_values(&[from]).inc();
        self.saved.with_label_values(&[from]).inc_by(dollars(saved));
    }

    /// Counts a call whose answer was looked for and not there.
    pub fn cache_missed(&self) {
        self.cache_misses.inc();
    }

    /// Counts tools that an answer asked for.
    pub fn tools(&self, tool: &str, count: u64) {
        let known = self.tools_seen.read().contains(tool);
        let name = if known {
            tool
        } else {
            let mut seen = self.tools_seen.write();
            if seen.len() < MAX_TOOLS {
                seen.insert(tool.to_owned());
                tool
            } else {
                "other"
            }
        };
        self.tool_calls.with_label_values(&[name]).inc_by(count);
    }

    /// A call in this dialect was sent in that one.
    pub fn translated(&self, dialect: &str, target: &str) {
        self.translated.with_label_values(&[dialect, target]).inc();
    }

    /// A second target was to be asked as well; who answered first.
    pub fn hedged(&self, route: &str, result: &str) {
        self.hedged.with_label_values(&[route, result]).inc();
    }

    /// The text exposition.
    ///
    /// # Errors
    /// A metric that cannot be encoded: a fault of this file.
    pub fn text(&self) -> prometheus::Result<String> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }
}

impl CallMetrics {
    /// Counts what a call was charged.
    pub fn charge(&self, charged: &crate::units::Amounts) {
        self.cost.inc_by(dollars(charged.usd()));
        self.input.inc_by(charged[Meter::InputTokens]);
        self.output.inc_by(charged[Meter::OutputTokens]);
        self.turns.inc_by(charged[Meter::Turns]);
    }
}

/// For display only: metrics are floating point by their format, money is not.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "a metric's value, never a balance"
)]
pub fn dollars(nano: NanoUsd) -> f64 {
    nano.0 as f64 / 1e9
}
