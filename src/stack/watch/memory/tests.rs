use super::{IDLE_MS, MOST_BYTES, Watching};
use crate::dialect::{Dialect, decode};
use crate::loops::{Recording, Rules};
use crate::stack::watch::task::Seen;
use crate::units::{TaskKey, UnixMs};

fn key(n: usize) -> TaskKey {
    TaskKey {
        owner: "team".into(),
        task: format!("task-{n}").into(),
    }
}

fn call(watching: &Watching, n: usize, now: i64, turns: usize) {
    let turn = |t: usize| {
        format!(
            r#",{{"role":"assistant","tool_calls":[{{"id":"c{t}","type":"function","function":{{"name":"f","arguments":"{{\"q\":{t}}}"}}}}]}},{{"role":"tool","tool_call_id":"c{t}","content":"Page {t}."}}"#
        )
    };
    let turns: String = (0..turns).map(turn).collect();
    let body =
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"Look it up."}}{turns}]}}"#);
    let call = decode(Dialect::OpenaiChat, body.into()).unwrap();
    let seen = Seen {
        call: &call,
        agent: "a",
        name: None,
        parent: None,
        request: 1,
        decisions: 0,
        recorded: false,
    };
    let judged = watching.look(&key(n), UnixMs(now), |task| {
        task.observe(&Rules::default(), &seen, &mut Recording::default())
            .is_some()
    });
    assert!(!judged);
}

#[test]
fn a_hundred_thousand_idle_tasks_stay_within_the_bound() {
    let watching = Watching::default();
    for n in 0..100_000 {
        for turns in 0..3 {
            call(&watching, n, n as i64 / 100, turns);
        }
    }
    let (bytes, tasks) = (watching.bytes(), watching.tasks());
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
    assert!(tasks > 20_000, "{tasks} tasks in {bytes} bytes");
}

#[test]
fn the_longest_silent_are_forgotten_first() {
    let watching = Watching::within(1 << 20);
    for n in 0..5_000 {
        call(&watching, n, n as i64, 0);
    }
    assert!(watching.bytes() <= 1 << 20);
    let known = |n: usize| {
        let mut known = false;
        watching.look_if_known(&key(n), UnixMs(5_000), |_| known = true);
        known
    };
    assert!(!known(0) && known(4_999));
    watching.sweep(UnixMs(4_999 + IDLE_MS));
    // Looked at a moment ago.
    assert_eq!((watching.tasks(), known(4_999)), (1, true));
    watching.sweep(UnixMs(5_000 + IDLE_MS));
    assert_eq!((watching.tasks(), watching.bytes()), (0, 0));
}
