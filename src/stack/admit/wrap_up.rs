//! `on_exceed = "wrap_up"`: an agent is told in time what is left, and when its cap is reached it gets
//! one last small call without tools, out of a reserve, to hand back what it has.
//!
//! The reserve is part of the cap: usual calls are held to what is left beside it, a last call to the
//! whole. Who had its last call is known in this process only; after a restart an agent may get
//! another, and the cap holds all the same.

use super::Admission;
use crate::config::Policies;
use crate::dialect::takes_notice;
use crate::ledger::{Cover, Denial};
use crate::ops::show;
use crate::store::NoteKind;
use crate::task::Task;
use crate::tokens::InputBound;
use crate::units::Meter;
use serde_json::Value;

/// Output tokens of a last call, at most; what the caller gives to thinking comes on top.
pub const LAST_TOKENS: u64 = 1_024;
/// What a notice adds to the prompt beside its own bytes, tokens.
const NOTICE_TOKENS: u64 = 64;
/// An agent is told once this share of a cap is used, in thousandths, unless `warn_at` says otherwise.
const TOLD_AT_PERMILLE: u16 = 800;

/// The word in `x-bursar-notice` for a model that is told of its context.
pub const NUDGED: &str = "context";

/// What is said to the model with this call.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// It is the last one, by this limit.
    last: Option<String>,
    /// The notice.
    notice: Option<String>,
}

impl Words {
    /// The word in `x-bursar-notice`.
    const fn name(&self) -> Option<&'static str> {
        match (&self.last, &self.notice) {
            (Some(_), _) => Some("wrap_up"),
            (None, Some(_)) => Some("remaining"),
            (None, None) => None,
        }
    }
}

impl Admission {
    /// Some limit has words for the model at all; most deployments have none.
    fn may_speak(&self) -> bool {
        self.live.loaded.policies.wraps_up()
    }

    /// It is its agent's last call.
    pub(super) fn is_last(&self) -> bool {
        self.may_speak() && self.words.lock().last.is_some()
    }

    /// What is said to the model.
    pub(super) fn notice(&self) -> Option<String> {
        let words = self.may_speak().then(|| self.words.lock().notice.clone());
        let of_context = || self.fitted.nudge.as_ref().map(|(text, _)| text.clone());
        words.flatten().or_else(of_context)
    }

    /// What kind of notice that is.
    pub(super) fn notice_name(&self) -> Option<&'static str> {
        let words = self.may_speak().then(|| self.words.lock().name());
        let of_context = || self.fitted.nudge.as_ref().map(|_| NUDGED);
        words.flatten().or_else(of_context)
    }

    /// The reserve is kept from usual calls. A last call makes no tool calls, so none are counted
    /// against it.
    pub(super) fn keep_reserve(&self, policies: &Policies, covers: &mut [Cover]) {
        let last = self.is_last();
        for cover in covers {
            let Some(limit) = policies.by_id(&cover.key.limit) else {
                continue;
            };
            if limit.reserve.is_none() {
                continue;
            }
            if last {
                cover.caps.0[Meter::ToolCalls as usize] = None;
            } else {
                cover.caps = limit.without_reserve(&cover.caps);
            }
        }
    }

    /// The denial of a usual call leaves its agent a last one.
    pub(super) fn begins_last(&self, task: &Task, denial: &Denial) -> bool {
        let policies = &self.live.loaded.policies;
        let Some(limit) = policies.by_id(&denial.key.limit) else {
            return false;
        };
        // An agent that must not come in has nothing to hand back.
        let comes_in = matches!(denial.meter, Meter::Depth | Meter::FanOut);
        let has_none = comes_in || self.aside || self.is_last();
        if has_none || limit.reserve.is_none() || !takes_notice(&self.call) {
            return false;
        }
        let agent = self.attribution.agent.as_ref();
        let agent = agent.map_or("-", |agent| agent.value.as_str());
        if !task.take_last_call(&denial.key.limit, agent, denial.cap) {
            return false;
        }
        let name = limit.name.as_str();
        self.words.lock().last = Some(format!("\"{name}\" ({})", denial.meter.name()));
        let task = &self.attribution.task.value;
        let detail = format!("agent {agent} of task {task} gets its last call");
        self.gateway.journal(NoteKind::Alarm, name, &detail);
        true
    }

    /// Chooses what is said to the model, before the call is quoted.
    pub(super) fn choose_words(&self, covers: &[Cover]) {
        let near = if self.is_last() || !takes_notice(&self.call) {
            None
        } else {
            self.near(covers)
        };
        let mut words = self.words.lock();
        words.notice = match &words.last {
            Some(limit) => Some(format!(
                "Note from the gateway, not from the user: the limit {limit} is reached and this is your last call in this task. \
                 Tools are switched off. Answer now with what you have: the results so far, what is missing, and what should be done next."
            )),
            None => near,
        };
    }

    /// What is left under the first cap that is nearly used up.
    fn near(&self, covers: &[Cover]) -> Option<String> {
        let policies = &self.live.loaded.policies;
        let wrapping = |cover: &&Cover| {
            let limit = policies.by_id(&cover.key.limit);
            limit.is_some_and(|limit| limit.reserve.is_some())
        };
        let near = self.gateway.purse.look(|ledger| {
            covers.iter().filter(wrapping).find_map(|cover| {
                let view = ledger.account(&cover.key).filter(|view| view.loaded)?;
                let permille = u128::from(cover.warn_permille.unwrap_or(TOLD_AT_PERMILLE));
                [Meter::Usd, Meter::Tokens, Meter::Turns]
                    .into_iter()
                    .find_map(|meter| {
                        let cap =
                            cover.caps.0[meter as usize]?.saturating_add(view.topped_up[meter]);
                        let used = view.settled[meter]
                            .saturating_add(view.in_doubt[meter])
                            .saturating_add(view.held[meter]);
                        let is_near = u128::from(used) * 1_000 >= u128::from(cap) * permille;
                        is_near.then(|| {
                            (
                                cover.key.limit.clone(),
                                meter,
                                cap.saturating_sub(used),
                                cap,
                            )
                        })
                    })
            })
        });
        let (limit, meter, left, cap) = near?;
        let name = crate::config::Limit::name_in(&limit);
        let (left, cap) = (spoken(meter, left), spoken(meter, cap));
        Some(format!(
            "Note from the gateway, not from the user: {left} of {cap} are left under the limit \"{name}\". Come to an end soon."
        ))
    }

    /// The bound on the input with what is said on top: a byte is a token at most.
    pub(super) fn with_notice(&self, input: InputBound) -> InputBound {
        let Some(text) = self.notice() else {
            return input;
        };
        let more = text.len() as u64 + NOTICE_TOKENS;
        InputBound {
            all: input.all.saturating_add(more),
            fresh: input.fresh.saturating_add(more),
        }
    }
}

fn spoken(meter: Meter, quantity: u64) -> String {
    match show::quantity(meter, quantity) {
        Value::String(usd) => format!("${usd}"),
        number => format!("{number} {}", meter.name()),
    }
}
