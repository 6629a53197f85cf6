//! `hedge_after`: a second target asked beside the first, under a hold of its own.

use crate::ONE_DOLLAR;
use crate::chaos::{PROVIDER, crowd};
use crate::common::calls::{Ask, Dialect, Http, Reply};
use crate::common::fake::{Fake, Then};
use crate::common::{Draw, books, until};
use crate::rig::{PATIENCE, Rig, both, sim};
use bursar::sim::{Settings, Sim};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};

/// `first` at `sim`, then `sim-b` at `second`, asked after this time.
fn hedged(first: &str, after: &str) -> String {
    both(first) + &format!("hedge_after = \"{after}\"\n")
}

/// A provider whose `sim-slow` takes so long to the first byte, and then between chunks.
async fn slow(ms: u64) -> Sim {
    sim(Settings {
        slow_delay: Duration::from_millis(ms),
        chunk_tokens: 4_096,
        ..Settings::default()
    })
    .await
}

/// Two such providers under these routes and limits.
async fn rig(first_ms: u64, second_ms: u64, routes: &str, limits: &str) -> Rig {
    let (first, second) = (slow(first_ms).await, slow(second_ms).await);
    let addr = first.addr();
    Rig::of(Some(first), addr, second, |setup| {
        setup.routes(routes).limits(limits)
    })
    .await
}

async fn count(rig: &Rig, result: &str) -> f64 {
    let metrics = rig.gateway.quiet().await;
    metrics.get(&format!(
        "bursar_hedged_calls_total{{result=\"{result}\",route=\"workers\"}}"
    ))
}

#[tokio::test]
async fn the_second_answers_for_a_slow_first_and_both_are_on_the_books() {
    let mut rig = rig(3_000, 0, &hedged("sim-slow", "150ms"), ONE_DOLLAR).await;
    let asks = [Dialect::Chat, Dialect::Responses].map(|dialect| {
        let ask = Ask::chat("asked").dialect(dialect).max_tokens(Some(60));
        [ask.clone(), ask.stream()]
    });
    let asks = asks.as_flattened();
    for reply in join_all(asks.iter().map(|ask| rig.work("t", ask))).await {
        assert!(reply.status.is_success(), "{}", reply.text());
        assert_eq!(reply.header("x-bursar-model").as_deref(), Some("sim-b"));
        // The first one is read to its usage.
        let entries = rig.entries(&reply.request_id(), 2).await;
        let of = |hedge: &str| entries.iter().find(|entry| entry.hedge == hedge);
        let (first, second) = (of("first").expect("a row"), of("second").expect("a row"));
        assert_eq!((&*first.ending, &*second.ending), ("settle", "settle"));
    }
    assert_eq!(count(&rig, "second").await, 4.0);
    let sums = rig.settles_twice().await;
    assert_eq!((sums.in_doubt, sums.billed), (0, sums.settled));
    assert_eq!(rig.bill().turns, 8);
}

#[tokio::test]
async fn the_second_may_speak_another_dialect() {
    let routes = hedged("sim-slow", "150ms").replace("second/sim-b", "sim-anthropic/sim-b");
    let mut rig = rig(3_000, 0, &routes, ONE_DOLLAR).await;
    let ask = Ask::chat("asked").max_tokens(Some(60));
    let asks = [ask.clone(), ask.stream()];
    for reply in join_all(asks.iter().map(|ask| rig.work("t", ask))).await {
        assert!(reply.status.is_success(), "{}", reply.text());
        let translated = reply.header("x-bursar-translated");
        assert_eq!(translated.as_deref(), Some("anthropic-messages"));
        rig.entries(&reply.request_id(), 2).await;
    }
    let sums = rig.settles_twice().await;
    assert_eq!(
        (sums.twice, sums.in_doubt, sums.billed),
        (2, 0, sums.settled)
    );
}

#[tokio::test]
async fn the_first_may_be_the_faster_all_the_same() {
    let routes = hedged("sim-slow", "150ms").replace("sim-b", "sim-slow");
    let mut rig = rig(1_500, 6_000, &routes, ONE_DOLLAR).await;
    let ask = Ask::chat("asked").max_tokens(Some(60));
    let asks = [ask.clone(), ask.stream()];
    for reply in join_all(asks.iter().map(|ask| rig.work("t", ask))).await {
        assert!(reply.status.is_success(), "{}", reply.text());
        let entries = rig.entries(&reply.request_id(), 2).await;
        // The winner has ended first.
        assert_eq!(entries[0].hedge, "first");
        assert_eq!(entries[1].hedge, "second");
    }
    assert_eq!(count(&rig, "first").await, 2.0);
    rig.settles_twice().await;
}

