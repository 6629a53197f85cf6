use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn rules() -> Breaker {
    Breaker::default()
}

fn at(ms: i64) -> UnixMs {
    UnixMs(1_800_000_000_000 + ms)
}

#[test]
fn failures_in_a_row_open_it_and_one_look_at_a_time_closes_it() {
    let (health, rules) = (Health::default(), rules());
    for _ in 0..4 {
        assert!(!health.failed(at(0), &rules));
    }
    assert_eq!(health.fitness(at(0), &rules), Fitness::Fit);
    assert!(health.failed(at(0), &rules));
    assert_eq!(health.fitness(at(4_999), &rules), Fitness::Unfit(at(5_000)));
    assert_eq!(health.fitness(at(5_000), &rules), Fitness::Look);
    assert!(matches!(
        health.fitness(at(5_000), &rules),
        Fitness::Unfit(_)
    ));
    health.well(at(5_100), &rules);
    assert_eq!(health.fitness(at(5_100), &rules), Fitness::Fit);
}

#[test]
fn a_look_that_fails_doubles_the_time_and_late_news_do_not() {
    let (health, rules) = (Health::default(), rules());
    for _ in 0..5 {
        health.failed(at(0), &rules);
    }
    // Calls that were under way.
    assert!(!health.failed(at(1), &rules));
    health.well(at(2), &rules);
    assert_eq!(health.fitness(at(10), &rules), Fitness::Unfit(at(5_000)));
    assert_eq!(health.fitness(at(5_000), &rules), Fitness::Look);
    assert!(health.failed(at(5_000), &rules));
    assert_eq!(
        health.fitness(at(14_999), &rules),
        Fitness::Unfit(at(15_000))
    );
    // A look that nobody hears of again.
    assert_eq!(health.fitness(at(15_000), &rules), Fitness::Look);
    assert_eq!(
        health.fitness(at(20_000), &rules),
        Fitness::Unfit(at(45_000))
    );
    assert_eq!(health.fitness(at(45_000), &rules), Fitness::Look);
    // One whose caller hung up.
    health.unheard(at(46_000));
    assert_eq!(health.fitness(at(46_000), &rules), Fitness::Look);
}

#[test]
fn a_share_of_failures_opens_it() {
    let (health, rules) = (Health::default(), rules());
    for call in 0..19 {
        if call % 2 == 0 {
            assert!(!health.failed(at(call), &rules));
        } else {
            health.well(at(call), &rules);
        }
    }
    assert!(health.failed(at(20), &rules));
    // What is older than the window does not count.
    let health = Health::default();
    for call in 0..40 {
        assert!(!health.failed(at(call * 4_000), &rules));
        health.well(at(call * 4_000), &rules);
    }
}

#[test]
fn it_is_left_alone_for_as_long_as_it_asks() {
    let (health, rules) = (Health::default(), rules());
    health.quiet(at(0), 2_000);
    health.quiet(at(0), 1_000);
    assert_eq!(health.fitness(at(1_999), &rules), Fitness::Unfit(at(2_000)));
    assert_eq!(health.closed_until(at(0)), Some(at(2_000)));
    assert_eq!(health.fitness(at(2_000), &rules), Fitness::Fit);
}

#[test]
fn models_beyond_the_bound_share_one_state() {
    let healths = Healths::default();
    for model in 0..MODELS_MAX {
        let _ = healths.of(&format!("m{model}"));
    }
    assert!(!Arc::ptr_eq(&healths.of("m1"), &healths.of("m2")));
    assert!(Arc::ptr_eq(&healths.of("x"), &healths.of("y")));
    assert_eq!(healths.view(at(0), &rules()).len(), MODELS_MAX + 1);
}

proptest! {
    /// However calls go, a target is open for no longer than `max_open` at a time.
    #[test]
    fn it_comes_back(fails in prop::collection::vec((any::<bool>(), 0_i64..20_000), 0..200)) {
        let rules = Breaker { max_open: Duration::from_secs(60), ..rules() };
        let health = Health::default();
        let mut now = 0;
        for (fails, later) in fails {
            now += later;
            if let Fitness::Unfit(until) = health.fitness(at(now), &rules) {
                prop_assert!(until.0 <= at(now + 60_000).0);
            }
            if fails {
                health.failed(at(now), &rules);
            } else {
                health.well(at(now), &rules);
            }
        }
        now += 60_000;
        prop_assert!(!matches!(health.fitness(at(now), &rules), Fitness::Unfit(_)));
    }
}
