//! The gateway's shared state: what a reload replaces ([`Live`]), and what outlives every reload
//! (purse, tasks, calls in flight, metrics).

pub mod answering;
pub mod contexts;
mod cover;
pub mod doubt;
pub mod health;
mod likeness;
pub mod pins;
pub mod places;
pub mod provider;
pub mod routes;
pub mod seeds;

pub use provider::{NoToken, Provider};

use crate::attribution::Attribution;
use crate::config::{self, Loaded, Unattributed};
use crate::conversation::{Digester, Known};
use crate::dialect::Call;
use crate::escalation::Escalations;
use crate::form::Forms;
use crate::inference::{Inference, Likeness};
use crate::log;
use crate::ops::metrics::{Labels, Metrics};
use crate::price::Catalogue;
use crate::purse::{self, Hold, Purse};
use crate::recall::{Durable, Recall};
use crate::stack::route::WarmCaches;
use crate::stack::socket::Sockets;
use crate::stack::upstream::PoolError;
use crate::stack::watch::Watching;
use crate::store::{CallEntry, Entry, Note, NoteKind};
use crate::task::Tasks;
use crate::traces::{Exporting, Traces};
use crate::units::{AgentId, Owner, ProviderName, Role, TaskId, TaskKey, UnixMs};
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::RwLock;
use provider::ProviderError;
use quick_cache::sync::Cache;
use routes::Routes;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::task::TaskTracker;

/// What one version of the configuration says, ready for use.
pub struct Live {
    /// The files as they were read.
    pub loaded: Loaded,
    /// The price list with its overrides.
    pub catalogue: Arc<Catalogue>,
    /// In the order of the file.
    pub providers: Vec<Arc<Provider>>,
    /// `policies/routes.toml`.
    pub routes: Routes,
    /// Who gets spans.
    pub exporting: Exporting,
    roles: HashMap<AgentId, Role>,
    calendar: Calendar,
    likenesses: likeness::Likenesses,
}

/// Why a configuration that reads well cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// `policies/prices.toml`.
    #[error("{0}")]
    Prices(String),
    /// A provider.
    #[error("provider `{0}`: {1}")]
    Provider(ProviderName, ProviderError),
    /// An exporter of spans.
    #[error("exporter `{0}`: {1}")]
    Exporter(Arc<str>, PoolError),
}

impl Live {
    /// Makes a configuration ready. Providers that did not change keep their connections.
    ///
    /// # Errors
    /// See [`LiveError`].
    pub fn new(loaded: Loaded, before: Option<&Self>) -> Result<Self, LiveError> {
        let catalogue = match &loaded.prices {
            None => Arc::new(Catalogue::builtin()),
            Some((path, text)) => Arc::new(
                Catalogue::with_overrides(text, path)
                    .map_err(|error| LiveError::Prices(error.to_string()))?,
            ),
        };
        let providers = loaded.config.providers.iter().map(|config| {
            let same = before.and_then(|before| {
                before
                    .providers
                    .iter()
                    .find(|provider| provider.config == *config)
            });
            match same {
                Some(same) => Ok(Arc::clone(same)),
                None => Provider::new(config.clone())
                    .map(Arc::new)
                    .map_err(|error| LiveError::Provider(config.name.clone(), error)),
            }
        });
        let providers = providers.collect::<Result<Vec<_>, _>>()?;
        let routes = Routes::new(&loaded.routes, &providers, &loaded.config.providers);
        let known = before.map(|before| &before.exporting);
        let exporting = Exporting::new(&loaded.config.traces, known)
            .map_err(|(name, error)| LiveError::Exporter(name, error))?;
        let roles = loaded.config.agents.iter();
        let roles = roles.filter_map(|agent| Some((agent.id.clone(), agent.role.clone()?)));
        let roles = roles.collect();
        if let Some(before) = before {
            loaded.policies.follow(&before.loaded.policies);
        }
        Ok(Self {
            catalogue,
            providers,
            routes,
            exporting,
            roles,
            calendar: Calendar::default(),
            likenesses: likeness::Likenesses::default(),
            loaded,
        })
    }

