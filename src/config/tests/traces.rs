//! `[trace]`.

use super::*;
use crate::config::traces::{KeyPlace, ProjectPlace, TRACE_PRESETS};
use std::time::Duration;

#[test]
fn nobody_gets_spans_unless_it_is_said() {
    assert_eq!(parsed("", "").traces, TraceSettings::default());
    assert!(
        parsed("", "[trace]\nidle = \"5m\"\n")
            .traces
            .exporters
            .is_empty()
    );
}

#[test]
fn what_a_kind_stands_for_can_be_said_otherwise() {
    let text = "[trace]\nservice = \"crew\"\n\
        [[trace.exporter]]\nkind = \"phoenix\"\n\
        [[trace.exporter]]\nkind = \"langfuse\"\nendpoint = \"https://langfuse.example.com\"\napi_key = \"env:KEYS\"\n\
        vocabulary = \"gen_ai\"\nsample = 0.25\nqueue = 10\nbatch = 5\nevery = \"2s\"\ntimeout = \"3s\"\n\
        [[trace.exporter]]\nname = \"collector\"\nendpoint = \"http://otel:4317\"\nprotocol = \"grpc\"\n";
    let traces = parsed("", text).traces;
    let [phoenix, langfuse, collector] = &traces.exporters[..] else {
        panic!("{traces:?}");
    };
    assert_eq!(&*phoenix.name, "phoenix");
    assert_eq!(phoenix.endpoint, "http://127.0.0.1:6006/v1/traces");
    assert_eq!(phoenix.vocabulary, Vocabulary::OpenInference);
    assert_eq!(langfuse.vocabulary, Vocabulary::GenAi);
    assert_eq!(
        (langfuse.sample, langfuse.queue, langfuse.batch),
        (250_000, 10, 5)
    );
    assert_eq!(langfuse.every, Duration::from_secs(2));
    assert_eq!(collector.endpoint.path(), GRPC_PATH);
}

#[test]
fn an_address_is_one_or_what_stands_below_it() {
    for (kind, written, posted) in [
        ("otlp", "http://h:4318", "http://h:4318/v1/traces"),
        (
            "otlp",
            "http://h:4318/otel/",
            "http://h:4318/otel/v1/traces",
        ),
        ("otlp", "http://h/x/v1/traces", "http://h/x/v1/traces"),
        (
            "langfuse",
            "https://h",
            "https://h/api/public/otel/v1/traces",
        ),
        (
            "langfuse",
            "https://h/api/public/otel",
            "https://h/api/public/otel/v1/traces",
        ),
        (
            "langsmith",
            "https://eu.api.smith.langchain.com",
            "https://eu.api.smith.langchain.com/otel/v1/traces",
        ),
        (
            "sentry",
            "https://o1.ingest.sentry.io/api/2/integration/otlp",
            "https://o1.ingest.sentry.io/api/2/integration/otlp/v1/traces",
        ),
    ] {
        let text = format!("[[trace.exporter]]\nkind = \"{kind}\"\nendpoint = \"{written}\"\n");
        let traces = parsed("", &text).traces;
        assert_eq!(traces.exporters[0].endpoint, posted);
    }
}

