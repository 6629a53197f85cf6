//! How holds end.

use super::*;

#[test]
fn a_hold_ends_at_its_charge_everywhere() {
    let mut desk = Desk::new();
    let (task, owner) = (key("task", "t"), key("owner", "o"));
    let ask = fixed(50, &[(&task, 100), (&owner, 1000)]);
    let one = desk.held(&ask);
    let end = desk.settle(one.id, 20);
    assert_eq!(end.remaining.usd, Some(NanoUsd(80)));
    for key in [&task, &owner] {
        let view = desk.view(key);
        assert_eq!((view.settled.usd().0, view.held.usd().0), (20, 0));
    }
    let two = desk.held(&ask);
    let end = desk.ledger.void(desk.now, two.id, 3);
    assert_eq!(end.remaining.usd, Some(NanoUsd(80)));
    assert_eq!(desk.view(&task).settled[Meter::Attempts], 3);
    desk.assert_quiet();
}

#[test]
#[should_panic(expected = "a hold ends once")]
fn a_hold_does_not_end_twice() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(50, &[(&task, 100)]));
    desk.settle(one.id, 20);
    // Its slot is in use again, by another.
    desk.held(&fixed(50, &[(&task, 100)]));
    desk.settle(one.id, 20);
}

#[test]
fn a_failed_second_end_changes_nothing() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(50, &[(&task, 100)]));
    desk.settle(one.id, 20);
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        desk.ledger.settle(desk.now, one.id, usd(20));
    }));
    assert!(again.is_err());
    assert_eq!(desk.view(&task).settled.usd().0, 20);
    desk.assert_quiet();
}

#[test]
fn an_overrun_is_charged_in_full_and_stops_the_next_call() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(50, &[(&task, 100)]));
    let end = desk.settle(one.id, 130);
    assert_eq!(
        (end.overrun.usd().0, end.remaining.usd),
        (80, Some(NanoUsd(0)))
    );
    let denial = desk.denied(&fixed(1, &[(&task, 100)]));
    assert_eq!(
        (denial.settled, denial.cap, denial.only_held),
        (130, 100, false)
    );
}

#[test]
fn an_overrun_with_others_in_flight_is_survived() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let (one, two) = (
        desk.held(&fixed(50, &[(&task, 100)])),
        desk.held(&fixed(50, &[(&task, 100)])),
    );
    let waiting = desk.waits(&fixed(10, &[(&task, 100)]));
    desk.settle(one.id, 95);
    assert!(
        matches!(desk.answer(waiting), Some(Verdict::Refused(Refusal::Limit(denial))) if !denial.only_held)
    );
    desk.settle(two.id, 50);
    assert_eq!(desk.view(&task).settled.usd().0, 145);
    desk.assert_quiet();
}

#[test]
fn doubt_counts_until_it_is_released() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(80, &[(&task, 100)]));
    desk.ledger.doubt(desk.now, one.id, usd(80));
    let denial = desk.denied(&fixed(30, &[(&task, 100)]));
    assert_eq!(
        (denial.in_doubt, denial.settled, denial.only_held),
        (80, 0, false)
    );
    assert_eq!(desk.ledger.totals().in_doubt_usd, NanoUsd(80));
    desk.ledger
        .correct(desk.now, std::slice::from_ref(&task), &usd(80), &usd(65));
    assert_eq!(desk.ledger.totals().in_doubt_usd, NanoUsd::ZERO);
    let two = desk.held(&fixed(30, &[(&task, 100)]));
    desk.settle(two.id, 30);
    let view = desk.view(&task);
    assert_eq!((view.settled.usd().0, view.in_doubt.usd().0), (95, 0));
}

#[test]
fn released_doubt_lets_waiters_in() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(50, &[(&task, 100)]));
    let two = desk.held(&fixed(50, &[(&task, 100)]));
    let waiting = desk.waits(&fixed(40, &[(&task, 100)]));
    desk.ledger.doubt(desk.now, one.id, usd(45));
    desk.drain();
    assert_eq!(desk.answer(waiting), None);
    desk.ledger.correct(desk.now, &[task], &usd(45), &usd(0));
    desk.drain();
    let three = held(desk.answer(waiting).unwrap());
    desk.settle(two.id, 50);
    desk.settle(three.id, 40);
    desk.assert_quiet();
}

#[test]
fn doubt_that_the_store_still_holds_is_corrected_when_it_is_loaded() {
    let mut desk = Desk::new();
    desk.serves = false;
    let task = key("task", "t");
    let before = Balance {
        in_doubt: usd(90),
        granted: usd(90),
        ..Balance::default()
    };
    desk.durable.insert(task.clone(), before);
    let waiting = desk.waits(&fixed(30, &[(&task, 100)]));
    desk.ledger
        .correct(desk.now, std::slice::from_ref(&task), &usd(90), &usd(10));
    desk.serves = true;
    desk.drain();
    assert!(matches!(desk.answer(waiting), Some(Verdict::Held(_))));
    let view = desk.view(&task);
    assert_eq!((view.settled.usd().0, view.in_doubt.usd().0), (10, 0));
}
