//! A call that is over, as it is posted to the journal.

use crate::ledger::AccountKey;
use crate::units::{Amounts, NanoUsd, TraceIds, UnixMs};
use std::sync::Arc;

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Charged at what the provider reported.
    Settle,
    /// Charged at a bound, for no evidence was to be had: `unreconciled`, in doubt.
    Unreconciled,
    /// Not charged.
    Void,
    /// Never reached a provider: the call was refused here.
    Denied,
}

impl Ending {
    /// The word in the journal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settle => "settle",
            Self::Unreconciled => "unreconciled",
            Self::Void => "void",
            Self::Denied => "denied",
        }
    }

    /// The ending of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Settle, Self::Unreconciled, Self::Void, Self::Denied]
            .into_iter()
            .find(|ending| ending.name() == name)
    }
}

/// One call, from admission to its end: one row of the journal.
#[derive(Clone, Debug)]
pub struct CallEntry {
    /// `x-bursar-request-id`.
    pub request: Arc<str>,
    /// When it was admitted (or refused).
    pub admitted: UnixMs,
    /// When its hold ended.
    pub ended: UnixMs,
    /// Whose call.
    pub attribution: Arc<crate::attribution::Attribution>,
    /// Its W3C trace and span.
    pub trace: Option<TraceIds>,
    /// The wire format's name.
    pub dialect: &'static str,
    /// The one that it was put into for its provider, if that is another.
    pub translated: Option<&'static str>,
    /// Which of two asks it is, where a second target was asked beside the first.
    pub hedge: Option<&'static str>,
    /// The model asked for.
    pub model: Arc<str>,
    /// The provider it went to.
    pub provider: Option<Arc<str>>,
    /// The model that answered.
    pub answered: Option<Arc<str>>,
    /// The answer's own id.
    pub answer_id: Option<String>,
    /// How it ended.
    pub ending: Ending,
    /// Why, as a word of the code: a refusal's code, `reset`, `no_usage` …; `None` for a plain settle.
    pub reason: Option<Arc<str>>,
    /// The limit that refused it.
    pub limit: Option<Arc<str>>,
    /// What was held.
    pub quoted: Amounts,
    /// What was charged (settle) or is in doubt (unreconciled).
    pub charged: Amounts,
    /// The output cap the provider was told.
    pub told: Option<u64>,
    /// Charged beyond the hold.
    pub overrun: NanoUsd,
    /// The price list's version.
    pub price_version: Arc<str>,
    /// The route that chose the model, by name; `None`: the caller's own choice.
    pub route: Option<Arc<str>>,
    /// The model that the caller asked for, where a route chose.
    pub asked: Option<Arc<str>>,
    /// What a route with `shadow = true` would have done.
    pub shadow: Option<Box<ShadowEntry>>,
    /// Tools asked for by the answer, by name with their count.
    pub tools: Vec<(Arc<str>, u64)>,
    /// Upstream HTTP status.
    pub status: Option<u16>,
    /// What the watch found new in it, as [`crate::loops::Recording`] wrote it.
    pub steps: Option<Arc<[u8]>>,
    /// What later calls can be joined by, as [`crate::inference`] wrote it.
    pub joins: Option<Arc<[u8]>>,
    /// The accounts that covered it.
    pub accounts: Arc<[AccountKey]>,
}

/// What a route would have done with a call, had it not been for `shadow = true`.
#[derive(Clone, Debug)]
pub struct ShadowEntry {
    /// The route.
    pub route: Arc<str>,
    /// `provider/model`; `None`: it would have refused the call.
    pub to: Option<Arc<str>>,
    /// What the tokens of the real answer would have cost there; `None` if nobody can say.
    pub usd: Option<NanoUsd>,
}
