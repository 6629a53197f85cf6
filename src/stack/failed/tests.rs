use super::*;

const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn cure(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Cure {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
    let status = StatusCode::from_u16(status).unwrap();
    Cure::of(status, &headers.collect(), body.as_bytes(), NOW)
}

#[test]
fn what_may_help_by_status() {
    let helps = |status| {
        let cure = cure(status, &[], "{}");
        (cure.here, cure.elsewhere)
    };
    for status in [408, 409, 425, 429, 499, 500, 502, 503, 504, 529] {
        assert_eq!(helps(status), (true, true), "{status}");
    }
    for status in [401, 402, 403, 404] {
        assert_eq!(helps(status), (false, true), "{status}");
    }
    for status in [301, 400, 413, 422] {
        assert_eq!(helps(status), (false, false), "{status}");
    }
}

#[test]
fn a_spent_quota_is_not_waited_for() {
    let spent = r#"{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let found = cure(429, &[], spent);
    assert_eq!((found.here, found.elsewhere), (false, true));
}

#[test]
fn the_provider_has_the_last_word() {
    assert!(!cure(503, &[("x-should-retry", "false")], "").here);
    assert!(cure(400, &[("x-should-retry", "true")], "").here);
}

#[test]
fn pauses_that_providers_ask_for() {
    let pause = |name, value| cure(429, &[(name, value)], "").after;
    let ms = Duration::from_millis;
    assert_eq!(pause("retry-after", "2"), Some(ms(2_000)));
    assert_eq!(pause("retry-after", "0.5"), Some(ms(500)));
    assert_eq!(pause("retry-after-ms", "20"), Some(ms(20)));
    assert_eq!(
        pause("retry-after", "Fri, 15 Jan 2027 08:00:07 GMT"),
        Some(ms(7_000))
    );
    assert_eq!(
        pause("retry-after", "Fri, 15 Jan 2021 08:00:07 GMT"),
        Some(ms(0))
    );
    for nonsense in ["", "soon", "-1", "nan", "inf"] {
        assert_eq!(pause("retry-after", nonsense), None, "{nonsense}");
    }
    assert_eq!(pause("retry-after", "1e300"), Some(ms(86_400_000)));
}
