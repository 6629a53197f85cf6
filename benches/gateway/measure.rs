//! The plan: which subject meets which load, for how long. Rounds are interleaved, so that a machine
//! that slows down slows all of them.

use crate::load::{self, Template};
use crate::provider::{Mode, Provider};
use crate::subject::Subject;
use crate::{Fault, Options};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds of each load; the median of them counts.
    pub rounds: usize,
    /// Time of one measurement.
    pub time: Duration,
    /// Time before the first one that is not counted.
    pub warm_up: Duration,
    /// Streams held open for the memory figure.
    pub open_streams: u64,
}

/// The model of most calls.
const MODEL: &str = "gpt-4o-mini";
/// One whose provider speaks another dialect than the callers.
const FOREIGN_MODEL: &str = "claude-haiku-4-5";
/// The floors come before the gateway.
const FLOORS: usize = 2;
/// Calls in flight in closed loops.
const IN_FLIGHT: u64 = 32;
/// Streams in flight in closed loops, and chunks of each.
const STREAMS: (u64, u64) = (16, 200);
/// The steady rate, in calls a second.
const STEADY_PER_SECOND: u32 = 500;

impl Plan {
    /// About three minutes.
    pub fn full() -> Self {
        Self {
            rounds: 5,
            time: Duration::from_secs(3),
            warm_up: Duration::from_secs(2),
            open_streams: 5_000,
        }
    }

    /// About fifteen seconds: proves that everything runs.
    pub fn quick() -> Self {
        Self {
            rounds: 1,
            time: Duration::from_millis(500),
            warm_up: Duration::from_millis(200),
            open_streams: 200,
        }
    }
}

/// One closed-loop measurement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// Calls, or chunks of streams, a second.
    pub per_second: f64,
    /// The subject's CPU time for each, in µs.
    pub cpu_us: f64,
    /// The share of its core that it used: near 1, the figure is its own; below, the load's.
    pub busy: f64,
}

/// All figures of one subject.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The name in the table.
    pub name: &'static str,
    /// Calls with bodies of 1 kB.
    pub small: Rate,
    /// Calls with bodies of 64 kB.
    pub large: Rate,
    /// Chunks of streams.
    pub chunks: Rate,
    /// Calls with bodies of 1 kB that are put into another dialect, and their answers back; the gateway's only.
    pub translated: Rate,
    /// Time to the last byte at the steady rate: median and 99th percentile, in µs.
    pub latency_us: (f64, f64),
    /// Start to ready, in ms.
    pub ready_ms: f64,
    /// Resident memory in kB: ready, after the loads, with all streams open.
    pub resident_kb: (u64, u64, u64),
    /// Memory for each open stream, in kB.
    pub stream_kb: f64,
}

/// What the run found.
#[derive(Clone, Debug)]
pub struct Run {
    /// Whether load and subject had a core each.
    pub pinned: bool,
    /// Streams held open.
    pub open_streams: u64,
    /// The floors, and the gateway last.
    pub subjects: Vec<Figures>,
}

/// Measures everything that `options` ask for.
pub async fn all(options: &Options, plan: &Plan, pinned: bool) -> Result<Run, Fault> {
    let provider = Provider::start().await?;
    let home = tempfile::tempdir()?;
    let mut subjects = vec![
        Subject::floor(provider.address, false)?,
        Subject::floor(provider.address, true)?,
    ];
    if !options.floor_only {
        let binary = binary(options);
        subjects.push(Subject::bursar(&binary, home.path(), provider.address).await?);
    }
    let mut figures: Vec<Figures> = Vec::new();
    for subject in &subjects {
        figures.push(Figures {
            name: subject.name,
            ready_ms: subject.ready.as_secs_f64() * 1e3,
            resident_kb: (subject.resident_kb()?, 0, 0),
            ..Figures::default()
        });
    }
    if let Err(fault) = loads(&provider, &subjects, &mut figures, plan).await {
        let faults: Vec<_> = subjects
            .iter_mut()
            .map(|subject| subject.blame(&fault))
            .collect();
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        return Err(faults.join("\n").into());
    }
    Ok(Run {
        pinned,
        open_streams: plan.open_streams,
        subjects: figures,
    })
}

