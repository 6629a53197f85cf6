use super::{Tone, action, canonical_arguments, gist, outcome, together};
use proptest::prelude::*;

#[track_caller]
fn same(a: &str, b: &str) {
    assert_eq!(action("tool", a), action("tool", b), "{a} and {b}");
}

#[track_caller]
fn differ(a: &str, b: &str) {
    assert_ne!(action("tool", a), action("tool", b), "{a} and {b}");
}

#[test]
fn arguments_are_compared_by_meaning() {
    same(
        r#"{"a":1,"b":[2,3]}"#,
        "{\n \"b\": [2, 3.0],\n \"a\": 1e0\n}",
    );
    same(r#"{"a":-0.0}"#, r#"{"a":0}"#);
    same(r#"{"a":"\u0041"}"#, r#"{"a":"A"}"#);
    same(
        r#"{"a":"{\"x\":1,\"y\":2}"}"#,
        r#"{"a":"{\"y\": 2, \"x\": 1}"}"#,
    );
    same("ls  -l\n/var", "ls -l /var");
    differ(r#"{"page":1}"#, r#"{"page":2}"#);
    differ(r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#);
    differ(r#"{"a":"1"}"#, r#"{"a":1}"#);
    differ(r#"{"a":1,"b":2}"#, r#"{"a":2,"b":1}"#);
    differ(r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#);
    assert_ne!(action("read", "{}"), action("write", "{}"));
}

#[test]
fn outcomes_have_a_tone() {
    let mut scratch = Vec::new();
    let mut tone = |text: &str| outcome(text, &mut scratch).1;
    assert_eq!(tone(" \n"), Tone::Brief);
    assert_eq!(tone("[]"), Tone::Empty);
    assert_eq!(tone("Error: no rows"), Tone::Error);
    assert_eq!(tone("cat: x: No such file or directory"), Tone::Error);
    assert_eq!(tone("33 rows"), Tone::Brief);
    assert_eq!(tone(&"33 rows, ".repeat(30)), Tone::Plain);
}

#[test]
fn the_order_of_parallel_calls_does_not_matter() {
    let (a, b) = (action("x", "1"), action("y", "2"));
    assert_eq!(together(&mut [a, b]), together(&mut [b, a]));
    assert_ne!(together(&mut [a, b]), together(&mut [a, a]));
    assert_eq!(together(&mut [a]), a);
}

#[test]
fn near_texts_have_near_gists() {
    let base =
        "I will now look at the configuration again and then decide what has to be changed in it";
    let near =
        "I will now look at the configuration again and then decide what must be changed in it";
    let far =
        "The flight from Berlin to Oslo leaves at noon and costs less than the train to Hamburg";
    let apart = |a: &str, b: &str| (gist(a) ^ gist(b)).count_ones();
    assert_eq!(apart(base, base), 0);
    assert!(apart(base, near) < 16, "{}", apart(base, near));
    assert!(apart(base, far) > 20, "{}", apart(base, far));
}

/// Writes a JSON value with its keys reversed and blanks between everything.
fn scrambled(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::Array(items) => {
            out.push_str("[ ");
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { " ,\n" } else { "" });
                scrambled(item, out);
            }
            out.push(']');
        }
        serde_json::Value::Object(members) => {
            out.push_str("{\n");
            for (i, (key, member)) in members.iter().rev().enumerate() {
                out.push_str(if i > 0 { " , " } else { "" });
                out.push_str(&serde_json::to_string(key).unwrap());
                out.push_str(" :\t");
                scrambled(member, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[a-z]{0,3}", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn key_order_and_blanks_never_matter(value in any_json()) {
        let mut other = String::new();
        scrambled(&value, &mut other);
        prop_assert_eq!(action("t", &value.to_string()), action("t", &other));
    }

    #[test]
    fn arguments_never_panic(text in "\\PC{0,80}") {
        let mut out = Vec::new();
        canonical_arguments(&text, &mut out);
        let _ = gist(&text);
        let _ = outcome(&text, &mut out);
    }
}
