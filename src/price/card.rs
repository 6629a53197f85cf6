//! One model's card: everything that is known of its price, and of what bounds a call to it.

use super::rates::{Kind, Rates};
use crate::dialect::Dialect;
use crate::units::{NanoUsd, UnixMs};
use std::sync::Arc;
use std::time::Duration;

/// How a model cuts text into tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tokenizer {
    /// OpenAI's `o200k_base`.
    O200k,
    /// OpenAI's `cl100k_base`.
    Cl100k,
    /// Anthropic's, not public.
    Claude,
    /// Google's, not public.
    Gemini,
    /// One token per byte.
    Byte,
    /// Some other byte-level or byte-fallback tokenizer.
    #[default]
    Other,
}

impl Tokenizer {
    /// The class of that name in the catalogue.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "o200k" => Self::O200k,
            "cl100k" => Self::Cl100k,
            "claude" => Self::Claude,
            "gemini" => Self::Gemini,
            "byte" => Self::Byte,
            "other" => Self::Other,
            _ => return None,
        })
    }

    /// The name in the catalogue.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::O200k => "o200k",
            Self::Cl100k => "cl100k",
            Self::Claude => "claude",
            Self::Gemini => "gemini",
            Self::Byte => "byte",
            Self::Other => "other",
        }
    }

    /// The class's floor when reading an answer: the most bytes of visible output that one token
    /// stands for, on average over an answer. An answer of more bytes than `told × this` is taken
    /// for longer than its provider was told. Prose runs at 3 to 6; long runs of blanks are single
    /// tokens, hence the margin: a false alarm would cut an honest answer, a missed one is still
    /// settled in full at its usage.
    #[must_use]
    pub const fn most_bytes_per_token(self) -> u64 {
        match self {
            Self::Byte => 1,
            _ => 32,
        }
    }
}

/// An exact multiplier of at most 1000 parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Times this.
    pub times: u32,
    /// Through this; never zero.
    pub per: u32,
}

impl Ratio {
    /// No change.
    pub const ONE: Self = Self { times: 1, per: 1 };

    /// One after the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let (times, per) = (
            u64::from(self.times) * u64::from(other.times),
            u64::from(self.per) * u64::from(other.per),
        );
        // Parts are at most 1000 each, so that two of them fit; a card never applies more than
        // one mode's and one geography's.
        Self {
            times: u32::try_from(times).unwrap_or(u32::MAX),
            per: u32::try_from(per).unwrap_or(u32::MAX),
        }
    }

    /// `rate` times this, rounded up.
    #[must_use]
    pub fn of(self, rate: u64) -> u64 {
        let scaled = (u128::from(rate) * u128::from(self.times)).div_ceil(u128::from(self.per));
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}

/// A tier that the whole request falls into once its input crosses a threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Long {
    /// More input tokens than this, cached ones included.
    pub over: u64,
    /// What then differs, output too.
    pub rates: Rates,
}

/// Another way of being served, with other prices. All named conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// The answer was served at this tier.
    pub service_tier: Option<Box<str>>,
    /// The answer was served at this speed.
    pub speed: Option<Box<str>>,
    /// The call was part of a batch.
    pub batch: bool,
    /// From this day on.
    pub from: Option<UnixMs>,
    /// Between these minutes of the UTC day; the end is outside.
    pub utc: Option<(u32, u32)>,
    /// What differs, at any length of input.
    pub rates: Rates,
    /// What differs, beyond a threshold.
    pub long: Vec<Long>,
    /// All token rates times this.
    pub factor: Option<Ratio>,
}

/// A tool that runs at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosted {
    /// A pattern for its name or type in requests.
    pub tool: Box<str>,
    /// The name of its fee.
    pub fee: Option<Box<str>>,
    /// Each use samples the model again, over the whole context.
    pub rounds: bool,
}

