//! Caps on contexts: too large a call is refused before anything is held, or trimmed so that what leaves
//! is a valid conversation, quoted and billed as it leaves, with a prefix that stays the same from call to
//! call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "context/capped.rs"]
mod capped;
mod common;
#[path = "context/paced.rs"]
mod paced;
#[path = "context/rig.rs"]
mod rig;
#[path = "context/summarised.rs"]
mod summarised;
#[path = "context/trimmed.rs"]
mod trimmed;