    /// `config/bursar.toml`.
    #[must_use]
    pub fn config(&self) -> &config::Config {
        &self.loaded.config
    }

    /// The role configured for an agent.
    #[must_use]
    pub fn role_of(&self, agent: &AgentId) -> Option<&Role> {
        self.roles.get(agent)
    }

    /// Which agent a call looks like.
    #[must_use]
    pub fn likeness(&self, call: &Call) -> Arc<Likeness> {
        self.likenesses.of(call, &self.config().agents)
    }

    /// The owner's task for calls that name none; `None` if such calls are refused.
    #[must_use]
    pub fn unattributed(&self, now: UnixMs) -> Option<TaskId> {
        match self.config().attribution.unattributed {
            Unattributed::Refuse => None,
            Unattributed::Day => Some(self.calendar.task(now, DAY_MS, "%Y-%m-%d")),
            Unattributed::Hour => Some(self.calendar.task(now, HOUR_MS, "%Y-%m-%dT%H")),
        }
    }

    /// What a call's metrics are counted under.
    #[must_use]
    pub fn labels(
        &self,
        attribution: &Attribution,
        provider: &ProviderName,
        model: &Arc<str>,
    ) -> Labels {
        let named = |agent: &AgentId| self.config().agents.iter().any(|known| known.id == *agent);
        let agent = attribution.agent.as_ref().map(|agent| &agent.value);
        Labels {
            identity: attribution.identity.shared(),
            role: attribution
                .role
                .as_ref()
                .map_or_else(|| "-".into(), |role| role.value.shared()),
            agent: match agent {
                Some(agent) if named(agent) => agent.shared(),
                Some(_) => "other".into(),
                None => "-".into(),
            },
            provider: provider.shared(),
            model: Arc::clone(model),
        }
    }
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The name of the present `unattributed` task, made once per day or hour.
#[derive(Default)]
struct Calendar(RwLock<Option<(i64, TaskId)>>);

impl Calendar {
    fn task(&self, now: UnixMs, every_ms: i64, format: &str) -> TaskId {
        let period = now.0.div_euclid(every_ms);
        if let Some((made_for, task)) = &*self.0.read()
            && *made_for == period
        {
            return task.clone();
        }
        let at = jiff::Timestamp::from_millisecond(period * every_ms).unwrap_or_default();
        let task = TaskId::from(format!("unattributed-{}", at.strftime(format)));
        *self.0.write() = Some((period, task.clone()));
        task
    }
}

/// Everything a call may need on its way.
pub struct Gateway {
    live: ArcSwap<Live>,
    /// What is about to take its place.
    coming: ArcSwapOption<cover::Coming>,
    /// The purse.
    pub purse: Arc<Purse>,
    /// The tasks and the calls in flight.
    pub tasks: Arc<Tasks>,
    /// Questions to people.
    pub escalations: Arc<Escalations>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Input counts that providers told, by conversation.
    pub known: Known,
    /// What caps on contexts need to know of conversations.
    pub contexts: contexts::Contexts,
    /// Answers that were handed out, by id.
    pub answers: Answers,
    /// What requests declared of their answers' form.
    pub forms: Forms,
    /// Models that produce more than they are told.
    pub scales: Scales,
    /// As what models answered last.
    pub answering: answering::Answering,
    /// Which models have answered which conversations lately.
    pub warm: WarmCaches,
    /// Which models tasks are held to.
    pub pins: pins::Pins,
    /// Fields that no table lists and that were journalled.
    pub unlisted: Unlisted,
    /// What is remembered of tasks to know loops by.
    pub watching: Watching,
    /// What calls that do not say whose they are can be joined to.
    pub inference: Inference,
    /// Answers that are given again.
    pub recall: Recall,
    /// WebSockets.
    pub sockets: Sockets,
    /// Spans of calls, agents and tasks.
    pub traces: Arc<Traces>,
    finishing: TaskTracker,
    draining: AtomicBool,
}

impl Gateway {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        live: Live,
        purse: Arc<Purse>,
        tasks: Arc<Tasks>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let store = &live.config().store;
        let synced = store.durability == config::Durability::Power;
        let durable = Durable::new(store.sqlite.with_extension("answers.db"), synced);
        let traces = Traces::new();
        let (of_desk, of_tasks) = (Arc::clone(&traces), Arc::clone(&tasks));
        Arc::new(Self {
            recall: Recall::new(durable),
            live: ArcSwap::from_pointee(live),
            escalations: Escalations::new(Arc::clone(&purse), of_tasks, of_desk),
            coming: ArcSwapOption::empty(),
            purse,
            tasks,
            metrics,
            known: Known::new(MAX_KNOWN),
            contexts: contexts::Contexts::default(),
            answers: Answers::default(),
            forms: Forms::default(),
            scales: Scales::default(),
            answering: answering::Answering::default(),
            warm: WarmCaches::default(),
            pins: pins::Pins::default(),
            unlisted: Unlisted::default(),
            watching: Watching::default(),
            inference: Inference::default(),
            sockets: Sockets::default(),
            traces,
            finishing: TaskTracker::new(),
            draining: AtomicBool::new(false),
        })
    }

