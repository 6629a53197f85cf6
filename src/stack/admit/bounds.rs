//! The most that a call can cost on each meter: its price card, the bound on its input, the quote.

use super::covers::Covers;
use super::wrap_up::LAST_TOKENS;
use super::{Admission, pace};
use crate::config::{Preset, UnlistedFields};
use crate::conversation::Lane;
use crate::dialect::{Call, Dialect};
use crate::ledger::Elastic;
use crate::price::{self, Card, Settings, Tokenizer, Unpriceable, Unpriced};
use crate::stack::{Code, Refused};
use crate::tokens::{self, Encoding, InputBound, Overheads};
use crate::units::{Amounts, Meter, NanoUsd};
use std::sync::Arc;

/// The bounds of one call.
pub struct Bound {
    /// The price card; `None` where no cap in dollars needs one.
    pub card: Option<Arc<Card>>,
    /// Input, fees, the turn.
    pub fixed: Amounts,
    /// The output side.
    pub elastic: Option<Elastic>,
    /// Some cap counts attempts.
    pub counts_attempts: bool,
    /// It is its agent's last call, and the provider is told how small.
    pub is_last: bool,
    /// Input tokens counted by the provider before.
    pub known_input: u64,
    /// Where this call's count will be kept.
    pub lane: Lane,
    /// The field under which the target honours an output cap.
    pub cap_field: Option<&'static str>,
}

/// Worst cases where no card tells: as a large model's.
const UNKNOWN: Overheads = Overheads {
    per_request: 64,
    per_message: 16,
    per_tool: 64,
    per_builtin_tool: 4_096,
    tool_prompt: 1_024,
    structured: 512,
    per_ref_schema: 4_096,
    worst_image: 20_000,
    worst_file: 500_000,
    worst_audio: 100_000,
    worst_unknown: 500_000,
    context_window: None,
};

impl Bound {
    /// Works the bounds out.
    ///
    /// # Errors
    /// The call cannot be bounded, and a cap that it falls under needs it to be. Not journalled yet.
    pub fn of(admission: &Admission, covers: &Covers) -> Result<Self, Refused> {
        let (call, live) = (&admission.call, &admission.live);
        let in_usd = covers.bind(|meter| meter == Meter::Usd);
        let shape = [Meter::Duration, Meter::Depth, Meter::FanOut];
        let capped = covers.bind(|meter| !shape.contains(&meter));
        if call.background && capped {
            return Err(in_background());
        }
        if live.config().bounds.unlisted_fields == UnlistedFields::Refuse
            && let Some(field) = call.unlisted.first()
        {
            return Err(unlisted(field));
        }
        let provider = &admission.routed.provider;
        let model = &*admission.routed.model;
        let card = match live.catalogue.find(provider.family(), model) {
            Ok(card) => Some(card),
            Err(unpriced) => match &provider.config.ceiling {
                Some(ceiling) => Some(Arc::new(Card::ceiling(
                    model,
                    ceiling.input,
                    ceiling.output,
                ))),
                None if in_usd => return Err(no_price(&unpriced)),
                None => None,
            },
        };
        let overheads = card.as_deref().map_or(UNKNOWN, overheads);
        let seen = admission.gateway.known.seen(call, model);
        let input = tokens::input_bound(call, &overheads, &seen);
        let mut bound = Self {
            cap_field: cap_field(admission, card.as_deref()),
            known_input: seen.prefix.as_ref().map_or(0, |prefix| prefix.tokens),
            lane: seen.lane,
            card,
            is_last: false,
            counts_attempts: provider.config.resilience.retry.max > 0
                && covers.bind(|meter| meter == Meter::Attempts),
            fixed: Amounts::ZERO,
            elastic: None,
        };
        bound.quote(admission, input, in_usd)?;
        Ok(bound)
    }

