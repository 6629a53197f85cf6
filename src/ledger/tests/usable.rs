//! A crew of workers against one cap: nobody is refused for held money, and nearly all of the cap
//! can be used.

use super::*;
use std::collections::BTreeMap;

/// A small generator, so that the run is the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[test]
fn a_crew_uses_its_cap_and_is_never_refused_for_held_money() {
    let mut desk = Desk {
        audits: false,
        ..Desk::new()
    };
    let mut dice = Dice(7);
    let (owner, tasks) = (
        key("owner", "o"),
        ["t", "u", "v", "w"].map(|task| key("task", task)),
    );
    let (task_cap, owner_cap) = (1_000_000, 3_500_000);
    let mut ends: BTreeMap<(i64, HoldId), (usize, u64)> = BTreeMap::new();
    let mut waiting: BTreeMap<WaiterId, usize> = BTreeMap::new();
    let mut active: Vec<usize> = (0..4).flat_map(|task| [task; 64]).collect();
    let mut denied = 0;
    while !active.is_empty() || !waiting.is_empty() || !ends.is_empty() {
        let mut verdicts = Vec::new();
        for task in std::mem::take(&mut active) {
            let (want, input) = (500 + dice.roll(4000), 50 + dice.roll(1000));
            let covers = [(&tasks[task], task_cap), (&owner, owner_cap)];
            let ask = Ask {
                fixed: usd(input),
                ..elastic(want, 256, &covers)
            };
            match desk.request(&ask) {
                Verdict::Waiting(id) => drop(waiting.insert(id, task)),
                verdict => verdicts.push((task, verdict)),
            }
        }
        let answered: Vec<_> = desk.answers.drain().collect();
        for (id, verdict) in answered {
            verdicts.push((waiting.remove(&id).unwrap(), verdict));
        }
        verdicts.sort_by_key(|(task, _)| *task);
        for (task, verdict) in verdicts {
            match verdict {
                Verdict::Held(held) => {
                    let ends_at = desk.now.0 + 20 + i64::try_from(dice.roll(2000)).unwrap();
                    let charge = held.quoted.usd().0 * (20 + dice.roll(81)) / 100;
                    ends.insert((ends_at, held.id), (task, charge));
                }
                Verdict::Refused(Refusal::Limit(denial)) => {
                    assert!(!denial.only_held, "{denial:?}");
                    denied += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        if let Some(((at, id), (task, charge))) = ends.pop_first() {
            desk.pass(at - desk.now.0);
            desk.settle(id, charge);
            active.push(task);
        }
    }
    assert_eq!(denied, 4 * 64);
    let spent = desk.view(&owner).settled.usd().0;
    assert!(spent <= owner_cap);
    let smallest = 50 + 256;
    assert!(
        spent >= owner_cap * 98 / 100 - smallest,
        "{spent} of {owner_cap}"
    );
    desk.assert_quiet();
}
