//! Allotments: durable before they are spent, small, and rarely waited for.

use super::*;

/// 500 first calls at once of a task that nobody has seen.
#[test]
fn the_first_burst_meets_the_cap_exactly() {
    let mut desk = Desk::new();
    desk.serves = false;
    let task = key("task", "new");
    let caps = usd_cap(1000).with(Meter::Turns, 90);
    let fixed = usd(10).with(Meter::Turns, 1);
    let ask = Ask {
        covers: vec![cover(&task, caps)],
        fixed,
        elastic: None,
    };
    desk.ledger.set_settings(Settings {
        line_max_waiters: 1,
        ..settings()
    });
    let waiting: Vec<WaiterId> = (0..500).map(|_| desk.waits(&ask)).collect();
    assert_eq!(desk.asked.len(), 1, "one grant for all of them");
    desk.serves = true;
    desk.drain();
    let held: Vec<Held> = waiting
        .iter()
        .filter_map(|id| match desk.answer(*id) {
            Some(Verdict::Held(held)) => Some(*held),
            None => None,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(held.len(), 90, "as many as there are turns");
    assert_eq!(desk.view(&task).held.usd().0, 900);
    for held in held {
        desk.ledger.settle(desk.now, held.id, fixed);
        desk.drain();
    }
    let refused = waiting.iter().filter_map(|id| desk.answer(*id)).count();
    assert_eq!(refused, 410, "what is settled leaves nothing");
    assert_eq!(desk.view(&task).settled[Meter::Turns], 90);
    desk.assert_quiet();
}

#[test]
fn an_allotment_is_a_quote_or_a_sixteenth_and_shrinks() {
    let mut desk = Desk::new();
    desk.serves = false;
    let task = key("task", "t");
    desk.waits(&fixed(10, &[(&task, 1600)]));
    assert_eq!(desk.asked[0].upto.usd().0, 100);
    desk.serve();
    desk.drain();
    let large = desk.waits(&fixed(500, &[(&task, 1600)]));
    assert_eq!(desk.asked[0].upto.usd().0, 510, "one quote");
    desk.serve();
    desk.drain();
    let large = held(desk.answer(large).unwrap());
    assert_eq!(
        desk.asked[0].upto.usd().0,
        1010,
        "the next one, ahead of need"
    );
    desk.serve();
    desk.settle(large.id, 500);
    desk.held(&fixed(480, &[(&task, 1600)]));
    desk.fail();
    desk.waits(&fixed(25, &[(&task, 1600)]));
    assert_eq!(desk.asked[0].upto.usd().0, 990 + (1600 - 990) / 16);
}

#[test]
fn an_allotment_never_passes_the_cap() {
    let mut desk = Desk::new();
    desk.serves = false;
    let task = key("task", "t");
    desk.waits(&elastic(500, 1, &[(&task, 90)]));
    assert_eq!(
        desk.asked[0].upto.usd().0,
        90,
        "nothing is known of the account yet"
    );
}

#[test]
fn most_holds_need_no_round_trip() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let mut waited = 0;
    for _ in 0..900 {
        desk.serves = false;
        let verdict = desk.request(&fixed(10, &[(&task, 10_000)]));
        desk.serves = true;
        let held = match verdict {
            Verdict::Held(held) => *held,
            Verdict::Waiting(id) => {
                waited += 1;
                desk.drain();
                held(desk.answer(id).unwrap())
            }
            other => panic!("{other:?}"),
        };
        desk.settle(held.id, 10);
    }
    assert!(waited < 10, "{waited} of 900 waited for the store");
    assert!(desk.trips < 100, "{} round trips", desk.trips);
}

#[test]
fn only_capped_meters_are_granted() {
    let mut desk = Desk::new();
    desk.serves = false;
    let task = key("task", "t");
    let mut ask = fixed(10, &[(&task, 1600)]);
    ask.fixed[Meter::Tokens] = 1_000_000;
    desk.waits(&ask);
    assert_eq!(desk.asked[0].upto, usd(100));
}

#[test]
fn a_paged_out_account_comes_back_with_its_balance() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let before = Balance {
        settled: usd(70),
        in_doubt: usd(10),
        granted: usd(80),
        ..Balance::default()
    };
    desk.durable.insert(task.clone(), before);
    assert_eq!(desk.denied(&fixed(21, &[(&task, 100)])).settled, 70);
    desk.held(&fixed(20, &[(&task, 100)]));
}

