//! What `audit` and `report` share: the journal's file by the configuration, instants on the
//! command line, and tables that a spreadsheet can open.

use super::{EX_CONFIG, EX_UNAVAILABLE, EX_USAGE};
use crate::config::{Config, parse_instant, parse_span};
use crate::store::{Reader, StoreError, TaskFilter, TaskRecord};
use crate::units::UnixMs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What was read is damaged (sysexits: `EX_DATAERR`).
pub const EX_DATAERR: u8 = 65;
/// There is no such file or task (sysexits: `EX_NOINPUT`).
pub const EX_NOINPUT: u8 = 66;
/// The gateway failed (sysexits: `EX_SOFTWARE`).
pub const EX_SOFTWARE: u8 = 70;
/// The gateway does not let this caller (sysexits: `EX_NOPERM`).
pub const EX_NOPERM: u8 = 77;
/// Reading or writing failed (sysexits: `EX_IOERR`).
pub const EX_IOERR: u8 = 74;

/// Why a command has nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The configuration is at fault.
    #[error("{0}")]
    Config(String),
    /// The words on the command line cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// What was asked for is not there.
    #[error("{0}")]
    Absent(String),
    /// What was handed in cannot be taken, or not as things are.
    #[error("{0}")]
    Data(String),
    /// No gateway answers.
    #[error("{0}")]
    Unavailable(String),
    /// The gateway does not let this caller.
    #[error("{0}")]
    Denied(String),
    /// The gateway failed.
    #[error("{0}")]
    Broken(String),
    /// The file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Standard output.
    #[error("{0}")]
    Output(#[from] io::Error),
}

impl BookError {
    fn code(&self) -> u8 {
        match self {
            Self::Config(_) => EX_CONFIG,
            Self::Usage(_) => EX_USAGE,
            Self::Absent(_) | Self::Store(StoreError::CannotOpen(_)) => EX_NOINPUT,
            Self::Data(_) | Self::Store(StoreError::Corrupt(_)) => EX_DATAERR,
            Self::Unavailable(_) => EX_UNAVAILABLE,
            Self::Denied(_) => EX_NOPERM,
            Self::Broken(_) => EX_SOFTWARE,
            Self::Store(_) | Self::Output(_) => EX_IOERR,
        }
    }
}

/// The journal's file, and where its archives are.
#[derive(Debug)]
pub struct Book {
    /// The file, opened for reading.
    pub reader: Reader,
    /// The archives.
    pub archives: Option<PathBuf>,
}

/// Opens the journal that `--store` or the configuration names.
///
/// # Errors
/// [`BookError`].
pub fn open(store: Option<&Path>, config: &Path) -> Result<Book, BookError> {
    if let Some(path) = store {
        return Ok(Book {
            reader: Reader::open(path)?,
            archives: None,
        });
    }
    // Without its secrets: who reads the journal need not have them.
    let config =
        Config::from_path(config).map_err(|faults| BookError::Config(faults.to_string()))?;
    Ok(Book {
        reader: Reader::open(&config.store.sqlite)?,
        archives: config.journal.archive,
    })
}

impl Book {
    /// The task of that id; where several owners have one, the owner must be named.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn task(&self, id: &str, owner: Option<&str>) -> Result<TaskRecord, BookError> {
        let filter = TaskFilter {
            owner: owner.map(Into::into),
            task: Some(id.into()),
            ..TaskFilter::default()
        };
        let mut found = self.reader.tasks(&filter)?;
        if found.len() > 1 {
            let owners: Vec<&str> = found.iter().map(|task| task.key.owner.as_str()).collect();
            let owners = owners.join(" or ");
            let text = format!("several owners have a task `{id}`: say --owner {owners}");
            return Err(BookError::Usage(text));
        }
        let found = found.pop();
        found.ok_or_else(|| BookError::Absent(format!("no such task: {id}")))
    }
}

/// Runs a command that prints to standard output. A reader that closes the pipe (`| head`) is no error.
pub fn print(command: impl FnOnce(&mut dyn Write) -> Result<ExitCode, BookError>) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let outcome = command(&mut out).and_then(|code| {
        out.flush()?;
        Ok(code)
    });
    match outcome {
        Ok(code) => code,
        Err(BookError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bursar: {error}");
            ExitCode::from(error.code())
        }
    }
}

/// An instant (`2026-01-31T00:00:00Z`), a day (`2026-01-31`, from midnight UTC), or how long ago (`24h`).
///
/// # Errors
/// [`BookError::Usage`].
pub fn instant(text: &str, now: UnixMs) -> Result<UnixMs, BookError> {
    if let Ok(span) = parse_span(text) {
        let span = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        return Ok(UnixMs(now.0.saturating_sub(span)));
    }
    parse_instant(text)
        .or_else(|_| parse_instant(&format!("{text}T00:00:00Z")))
        .map_err(|_| {
            BookError::Usage(format!(
                "`{text}` is neither an instant (2026-01-31T00:00:00Z), a day (2026-01-31) nor a span (24h, 7d)"
            ))
        })
}

/// An instant as RFC 3339.
#[must_use]
pub fn rfc3339(at: i64) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |at| at.to_string())
}

/// Writes one line of CSV. Text that a spreadsheet would run as a formula is defused with a quote.
///
/// # Errors
/// As of `out`.
pub fn csv(out: &mut dyn Write, cells: &[&str]) -> io::Result<()> {
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
        if formula || cell.contains([',', '"', '\n', '\r']) {
            let guard = if formula { "'" } else { "" };
            write!(out, "\"{guard}{}\"", cell.replace('"', "\"\""))?;
        } else {
            out.write_all(cell.as_bytes())?;
        }
    }
    out.write_all(b"\r\n")
}

/// Writes a table: the first row is its head; columns from `numbers` on are right-aligned.
///
/// # Errors
/// As of `out`.
pub fn table(out: &mut dyn Write, rows: &[Vec<String>], numbers: usize) -> io::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if index > 0 {
                line.push_str("  ");
            }
            line.push_str(&match index < numbers {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            });
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_in_three_ways() {
        let now = UnixMs(86_400_000 * 3);
        assert_eq!(instant("24h", now).unwrap(), UnixMs(86_400_000 * 2));
        assert_eq!(instant("1970-01-02", now).unwrap(), UnixMs(86_400_000));
        assert_eq!(instant("1970-01-01T00:00:01Z", now).unwrap(), UnixMs(1_000));
        assert!(matches!(
            instant("yesterday", now),
            Err(BookError::Usage(_))
        ));
    }

    #[test]
    fn cells_never_become_formulas() {
        let mut out = Vec::new();
        csv(&mut out, &["a", "b,c", "=1+1", "say \"no\""]).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "a,\"b,c\",\"'=1+1\",\"say \"\"no\"\"\"\r\n");
    }
}
