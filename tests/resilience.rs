//! What becomes of calls whose provider fails: tried again inside the hold or with another, sent to the
//! next target, passed over, shed. Each provider keeps a bill of its own, and nothing is paid that is not
//! on the books.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "resilience/breaker.rs"]
mod breaker;
#[path = "resilience/chaos.rs"]
mod chaos;
mod common;
#[path = "resilience/crowds.rs"]
mod crowds;
#[path = "resilience/dialects.rs"]
mod dialects;
#[path = "resilience/elsewhere.rs"]
mod elsewhere;
#[path = "resilience/hedged.rs"]
mod hedged;
#[path = "resilience/retries.rs"]
mod retries;
#[path = "resilience/rig.rs"]
mod rig;

/// A task of one dollar.
const ONE_DOLLAR: &str = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"1.00\"\n";
