//! What a row costs. Reported, never judged.

use super::*;
use std::time::Instant;

/// `cargo test --release --lib store::tests::speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn microseconds_per_row() {
    for in_group in [16, 64, 256] {
        measure(in_group);
    }
}

/// `cargo test --release --lib store::tests::speed::parts -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn parts() {
    const ROUNDS: u32 = 200_000;
    let entry = call(
        "01J9Z6X3T9YQ4V5K2M8N7P6R5S",
        "task-1",
        Ending::Settle,
        usd(123_456),
        &[],
    );
    let mut text = Vec::new();
    let each = |name: &str, run: &mut dyn FnMut()| {
        let started = Instant::now();
        (0..ROUNDS).for_each(|_| run());
        println!(
            "{name}: {:.2} µs",
            started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
        );
    };
    each("write the entry", &mut || {
        text.clear();
        let body = CallBody::new(&entry, entry.ended, vec![1, 2, 3]);
        body.write(&mut text).unwrap();
    });
    let mut hash = [0; 32];
    let text = text.clone();
    each("hash it", &mut || {
        hash = super::super::chain::link(&hash, 1, 1, "call", &text)
    });
    let text = String::from_utf8(text).unwrap();
    each("read it", &mut || {
        drop(serde_json::from_str::<CallBody<'_>>(&text).unwrap())
    });
}

fn measure(in_group: usize) {
    const ROWS: usize = 200_000;
    let (_directory, path) = place();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = open(&path);
    let tasks: Vec<String> = (0..8).map(|task| format!("task-{task}")).collect();
    let covers: Vec<Vec<AccountKey>> = tasks
        .iter()
        .map(|task| {
            [
                "task#0123456789abcdef",
                "agent turns#0123",
                "owner per day#01",
            ]
            .map(|limit| account(limit, task))
            .to_vec()
        })
        .collect();
    let charged = usd(123_456)
        .with(Meter::Tokens, 1_500)
        .with(Meter::InputTokens, 1_200)
        .with(Meter::OutputTokens, 300)
        .with(Meter::FreshTokens, 700)
        .with(Meter::Turns, 1);
    let calls: Vec<CallEntry> = (0..8)
        .map(|task| {
            call(
                "01J9Z6X3T9YQ4V5K2M8N7P6R5S",
                &tasks[task],
                Ending::Settle,
                charged,
                &covers[task],
            )
        })
        .collect();
    let started = Instant::now();
    runtime.block_on(async {
        for row in 0..ROWS {
            let place = store.reserve().await.unwrap();
            place.post(Entry::Call(Box::new(calls[row % 8].clone())));
            if row % in_group == in_group - 1 {
                store.flush().await.unwrap();
            }
        }
        store.flush().await.unwrap();
    });
    let wall = started.elapsed();
    // The writer's thread is this measurement's own, for the one before has ended.
    let cpu = writer_cpu();
    let rows = ROWS as f64;
    println!(
        "groups of {in_group}: {:.2} µs of writer CPU a row, {:.2} µs of wall; {} bytes a row",
        cpu * 1e6 / rows,
        wall.as_secs_f64() * 1e6 / rows,
        std::fs::metadata(&path).unwrap().len() / ROWS as u64,
    );
    runtime
        .block_on(store.stop(std::time::Duration::from_secs(60)))
        .unwrap();
    let started = Instant::now();
    let verdict = Reader::open(&path)
        .unwrap()
        .verify(&VerifyOptions::default())
        .unwrap();
    assert!(verdict.is_ok(), "{verdict:?}");
    println!(
        "verify: {:.2} µs a row",
        started.elapsed().as_secs_f64() * 1e6 / rows
    );
}

/// Seconds of CPU that the writer threads of this process have used.
fn writer_cpu() -> f64 {
    let mut nanos = 0_u64;
    for thread in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        if name.trim() == "bursar-store" {
            let stat = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            nanos += stat
                .split(' ')
                .next()
                .and_then(|nanos| nanos.parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    nanos as f64 / 1e9
}
