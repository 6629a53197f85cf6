//! What operators do, against the real binary: the API on `ops`, and the verbs of the command line
//! beside a running gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

mod commands;
mod doubts;
mod gate;
mod keys;
mod rig;
mod stops;
mod sums;
mod tasks;
