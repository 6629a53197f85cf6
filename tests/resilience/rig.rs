//! A gateway before two providers of the same models.

use crate::common::books::{self, Entry};
use crate::common::calls::{Ask, Reply};
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::common::until;
use bursar::sim::{Bill, Settings, Sim};
use bursar::units::Meter;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// Calls in the role `worker` go to `sim`, then to `second`.
pub const BOTH: &str = "[[route]]\nname = \"workers\"\nmatch = { role = \"worker\" }\nto = [\"sim/sim-a\", \"second/sim-b\"]\n";

/// The same with a model of `sim` that misbehaves.
pub fn both(first: &str) -> String {
    BOTH.replace("sim-a", first)
}

/// The gateway, the provider `second`, and `sim` if it runs here.
pub struct Rig {
    pub first: Option<Sim>,
    pub second: Sim,
    pub gateway: Gateway,
}

impl Rig {
    /// With both providers well.
    pub async fn start(routes: &str, limits: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        let first = sim(Settings::default()).await;
        let second = sim(Settings::default()).await;
        let addr = first.addr();
        Self::of(Some(first), addr, second, |setup| {
            more(setup.routes(routes).limits(limits))
        })
        .await
    }

    /// With these; `addr` is where the first one is looked for.
    pub async fn of(
        first: Option<Sim>,
        addr: SocketAddr,
        second: Sim,
        more: impl FnOnce(Setup) -> Setup,
    ) -> Self {
        let provider = format!(
            "[[provider]]\nname = \"second\"\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\n\
             forward_attribution = true\nmodels = [\"second-*\"]",
            second.addr()
        );
        let setup = more(Setup::new(addr)).more(&provider);
        Self {
            gateway: Gateway::start(&setup).await,
            first,
            second,
        }
    }

    /// Calls as a worker.
    pub async fn work(&self, task: &str, ask: &Ask) -> Reply {
        let caller = self.gateway.caller(task);
        let caller = caller.header("x-bursar-agent-role", "worker");
        caller.call(ask).await.expect("an answer")
    }

    /// Calls in no role.
    pub async fn call(&self, ask: &Ask) -> Reply {
        self.gateway.caller("t").call(ask).await.expect("an answer")
    }

    /// The entries of one call, once there are so many.
    pub async fn entries(&self, request: &str, count: usize) -> Vec<Entry> {
        let found = until("the call is journalled", PATIENCE, || async {
            let mut calls = books::calls(&self.gateway.store());
            calls.retain(|entry| entry.request == request);
            (calls.len() >= count).then_some(calls)
        });
        let found = found.await;
        assert_eq!(found.len(), count, "{found:?}");
        found
    }

    /// The only entry of one call.
    pub async fn entry(&self, request: &str) -> Entry {
        self.entries(request, 1).await.remove(0)
    }

    /// Both bills in one.
    pub fn bill(&self) -> Bill {
        let mut both = self.second.bill_by_request();
        if let Some(first) = &self.first {
            let first = first.bill_by_request();
            both.total_nano_usd += first.total_nano_usd;
            both.turns += first.turns;
            both.refused += first.refused;
            let lines = both.by_request.as_mut().expect("asked for");
            for (request, line) in first.by_request.expect("asked for") {
                let sum = lines.entry(request).or_default();
                sum.nano_usd += line.nano_usd;
                sum.calls += line.calls;
            }
        }
        both
    }

    /// What `/api/providers` says of one.
    pub async fn provider(&self, name: &str) -> Value {
        let url = format!("{}/api/providers", self.gateway.ops);
        let reply = crate::common::calls::Http::new().get(&url).await;
        let shown = reply.expect("an answer").json();
        let mut providers = shown["providers"].as_array().expect("a list").iter();
        let found = providers.find(|provider| provider["name"] == name);
        found.expect("the provider").clone()
    }

    /// Stops the gateway in good order; compares the books with both bills; what they come to.
    pub async fn settles(&mut self) -> Sums {
        self.settles_so_often(1).await
    }

    /// The same where a call may have been asked of both, and be settled at both.
    pub async fn settles_twice(&mut self) -> Sums {
        self.settles_so_often(2).await
    }

    pub async fn settles_so_often(&mut self, most: usize) -> Sums {
        self.gateway.quiet().await;
        assert!(self.gateway.stop().await.success());
        let store = self.gateway.store();
        books::verify(&store);
        compare(&self.bill(), &books::calls(&store), most)
    }
}

/// What the comparison counted, nano-dollars.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    pub calls: usize,
    /// Of these, those that were asked of two targets at once.
    pub twice: usize,
    pub settled: u64,
    pub in_doubt: u64,
    pub billed: u64,
}

/// A simulated provider.
pub async fn sim(settings: Settings) -> Sim {
    Sim::start(settings).await.expect("a simulation")
}

/// A call may have several entries: of each call, what was settled is on the bills, and the bills have no
/// more than that and what is in doubt. A call is settled so often at most, and nothing else is on the bills.
pub fn compare(bill: &Bill, journal: &[Entry], most: usize) -> Sums {
    let mut lines = bill.by_request.clone().expect("a bill by request");
    let mut calls: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in journal {
        calls.entry(&entry.request).or_default().push(entry);
    }
    let mut sums = Sums::default();
    for (request, entries) in calls {
        let billed = lines.remove(request).unwrap_or_default().nano_usd;
        let of = |ending: &str| {
            let meant = entries.iter().filter(|entry| entry.ending == ending);
            (
                meant.clone().count(),
                meant.map(|entry| entry.charged[Meter::Usd]).sum::<u64>(),
            )
        };
        let ((times, settled), (doubts, in_doubt), (_, void)) =
            (of("settle"), of("unreconciled"), of("void"));
        assert!(times <= most, "charged {times} times: {entries:?}");
        let second = entries.iter().any(|entry| entry.hedge == "second");
        sums.twice += usize::from(second);
        assert_eq!(void, 0, "{entries:?}");
        assert!(billed >= settled, "billed {billed}: {entries:?}");
        assert!(billed <= settled + in_doubt, "billed {billed}: {entries:?}");
        if doubts == 0 {
            assert_eq!(billed, settled, "{entries:?}");
        }
        sums.calls += 1;
        sums.settled += settled;
        sums.in_doubt += in_doubt;
        sums.billed += billed;
    }
    assert!(
        lines.is_empty(),
        "billed, and not in the journal: {lines:?}"
    );
    assert_eq!(sums.billed, bill.total_nano_usd);
    sums
}
