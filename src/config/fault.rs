//! What is wrong with a configuration, and where: `file:line: message`. All faults of a load are
//! gathered before any is shown, so that a file is mended in one go.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong, or (in [`crate::config::Loaded::warnings`]) doubtful.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file it stands in.
    pub file: PathBuf,
    /// Its line, counted from 1; `None` where the whole file is meant.
    pub line: Option<usize>,
    /// What is wrong and what would be right. Never holds a secret.
    pub message: String,
}

impl Fault {
    /// A fault of a whole file.
    pub fn of(file: &Path, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            message: message.into(),
        }
    }

    /// A fault at a place.
    #[must_use]
    pub fn at(place: &Place, message: impl Into<String>) -> Self {
        Self {
            file: place.file.clone(),
            line: Some(place.line),
            message: message.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            message,
        } = self;
        match line {
            Some(line) => write!(f, "{}:{line}: {message}", file.display()),
            None => write!(f, "{}: {message}", file.display()),
        }
    }
}

/// Where something was written; kept by what may be found wanting only later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
}

/// Every fault of one load, in the order of files and lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    /// One fault a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}
