//! What operators see.

use std::collections::BTreeMap;

/// Metrics as they were at one moment.
#[derive(Clone, Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text exposition.
    pub fn read(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// One sample, its labels included in the name; 0 if it is not there.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// All samples of one name.
    pub fn sum(&self, name: &str) -> f64 {
        let labelled = format!("{name}{{");
        let samples = self.0.iter();
        samples
            .filter(|(key, _)| key.as_str() == name || key.starts_with(&labelled))
            .map(|(_, value)| value)
            .sum()
    }

    /// In nano-dollars, all samples of one name whose label says this.
    pub fn nano_where(&self, name: &str, (label, value): (&str, &str)) -> u64 {
        let (begins, holds) = (format!("{name}{{"), format!("{label}=\"{value}\""));
        let samples = self.0.keys();
        let samples = samples.filter(|key| key.starts_with(&begins) && key.contains(&holds));
        samples.map(|key| self.nano(key)).sum()
    }

    /// In nano-dollars. Metrics are floats; amounts in tests are small enough to be exact.
    pub fn nano(&self, name: &str) -> u64 {
        let nano = (self.get(name) * 1e9).round();
        format!("{nano:.0}").parse().expect("an amount")
    }
}
