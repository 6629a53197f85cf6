use super::*;

fn one_of(evidence: Result<Vec<Evidence>, Failure>) -> Evidence {
    let mut evidence = evidence.unwrap();
    assert_eq!(evidence.len(), 1);
    evidence.pop().unwrap()
}

#[test]
fn amounts_are_read_from_their_digits() {
    for (text, nano) in [
        (r#"{"request":"r","usd":0.1}"#, 100_000_000),
        (r#"{"request":"r","usd":"0.30"}"#, 300_000_000),
        (r#"{"request":"r","usd":"$1"}"#, 1_000_000_000),
        (r#"{"request":"r","usd":0.0000000001}"#, 1),
        (r#"{"request":"r","usd":0.1000000010}"#, 100_000_001),
        (r#"{"request":"r","usd":0.1000000011}"#, 100_000_002),
    ] {
        let evidence = one_of(of_json(text.as_bytes()));
        assert_eq!(evidence.usd, Some(NanoUsd(nano)), "{text}");
    }
    for wrong in ["1e-3", "-1", "0.00000000001x", "\"\"", "true"] {
        let text = format!(r#"{{"request":"r","usd":{wrong}}}"#);
        assert!(of_json(text.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn arrays_and_lines_say_the_same() {
    let lines =
        "{\"answer\":\"a\",\"input_tokens\":3}\n\n{\"request\":\"r\",\"output_tokens\":4}\n";
    let array = r#"[{"answer":"a","input_tokens":3},{"request":"r","output_tokens":4}]"#;
    for text in [lines, array] {
        let evidence = of_json(text.as_bytes()).unwrap();
        assert_eq!(evidence[0].key, EvidenceKey::Answer("a".into()));
        assert_eq!(
            (evidence[0].input_tokens, evidence[1].output_tokens),
            (Some(3), Some(4))
        );
    }
}

#[test]
fn csv_has_quotes_line_ends_and_columns_of_others() {
    let text =
        "\u{feff}cost centre,request,usd\r\n\"a, \"\"b\"\"\nc\",r-1,0.5\r\n,r-2,\"0.25\"\n\n";
    let evidence = of_csv(text.as_bytes()).unwrap();
    assert_eq!(evidence.len(), 2);
    assert_eq!(evidence[1].key, EvidenceKey::Request("r-2".into()));
    assert_eq!(evidence[1].usd, Some(NanoUsd(250_000_000)));
    let message = |text: &str| of_csv(text.as_bytes()).unwrap_err().message;
    assert!(message("a,b\n1,2").contains("columns"));
    assert!(message("request,usd\n\"r,1").contains("quote"));
    assert_eq!(
        message("request,usd\nr,1\nr,x\n").split(':').next(),
        Some("evidence 2")
    );
    assert!(message("request,usd\n").contains("no evidence"));
}

#[test]
fn evidence_names_one_call_and_says_something() {
    for wrong in [
        r#"{"usd":1}"#,
        r#"{"request":"r","answer":"a","usd":1}"#,
        r#"{"request":"r"}"#,
        r#"{"request":"r","usd":1,"cost":2}"#,
        r#"{"request":"r","usd":1,"usd":2}"#,
        r#"{"request":7,"usd":1,"#,
        "",
        "[]",
        "[[]]",
    ] {
        assert!(of_json(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(of_json(b"\xff").is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_odd_to_be_read(text in "(request|usd|[\",\r\n0-9ax.{}:-]){0,40}") {
        // Whatever comes out, it comes out.
        let csv = of_csv(text.as_bytes());
        let json = of_json(text.as_bytes());
        proptest::prop_assert!(csv.is_err() || json.is_err());
    }
}