    /// The configuration in force.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Whether this configuration is the one in force.
    #[must_use]
    pub fn is_in_force(&self, live: &Arc<Live>) -> bool {
        Arc::ptr_eq(live, &self.live.load())
    }

    /// Runs something that outlives its caller but not the gateway: an exchange seen through.
    pub fn finishing(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.finishing.spawn(work);
    }

    /// Waits until every exchange has been seen through.
    pub async fn finished(&self) {
        self.finishing.close();
        self.finishing.wait().await;
    }

    /// An account has crossed its `warn_at`.
    pub fn warn(&self, reached: &crate::ledger::Reached) {
        let limit = config::Limit::name_in(&reached.key.limit);
        self.metrics.warnings.with_label_values(&[limit]).inc();
        tracing::warn!(
            limit,
            meter = reached.meter.name(),
            cap = reached.cap,
            used = reached.used,
            "a limit is nearly used up"
        );
    }

    /// Ends a hold that no call stands behind, and warns of what it used up.
    pub fn end(self: &Arc<Self>, hold: Hold, outcome: purse::Outcome, entry: Box<CallEntry>) {
        let later = || -> purse::Later {
            let (gateway, call) = (Arc::clone(self), log::here());
            Box::new(move |end| {
                let warn = || end.warned.iter().for_each(|reached| gateway.warn(reached));
                log::at(call, warn);
            })
        };
        if let Some(end) = hold.end(outcome, Some(entry), later) {
            end.warned.iter().for_each(|reached| self.warn(reached));
        }
    }

    /// Writes a remark of the gateway's own into the journal; left out while the journal is full.
    pub fn journal(&self, what: NoteKind, subject: &str, detail: &str) {
        if let Ok(place) = self.purse.store().try_reserve() {
            place.post(Entry::Note(Box::new(Note {
                what,
                by: "gateway".into(),
                subject: subject.into(),
                detail: detail.into(),
            })));
        }
    }

    /// The task's span tells its state; closed, it ends.
    pub fn tell_state(&self, record: &crate::store::TaskRecord) {
        self.traces.state(&record.key, record.state);
    }

    /// Tells that a task does not go on as it should.
    pub fn tell(&self, key: &TaskKey, sign: &crate::task::pulse::Sign) {
        let crate::task::pulse::Sign {
            kind,
            at: _,
            detail,
        } = sign;
        let TaskKey { owner, task } = key;
        self.metrics.loops.with_label_values(&[kind]).inc();
        let (task, owner) = (task.as_str(), owner.as_str());
        tracing::warn!(kind, task, owner, "a task does not go on as it should");
        let detail = format!("warn: task {task} of {owner}: {detail}");
        self.journal(NoteKind::Alarm, &format!("loop {kind}"), &detail);
    }

