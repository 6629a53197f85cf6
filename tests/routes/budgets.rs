//! Which target a call fits at.

use crate::common::calls::Ask;
use crate::rig::Rig;
use std::sync::Arc;
use tokio::task::JoinSet;

const LADDER: &str = r#"
[[route]]
name = "ladder"
to = ["sim/sim-strong", "second/sim-cheap"]
"#;

fn task(usd: &str) -> String {
    format!("[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"{usd}\"\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_target_that_the_call_fits_at_takes_it() {
    // A strong answer of 2,000 tokens may cost $0.05, a cheap one $0.0008.
    let mut rig = Rig::start(LADDER, &task("0.06")).await;
    let ask = Ask::chat("anything").max_tokens(Some(2_000));
    let mut answered = Vec::new();
    for _ in 0..8 {
        answered.push(rig.say("t", "", &ask).await);
    }
    assert_eq!(answered[0], "sim/sim-strong");
    assert_eq!(answered[7], "second/sim-cheap");
    let turned = answered.iter().position(|who| who.starts_with("second"));
    let turned = turned.expect("somewhere it turns");
    assert!(
        answered[turned..]
            .iter()
            .all(|who| who.starts_with("second"))
    );
    // Each is paid at its own price, and no answer was cut short for it.
    assert!(rig.billed().iter().sum::<u64>() <= 60_000_000);
    rig.settles().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fits_nowhere_is_told_what_was_tried() {
    let rig = Rig::start(LADDER, &task("0.00001")).await;
    let reply = rig.caller("t", "").call(&Ask::chat("x")).await.unwrap();
    assert_eq!(reply.status, 402);
    assert_eq!(reply.refusal().unwrap(), "task_budget_exceeded");
    let text = reply.text();
    assert!(text.contains("Tried: sim/sim-strong (up to $"), "{text}");
    assert!(text.contains(", second/sim-cheap (up to $"), "{text}");
    assert_eq!(rig.billed(), [0, 0]);
    rig.gateway.quiet().await;
    let went = rig.went(&reply.request_id());
    assert_eq!((&*went.route, &*went.asked), ("ladder", "x"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_fits_whole_the_answer_is_cut_to_what_is_left() {
    let rig = Rig::start(LADDER, &task("0.0008")).await;
    let ask = Ask::chat("x").max_tokens(Some(20_000));
    let before = rig.billed();
    let reply = rig.caller("t", "").call(&ask).await.unwrap();
    assert_eq!(rig.who(before, &reply), "second/sim-cheap");
    let told: u64 = reply
        .header("x-bursar-output-cap")
        .unwrap()
        .parse()
        .unwrap();
    assert!((256..2_000).contains(&told), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_without_a_price_is_passed_over_under_a_cap_in_dollars() {
    let routes = "[[route]]\nto = [\"second/nobody-prices-this\", \"second/sim-cheap\"]\n";
    let rig = Rig::start(routes, &task("1.00")).await;
    assert_eq!(rig.say("t", "", &Ask::chat("x")).await, "second/sim-cheap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_never_cost_more_than_the_cap_over_both_bills() {
    let mut rig = Rig::start(LADDER, &task("0.10")).await;
    let ask = Arc::new(Ask::chat("x").max_tokens(Some(1_000)));
    let mut calls = JoinSet::new();
    for i in 0..200 {
        let (caller, ask) = (rig.caller("t", ""), Arc::clone(&ask));
        calls.spawn(async move {
            let ask = if i % 3 == 0 {
                (*ask).clone().stream()
            } else {
                (*ask).clone()
            };
            caller.call(&ask).await.expect("an answer")
        });
    }
    let replies = calls.join_all().await;
    let [first, second] = rig.billed();
    assert!(first > 0 && second > 0, "{first} and {second}");
    assert!(first + second <= 100_000_000, "{first} and {second}");
    let answered = replies
        .iter()
        .filter(|reply| reply.status.is_success())
        .count();
    assert!(answered > 20, "{answered} of 200");
    rig.settles().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_share_left_of_the_budget_chooses_also_after_a_restart() {
    let routes = r#"
[[route]]
name = "thrift"
match = { budget_left = { under = 0.5 } }
to = "second/sim-cheap"
"#;
    let mut rig = Rig::start(routes, &task("0.01")).await;
    let ask = Ask::chat("sim-strong").max_tokens(Some(60));
    let mut answered = Vec::new();
    while rig.billed()[0] <= 5_000_000 {
        answered.push(rig.say("t", "", &ask).await);
        assert!(answered.len() < 100);
    }
    assert!(answered.iter().all(|who| who == "sim/sim-strong"));
    assert_eq!(rig.say("t", "", &ask).await, "second/sim-cheap");
    assert_eq!(rig.say("another", "", &ask).await, "sim/sim-strong");
    rig.gateway.stop().await;
    rig.gateway.start_again().await;
    assert_eq!(rig.say("t", "", &ask).await, "second/sim-cheap");
    rig.settles().await;
}
