//! `on_exceed = "trim"` and `"summarise"`: which messages a call leaves out so that it fits.
//!
//! A conversation that is too long is cut well below its cap, and the following calls are cut at the same
//! place until the cap is met again: so the prefix that leaves stays the same, and the provider's prompt
//! cache keeps hitting.

use super::{Cap, bounds, exceeded};
use crate::dialect::Call;
use crate::dialect::request::trim::bytes_of;
use crate::gateway::contexts::Trimmer;
use crate::stack::Refused;
use crate::stack::admit::Admission;
use crate::store::NoteKind;
use std::fmt;
use std::sync::Arc;

/// A cut goes down to this share of the cap, in hundredths.
const TARGET_PERCENT: u64 = 75;
/// The same where a summary takes part of what is gained: with it the call comes to as much.
const TARGET_BESIDE_SUMMARY_PERCENT: u64 = 50;
/// What a summary adds beside its own bytes, at most, tokens.
const SUMMARY_TOKENS: u64 = 64;

/// What a call left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Messages.
    pub messages: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Bytes of what stands in their place; 0 if nothing does.
    pub summary_bytes: usize,
}

/// The header's value.
impl fmt::Display for Trimmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "messages={} bytes={}", self.messages, self.bytes)?;
        match self.summary_bytes {
            0 => Ok(()),
            bytes => write!(f, " summary={bytes}"),
        }
    }
}

/// A call after trimming.
pub(super) struct Fit {
    /// Its size, if it was judged.
    pub tokens: Option<u64>,
    /// The call that leaves, if it is another.
    pub trimmed: Option<(Arc<Call>, Trimmed)>,
}

/// Where a cut stands: what is left out, and what that leaves.
pub(super) struct Cut {
    /// Messages of the call as it came, in order.
    pub dropped: Vec<usize>,
    call: Arc<Call>,
    /// At most so many input tokens, with what stands in place of what was left out.
    tokens: u64,
    summary: Option<Arc<str>>,
}

/// A cut that must go further.
pub(super) struct Deeper {
    /// Messages that were left out before.
    pub before: Vec<usize>,
    /// What stands in their place.
    pub summary: Option<Arc<str>>,
    pub cut: Cut,
}

/// Cuts the call where its conversation was cut before, and more if it does not fit `within`.
///
/// # Errors
/// `context_exceeded`: not all that may go is enough.
pub(super) fn trim(admission: &Admission, within: Option<&Cap>) -> Result<Fit, Refused> {
    let sent = &admission.call;
    let contexts = &admission.gateway.contexts;
    let whose = Trimmer::of(&admission.attribution);
    let mut cut = cut_before(admission)?;
    if let Some(cap) = within {
        cut.tokens = size(admission, sent, &cut, cap.tokens);
        if cut.tokens > cap.tokens {
            cut = cut_further(admission, cut, cap, TARGET_PERCENT)?;
            contexts.remember_cut(whose, sent, &cut.dropped);
            note(admission, &cut, cap);
        }
    }
    let summarised = cut
        .summary
        .as_ref()
        .and_then(|summary| sent.summarised(&cut.dropped, summary));
    let summary_bytes = match (&summarised, &cut.summary) {
        (Some(_), Some(summary)) => summary.len(),
        _ => 0,
    };
    if let Some(summarised) = summarised {
        let read =
            summarised.map_err(|_| Refused::internal("a summarised body reads as a call"))?;
        cut.call = Arc::new(read);
    }
    let trimmed = Trimmed {
        messages: cut.dropped.len(),
        bytes: bytes_of(sent, &cut.dropped),
        summary_bytes,
    };
    Ok(Fit {
        tokens: within.map(|_| cut.tokens),
        trimmed: (!cut.dropped.is_empty()).then_some((cut.call, trimmed)),
    })
}

