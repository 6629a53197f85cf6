//! A task at rest stays small, and knows all the same what the store said.

use super::*;
use crate::escalation::{Allowed, Asked};
use crate::units::{Meter, TaskKey};

fn record() -> TaskRecord {
    TaskRecord {
        key: TaskKey {
            owner: "o".into(),
            task: "t".into(),
        },
        state: TaskState::Active,
        opened: UnixMs(1),
        caps: Caps::default(),
        paused_ms: 0,
        paused_since: None,
        escalation: None,
        allowed: None,
    }
}

/// 100,000 of them are to rest within 200 MB, beside all else.
#[test]
fn a_task_at_rest_is_small() {
    assert!(size_of::<Task>() <= 400, "{} bytes", size_of::<Task>());
}

#[test]
fn what_the_store_said_comes_out_as_it_went_in() {
    let plain = record();
    let full = TaskRecord {
        state: TaskState::Suspended,
        caps: Caps::default().with(Meter::Usd, 7),
        paused_ms: 3,
        paused_since: Some(UnixMs(5)),
        escalation: Some(Asked {
            id: "e".into(),
            waits: true,
        }),
        allowed: Some(Allowed {
            turns: 3,
            since: UnixMs(4),
        }),
        ..record()
    };
    for record in [plain, full] {
        let task = Task::new(record.clone(), UnixMs(9));
        assert_eq!(task.record(), record);
        assert_eq!(task.caps(), record.caps);
        assert_eq!(task.paused_ms(UnixMs(9)), record.suspended_ms(UnixMs(9)));
        assert_eq!(task.own_cover().is_some(), record.caps != Caps::default());
        assert!(task.coming_cover().is_none());
    }
}

#[tokio::test]
async fn who_waits_for_a_decision_hears_of_it() {
    let task = Arc::new(Task::new(record(), UnixMs(9)));
    task.decided(&record());
    assert!(task.seldom.get().is_none(), "nobody waited");
    let mut changed = std::pin::pin!(task.changed());
    changed.as_mut().enable();
    task.decided(&TaskRecord {
        state: TaskState::Closed,
        ..record()
    });
    let heard = tokio::time::timeout(std::time::Duration::from_secs(10), changed);
    heard.await.unwrap();
    assert_eq!((task.state(), task.decisions()), (TaskState::Closed, 2));
}
