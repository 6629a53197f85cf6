use super::{scaled_exactly, scaled_up};
use proptest::prelude::*;

#[test]
fn reads_what_providers_write() {
    assert_eq!(scaled_up("0.00012", 9), Some(120_000));
    assert_eq!(scaled_up("1.13e-05", 9), Some(11_300));
    assert_eq!(scaled_up("0.0076509169000000005", 9), Some(7_650_917));
    assert_eq!(scaled_up("123456", -1), Some(12_346));
    assert_eq!(scaled_up("0", 9), Some(0));
    assert_eq!(scaled_up("-0.0", 9), Some(0));
    assert_eq!(scaled_up("0e400", 9), Some(0));
    assert_eq!(scaled_up("1e-400", 9), Some(1));
    assert_eq!(scaled_up("2E3", 0), Some(2_000));
}

#[test]
fn refuses_what_is_no_amount() {
    for text in [
        "",
        "-1",
        "abc",
        "1.2.3",
        "1e",
        ".5",
        "1e99999999999",
        "1e30",
        "+1",
        "NaN",
    ] {
        assert_eq!(scaled_up(text, 9), None, "{text}");
    }
}

#[test]
fn exact_means_no_digit_lost() {
    assert_eq!(scaled_exactly("2.50", 9), Some(2_500_000_000));
    assert_eq!(scaled_exactly("0.0750", 9), Some(75_000_000));
    assert_eq!(scaled_exactly("0.0000000001", 9), None);
    assert_eq!(scaled_exactly("10", 0), Some(10));
}

proptest! {
    #[test]
    fn agrees_with_integer_arithmetic(value in 0_u64..u64::MAX / 2, places in 0_usize..19) {
        let text = format!("{value:020}");
        let (whole, fraction) = text.split_at(20 - places);
        let text = format!("{}.{fraction}", if whole.is_empty() { "0" } else { whole });
        let nano = u128::from(value) * 1_000_000_000;
        let scale = 10_u128.pow(u32::try_from(places).unwrap());
        prop_assert_eq!(scaled_up(&text, 9).map(u128::from), u64::try_from(nano.div_ceil(scale)).ok().map(u128::from));
    }

    #[test]
    fn never_panics(text in "\\PC{0,24}", places in -20_i32..20) {
        let _ = scaled_up(&text, places);
        let _ = scaled_exactly(&text, places);
    }
}
