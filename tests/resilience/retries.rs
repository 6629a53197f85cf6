//! The same target once more.

use crate::ONE_DOLLAR;
use crate::common::calls::Ask;
use crate::common::fake::Fake;
use crate::common::until;
use crate::rig::{PATIENCE, Rig, sim};
use bursar::sim::Settings;
use bursar::units::Meter;
use std::time::{Duration, Instant};

const RETRY: &str = "retry = { max = 3, backoff = \"10ms\" }";

#[tokio::test]
async fn without_being_told_nothing_is_tried_again() {
    let mut rig = Rig::start("", ONE_DOLLAR, |setup| setup).await;
    for model in ["sim-500", "sim-503", "sim-429", "sim-reset-early"] {
        let reply = rig.call(&Ask::chat(model)).await;
        assert!(reply.header("x-should-retry").is_none(), "as it came");
        rig.entry(&reply.request_id()).await;
    }
    rig.settles().await;
    assert_eq!(rig.bill().refused, 3);
}

#[tokio::test]
async fn definite_refusals_are_tried_again_inside_the_hold() {
    let failing = Settings {
        fail_rate: 0.4,
        retry_after: Duration::from_millis(20),
        ..Settings::default()
    };
    let first = sim(failing).await;
    let addr = first.addr();
    let mut rig = Rig::of(Some(first), addr, sim(Settings::default()).await, |setup| {
        setup.limits(ONE_DOLLAR).provider(
            "retry = { max = 10, backoff = \"5ms\" }\nbreaker = { failures = 1000, failure_percent = 100 }",
        )
    })
    .await;
    let mut attempts = 0;
    for call in 0..40 {
        let ask = Ask::chat("sim-plain");
        let ask = if call % 2 == 0 { ask } else { ask.stream() };
        let reply = rig.call(&ask).await;
        assert!(reply.status.is_success(), "{}", reply.text());
        let entry = rig.entry(&reply.request_id()).await;
        assert_eq!(entry.charged[Meter::Turns], 1);
        attempts += entry.charged[Meter::Attempts];
    }
    let bill = rig.bill();
    assert_eq!((bill.turns, bill.refused), (40, attempts));
    assert!(attempts > 5, "{attempts}");
    let metrics = rig.gateway.quiet().await;
    let retries = metrics.get("bursar_provider_retries_total{provider=\"sim\"}");
    assert_eq!(format!("{retries}"), attempts.to_string());
    let sums = rig.settles().await;
    assert_eq!((sums.calls, sums.in_doubt), (40, 0));
}

#[tokio::test]
async fn the_last_failure_passes_as_it_came_and_sdks_are_told_not_to_multiply_it() {
    let mut rig = Rig::start("", ONE_DOLLAR, |setup| setup.provider(RETRY)).await;
    let reply = rig.call(&Ask::chat("sim-503")).await;
    assert_eq!(reply.status, 503);
    assert!(reply.json()["error"]["bursar"].is_null(), "not ours");
    assert_eq!(reply.header("x-should-retry").as_deref(), Some("false"));
    let entry = rig.entry(&reply.request_id()).await;
    assert_eq!(
        (&*entry.ending, &*entry.reason),
        ("void", "provider_refused")
    );
    assert_eq!(entry.charged[Meter::Attempts], 4);
    // What no second try cures is tried once.
    let reply = rig.call(&Ask::chat("sim-400")).await;
    assert!(reply.header("x-should-retry").is_none());
    let entry = rig.entry(&reply.request_id()).await;
    assert_eq!(entry.charged[Meter::Attempts], 1);
    rig.settles().await;
    assert_eq!(rig.bill().refused, 5);
}

#[tokio::test]
async fn retry_after_is_kept_to_or_not_waited_for() {
    let mut rig = Rig::start("", ONE_DOLLAR, |setup| {
        setup.provider("retry = { max = 1, backoff = \"10ms\", max_wait = \"2s\" }")
    })
    .await;
    let begun = Instant::now();
    let reply = rig.call(&Ask::chat("sim-429")).await;
    assert_eq!(reply.status, 429);
    assert!(begun.elapsed() >= Duration::from_secs(1), "as asked");
    rig.settles().await;
    assert_eq!(rig.bill().refused, 2);

    let mut rig = Rig::start("", ONE_DOLLAR, |setup| {
        setup.provider("retry = { max = 5, backoff = \"10ms\", max_wait = \"900ms\" }")
    })
    .await;
    let reply = rig.call(&Ask::chat("sim-429")).await;
    assert_eq!(reply.header("retry-after").as_deref(), Some("1"));
    assert!(
        reply.header("x-should-retry").is_none(),
        "it was tried once"
    );
    rig.settles().await;
    assert_eq!(rig.bill().refused, 1);
}