/// What must be left out beyond what was before, so that a summary finds room; `None` if the call fits.
///
/// # Errors
/// `context_exceeded`: not all that may go is enough.
pub(super) fn deeper(admission: &Admission, cap: &Cap) -> Result<Option<Deeper>, Refused> {
    let mut cut = cut_before(admission)?;
    cut.tokens = size(admission, &admission.call, &cut, cap.tokens);
    if cut.tokens <= cap.tokens {
        return Ok(None);
    }
    let (before, summary) = (cut.dropped.clone(), cut.summary.clone());
    let cut = cut_further(admission, cut, cap, TARGET_BESIDE_SUMMARY_PERCENT)?;
    Ok(Some(Deeper {
        before,
        summary,
        cut,
    }))
}

/// The call, cut where its conversation was cut before.
fn cut_before(admission: &Admission) -> Result<Cut, Refused> {
    let sent = &admission.call;
    let contexts = &admission.gateway.contexts;
    let whose = Trimmer::of(&admission.attribution);
    let Some(before) = contexts.cut(whose, sent) else {
        return Ok(Cut {
            dropped: Vec::new(),
            call: Arc::clone(sent),
            tokens: 0,
            summary: None,
        });
    };
    Ok(Cut {
        call: without(sent, &before)?,
        tokens: 0,
        summary: contexts.summary(whose, sent, &before),
        dropped: before.to_vec(),
    })
}

fn without(call: &Call, dropped: &[usize]) -> Result<Arc<Call>, Refused> {
    let cut = call.without(dropped);
    let cut = cut.map_err(|_| Refused::internal("a trimmed body reads as a call"))?;
    Ok(Arc::new(cut))
}

/// The size of a cut call: its own bound; or that of the call as it came without what the provider has
/// counted for the messages left out, if that is less. The latter holds until the provider has counted
/// the shorter conversation.
fn size(admission: &Admission, sent: &Call, cut: &Cut, fits: u64) -> u64 {
    let summary = cut.summary.as_ref();
    let summary = summary.map_or(0, |text| text.len() as u64 + SUMMARY_TOKENS);
    let fits = fits.saturating_sub(summary);
    size_without_summary(admission, sent, cut, fits).saturating_add(summary)
}

fn size_without_summary(admission: &Admission, sent: &Call, cut: &Cut, fits: u64) -> u64 {
    let own = bounds::input(admission, &cut.call, fits);
    if own <= fits || cut.dropped.is_empty() {
        return own;
    }
    let whole = bounds::input(admission, sent, fits);
    let weights = weights(sent, &counts(admission, sent), whole);
    own.min(left_without(whole, &weights, &cut.dropped))
}

fn left_without(size: u64, weights: &[u64], dropped: &[usize]) -> u64 {
    if size == u64::MAX {
        return size;
    }
    let gone = dropped.iter().filter_map(|at| weights.get(*at));
    gone.fold(size, |left, weight| left.saturating_sub(*weight))
}

/// Leaves out more, in order, until the call is well below its cap.
fn cut_further(
    admission: &Admission,
    cut: Cut,
    cap: &Cap,
    target_percent: u64,
) -> Result<Cut, Refused> {
    let (call, size) = (&cut.call, cut.tokens);
    let droppable = call.droppable();
    if droppable.is_empty() {
        let besides = if call.ids.previous_response.is_some() || call.prompt.opaque {
            "It goes on from what the provider keeps, which cannot be trimmed from here."
        } else {
            "Nothing in it may be left out."
        };
        return Err(exceeded(admission, cap, size, besides));
    }
    let weights = weights(call, &counts(admission, call), size);
    let target = u128::from(cap.tokens) * u128::from(target_percent) / 100;
    let (mut left, mut going) = (size, Vec::new());
    for unit in droppable {
        if u128::from(left) <= target {
            break;
        }
        left = left_without(left, &weights, &unit);
        going.extend(unit);
    }
    going.sort_unstable();
    let shorter = without(call, &going)?;
    let own = bounds::input(admission, &shorter, cap.tokens);
    let tokens = own.min(left);
    if tokens > cap.tokens {
        let besides = "That is without everything that may be left out.";
        return Err(exceeded(admission, cap, tokens, besides));
    }
    // The places are those of the shorter call: back to those of the call as it came.
    let sent = admission.call.chain.links.len();
    let kept = (0..sent).filter(|at| cut.dropped.binary_search(at).is_err());
    let kept: Vec<usize> = kept.collect();
    let mut dropped = cut.dropped;
    dropped.extend(going.iter().filter_map(|at| kept.get(*at)));
    dropped.sort_unstable();
    Ok(Cut {
        dropped,
        call: shorter,
        tokens,
        summary: None,
    })
}

