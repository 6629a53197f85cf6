//! The line: who waits, for what, and who passes whom.

use super::*;

#[test]
fn held_is_not_spent() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(80, &[(&task, 100)]));
    let waiting = desk.waits(&fixed(50, &[(&task, 100)]));
    desk.settle(one.id, 30);
    let two = held(desk.answer(waiting).unwrap());
    desk.settle(two.id, 50);
    desk.assert_quiet();
}

#[test]
fn what_is_settled_meanwhile_denies_at_once() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(80, &[(&task, 100)]));
    let waiting = desk.waits(&fixed(50, &[(&task, 100)]));
    desk.settle(one.id, 60);
    let denial = denied(desk.answer(waiting).unwrap());
    assert!(!denial.only_held);
}

#[test]
fn clamps_at_once_when_what_is_settled_leaves_too_little() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(300, &[(&task, 1000)]));
    let held = desk.held(&elastic(2000, 256, &[(&task, 1000)]));
    assert_eq!((held.told, held.quoted.usd().0), (Some(700), 700));
    let waiting = desk.waits(&elastic(2000, 256, &[(&task, 1000)]));
    desk.settle(one.id, 0);
    let clamped = match desk.answer(waiting) {
        Some(Verdict::Held(held)) => held,
        other => panic!("{other:?}"),
    };
    assert_eq!(clamped.told, Some(300));
}

#[test]
fn waits_whole_and_clamps_at_the_end() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    desk.held(&fixed(600, &[(&task, 1000)]));
    let waiting = desk.waits(&elastic(900, 256, &[(&task, 1000)]));
    desk.pass(WAIT_MS - 1);
    assert_eq!(desk.answer(waiting), None);
    desk.pass(1);
    let held = held(desk.answer(waiting).unwrap());
    assert_eq!(held.told, Some(400));
}

#[test]
fn is_refused_as_held_at_the_end() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(600, &[(&task, 1000)]));
    let elastic = desk.waits(&elastic(900, 500, &[(&task, 1000)]));
    let fixed = desk.waits(&fixed(500, &[(&task, 1000)]));
    desk.pass(WAIT_MS);
    for (id, needed, least) in [(elastic, 900, 500), (fixed, 500, 500)] {
        let denial = denied(desk.answer(id).unwrap());
        assert!(denial.only_held);
        assert_eq!(
            (denial.held, denial.needed, denial.least),
            (600, needed, least)
        );
    }
    desk.settle(one.id, 1);
    desk.assert_quiet();
}

#[test]
fn its_own_deadline_ends_the_wait_earlier() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    desk.held(&fixed(600, &[(&task, 1000)]));
    let patience = Patience::Wait {
        deadline: UnixMs(desk.now.0 + 10),
    };
    let ask = fixed(500, &[(&task, 1000)]);
    let waiting = waits(desk.request_by(&asker("a", None), &ask, patience));
    desk.pass(10);
    assert!(denied(desk.answer(waiting).unwrap()).only_held);
}

#[test]
fn no_wait_at_all_takes_what_there_is() {
    let mut desk = Desk::new();
    desk.ledger.set_settings(Settings {
        wait_for_holds_ms: 0,
        ..settings()
    });
    let task = key("task", "t");
    desk.held(&fixed(600, &[(&task, 1000)]));
    assert_eq!(
        desk.held(&elastic(900, 256, &[(&task, 1000)])).told,
        Some(400)
    );
    assert!(desk.denied(&fixed(1, &[(&task, 1000)])).only_held);
}

#[test]
fn a_peek_never_waits_for_holds() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(600, &[(&task, 1000)]));
    let refine = Verdict::Short(Shortage { refinable: true });
    assert_eq!(desk.peek(&fixed(500, &[(&task, 1000)])), refine);
    assert_eq!(
        desk.peek(&fixed(1500, &[(&task, 1000)])),
        refine,
        "denied as it is"
    );
    assert_eq!(
        desk.peek(&elastic(1500, 1, &[(&task, 1000)])),
        refine,
        "clamped as it is"
    );
    desk.waits(&fixed(500, &[(&task, 1000)]));
    let in_line = Verdict::Short(Shortage { refinable: false });
    assert_eq!(desk.peek(&fixed(1, &[(&task, 1000)])), in_line);
    desk.settle(one.id, 1);
}

