use super::item::{Belongs, Item, Joined};
use super::tree::{Caller, Charge, Entering, Leaving, MAX_OPEN, MAX_STAYS, Tree, attempt_of};
use crate::attribution::{Attribution, Source, Sourced};
use crate::units::{NanoUsd, RequestId};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

fn sourced<T: for<'a> From<&'a str>>(text: &str) -> Sourced<T> {
    Sourced {
        value: text.into(),
        source: Source::Header,
    }
}

fn whose(task: &str, agent: Option<&str>, parent: Option<&str>) -> Attribution {
    Attribution {
        owner: "o".into(),
        identity: "i".into(),
        task: sourced(task),
        agent: agent.map(sourced),
        role: None,
        invocation: None,
        parent: parent.map(sourced),
        on_behalf_of: None,
        joined: None,
    }
}

fn request(number: u64) -> RequestId {
    format!("req_{number:032x}").into()
}

/// A tree with what it says is over, and a clock of its own.
struct World {
    tree: Tree,
    over: Vec<Item>,
    now: u64,
    calls: u64,
    /// The span above each call.
    above: Vec<(Belongs, Option<u64>)>,
}

impl World {
    fn new() -> Self {
        Self {
            tree: Tree::new(),
            over: Vec::new(),
            now: 1,
            calls: 0,
            above: Vec::new(),
        }
    }

    fn enter(&mut self, whose: &Attribution, caller: Option<Caller>) -> Option<Joined> {
        self.calls += 1;
        self.now += 1;
        let request = request(self.calls);
        let entering = Entering {
            whose,
            request: &request,
            span: self.calls,
            caller,
            session: None,
            at: self.now,
            answered: &Vec::new,
            content: None,
        };
        let placed = self.tree.enter("node", &entering, &mut self.over);
        self.above.push((placed.belongs, placed.parent));
        placed.joined
    }

    fn leave(&mut self, whose: &Attribution, joined: Option<Joined>, answered: bool) {
        self.now += 1;
        let Some(joined) = joined else { return };
        let leaving = Leaving {
            whose,
            at: self.now,
            refused: false,
            answered,
            charged: Charge {
                cost: NanoUsd(7),
                tokens: (1, 2),
            },
            tools: &[],
            content: None,
        };
        self.tree.leave(joined, &leaving);
    }

    fn rest(&mut self) {
        self.now += 100;
        self.tree.sweep(self.now, 100, &mut self.over);
    }
}

/// Every span and what stands above it.
fn parents(over: &[Item]) -> HashMap<u64, Option<u64>> {
    let mut parents = HashMap::new();
    for item in over {
        let (span, parent) = match item {
            Item::Stay(stay) => (stay.span, Some(stay.parent)),
            Item::Task(task) => (task.span, task.parent),
            Item::Tool(tool) => (tool.span, Some(tool.parent)),
            Item::Call(_) => continue,
        };
        assert!(
            parents.insert(span, parent).is_none(),
            "a span is told once"
        );
    }
    parents
}

