//! Reads TOML with positions. Plain `derive(Deserialize)` stops at the first fault; this reader
//! goes on, so that one run names every fault with its line, and knows which keys were asked for,
//! so that an unknown one can be answered with the nearest known.

use super::fault::{Fault, Faults, Place};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// At most this many faults of one file are told; a file with more is not a configuration.
const MAX_FAULTS: usize = 200;
/// Below this likeness (0 to 1) no key is suggested: the suggestion would only mislead.
const LIKENESS: f64 = 0.5;

/// One value of the file with its place.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// One file while it is read.
#[derive(Debug)]
pub(super) struct Page<'a> {
    path: &'a Path,
    text: &'a str,
    faults: RefCell<Vec<Fault>>,
    /// Lines with a syntax fault. What the parser recovered there would only raise false faults.
    torn: Vec<usize>,
}

/// Parses `text` and lets `build` read it. `Err` holds every fault; `build` may return `None` only
/// after it reported one.
pub(super) fn document<T>(
    path: &Path,
    text: &str,
    build: impl FnOnce(&Section<'_>) -> Option<T>,
) -> Result<T, Faults> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut page = Page {
        path,
        text,
        faults: RefCell::default(),
        torn: Vec::new(),
    };
    for error in &errors {
        let line = page.line(error.span().map_or(0, |span| span.start));
        page.torn.push(line);
        let message = format!("this is not TOML: {}", error.message().replace('\n', ", "));
        page.report(line, message);
    }
    let section = Section {
        page: &page,
        name: String::new(),
        at: 0,
        table: table.get_ref(),
        known: RefCell::default(),
    };
    let built = build(&section);
    section.close();
    let mut faults = page.faults.into_inner();
    faults.sort();
    faults.dedup();
    match built {
        Some(built) if faults.is_empty() => Ok(built),
        _ if faults.is_empty() => Err(Fault::of(path, "this file cannot be used").into()),
        _ => Err(Faults(faults)),
    }
}

impl Page<'_> {
    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset);
        let before = before.unwrap_or(self.text.as_bytes());
        memchr::memchr_iter(b'\n', before).count() + 1
    }

    fn report(&self, line: usize, message: String) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < MAX_FAULTS {
            faults.push(Fault {
                file: self.path.to_owned(),
                line: Some(line),
                message,
            });
        }
    }
}

