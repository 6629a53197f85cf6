//! The table, the JSON line, and which ratios were met.

use crate::measure::{Figures, Rate, Run};
use serde_json::json;

/// The least share of the floor's rate that counts as met.
const RATIO_MIN: f64 = 0.6;

/// The least share of the rate of untranslated calls that translated ones must come to.
const TRANSLATED_MIN: f64 = 0.5;

/// A figure beside its target.
#[derive(Clone, Debug)]
struct Line {
    what: &'static str,
    value: f64,
    target: f64,
    /// At least (`true`) or at most (`false`) the target.
    at_least: bool,
    /// Ratios are judged; the rest depends on the machine and is only shown.
    judged: bool,
}

impl Line {
    fn is_met(&self) -> bool {
        match self.at_least {
            true => self.value >= self.target,
            false => self.value <= self.target,
        }
    }
}

/// Prints the table and, last, one JSON line.
pub fn print(run: &Run) {
    if !run.pinned {
        println!("note: not pinned to cores of their own (taskset, two cores); figures are rough");
    }
    println!(
        "{:<16}{:>12}{:>9}{:>6}{:>12}{:>9}{:>6}{:>12}{:>9}{:>6}",
        "",
        "1 kB call/s",
        "µs CPU",
        "busy",
        "64 kB",
        "µs CPU",
        "busy",
        "chunks/s",
        "µs CPU",
        "busy"
    );
    for figures in &run.subjects {
        print!("{:<16}", figures.name);
        for rate in [figures.small, figures.large, figures.chunks] {
            let Rate {
                per_second,
                cpu_us,
                busy,
            } = rate;
            print!("{per_second:>12.0}{cpu_us:>9.2}{busy:>6.2}");
        }
        println!();
    }
    println!(
        "\n{:<16}{:>10}{:>10}{:>10}{:>12}{:>12}{:>12}{:>11}",
        "", "p50 µs", "p99 µs", "ready ms", "RSS kB", "loaded kB", "streams kB", "kB/stream"
    );
    for figures in &run.subjects {
        let (ready, loaded, streaming) = figures.resident_kb;
        println!(
            "{:<16}{:>10.0}{:>10.0}{:>10.1}{ready:>12}{loaded:>12}{streaming:>12}{:>11.1}",
            figures.name,
            figures.latency_us.0,
            figures.latency_us.1,
            figures.ready_ms,
            figures.stream_kb
        );
    }
    println!();
    for line in lines(run) {
        let sign = if line.at_least { "≥" } else { "≤" };
        let verdict = match (line.is_met(), line.judged) {
            (true, _) => "met",
            (false, true) => "MISSED",
            (false, false) => "missed on this machine",
        };
        println!(
            "{:<48}{:>10.3}  {sign} {:<8} {verdict}",
            line.what, line.value, line.target
        );
    }
    println!("{}", as_json(run));
}

/// True when every judged ratio was met.
pub fn judged(run: &Run) -> bool {
    lines(run).iter().all(|line| !line.judged || line.is_met())
}

fn lines(run: &Run) -> Vec<Line> {
    let [floor, reading, gateway] = run.subjects.as_slice() else {
        return Vec::new();
    };
    let ratio = |what, ours: f64, theirs: f64| Line {
        what,
        value: ours / theirs,
        target: RATIO_MIN,
        at_least: true,
        judged: true,
    };
    let shown = |what, value, target| Line {
        what,
        value,
        target,
        at_least: false,
        judged: false,
    };
    let added = |pick: fn(&Figures) -> f64| (pick(gateway) - pick(floor)) / 1e3;
    let mut lines = vec![
        ratio(
            "calls/s at 1 kB, share of the floor",
            gateway.small.per_second,
            floor.small.per_second,
        ),
        ratio(
            "calls/s at 64 kB, share of the floor",
            gateway.large.per_second,
            floor.large.per_second,
        ),
        ratio(
            "chunks/s, share of the floor",
            gateway.chunks.per_second,
            floor.chunks.per_second,
        ),
        ratio(
            "calls/s at 64 kB, share of the reading floor",
            gateway.large.per_second,
            reading.large.per_second,
        ),
        Line {
            target: TRANSLATED_MIN,
            ..ratio(
                "translated calls/s at 1 kB, share of the others",
                gateway.translated.per_second,
                gateway.small.per_second,
            )
        },
        shown(
            "added latency p50 at 500 calls/s, ms",
            added(|f| f.latency_us.0),
            0.05,
        ),
        shown(
            "added latency p99 at 500 calls/s, ms",
            added(|f| f.latency_us.1),
            0.5,
        ),
        shown("memory for each open stream, kB", gateway.stream_kb, 32.0),
        shown(
            "resident after load, MB",
            gateway.resident_kb.1 as f64 / 1e3,
            40.0,
        ),
        shown("start to ready, ms", gateway.ready_ms, 100.0),
    ];
    // Where the load gave out before the floor did, calls/s flatter the gateway; CPU time does not.
    lines.insert(
        3,
        shown(
            "CPU for a call at 1 kB, multiple of the floor",
            gateway.small.cpu_us / floor.small.cpu_us,
            1.0 / RATIO_MIN,
        ),
    );
    lines
}

fn as_json(run: &Run) -> serde_json::Value {
    let rate = |rate: Rate| json!({"per_second": rate.per_second, "cpu_us": rate.cpu_us, "busy": rate.busy});
    let subjects: Vec<_> = run
        .subjects
        .iter()
        .map(|figures| {
            json!({
                "name": figures.name,
                "calls_1kb": rate(figures.small),
                "calls_64kb": rate(figures.large),
                "chunks": rate(figures.chunks),
                "translated_1kb": rate(figures.translated),
                "latency_p50_us": figures.latency_us.0,
                "latency_p99_us": figures.latency_us.1,
                "ready_ms": figures.ready_ms,
                "resident_ready_kb": figures.resident_kb.0,
                "resident_loaded_kb": figures.resident_kb.1,
                "resident_streaming_kb": figures.resident_kb.2,
                "stream_kb": figures.stream_kb,
            })
        })
        .collect();
    let lines: Vec<_> = lines(run)
        .iter()
        .map(|line| {
            json!({"what": line.what, "value": line.value, "target": line.target, "met": line.is_met(), "judged": line.judged})
        })
        .collect();
    json!({"pinned": run.pinned, "open_streams": run.open_streams, "subjects": subjects, "targets": lines})
}
