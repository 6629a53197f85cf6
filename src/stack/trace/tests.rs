use super::*;

fn trace(value: &str) -> Trace {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_str(value).unwrap());
    Trace::from_headers(&headers, &"req_00000000000000000000000000000abc".into())
}

#[test]
fn the_callers_trace_goes_on_and_its_flags_are_kept() {
    let trace = trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03");
    assert_eq!(trace.ids.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    assert_eq!(trace.parent_span, Some(0x00f0_67aa_0ba9_02b7));
    let sent = trace.traceparent().unwrap();
    let sent = sent.to_str().unwrap();
    assert!(sent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    assert!(sent.ends_with("-03") && !sent.contains("00f067aa0ba902b7"));
}

#[test]
fn a_malformed_parent_begins_a_new_trace() {
    for value in [
        "",
        "00-0-0-0",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    ] {
        let trace = trace(value);
        assert_eq!(trace.parent_span, None, "{value}");
        assert_ne!(trace.ids.trace, 0);
    }
}

#[test]
fn ids_differ() {
    assert_ne!(random(), random());
}

#[test]
fn an_id_tells_its_number() {
    let mut text = *b"req_00000000000000000000000000000000";
    for expected in [0, 1, u128::from(u64::MAX), 1 << 64, u128::MAX, random()] {
        hex(expected, &mut text[4..]);
        let id = std::str::from_utf8(&text).unwrap();
        assert_eq!(id, format!("req_{expected:032x}"));
        assert_eq!(request_number(id), Some(expected));
    }
    assert_eq!(request_number("req_1f"), None);
    assert_eq!(request_number("req_0000000000000000000000000000000G"), None);
    assert_eq!(request_number("429"), None);
}
