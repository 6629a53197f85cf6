//! Every metric with its name, its help and its labels, as it is registered at the start.

use super::{CALL_LABELS, Metrics};
use crate::traces::TraceMetrics;
use parking_lot::RwLock;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry,
};

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Two metrics of one name: a fault of this file.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let tokens_labels = ["identity", "role", "agent", "provider", "model", "type"];
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))
        };
        let fine = vec![
            25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 0.25, 1.0, 5.0,
        ];
        let coarse = vec![
            0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
        ];
        let metrics = Self {
            calls: RwLock::default(),
            tools_seen: RwLock::default(),
            cost: CounterVec::new(
                Opts::new("bursar_cost_usd_total", "Dollars charged"),
                &CALL_LABELS,
            )?,
            tokens: IntCounterVec::new(
                Opts::new("bursar_tokens_total", "Tokens charged"),
                &tokens_labels,
            )?,
            turns: IntCounterVec::new(
                Opts::new(
                    "bursar_turns_total",
                    "Generation calls sent and not refused",
                ),
                &CALL_LABELS,
            )?,
            translated: IntCounterVec::new(
                Opts::new(
                    "bursar_translated_calls_total",
                    "Calls sent in another dialect than their caller's",
                ),
                &["dialect", "target"],
            )?,
            hedged: IntCounterVec::new(
                Opts::new(
                    "bursar_hedged_calls_total",
                    "Calls that a second target was to be asked as well, by who answered first",
                ),
                &["route", "result"],
            )?,
            tool_calls: IntCounterVec::new(
                Opts::new("bursar_tool_calls_total", "Tool calls asked for by answers"),
                &["tool"],
            )?,
            denials: IntCounterVec::new(
                Opts::new("bursar_denials_total", "Calls refused here"),
                &["code", "limit"],
            )?,
            loops: IntCounterVec::new(
                Opts::new("bursar_loops_total", "Loops detected"),
                &["kind"],
            )?,
            held_usd: Gauge::new("bursar_held_usd", "Dollars held for calls in flight")?,
            in_doubt_usd: Gauge::new("bursar_in_doubt_usd", "Dollars perhaps spent")?,
            overrun_usd: Counter::new("bursar_overrun_usd_total", "Dollars charged beyond holds")?,
            tasks: GaugeVec::new(Opts::new("bursar_tasks", "Tasks, by state"), &["state"])?,
            accounts: IntGauge::new("bursar_accounts", "Accounts in memory")?,
            memory: IntGaugeVec::new(
                Opts::new("bursar_memory_bytes", "Memory of this process, by kind"),
                &["kind"],
            )?,
            waiting: IntGauge::new("bursar_waiting_calls", "Calls waiting for held money")?,
            overhead: histogram(
                "bursar_overhead_seconds",
                "Time spent in Bursar before a call left",
                fine,
            )?,
            upstream: histogram(
                "bursar_upstream_seconds",
                "From sending to the end of the answer",
                coarse.clone(),
            )?,
            first_token: histogram(
                "bursar_time_to_first_token_seconds",
                "From sending to the first byte of the body",
                coarse,
            )?,
            journal_lag: Gauge::new(
                "bursar_journal_lag_seconds",
                "Age of the oldest journal entry that is not durable yet",
            )?,
            reloads: IntCounterVec::new(
                Opts::new(
                    "bursar_config_reloads_total",
                    "Reloads of the configuration",
                ),
                &["result"],
            )?,
            fail_open: IntCounterVec::new(
                Opts::new(
                    "bursar_fail_open_total",
                    "Uses of a setting that fails open",
                ),
                &["setting"],
            )?,
            warnings: IntCounterVec::new(
                Opts::new(
                    "bursar_limit_warnings_total",
                    "Accounts that crossed their warn_at",
                ),
                &["limit"],
            )?,
            routes: IntCounterVec::new(
                Opts::new(
                    "bursar_routed_calls_total",
                    "Calls admitted to a target of a route",
                ),
                &["route", "target"],
            )?,
            skews: IntCounterVec::new(
                Opts::new(
                    "bursar_model_skew_total",
                    "Tasks answered by other versions of a model than before, or than other agents",
                ),
                &["kind"],
            )?,
            shadows: IntCounterVec::new(
                Opts::new(
                    "bursar_shadow_calls_total",
                    "Calls that a route in shadow mode would have sent",
                ),
                &["route", "target"],
            )?,
            shadow_cost: CounterVec::new(
                Opts::new(
                    "bursar_shadow_cost_usd_total",
                    "Dollars that such calls cost, and would have cost",
                ),
                &["route", "target", "cost"],
            )?,
            cuts: IntCounterVec::new(
                Opts::new(
                    "bursar_context_cuts_total",
                    "Conversations trimmed to a cap on their context",
                ),
                &["limit"],
            )?,
            open_escalations: IntGauge::new(
                "bursar_escalations_open",
                "Questions that wait for a person",
            )?,
            held_open: IntGauge::new(
                "bursar_held_open_calls",
                "Calls held open until a person decides",
            )?,
            webhooks: IntCounterVec::new(
                Opts::new(
                    "bursar_webhook_tries_total",
                    "Tries to tell a person by webhook",
                ),
                &["result"],
            )?,
            replays: IntCounterVec::new(
                Opts::new("bursar_replayed_total", "Answers given again"),
                &["from"],
            )?,
            saved: CounterVec::new(
                Opts::new(
                    "bursar_saved_usd_total",
                    "Dollars that answers given again had cost",
                ),
                &["from"],
            )?,
            cache_misses: IntCounter::new(
                "bursar_cache_misses_total",
                "Calls that could have been answered from the cache and were not in it",
            )?,
            unjournalled: IntCounter::new(
                "bursar_unjournalled_denials_total",
                "Refusals that the journal had no place for",
            )?,
            provider_calls: IntCounterVec::new(
                Opts::new(
                    "bursar_provider_calls_total",
                    "Tries at a provider, by how they ended",
                ),
                &["provider", "result"],
            )?,
            provider_retries: IntCounterVec::new(
                Opts::new(
                    "bursar_provider_retries_total",
                    "Calls sent once more to the same target",
                ),
                &["provider"],
            )?,
            provider_fallbacks: IntCounterVec::new(
                Opts::new(
                    "bursar_provider_fallbacks_total",
                    "Calls that went on from this provider to another target",
                ),
                &["provider"],
            )?,
            provider_opened: IntCounterVec::new(
                Opts::new(
                    "bursar_provider_opened_total",
                    "Targets that a breaker opened",
                ),
                &["provider"],
            )?,
            provider_in_flight: IntGaugeVec::new(
                Opts::new("bursar_provider_in_flight", "Calls in flight, by provider"),
                &["provider"],
            )?,
            provider_queued: IntGaugeVec::new(
                Opts::new(
                    "bursar_provider_queued",
                    "Calls that wait for a place at a provider",
                ),
                &["provider"],
            )?,
            provider_open: IntGaugeVec::new(
                Opts::new(
                    "bursar_provider_open_targets",
                    "Targets that calls pass over now",
                ),
                &["provider"],
            )?,
            traces: TraceMetrics::new(&registry)?,
            registry,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> prometheus::Result<()> {
        let all: [Box<dyn prometheus::core::Collector>; 41] = [
            Box::new(self.cost.clone()),
            Box::new(self.tokens.clone()),
            Box::new(self.turns.clone()),
            Box::new(self.tool_calls.clone()),
            Box::new(self.translated.clone()),
            Box::new(self.hedged.clone()),
            Box::new(self.denials.clone()),
            Box::new(self.loops.clone()),
            Box::new(self.held_usd.clone()),
            Box::new(self.in_doubt_usd.clone()),
            Box::new(self.overrun_usd.clone()),
            Box::new(self.tasks.clone()),
            Box::new(self.accounts.clone()),
            Box::new(self.memory.clone()),
            Box::new(self.waiting.clone()),
            Box::new(self.overhead.clone()),
            Box::new(self.upstream.clone()),
            Box::new(self.first_token.clone()),
            Box::new(self.journal_lag.clone()),
            Box::new(self.reloads.clone()),
            Box::new(self.fail_open.clone()),
            Box::new(self.warnings.clone()),
            Box::new(self.routes.clone()),
            Box::new(self.skews.clone()),
            Box::new(self.shadows.clone()),
            Box::new(self.shadow_cost.clone()),
            Box::new(self.cuts.clone()),
            Box::new(self.unjournalled.clone()),
            Box::new(self.open_escalations.clone()),
            Box::new(self.held_open.clone()),
            Box::new(self.webhooks.clone()),
            Box::new(self.provider_calls.clone()),
            Box::new(self.provider_retries.clone()),
            Box::new(self.provider_fallbacks.clone()),
            Box::new(self.provider_opened.clone()),
            Box::new(self.provider_in_flight.clone()),
            Box::new(self.provider_queued.clone()),
            Box::new(self.provider_open.clone()),
            Box::new(self.replays.clone()),
            Box::new(self.saved.clone()),
            Box::new(self.cache_misses.clone()),
        ];
        all.into_iter()
            .try_for_each(|collector| self.registry.register(collector))
    }
}
