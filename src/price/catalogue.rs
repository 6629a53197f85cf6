//! Which card a model has.
//!
//! The built-in data is one file per provider family, parsed when the family is first asked for,
//! so that start-up pays for the families in use only. A deployment's own prices
//! (`policies/prices.toml`) go before it.

use super::card::Card;
use super::glob;
use super::raw::{Fault, File};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

macro_rules! families {
    ($($name:literal),* $(,)?) => {
        /// Family and data.
        const FAMILIES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../config/catalogue/", $name, ".toml"))),)*
        ];
    };
}
families![
    "openai",
    "anthropic",
    "google",
    "mistral",
    "groq",
    "deepseek",
    "x-ai",
    "openrouter",
    "azure",
    "aws",
    "cohere",
    "perplexity",
    "together",
    "fireworks",
    "cerebras",
    "moonshotai",
    "minimax",
    "zai",
    "sim",
];

/// The family of the simulated provider, whose prices stand nowhere else.
pub(super) const SIM: &str = "sim";

/// The families that are built in.
pub(super) fn families() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(family, _)| *family)
}

/// What hosts belong to which family: a part of the host's name.
const HOSTS: &[(&str, &str)] = &[
    ("api.openai.com", "openai"),
    ("api.anthropic.com", "anthropic"),
    ("googleapis.com", "google"),
    ("api.mistral.ai", "mistral"),
    ("api.groq.com", "groq"),
    ("api.deepseek.com", "deepseek"),
    ("api.x.ai", "x-ai"),
    ("openrouter.ai", "openrouter"),
    ("openai.azure.com", "azure"),
    ("ai.azure.com", "azure"),
    ("cognitiveservices.azure.com", "azure"),
    ("azure-api.net", "azure"),
    ("amazonaws.com", "aws"),
    ("api.cohere.", "cohere"),
    ("api.perplexity.ai", "perplexity"),
    ("api.together.", "together"),
    ("api.fireworks.ai", "fireworks"),
    ("api.cerebras.ai", "cerebras"),
    ("api.moonshot.", "moonshotai"),
    ("api.minimax", "minimax"),
    ("api.z.ai", "zai"),
];

/// Other names for families.
const KIN: &[(&str, &str)] = &[
    ("xai", "x-ai"),
    ("gemini", "google"),
    ("vertex", "google"),
    ("bedrock", "aws"),
    ("together_ai", "together"),
    ("fireworks_ai", "fireworks"),
    ("moonshot", "moonshotai"),
];

/// Why a model has no price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpriced {
    /// Its provider has withdrawn it.
    #[error("the model `{model}` was retired on {since}")]
    Retired {
        /// As asked for.
        model: String,
        /// The date.
        since: Box<str>,
    },
    /// It is in no list.
    #[error("no price is known for the model `{model}`{}", nearest.as_ref().map(|name| format!("; the nearest known name is `{name}`")).unwrap_or_default())]
    Unknown {
        /// As asked for.
        model: String,
        /// A name that it may be a slip of.
        nearest: Option<Box<str>>,
    },
}