#[tokio::test]
async fn nobody_else_is_asked_for_what_comes_in_time() {
    let mut rig = rig(0, 0, &hedged("sim-a", "5s"), ONE_DOLLAR).await;
    for ask in [Ask::chat("asked"), Ask::chat("asked").stream()] {
        let reply = rig.work("t", &ask).await;
        assert_eq!(reply.header("x-bursar-model").as_deref(), Some("sim-a"));
        assert_eq!(rig.entry(&reply.request_id()).await.hedge, "");
    }
    rig.settles().await;
    assert_eq!(rig.second.bill().turns, 0);
}

#[tokio::test]
async fn where_both_do_not_fit_the_first_is_waited_for() {
    // One call at a time fits.
    let limit = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"0.0022\"\n";
    let mut rig = rig(2_000, 0, &hedged("sim-slow", "100ms"), limit).await;
    let ask = Ask::chat("asked").max_tokens(Some(300));
    let reply = rig.work("t", &ask).await;
    assert!(reply.status.is_success(), "{}", reply.text());
    assert_eq!(reply.header("x-bursar-model").as_deref(), Some("sim-slow"));
    assert_eq!(rig.entry(&reply.request_id()).await.ending, "settle");
    assert_eq!(count(&rig, "no_room").await, 1.0);
    rig.settles().await;
    assert_eq!(rig.second.bill().turns, 0);
}

