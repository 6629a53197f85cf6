//! Caps: what is denied, what is observed, what changes them.

use super::*;

#[test]
fn all_accounts_or_none() {
    let mut desk = Desk::new();
    let (task, owner) = (key("task", "t"), key("owner", "o"));
    let spent = desk.held(&fixed(60, &[(&owner, 100)]));
    desk.settle(spent.id, 60);
    let denial = desk.denied(&fixed(50, &[(&task, 1000), (&owner, 100)]));
    assert_eq!(
        (denial.key, denial.meter, denial.cap),
        (owner.clone(), Meter::Usd, 100)
    );
    assert_eq!((denial.settled, denial.held, denial.needed), (60, 0, 50));
    assert_eq!(desk.view(&task).held, Amounts::ZERO);
    let held = desk.held(&fixed(40, &[(&task, 1000), (&owner, 100)]));
    assert_eq!(held.remaining.usd, Some(NanoUsd(0)), "the tightest");
    assert_eq!(desk.view(&task).held.usd().0, 40);
}

#[test]
fn a_cap_is_used_to_the_last_nano_dollar_and_no_further() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    for _ in 0..10 {
        let held = desk.held(&fixed(10, &[(&task, 100)]));
        desk.settle(held.id, 10);
    }
    assert!(!desk.denied(&fixed(1, &[(&task, 100)])).only_held);
    let free = desk.held(&fixed(0, &[(&task, 100)]));
    desk.settle(free.id, 0);
    desk.assert_quiet();
}

#[test]
fn turns_are_held() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let turn = Amounts::ZERO.with(Meter::Turns, 1);
    let covers = vec![cover(&task, Caps::default().with(Meter::Turns, 2))];
    let ask = Ask {
        covers,
        fixed: turn,
        elastic: None,
    };
    let one = desk.held(&ask);
    assert_eq!(one.remaining.turns, Some(1));
    let two = desk.held(&ask);
    assert_eq!(
        desk.peek(&ask),
        Verdict::Short(Shortage { refinable: false })
    );
    desk.ledger.settle(desk.now, one.id, turn);
    desk.ledger.settle(desk.now, two.id, turn);
    assert_eq!(desk.denied(&ask).meter, Meter::Turns);
}

#[test]
fn tool_calls_and_attempts_are_counted_at_the_end() {
    for meter in [Meter::ToolCalls, Meter::Attempts] {
        let mut desk = Desk::new();
        let task = key("task", "t");
        let covers = vec![cover(&task, Caps::default().with(meter, 3))];
        let ask = Ask {
            covers,
            fixed: Amounts::ZERO,
            elastic: None,
        };
        let (one, two) = (desk.held(&ask), desk.held(&ask));
        desk.ledger
            .settle(desk.now, one.id, Amounts::ZERO.with(meter, 2));
        let last = desk.held(&ask);
        let end = desk
            .ledger
            .settle(desk.now, two.id, Amounts::ZERO.with(meter, 2));
        assert_eq!(
            end.overrun,
            Amounts::ZERO,
            "what was never held cannot overrun"
        );
        let denial = desk.denied(&ask);
        assert_eq!((denial.meter, denial.cap, denial.settled), (meter, 3, 4));
        desk.ledger.void(desk.now, last.id, 1);
        desk.assert_quiet();
    }
}

#[test]
fn duration_is_a_deadline_without_the_pauses() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let covers = vec![cover(&task, Caps::default().with(Meter::Duration, 1000))];
    let ask = Ask {
        covers,
        fixed: Amounts::ZERO,
        elastic: None,
    };
    let start = desk.now;
    let first = desk.held(&ask);
    let deadline = first.deadline.as_ref().unwrap();
    assert_eq!(
        (deadline.at, deadline.cap_ms),
        (UnixMs(start.0 + 1000), 1000)
    );
    desk.settle(first.id, 0);
    desk.pass(1500);
    let denial = desk.denied(&ask);
    assert_eq!(
        (denial.meter, denial.cap, denial.settled),
        (Meter::Duration, 1000, 1500)
    );
    let paused = Asker {
        paused_ms: 600,
        ..asker("a", None)
    };
    let wait = Patience::Wait { deadline: NEVER };
    let held = held(desk.request_by(&paused, &ask, wait));
    assert_eq!(held.deadline.unwrap().at, UnixMs(start.0 + 1600));
}

