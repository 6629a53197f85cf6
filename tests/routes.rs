//! Routes: which of two providers answers, and that each is paid exactly what it bills. Both are
//! simulated, each keeps a bill of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "routes/budgets.rs"]
mod budgets;
mod common;
#[path = "routes/ladders.rs"]
mod ladders;
#[path = "routes/matching.rs"]
mod matching;
#[path = "routes/pinning.rs"]
mod pinning;
#[path = "routes/rig.rs"]
mod rig;
#[path = "routes/shadowing.rs"]
mod shadowing;

/// The marks of that rule in a task's story.
fn story(rig: &rig::Rig, task: &str, rule: &str) -> Vec<String> {
    use bursar::store::{Kind, MarkBody, Reader};
    let reader = Reader::open(&rig.gateway.store()).expect("a store");
    let mut found = Vec::new();
    let read = reader.rows(0, |row| {
        if row.kind == Kind::Mark.name() {
            let mark: MarkBody<'_> = serde_json::from_str(row.entry)?;
            if mark.task.as_str() == task && mark.rule.as_str() == rule {
                found.push(mark.detail.as_str().to_owned());
            }
        }
        Ok(true)
    });
    read.expect("a journal");
    found
}
