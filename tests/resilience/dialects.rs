//! The next target of the route speaks another dialect: the caller hears its own all the same.

use crate::chaos::{self, Ended};
use crate::common::Draw;
use crate::common::calls::{Ask, Dialect, Reply};
use crate::rig::{Rig, sim};
use bursar::sim::{Settings, Sim};
use serde_json::Value;
use std::time::Duration;

const NO_BREAKER: &str =
    "breaker = { failures = 10000, failure_percent = 100, min_calls = 100000 }";

/// Each caller's first target, and what the second one speaks.
const WAYS: [(Dialect, &str); 3] = [
    (Dialect::Chat, "anthropic-messages"),
    (Dialect::Messages, "openai-chat"),
    (Dialect::Responses, "openai-chat"),
];

/// First a provider of the caller's dialect with this model, then one of another.
fn routes(first: &str) -> String {
    let route = |dialect: &str, first: &str, second: &str| {
        format!(
            "[[route]]\nname = \"{dialect}\"\nmatch = {{ role = \"worker\", dialect = \"{dialect}\" }}\n\
             to = [\"{first}\", \"{second}\"]\n"
        )
    };
    [
        route("openai-chat", &format!("sim/{first}"), "messages/sim-b"),
        route(
            "anthropic-messages",
            &format!("sim-anthropic/{first}"),
            "chat/sim-b",
        ),
        route("openai-responses", &format!("sim/{first}"), "chat/sim-b"),
    ]
    .concat()
}

/// The providers that speak one dialect each, where the second one is.
fn apart(second: &Sim) -> String {
    let addr = second.addr();
    format!(
        "[[provider]]\nname = \"messages\"\nkind = \"anthropic\"\nbase_url = \"http://{addr}\"\n\
         forward_attribution = true\nmodels = [\"messages-*\"]\n{keys}\n\
         [[provider]]\nname = \"chat\"\nkind = \"openai\"\nbase_url = \"http://{addr}/v1\"\n\
         forward_attribution = true\nmodels = [\"chat-*\"]\ndialects = [\"openai-chat\"]\n{keys}\n",
        keys = chaos::PROVIDER
    )
}

async fn rig(settings: [Settings; 2], first: &str, usd: &str, provider: &str) -> Rig {
    let [one, two] = settings;
    let (one, two) = (sim(one).await, sim(two).await);
    let limits = format!(
        "[[limit]]\nname = \"owner\"\nper = [\"owner\"]\nwindow = {{ every = \"month\" }}\nusd = \"{usd}\"\n"
    );
    let (addr, more) = (one.addr(), apart(&two));
    Rig::of(Some(one), addr, two, |setup| {
        let setup = setup.routes(&routes(first)).limits(&limits);
        setup.provider(provider).more(&more)
    })
    .await
}

/// What the answer says, read as its caller's dialect has it; it is whole.
fn said(ask: &Ask, reply: &Reply) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if !ask.stream {
        let body = reply.json();
        let (kind, said) = match ask.dialect {
            Dialect::Chat => (&body["object"], &body["choices"][0]["message"]["content"]),
            Dialect::Messages => (&body["type"], &body["content"][0]["text"]),
            _ => (&body["object"], &body["output"][0]["content"][0]["text"]),
        };
        assert!(["chat.completion", "message", "response"].contains(&&*text(kind)));
        return text(said);
    }
    let end = match ask.dialect {
        Dialect::Chat => "data: [DONE]\n\n",
        Dialect::Messages => "data: {\"type\":\"message_stop\"}\n\n",
        _ => "}\n\n",
    };
    assert!(reply.text().ends_with(end), "{}", reply.text());
    let mut whole = String::new();
    for data in reply.events().iter().filter(|data| *data != "[DONE]") {
        let event: Value = serde_json::from_str(data).expect("JSON");
        let piece = match ask.dialect {
            Dialect::Chat => {
                assert_eq!(event["object"], "chat.completion.chunk");
                &event["choices"][0]["delta"]["content"]
            }
            Dialect::Messages => &event["delta"]["text"],
            _ if event["type"] == "response.output_text.delta" => &event["delta"],
            _ => &Value::Null,
        };
        whole.push_str(&text(piece));
    }
    if ask.dialect == Dialect::Responses {
        let last = reply.last_event();
        let ends = ["response.completed", "response.incomplete"];
        assert!(ends.contains(&&*text(&last["type"])), "{last}");
    }
    whole
}