#[test]
fn duration_goes_on_where_the_store_left_it() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let opened = Some(UnixMs(desk.now.0 - 2000));
    desk.durable.insert(
        task.clone(),
        Balance {
            opened,
            ..Balance::default()
        },
    );
    let covers = vec![cover(&task, Caps::default().with(Meter::Duration, 1000))];
    let ask = Ask {
        covers,
        fixed: Amounts::ZERO,
        elastic: None,
    };
    assert_eq!(desk.denied(&ask).settled, 2000);
}

#[test]
fn observed_accounts_count_and_never_refuse() {
    let mut desk = Desk::new();
    desk.serves = false;
    let task = key("task", "t");
    let mut ask = fixed(70, &[(&task, 100)]);
    ask.covers[0].observe = true;
    let one = desk.held(&ask);
    assert!(one.observed.is_empty());
    assert_eq!(one.remaining.usd, None);
    desk.settle(one.id, 70);
    let two = desk.held(&ask);
    assert_eq!((two.observed.len(), two.observed[0].cap), (1, 100));
    desk.settle(two.id, 70);
    assert_eq!(desk.view(&task).settled.usd().0, 140);
}

#[test]
fn an_observed_account_that_is_enforced_again_keeps_its_usage() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let before = Balance {
        settled: usd(30),
        granted: usd(30),
        ..Balance::default()
    };
    desk.durable.insert(task.clone(), before);
    desk.serves = false;
    let mut ask = fixed(25, &[(&task, 100)]);
    ask.covers[0].observe = true;
    let (one, two) = (desk.held(&ask), desk.held(&ask));
    desk.settle(one.id, 25);
    desk.serve();
    assert_eq!(
        desk.view(&task).settled.usd().0,
        55,
        "the store's and what came since"
    );
    ask.covers[0].observe = false;
    desk.serves = true;
    let waiting = desk.waits(&ask);
    desk.settle(two.id, 25);
    assert!(matches!(desk.answer(waiting), Some(Verdict::Refused(_))));
    assert_eq!(desk.view(&task).settled.usd().0, 80);
}

#[test]
fn the_newest_caps_hold_and_usage_stays() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(60, &[(&task, 100)]));
    let waiting = desk.waits(&fixed(50, &[(&task, 100)]));
    let other = desk.held(&fixed(1, &[(&task, 200)]));
    assert!(
        matches!(desk.answer(waiting), Some(Verdict::Held(_))),
        "a raised cap lets it in"
    );
    desk.settle(one.id, 60);
    desk.settle(other.id, 1);
    let denial = desk.denied(&fixed(1, &[(&task, 50)]));
    assert_eq!((denial.cap, denial.settled, denial.held), (50, 61, 50));
}

#[test]
fn a_top_up_lets_waiters_in_and_counts_once() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(100, &[(&task, 100)]));
    let waiting = desk.waits(&fixed(40, &[(&task, 100)]));
    desk.ledger
        .topped_up_to(desk.now, &task, &usd(50), &Amounts::ZERO);
    desk.drain();
    desk.ledger
        .topped_up_to(desk.now, &task, &usd(50), &Amounts::ZERO);
    let two = held(desk.answer(waiting).unwrap());
    assert_eq!(desk.view(&task).unheld(Meter::Usd), Some(10));
    desk.settle(one.id, 100);
    desk.settle(two.id, 40);
    assert_eq!(desk.denied(&fixed(11, &[(&task, 100)])).cap, 150);
}

#[test]
fn crossing_warn_at_is_told_once() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let mut ask = fixed(40, &[(&task, 100)]);
    ask.covers[0].warn_permille = Some(800);
    let one = desk.held(&ask);
    assert!(desk.settle(one.id, 40).warned.is_empty());
    let two = desk.held(&ask);
    let end = desk.settle(two.id, 40);
    assert_eq!((end.warned.len(), end.warned[0].used), (1, 80));
    let mut small = ask;
    small.fixed = usd(5);
    let three = desk.held(&small);
    assert!(desk.settle(three.id, 5).warned.is_empty());
}

#[test]
#[should_panic(expected = "an ask names an account once")]
fn an_account_covers_a_call_once() {
    let task = key("task", "t");
    Desk::new().request(&fixed(1, &[(&task, 100), (&task, 100)]));
}

