use super::*;
use proptest::prelude::*;

fn member<'a>(json: &'a str, name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    let walked = Cursor::new(json.as_bytes()).object(|key, cursor| {
        let value = cursor.skip()?;
        if key == name.as_bytes() {
            found = Some(value);
        }
        Ok(())
    });
    walked.ok().and(found)
}

#[test]
fn members_are_found_behind_whatever_comes_before() {
    let json = r#" { "a" : {"x":"}]\"\\","y":[1,2,[{"k":"]"}]]} , "b":-1.5e3,"c":null , "d" : "e\u0041" } "#;
    assert_eq!(member(json, "b"), Some(&b"-1.5e3"[..]));
    assert_eq!(member(json, "c"), Some(&b"null"[..]));
    assert_eq!(member(json, "d"), Some(&br#""e\u0041""#[..]));
    assert_eq!(member(json, "x"), None);
}

#[test]
fn broken_json_is_an_error_and_never_a_panic() {
    for json in [
        "",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":[1",
        "{\"a\":\"\\",
        "{\"a\":\"\\\"",
        "{,}",
        "{\"a\":}",
        "{\"a\":1]",
    ] {
        let walked = Cursor::new(json.as_bytes()).object(|_, cursor| cursor.skip().map(drop));
        assert_eq!(walked, Err(Malformed), "{json}");
    }
}

#[test]
fn a_value_of_another_type_is_absent() {
    assert_eq!(Cursor::new(b"17").text(), Ok(None));
    assert_eq!(Cursor::new(b"\"17\"").whole(), Ok(None));
    assert_eq!(Cursor::new(b"-1").whole(), Ok(None));
    assert_eq!(Cursor::new(b"17").whole(), Ok(Some(17)));
    assert_eq!(Cursor::new(b"null").object(|_, _| Err(Malformed)), Ok(()));
    assert_eq!(Cursor::new(b"{}").array(|_| Err(Malformed)), Ok(()));
}

/// How long a text, an array or an object is, found byte by byte; `None` if it does not end.
fn slowly(json: &[u8]) -> Option<usize> {
    let text = |mut at: usize| loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    };
    let (open, close) = match json.first()? {
        b'"' => return text(1),
        b'[' => (b'[', b']'),
        _ => (b'{', b'}'),
    };
    let (mut at, mut depth) = (0, 0);
    loop {
        let byte = *json.get(at)?;
        at += 1;
        if byte == b'"' {
            at = text(at)?;
        } else if byte == open {
            depth += 1;
        } else if byte == close {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
}

proptest! {
    #[test]
    fn lengths_are_those_of_the_decoded_text(
        text in any::<String>(), times in 1..9_usize, ascii in any::<bool>(),
    ) {
        let text = text.repeat(times);
        let mut json = serde_json::to_string(&text).unwrap();
        if ascii {
            let escape = |unit: u16| format!("\\u{unit:04x}");
            let body: String = text.encode_utf16().map(escape).collect();
            json = format!("\"{body}\"");
        }
        let found = Cursor::new(json.as_bytes()).text().unwrap().unwrap();
        prop_assert_eq!(found.decoded_len(), text.len() as u64);
        prop_assert_eq!(found.decoded(usize::MAX), text);
    }

    #[test]
    fn any_bytes_are_scanned_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut cursor = Cursor::new(&bytes);
        let _ = cursor.object(|_, cursor| cursor.array(|cursor| cursor.text().map(drop)));
        let _ = Text(&bytes).decoded_len();
        let _ = Text(&bytes).decoded(8);
    }

    #[test]
    fn values_end_where_they_are_found_to_byte_by_byte(
        parts in proptest::collection::vec(
            prop_oneof![
                4 => "\"[a-z ]{0,90}\"[,:]",
                2 => "\"([a-z ]|\\\\[n\"\\\\]){0,40}\"",
                2 => "[0-9,.: ]{0,90}",
                3 => proptest::sample::select(vec!["{", "}", "[", "]"]).prop_map(str::to_owned),
                1 => proptest::sample::select(vec!["\"", "\\", "\\\"", "\\u00e9", "é"]).prop_map(str::to_owned),
            ],
            0..16,
        ),
        begins in proptest::sample::select(vec!["{", "[", "\""]),
        closes in "[]}]{0,8}",
    ) {
        let json = format!("{begins}{}{closes}", parts.concat());
        let skipped = Cursor::new(json.as_bytes()).skip();
        prop_assert_eq!(skipped.ok().map(<[u8]>::len), slowly(json.as_bytes()));
    }

    #[test]
    fn any_json_is_walked_to_its_end(pairs in proptest::collection::vec((any::<String>(), any::<String>()), 0..6)) {
        let value = serde_json::json!({"pairs": pairs, "last": {"[": "]"}});
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let mut cursor = Cursor::new(text.as_bytes());
            let mut keys = 0;
            cursor.object(|_, cursor| { keys += 1; cursor.skip().map(drop) }).unwrap();
            prop_assert_eq!(keys, 2);
            prop_assert!(cursor.peek().is_err());
        }
    }
}
