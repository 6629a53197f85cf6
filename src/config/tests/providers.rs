//! `kind` and what hangs on it.

use super::*;

fn parsed(provider: &str) -> Result<Config, Faults> {
    let text = format!("[[provider]]\nname = \"p\"\n{provider}\n");
    Config::parse(&text, Path::new("bursar.toml"))
}

fn faults(provider: &str) -> String {
    match parsed(provider) {
        Ok(_) => String::new(),
        Err(faults) => faults.to_string(),
    }
}

#[test]
fn a_kind_brings_its_address_and_a_base_url_goes_before_it() {
    let config = parsed("kind = \"groq\"").unwrap();
    let provider = &config.providers[0];
    assert_eq!(provider.base_url, "https://api.groq.com/openai/v1");
    assert_eq!(
        (provider.preset.name, provider.kind),
        ("groq", Kind::Openai)
    );
    let config = parsed("kind = \"groq\"\nbase_url = \"http://127.0.0.1:1/v1\"").unwrap();
    assert_eq!(config.providers[0].base_url, "http://127.0.0.1:1/v1");
}

#[test]
fn what_everybody_has_their_own_of_must_be_said() {
    for kind in ["azure", "azure-deployments", "openai-compatible"] {
        let told = faults(&format!("kind = \"{kind}\""));
        assert!(told.contains("needs `base_url`"), "{kind}: {told}");
    }
    let told = faults("kind = \"vertex\"");
    assert!(told.contains("needs `location`"), "{told}");
    let told = faults("kind = \"grok\"");
    assert!(told.contains("did you mean `groq`?"), "{told}");
}

#[test]
fn a_dated_version_is_for_azures_deployments() {
    let azure = "kind = \"azure-deployments\"\nbase_url = \"https://r.openai.azure.com/openai\"\n";
    let config = parsed(&format!("{azure}api_version = \"2025-04-01-preview\"")).unwrap();
    let version = config.providers[0].api_version.as_deref();
    assert_eq!(version, Some("2025-04-01-preview"));
    let told = faults(&format!("{azure}api_version = \"a&b\""));
    assert!(told.contains("is no version"), "{told}");
    let told = faults("kind = \"openai\"\napi_version = \"2024-10-21\"");
    assert!(told.contains("has dated versions"), "{told}");
}

#[test]
fn what_makes_no_sense_of_tries_breakers_and_places_is_told() {
    let told = faults(
        "kind = \"openai\"\nretry = { max = 11, backoff = \"20s\" }\n\
         breaker = { failures = 0, open_for = \"1h\", alone = \"wait\" }\nmax_queued = 4",
    );
    for part in [
        "`max`: 11 is not between 0 and 10",
        "this is longer than `max_wait`",
        "`failures`: 0 is not between 1 and 10000",
        "this is longer than `max_open`",
        "`wait` is not known here",
        "nothing waits for a place without `max_concurrent`",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn vertex_is_where_its_location_is_and_has_keys_of_its_own() {
    let place = "kind = \"vertex\"\ncredentials = \"env:SA\"\n";
    for (location, base_url) in [
        (
            "europe-west4",
            "https://europe-west4-aiplatform.googleapis.com",
        ),
        ("global", "https://aiplatform.googleapis.com"),
    ] {
        let config = parsed(&format!("{place}location = \"{location}\"")).unwrap();
        assert_eq!(config.providers[0].base_url, base_url);
    }
    for (more, told) in [
        ("location = \"a/b\"", "is no name of Google's cloud"),
        (
            "location = \"global\"\napi_key = \"env:X\"",
            "takes `credentials`",
        ),
        (
            "location = \"global\"\nunmetered = [\"/v1/x\"]",
            "in translation alone",
        ),
    ] {
        let faults = faults(&format!("{place}{more}"));
        assert!(faults.contains(told), "{more}: {faults}");
    }
    let told = faults("kind = \"vertex\"\nlocation = \"global\"");
    assert!(told.contains("needs `credentials`"), "{told}");
    let told = faults("kind = \"gemini\"\nproject = \"p\"");
    assert!(
        told.contains("only `kind = \"vertex\"` has a `project`"),
        "{told}"
    );
}

#[test]
fn a_key_file_is_read_with_the_configuration_and_never_shown() {
    let text = "[[provider]]\nname = \"p\"\nkind = \"vertex\"\nlocation = \"global\"\ncredentials = \"env:SA\"\n";
    let read = |file: &str| {
        let mut config = Config::parse(text, Path::new("bursar.toml")).unwrap();
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        let env = |_: &str| Some(file.to_owned()).filter(|file| !file.is_empty());
        config.resolve(&env, &mut faults, &mut warnings);
        let told: Vec<_> = faults.iter().map(|fault| fault.message.clone()).collect();
        (told.join("; "), warnings.len(), config)
    };
    for (file, told) in [
        (
            "{\n\"type\": \"authorized_user\"}",
            "its `type` is not `service_account`",
        ),
        ("nonsense", "it is not of that form"),
        (
            "{\"type\": \"service_account\", \"client_email\": \"a\", \"private_key\": \"SECRET\"}",
            "`private_key` is no",
        ),
        (
            "{\"type\": \"service_account\", \"client_email\": \"a\", \"private_key\": \"SECRET\", \"token_uri\": \"http://example.com\"}",
            "no https:// address",
        ),
    ] {
        let (faults, _, config) = read(file);
        assert!(faults.contains(told), "{faults}");
        assert!(!faults.contains("SECRET") && !format!("{config:?}").contains("SECRET"));
    }
    let (faults, warnings, _) = read("");
    assert_eq!((faults.as_str(), warnings), ("", 1));
}