#[tokio::test]
async fn a_dead_first_target_is_answered_for_in_the_callers_dialect() {
    for (model, ending) in [("sim-503", "void"), ("sim-reset-early", "unreconciled")] {
        let both = [Settings::default(), Settings::default()];
        let mut rig = rig(both, model, "5", NO_BREAKER).await;
        for (dialect, target) in WAYS {
            let ask = Ask::chat("asked").dialect(dialect);
            for ask in [ask.clone(), ask.stream()] {
                let reply = rig.work("t", &ask).await;
                let what = format!("{dialect:?} {model}: {}", reply.text());
                assert_eq!(reply.status, 200, "{what}");
                let header = |name: &str| reply.header(name).unwrap_or_default();
                assert_eq!(header("x-bursar-translated"), target, "{what}");
                assert_eq!(header("x-bursar-model"), "sim-b", "{what}");
                assert!(!said(&ask, &reply).is_empty(), "{what}");
                let entries = rig.entries(&reply.request_id(), 2).await;
                let endings = [&*entries[0].ending, &*entries[1].ending];
                assert_eq!(endings, [ending, "settle"], "{what}");
            }
        }
        let sums = rig.settles().await;
        assert_eq!(sums.calls, 6);
        assert_eq!(sums.in_doubt == 0, ending == "void");
        assert_eq!(rig.second.bill().turns, 6);
        assert_eq!(rig.second.bill().total_nano_usd, sums.settled);
    }
}

#[tokio::test]
async fn nor_is_a_tight_cap_passed_on_the_way() {
    for model in ["sim-503", "sim-reset-early"] {
        let both = [Settings::default(), Settings::default()];
        let mut rig = rig(both, model, "0.03", NO_BREAKER).await;
        let (mut answered, mut refused) = (0, 0);
        for turn in 0..60 {
            let (dialect, _) = WAYS[turn % WAYS.len()];
            let mut ask = Ask::chat("asked").dialect(dialect);
            ask.stream = turn % 2 == 0;
            let (one, other) = tokio::join!(rig.work("t", &ask), rig.work("u", &ask));
            for reply in [one, other] {
                match reply.status.as_u16() {
                    200 => answered += 1,
                    _ => refused += 1,
                }
            }
        }
        assert!(
            answered > 0 && refused > 0,
            "{model}: {answered}, {refused}"
        );
        let sums = rig.settles().await;
        println!("{model}: {answered} answered, {refused} refused, {sums:?}");
        assert!(sums.settled + sums.in_doubt <= 30_000_000, "{sums:?}");
    }
}

fn any(draw: &mut Draw, text: &str) -> Ask {
    let dialect = draw.pick(&[Dialect::Chat, Dialect::Messages, Dialect::Responses]);
    Ask {
        text: text.to_owned(),
        stream: draw.percent(50),
        tools: draw.percent(30),
        max_tokens: Some(16 + draw.below(120)),
        ..Ask::chat("asked").dialect(dialect)
    }
}

/// Both fail in every way, near the cap, and many a call is answered in another dialect than its own.
#[tokio::test]
async fn both_unwell_in_two_dialects_near_the_cap() {
    let unwell = |seed, fail_rate| Settings {
        fail_rate,
        reset_rate: 0.1,
        page_rate: 0.05,
        slow_rate: 0.05,
        no_usage_rate: 0.05,
        slow_delay: Duration::from_millis(20),
        retry_after: Duration::from_millis(30),
        seed,
        ..Settings::default()
    };
    let rig = rig(
        [unwell(3, 0.6), unwell(4, 0.15)],
        "sim-a",
        "0.05",
        chaos::PROVIDER,
    )
    .await;
    let ended = chaos::crowd(rig, (10, 20), any, 1).await;
    let Ended {
        sums,
        answered,
        translated,
        refused,
        failed,
    } = ended;
    assert_eq!(answered + refused + failed, 200);
    assert!(sums.settled + sums.in_doubt <= 50_000_000, "{sums:?}");
    assert!(sums.billed <= 50_000_000, "{sums:?}");
    assert!(translated > 0 && refused > 0, "the cap was reached");
}
