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
#[path = "routes/matching.rs"]
mod matching;
#[path = "routes/rig.rs"]
mod rig;
#[path = "routes/shadowing.rs"]
mod shadowing;