#[test]
fn the_order_is_that_of_arrival() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let one = desk.held(&fixed(60, &[(&task, 100)]));
    let large = desk.waits(&fixed(90, &[(&task, 100)]));
    let small = desk.waits(&fixed(10, &[(&task, 100)]));
    assert_eq!(
        desk.ledger.waiting_on(small).len(),
        1,
        "it would fit, and stands behind"
    );
    desk.settle(one.id, 0);
    assert!(matches!(desk.answer(large), Some(Verdict::Held(_))));
    assert!(matches!(desk.answer(small), Some(Verdict::Held(_))));
}

#[test]
fn a_head_that_is_short_elsewhere_is_passed() {
    let mut desk = Desk::new();
    let (task, other, owner) = (key("task", "t"), key("task", "u"), key("owner", "o"));
    let one = desk.held(&fixed(80, &[(&task, 100), (&owner, 1000)]));
    let head = desk.waits(&fixed(50, &[(&task, 100), (&owner, 1000)]));
    let passing = desk.held(&fixed(50, &[(&other, 100), (&owner, 1000)]));
    desk.waits(&fixed(10, &[(&task, 100)]));
    desk.settle(passing.id, 50);
    assert_eq!(desk.answer(head), None);
    desk.settle(one.id, 10);
    assert!(matches!(desk.answer(head), Some(Verdict::Held(_))));
}

/// Task `t` waits for its own money while other tasks use up the owner's.
fn passed_on(half_over: bool) -> (Desk, WaiterId, HoldId, Verdict) {
    let mut desk = Desk::new();
    let (task, owner) = (key("task", "t"), key("owner", "o"));
    let one = desk.held(&fixed(80, &[(&task, 100), (&owner, 1000)]));
    let head = desk.waits(&fixed(50, &[(&task, 100), (&owner, 1000)]));
    let other = key("task", "u");
    let bulk = desk.held(&fixed(800, &[(&other, 1000), (&owner, 1000)]));
    assert!(bulk.quoted.usd().0 == 800);
    if half_over {
        desk.pass(WAIT_MS / 2);
    }
    let later = desk.request(&fixed(100, &[(&other, 1000), (&owner, 1000)]));
    (desk, head, one.id, later)
}

#[test]
fn before_half_its_wait_a_head_is_passed_to_its_loss() {
    let (mut desk, head, one, later) = passed_on(false);
    held(later);
    desk.settle(one, 80);
    let denial = denied(desk.answer(head).unwrap());
    assert!(!denial.only_held, "the task's money is spent: {denial:?}");
}

#[test]
fn after_half_its_wait_a_head_is_next_everywhere() {
    let (mut desk, head, one, later) = passed_on(true);
    let later = waits(later);
    let (other, owner) = (key("task", "u"), key("owner", "o"));
    let small = desk.request(&fixed(1, &[(&other, 1000), (&owner, 1000)]));
    waits(small);
    desk.settle(one, 20);
    held(desk.answer(head).unwrap());
    held(desk.answer(later).unwrap());
}

#[test]
fn what_is_kept_for_the_next_does_not_stop_those_who_leave_it_alone() {
    let (mut desk, head, _, later) = passed_on(true);
    waits(later);
    let owner = key("owner", "o");
    let mut plenty = fixed(1, &[(&key("task", "v"), 10)]);
    held(desk.request(&plenty));
    plenty.covers.push(cover(&owner, usd_cap(1000)));
    waits(desk.request(&plenty));
    desk.pass(WAIT_MS / 2);
    assert!(matches!(desk.answer(head), Some(Verdict::Refused(_))));
}

#[test]
fn what_was_kept_is_free_when_the_next_goes_away() {
    let (mut desk, head, _, later) = passed_on(true);
    let later = waits(later);
    desk.ledger.leave(head);
    desk.drain();
    held(desk.answer(later).unwrap());
}

#[test]
fn nobody_passes_the_next_at_the_end_of_its_own_wait() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    desk.held(&fixed(60, &[(&task, 100)]));
    let head = desk.waits(&fixed(50, &[(&task, 100)]));
    desk.pass(WAIT_MS / 2);
    let hasty = Patience::Wait {
        deadline: UnixMs(desk.now.0 + 1),
    };
    let hasty = waits(desk.request_by(&asker("b", None), &fixed(10, &[(&task, 100)]), hasty));
    desk.pass(1);
    assert!(denied(desk.answer(hasty).unwrap()).only_held);
    assert_eq!(desk.answer(head), None);
}