fn counts(admission: &Admission, call: &Call) -> Vec<Option<u64>> {
    let known = &admission.gateway.known;
    known.counts(call, &admission.routed.model)
}

/// What each message weighs in a call of that size, rounded down: by the provider's counts of the
/// prefixes that end before and with it, or its share by bytes between two counts. What is not counted
/// yet shares what the size has above the last count.
fn weights(call: &Call, counts: &[Option<u64>], size: u64) -> Vec<u64> {
    let links = &call.chain.links;
    let mut weights = vec![0; links.len()];
    let (mut from, mut counted) = (0, 0);
    for to in 1..=links.len() {
        let ends = to == links.len();
        let count = counts.get(to - 1).copied().flatten();
        let Some(upto) = count.or(ends.then_some(size)) else {
            continue;
        };
        let bytes = |range: &std::ops::Range<usize>| range.len() as u128;
        // The first stretch holds everything outside the messages too.
        let outside = if from == 0 {
            let messages: u128 = links.iter().map(|link| bytes(&link.at)).sum();
            (call.body.len() as u128).saturating_sub(messages)
        } else {
            0
        };
        let stretch = &links[from..to];
        let all: u128 = stretch.iter().map(|link| bytes(&link.at)).sum::<u128>() + outside;
        let tokens = u128::from(upto.saturating_sub(counted));
        for (weight, link) in weights[from..to].iter_mut().zip(stretch) {
            let share = tokens * bytes(&link.at) / all.max(1);
            *weight = u64::try_from(share).unwrap_or(u64::MAX);
        }
        (from, counted) = (to, upto);
    }
    weights
}

/// A new cut is journalled and counted; those after it, at the same place, are told in a header.
fn note(admission: &Admission, cut: &Cut, cap: &Cap) {
    let gateway = &admission.gateway;
    let limit = cap.limit.as_str();
    gateway.metrics.cuts.with_label_values(&[limit]).inc();
    let bytes = bytes_of(&admission.call, &cut.dropped);
    let detail = format!(
        "trimmed: {} of {limit} was met by {}; it leaves out {} messages of {bytes} bytes, and up to {} tokens are left of {}",
        cap.name,
        admission.request,
        cut.dropped.len(),
        cut.tokens,
        cap.tokens
    );
    gateway.journal(NoteKind::Trim, limit, &detail);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Dialect, decode};

    fn call() -> Call {
        let say = |role: &str, bytes: usize| {
            format!(r#"{{"role":"{role}","content":"{}"}}"#, "x".repeat(bytes))
        };
        let messages = [
            say("user", 100),
            say("assistant", 300),
            say("user", 100),
            say("user", 500),
        ];
        let body = format!(r#"{{"model":"m","messages":[{}]}}"#, messages.join(","));
        decode(Dialect::OpenaiChat, body.into()).unwrap()
    }

    #[test]
    fn what_the_provider_has_counted_weighs_what_it_counted() {
        let weights = weights(&call(), &[Some(40), None, Some(140), None], 700);
        assert_eq!(weights[1] + weights[2], 99, "100 but for rounding");
        assert!(weights[1] > 2 * weights[2]);
        assert_eq!(weights[3], 560);
        assert!(weights[0] <= 40);
        assert_eq!(left_without(700, &weights, &[1, 2]), 601);
    }

    #[test]
    fn uncounted_messages_weigh_their_share_by_bytes() {
        let call = call();
        let size = call.body.len() as u64;
        let weights = weights(&call, &[], size);
        let bytes: Vec<u64> = call
            .chain
            .links
            .iter()
            .map(|link| link.at.len() as u64)
            .collect();
        assert_eq!(weights, bytes);
        assert_eq!(left_without(u64::MAX, &weights, &[1]), u64::MAX);
    }
}