#[test]
fn those_who_need_a_failed_grant_are_refused_and_no_others() {
    let mut desk = Desk::new();
    desk.serves = false;
    let (task, other) = (key("task", "t"), key("task", "u"));
    let both = desk.waits(&fixed(10, &[(&task, 100), (&other, 100)]));
    let behind = desk.waits(&fixed(10, &[(&task, 100)]));
    let beside = desk.waits(&fixed(10, &[(&other, 100)]));
    desk.asked.retain(|grant| grant.key != task);
    desk.read.remove(&task);
    desk.ledger.grant_failed(std::slice::from_ref(&task));
    desk.drain();
    let unavailable = Some(Verdict::Refused(Refusal::StoreUnavailable));
    assert_eq!(desk.answer(both), unavailable);
    assert_eq!(desk.answer(behind), unavailable);
    assert_eq!(desk.answer(beside), None);
    desk.serves = true;
    desk.drain();
    assert!(matches!(desk.answer(beside), Some(Verdict::Held(_))));
    desk.held(&fixed(10, &[(&task, 100)]));
}

#[test]
fn a_failed_grant_does_not_refuse_those_who_wait_for_holds() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(90, &[(&task, 100)]));
    let waiting = desk.waits(&fixed(80, &[(&task, 100)]));
    desk.ledger.grant_failed(std::slice::from_ref(&task));
    desk.drain();
    assert_eq!(desk.answer(waiting), None);
    desk.ledger.void(desk.now, one.id, 0);
    desk.drain();
    assert!(matches!(desk.answer(waiting), Some(Verdict::Held(_))));
}

#[test]
fn a_store_that_grants_too_little_is_not_asked_in_circles() {
    let mut desk = Desk::new();
    desk.serves = false;
    let task = key("task", "t");
    let waiting = desk.waits(&fixed(10, &[(&task, 100)]));
    desk.durable.insert(
        task.clone(),
        Balance {
            granted: usd(5),
            ..Balance::default()
        },
    );
    let balance = desk.durable[&task].clone();
    desk.asked.clear();
    desk.read.clear();
    desk.ledger.granted(desk.now, &[(task.clone(), balance)]);
    desk.drain();
    assert_eq!(
        desk.answer(waiting),
        Some(Verdict::Refused(Refusal::StoreUnavailable))
    );
    assert!(desk.asked.is_empty());
    let small = desk.held(&fixed(5, &[(&task, 100)]));
    desk.settle(small.id, 5);
    desk.assert_quiet();
}

#[test]
fn a_waiter_that_leaves_does_not_take_the_grant_along() {
    let mut desk = Desk::new();
    desk.serves = false;
    let task = key("task", "t");
    let first = desk.waits(&fixed(10, &[(&task, 100)]));
    let second = desk.waits(&fixed(10, &[(&task, 100)]));
    desk.ledger.leave(first);
    desk.serves = true;
    desk.drain();
    assert_eq!(desk.answer(first), None);
    assert!(matches!(desk.answer(second), Some(Verdict::Held(_))));
}

#[test]
fn a_peek_waits_for_the_store_and_then_says_what_is() {
    let mut desk = Desk::new();
    desk.serves = false;
    let task = key("task", "t");
    let before = Balance {
        settled: usd(95),
        granted: usd(95),
        ..Balance::default()
    };
    desk.durable.insert(task.clone(), before);
    let fits = waits(desk.peek(&fixed(5, &[(&task, 100)])));
    let short = waits(desk.peek(&fixed(6, &[(&task, 100)])));
    let clamped = waits(desk.peek(&elastic(7, 1, &[(&task, 100)])));
    desk.serves = true;
    desk.drain();
    let fits = held(desk.answer(fits).unwrap());
    let refine = Some(Verdict::Short(Shortage { refinable: true }));
    assert_eq!(desk.answer(short), refine);
    assert_eq!(desk.answer(clamped), refine);
    desk.settle(fits.id, 5);
    desk.assert_quiet();
}

