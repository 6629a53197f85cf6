use super::*;

#[test]
fn spans_are_written_as_the_configuration_writes_them() {
    for (ms, text) in [
        (0, "0ms"),
        (1_500, "1500ms"),
        (90_000, "90s"),
        (1_800_000, "30m"),
        (7_200_000, "2h"),
        (604_800_000, "7d"),
    ] {
        assert_eq!(span(ms), text);
        let read = crate::config::parse_span(text).unwrap();
        assert_eq!(read.as_millis(), u128::from(ms));
    }
}

#[test]
fn quantities_have_their_meters_unit() {
    let some = Amounts::ZERO
        .with(Meter::Usd, 250_000_000)
        .with(Meter::Turns, 3);
    assert_eq!(amounts(&some), json!({"usd": "0.25", "turns": 3}));
    let own = Caps::default()
        .with(Meter::Duration, 60_000)
        .with(Meter::ToolCalls, 0);
    assert_eq!(caps(&own), json!({"duration": "1m", "tool_calls": 0}));
}

#[test]
fn an_entry_that_is_no_json_is_an_error() {
    let row = |entry: &str| CallRow {
        seq: 3,
        at: UnixMs(0),
        entry: entry.to_owned(),
    };
    let shown = call(&row(r#"{"request":"r"}"#)).unwrap();
    assert_eq!(shown["call"]["request"], "r");
    assert_eq!(shown["at"], "1970-01-01T00:00:00Z");
    assert!(call(&row("{")).is_err());
}
