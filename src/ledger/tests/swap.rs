//! One hold in the stead of another.

use super::*;

fn swap(desk: &mut Desk, id: HoldId, attempts: u64, ask: &Ask) -> Verdict {
    let now = desk.now;
    let who = asker("a", None);
    let (_, verdict) = desk
        .ledger
        .swap(now, (id, attempts), &who, ask, Patience::Peek);
    desk.drain();
    match verdict {
        Verdict::Waiting(id) => desk.answer(id).unwrap_or(Verdict::Waiting(id)),
        verdict => verdict,
    }
}

#[test]
fn what_is_set_free_is_the_new_ones_before_anybodys_in_line() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(80, &[(&task, 100)]));
    let waiting = desk.waits(&fixed(50, &[(&task, 100)]));
    // Both do not fit at once.
    let two = held(swap(&mut desk, one.id, 0, &fixed(90, &[(&task, 100)])));
    assert_eq!(desk.answer(waiting), None, "who waited waits");
    assert_eq!(desk.view(&task).held.usd().0, 90);
    desk.settle(two.id, 10);
    let three = held(desk.answer(waiting).unwrap());
    desk.settle(three.id, 50);
    desk.assert_quiet();
}

#[test]
fn what_does_not_fit_is_asked_for_anew_and_the_line_moves() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(60, &[(&task, 100)]));
    let other = desk.held(&fixed(40, &[(&task, 100)]));
    let waiting = desk.waits(&fixed(50, &[(&task, 100)]));
    let verdict = swap(&mut desk, one.id, 0, &fixed(70, &[(&task, 100)]));
    assert!(matches!(verdict, Verdict::Short(_)), "{verdict:?}");
    let next = held(desk.answer(waiting).unwrap());
    desk.settle(next.id, 0);
    desk.settle(other.id, 0);
    desk.assert_quiet();
}

#[test]
fn on_other_accounts_and_with_the_attempts_counted() {
    let mut desk = Desk::new();
    let (task, first, second) = (key("task", "t"), key("first", "t"), key("second", "t"));
    let one = desk.held(&fixed(60, &[(&task, 100), (&first, 70)]));
    // An account that nobody has used yet: the store is asked for it.
    let ask = fixed(80, &[(&task, 100), (&second, 90)]);
    let two = held(swap(&mut desk, one.id, 2, &ask));
    assert_eq!(desk.view(&task).held.usd().0, 80);
    for account in [&task, &first] {
        assert_eq!(desk.view(account).settled[Meter::Attempts], 2);
    }
    assert_eq!(desk.view(&first).held.usd().0, 0);
    assert_eq!(desk.view(&second).settled[Meter::Attempts], 0);
    desk.settle(two.id, 80);
    desk.assert_quiet();
}

#[test]
fn a_cap_on_attempts_ends_it() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let ask = Ask {
        covers: vec![cover(&task, Caps::default().with(Meter::Attempts, 2))],
        ..fixed(1, &[])
    };
    let one = desk.held(&ask);
    let two = held(swap(&mut desk, one.id, 1, &ask));
    let verdict = swap(&mut desk, two.id, 1, &ask);
    assert_eq!(denied(verdict).meter, Meter::Attempts);
    desk.assert_quiet();
}