    fn quote(
        &mut self,
        admission: &Admission,
        input: InputBound,
        in_usd: bool,
    ) -> Result<(), Refused> {
        let call = &admission.call;
        let input = pace::with_markers(call, admission.with_notice(input));
        let bounds = &admission.live.config().bounds;
        let role = admission
            .attribution
            .role
            .as_ref()
            .map(|role| role.value.as_str());
        let settings = Settings {
            min_output_tokens: bounds.min_output_tokens,
            output_when_unasked: bounds.output_when_unasked.of(&admission.routed.model, role),
            known_prefix_tokens: input.all.saturating_sub(input.fresh),
            at: admission.now,
            longest: admission.routed.provider.timeouts.total,
            ..Settings::default()
        };
        let turn = call.dialect.generates();
        let quoted = self
            .card
            .as_ref()
            .map(|card| price::quote(card, call, input.all, turn, &settings));
        (self.fixed, self.elastic) = match quoted {
            Some(Ok(quote)) => (quote.fixed, quote.elastic),
            Some(Err(why)) if in_usd => return Err(no_quote(&why)),
            Some(Err(_)) | None => unpriced(call, input, &settings),
        };
        let fee = admission.routed.provider.refusal_fee(call.dialect);
        if self.fixed.usd() < fee {
            self.fixed = self.fixed.with(Meter::Usd, fee.0);
        }
        if let Some(elastic) = &mut self.elastic {
            let routed = &admission.routed;
            let scale = admission
                .gateway
                .scales
                .of(&routed.provider.name, &routed.model);
            elastic.outputs = elastic.outputs.saturating_mul(scale);
            // Without a field to say it in, a smaller number would rest on nothing.
            if self.cap_field.is_none() {
                elastic.least = elastic.want;
                elastic.unasked = None;
            } else if admission.is_last() && !call.unclampable {
                let thinking = call.thinking_budget.unwrap_or(0);
                elastic.want = elastic.want.min(LAST_TOKENS.saturating_add(thinking));
                elastic.least = elastic.least.min(elastic.want);
                elastic.unasked = None;
                self.is_last = true;
            }
        }
        Ok(())
    }

    /// What a router is told of prices, so that the quote's are the dearest it can choose. A caller who tells
    /// it anything about its choice itself is refused where a price matters.
    pub(super) fn max_price(&self, preset: &Preset, call: &Call) -> Option<[NanoUsd; 2]> {
        let says = |field: &String| field == "provider";
        if !preset.tells_max_price || call.selectors.surcharges.iter().any(says) {
            return None;
        }
        let most = self.card.as_ref()?.most_plain();
        let is_free = most == [NanoUsd::ZERO; 2];
        (call.dialect.generates() && !is_free).then_some(most)
    }

    /// The same with the real tokenizer's count, where it is public and the count is smaller.
    #[must_use]
    pub fn tighter(&self, admission: &Admission) -> Option<Self> {
        let card = self.card.as_ref()?;
        let encoding = encoding(card)?;
        let call = &admission.call;
        let seen = admission.gateway.known.seen(call, &admission.routed.model);
        let input = tokens::exact_bound(encoding, call, &overheads(card), &seen)?;
        let mut tighter = Self {
            counts_attempts: self.counts_attempts,
            card: self.card.clone(),
            fixed: Amounts::ZERO,
            elastic: None,
            known_input: self.known_input,
            lane: self.lane,
            cap_field: self.cap_field,
            is_last: false,
        };
        tighter.quote(admission, input, false).ok()?;
        Some(tighter)
    }
}

/// A bound on a call's input tokens as the quote has it; with the real tokenizer's count where the first
/// bound is above `fits` and the count is smaller. Unlike the quote's it is not held down to the context
/// window, so that what is left out of it can be taken off. `u64::MAX`: nothing bounds it.
pub(super) fn input(admission: &Admission, call: &Call, fits: u64) -> u64 {
    let model = &*admission.routed.model;
    let family = admission.routed.provider.family();
    let card = admission.live.catalogue.find(family, model).ok();
    let overheads = Overheads {
        context_window: None,
        ..card.as_deref().map_or(UNKNOWN, overheads)
    };
    let seen = admission.gateway.known.seen(call, model);
    let cheap = tokens::input_bound(call, &overheads, &seen).all;
    if cheap <= fits {
        return cheap;
    }
    let encoding = card.as_deref().and_then(encoding);
    let exact =
        encoding.and_then(|encoding| tokens::exact_bound(encoding, call, &overheads, &seen));
    exact.map_or(cheap, |exact| exact.all.min(cheap))
}

/// The target's context window, where the catalogue knows it: no prompt is longer.
pub(super) fn window(admission: &Admission) -> Option<u64> {
    let family = admission.routed.provider.family();
    let card = admission
        .live
        .catalogue
        .find(family, &admission.routed.model);
    card.ok()?.context_window
}