#[test]
fn what_cannot_be_meant_is_a_fault() {
    let faults = faults_of(&config(
        "",
        "[[trace.exporter]]\n\
         [[trace.exporter]]\nkind = \"phonix\"\nendpoint = \"http://h\"\n\
         [[trace.exporter]]\nkind = \"mlflow\"\nprotocol = \"grpc\"\nheaders = { authorization = \"Bearer x\", x-team-key = \"k\" }\n\
         [[trace.exporter]]\nname = \"two\"\nendpoint = \"http://user@h\"\nproject = \"p\"\nsample = 2.0\nspeed = 1\n\
         [[trace.exporter]]\nname = \"mlflow\"\nendpoint = \"http://h:1/x\"\nprotocol = \"grpc\"\nproxy = \"socks5://h\"\n",
    ));
    insta::assert_snapshot!(faults.join("\n"), @r#"
    6: [trace.exporter] needs `endpoint`
    8: `kind`: `phonix` is not known here; did you mean `phoenix`?
    12: `mlflow` takes spans over HTTP alone
    13: `headers.authorization`: this header holds a secret; write "env:NAME" or "file:PATH"
    13: `headers.x-team-key`: this header holds a secret; write "env:NAME" or "file:PATH"
    16: `endpoint`: credentials do not belong into the address; use `api_key`
    17: `otlp` has no projects
    18: `sample`: this should be a share above 0 and up to 1, such as 0.8
    19: unknown key `speed` in [trace.exporter]; known are api_key, batch, ca_file, content, endpoint, every, headers, kind, name, project, protocol, proxy, queue, resource, sample, timeout, vocabulary
    22: `endpoint`: gRPC has an address without a path
    24: `proxy`: `socks5://h` is neither an http:// address nor "env" nor "none"
    "#);
}

#[test]
fn the_switch_of_the_conventions_is_the_files_or_the_environments() {
    let of = |text: &str, said: &'static str| {
        let said = move |_: &str| Some(said.to_owned());
        parsed("", text).traces.conventions(&said)
    };
    assert_eq!(of("", ""), Conventions::Both);
    assert_eq!(
        of("", "http, gen_ai_latest_experimental"),
        Conventions::Latest
    );
    assert_eq!(
        of(
            "[trace]\nconventions = \"both\"\n",
            "gen_ai_latest_experimental"
        ),
        Conventions::Both
    );
    assert_eq!(
        of("[trace]\nconventions = \"latest\"\n", ""),
        Conventions::Latest
    );
}

/// Each kind has a page: its configuration can be copied, and what it says of the wire is so.
#[test]
fn the_page_of_a_receiver_says_what_leaves() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let list = std::fs::read_to_string(docs.join("TRACING.md")).unwrap();
    for preset in TRACE_PRESETS.iter().filter(|preset| preset.name != "otlp") {
        let name = preset.name;
        let page = std::fs::read_to_string(docs.join(format!("tracing/{name}.md"))).unwrap();
        let blocks: Vec<_> = page.split("```toml\n").skip(1).collect();
        for block in &blocks {
            let (toml, _) = block.split_once("```").unwrap();
            let traces = parsed("", toml).traces;
            let exporter = &traces.exporters[0];
            assert_eq!(&*exporter.name, name);
            assert!(exporter.endpoint.path().ends_with(preset.path), "{name}");
        }
        assert!(!blocks.is_empty(), "{name} has an example");
        let names = |word: &str| page.contains(&format!("`{word}")) || page.contains(word);
        assert!(names(preset.path), "{name}: {}", preset.path);
        for (header, value) in preset.headers {
            assert!(names(&format!("{header}: {value}")), "{name}: {header}");
        }
        let key = match preset.key {
            KeyPlace::None => None,
            KeyPlace::Bearer => Some("authorization: Bearer"),
            KeyPlace::Basic => Some("authorization: Basic"),
            KeyPlace::Header(header) => Some(header),
            KeyPlace::Sentry => Some("x-sentry-auth: sentry sentry_key="),
        };
        assert!(key.is_none_or(names), "{name}: {key:?}");
        let vocabulary = match preset.vocabulary {
            Vocabulary::GenAi => "gen_ai",
            Vocabulary::OpenInference => "openinference",
            Vocabulary::Langfuse => "langfuse",
        };
        assert!(
            page.contains(&format!("| vocabulary | `{vocabulary}`")),
            "{name}"
        );
        let (ProjectPlace::Header(place) | ProjectPlace::Resource(place)) = preset.project else {
            assert!(!page.contains("project  ="), "{name} has no projects");
            continue;
        };
        assert!(names(place), "{name}: {place}");
    }
    for preset in &TRACE_PRESETS[1..] {
        let row = format!("| [`{0}`](tracing/{0}.md) |", preset.name);
        assert!(list.contains(&row), "{row}");
    }
}
