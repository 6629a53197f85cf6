//! The catalogue's TOML as it stands in a file, and its way to [`Card`]s.
//!
//! The same format serves the built-in data and `policies/prices.toml`. Prices are strings of
//! dollars or whole numbers; a float is an error that shows the string to write.

use super::card::{Card, Hosted, Long, Mode, Ratio, Tokenizer};
use super::rates::{Kind, Rates};
use crate::units::NanoUsd;
use std::collections::BTreeMap;
use std::sync::Arc;

mod values;
use values::{Day, Dollars, Minute};

/// Defines a table with one optional price per [`Kind`] beside its own fields.
macro_rules! with_rates {
    ($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* $field: $type,)*
            input: Option<Dollars>,
            cached_input: Option<Dollars>,
            cache_write_5m: Option<Dollars>,
            cache_write_1h: Option<Dollars>,
            output: Option<Dollars>,
            reasoning: Option<Dollars>,
            audio_input: Option<Dollars>,
            cached_audio_input: Option<Dollars>,
            audio_output: Option<Dollars>,
            image_input: Option<Dollars>,
            image_output: Option<Dollars>,
        }
        impl $name {
            /// In the order of [`Kind`].
            fn rates(&self) -> Rates {
                Rates([
                    self.input, self.cached_input, self.cache_write_5m, self.cache_write_1h,
                    self.output, self.reasoning, self.audio_input, self.cached_audio_input,
                    self.audio_output, self.image_input, self.image_output,
                ].map(|price| price.map(|Dollars(nano)| nano)))
            }
        }
    };
}

with_rates! {
    /// One tier of `long`.
    struct RawLong { over: u64, }
}

with_rates! {
    /// One of `modes`.
    struct RawMode {
        service_tier: Option<Box<str>>,
        speed: Option<Box<str>>,
        #[serde(default)]
        batch: bool,
        from: Option<Day>,
        utc: Option<[Minute; 2]>,
        factor: Option<Ratio>,
        #[serde(default)]
        long: Vec<RawLong>,
    }
}

