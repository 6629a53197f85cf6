//! The scanner against serde_json, and its own rules.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use serde::de::IgnoredAny;

fn scan(body: &[u8]) -> Result<Value, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let value = cursor.skip()?;
    cursor.finish()?;
    Ok(value)
}

fn reason(body: &[u8]) -> Reason {
    scan(body).unwrap_err().reason
}

/// Any JSON value, a few levels deep.
pub(crate) fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-1e9..1e9_f64).prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        "[ -~]{0,80}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

#[test]
fn says_what_is_wrong_and_where() {
    assert_eq!(reason(b""), Reason::Empty);
    assert_eq!(reason(b" \n\t"), Reason::Empty);
    assert_eq!(reason(b"\xef\xbb\xbf{}"), Reason::ByteOrderMark);
    assert_eq!(reason(b"\"\xff\""), Reason::Utf8);
    assert_eq!(reason(b"{\"a\":1} x"), Reason::Trailing);
    assert_eq!(reason(b"{\"a\":1"), Reason::Truncated);
    assert_eq!(reason(b"{\"a"), Reason::Truncated);
    assert_eq!(reason(b"[1 2]"), Reason::Comma);
    assert_eq!(reason(b"[1,]"), Reason::Value);
    assert_eq!(reason(b"{\"a\":1,}"), Reason::Key);
    assert_eq!(reason(b"{a:1}"), Reason::Key);
    assert_eq!(reason(b"{\"a\" 1}"), Reason::Colon);
    assert_eq!(reason(b"[01]"), Reason::Number);
    assert_eq!(reason(b"[1.]"), Reason::Number);
    assert_eq!(reason(b"[-]"), Reason::Number);
    assert_eq!(reason(b"[+1]"), Reason::Value);
    assert_eq!(reason(b"[nul]"), Reason::Value);
    assert_eq!(reason(b"[NaN]"), Reason::Value);
    assert_eq!(reason(b"[\"\\x\"]"), Reason::Escape);
    assert_eq!(reason(b"[\"\\u12g4\"]"), Reason::Escape);
    assert_eq!(reason(b"[\"a\nb\"]"), Reason::Control);
    let error = scan(b"{\"a\": tru}").unwrap_err();
    assert_eq!(error.offset, 6);
    assert_eq!(error.to_string(), "expected a JSON value at byte 6");
}

