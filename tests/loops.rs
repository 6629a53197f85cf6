//! Tasks that go round in circles, through the live gateway: every kind of loop on every dialect fires
//! where `bursar replay --loops` says, what only looks like one passes, and each action does what it says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "loops/acting.rs"]
mod acting;
#[path = "loops/chanting.rs"]
mod chanting;
mod common;
#[path = "loops/journal.rs"]
mod journal;
#[path = "loops/kinds.rs"]
mod kinds;
#[path = "loops/provider.rs"]
mod provider;
#[path = "loops/runs.rs"]
mod runs;
#[path = "loops/talk.rs"]
mod talk;