/// The model's tokenizer, where it is public.
fn encoding(card: &Card) -> Option<Encoding> {
    match card.tokenizer {
        Tokenizer::O200k => Some(Encoding::O200k),
        Tokenizer::Cl100k => Some(Encoding::Cl100k),
        _ => None,
    }
}

/// What this model and its provider add to literal text.
fn overheads(card: &Card) -> Overheads {
    // Where the catalogue names no worst case, the window is one.
    let window = card.context_window.unwrap_or(u64::MAX);
    let worst = |tokens: Option<u64>| tokens.unwrap_or(window);
    let (image, file, audio) = (
        worst(card.worst_image_tokens),
        worst(card.worst_file_tokens),
        worst(card.worst_audio_tokens),
    );
    Overheads {
        per_request: UNKNOWN.per_request,
        per_message: card.message_tokens,
        per_tool: card.tool_tokens,
        per_builtin_tool: UNKNOWN.per_builtin_tool,
        tool_prompt: card.tool_prompt_tokens,
        structured: card.structured_tokens,
        per_ref_schema: UNKNOWN.per_ref_schema,
        worst_image: image,
        worst_file: file,
        worst_audio: audio,
        worst_unknown: image.max(file).max(audio),
        context_window: card.context_window,
    }
}

/// The field under which this target honours an output cap, in the call's dialect.
fn cap_field(admission: &Admission, card: Option<&Card>) -> Option<&'static str> {
    let (call, dialect) = (&admission.call, admission.call.dialect);
    let configured = admission.routed.provider.output_cap_field();
    match (dialect, configured) {
        (Dialect::OpenaiChat, Some(field)) => Some(field.name()),
        (Dialect::OpenaiEmbeddings, _) => None,
        (Dialect::OpenaiResponses, _) => Some("max_output_tokens"),
        (Dialect::Gemini, _) => Some("maxOutputTokens"),
        (Dialect::Bedrock, _) => Some("maxTokens"),
        // OpenAI itself hears this one for every model, and refuses a request that has both.
        (Dialect::OpenaiChat, None)
            if card.is_some_and(|card| matches!(&*card.family, "openai" | "azure"))
                && call.tells("max_completion_tokens").is_some() =>
        {
            Some("max_completion_tokens")
        }
        _ => card.map_or(Some("max_tokens"), |card| card.output_cap_field(dialect)),
    }
}

/// Tokens and turns alone, for a model that has no price and needs none.
fn unpriced(call: &Call, input: InputBound, settings: &Settings<'_>) -> (Amounts, Option<Elastic>) {
    let fixed = Amounts::ZERO
        .with(Meter::Tokens, input.all)
        .with(Meter::InputTokens, input.all)
        .with(Meter::FreshTokens, input.fresh)
        .with(Meter::Turns, u64::from(call.dialect.generates()));
    let want = call.asked_output.unwrap_or(price::quote::NO_MAXIMUM);
    let elastic = Elastic {
        want,
        unasked: call
            .asked_output
            .is_none()
            .then_some(settings.output_when_unasked),
        least: if call.unclampable {
            want
        } else {
            settings.min_output_tokens.min(want)
        },
        outputs: call.outputs.max(1),
        nano_per_million: 0,
    };
    (fixed, call.dialect.generates().then_some(elastic))
}

#[cold]
fn in_background() -> Refused {
    let message = "`background: true` is refused under a cap: its answer, and its cost, would come past the gateway.";
    Refused::new(Code::NotPermitted, message)
}

#[cold]
fn unlisted(field: &str) -> Refused {
    let message = format!("The field `{field}` is not listed, so what it may cost is not known.");
    Refused::new(Code::UnlistedField, &message)
}

#[cold]
fn no_price(unpriced: &Unpriced) -> Refused {
    let message = format!("A cap in dollars covers this call, and {unpriced}.");
    Refused::new(Code::UnpricedModel, &message)
}

#[cold]
fn no_quote(why: &Unpriceable) -> Refused {
    let code = match why {
        Unpriceable::Surcharge(_) => Code::UnlistedField,
        Unpriceable::HostedTool(_) | Unpriceable::HostedToolUnbounded(_) => Code::NotPermitted,
        _ => Code::UnpricedModel,
    };
    Refused::new(
        code,
        &format!("A cap in dollars covers this call, and {why}."),
    )
}