/// Everything known of one model's price. Immutable; shared.
#[derive(Clone, Debug)]
pub struct Card {
    /// The model's name, in lower case.
    pub name: Box<str>,
    /// The provider family: `openai`, `anthropic`, …; `*` for all.
    pub family: Box<str>,
    /// Rates of a plain request.
    pub base: Rates,
    /// Long-context tiers, by rising threshold.
    pub long: Vec<Long>,
    /// Other ways of being served; later ones win.
    pub modes: Vec<Mode>,
    /// Per request, whatever its tokens.
    pub per_call: NanoUsd,
    /// Per second that a call takes, for machines of one's own.
    pub per_gpu_second: NanoUsd,
    /// Per use of something that has a fee, by name.
    pub fees: Vec<(Box<str>, NanoUsd)>,
    /// The tools that run at the provider and are priced. Others are refused under a dollar cap.
    pub hosted: Arc<[Hosted]>,
    /// Price-changing fields that are priced: how many more samplings each may cause.
    pub surcharges: Arc<[(Box<str>, u64)]>,
    /// Surcharges by where it is served.
    pub geo: Vec<(Box<str>, Ratio)>,
    /// How it cuts text into tokens.
    pub tokenizer: Tokenizer,
    /// See [`Tokenizer::most_bytes_per_token`].
    pub most_bytes_per_token: u64,
    /// The most tokens that one image can take; `None`: as much as the window.
    pub worst_image_tokens: Option<u64>,
    /// The most tokens that one file can take; `None`: as much as the window.
    pub worst_file_tokens: Option<u64>,
    /// The most tokens that one audio part can take; `None`: as much as the window.
    pub worst_audio_tokens: Option<u64>,
    /// What the provider puts into the prompt itself when there are tools.
    pub tool_prompt_tokens: u64,
    /// What it adds per tool, beyond the declaration's text.
    pub tool_tokens: u64,
    /// What it adds per message, beyond its text.
    pub message_tokens: u64,
    /// What it adds for a response format, beyond the schema's text.
    pub structured_tokens: u64,
    /// Most input tokens (at some providers: input and output together).
    pub context_window: Option<u64>,
    /// Most output tokens.
    pub max_output: Option<u64>,
    /// It answers with vectors, not tokens.
    pub embedding: bool,
    /// It may bill for reasoning that the answer does not show.
    pub reasons_unseen: bool,
    /// The provider writes prompts to its cache unasked.
    pub automatic_cache_writes: bool,
    /// The chat field under which the provider honours an output cap, where it is not `max_tokens`.
    pub output_cap_field: Option<&'static str>,
    /// Deprecated since or from this date.
    pub deprecated: Option<Box<str>>,
    /// Where sources differ, and what was done about it.
    pub note: Option<Box<str>>,
    /// The date of the price.
    pub date: Arc<str>,
    /// Where the price is from.
    pub source: Arc<str>,
    /// The catalogue's version, as each charge carries it.
    pub version: Arc<str>,
}

impl Card {
    /// A card for a model that no catalogue lists, at the ceiling that the deployment has set for it:
    /// dollars per million tokens, whatever kind they are of.
    #[must_use]
    pub fn ceiling(model: &str, input: NanoUsd, output: NanoUsd) -> Self {
        let mut base = Rates::default();
        base.0[Kind::Input as usize] = Some(input.0);
        base.0[Kind::Output as usize] = Some(output.0);
        Self {
            name: model.into(),
            family: "*".into(),
            base,
            long: Vec::new(),
            modes: Vec::new(),
            per_call: NanoUsd::ZERO,
            per_gpu_second: NanoUsd::ZERO,
            fees: Vec::new(),
            hosted: Arc::new([]),
            surcharges: Arc::new([]),
            geo: Vec::new(),
            tokenizer: Tokenizer::Other,
            most_bytes_per_token: Tokenizer::Other.most_bytes_per_token(),
            worst_image_tokens: None,
            worst_file_tokens: None,
            worst_audio_tokens: None,
            tool_prompt_tokens: 1_024,
            tool_tokens: 64,
            message_tokens: 16,
            structured_tokens: 512,
            context_window: None,
            max_output: None,
            embedding: false,
            // Nobody knows: what cannot be read off an answer is charged at the hold.
            reasons_unseen: true,
            automatic_cache_writes: false,
            output_cap_field: None,
            deprecated: None,
            note: None,
            date: "".into(),
            source: "the provider's `ceiling`".into(),
            version: "ceiling".into(),
        }
    }

