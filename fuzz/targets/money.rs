//! Amounts of money: what is accepted is shown so that it reads as the same amount again.
#![no_main]

use bursar::units::NanoUsd;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(amount) = text.parse::<NanoUsd>() {
        assert_eq!(amount.to_string().parse(), Ok(amount));
    }
});