/// Why a file of prices cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}:{line}: {message}")]
pub struct CatalogueError {
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// One file's cards by name.
#[derive(Default)]
struct Index {
    exact: HashMap<Box<str>, Arc<Card>, foldhash::quality::RandomState>,
    /// The most particular first.
    globs: Vec<(Box<str>, Arc<Card>)>,
    retired: HashMap<Box<str>, Box<str>, foldhash::quality::RandomState>,
    /// Families to ask next.
    fallback: Vec<Box<str>>,
}

/// All cards. Cheap to share; immutable.
pub struct Catalogue {
    version: Arc<str>,
    own: Index,
    built_in: Vec<(&'static str, &'static str, OnceLock<Index>)>,
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Catalogue {
    /// The built-in data alone.
    #[must_use]
    pub fn builtin() -> Self {
        Self::of(FAMILIES, "")
    }

    /// The built-in data under a deployment's own prices.
    ///
    /// `text` is the file's content, `path` its name for messages.
    ///
    /// # Errors
    /// The first fault in `text`, with its line.
    pub fn with_overrides(text: &str, path: &Path) -> Result<Self, CatalogueError> {
        let mut catalogue = Self::of(FAMILIES, text);
        let located = |fault: Fault| CatalogueError {
            path: path.display().to_string(),
            line: line_of(text, fault.at),
            message: fault.message,
        };
        let file = File::parse(text).map_err(located)?;
        let find = |family: &str, model: &str| match family {
            // A price for any provider may be like a model of any.
            "*" => FAMILIES
                .iter()
                .find_map(|(family, _)| catalogue.find(family, model).ok()),
            _ => catalogue.find(family, model).ok(),
        };
        catalogue.own = Index::of(file, &catalogue.version, find).map_err(located)?;
        Ok(catalogue)
    }

    fn of(families: &[(&'static str, &'static str)], own: &str) -> Self {
        let mut digest = xxhash_rust::xxh3::Xxh3::new();
        for (_, text) in families {
            digest.update(text.as_bytes());
        }
        digest.update(own.as_bytes());
        let date = families
            .first()
            .and_then(|(_, text)| text.split("date = \"").nth(1)?.get(..10))
            .unwrap_or("undated");
        Self {
            version: format!("{date}/{:016x}", digest.digest()).into(),
            own: Index::default(),
            built_in: families
                .iter()
                .map(|(name, text)| (*name, *text, OnceLock::new()))
                .collect(),
        }
    }

    /// Date and digest of all prices; each charge carries it.
    #[must_use]
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The family whose prices a provider's models have: by its address, else by its kind.
    #[must_use]
    pub fn family<'a>(kind: &'a str, base_url: &str) -> &'a str {
        let host = base_url.split("://").last().unwrap_or_default();
        let host = host.split(['/', '?']).next().unwrap_or_default();
        let by_host = HOSTS.iter().find(|(part, _)| host.contains(part));
        by_host.map_or_else(|| canonical(kind), |(_, family)| family)
    }

    /// Whether there is built-in data on a family.
    #[must_use]
    pub fn knows(&self, family: &str) -> bool {
        self.index(canonical(family)).is_some()
    }

    /// The card of `model` as that family's providers sell it.
    ///
    /// # Errors
    /// [`Unpriced`] if it has none; there is no default price.
    pub fn find(&self, family: &str, model: &str) -> Result<Arc<Card>, Unpriced> {
        let family = canonical(family);
        if model.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.find_lower(family, &model.to_ascii_lowercase());
        }
        self.find_lower(family, model)
    }

    fn find_lower(&self, family: &str, model: &str) -> Result<Arc<Card>, Unpriced> {
        let fits = |card: &Card| matches!(&*card.family, "*") || *card.family == *family;
        if let Some(card) = self.own.find(model, fits) {
            return Ok(card);
        }
        let dashed = dashed_date(model);
        for name in [Some(model), dashed.as_deref()].into_iter().flatten() {
            for index in self.asked(family) {
                if let Some(since) = index.retired.get(name) {
                    return Err(Unpriced::Retired {
                        model: model.to_owned(),
                        since: since.clone(),
                    });
                }
                if let Some(card) = index.find(name, |_| true) {
                    return Ok(card);
                }
            }
        }
        Err(Unpriced::Unknown {
            model: model.to_owned(),
            nearest: nearest(model, std::iter::once(&self.own).chain(self.asked(family))),
        })
    }

    /// The built-in data that is asked for a family's models, in its order.
    fn asked<'a>(&'a self, family: &'a str) -> impl Iterator<Item = &'a Index> {
        let own = self.index(family);
        let sim = std::iter::once_with(|| self.index(SIM)).flatten();
        let first = std::iter::once_with(move || own.or_else(|| self.index(SIM))).flatten();
        let fallback = first.flat_map(|first| &first.fallback);
        let fallback = fallback.filter_map(|family| self.index(family));
        own.into_iter().chain(sim).chain(fallback)
    }

    /// Every family's card that answers to that name, for `bursar prices show`.
    #[must_use]
    pub fn find_everywhere(&self, model: &str) -> Vec<Arc<Card>> {
        let mut found: Vec<Arc<Card>> = Vec::new();
        for (family, ..) in &self.built_in {
            if let Ok(card) = self.find(family, model)
                && !found.iter().any(|known| Arc::ptr_eq(known, &card))
            {
                found.push(card);
            }
        }
        found
    }

    /// Parses every family now.
    ///
    /// # Errors
    /// The first fault in the built-in data, which the tests rule out.
    pub fn parse_all(&self) -> Result<usize, CatalogueError> {
        let mut models = 0;
        for (family, text, index) in &self.built_in {
            let parsed = Index::parse(text, &self.version).map_err(|fault| CatalogueError {
                path: format!("config/catalogue/{family}.toml"),
                line: line_of(text, fault.at),
                message: fault.message,
            })?;
            models += index.get_or_init(|| parsed).exact.len();
        }
        Ok(models)
    }

    fn index(&self, family: &str) -> Option<&Index> {
        let (_, text, index) = self.built_in.iter().find(|(name, ..)| *name == family)?;
        Some(index.get_or_init(|| {
            // The data is part of the program and a test parses all of it; were it broken all the
            // same, its models would be without a price, and so refused.
            Index::parse(text, &self.version).unwrap_or_else(|fault| {
                tracing::error!(family, reason = %fault.message, "built-in prices unreadable");
                Index::default()
            })
        }))
    }
}

