use super::*;

const KNOWN: [&str; 6] = ["id", "usd", "turns", "duration", "all", "by"];

fn fields(body: &str) -> Result<Fields, String> {
    Fields::of_body(body.as_bytes(), &KNOWN).map_err(|failure| failure.message)
}

#[test]
fn an_empty_body_has_no_fields_and_null_is_absent() {
    for body in ["", " \n", "{}", r#"{"id":null}"#] {
        assert_eq!(fields(body).unwrap().id("id").unwrap(), None, "{body}");
    }
}

#[test]
fn what_is_not_known_or_stands_there_twice_is_refused() {
    let message = |body| fields(body).unwrap_err();
    assert_eq!(
        message(r#"{"turn":1}"#),
        "`turn` is not known here; did you mean `turns`?"
    );
    assert_eq!(message(r#"{"usd":1,"usd":2}"#), "`usd` stands there twice");
    for body in ["[]", "1", "{", "{}{}", "\u{feff}{}"] {
        assert!(
            message(body).starts_with("the body is no JSON object"),
            "{body}"
        );
    }
}

#[test]
fn money_is_never_a_float() {
    let money = |body| {
        fields(body)
            .unwrap()
            .money("usd")
            .map_err(|failure| failure.message)
    };
    assert_eq!(
        money(r#"{"usd":"0.25"}"#).unwrap(),
        Some(NanoUsd(250_000_000))
    );
    assert_eq!(money(r#"{"usd":2}"#).unwrap(), Some(NanoUsd::from_usd(2)));
    assert!(
        money(r#"{"usd":0.25}"#)
            .unwrap_err()
            .contains("write the string \"0.25\"")
    );
    for wrong in [
        r#"{"usd":-1}"#,
        r#"{"usd":"-1"}"#,
        r#"{"usd":true}"#,
        r#"{"usd":99999999999999}"#,
    ] {
        assert!(money(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_meter_but_tasks_may_be_capped() {
    let caps = fields(r#"{"usd":"1","turns":0,"duration":"90s"}"#)
        .unwrap()
        .meters()
        .unwrap();
    assert_eq!(
        caps,
        Caps::default()
            .with(Meter::Usd, 1_000_000_000)
            .with(Meter::Turns, 0)
            .with(Meter::Duration, 90_000)
    );
    assert!(!METERS.contains(&Meter::Tasks));
    assert_eq!(METERS.len(), Meter::COUNT - 1);
    for wrong in [
        r#"{"turns":-1}"#,
        r#"{"turns":1.5}"#,
        r#"{"turns":"+1"}"#,
        r#"{"duration":90}"#,
    ] {
        assert!(fields(wrong).unwrap().meters().is_err(), "{wrong}");
    }
}

#[test]
fn ids_and_texts_have_bounds() {
    let long = "x".repeat(257);
    for wrong in ["", "a b", "ü", long.as_str()] {
        let body = serde_json::json!({"id": wrong}).to_string();
        assert!(fields(&body).unwrap().id("id").is_err(), "{wrong}");
    }
    for wrong in ["", "a\nb", long.as_str()] {
        let body = serde_json::json!({"by": wrong}).to_string();
        assert!(fields(&body).unwrap().text("by").is_err(), "{wrong}");
    }
    assert!(fields(r#"{"all":"true"}"#).unwrap().flag("all").unwrap());
    assert!(fields(r#"{"all":1}"#).unwrap().flag("all").is_err());
}
