//! Anthropic's `task_budget`: a model that its caller tells of a budget of tokens is told of no more than
//! there is left. Nothing rests on it; it only paces the model.
//!
//! The number stands in front of the conversation for the provider's prompt cache, so it moves in steps:
//! halves and three quarters of powers of two, ten of them from a million tokens to thirty thousand.

use crate::dialect::Call;
use crate::ledger::{Elastic, Remaining};
use crate::tokens::InputBound;
use crate::units::{Amounts, Meter};

/// The most that a marker of what is left takes: a line of words with two numbers in it, tokens.
const MARKER_TOKENS: u64 = 64;

/// The bound on the input with the markers that the provider puts among the messages of a call with a task
/// budget: the caller's bytes do not show them, and they are input like any other. One behind each message
/// at most, and one in front.
pub(super) fn with_markers(call: &Call, input: InputBound) -> InputBound {
    if call.places.task_budget.is_none() {
        return input;
    }
    let markers = call.prompt.messages.saturating_add(1);
    let more = markers.saturating_mul(MARKER_TOKENS);
    InputBound {
        all: input.all.saturating_add(more),
        fresh: input.fresh.saturating_add(more),
    }
}

/// What the call's task budget should say is left, if it says more than that. `held` is the call's own
/// hold, which `remaining` is without.
pub(super) fn task_budget(
    call: &Call,
    remaining: &Remaining,
    held: &Amounts,
    elastic: Option<&Elastic>,
) -> Option<u64> {
    let said = call.places.task_budget.as_ref()?.tokens;
    let output = held[Meter::OutputTokens];
    let tokens = remaining.tokens.map(|left| left.saturating_add(output));
    // Dollars buy output last of all: no more tokens than that can come of them.
    let bought = remaining.usd.zip(elastic).and_then(|(usd, elastic)| {
        let price = u128::from(elastic.nano_per_million);
        let left = u128::from(usd.0.saturating_add(held.usd().0)) * 1_000_000;
        u64::try_from(left.checked_div(price)?).ok()
    });
    let left = tokens.into_iter().chain(bought).min()?;
    (left < said).then(|| step(left))
}

/// The next lower of the numbers that have only one of the two highest bits beyond the first.
const fn step(tokens: u64) -> u64 {
    match tokens.checked_ilog2() {
        None | Some(0) => tokens,
        Some(high) => tokens & (0b11 << (high - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Dialect, Edits, decode, rewrite};
    use crate::units::NanoUsd;
    use serde_json::{Value, json};

    fn call(budget: &Value) -> Call {
        let body = json!({"model": "m", "max_tokens": 9, "output_config": {"effort": "high", "task_budget": budget},
            "messages": [{"role": "user", "content": "Go."}]});
        decode(Dialect::AnthropicMessages, body.to_string().into()).unwrap()
    }

    fn filled(budget: &Value, remaining: Remaining) -> Value {
        let call = call(budget);
        let elastic = Elastic {
            want: 9,
            unasked: None,
            least: 1,
            outputs: 1,
            nano_per_million: 10_000_000_000,
        };
        let held = Amounts::ZERO.with(Meter::OutputTokens, 9);
        let edits = Edits {
            task_budget: task_budget(&call, &remaining, &held, Some(&elastic)),
            ..Edits::default()
        };
        let body: Value = serde_json::from_slice(&rewrite(&call, &edits)).unwrap();
        body["output_config"]["task_budget"].clone()
    }

    #[test]
    fn a_budget_says_no_more_than_there_is() {
        let all = json!({"type": "tokens", "total": 64_000});
        let left = |tokens, usd| Remaining {
            tokens,
            usd,
            ..Remaining::default()
        };
        assert_eq!(filled(&all, left(None, None)), all);
        assert_eq!(filled(&all, left(Some(70_000), None)), all);
        let told = |tokens: u64| json!({"type": "tokens", "total": 64_000, "remaining": tokens});
        assert_eq!(filled(&all, left(Some(40_000), None)), told(32_768));
        assert_eq!(filled(&all, left(Some(50_000), None)), told(49_152));
        // Ten dollars a million: forty cents are 40,000.
        assert_eq!(
            filled(&all, left(Some(50_000), Some(NanoUsd(400_000_000)))),
            told(32_768)
        );
        assert_eq!(
            filled(&told(30_000), left(Some(40_000), None)),
            told(30_000)
        );
        assert_eq!(
            filled(&told(30_000), left(Some(20_000), None)),
            told(16_384)
        );
        assert_eq!(
            filled(&all, left(Some(0), None)),
            told(8),
            "what the call itself holds"
        );
    }

    #[test]
    fn what_is_no_budget_is_left_alone() {
        for budget in [
            json!(null),
            json!({}),
            json!({"total": "many"}),
            json!({"total": -4}),
        ] {
            let left = Remaining {
                tokens: Some(10),
                ..Remaining::default()
            };
            assert_eq!(filled(&budget, left), budget);
        }
    }

    #[test]
    fn markers_are_bounded_where_there_is_a_budget() {
        let bound = |more: Value| {
            let mut body = json!({"model": "m", "max_tokens": 9, "messages": [
                {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]});
            let members = more.as_object().unwrap().clone();
            body.as_object_mut().unwrap().extend(members);
            let call = decode(Dialect::AnthropicMessages, body.to_string().into()).unwrap();
            let bound = with_markers(
                &call,
                InputBound {
                    all: 100,
                    fresh: 40,
                },
            );
            (bound.all, bound.fresh)
        };
        assert_eq!(bound(json!({})), (100, 40));
        let budget = json!({"output_config": {"task_budget": {"type": "tokens", "total": 50_000}}});
        assert_eq!(bound(budget), (100 + 4 * 64, 40 + 4 * 64));
    }
}
