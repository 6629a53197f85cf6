//! The edges of the gateway against the real binary: bad input, faults of the store, attribution,
//! identities, what passes untouched, transport, reload and drain. The tests about money stand in
//! programs of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the clock of the machine"
)]

#[path = "../common/mod.rs"]
mod common;

mod attribution;
mod bodies;
mod clock;
mod faults;
mod identities;
mod input;
mod passing;
mod paths;
mod reload;
mod rig;
mod transport;
