//! The row of a call: by far the most frequent one, so it leaves out what goes without saying, and
//! [`CallBody::read`] puts that back.

mod written;

use super::body::Text;
use crate::attribution::{Source, Sourced};
use crate::store::{CallEntry, Ending};
use crate::units::{Amounts, Meter, TraceIds, UnixMs};
use base64::Engine as _;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, de};
#[cfg(test)]
use serde::{Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// How steps are written: only with letters, digits, `-` and `_`.
const STEPS: base64::engine::GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;
/// The status that most answers have.
const OK: u16 = 200;

/// Amounts as a list in the order of [`Meter::ALL`]: `usd` (in nano-dollars), `tokens`,
/// `input_tokens`, `output_tokens`, `fresh_tokens`, `turns`, `attempts`, `tool_calls`, `tasks`,
/// `duration`, `depth`, `fan_out`. Zeros at the end are left out. Reads an object by the meters' names too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally(pub Amounts);

impl Tally {
    fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    /// The quantities without the zeros at the end.
    fn used(&self) -> &[u64] {
        let all = &self.0.0;
        let last = all.iter().rposition(|quantity| *quantity != 0);
        &all[..last.map_or(0, |last| last + 1)]
    }
}

#[cfg(test)]
impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.used())
    }
}

impl<'de> Deserialize<'de> for Tally {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Tally;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("quantities in the order of the meters")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tally, A::Error> {
                let mut amounts = Amounts::ZERO;
                let mut at = 0;
                while let Some(quantity) = list.next_element()? {
                    let slot = amounts.0.get_mut(at);
                    *slot.ok_or_else(|| de::Error::custom("more quantities than meters"))? =
                        quantity;
                    at += 1;
                }
                Ok(Tally(amounts))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tally, A::Error> {
                let mut amounts = Amounts::ZERO;
                while let Some(name) = map.next_key::<Text<'de>>()? {
                    let meter = Meter::from_name(name.as_str())
                        .ok_or_else(|| de::Error::custom(format!("no meter `{}`", name.0)))?;
                    amounts[meter] = map.next_value()?;
                }
                Ok(Tally(amounts))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// The body of [`super::Kind::Call`]. `*_from` says where an attribution came from; without it, from
/// a header of Bursar's own. Written by [`CallBody::write`], which the tests hold to what serde would write.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
#[serde(deny_unknown_fields)]
pub struct CallBody<'a> {
    /// `x-bursar-request-id`.
    #[serde(borrow)]
    pub request: Text<'a>,
    /// Unix milliseconds.
    pub admitted: i64,
    /// Unix milliseconds, as the gateway's clock said. Left out if it is the row's `at`, which never
    /// steps back.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ended: i64,
    /// Whom the identity belongs to.
    pub owner: Text<'a>,
    /// Who authenticated. Left out if it is the owner.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub identity: Text<'a>,
    /// The task.
    pub task: Text<'a>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_from: Option<Text<'a>>,
    /// The agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Text<'a>>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_from: Option<Text<'a>>,
    /// Its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Text<'a>>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_from: Option<Text<'a>>,
    /// The parent agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Text<'a>>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_from: Option<Text<'a>>,
    /// On whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Text<'a>>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of_from: Option<Text<'a>>,
    /// W3C trace id. Left out if it is the request's own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Text<'a>>,
    /// This call's span id. Left out if it is the lower half of the request's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Text<'a>>,
    /// The wire format.
    pub dialect: Text<'a>,
    /// The dialect that it was put into for its provider, if that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated: Option<Text<'a>>,
    /// `first` or `second`, where two targets were asked at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Text<'a>>,
    /// The model that the provider was asked for.
    pub model: Text<'a>,
    /// The route that chose it. Left out if the caller did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Text<'a>>,
    /// The model that the caller asked for, where a route chose another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Text<'a>>,
    /// A route that only tells what it would have done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Text<'a>>,
    /// `provider/model` that it would have sent the call to; without it, it would have refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_to: Option<Text<'a>>,
    /// Nano-dollars that the answer's tokens would have cost there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_usd: Option<u64>,
    /// The provider it went to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Text<'a>>,
    /// The model that answered. Left out of a settled call if it is the one asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<Text<'a>>,
    /// The answer's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_id: Option<Text<'a>>,
    /// `settle`, `unreconciled`, `void`, `denied`.
    pub ending: Text<'a>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text<'a>>,
    /// The limit that refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Text<'a>>,
    /// What was held.
    #[serde(default, skip_serializing_if = "Tally::is_zero")]
    pub quoted: Tally,
    /// What was charged or is in doubt.
    #[serde(default, skip_serializing_if = "Tally::is_zero")]
    pub charged: Tally,
    /// The output cap the provider was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<u64>,
    /// Nano-dollars charged beyond the hold.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overrun: u64,
    /// The price list's version.
    pub prices: Text<'a>,
    /// Tools asked for, with their count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<(Text<'a>, u64)>,
    /// Upstream HTTP status. Left out of a settled call if it is 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the watch found new in it, digests only: base64url of what [`crate::loops::Recording`] wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Text<'a>>,
    /// Which stay in the agent. Left out where nothing tells an agent's stays apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<Text<'a>>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation_from: Option<Text<'a>>,
    /// What later calls can be joined by, digests only: base64url of what [`crate::inference`] wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joins: Option<Text<'a>>,
    /// The accounts charged, by number (see the `account` rows).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<i64>,
}

#[cfg(test)]
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl<'a> CallBody<'a> {
    /// The body of a call's row that will stand at `at`.
    pub(in super::super) fn new(call: &'a CallEntry, at: UnixMs, accounts: Vec<i64>) -> Self {
        let who = &*call.attribution;
        let (agent, agent_from) = sourced(who.agent.as_ref());
        let (role, role_from) = sourced(who.role.as_ref());
        let (parent, parent_from) = sourced(who.parent.as_ref());
        let (on_behalf_of, on_behalf_of_from) = sourced(who.on_behalf_of.as_ref());
        let (invocation, invocation_from) = sourced(who.invocation.as_ref());
        let text = |text: &'a Option<Arc<str>>| text.as_deref().map(Text::from);
        let identity = who.identity.as_str();
        let settled = call.ending == Ending::Settle;
        let (trace, span) = trace_texts(&call.request, call.trace);
        Self {
            request: Text::from(&*call.request),
            admitted: call.admitted.0,
            ended: if call.ended == at { 0 } else { call.ended.0 },
            owner: Text::from(who.owner.as_str()),
            identity: Text::from(if identity == who.owner.as_str() {
                ""
            } else {
                identity
            }),
            task: Text::from(who.task.value.as_str()),
            task_from: source_text(who.task.source),
            agent,
            agent_from,
            role,
            role_from,
            parent,
            parent_from,
            on_behalf_of,
            on_behalf_of_from,
            trace,
            span,
            dialect: Text::from(call.dialect),
            translated: call.translated.map(Text::from),
            hedge: call.hedge.map(Text::from),
            model: Text::from(&*call.model),
            route: text(&call.route),
            asked: text(&call.asked).filter(|asked| *asked.0 != *call.model),
            shadow: call
                .shadow
                .as_ref()
                .map(|shadow| Text::from(&*shadow.route)),
            shadow_to: call.shadow.as_ref().and_then(|shadow| text(&shadow.to)),
            shadow_usd: (call.shadow.as_ref())
                .and_then(|shadow| shadow.usd)
                .map(|usd| usd.0),
            provider: text(&call.provider),
            answered: text(&call.answered)
                .filter(|answered| !settled || *answered.0 != *call.model),
            answer_id: call.answer_id.as_deref().map(Text::from),
            ending: Text::from(call.ending.name()),
            reason: text(&call.reason),
            limit: text(&call.limit),
            quoted: Tally(call.quoted),
            charged: Tally(call.charged),
            told: call.told,
            overrun: call.overrun.0,
            prices: Text::from(&*call.price_version),
            tools: call
                .tools
                .iter()
                .map(|(name, count)| (Text::from(&**name), *count))
                .collect(),
            status: call.status.filter(|status| !settled || *status != OK),
            steps: call
                .steps
                .as_deref()
                .map(|steps| Text::from(STEPS.encode(steps))),
            invocation,
            invocation_from,
            joins: call
                .joins
                .as_deref()
                .map(|joins| Text::from(STEPS.encode(joins))),
            accounts,
        }
    }

    /// Reads a row that stands at `at`, with what went without saying.
    ///
    /// # Errors
    /// The entry is no call's.
    pub fn read(at: UnixMs, entry: &'a str) -> Result<Self, serde_json::Error> {
        let mut call: Self = serde_json::from_str(entry)?;
        if call.ended == 0 {
            call.ended = at.0;
        }
        if call.identity.is_empty() {
            call.identity = call.owner.clone();
        }
        if Ending::from_name(call.ending.as_str()) == Some(Ending::Settle) {
            call.answered = call.answered.or_else(|| Some(call.model.clone()));
            call.status = call.status.or(Some(OK));
        }
        Ok(call)
    }

    /// What the watch found new in it; `None` if that was nothing, or was not kept.
    #[must_use]
    pub fn steps(&self) -> Option<Vec<u8>> {
        let steps = self.steps.as_ref()?;
        STEPS.decode(steps.as_str()).ok()
    }
}

impl CallBody<'_> {
    /// What later calls can be joined by; `None` if nothing was inferred of this one.
    #[must_use]
    pub fn joins(&self) -> Option<Vec<u8>> {
        let joins = self.joins.as_ref()?;
        STEPS.decode(joins.as_str()).ok()
    }
}

/// Trace and span, where the request's id does not tell them.
fn trace_texts(
    request: &str,
    ids: Option<TraceIds>,
) -> (Option<Text<'static>>, Option<Text<'static>>) {
    let Some(TraceIds { trace, span }) = ids else {
        return (None, None);
    };
    let number = crate::units::request_number(request);
    let own_span = number.map(|number| number & u128::from(u64::MAX));
    let hex = |number: u128, digits: usize| Text::from(format!("{number:0digits$x}"));
    (
        (number != Some(trace)).then(|| hex(trace, 32)),
        (own_span != Some(u128::from(span))).then(|| hex(u128::from(span), 16)),
    )
}

fn source_text(source: Source) -> Option<Text<'static>> {
    (source != Source::Header).then(|| Text::from(source.name()))
}

fn sourced<T: AsRef<str>>(field: Option<&Sourced<T>>) -> (Option<Text<'_>>, Option<Text<'static>>) {
    (
        field.map(|field| Text::from(field.value.as_ref())),
        field.and_then(|field| source_text(field.source)),
    )
}