/// One table of the file.
#[derive(Debug)]
pub(super) struct Section<'a> {
    page: &'a Page<'a>,
    name: String,
    at: usize,
    table: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    fn find(&self, key: &'static str) -> Option<&'a Value<'a>> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        self.table.get(key)
    }

    /// The key's value, if it is there and right. A wrong one is reported.
    pub fn get<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.find(key)?;
        match parse(value.get_ref()) {
            Ok(parsed) => Some(parsed),
            Err(message) => {
                self.fault_at(value.span().start, format!("`{key}`: {message}"));
                None
            }
        }
    }

    /// The key's value or, if it is not there (or wrong and reported), the default.
    pub fn or<T>(
        &self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> T {
        self.get(key, parse).unwrap_or(default)
    }

    /// The key's value; that it is missing is reported.
    pub fn need<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        if self.find(key).is_none() {
            // A torn file may have lost the key on a line that is reported already.
            if self.page.torn.is_empty() {
                self.fault(format!("{} needs `{key}`", self.title()));
            }
            return None;
        }
        self.get(key, parse)
    }

    /// A list's values, each with its line; a single value stands for a list of one.
    /// With any wrong one, which is reported, there is no list.
    pub fn list<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.find(key)?;
        let one = std::slice::from_ref(value);
        let values = match value.get_ref() {
            DeValue::Array(values) => values.iter().collect::<Vec<_>>(),
            _ => one.iter().collect(),
        };
        let total = values.len();
        let mut parsed = Vec::with_capacity(total);
        for value in values {
            match parse(value.get_ref()) {
                Ok(item) => parsed.push(item),
                Err(message) => self.fault_at(value.span().start, format!("`{key}`: {message}")),
            }
        }
        (parsed.len() == total).then_some(parsed)
    }

    /// A table below this one: `[listen]`.
    pub fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let value = self.find(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(self.below(key, value, table)),
            _ => {
                let shape = format!("`{key}` is a table: `[{key}]` or `{key} = {{ … }}`");
                self.fault_at(value.span().start, shape);
                None
            }
        }
    }

    /// An array of tables: `[[provider]]`.
    pub fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.find(key) else {
            return Vec::new();
        };
        let shape = || format!("`{key}` is an array of tables: write `[[{key}]]`");
        let DeValue::Array(items) = value.get_ref() else {
            self.fault_at(value.span().start, shape());
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => sections.push(self.below(key, item, table)),
                _ => self.fault_at(item.span().start, shape()),
            }
        }
        sections
    }

    fn below(&self, key: &str, value: &Value<'a>, table: &'a DeTable<'a>) -> Section<'a> {
        let name = match self.name.as_str() {
            "" => key.to_owned(),
            above => format!("{above}.{key}"),
        };
        Section {
            page: self.page,
            name,
            at: value.span().start,
            table,
            known: RefCell::default(),
        }
    }

    /// A table whose keys are data (header names, globs), in the order of the file.
    pub fn pairs<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str, &DeValue<'_>) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(section) = self.section(key) else {
            return Vec::new();
        };
        let mut entries: Vec<_> = section.table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut parsed = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            match parse(name.get_ref(), value.get_ref()) {
                Ok(item) => parsed.push(item),
                Err(message) => {
                    let message = format!("`{key}.{}`: {message}", name.get_ref());
                    self.fault_at(value.span().start, message);
                }
            }
        }
        parsed
    }

    /// True if the key is there and its value is a table.
    pub fn holds_table(&self, key: &'static str) -> bool {
        matches!(
            self.find(key).map(Spanned::get_ref),
            Some(DeValue::Table(_))
        )
    }

    /// True if the key is there.
    pub fn has(&self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    /// Where the table begins.
    pub fn place(&self) -> Place {
        self.place_at(self.at)
    }

    /// Where the key's value stands, or the table if the key is absent.
    pub fn place_of(&self, key: &'static str) -> Place {
        let at = self.table.get(key).map(|value| value.span().start);
        self.place_at(at.unwrap_or(self.at))
    }

    fn place_at(&self, offset: usize) -> Place {
        Place {
            file: self.page.path.to_owned(),
            line: self.page.line(offset),
        }
    }

    /// Reports a fault of the table as a whole.
    pub fn fault(&self, message: impl Into<String>) {
        self.fault_at(self.at, message);
    }

    /// Reports a fault at the key's value.
    pub fn fault_of(&self, key: &'static str, message: impl Into<String>) {
        let at = self.table.get(key).map(|value| value.span().start);
        self.fault_at(at.unwrap_or(self.at), message);
    }

    fn fault_at(&self, offset: usize, message: impl Into<String>) {
        let line = self.page.line(offset);
        if !self.page.torn.contains(&line) {
            self.page.report(line, message.into());
        }
    }

    /// A path of the file, relative to where the file stands.
    pub fn path(&self, text: &str) -> PathBuf {
        let parent = self.page.path.parent();
        parent.unwrap_or(Path::new("")).join(text)
    }

    /// How faults name the table.
    pub fn title(&self) -> String {
        match self.name.as_str() {
            "" => "this file".to_owned(),
            name => format!("[{name}]"),
        }
    }

    /// Reports the keys that nobody asked for. `elsewhere` are top-level keys that easily end up
    /// below a table's header.
    pub fn close_with(&self, elsewhere: &[&str]) {
        let known = self.known.borrow();
        for name in self.table.keys() {
            let key: &str = name.get_ref();
            if known.contains(&key) {
                continue;
            }
            let advice = if !self.name.is_empty() && elsewhere.contains(&key) {
                "it is a top-level key: move it above the first [table]".to_owned()
            } else {
                advice(key, &known)
            };
            let title = self.title();
            self.fault_at(
                name.span().start,
                format!("unknown key `{key}` in {title}; {advice}"),
            );
        }
    }

    /// Reports the keys that nobody asked for.
    pub fn close(&self) {
        self.close_with(&[]);
    }
}

/// `did you mean …` or, with nothing near, what there is.
pub(crate) fn advice(word: &str, known: &[&str]) -> String {
    let likeness = |name: &&&str| strsim::normalized_damerau_levenshtein(word, name);
    let nearest = known
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        Some(name) if likeness(&name) >= LIKENESS => format!("did you mean `{name}`?"),
        Some(_) => {
            let mut names = known.to_vec();
            names.sort_unstable();
            format!("known are {}", names.join(", "))
        }
        None => "there are none".to_owned(),
    }
}
