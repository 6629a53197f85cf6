use super::{Asks, ask_words, is_same_work};
use crate::loops::rules::{Rounds, Rules};
use crate::loops::window::Found;

fn hand(asks: &mut Asks, call: u64, text: &str, rule: &Rounds) -> Option<Found> {
    let asked = asks.hand(1, 2, text);
    asks.put(call, asked, rule)
}

fn same(old: &str, new: &str) -> bool {
    is_same_work(&ask_words(old), &ask_words(new), 50)
}

#[test]
fn a_paraphrase_is_the_same_work() {
    assert!(same(
        "Please find the price of the annual pass on the website of the museum.",
        "Please look on the website of the museum and find the price of the annual pass.",
    ));
}

#[test]
fn a_list_that_gets_shorter_is_other_work() {
    let all = "Check the hours of 'the blue door', Mario's and the Harbour Grill.";
    assert!(!same(
        all,
        "Check the hours of Mario's and the Harbour Grill."
    ));
    assert!(!same(
        "Read page 3 of the report.",
        "Read page 4 of the report."
    ));
    assert!(same(all, all));
}

#[test]
fn too_many_rounds_are_told_however_they_are_put() {
    let rules = Rules::default().rounds;
    let mut asks = Asks::default();
    let fruits = [
        "apple", "pear", "plum", "fig", "date", "lime", "kiwi", "melon", "grape", "peach", "mango",
        "cherry", "guava",
    ];
    for (call, fruit) in (0..).zip(fruits) {
        let text = format!("{fruit} {fruit}ish {fruit}y tree{call}");
        let found = hand(&mut asks, call, &text, &rules);
        assert_eq!(found.is_some(), call >= 12, "{call}");
    }
}

#[test]
fn new_things_seen_in_between_are_work() {
    let rules = Rules::default().rounds;
    let ask = "please go on with the research and report";
    let fresh = |i: usize| {
        (0..200)
            .map(|n| format!("word{} ", n * 7 + i * 1000))
            .collect::<String>()
    };
    let mut working = Asks::default();
    let mut stuck = Asks::default();
    for i in 0..5 {
        let found = hand(&mut working, i, ask, &rules);
        assert!(found.is_none());
        working.observe(&fresh(usize::try_from(i).unwrap()));
        let found = hand(&mut stuck, i, ask, &rules);
        assert_eq!(found.is_some(), i >= 2);
        stuck.observe(&fresh(0));
    }
}