    /// From now on new calls are refused.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.escalations.drain();
        self.sockets.stop();
    }

    /// New calls are refused: the gateway is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Prefixes of conversations whose token counts are remembered, about 100 bytes each.
const MAX_KNOWN: u64 = 20_000;
/// Answers remembered, by owner and id; beyond it the least used are let go. Nothing that a balance
/// depends on: a forgotten answer only makes a bound wider.
const MAX_ANSWERS: usize = 100_000;

/// What is remembered of an answer that was handed out.
#[derive(Clone, Debug)]
pub struct Handed {
    /// The task it belongs to.
    pub task: TaskId,
    /// Its input and output together: the context that a call continuing it begins with.
    pub tokens: u64,
    /// Who gave it: nobody else knows it.
    pub provider: ProviderName,
    /// The model that was asked.
    pub model: Arc<str>,
}

/// Answers that were handed out, by a keyed digest of owner and id; some 120 bytes each.
pub struct Answers(Cache<u128, Handed>);

impl Default for Answers {
    fn default() -> Self {
        Self(Cache::new(MAX_ANSWERS))
    }
}

impl Answers {
    /// Remembers an answer.
    pub fn remember(
        &self,
        attribution: &Attribution,
        id: &str,
        tokens: u64,
        (provider, model): (&ProviderName, &Arc<str>),
    ) {
        let handed = Handed {
            task: attribution.task.value.clone(),
            tokens,
            provider: provider.clone(),
            model: Arc::clone(model),
        };
        self.0.insert(Self::place(&attribution.owner, id), handed);
    }

    /// What is known of an answer of this owner.
    #[must_use]
    pub fn find(&self, owner: &Owner, id: &str) -> Option<Handed> {
        self.0.get(&Self::place(owner, id))
    }

    fn place(owner: &Owner, id: &str) -> u128 {
        let mut digester = Digester::default();
        for part in ["answer", owner.as_str(), id] {
            digester.add(part.as_bytes());
            digester.end();
        }
        digester.digest()
    }
}

/// Field names remembered as journalled.
const MAX_UNLISTED: usize = 1_000;

/// Fields that no table lists: each is journalled once a run.
#[derive(Default)]
pub struct Unlisted(RwLock<std::collections::HashSet<String>>);

impl Unlisted {
    /// True the first time; false once so many are known that the journal would fill with them.
    pub fn is_new(&self, field: &str) -> bool {
        if self.0.read().contains(field) {
            return false;
        }
        let mut seen = self.0.write();
        seen.len() < MAX_UNLISTED && seen.insert(field.to_owned())
    }
}

/// Models remembered for producing more than they were told.
const MAX_SCALES: usize = 10_000;

/// By how much a model's output bound must be stretched: it once produced more than it was told.
#[derive(Default)]
pub struct Scales(RwLock<HashMap<(ProviderName, Arc<str>), u64>>);

impl Scales {
    /// Learns that `produced` tokens came where `told` were allowed.
    pub fn learn(&self, provider: &ProviderName, model: &Arc<str>, produced: u64, told: u64) {
        if produced <= told {
            return;
        }
        let scale = produced.div_ceil(told.max(1)).min(1_000);
        let mut scales = self.0.write();
        let key = (provider.clone(), Arc::clone(model));
        if scales.len() < MAX_SCALES || scales.contains_key(&key) {
            let kept = scales.entry(key).or_insert(1);
            *kept = scale.max(*kept);
        }
    }

    /// The factor for a model; 1 for those that do as they are told.
    #[must_use]
    pub fn of(&self, provider: &ProviderName, model: &Arc<str>) -> u64 {
        let scales = self.0.read();
        if scales.is_empty() {
            return 1;
        }
        scales
            .get(&(provider.clone(), Arc::clone(model)))
            .copied()
            .unwrap_or(1)
    }
}
