//! The tree against what calls say.

use super::*;
use proptest::prelude::*;

fn id(name: &str) -> AgentId {
    AgentId::from(name)
}

fn ask(tree: &mut Tree, agent: &str, parent: &str) -> (Stand, Option<Pair>) {
    let parent = (!parent.is_empty()).then(|| id(parent));
    tree.ask(Some(&id(agent)), parent.as_ref()).unwrap()
}

fn enter(tree: &mut Tree, agent: &str, parent: &str) -> Stand {
    let (stand, pair) = ask(tree, agent, parent);
    if let Some(pair) = pair {
        tree.admit(pair);
    }
    stand
}

const fn at(depth: u64, fan_out: u64) -> Stand {
    Stand { depth, fan_out }
}

#[test]
fn depth_counts_from_the_root_and_a_known_child_adds_nothing() {
    let mut tree = Tree::default();
    assert_eq!(enter(&mut tree, "lead", ""), at(0, 0));
    assert_eq!(tree.pairs(), 0, "a root that called nobody costs nothing");
    assert_eq!(enter(&mut tree, "a", "lead"), at(1, 1));
    assert_eq!(enter(&mut tree, "b", "lead"), at(1, 2));
    assert_eq!(enter(&mut tree, "a", "lead"), at(1, 0));
    assert_eq!(enter(&mut tree, "c", "a"), at(2, 1));
    // What it does not say is known.
    assert_eq!(enter(&mut tree, "c", ""), at(2, 0));
    assert_eq!(tree.reached(), at(2, 2));
}

#[test]
fn a_root_that_turns_out_to_be_a_child_takes_its_own_along() {
    let mut tree = Tree::default();
    enter(&mut tree, "b", "a");
    assert_eq!(enter(&mut tree, "a", "lead"), at(1, 1));
    assert_eq!(enter(&mut tree, "b", ""), at(2, 0));
}

#[test]
fn hand_offs_back_and_forth_go_no_deeper() {
    let mut tree = Tree::default();
    for _ in 0..5 {
        assert_eq!(enter(&mut tree, "b", "a").depth, 1);
        assert_eq!(enter(&mut tree, "a", "b").depth, 0);
    }
    assert_eq!(
        enter(&mut tree, "a", "a"),
        at(0, 0),
        "nobody is its own child"
    );
    // A ring of three.
    enter(&mut tree, "c", "b");
    assert_eq!(enter(&mut tree, "a", "c"), at(0, 1));
    assert_eq!(enter(&mut tree, "c", ""), at(2, 0));
}

#[test]
fn a_second_parent_counts_the_child_too() {
    let mut tree = Tree::default();
    enter(&mut tree, "shared", "lead");
    enter(&mut tree, "deep", "shared");
    assert_eq!(enter(&mut tree, "tool", "deep"), at(3, 1));
    // As deep as whoever calls it; where it stands is where it first stood.
    assert_eq!(enter(&mut tree, "tool", "lead"), at(1, 2));
    assert_eq!(enter(&mut tree, "tool", ""), at(3, 0));
}

#[test]
fn a_burst_of_new_children_counts_each_and_a_refused_one_goes_again() {
    let mut tree = Tree::default();
    let (one, a) = ask(&mut tree, "a", "lead");
    let (two, b) = ask(&mut tree, "b", "lead");
    assert_eq!((one, two), (at(1, 1), at(1, 2)));
    // A second call of one that is not admitted yet stands where the first does.
    let (again, a2) = ask(&mut tree, "a", "lead");
    assert_eq!(again, at(1, 1));
    tree.leave(b.unwrap());
    tree.leave(a.unwrap());
    assert_eq!(tree.pairs(), 1, "the other call of `a` still asks");
    assert!(tree.admit(a2.unwrap()));
    assert_eq!(ask(&mut tree, "b", "lead").0, at(1, 2));
    assert_eq!(ask(&mut tree, "a", "lead"), (at(1, 0), None));
}

#[test]
fn whoever_names_no_agent_is_one_nameless_child() {
    let mut tree = Tree::default();
    for fan_out in [1, 0] {
        let lead = id("lead");
        let (stand, pair) = tree.ask(None, Some(&lead)).unwrap();
        assert_eq!(stand, at(1, fan_out));
        if let Some(pair) = pair {
            tree.admit(pair);
        }
    }
}

#[test]
fn it_is_bounded_and_what_is_known_still_passes() {
    let mut tree = Tree::default();
    for n in 0..MAX_PAIRS {
        enter(&mut tree, &format!("a{n}"), "lead");
    }
    let (new, lead) = (id("one-more"), id("lead"));
    assert_eq!(tree.ask(Some(&new), Some(&lead)), Err(Full));
    assert_eq!(enter(&mut tree, "a7", "lead"), at(1, 0));
    assert_eq!(enter(&mut tree, "one-more", ""), at(0, 0));
    assert_eq!(tree.pairs(), MAX_PAIRS);
}

#[test]
fn a_long_chain_is_told_apart_up_to_the_deepest_cap() {
    let mut tree = Tree::default();
    for n in 0..300 {
        let stand = enter(&mut tree, &format!("a{}", n + 1), &format!("a{n}"));
        assert_eq!(stand.depth.min(MAX_DEPTH + 1), (n + 1).min(MAX_DEPTH + 1));
    }
}

proptest! {
    /// Whatever is asked, admitted and left: counts match the pairs, and nothing is left over.
    #[test]
    fn counts_match(steps in proptest::collection::vec((0_u8..6, 0_u8..6, any::<bool>()), 0..80)) {
        let mut tree = Tree::default();
        let mut standing = std::collections::HashSet::new();
        for (agent, parent, admitted) in steps {
            let (stand, pair) = ask(&mut tree, &agent.to_string(), &parent.to_string());
            prop_assert!(stand.depth <= 6);
            let known = agent == parent || standing.contains(&(agent, parent));
            prop_assert_eq!(pair.is_none(), known);
            let Some(pair) = pair else { continue };
            if admitted {
                prop_assert!(tree.admit(pair));
                standing.insert((agent, parent));
            } else {
                tree.leave(pair);
            }
            let most = (0..6).map(|p| standing.iter().filter(|(_, parent)| *parent == p).count()).max();
            prop_assert_eq!(tree.reached().fan_out, most.unwrap_or(0) as u64);
        }
        prop_assert_eq!(tree.pairs(), standing.len());
        let named: std::collections::HashSet<u8> = standing.iter().flat_map(|(a, b)| [*a, *b]).collect();
        prop_assert_eq!(tree.nodes.len(), named.len());
    }
}
