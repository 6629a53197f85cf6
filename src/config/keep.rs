//! `[store]`, `[journal]` and `[log]`: what is kept, where, and for how long.

use super::read::Section;
use super::value;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// What a commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, `kill -9` included.
    Process,
    /// Loss of power: every group is synced.
    Power,
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// The SQLite file.
    pub sqlite: PathBuf,
    /// What a commit survives.
    pub durability: Durability,
}

/// `[journal]`: what its rows say, and how long they stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// Rows older than this are taken out, their chain proof kept; `None`: all stay.
    pub keep: Option<Duration>,
    /// Where rows go when they are taken out; `None`: nowhere.
    pub archive: Option<PathBuf>,
    /// Rows of calls have digests of what is new in them, so that rules on loops can be tried on them.
    pub steps: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what needs a person.
    Error,
    /// And what may.
    Warn,
    /// And what happened.
    Info,
    /// And why.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The level's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// How much there is.
    pub level: LogLevel,
}

/// Shortest span that journal rows stay: the longest calendar window and a margin, for a new limit
/// opens with what the journal says its calls cost in the window.
const MIN_KEEP: Duration = Duration::from_secs(32 * 86_400);

pub(super) fn read_store(parent: &Section<'_>, top_level: &[&str]) -> StoreSettings {
    let words = [
        ("process", Durability::Process),
        ("power", Durability::Power),
    ];
    let usual = StoreSettings {
        sqlite: parent.path("../data/bursar.db"),
        durability: Durability::Process,
    };
    let Some(section) = parent.section("store") else {
        return usual;
    };
    let store = StoreSettings {
        sqlite: section.or("url", usual.sqlite, |value| {
            url(value).map(|path| section.path(&path))
        }),
        durability: section.or("durability", usual.durability, value::word(&words)),
    };
    section.close_with(top_level);
    store
}

fn url(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value)?;
    if text.starts_with("postgres:") || text.starts_with("postgresql:") {
        return Err("PostgreSQL is not supported yet; use \"sqlite:PATH\"".to_owned());
    }
    let path = text.strip_prefix("sqlite:");
    let path = path.map(|path| path.strip_prefix("//").unwrap_or(path));
    match path {
        Some(":memory:") => Err("a purse in memory forgets its balances; name a file".to_owned()),
        Some(path) if !path.is_empty() && !path.contains(['?', '\0']) => Ok(path.to_owned()),
        _ => Err("write \"sqlite:PATH\"".to_owned()),
    }
}

pub(super) fn read_journal(parent: &Section<'_>, top_level: &[&str]) -> JournalSettings {
    let Some(section) = parent.section("journal") else {
        return JournalSettings {
            keep: None,
            archive: None,
            steps: true,
        };
    };
    let journal = JournalSettings {
        keep: section.get("keep", |value| match value::span(value)? {
            keep if keep < MIN_KEEP => Err(
                "rows stay at least 32d, for a changed limit counts its month from them".to_owned(),
            ),
            keep => Ok(keep),
        }),
        archive: section.get("archive", |value| {
            value::text(value).map(|text| section.path(&text))
        }),
        steps: section.or(
            "steps",
            true,
            value::word(&[("off", false), ("digests", true)]),
        ),
    };
    if journal.archive.is_some() && !section.has("keep") {
        section.fault_of("archive", "`archive` has no use without `keep`");
    }
    section.close_with(top_level);
    journal
}

pub(super) fn read_log(parent: &Section<'_>, top_level: &[&str]) -> Log {
    let mut log = Log {
        format: LogFormat::Text,
        level: LogLevel::Info,
    };
    let Some(section) = parent.section("log") else {
        return log;
    };
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let levels = [
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
    ];
    log.format = section.or("format", log.format, value::word(&formats));
    log.level = section.or(
        "level",
        log.level,
        value::word(&levels.map(|level| (level.name(), level))),
    );
    section.close_with(top_level);
    log
}
