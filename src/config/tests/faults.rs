//! Every fault, with its line and what to write instead.

use super::*;
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn every_fault_is_told_with_its_line() {
    let text = r#"wait_for_holds = 30
refusal_status = 418

[listen]
agent = "127.0.0.1:7070"
ops = "nowhere"

[store]
url = "postgres://db/bursar"

[[provider]]
name = "a/b"
kind = "opnai"
api_key = "sk-secret-literal"
"#;
    let faults = faults_of(text);
    insta::assert_snapshot!(faults.join("\n"), @r###"
    1: `wait_for_holds`: a span of time needs its unit; write "30s" if seconds are meant
    2: `refusal_status`: 418 is neither 402 nor 429
    5: unknown key `agent` in [listen]; did you mean `agents`?
    6: `ops`: `nowhere` is neither host:port nor unix:PATH
    9: `url`: PostgreSQL is not supported yet; use "sqlite:PATH"
    11: [provider] needs `base_url`
    12: `name`: a provider's name has no `/`, for `name/model` picks it
    13: `kind`: `opnai` is not known here; did you mean `openai`?
    14: `api_key`: a secret is never written here; put it into an environment variable and write "env:NAME", or into a file and write "file:PATH"
    "###);
}

#[test]
fn a_top_level_key_below_a_table_is_sent_up() {
    let faults = faults_of(&config("", "wait_for_holds = \"3s\"\n"));
    assert_eq!(
        faults,
        [
            "6: unknown key `wait_for_holds` in [provider]; it is a top-level key: move it above the first [table]"
        ]
    );
}

#[test]
fn an_unlike_key_is_answered_with_what_there_is() {
    let faults = faults_of(&config("[log]\nxyzzy = 1", ""));
    assert_eq!(
        faults,
        ["2: unknown key `xyzzy` in [log]; known are format, level"]
    );
}

#[test]
fn broken_toml_raises_no_false_faults() {
    let faults = faults_of(&config("drain = = 3", "bogus = 1\n"));
    assert!(faults[0].starts_with("1: this is not TOML"), "{faults:?}");
    assert!(
        faults
            .iter()
            .any(|f| f.starts_with("6: unknown key `bogus`"))
    );
    assert!(!faults.iter().any(|f| f.contains("drain`:")), "{faults:?}");
}

#[test]
fn a_float_is_no_money_and_the_string_is_shown() {
    for (float, string) in [
        ("2.5", "2.50"),
        ("2.0", "2.00"),
        ("1_000.125", "1000.125"),
        ("1e-3", "0.001"),
        ("-1.0", "2.00"),
        ("nan", "2.00"),
    ] {
        let text = format!("[[limit]]\nname = \"t\"\nper = \"task\"\nusd = {float}\n");
        let faults = limit_faults(&text);
        let expected = format!(
            "4: `usd`: money is never a float, for floats cannot hold cents; write the string \"{string}\""
        );
        assert_eq!(faults, [expected]);
    }
}

#[test]
fn money_is_a_string_or_an_integer() {
    let cap = |usd: &str| {
        let text = format!("[[limit]]\nname = \"t\"\nper = \"task\"\nusd = {usd}\n");
        let policies = Policies::parse(&text, Path::new("limits.toml")).unwrap();
        policies
            .limit(LimitIndex(0))
            .unwrap()
            .cap(crate::units::Meter::Usd)
    };
    assert_eq!(cap("\"2.00\""), Some(2_000_000_000));
    assert_eq!(cap("2"), Some(2_000_000_000));
    assert_eq!(cap("\"0.000000001\""), Some(1));
    let too_much = limit_faults("[[limit]]\nname = \"t\"\nper = \"task\"\nusd = 99999999999\n");
    assert_eq!(
        too_much,
        ["4: `usd`: `99999999999` is more than 18 billion dollars"]
    );
    let negative = limit_faults("[[limit]]\nname = \"t\"\nper = \"task\"\nusd = -1\n");
    assert_eq!(negative.len(), 1);
}

#[test]
fn spans_and_sizes_have_units() {
    let span = |text: &str| parse_span(text);
    assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(span("30m"), Ok(Duration::from_secs(1800)));
    assert_eq!(span("7d"), Ok(Duration::from_secs(604_800)));
    for wrong in [
        "",
        "s",
        "30",
        "1.5h",
        "-1s",
        "1w",
        "99999999999999999999d",
        "9999999999d",
    ] {
        assert!(span(wrong).is_err(), "{wrong}");
    }
    assert_eq!(parsed("max_body = \"1MiB\"", "").bounds.max_body, 1 << 20);
    assert_eq!(parsed("max_body = 1000", "").bounds.max_body, 1000);
    assert_eq!(faults_of(&config("max_body = \"0B\"", "")).len(), 1);
    assert_eq!(faults_of(&config("max_body = \"8 MiB\"", "")).len(), 1);
}

#[test]
fn a_limit_says_what_its_shape_lacks() {
    let text = r#"
[[limit]]
name = "no window"
per = ["owner"]
usd = "1"

[[limit]]
name = "nothing"
per = ["task"]

[[limit]]
name = "call"
per = ["call", "task"]
usd = "1"

[[limit]]
name = "turns of a call"
per = ["call"]
turns = 1

[[limit]]
name = "nothing"
per = ["taks"]
usd = "1"
window = { every = "dya", timezone = "Mars/Olympus" }
match = { rolle = "x" }
on_exceed = "downgarde"
warn_at = 1.5
"#;
    insta::assert_snapshot!(limit_faults(text).join("\n"), @r###"
    2: this limit needs a window such as `window = { every = "day", timezone = "UTC" }`: only limits per task or per call do without
    7: this limit caps nothing; give it `usd`, `turns`, `tokens` or the like
    13: `per`: `call` and `none` stand alone
    19: `turns`: a single call cannot be counted so
    23: `per`: `taks` is nothing to count per; did you mean `task`?
    25: `every`: `dya` is not known here; did you mean `day`?
    25: `timezone`: `Mars/Olympus` is no timezone; write "UTC" or a name such as "Europe/Berlin"
    26: unknown key `rolle` in [limit.match]; did you mean `role`?
    27: `on_exceed`: `downgarde` is not known here; did you mean `downgrade`?
    28: `warn_at`: this should be a share above 0 and up to 1, such as 0.8
    "###);
}

#[test]
fn names_are_unique() {
    let limit = "[[limit]]\nname = \"a\"\nper = \"task\"\nturns = 1\n";
    let faults = limit_faults(&format!("{limit}{limit}"));
    assert_eq!(faults, ["6: line 1 has a limit `a` already"]);
    let provider = "[[provider]]\nname = \"p\"\nkind = \"openai\"\nbase_url = \"http://h/v1\"\n";
    let faults = faults_of(&config("", provider));
    assert_eq!(faults, ["7: line 2 has a provider `p` already"]);
}

#[test]
fn ops_beyond_this_machine_needs_a_token() {
    let faults = faults_of(&config("[listen]\nops = \"0.0.0.0:7071\"", ""));
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("needs `ops_token`"));
    let top = "ops_token = \"env:T\"\n[listen]\nops = \"0.0.0.0:7071\"";
    assert_eq!(faults_of(&config(top, "")), [""; 0]);
}

#[test]
fn paths_are_relative_to_the_file() {
    let config = parsed(
        "policies = \"p\"\n[listen]\nagents = \"unix:run/a.sock\"",
        "",
    );
    assert_eq!(config.policies, Path::new("config/p"));
    assert_eq!(
        config.listen.agents,
        Address::Unix("config/run/a.sock".into())
    );
    assert_eq!(config.store.sqlite, Path::new("config/../data/bursar.db"));
}

#[test]
fn a_provider_is_read_whole() {
    let config = parsed(
        "",
        r#"api_key = "env:KEY"
models = ["gpt-*"]
forward_attribution = true
headers = { x-team = "a", x-secret = "file:s" }
proxy = "http://proxy:3128"
timeouts = { connect = "1s", total = "5m" }
ceiling = { input = "10", output = "30.5" }
unmetered = ["/v1/moderations", "/v1/files*"]
billed_errors = [500, 529]
output_cap_field = "max_tokens"
catalogue = "openai"
retry = { max = 2, backoff = "100ms" }
breaker = { failures = 3, alone = "refuse" }
max_concurrent = 8
max_queued = 4
"#,
    );
    let provider = &config.providers[0];
    assert_eq!(provider.timeouts.total, Duration::from_secs(300));
    assert_eq!(provider.timeouts.first_byte, Duration::from_secs(600));
    assert_eq!(provider.headers.len(), 2);
    assert!(matches!(provider.headers[1].1, HeaderText::Secret(_)));
    assert_eq!(provider.ceiling.unwrap().output.0, 30_500_000_000);
    assert!(provider.unmetered.matches("/v1/files/abc"));
    assert_eq!(provider.billed_errors.as_deref(), Some(&[500, 529][..]));
    let resilience = &provider.resilience;
    assert_eq!(
        (resilience.retry.max, resilience.retry.max_in_doubt),
        (2, 0)
    );
    assert_eq!(resilience.breaker.failures, 3);
    assert_eq!(resilience.breaker.alone, crate::config::Alone::Refuse);
    assert_eq!(resilience.max_concurrent, Some(8));
    assert_eq!(resilience.queue_wait, Duration::from_secs(5));
}

#[test]
fn metered_paths_and_everything_cannot_pass_unmetered() {
    for path in ["/v1/chat/completions", "/v1/*", "*", "/files"] {
        let faults = faults_of(&config("", &format!("unmetered = [\"{path}\"]\n")));
        assert_eq!(faults.len(), 1, "{path}");
    }
}

#[test]
fn output_when_unasked_is_a_number_or_a_table() {
    assert_eq!(
        parsed("", "").bounds.output_when_unasked.of("m", None),
        8192
    );
    let one = parsed("output_when_unasked = 100", "").bounds;
    assert_eq!(one.output_when_unasked.of("m", None), 100);
    let top = r#"[output_when_unasked]
default = 1
model = { "b*" = 2, "ba*" = 3 }
role = { judge = 4 }"#;
    let table = parsed(top, "").bounds.output_when_unasked;
    assert_eq!(table.of("bar", None), 2, "the first in the file counts");
    assert_eq!(table.of("bar", Some("judge")), 4);
    assert_eq!(table.of("x", Some("other")), 1);
}

#[test]
fn sources_of_tasks_are_told_apart() {
    let top = r#"[attribution]
task_from = ["x-session-id", "baggage:k", "session.id", "trace"]"#;
    let rules = parsed(top, "").attribution;
    let expected = [
        TaskSource::Header("x-session-id".parse().unwrap()),
        TaskSource::Baggage("k".to_owned()),
        TaskSource::Baggage("session.id".to_owned()),
        TaskSource::Trace,
    ];
    assert_eq!(rules.task_from, expected);
    assert_eq!(rules.tasks_per_hour, 10_000);
}

#[test]
fn globs_match_and_include() {
    let glob = |pattern: &str| Glob::from(pattern);
    assert!(glob("gpt-*").matches("gpt-4o") && !glob("gpt-*").matches("xgpt-4o"));
    assert!(glob("*-mini").matches("gpt-4o-mini") && !glob("*-mini").matches("mini"));
    assert!(glob("a?c").matches("abc") && !glob("a?c").matches("ac"));
    assert!(glob("*").matches("") && !glob("a").matches("A"));
    assert!(glob("gpt-*").includes(&glob("gpt-4*")) && !glob("gpt-4*").includes(&glob("gpt-*")));
    assert!(!glob("a?").includes(&glob("a*")));
}

proptest! {
    /// Nothing that can be written brings the parser down.
    #[test]
    fn parsing_never_panics(text in "(?s).{0,400}") {
        let path = Path::new("x.toml");
        let _ = Config::parse(&text, path);
        let _ = Policies::parse(&text, path);
        let _ = Identities::parse(&text, path);
    }

    /// Nor do values of the wrong kind under every known key.
    #[test]
    fn odd_values_never_panic(
        key in prop::sample::select(vec![
            "policies", "listen", "store", "journal", "provider", "attribution", "agent", "log",
            "limit", "tool", "identity", "output_when_unasked", "max_body", "drain", "name", "kind",
            "base_url", "per", "window", "match", "usd", "duration", "warn_at", "key_sha256", "expires",
        ]),
        table in prop::sample::select(vec!["", "[[provider]]\n", "[[limit]]\n", "[[identity]]\n", "[listen]\n", "[limit.window]\n"]),
        value in prop::sample::select(vec![
            "1", "-1", "1.5", "inf", "nan", "\"\"", "\"x\"", "[]", "[[]]", "{}", "[{}]", "true",
            "1979-05-27", "2027-01-01T00:00:00Z", "07:32:00", "0xff", "99999999999999999999999999",
            "\"\\u0000\"", "[1, \"a\", {}]", "{ a = { b = [1] } }", "\"http://[\"", "\"env:\"",
        ]),
    ) {
        let text = format!("{table}{key} = {value}\n");
        let path = Path::new("x.toml");
        let _ = Config::parse(&text, path);
        let _ = Policies::parse(&text, path);
        let _ = Identities::parse(&text, path);
    }
}
