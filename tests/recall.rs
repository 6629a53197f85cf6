//! Answers that are given again: the simulated providers' bill says what was paid for, and a second call
//! bills nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic where it sets things up"
)]

#[path = "recall/cached.rs"]
mod cached;
mod common;
#[path = "recall/durable.rs"]
mod durable;
#[path = "recall/keyed.rs"]
mod keyed;
#[path = "edges/rig.rs"]
#[allow(dead_code, reason = "shared with the tests of edges")]
mod rig;

use common::calls::Reply;
use rig::World;

/// An answer that was given again: the same bytes, for nothing.
fn assert_again(first: &Reply, again: &Reply, header: (&str, &str)) {
    assert_eq!(again.status, first.status);
    assert_eq!(again.text(), first.text());
    assert_eq!(again.header("content-type"), first.header("content-type"));
    assert_eq!(again.header(header.0).as_deref(), Some(header.1));
    assert_eq!(again.cost().map(|cost| cost.0), Some(0));
    assert_ne!(again.request_id(), first.request_id());
    if let Some(cost) = first.cost() {
        let saved = again.header("x-bursar-saved-usd");
        assert_eq!(saved, Some(cost.to_string()));
    }
}

/// So many calls were billed.
fn assert_billed(world: &World, calls: u64) {
    assert_eq!(world.sim.bill().calls, calls);
}