#[test]
fn a_child_does_not_wait_on_its_callers() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let wait = Patience::Wait { deadline: NEVER };
    let covers = [(&task, 1000)];
    let root = held(desk.request_by(&asker("root", None), &fixed(400, &covers), wait));
    let lead = asker("lead", Some("root"));
    held(desk.request_by(&lead, &fixed(300, &covers), wait));
    let child = asker("child", Some("lead"));
    let clamped = held(desk.request_by(&child, &elastic(900, 100, &covers), wait));
    assert_eq!(clamped.told, Some(300), "clamped at once");
    let denial = denied(desk.request_by(&child, &elastic(900, 301, &covers), wait));
    assert!(denial.only_held);
    assert_eq!(denial.held, 1000);
    let stranger = asker("stranger", Some("nobody"));
    let waiting = waits(desk.request_by(&stranger, &elastic(900, 301, &covers), wait));
    desk.settle(root.id, 0);
    desk.ledger.leave(waiting);
}

#[test]
fn a_child_waits_for_its_siblings() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let wait = Patience::Wait { deadline: NEVER };
    let covers = [(&task, 1000)];
    held(desk.request_by(&asker("root", None), &fixed(300, &covers), wait));
    let sibling = asker("one", Some("root"));
    let sibling = held(desk.request_by(&sibling, &fixed(600, &covers), wait));
    let child = asker("two", Some("root"));
    let child = waits(desk.request_by(&child, &fixed(500, &covers), wait));
    desk.settle(sibling.id, 10);
    held(desk.answer(child).unwrap());
}

#[test]
fn a_child_does_not_stand_behind_those_who_wait_for_its_caller() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let wait = Patience::Wait { deadline: NEVER };
    let covers = [(&task, 1000)];
    held(desk.request_by(&asker("root", None), &fixed(600, &covers), wait));
    let other = waits(desk.request_by(&asker("other", None), &fixed(500, &covers), wait));
    let sibling = asker("one", Some("root"));
    let sibling = held(desk.request_by(&sibling, &fixed(350, &covers), wait));
    let child = asker("two", Some("root"));
    let child = waits(desk.request_by(&child, &fixed(300, &covers), wait));
    desk.settle(sibling.id, 0);
    held(desk.answer(child).unwrap());
    assert_eq!(desk.answer(other), None);
}

#[test]
fn agents_that_call_each_other_are_no_puzzle() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let wait = Patience::Wait { deadline: NEVER };
    let covers = [(&task, 100)];
    held(desk.request_by(&asker("a", Some("b")), &fixed(50, &covers), wait));
    held(desk.request_by(&asker("b", Some("a")), &fixed(40, &covers), wait));
    let denial = denied(desk.request_by(&asker("a", Some("b")), &fixed(61, &covers), wait));
    assert!(denial.only_held, "b waits for it");
    waits(desk.request_by(&asker("a", Some("b")), &fixed(60, &covers), wait));
    waits(desk.request_by(&asker("a", Some("a")), &fixed(60, &covers), wait));
}

#[test]
fn lines_are_bounded_in_number_and_bytes() {
    let mut desk = Desk::new();
    let (task, other) = (key("task", "t"), key("task", "u"));
    let bytes = 2 * (100 + 1024) + 1000;
    let bounds = Settings {
        line_max_waiters: 2,
        line_max_bytes: bytes,
        ..settings()
    };
    desk.ledger.set_settings(bounds);
    let one = desk.held(&fixed(100, &[(&task, 100)]));
    desk.held(&fixed(100, &[(&other, 100)]));
    let first = desk.waits(&fixed(10, &[(&task, 100)]));
    desk.waits(&fixed(10, &[(&task, 100)]));
    let full = |verdict| match verdict {
        Verdict::Refused(Refusal::LineFull(denial)) => denial,
        other => panic!("{other:?}"),
    };
    assert!(full(desk.request(&fixed(10, &[(&task, 100)]))).only_held);
    assert_eq!(full(desk.request(&fixed(10, &[(&other, 100)]))).key, other);
    desk.ledger.leave(first);
    desk.waits(&fixed(10, &[(&other, 100)]));
    desk.settle(one.id, 0);
}

