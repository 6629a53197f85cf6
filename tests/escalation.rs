//! A cap that asks a person: the call is held open, somebody hears of it and decides, and the call
//! gets its answer or a refusal with the question's id, over restarts and whoever hangs up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;
#[path = "escalation/deciding.rs"]
mod deciding;
#[path = "escalation/hearing.rs"]
mod hearing;
#[path = "escalation/receiver.rs"]
mod receiver;
#[path = "escalation/reviewing.rs"]
mod reviewing;
#[path = "escalation/rig.rs"]
mod rig;
#[path = "escalation/storm.rs"]
mod storm;
#[path = "escalation/streams.rs"]
mod streams;
#[path = "escalation/waiting.rs"]
mod waiting;
#[path = "escalation/wrapping.rs"]
mod wrapping;
