//! How a call ends: each row of the table of endings, against the real gateway and the provider's own
//! bill.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "endings/broken.rs"]
mod broken;
mod common;
#[path = "endings/deadlines.rs"]
mod deadlines;
#[path = "endings/gone.rs"]
mod gone;
#[path = "endings/rogue.rs"]
mod rogue;
#[path = "endings/settled.rs"]
mod settled;
#[path = "endings/stopped.rs"]
mod stopped;
#[path = "endings/unread.rs"]
mod unread;
#[path = "endings/void.rs"]
mod void;

use bursar::sim::{Settings, Sim};
use bursar::units::Meter;
use common::books::{self, Entry};
use common::calls::{Ask, Dialect, Reply};
use common::gateway::Gateway;
use common::setup::Setup;
use common::until;
use std::time::Duration;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// All that generate.
const DIALECTS: [Dialect; 4] = [
    Dialect::Chat,
    Dialect::Messages,
    Dialect::Responses,
    Dialect::Completions,
];
/// A task of one dollar.
const ONE_DOLLAR: &str = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"1.00\"\n";

/// A gateway before its provider.
struct Scene {
    sim: Sim,
    gateway: Gateway,
}

impl Scene {
    /// With a dollar for each task.
    async fn new() -> Self {
        Self::with(Settings::default(), |setup| setup.limits(ONE_DOLLAR)).await
    }

    async fn with(settings: Settings, setup: impl FnOnce(Setup) -> Setup) -> Self {
        let sim = Sim::start(settings).await.expect("a simulated provider");
        let gateway = Gateway::start(&setup(Setup::new(sim.addr()))).await;
        Self { sim, gateway }
    }

    async fn call(&self, ask: &Ask) -> (Reply, Entry) {
        let reply = self.gateway.caller("t").call(ask).await.expect("an answer");
        let entry = entry_of(&self.gateway, &reply.request_id()).await;
        (reply, entry)
    }

    /// What the provider charged for that call.
    fn billed(&self, entry: &Entry) -> u64 {
        let bill = self.sim.bill_by_request();
        let lines = bill.by_request.expect("asked for");
        lines.get(&entry.request).map_or(0, |line| line.nano_usd)
    }
}

/// The call's entry, once it is written: the journal is behind the call.
async fn entry_of(gateway: &Gateway, request: &str) -> Entry {
    until("the call is journalled", PATIENCE, || async {
        let mut calls = books::calls(&gateway.store());
        calls.retain(|entry| entry.request == request);
        calls.pop()
    })
    .await
}

/// The only call of the journal.
async fn only_entry(gateway: &Gateway) -> Entry {
    until("a call is journalled", PATIENCE, || async {
        let mut calls = books::calls(&gateway.store());
        assert!(calls.len() <= 1, "one call only: {calls:?}");
        calls.pop()
    })
    .await
}

impl Entry {
    fn usd(&self) -> u64 {
        self.charged[Meter::Usd]
    }

    fn held(&self) -> u64 {
        self.quoted[Meter::Usd]
    }

    fn assert_void(&self, reason: &str, attempts: u64) {
        assert_eq!((self.ending.as_str(), &*self.reason), ("void", reason));
        let charged: Vec<Meter> = Meter::ALL
            .into_iter()
            .filter(|meter| self.charged[*meter] > 0)
            .collect();
        let expected: &[Meter] = if attempts > 0 {
            &[Meter::Attempts]
        } else {
            &[]
        };
        assert_eq!(charged, expected, "{self:?}");
        assert_eq!(self.charged[Meter::Attempts], attempts);
    }

    /// The whole hold is in doubt.
    fn assert_in_doubt(&self, reason: &str) {
        assert_eq!(
            (self.ending.as_str(), &*self.reason),
            ("unreconciled", reason)
        );
        assert_eq!(self.usd(), self.held(), "the whole hold: {self:?}");
        assert_eq!(self.charged[Meter::Turns], 1);
    }

    fn assert_settled(&self, billed: u64) {
        assert_eq!((self.ending.as_str(), &*self.reason), ("settle", ""));
        assert!(billed > 0);
        assert_eq!(self.usd(), billed, "{self:?}");
        assert_eq!(self.charged[Meter::Turns], 1);
    }
}

/// The code in the error event that ends a stream; `None` if it ended well.
fn ends_with_error(dialect: Dialect, reply: &Reply) -> Option<String> {
    let last = reply.last_event();
    let error = match dialect {
        Dialect::Responses if last["type"] == "response.failed" => &last["response"]["error"],
        Dialect::Responses => return None,
        Dialect::Messages if last["type"] == "error" => &last["error"],
        Dialect::Messages => return None,
        _ => &last["error"],
    };
    Some(error["code"].as_str()?.to_owned())
}
