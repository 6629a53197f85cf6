//! Everything at once: two providers, one of them dead or both unwell, many callers, a cap.

use crate::common::Draw;
use crate::common::calls::{Ask, Dialect};
use crate::common::fake::Fake;
use crate::rig::{BOTH, Rig, Sums, sim};
use bursar::sim::{Settings, Sim};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const CALLERS: usize = 24;
const CALLS: usize = 50;
pub const PROVIDER: &str = "retry = { max = 4, max_in_doubt = 2, backoff = \"5ms\", max_wait = \"200ms\" }\n\
                        breaker = { failures = 8, open_for = \"500ms\", max_open = \"20s\" }\n\
                        timeouts = { connect = \"2s\", first_byte = \"1s\", between_bytes = \"5s\" }";

/// What came of it.
pub struct Ended {
    pub sums: Sums,
    pub answered: usize,
    /// Of the answered ones, those that came from a provider of another dialect.
    pub translated: usize,
    pub refused: usize,
    pub failed: usize,
}

/// Lets the callers call; compares the books with both bills.
async fn run(first: Option<Sim>, addr: SocketAddr, second: Sim, usd: &str) -> Ended {
    let limits = format!(
        "[[limit]]\nname = \"owner\"\nper = [\"owner\"]\nwindow = {{ every = \"month\" }}\nusd = \"{usd}\"\n\
         [[limit]]\nname = \"task\"\nper = [\"task\"]\nturns = 100000\n"
    );
    let rig = Rig::of(first, addr, second, |setup| {
        setup.routes(BOTH).limits(&limits).provider(PROVIDER)
    })
    .await;
    crowd(rig, (CALLERS, CALLS), any, 1).await
}

/// So many callers make so many calls each, as workers; compares the books with both bills, on which a
/// call may stand as settled so often.
pub async fn crowd(
    mut rig: Rig,
    (callers, calls): (usize, usize),
    any: fn(&mut Draw, &str) -> Ask,
    most: usize,
) -> Ended {
    let counts = Arc::new([const { AtomicUsize::new(0) }; 4]);
    let mut crowd = JoinSet::new();
    for number in 0..callers {
        let caller = rig.gateway.caller(&format!("t{}", number % 6));
        let caller = caller
            .header("x-bursar-agent-role", "worker")
            .agent(&format!("agent-{number}"));
        let counts = Arc::clone(&counts);
        crowd.spawn(async move {
            let mut draw = Draw::new(number as u64);
            for call in 0..calls {
                let ask = any(&mut draw, &format!("Caller {number}, call {call}."));
                let reply = caller.call(&ask).await.expect("an answer");
                let broke_off = ask.stream && reply.text().contains("\"upstream_error\"");
                let [answered, translated, refused, failed] = &*counts;
                match reply.status.as_u16() {
                    200 if !broke_off && reply.header("x-bursar-translated").is_some() => {
                        translated
                    }
                    200 if !broke_off => answered,
                    402 => refused,
                    _ => failed,
                }
                .fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while let Some(joined) = crowd.join_next().await {
        joined.expect("a caller");
    }
    let sums = rig.settles_so_often(most).await;
    let [plain, translated, refused, failed] =
        counts.each_ref().map(|count| count.load(Ordering::Relaxed));
    let answered = plain + translated;
    println!(
        "{answered} answered, {translated} of them translated, {refused} refused, {failed} failed, {sums:?}"
    );
    Ended {
        sums,
        answered,
        translated,
        refused,
        failed,
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

/// One of two is dead in this way: hardly a call fails.
async fn one_dead(first: Option<Sim>, addr: SocketAddr) {
    let ended = run(first, addr, sim(Settings::default()).await, "1000").await;
    let all = CALLERS * CALLS;
    assert_eq!(ended.refused, 0);
    assert!(
        ended.failed * 1_000 <= all,
        "{} of {all} failed",
        ended.failed
    );
    assert_eq!(ended.answered + ended.failed, all);
    assert!(ended.sums.billed > 0);
}

#[tokio::test]
async fn nobody_listens_at_one_of_two() {
    one_dead(None, Fake::nobody().await).await;
}

#[tokio::test]
async fn one_of_two_refuses_everything() {
    let settings = Settings {
        fail_rate: 1.0,
        retry_after: Duration::from_millis(50),
        ..Settings::default()
    };
    let first = sim(settings).await;
    let addr = first.addr();
    one_dead(Some(first), addr).await;
}

#[tokio::test]
async fn one_of_two_shows_pages() {
    let settings = Settings {
        page_rate: 1.0,
        ..Settings::default()
    };
    let first = sim(settings).await;
    let addr = first.addr();
    one_dead(Some(first), addr).await;
}

#[tokio::test]
async fn one_of_two_says_nothing() {
    let settings = Settings {
        slow_rate: 1.0,
        slow_delay: Duration::from_secs(60),
        ..Settings::default()
    };
    let first = sim(settings).await;
    let addr = first.addr();
    one_dead(Some(first), addr).await;
}

/// Both fail in every way, near the cap: whatever is answered, nothing is billed beyond it.
#[tokio::test]
async fn both_unwell_near_the_cap() {
    let unwell = |seed| Settings {
        fail_rate: 0.15,
        reset_rate: 0.1,
        page_rate: 0.05,
        slow_rate: 0.05,
        no_usage_rate: 0.05,
        slow_delay: Duration::from_millis(20),
        retry_after: Duration::from_millis(30),
        seed,
        ..Settings::default()
    };
    let first = sim(unwell(1)).await;
    let addr = first.addr();
    let ended = run(Some(first), addr, sim(unwell(2)).await, "0.25").await;
    let Sums {
        settled,
        in_doubt,
        billed,
        ..
    } = ended.sums;
    let cap = 250_000_000;
    assert!(
        settled + in_doubt <= cap && billed <= cap,
        "{:?}",
        ended.sums
    );
    assert!(ended.refused > 0, "the cap was reached");
    assert!(ended.answered > 0);
}
