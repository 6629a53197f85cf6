//! What a million tokens of each kind cost.

/// A kind of token that can have a price of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Text input, neither cached nor written to a cache.
    Input,
    /// Input read from a cache.
    CachedInput,
    /// Input written to a cache for five minutes, or for the provider's only term.
    CacheWrite5m,
    /// Input written for an hour, or for the provider's longer term.
    CacheWrite1h,
    /// Text output.
    Output,
    /// Unseen reasoning, where it has a price of its own.
    Reasoning,
    /// Audio input.
    AudioInput,
    /// Audio input read from a cache.
    CachedAudioInput,
    /// Audio output.
    AudioOutput,
    /// Image input.
    ImageInput,
    /// Image output.
    ImageOutput,
}

impl Kind {
    /// How many kinds there are.
    pub const COUNT: usize = 11;
    /// Every kind, in order, with its name in the catalogue.
    pub const ALL: [(Self, &'static str); Self::COUNT] = [
        (Self::Input, "input"),
        (Self::CachedInput, "cached_input"),
        (Self::CacheWrite5m, "cache_write_5m"),
        (Self::CacheWrite1h, "cache_write_1h"),
        (Self::Output, "output"),
        (Self::Reasoning, "reasoning"),
        (Self::AudioInput, "audio_input"),
        (Self::CachedAudioInput, "cached_audio_input"),
        (Self::AudioOutput, "audio_output"),
        (Self::ImageInput, "image_input"),
        (Self::ImageOutput, "image_output"),
    ];

    /// At which kind's price this one is billed when it has none.
    const fn falls_back_to(self) -> Option<Self> {
        match self {
            Self::Input | Self::Output => None,
            Self::CachedInput | Self::CacheWrite5m | Self::AudioInput | Self::ImageInput => {
                Some(Self::Input)
            }
            Self::CacheWrite1h => Some(Self::CacheWrite5m),
            Self::CachedAudioInput => Some(Self::CachedInput),
            Self::Reasoning | Self::AudioOutput | Self::ImageOutput => Some(Self::Output),
        }
    }
}

/// Nano-dollars per million tokens, by kind; or, laid over others, those that differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates(pub [Option<u64>; Kind::COUNT]);

impl Rates {
    /// The price named for that kind itself.
    #[must_use]
    pub const fn own(&self, kind: Kind) -> Option<u64> {
        self.0[kind as usize]
    }

    /// What a million tokens of that kind are billed at: its own price, else that of the kind it
    /// belongs to. Nothing is free for want of a price but the output of a model that has none.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        let mut kind = kind;
        // Cached audio without a price of its own costs as much as fresh audio, where that has one.
        if kind == Kind::CachedAudioInput
            && self.own(kind).is_none()
            && let Some(audio) = self.own(Kind::AudioInput)
        {
            return audio;
        }
        loop {
            if let Some(rate) = self.own(kind) {
                return rate;
            }
            match kind.falls_back_to() {
                Some(other) => kind = other,
                None => return 0,
            }
        }
    }

    /// These, with `patch` laid over them.
    #[must_use]
    pub fn with(mut self, patch: &Self) -> Self {
        for (rate, over) in self.0.iter_mut().zip(patch.0) {
            if over.is_some() {
                *rate = over;
            }
        }
        self
    }

    /// True if no kind has a price.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}
