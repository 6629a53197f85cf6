//! The next target of the route.

use crate::common::calls::{Ask, Dialect};
use crate::common::fake::Fake;
use crate::rig::{BOTH, Rig, both, sim};
use crate::{ONE_DOLLAR, common};
use bursar::sim::Settings;
use bursar::units::Meter;
use std::time::{Duration, Instant};

const NO_BREAKER: &str =
    "breaker = { failures = 10000, failure_percent = 100, min_calls = 100000 }";

/// Works once in each way; all are answered by the second; `definite`: nothing is in doubt.
async fn answered_by_the_second(rig: &mut Rig, definite: bool) {
    for dialect in [Dialect::Chat, Dialect::Responses, Dialect::Completions] {
        let ask = Ask::chat("asked").dialect(dialect);
        for ask in [ask.clone(), ask.stream()] {
            let reply = rig.work("t", &ask).await;
            assert!(reply.status.is_success(), "{dialect:?} {}", reply.text());
            assert_eq!(reply.header("x-bursar-model").as_deref(), Some("sim-b"));
            let entries = rig.entries(&reply.request_id(), 2).await;
            let first = if definite { "void" } else { "unreconciled" };
            assert_eq!(
                (&*entries[0].ending, &*entries[1].ending),
                (first, "settle")
            );
        }
    }
    let metrics = rig.gateway.quiet().await;
    let fallbacks = "bursar_provider_fallbacks_total{provider=\"sim\"}";
    assert_eq!(metrics.get(fallbacks), 6.0);
    let sums = rig.settles().await;
    assert_eq!(sums.in_doubt == 0, definite);
    assert_eq!(rig.second.bill().turns, 6);
}

#[tokio::test]
async fn after_definite_refusals() {
    for model in ["sim-500", "sim-503", "sim-529", "sim-429"] {
        let more = |setup: common::setup::Setup| setup.provider(NO_BREAKER);
        // A 429 keeps others away for as long as it asks; so short that each call finds out itself.
        let settings = Settings {
            retry_after: Duration::from_nanos(1),
            ..Settings::default()
        };
        let first = sim(settings).await;
        let addr = first.addr();
        let mut rig = Rig::of(Some(first), addr, sim(Settings::default()).await, |setup| {
            more(setup.routes(&both(model)).limits(ONE_DOLLAR))
        })
        .await;
        answered_by_the_second(&mut rig, true).await;
    }
}

#[tokio::test]
async fn where_nobody_listens() {
    let nobody = Fake::nobody().await;
    let mut rig = Rig::of(None, nobody, sim(Settings::default()).await, |setup| {
        setup.routes(BOTH).limits(ONE_DOLLAR).provider(NO_BREAKER)
    })
    .await;
    answered_by_the_second(&mut rig, true).await;
}

#[tokio::test]
async fn after_failures_that_may_be_billed() {
    for model in ["sim-reset-early", "sim-502", "sim-504", "sim-page"] {
        let more = |setup: common::setup::Setup| setup.provider(NO_BREAKER);
        let mut rig = Rig::start(&both(model), ONE_DOLLAR, more).await;
        answered_by_the_second(&mut rig, false).await;
    }
}

#[tokio::test]
async fn after_silence() {
    let slow = Settings {
        slow_delay: Duration::from_secs(30),
        ..Settings::default()
    };
    let first = sim(slow).await;
    let addr = first.addr();
    let mut rig = Rig::of(Some(first), addr, sim(Settings::default()).await, |setup| {
        let setup = setup.routes(&both("sim-slow")).limits(ONE_DOLLAR);
        setup.provider(&format!(
            "timeouts = {{ first_byte = \"300ms\" }}\n{NO_BREAKER}"
        ))
    })
    .await;
    let reply = rig.work("t", &Ask::chat("asked")).await;
    assert_eq!(reply.header("x-bursar-model").as_deref(), Some("sim-b"));
    let entries = rig.entries(&reply.request_id(), 2).await;
    assert_eq!(&*entries[0].reason, "timeout");
    rig.settles().await;
}

#[tokio::test]
async fn not_after_an_end_that_may_be_billed_if_the_provider_says_so() {
    let more =
        |setup: common::setup::Setup| setup.provider("retry = { fall_back_in_doubt = false }");
    let mut rig = Rig::start(&both("sim-502"), ONE_DOLLAR, more).await;
    let reply = rig.work("t", &Ask::chat("asked")).await;
    assert_eq!(reply.status, 502);
    rig.entry(&reply.request_id()).await;
    rig.settles().await;
    assert_eq!(rig.second.bill().turns, 0);
}

#[tokio::test]
async fn not_for_a_call_that_is_wrong_itself() {
    let mut rig = Rig::start(&both("sim-400"), ONE_DOLLAR, |setup| setup).await;
    let reply = rig.work("t", &Ask::chat("asked")).await;
    assert_eq!(reply.status, 400);
    rig.entry(&reply.request_id()).await;
    rig.settles().await;
}

#[tokio::test]
async fn the_hold_is_swapped_where_there_is_room_for_one_only() {
    // One call at a time fits, and others wait in line for it.
    let limit = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"0.0040\"\n";
    let mut rig = Rig::start(&both("sim-503"), limit, |setup| {
        setup.provider(NO_BREAKER).top("wait_for_holds = \"20s\"")
    })
    .await;
    let ask = Ask::chat("asked").max_tokens(Some(300));
    let begun = Instant::now();
    let (one, other) = tokio::join!(rig.work("t", &ask), rig.work("t", &ask));
    for reply in [&one, &other] {
        assert!(reply.status.is_success(), "{}", reply.text());
        rig.entries(&reply.request_id(), 2).await;
    }
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "nobody waits in vain"
    );
    let sums = rig.settles().await;
    assert_eq!(sums.in_doubt, 0);
    assert!(sums.billed <= 4_000_000, "the cap: {sums:?}");
}

#[tokio::test]
async fn where_the_next_is_too_dear_the_failure_is_told() {
    let limits = "[[limit]]\nname = \"second\"\nmatch = { provider = \"second\" }\nper = [\"task\", \"provider\"]\nturns = 1\n\
                  [[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"1.00\"\n";
    let mut rig = Rig::start(&both("sim-503"), limits, |setup| setup.provider(NO_BREAKER)).await;
    let ask = Ask::chat("asked");
    let reply = rig.work("t", &ask).await;
    assert!(reply.status.is_success());
    let reply = rig.work("t", &ask).await;
    assert_eq!(reply.status, 503, "as it came: {}", reply.text());
    assert_eq!(reply.header("x-should-retry").as_deref(), Some("false"));
    let entry = rig.entry(&reply.request_id()).await;
    assert_eq!(entry.charged[Meter::Attempts], 1);
    let sums = rig.settles().await;
    assert_eq!(sums.in_doubt, 0);
}

#[tokio::test]
async fn both_dead() {
    let routes = both("sim-503").replace("sim-b", "sim-500");
    let mut rig = Rig::start(&routes, ONE_DOLLAR, |setup| setup).await;
    let reply = rig.work("t", &Ask::chat("asked")).await;
    assert_eq!(reply.status, 500, "the last one's word");
    assert_eq!(reply.header("x-should-retry").as_deref(), Some("false"));
    rig.entries(&reply.request_id(), 2).await;
    rig.settles().await;
    assert_eq!(rig.bill().refused, 2);
}