#[tokio::test]
async fn whom_nobody_can_reach_is_tried_again_and_nothing_is_counted() {
    let nobody = Fake::nobody().await;
    let mut rig = Rig::of(None, nobody, sim(Settings::default()).await, |setup| {
        setup.limits(ONE_DOLLAR).provider(RETRY)
    })
    .await;
    let reply = rig.call(&Ask::chat("sim-x")).await;
    assert_eq!(reply.refusal().as_deref(), Some("upstream_error"));
    assert_eq!(reply.header("x-should-retry").as_deref(), Some("false"));
    let entry = rig.entry(&reply.request_id()).await;
    assert_eq!((&*entry.ending, &*entry.reason), ("void", "unreachable"));
    assert_eq!(entry.charged[Meter::Attempts], 0);
    let metrics = rig.gateway.quiet().await;
    let tried = "bursar_provider_calls_total{provider=\"sim\",result=\"unreachable\"}";
    assert_eq!(metrics.get(tried), 4.0);
    rig.settles().await;
}

#[tokio::test]
async fn what_may_be_billed_is_tried_again_with_a_hold_of_its_own() {
    let mut rig = Rig::start("", ONE_DOLLAR, |setup| {
        setup.provider("retry = { max_in_doubt = 2, backoff = \"10ms\" }")
    })
    .await;
    for model in ["sim-reset-early", "sim-502", "sim-page"] {
        for ask in [Ask::chat(model), Ask::chat(model).stream()] {
            let before = rig.bill().turns;
            let reply = rig.call(&ask).await;
            assert_eq!(
                reply.header("x-should-retry").as_deref(),
                Some("false"),
                "{model}"
            );
            let entries = rig.entries(&reply.request_id(), 3).await;
            for entry in entries {
                assert_eq!(entry.ending, "unreconciled");
                assert_eq!(
                    entry.charged[Meter::Usd],
                    entry.quoted[Meter::Usd],
                    "the whole hold"
                );
                assert_eq!(entry.charged[Meter::Turns], 1);
            }
            assert_eq!(rig.bill().turns - before, 3, "{model}");
        }
    }
    // Of what was passed on, nothing is tried again.
    let reply = rig.call(&Ask::chat("sim-reset").stream()).await;
    rig.entry(&reply.request_id()).await;
    rig.settles().await;
}

#[tokio::test]
async fn a_cap_on_attempts_holds() {
    let limit = "[[limit]]\nname = \"tries\"\nper = [\"task\"]\nattempts = 3\n";
    let mut rig = Rig::start("", limit, |setup| {
        setup.provider("retry = { max = 8, backoff = \"5ms\" }")
    })
    .await;
    let reply = rig.call(&Ask::chat("sim-500")).await;
    assert_eq!(reply.status, 500, "what led there: {}", reply.text());
    assert_eq!(reply.header("x-should-retry").as_deref(), Some("false"));
    let entries = rig.entries(&reply.request_id(), 3).await;
    assert!(entries.iter().all(|entry| entry.ending == "void"));
    let reply = rig.call(&Ask::chat("sim-x")).await;
    assert_eq!(reply.refusal().as_deref(), Some("limit_exceeded"));
    rig.settles().await;
    assert_eq!(rig.bill().refused, 3);
}

#[tokio::test]
async fn a_pause_ends_with_its_caller_and_with_its_task() {
    let mut rig = Rig::start("", ONE_DOLLAR, |setup| {
        setup.provider("retry = { max = 9, backoff = \"10s\" }")
    })
    .await;
    let refused = |count: u64| {
        let rig = &rig;
        until("it was refused", PATIENCE, move || async move {
            (rig.bill().refused == count).then_some(())
        })
    };
    let ask = Ask::chat("sim-503");
    let caller = rig.gateway.caller("t");
    let hung_up = tokio::spawn({
        let (caller, ask) = (caller.clone(), ask.clone());
        async move { caller.call(&ask).await }
    });
    refused(1).await;
    hung_up.abort();
    assert!(hung_up.await.is_err());
    rig.gateway.quiet().await;
    let stopped = tokio::spawn({
        let (caller, ask) = (caller.clone(), ask.clone());
        async move { caller.call(&ask).await }
    });
    refused(2).await;
    let http = crate::common::calls::Http::new();
    let url = format!("{}/api/tasks/t/suspend", rig.gateway.ops);
    let body = serde_json::json!({"owner": "local"});
    let suspended = http.post(&url, &body).await.expect("an answer");
    assert!(suspended.status.is_success(), "{}", suspended.text());
    let reply = stopped.await.expect("a task").expect("an answer");
    assert_eq!(reply.refusal().as_deref(), Some("task_suspended"));
    let sums = rig.settles().await;
    assert_eq!((sums.calls, sums.in_doubt, sums.settled), (2, 0, 0));
}

#[tokio::test]
async fn no_pause_goes_beyond_the_deadline() {
    let limit = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nduration = \"3s\"\nusd = \"1.00\"\n";
    let mut rig = Rig::start("", limit, |setup| {
        setup.provider("retry = { max = 9, backoff = \"8s\" }")
    })
    .await;
    let begun = Instant::now();
    let reply = rig.call(&Ask::chat("sim-503")).await;
    assert_eq!(reply.status, 503, "as it came");
    assert!(begun.elapsed() < Duration::from_secs(3));
    rig.settles().await;
}