with_rates! {
    /// One `[[model]]`.
    struct RawModel {
        name: toml::Spanned<String>,
        family: Option<String>,
        like: Option<String>,
        #[serde(default)]
        aliases: Vec<String>,
        #[serde(default)]
        globs: Vec<String>,
        per_call: Option<Dollars>,
        per_gpu_second: Option<Dollars>,
        fees: Option<BTreeMap<String, Dollars>>,
        long: Option<Vec<RawLong>>,
        modes: Option<Vec<RawMode>>,
        geo: Option<BTreeMap<String, Ratio>>,
        kind: Option<ModelKind>,
        tokenizer: Option<String>,
        most_bytes_per_token: Option<u64>,
        worst_image_tokens: Option<u64>,
        worst_file_tokens: Option<u64>,
        worst_audio_tokens: Option<u64>,
        tool_prompt_tokens: Option<u64>,
        tool_tokens: Option<u64>,
        message_tokens: Option<u64>,
        structured_tokens: Option<u64>,
        context_window: Option<u64>,
        max_output: Option<u64>,
        reasons_unseen: Option<bool>,
        automatic_cache_writes: Option<bool>,
        output_cap_field: Option<CapField>,
        deprecated: Option<Box<str>>,
        note: Option<Box<str>>,
        source: Option<String>,
        date: Option<String>,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelKind {
    Generation,
    Embedding,
}

#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapField {
    MaxTokens,
    MaxCompletionTokens,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawDefaults {
    tokenizer: Option<String>,
    most_bytes_per_token: Option<u64>,
    worst_image_tokens: Option<u64>,
    worst_file_tokens: Option<u64>,
    worst_audio_tokens: Option<u64>,
    tool_prompt_tokens: Option<u64>,
    tool_tokens: Option<u64>,
    message_tokens: Option<u64>,
    structured_tokens: Option<u64>,
    reasons_unseen: Option<bool>,
    automatic_cache_writes: Option<bool>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHosted {
    tool: Box<str>,
    fee: Option<Box<str>>,
    #[serde(default = "yes")]
    rounds: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retired {
    pub name: String,
    pub since: Box<str>,
}

/// One file.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    family: Option<String>,
    date: Option<String>,
    #[serde(default)]
    sources: Vec<String>,
    #[serde(default)]
    pub fallback: Vec<Box<str>>,
    #[serde(default)]
    fees: BTreeMap<String, Dollars>,
    #[serde(default)]
    defaults: RawDefaults,
    #[serde(default)]
    surcharges: BTreeMap<Box<str>, u64>,
    #[serde(default)]
    hosted: Vec<RawHosted>,
    #[serde(default, rename = "model")]
    models: Vec<RawModel>,
    #[serde(default)]
    pub retired: Vec<Retired>,
}

/// A card with the names it answers to, all in lower case.
pub struct Entry {
    pub card: Card,
    pub aliases: Vec<String>,
    pub globs: Vec<String>,
}

/// What went wrong, and at which byte of the file.
pub struct Fault {
    pub message: String,
    pub at: Option<usize>,
}

impl File {
    pub fn parse(text: &str) -> Result<Self, Fault> {
        toml::from_str(text).map_err(|error| Fault {
            message: error.message().to_owned(),
            at: error.span().map(|span| span.start),
        })
    }

    /// The cards. `find` looks up the card that `like` names: (family, model).
    pub fn entries(
        self,
        version: &Arc<str>,
        find: impl Fn(&str, &str) -> Option<Arc<Card>>,
    ) -> Result<Vec<Entry>, Fault> {
        let shared = Shared {
            family: self.family.unwrap_or_else(|| "*".to_owned()).into(),
            date: self.date.unwrap_or_default().into(),
            source: self.sources.join(", ").into(),
            version: Arc::clone(version),
            fees: fees(self.fees),
            defaults: self.defaults,
            surcharges: self.surcharges.into_iter().collect(),
            hosted: self
                .hosted
                .into_iter()
                .map(|RawHosted { tool, fee, rounds }| Hosted { tool, fee, rounds })
                .collect(),
        };
        let card = |model| shared.card(model, &find);
        self.models.into_iter().map(card).collect()
    }
}

fn fees(raw: BTreeMap<String, Dollars>) -> Vec<(Box<str>, NanoUsd)> {
    raw.into_iter()
        .map(|(name, Dollars(nano))| (name.into(), NanoUsd(nano)))
        .collect()
}

/// What all models of one file have in common.
struct Shared {
    family: Box<str>,
    date: Arc<str>,
    source: Arc<str>,
    version: Arc<str>,
    fees: Vec<(Box<str>, NanoUsd)>,
    defaults: RawDefaults,
    surcharges: Arc<[(Box<str>, u64)]>,
    hosted: Arc<[Hosted]>,
}

impl Shared {
    /// The card of a model that says nothing yet.
    fn blank(&self) -> Card {
        let defaults = &self.defaults;
        Card {
            name: "".into(),
            family: self.family.clone(),
            base: Rates::default(),
            long: Vec::new(),
            modes: Vec::new(),
            per_call: NanoUsd::ZERO,
            per_gpu_second: NanoUsd::ZERO,
            fees: self.fees.clone(),
            hosted: Arc::clone(&self.hosted),
            surcharges: Arc::clone(&self.surcharges),
            geo: Vec::new(),
            tokenizer: Tokenizer::Other,
            most_bytes_per_token: 0,
            worst_image_tokens: defaults.worst_image_tokens,
            worst_file_tokens: defaults.worst_file_tokens,
            worst_audio_tokens: defaults.worst_audio_tokens,
            tool_prompt_tokens: defaults.tool_prompt_tokens.unwrap_or(1024),
            tool_tokens: defaults.tool_tokens.unwrap_or(64),
            message_tokens: defaults.message_tokens.unwrap_or(16),
            structured_tokens: defaults.structured_tokens.unwrap_or(512),
            context_window: None,
            max_output: None,
            embedding: false,
            reasons_unseen: defaults.reasons_unseen.unwrap_or(false),
            automatic_cache_writes: defaults.automatic_cache_writes.unwrap_or(false),
            output_cap_field: None,
            deprecated: None,
            note: None,
            date: Arc::clone(&self.date),
            source: Arc::clone(&self.source),
            version: Arc::clone(&self.version),
        }
    }

    fn card(
        &self,
        model: RawModel,
        find: &impl Fn(&str, &str) -> Option<Arc<Card>>,
    ) -> Result<Entry, Fault> {
        let at = model.name.span().start;
        let name = model.name.get_ref().to_ascii_lowercase();
        let fault = |message: String| Fault {
            message: format!("model `{name}`: {message}"),
            at: Some(at),
        };
        let family = model.family.as_deref().unwrap_or(&self.family);
        let mut card = match &model.like {
            Some(like) => {
                let known = find(family, like).ok_or_else(|| {
                    fault(format!("`like = \"{like}\"` is no model of `{family}`"))
                })?;
                Card::clone(&known)
            }
            None => self.blank(),
        };
        card.family = family.into();
        card.name = name.as_str().into();
        card.version = Arc::clone(&self.version);
        self.lay_over(&mut card, &model).map_err(fault)?;
        let embedding = card.embedding;
        if card.base.own(Kind::Input).is_none() {
            return Err(fault("no price for input".to_owned()));
        }
        if card.base.own(Kind::Output).is_none() && !embedding {
            return Err(fault(
                "no price for output; an embedding model says `kind = \"embedding\"`".to_owned(),
            ));
        }
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Ok(Entry {
            aliases: lower(&model.aliases),
            globs: lower(&model.globs),
            card,
        })
    }

    /// What the model says for itself goes over what stands in the card.
    fn lay_over(&self, card: &mut Card, model: &RawModel) -> Result<(), String> {
        card.base = card.base.with(&model.rates());
        if let Some(Dollars(nano)) = model.per_call {
            card.per_call = NanoUsd(nano);
        }
        if let Some(Dollars(nano)) = model.per_gpu_second {
            card.per_gpu_second = NanoUsd(nano);
            // Time is the price; tokens have one beside it only if the file says so.
            for kind in [Kind::Input, Kind::Output] {
                let rate = &mut card.base.0[kind as usize];
                *rate = rate.or(Some(0));
            }
        }
        for (name, Dollars(nano)) in model.fees.iter().flatten() {
            card.fees.retain(|(known, _)| **known != **name);
            card.fees.push((name.as_str().into(), NanoUsd(*nano)));
        }
        if let Some(long) = &model.long {
            card.long = tiers(long);
        } else if !model.rates().is_empty() && model.like.is_some() {
            // New rates without new tiers: the old tiers were of the old rates.
            card.long.clear();
            card.modes.clear();
        }
        if let Some(modes) = &model.modes {
            card.modes = modes.iter().map(mode).collect();
        }
        if let Some(geo) = &model.geo {
            card.geo = geo
                .iter()
                .map(|(place, ratio)| (place.as_str().into(), *ratio))
                .collect();
        }
        if let Some(kind) = model.kind {
            card.embedding = kind == ModelKind::Embedding;
        }
        if let Some(name) = model
            .tokenizer
            .as_deref()
            .or(self.defaults.tokenizer.as_deref())
        {
            card.tokenizer = Tokenizer::from_name(name).ok_or_else(|| {
                format!(
                    "`{name}` is no tokenizer class: o200k, cl100k, claude, gemini, byte, other"
                )
            })?;
        }
        card.most_bytes_per_token = model
            .most_bytes_per_token
            .or(self.defaults.most_bytes_per_token)
            .unwrap_or_else(|| card.tokenizer.most_bytes_per_token());
        lay_over_bounds(card, model);
        Ok(())
    }
}

fn lay_over_bounds(card: &mut Card, model: &RawModel) {
    card.worst_image_tokens = model.worst_image_tokens.or(card.worst_image_tokens);
    card.worst_file_tokens = model.worst_file_tokens.or(card.worst_file_tokens);
    card.worst_audio_tokens = model.worst_audio_tokens.or(card.worst_audio_tokens);
    card.tool_prompt_tokens = model.tool_prompt_tokens.unwrap_or(card.tool_prompt_tokens);
    card.tool_tokens = model.tool_tokens.unwrap_or(card.tool_tokens);
    card.message_tokens = model.message_tokens.unwrap_or(card.message_tokens);
    card.structured_tokens = model.structured_tokens.unwrap_or(card.structured_tokens);
    card.context_window = model.context_window.or(card.context_window);
    card.max_output = model.max_output.or(card.max_output);
    card.reasons_unseen = model.reasons_unseen.unwrap_or(card.reasons_unseen);
    card.automatic_cache_writes = model
        .automatic_cache_writes
        .unwrap_or(card.automatic_cache_writes);
    card.output_cap_field = match model.output_cap_field {
        Some(CapField::MaxCompletionTokens) => Some("max_completion_tokens"),
        Some(CapField::MaxTokens) => None,
        None => card.output_cap_field,
    };
    card.deprecated = model.deprecated.clone().or_else(|| card.deprecated.take());
    card.note = model.note.clone().or_else(|| card.note.take());
    if let Some(source) = &model.source {
        card.source = source.as_str().into();
    }
    if let Some(date) = &model.date {
        card.date = date.as_str().into();
    }
}

fn tiers(raw: &[RawLong]) -> Vec<Long> {
    let mut tiers: Vec<Long> = raw
        .iter()
        .map(|tier| Long {
            over: tier.over,
            rates: tier.rates(),
        })
        .collect();
    tiers.sort_by_key(|tier| tier.over);
    tiers
}

fn mode(raw: &RawMode) -> Mode {
    Mode {
        service_tier: raw.service_tier.clone(),
        speed: raw.speed.clone(),
        batch: raw.batch,
        from: raw.from.map(|Day(start)| start),
        utc: raw.utc.map(|[Minute(start), Minute(end)]| (start, end)),
        rates: raw.rates(),
        long: tiers(&raw.long),
        factor: raw.factor,
    }
}
