use super::*;

#[test]
fn money_round_trips_and_rejects_what_is_no_amount() {
    for (text, nano) in [
        ("2", 2_000_000_000),
        ("2.00", 2_000_000_000),
        ("0.05", 50_000_000),
        ("0.000000001", 1),
    ] {
        assert_eq!(text.parse::<NanoUsd>(), Ok(NanoUsd(nano)));
    }
    for text in [
        "",
        ".5",
        "5.",
        "-1",
        "1e3",
        "1,000",
        "0.0000000001",
        "99999999999",
        " 1",
    ] {
        assert!(text.parse::<NanoUsd>().is_err(), "{text}");
    }
    assert_eq!(NanoUsd(1_960_000_000).to_string(), "1.96");
    assert_eq!(NanoUsd(123_000).to_string(), "0.000123");
    assert_eq!(NanoUsd::from_usd(2).to_string(), "2.00");
    assert_eq!(NanoUsd(0).to_string(), "0.00");
    assert_eq!(NanoUsd(u64::MAX).to_string(), "18446744073.709551615");
}

#[test]
fn meters_are_named_once_and_in_order() {
    for (index, meter) in Meter::ALL.into_iter().enumerate() {
        assert_eq!(meter as usize, index);
        assert_eq!(Meter::from_name(meter.name()), Some(meter));
    }
}
