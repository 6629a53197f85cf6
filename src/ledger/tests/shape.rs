//! Bounds that are no quantities: the tree of agents, and time.

use super::*;

#[test]
fn the_tree_of_agents_is_bounded_and_a_top_up_raises_the_bound() {
    let mut desk = Desk::new();
    let task = key("tree", "t");
    let caps = Caps::default().with(Meter::Depth, 2).with(Meter::FanOut, 3);
    let ask = Ask {
        covers: vec![cover(&task, caps)],
        fixed: Amounts::ZERO,
        elastic: None,
    };
    let at = |depth, fan_out| Asker {
        stand: Stand { depth, fan_out },
        ..asker("a", Some("lead"))
    };
    let wait = Patience::Wait { deadline: NEVER };
    let first = held(desk.request_by(&at(2, 3), &ask, wait));
    desk.settle(first.id, 0);
    for (stand, meter, cap, there) in [
        (at(3, 3), Meter::Depth, 2, 2),
        (at(1, 4), Meter::FanOut, 3, 3),
    ] {
        let Verdict::Refused(Refusal::Limit(denial)) = desk.request_by(&stand, &ask, wait) else {
            panic!("beyond the cap");
        };
        assert_eq!((denial.meter, denial.cap), (meter, cap));
        assert_eq!((denial.settled, denial.needed), (there, 1));
        assert!(!denial.only_held);
    }
    let more = Amounts::ZERO.with(Meter::Depth, 1);
    desk.ledger
        .topped_up_to(desk.now, &task, &more, &Amounts::ZERO);
    let deeper = held(desk.request_by(&at(3, 0), &ask, wait));
    desk.settle(deeper.id, 0);
    desk.assert_quiet();
}

#[test]
fn an_observed_bound_on_the_tree_is_noted() {
    let mut desk = Desk::new();
    let task = key("tree", "t");
    let mut cover = cover(&task, Caps::default().with(Meter::Depth, 0));
    cover.observe = true;
    let ask = Ask {
        covers: vec![cover],
        fixed: Amounts::ZERO,
        elastic: None,
    };
    let deep = Asker {
        stand: Stand {
            depth: 1,
            fan_out: 1,
        },
        ..asker("a", None)
    };
    let wait = Patience::Wait { deadline: NEVER };
    let held = held(desk.request_by(&deep, &ask, wait));
    assert_eq!(held.observed[0].meter, Meter::Depth);
    desk.settle(held.id, 0);
}

#[test]
fn the_first_duration_to_run_out_is_the_deadline_and_an_observed_one_is_none() {
    let mut desk = Desk::new();
    let (task, agent) = (key("task", "t"), key("agent", "a"));
    let lasts = |key: &AccountKey, ms| cover(key, Caps::default().with(Meter::Duration, ms));
    let call = AccountKey {
        per: Arc::from([("call", Arc::from("r"))]),
        ..key("any call", "r")
    };
    let mut watched = lasts(&call, 10);
    watched.observe = true;
    let ask = Ask {
        covers: vec![lasts(&task, 1000), lasts(&agent, 400), watched],
        fixed: Amounts::ZERO,
        elastic: None,
    };
    let held = desk.held(&ask);
    let deadline = held.deadline.clone().unwrap();
    assert_eq!((deadline.key, deadline.cap_ms), (agent, 400));
    assert_eq!(deadline.at, UnixMs(desk.now.0 + 400));
    desk.settle(held.id, 0);
}
