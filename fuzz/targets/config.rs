//! Configuration, limits, identities, loop rules, routes and price overrides: every text is taken or refused with faults
//! that say something.
#![no_main]

use bursar::config::{Config, Faults, Identities, LoopPolicies, Policies, RoutePolicies};
use bursar::price::Catalogue;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fn check<T>(outcome: Result<T, Faults>) {
    if let Err(Faults(faults)) = outcome {
        assert!(!faults.is_empty(), "refused without a fault");
        assert!(faults.iter().all(|fault| !fault.message.is_empty()));
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match choice % 6 {
        0 => check(Config::parse(text, Path::new("bursar.toml"))),
        1 => check(Policies::parse(text, Path::new("limits.toml"))),
        2 => check(Identities::parse(text, Path::new("identities.toml"))),
        3 => check(LoopPolicies::parse(text, Path::new("loops.toml"))),
        4 => check(RoutePolicies::parse(text, Path::new("routes.toml"))),
        _ => drop(Catalogue::with_overrides(text, Path::new("prices.toml"))),
    }
});