#[test]
fn a_disconnect_lets_the_next_one_move_up() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    desk.held(&fixed(60, &[(&task, 100)]));
    let large = desk.waits(&fixed(90, &[(&task, 100)]));
    let small = desk.waits(&fixed(40, &[(&task, 100)]));
    desk.ledger.leave(large);
    desk.drain();
    held(desk.answer(small).unwrap());
    assert_eq!(desk.answer(large), None);
    desk.ledger.leave(large);
}

#[test]
fn a_suspended_task_leaves_the_line_at_once() {
    let mut desk = Desk::new();
    let owner = key("owner", "o");
    desk.held(&fixed(60, &[(&owner, 100)]));
    let stopped = desk.waits(&fixed(90, &[(&owner, 100)]));
    let mut other = asker("a", None);
    other.task.task = "u".into();
    let wait = Patience::Wait { deadline: NEVER };
    let other = waits(desk.request_by(&other, &fixed(40, &[(&owner, 100)]), wait));
    let out = desk
        .ledger
        .refuse_waiters(desk.now, |asker| asker.task.task.as_str() == "t");
    desk.drain();
    assert_eq!(out, vec![stopped]);
    held(desk.answer(other).unwrap());
}

#[test]
fn a_window_that_ends_sends_its_waiters_back_to_ask_again() {
    let mut desk = Desk::new();
    let day = key("owner per day", "o");
    desk.held(&fixed(60, &[(&day, 100)]));
    let asker = Asker {
        windows_until: Some(UnixMs(desk.now.0 + 50)),
        ..asker("a", None)
    };
    let wait = Patience::Wait { deadline: NEVER };
    let waiting = waits(desk.request_by(&asker, &fixed(90, &[(&day, 100)]), wait));
    assert_eq!(desk.ledger.next_tick(), Some(UnixMs(desk.now.0 + 50)));
    desk.pass(50);
    assert_eq!(desk.answer(waiting), Some(Verdict::Rolled));
    assert_eq!(
        desk.request_by(&asker, &fixed(1, &[(&day, 100)]), wait),
        Verdict::Rolled
    );
}

#[test]
fn the_end_of_a_duration_ends_the_wait() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    let caps = usd_cap(100).with(Meter::Duration, 500);
    let ask = |price| Ask {
        covers: vec![cover(&task, caps)],
        ..fixed(price, &[])
    };
    desk.held(&ask(60));
    let waiting = desk.waits(&ask(50));
    desk.pass(500);
    assert_eq!(denied(desk.answer(waiting).unwrap()).meter, Meter::Duration);
}

#[test]
fn a_clock_set_back_does_not_prolong_the_wait() {
    let mut desk = Desk::new();
    let task = key("task", "t");
    desk.held(&fixed(60, &[(&task, 100)]));
    let waiting = desk.waits(&fixed(50, &[(&task, 100)]));
    desk.pass(-900_000);
    desk.pass(WAIT_MS - 1);
    assert_eq!(desk.answer(waiting), None);
    desk.pass(1);
    assert!(denied(desk.answer(waiting).unwrap()).only_held);
}

#[test]
fn one_whose_wait_is_over_takes_the_grant_past_the_line() {
    let mut desk = Desk::new();
    let (task, other) = (key("task", "t"), key("task", "u"));
    desk.held(&fixed(60, &[(&task, 100)]));
    desk.waits(&fixed(95, &[(&task, 100)]));
    desk.serves = false;
    let hasty = Patience::Wait {
        deadline: UnixMs(desk.now.0 + 40_000),
    };
    desk.ledger.set_settings(Settings {
        wait_for_holds_ms: 10,
        ..settings()
    });
    let ask = fixed(10, &[(&task, 100), (&other, 100)]);
    let hasty = waits(desk.request_by(&asker("b", None), &ask, hasty));
    desk.pass(10);
    assert_eq!(
        desk.answer(hasty),
        None,
        "its wait is over, the store has yet to answer"
    );
    desk.serves = true;
    desk.drain();
    held(desk.answer(hasty).unwrap());
}