impl Index {
    fn parse(text: &str, version: &Arc<str>) -> Result<Self, Fault> {
        Self::of(File::parse(text)?, version, |_, _| None)
    }

    fn of(
        mut file: File,
        version: &Arc<str>,
        find: impl Fn(&str, &str) -> Option<Arc<Card>>,
    ) -> Result<Self, Fault> {
        let fallback = std::mem::take(&mut file.fallback);
        let lower = |name: &str| name.to_ascii_lowercase().into_boxed_str();
        let retired = std::mem::take(&mut file.retired);
        let mut index = Self {
            fallback,
            retired: retired
                .into_iter()
                .map(|gone| (lower(&gone.name), gone.since))
                .collect(),
            ..Self::default()
        };
        for entry in file.entries(version, find)? {
            let card = Arc::new(entry.card);
            for alias in entry.aliases {
                index
                    .exact
                    .entry(alias.into())
                    .or_insert_with(|| Arc::clone(&card));
            }
            // A model's own name goes before another's alias.
            index.exact.insert(card.name.clone(), Arc::clone(&card));
            let globs = entry.globs.into_iter();
            index
                .globs
                .extend(globs.map(|glob| (glob.into(), Arc::clone(&card))));
        }
        index
            .globs
            .sort_by_key(|(glob, _)| std::cmp::Reverse(glob::weight(glob)));
        Ok(index)
    }

    fn find(&self, name: &str, fits: impl Fn(&Card) -> bool) -> Option<Arc<Card>> {
        let exact = self.exact.get(name).filter(|card| fits(card));
        let card = exact.or_else(|| {
            let taken =
                |(glob, card): &&(Box<str>, Arc<Card>)| fits(card) && glob::matches(glob, name);
            self.globs.iter().find(taken).map(|(_, card)| card)
        })?;
        Some(Arc::clone(card))
    }
}

fn canonical(family: &str) -> &str {
    let kin = KIN.iter().find(|(name, _)| *name == family);
    kin.map_or(family, |(_, family)| family)
}

/// Routers write snapshots' dates without dashes: `gpt-5.2-20251211` for `gpt-5.2-2025-12-11`.
fn dashed_date(model: &str) -> Option<String> {
    let (base, date) = model.rsplit_once('-')?;
    let is_date =
        date.len() == 8 && date.starts_with("20") && date.bytes().all(|b| b.is_ascii_digit());
    is_date.then(|| format!("{base}-{}-{}-{}", &date[..4], &date[4..6], &date[6..]))
}

fn nearest<'a>(model: &str, indices: impl Iterator<Item = &'a Index>) -> Option<Box<str>> {
    let names = indices.flat_map(|index| index.exact.keys());
    let scored = names.map(|name| (strsim::jaro_winkler(model, name), name));
    scored
        .filter(|(score, _)| *score > 0.85)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name.clone())
}

fn line_of(text: &str, at: Option<usize>) -> usize {
    let before = at
        .and_then(|at| text.as_bytes().get(..at))
        .unwrap_or_default();
    1 + memchr::memchr_iter(b'\n', before).count()
}

#[cfg(test)]
mod tests;