#[tokio::test]
async fn of_two_that_fail_the_callers_are_told_once() {
    // The first takes its time to refuse; the second refuses at once.
    const REFUSAL: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
                           content-length: 26\r\nconnection: close\r\n\r\n{\"error\":{\"message\":\"no\"}}";
    let then = Then::Say(REFUSAL, Duration::from_secs(2));
    let first = Fake::start(String::new(), then).await;
    let routes = hedged("sim-a", "100ms").replace("sim-b", "sim-500");
    let mut rig = Rig::of(None, first.addr, slow(0).await, |setup| {
        setup.routes(&routes).limits(ONE_DOLLAR)
    })
    .await;
    let reply = rig.work("t", &Ask::chat("asked")).await;
    assert_eq!(reply.status, 503, "the last one's word: {}", reply.text());
    assert_eq!(reply.header("x-should-retry").as_deref(), Some("false"));
    rig.entries(&reply.request_id(), 2).await;
    assert_eq!(count(&rig, "none").await, 1.0);
    let sums = rig.settles_twice().await;
    assert_eq!((sums.settled, sums.in_doubt, sums.billed), (0, 0, 0));
}

/// A rig both of whose providers take their time, and a call that is on its way to both.
async fn on_its_way_to_both() -> (Rig, JoinHandle<Result<Reply, String>>) {
    let routes = hedged("sim-slow", "100ms").replace("sim-b", "sim-slow");
    let rig = rig(4_000, 4_000, &routes, ONE_DOLLAR).await;
    let caller = rig.gateway.caller("t");
    let caller = caller.header("x-bursar-agent-role", "worker");
    let ask = Ask::chat("asked").max_tokens(Some(60));
    let calling = tokio::spawn(async move { caller.call(&ask).await });
    until("it is at the second", PATIENCE, || async {
        (rig.second.bill().calls > 0).then_some(())
    })
    .await;
    (rig, calling)
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_both_to_be_read() {
    let (mut rig, calling) = on_its_way_to_both().await;
    calling.abort();
    assert!(calling.await.is_err(), "it hung up");
    let sums = rig.settles_twice().await;
    assert_eq!((sums.calls, sums.in_doubt), (1, 0));
    assert_eq!(rig.bill().turns, 2);
}

#[tokio::test]
async fn a_task_that_is_stopped_ends_both() {
    let (mut rig, calling) = on_its_way_to_both().await;
    let url = format!("{}/api/tasks/t/suspend", rig.gateway.ops);
    let stopped = Http::new().post(&url, &serde_json::json!({})).await;
    assert!(stopped.expect("an answer").status.is_success());
    let reply = calling.await.expect("no panic").expect("an answer");
    assert_eq!(reply.refusal().as_deref(), Some("task_suspended"));
    let sums = rig.settles_twice().await;
    assert_eq!((sums.calls, sums.in_doubt), (1, 0));
    assert_eq!(rig.bill().turns, 2);
}

/// Both are slow now and then and fail in every way.
fn unwell(seed: u64) -> Settings {
    Settings {
        fail_rate: 0.12,
        reset_rate: 0.08,
        page_rate: 0.03,
        slow_rate: 0.4,
        no_usage_rate: 0.03,
        slow_delay: Duration::from_millis(60),
        chunk_tokens: 64,
        retry_after: Duration::from_millis(30),
        seed,
        ..Settings::default()
    }
}

fn any(draw: &mut Draw, text: &str) -> Ask {
    let dialect = draw.pick(&[Dialect::Chat, Dialect::Chat, Dialect::Responses]);
    Ask {
        text: text.to_owned(),
        stream: draw.percent(50),
        max_tokens: Some(16 + draw.below(120)),
        ..Ask::chat("asked").dialect(dialect)
    }
}

const CAP: u64 = 250_000_000;
const OWNER: &str = "[[limit]]\nname = \"owner\"\nper = [\"owner\"]\nwindow = { every = \"month\" }\nusd = \"0.25\"\n\
                     [[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"0.06\"\n";

async fn unwell_rig() -> Rig {
    let (first, second) = (sim(unwell(1)).await, sim(unwell(2)).await);
    let addr = first.addr();
    let routes = hedged("sim-a", "20ms");
    Rig::of(Some(first), addr, second, |setup| {
        setup.routes(&routes).limits(OWNER).provider(PROVIDER)
    })
    .await
}

/// Whatever is asked twice, nothing is billed beyond the cap.
#[tokio::test]
async fn both_unwell_near_the_cap() {
    let ended = crowd(unwell_rig().await, (24, 40), any, 2).await;
    let sums = ended.sums;
    assert!(
        sums.settled + sums.in_doubt <= CAP && sums.billed <= CAP,
        "{sums:?}"
    );
    assert!(
        ended.answered > 0 && ended.refused > 0,
        "the cap was reached"
    );
    assert!(sums.twice > 20, "some were asked twice: {sums:?}");
}

/// The same over `kill -9`: what nobody can prove is in doubt, and the bills stay below the cap.
#[tokio::test]
async fn killed_in_the_midst_of_it() {
    let mut rig = unwell_rig().await;
    for life in 0..3_u64 {
        let mut crowd = JoinSet::new();
        for number in 0..16_u64 {
            let caller = rig.gateway.caller(&format!("t{}", number % 5));
            let caller = caller.header("x-bursar-agent-role", "worker");
            crowd.spawn(async move {
                let mut draw = Draw::new(life << 8 | number);
                for call in 0..60 {
                    let ask = any(&mut draw, &format!("Caller {number}, call {call}."));
                    if caller.call(&ask).await.is_err() {
                        return;
                    }
                }
            });
        }
        let billed = rig.bill().total_nano_usd;
        let more = until("some calls are billed", Duration::from_secs(30), || async {
            (rig.bill().total_nano_usd > billed + 10_000_000).then_some(())
        });
        more.await;
        rig.gateway.kill();
        while let Some(joined) = crowd.join_next().await {
            joined.expect("a caller");
        }
        rig.gateway.start_again().await;
    }
    rig.gateway.quiet().await;
    assert!(rig.gateway.stop().await.success());
    let store = rig.gateway.store();
    books::verify(&store);
    let billed = rig.bill().total_nano_usd;
    assert!(billed <= CAP, "{billed}");
    let owner = books::accounts(&store, "owner");
    let used: u64 = (owner.iter())
        .map(|row| row.balance.settled.usd().0 + row.balance.in_doubt.usd().0)
        .sum();
    assert!(
        billed <= used && used <= CAP,
        "billed {billed}, used {used}"
    );
    let rows = books::calls(&store);
    assert!(rows.iter().any(|row| row.hedge == "second"));
}