#[test]
fn idle_accounts_give_back_and_are_paged_out() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(10, &[(&task, 1600)]));
    desk.pass(60_000);
    assert!(desk.ledger.idle(desk.now, 30_000).is_empty(), "it holds");
    desk.settle(one.id, 10);
    assert!(
        desk.ledger.idle(desk.now, 30_000).is_empty(),
        "just touched"
    );
    desk.pass(30_000);
    assert_eq!(
        desk.ledger.idle(desk.now, 30_000),
        vec![(task.clone(), usd(10))]
    );
    assert!(desk.ledger.idle(desk.now, 30_000).is_empty(), "once");
    desk.ledger.forget(&task);
    assert!(desk.ledger.account(&task).is_none());
}

#[test]
fn of_too_many_accounts_those_longest_at_rest_are_paged_out() {
    let mut desk = Desk::new();
    let keys: Vec<_> = (0..6).map(|n| key("task", &format!("t{n}"))).collect();
    let mut begun = Vec::new();
    for key in &keys {
        desk.pass(1_000);
        let one = desk.held(&fixed(10, &[(key, 1600)]));
        desk.settle(one.id, 10);
        begun.push(desk.now);
    }
    let busy = desk.held(&fixed(10, &[(&keys[0], 1600)]));
    assert_eq!(desk.ledger.crowded(6), None);
    assert_eq!(desk.ledger.crowded(7), None);
    assert_eq!(
        desk.ledger.crowded(4),
        Some(begun[2]),
        "the first is in use"
    );
    assert_eq!(desk.ledger.crowded(0), Some(begun[5]), "all that rest");
    let since = begun[2];
    let (first, left) = desk.ledger.idle_in(desk.now, since, 0..2);
    assert_eq!((first, left), (vec![(keys[1].clone(), usd(10))], 2..6));
    let (then, left) = desk.ledger.idle_in(desk.now, since, 2..1_026);
    assert_eq!((then, left), (vec![(keys[2].clone(), usd(10))], 6..6));
    desk.ledger.forget(&keys[1]);
    desk.ledger.forget(&keys[2]);
    assert_eq!(desk.ledger.totals().accounts, 4);
    desk.settle(busy.id, 10);
}

#[test]
fn an_account_that_is_touched_while_it_gives_back_stays() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(10, &[(&task, 1600)]));
    desk.settle(one.id, 10);
    assert_eq!(desk.ledger.idle(desk.now, 0).len(), 1);
    desk.pass(1);
    let free = desk.held(&fixed(0, &[(&task, 1600)]));
    desk.settle(free.id, 3);
    desk.ledger.forget(&task);
    assert_eq!(desk.view(&task).settled.usd().0, 13);
    desk.ledger.forget(&task);
    assert_eq!(
        desk.view(&task).settled.usd().0,
        13,
        "only what gives back is paged out"
    );
}

#[test]
fn nothing_is_granted_while_an_account_gives_back() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(10, &[(&task, 1600)]));
    desk.settle(one.id, 10);
    assert_eq!(desk.ledger.idle(desk.now, 0).len(), 1);
    let waiting = desk.waits(&fixed(10, &[(&task, 1600)]));
    assert!(desk.asked.is_empty());
    // The store has lowered it by now.
    desk.durable.get_mut(&task).unwrap().granted = usd(10);
    desk.durable.get_mut(&task).unwrap().settled = usd(10);
    desk.ledger.forget(&task);
    desk.drain();
    let two = held(desk.answer(waiting).unwrap());
    desk.settle(two.id, 10);
    assert_eq!(desk.view(&task).settled.usd().0, 20);
}

#[test]
fn a_full_memory_refuses_rather_than_queues_for_the_store() {
    let mut desk = Desk::new();
    desk.serves = false;
    desk.ledger.set_settings(Settings {
        line_max_bytes: 2500,
        ..settings()
    });
    let task = key("task", "t");
    desk.waits(&fixed(10, &[(&task, 100)]));
    desk.waits(&fixed(10, &[(&task, 100)]));
    let third = desk.request(&fixed(10, &[(&key("task", "u"), 100)]));
    assert_eq!(third, Verdict::Refused(Refusal::StoreUnavailable));
}