/// One load after the other, each for all subjects.
async fn loads(
    provider: &Provider,
    subjects: &[Subject],
    figures: &mut [Figures],
    plan: &Plan,
) -> Result<(), Fault> {
    let small = Template::chat(MODEL, 1_000, false)?;
    let large = Template::chat(MODEL, 64_000, false)?;
    let stream = Template::chat(MODEL, 1_000, true)?;

    provider.set(Mode::Answer);
    let rates = rounds(subjects, &small, IN_FLIGHT, plan).await?;
    each(figures, rates, |figures, rate| figures.small = rate);
    let rates = rounds(subjects, &large, IN_FLIGHT, plan).await?;
    each(figures, rates, |figures, rate| figures.large = rate);
    let latencies = steady_rounds(subjects, &small, plan).await?;
    each(figures, latencies, |figures, us| figures.latency_us = us);
    let (floors, gateway) = subjects.split_at(subjects.len().min(FLOORS));
    let foreign = Template::chat(FOREIGN_MODEL, 1_000, false)?;
    provider.set(Mode::Message);
    let rates = rounds(gateway, &foreign, IN_FLIGHT, plan).await?;
    each(&mut figures[floors.len()..], rates, |figures, rate| {
        figures.translated = rate;
    });
    provider.set(Mode::Stream(STREAMS.1));
    let rates = rounds(subjects, &stream, STREAMS.0, plan).await?;
    each(figures, rates, |figures, rate| figures.chunks = rate);

    for (subject, figures) in subjects.iter().zip(figures) {
        provider.set(Mode::Held);
        figures.resident_kb.1 = subject.resident_kb()?;
        let open = load::open(subject.address, &stream, plan.open_streams).await?;
        figures.resident_kb.2 = subject.resident_kb()?;
        let grown = figures.resident_kb.2.saturating_sub(figures.resident_kb.1);
        figures.stream_kb = grown as f64 / open.len() as f64;
        provider.set(Mode::Answer);
    }
    Ok(())
}

fn binary(options: &Options) -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_bursar"));
    options
        .bursar
        .as_ref()
        .map_or_else(|| built.to_path_buf(), PathBuf::from)
}

fn each<T>(figures: &mut [Figures], values: Vec<T>, set: impl Fn(&mut Figures, T)) {
    for (figures, value) in figures.iter_mut().zip(values) {
        set(figures, value);
    }
}

/// The median rate of each subject over interleaved rounds.
async fn rounds(
    subjects: &[Subject],
    template: &Template,
    in_flight: u64,
    plan: &Plan,
) -> Result<Vec<Rate>, Fault> {
    let mut all = vec![Vec::new(); subjects.len()];
    for subject in subjects {
        load::closed(subject.address, template, in_flight, plan.warm_up).await?;
    }
    for _ in 0..plan.rounds {
        for (subject, rates) in subjects.iter().zip(&mut all) {
            rates.push(one_rate(subject, template, in_flight, plan.time).await?);
        }
    }
    Ok(all
        .into_iter()
        .map(|mut rates| {
            rates.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
            rates.get(rates.len() / 2).copied().unwrap_or_default()
        })
        .collect())
}

async fn one_rate(
    subject: &Subject,
    template: &Template,
    in_flight: u64,
    time: Duration,
) -> Result<Rate, Fault> {
    let (cpu, start) = (subject.cpu()?, Instant::now());
    let done = load::closed(subject.address, template, in_flight, time).await?;
    let (cpu, took) = (subject.cpu()? - cpu, start.elapsed());
    if done.refused > 0 {
        let (count, status) = (done.refused, done.status);
        return Err(format!("{}: {count} answers of {status}", subject.name).into());
    }
    let units = done.calls.max(done.events) as f64;
    Ok(Rate {
        per_second: units / took.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / units,
        busy: cpu.as_secs_f64() / took.as_secs_f64(),
    })
}

/// Median and 99th percentile of each subject over all rounds, in µs.
async fn steady_rounds(
    subjects: &[Subject],
    template: &Template,
    plan: &Plan,
) -> Result<Vec<(f64, f64)>, Fault> {
    let mut all = vec![Vec::new(); subjects.len()];
    for _ in 0..plan.rounds {
        for (subject, times) in subjects.iter().zip(&mut all) {
            let seen =
                load::steady(subject.address, template, STEADY_PER_SECOND, plan.time).await?;
            times.extend(seen);
        }
    }
    Ok(all
        .into_iter()
        .map(|mut times| {
            times.sort_unstable();
            let at = |permille: usize| {
                let index = (times.len() * permille / 1_000).min(times.len().saturating_sub(1));
                times
                    .get(index)
                    .map_or(0.0, |time| time.as_secs_f64() * 1e6)
            };
            (at(500), at(990))
        })
        .collect())
}
