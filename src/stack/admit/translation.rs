//! A call whose provider does not speak its caller's dialect: put into one that it speaks before it is
//! quoted, so that the quote is of the bytes that leave; its answer is put back by `meter`.

use super::Admission;
use super::walk::Miss;
use crate::dialect::translate::{self, Back, Pair, To};
use crate::dialect::{Call, Dialect, decode_for};
use crate::gateway::Live;
use crate::stack::route::Routed;
use crate::stack::upstream::Outgoing;
use crate::stack::{Code, Refused, headers};
use http::{HeaderMap, HeaderValue, Request};
use std::sync::Arc;

/// What became of a call that was translated.
pub struct Translation {
    /// The way back.
    pub back: Back,
    /// What was left out of it.
    dropped: Option<HeaderValue>,
    /// An output cap that the target had to be told and the caller did not name.
    output_cap: Option<u64>,
}

impl Translation {
    /// The dialect that the caller speaks.
    #[must_use]
    pub const fn caller(&self) -> Dialect {
        self.back.pair().caller()
    }

    /// The dialect that its provider is spoken to in.
    #[must_use]
    pub const fn target(&self) -> Dialect {
        self.back.pair().target()
    }

    /// What the answer's head tells of it.
    pub fn stamp(&self, head: &mut HeaderMap) {
        let target = HeaderValue::from_static(self.target().name());
        head.insert(&headers::TRANSLATED, target);
        if let Some(dropped) = &self.dropped {
            head.insert(&headers::DROPPED, dropped.clone());
        }
        if let Some(cap) = self.output_cap.and_then(headers::number)
            && !head.contains_key(&headers::OUTPUT_CAP)
        {
            head.insert(&headers::OUTPUT_CAP, cap);
        }
    }

    /// Makes the caller's headers those of a client of the target's dialect.
    pub(super) fn dress(&self, head: &mut HeaderMap) {
        let foreign = |name: &str| match self.target() {
            Dialect::AnthropicMessages => name.starts_with("openai-"),
            Dialect::Gemini => name.starts_with("openai-") || name.starts_with("anthropic-"),
            // Its own are signed, or say what the caller cannot know.
            Dialect::Bedrock => ["openai-", "anthropic-", "x-amz-"]
                .iter()
                .any(|begins| name.starts_with(begins)),
            _ => name.starts_with("anthropic-"),
        };
        let names: Vec<_> = head
            .keys()
            .filter(|name| foreign(name.as_str()))
            .cloned()
            .collect();
        for name in names {
            head.remove(name);
        }
        if self.target() == Dialect::AnthropicMessages {
            let version = HeaderValue::from_static("2023-06-01");
            head.insert(&headers::ANTHROPIC_VERSION, version);
        }
        let json = HeaderValue::from_static("application/json");
        head.insert(http::header::CONTENT_TYPE, json);
    }

    /// The target's endpoint below `/v1`, or below its model.
    pub(super) const fn suffix(&self, stream: bool) -> &'static str {
        match self.target() {
            Dialect::Gemini if stream => ":streamGenerateContent",
            Dialect::Gemini => ":generateContent",
            Dialect::AnthropicMessages => "/messages",
            Dialect::Bedrock if stream => "/converse-stream",
            Dialect::Bedrock => "/converse",
            _ => "/chat/completions",
        }
    }
}

impl Admission {
    /// The dialect that the caller speaks.
    pub(in crate::stack) fn dialect(&self) -> Dialect {
        self.came.dialect
    }

    /// The call before anything of it was left out: as it came, or as it was put.
    pub(super) fn sent(&self) -> Arc<Call> {
        Arc::clone(self.put.as_ref().unwrap_or(&self.came))
    }

    /// Turns to a target. The call as it came is put into a dialect that its provider speaks, and made
    /// to fit anew.
    ///
    /// # Errors
    /// The call says what that dialect cannot, or is too long in it. Not journalled yet.
    pub(super) async fn turn_to(
        &mut self,
        routed: Routed,
        request: &Request<Outgoing>,
    ) -> Result<(), Miss> {
        self.routed = routed;
        if self.translation.is_none() && self.routed.provider.speaks(self.dialect()) {
            return Ok(());
        }
        self.translate().map_err(Miss::Unquoted)?;
        if self.live.loaded.policies.caps_context() && !self.aside {
            let sent = self.sent();
            let fitted = Box::pin(super::context::fit(self, &sent, request)).await;
            fitted.map_err(Miss::Unquoted)?;
        }
        Ok(())
    }

    /// The dialect that the call was put into, for the journal.
    pub(in crate::stack) fn translated_into(&self) -> Option<&'static str> {
        let translation = self.translation.as_ref();
        translation.map(|translation| translation.target().name())
    }

    /// Puts the call into a dialect that its provider speaks, if it does not speak the caller's.
    ///
    /// # Errors
    /// The call says what that dialect cannot. Not journalled yet.
    pub(super) fn translate(&mut self) -> Result<(), Refused> {
        let provider = &self.routed.provider;
        if provider.speaks(self.came.dialect) {
            self.call = Arc::clone(&self.came);
            (self.put, self.translation) = (None, None);
            return Ok(());
        }
        let pair = provider.translates(self.came.dialect);
        let pair = pair.ok_or_else(|| Refused::internal("a target takes the call's dialect"))?;
        let (call, translation) = self.put(pair)?;
        self.call = Arc::clone(&call);
        self.put = Some(call);
        self.translation = Some(Arc::new(translation));
        Ok(())
    }

    fn put(&self, pair: Pair) -> Result<(Arc<Call>, Translation), Refused> {
        let role = self.attribution.role.as_ref();
        let role = role.map(|role| role.value.as_str());
        let put = put_into(pair, &self.live, &self.came, &self.routed, role);
        put.map(|(call, translation)| (Arc::new(call), translation))
    }
}

/// The call in the pair's target dialect, as it would leave for this target.
///
/// # Errors
/// It says what that dialect cannot. Not journalled.
pub fn put_into(
    pair: Pair,
    live: &Live,
    came: &Call,
    routed: &Routed,
    role: Option<&str>,
) -> Result<(Call, Translation), Refused> {
    let invalid = |why: &str| Refused::new(Code::InvalidRequest, why);
    let (provider, model) = (&routed.provider, &*routed.model);
    let card = live.catalogue.find(provider.family(), model).ok();
    let unasked = live.config().bounds.output_when_unasked.of(model, role);
    let most = card.as_ref().and_then(|card| card.max_output);
    let field = match (pair.target(), provider.output_cap_field()) {
        (Dialect::OpenaiChat, Some(field)) => Some(field.name()),
        (target, _) => card.as_ref().and_then(|card| card.output_cap_field(target)),
    };
    let to = To {
        model,
        output_cap_field: field.unwrap_or("max_tokens"),
        output_when_unasked: most.map_or(unasked, |most| most.min(unasked)),
        asks_usage: provider.config.preset.asks_usage,
        drop: &provider.config.drop,
    };
    let translated = translate::request(pair, &came.body, &to);
    let translated = translated.map_err(|unfit| invalid(&unfit.to_string()))?;
    let call = decode_for(pair.target(), translated.body, Some(model));
    let mut call = call.map_err(|error| invalid(&error.to_string()))?;
    // Where the path says it, the body does not.
    call.stream |= came.stream;
    let dropped = (!translated.dropped.is_empty()).then(|| translated.dropped.join(","));
    let translation = Translation {
        back: translated.back,
        dropped: dropped.and_then(|names| HeaderValue::from_str(&names).ok()),
        output_cap: translated.output_cap,
    };
    Ok((call, translation))
}