proptest::proptest! {
    /// Top-ups and what is taken back of them, heard of in any order and more than once.
    #[test]
    fn top_ups_end_up_the_same_in_whatever_order_they_are_heard_of(
        steps in proptest::collection::vec((0_u64..50, 0_u64..50), 1..8),
        order in proptest::collection::vec(0_usize..8, 0..24),
    ) {
        // What the store says after each step: the top-ups of now, and all that was taken back.
        let mut said = vec![(0, 0)];
        for (more, back) in steps {
            let (total, lapsed) = said[said.len() - 1];
            let back = back.min(total + more);
            said.push((total + more - back, lapsed + back));
        }
        let mut ledger = Ledger::new(Settings {
            wait_for_holds_ms: 0,
            line_max_waiters: 0,
            line_max_bytes: 0,
        });
        let key = AccountKey { limit: "task".into(), per: [("task", Arc::from("t"))].into(), window: None };
        ledger.granted(UnixMs(0), &[(key.clone(), Balance::default())]);
        let last = said.len() - 1;
        for heard in order.into_iter().map(|at| at.min(last)).chain([last]) {
            let (total, lapsed) = said[heard];
            ledger.topped_up_to(UnixMs(0), &key, &usd(total), &usd(lapsed));
        }
        let view = ledger.account(&key).expect("an account");
        proptest::prop_assert_eq!(view.topped_up, usd(said[last].0));
    }
}

#[test]
fn a_new_account_holds_what_is_in_flight_past_its_cap() {
    let mut desk = Desk::new();
    let (old, new) = (key("old", "t"), key("new", "t"));
    let flying = [
        desk.held(&fixed(60, &[(&old, 1000)])),
        desk.held(&fixed(60, &[(&old, 1000)])),
    ];
    let covers = [cover(&old, usd_cap(1000)), cover(&new, usd_cap(100))];
    for held in &flying {
        assert!(desk.ledger.cover(desk.now, held.id, &covers));
        assert!(
            desk.ledger.cover(desk.now, held.id, &covers),
            "once is enough"
        );
    }
    let (grants, waits) = desk.ledger.load(desk.now, std::slice::from_ref(&new));
    assert_eq!((grants.len(), waits), (1, true));
    assert_eq!(desk.ledger.footing(flying[0].id), Some(Footing::Awaited));
    desk.ask(grants);
    desk.serve();
    assert_eq!(
        desk.ledger.load(desk.now, std::slice::from_ref(&new)),
        (vec![], false)
    );
    assert_eq!(
        (desk.view(&new).held, desk.view(&new).granted),
        (usd(120), usd(120))
    );
    // Nothing fits, but what is held may turn out to be less.
    let waits = desk.waits(&fixed(30, &[(&new, 100)]));
    let end = desk.settle(flying[0].id, 20);
    assert_eq!(end.added, std::slice::from_ref(&new));
    assert!(desk.answer(waits).is_none());
    desk.settle(flying[1].id, 20);
    let next = held(desk.answer(waits).expect("40 spent, 30 wanted, of 100"));
    assert_eq!(desk.view(&new).settled, usd(40));
    desk.settle(next.id, 30);
    assert!(
        !desk.ledger.cover(desk.now, next.id, &covers),
        "it has ended"
    );
    desk.assert_quiet();
}

#[test]
fn a_call_of_an_older_policy_does_not_bring_its_caps_back() {
    let mut desk = Desk::new();
    let account = key("limit", "t");
    let mut ask = fixed(60, &[(&account, 100)]);
    ask.covers[0].edition = Edition::Policy(2);
    let first = desk.held(&ask);
    ask.covers[0] = Cover {
        edition: Edition::Policy(1),
        ..cover(&account, usd_cap(1000))
    };
    desk.waits(&ask);
    assert_eq!(desk.view(&account).caps, usd_cap(100));
    desk.settle(first.id, 60);
    // A task's own caps have no version: they only ever fall.
    let own = key("own", "t");
    for (says, holds) in [(500, 500), (200, 200), (400, 200)] {
        ask.covers[0] = Cover {
            edition: Edition::Falling,
            ..cover(&own, usd_cap(says))
        };
        let held = desk.held(&ask);
        desk.settle(held.id, 0);
        assert_eq!(desk.view(&own).caps, usd_cap(holds));
    }
}