proptest! {
    #[test]
    fn whatever_happens_every_span_stands_below_one_that_is_told(
        steps in proptest::collection::vec((0_usize..3, 0_usize..5, 0_usize..6, any::<bool>(), 0_u8..4), 1..60),
    ) {
        const AGENTS: [&str; 5] = ["a", "b", "c", "d", "e"];
        let mut world = World::new();
        let mut flying = Vec::new();
        for (task, agent, parent, answers, then) in steps {
            let task = ["t1", "t2", "t3"][task];
            let of = whose(task, Some(AGENTS[agent]), AGENTS.get(parent).copied());
            let joined = world.enter(&of, None);
            flying.push((of, joined, answers));
            match then {
                0 => {}
                1 => world.rest(),
                _ => {
                    let (of, joined, answers) = flying.remove(0);
                    world.leave(&of, joined, answers);
                }
            }
        }
        for (of, joined, answers) in flying {
            world.leave(&of, joined, answers);
        }
        world.rest();
        world.rest();
        let parents = parents(&world.over);
        for parent in parents.values().flatten() {
            prop_assert!(parents.contains_key(parent), "nobody told of {parent:x}");
        }
        for (_, parent) in &world.above {
            prop_assert!(parent.is_some_and(|parent| parents.contains_key(&parent)));
        }
        // No circles: each way up ends.
        for span in parents.keys() {
            let (mut at, mut steps) = (Some(*span), 0);
            while let Some(span) = at {
                at = parents.get(&span).copied().flatten();
                steps += 1;
                prop_assert!(steps <= parents.len() + 1, "a circle");
            }
        }
        let calls: u64 = world.over.iter().map(|item| match item {
            Item::Task(task) => task.calls,
            _ => 0,
        }).sum();
        prop_assert_eq!(calls, world.calls);
        prop_assert_eq!(world.tree.sizes()[0], 0);
    }
}

#[test]
fn an_ask_beside_a_call_is_charged_to_its_task_and_is_no_call() {
    let mut world = World::new();
    let of = whose("t", Some("a"), None);
    let joined = world.enter(&of, None).unwrap();
    world.tree.enter_aside(joined);
    world.leave(&of, Some(joined), true);
    world.rest();
    assert_eq!(world.tree.sizes()[0], 1, "one of both is under way");
    let beside = Charge {
        cost: NanoUsd(5),
        tokens: (10, 20),
    };
    world.tree.leave_aside(joined, world.now, &beside);
    world.rest();
    let tasks = world.over.iter().filter_map(|item| match item {
        Item::Task(task) => Some((task.calls, task.cost, task.input, task.output)),
        _ => None,
    });
    assert_eq!(tasks.collect::<Vec<_>>(), [(1, NanoUsd(12), 11, 22)]);
}

#[test]
fn a_task_keeps_its_trace_through_a_rest_and_owners_are_kept_apart() {
    let mut world = World::new();
    let of = whose("t", Some("a"), None);
    for _ in 0..2 {
        let joined = world.enter(&of, None);
        world.leave(&of, joined, true);
        world.rest();
    }
    assert_eq!(world.above[0].0, world.above[1].0);
    let other = Attribution {
        owner: "p".into(),
        ..of
    };
    world.enter(&other, None);
    assert_ne!(world.above[0].0.trace, world.above[2].0.trace);
}

#[test]
fn agents_that_call_one_another_in_a_circle_hang_somewhere() {
    let mut world = World::new();
    for (agent, parent) in [("a", "b"), ("b", "a"), ("a", "a"), ("b", "b")] {
        let of = whose("t", Some(agent), Some(parent));
        let joined = world.enter(&of, None);
        world.leave(&of, joined, false);
    }
    world.rest();
    world.rest();
    assert_eq!(world.tree.sizes()[0], 0);
    assert!(!parents(&world.over).is_empty());
}

#[test]
fn stays_and_tasks_are_bounded() {
    let mut world = World::new();
    for n in 0..MAX_STAYS + 10 {
        let of = whose("t", Some(&format!("agent-{n}")), None);
        let joined = world.enter(&of, None);
        assert_eq!(joined.unwrap().stay.is_some(), n < MAX_STAYS);
    }
    for n in 0..MAX_OPEN * 2 {
        world.enter(&whose(&format!("t{n}"), None, None), None);
    }
    assert!(world.tree.sizes()[0] <= MAX_OPEN);
    let alone = world.above.iter().filter(|(_, parent)| parent.is_none());
    assert!(alone.count() >= MAX_OPEN);
}

#[test]
fn tries_have_spans_of_their_own() {
    let spans: HashSet<u64> = (1..100).map(|number| attempt_of(7, number)).collect();
    assert_eq!(spans.len(), 99);
    assert!(!spans.contains(&7));
}