    /// What a call that takes this long costs in machine time, rounded up.
    #[must_use]
    pub fn time_price(&self, span: Duration) -> NanoUsd {
        let nano = u128::from(self.per_gpu_second.0).saturating_mul(span.as_nanos());
        NanoUsd(u64::try_from(nano.div_ceil(1_000_000_000)).unwrap_or(u64::MAX))
    }

    /// The dearest plain rates of input and output at any length of the prompt, in nano-dollars per million
    /// tokens: what a router may be told to stay below.
    #[must_use]
    pub fn most_plain(&self) -> [NanoUsd; 2] {
        let long = self.long.iter().map(|tier| self.base.with(&tier.rates));
        let all: Vec<Rates> = std::iter::once(self.base).chain(long).collect();
        [Kind::Input, Kind::Output].map(|kind| {
            let rates = all.iter().map(|rates| rates.of(kind));
            NanoUsd(rates.max().unwrap_or(0))
        })
    }

    /// The field that tells this model its output cap, in that dialect.
    #[must_use]
    pub fn output_cap_field(&self, dialect: Dialect) -> Option<&'static str> {
        match dialect {
            Dialect::OpenaiChat => Some(self.output_cap_field.unwrap_or("max_tokens")),
            Dialect::OpenaiResponses => Some("max_output_tokens"),
            Dialect::OpenaiCompletions | Dialect::AnthropicMessages => Some("max_tokens"),
            Dialect::Gemini => Some("maxOutputTokens"),
            Dialect::Bedrock => Some("maxTokens"),
            Dialect::OpenaiEmbeddings => None,
        }
    }

    /// The fee of that name, per use.
    #[must_use]
    pub fn fee(&self, name: &str) -> Option<NanoUsd> {
        let named = |(known, _): &&(Box<str>, NanoUsd)| known.as_ref() == name;
        self.fees.iter().find(named).map(|(_, fee)| *fee)
    }

    /// The surcharge for being served there, if it is listed.
    #[must_use]
    pub fn geo(&self, place: &str) -> Option<Ratio> {
        let named = |(known, _): &&(Box<str>, Ratio)| known.as_ref() == place;
        self.geo.iter().find(named).map(|(_, ratio)| *ratio)
    }

    /// The rates of a request of `input_tokens` under the modes that `holds` picks, and what they
    /// are multiplied by.
    pub fn rates(&self, input_tokens: u64, holds: impl Fn(&Mode) -> bool) -> (Rates, Ratio) {
        let beyond = |rates: Rates, long: &[Long]| {
            long.iter()
                .filter(|tier| input_tokens > tier.over)
                .fold(rates, |rates, tier| rates.with(&tier.rates))
        };
        let mut rates = beyond(self.base, &self.long);
        let mut factor = Ratio::ONE;
        for mode in self.modes.iter().filter(|mode| holds(mode)) {
            rates = beyond(rates.with(&mode.rates), &mode.long);
            factor = mode.factor.unwrap_or(factor);
        }
        (rates, factor)
    }
}

impl Mode {
    /// True if the mode's hours and day take that instant. Without an instant, only a mode that
    /// always applies does.
    #[must_use]
    pub fn holds_at(&self, at: Option<UnixMs>) -> bool {
        let begun = self.from.is_none_or(|from| at.is_some_and(|at| at >= from));
        let in_hours = self.utc.is_none_or(|(start, end)| {
            at.is_some_and(|UnixMs(at)| {
                let minute = u32::try_from((at / 60_000).rem_euclid(1_440)).unwrap_or(0);
                if start <= end {
                    (start..end).contains(&minute)
                } else {
                    minute >= start || minute < end
                }
            })
        });
        begun && in_hours
    }
}