#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
    assert!(scan(nested(DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(reason(nested(DEPTH_MAX + 2).as_bytes()), Reason::Depth);
    assert_eq!(reason("[".repeat(1_000_000).as_bytes()), Reason::Depth);
    assert_eq!(
        reason("{\"a\":".repeat(1_000_000).as_bytes()),
        Reason::Depth
    );
}

#[test]
fn keys_compare_by_text() {
    let body = br#"{"mod\u0065l":1,"\ud800":2,"n\"":3}"#;
    let mut names = Vec::new();
    let mut cursor = Cursor::new(body).unwrap();
    cursor
        .object(|cursor, key| {
            let text = key.text(body);
            assert_eq!(*key.name(body), *text.as_bytes());
            names.push(text.into_owned());
            cursor.skip().map(drop)
        })
        .unwrap();
    assert_eq!(names, ["model", "\u{fffd}", "n\""]);
}

#[test]
fn numbers_are_read_strictly() {
    let number = |text: &'static str| scan(text.as_bytes()).unwrap();
    assert_eq!(
        number("18446744073709551615").u64(b"18446744073709551615"),
        Some(u64::MAX)
    );
    assert_eq!(
        number("18446744073709551616").u64(b"18446744073709551616"),
        None
    );
    for text in ["-1", "1.0", "1e3", "\"1\"", "-0"] {
        assert_eq!(number(text).u64(text.as_bytes()), None, "{text}");
    }
    assert_eq!(number("-7").i64(b"-7"), Some(-7));
    assert_eq!(number("0.10").number_text(b"0.10"), Some("0.10"));
}

#[test]
fn members_are_cut_with_one_comma_each() {
    let body = br#"{"a":1 , "b":2,"c":3, "d":4}"#;
    for kept in 0..16_u32 {
        let mut members = Vec::new();
        let mut cursor = Cursor::new(body).unwrap();
        cursor
            .object(|cursor, key| {
                let start = key.at.start;
                let bit = 1 << members.len();
                cursor.skip()?;
                members.push((start..cursor.offset(), kept & bit != 0));
                Ok::<(), JsonError>(())
            })
            .unwrap();
        let changes = without_members(&members)
            .into_iter()
            .map(|at| Change {
                at,
                with: "".into(),
            })
            .collect();
        let out = splice(&Bytes::from_static(body), changes);
        let out: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let names: String = out
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let wanted: String = "abcd"
            .chars()
            .enumerate()
            .filter_map(|(i, c)| (kept & (1 << i) != 0).then_some(c))
            .collect();
        assert_eq!(names, wanted);
    }
}

#[test]
fn nothing_to_splice_copies_nothing() {
    let body = Bytes::from_static(b"{}");
    assert_eq!(splice(&body, Vec::new()).as_ptr(), body.as_ptr());
}

proptest! {
    #[test]
    fn takes_what_serde_json_writes(json in any_json(), pretty: bool) {
        let text = if pretty {
            serde_json::to_string_pretty(&json).unwrap()
        } else {
            json.to_string()
        };
        let value = scan(text.as_bytes()).unwrap();
        prop_assert_eq!(value.at, 0..text.len());
    }

    #[test]
    fn agrees_with_serde_json_on_damaged_text(
        json in any_json(),
        at in any::<prop::sample::Index>(),
        with in prop::collection::vec(any::<u8>(), 0..3),
        remove in 0_usize..3,
    ) {
        let mut text = json.to_string().into_bytes();
        let at = at.index(text.len());
        let end = (at + remove).min(text.len());
        text.splice(at..end, with);
        let theirs = serde_json::from_slice::<IgnoredAny>(&text).is_ok()
            && std::str::from_utf8(&text).is_ok();
        prop_assert_eq!(scan(&text).is_ok(), theirs, "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = scan(&bytes);
    }

    #[test]
    fn never_panics_on_json_like_text(text in r#"[\[\]{}:,"\\ue0-9.\-+ntrfalsu \n]{0,60}"#) {
        let theirs = serde_json::from_str::<IgnoredAny>(&text).is_ok();
        prop_assert_eq!(scan(text.as_bytes()).is_ok(), theirs, "{}", text);
    }

    #[test]
    fn escapes_mean_what_serde_json_reads(
        parts in prop::collection::vec(
            prop_oneof![
                "[a-zé ]{0,9}".boxed(),
                prop::sample::select(vec![
                    r#"\""#, r"\\", r"\/", r"\b", r"\f", r"\n", r"\r", r"\t", r"\u00e9", r"\u2028",
                    r"\ud83d\ude00", r"\uD83D", r"\udE00", r"\uffff",
                ])
                .prop_map(str::to_owned)
                .boxed(),
            ],
            0..9,
        ),
    ) {
        let json = format!("\"{}\"", parts.concat());
        let value = scan(json.as_bytes()).unwrap();
        let text = value.text(json.as_bytes()).map(std::borrow::Cow::into_owned);
        prop_assert_eq!(text, serde_json::from_str::<String>(&json).ok());
    }

    #[test]
    fn strings_are_read_and_written(text: String) {
        let quoted = quoted(&text);
        let value = scan(quoted.as_bytes()).unwrap();
        prop_assert_eq!(value.text(quoted.as_bytes()).unwrap(), text.as_str());
    }

    #[test]
    fn all_strings_are_found(json in any_json()) {
        fn texts(json: &serde_json::Value, out: &mut Vec<String>) {
            match json {
                serde_json::Value::String(text) => out.push(text.clone()),
                serde_json::Value::Array(items) => items.iter().for_each(|item| texts(item, out)),
                serde_json::Value::Object(members) => {
                    for (key, value) in members {
                        out.push(key.clone());
                        texts(value, out);
                    }
                }
                _ => {}
            }
        }
        let mut wanted = Vec::new();
        texts(&json, &mut wanted);
        let body = json.to_string();
        let found: Vec<String> = strings(body.as_bytes(), 0..body.len())
            .map(|at| serde_json::from_str(&body[at]).unwrap())
            .collect();
        prop_assert_eq!(found, wanted);
    }
}
