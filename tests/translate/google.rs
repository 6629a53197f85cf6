//! Google's models, on its own host and on Vertex: what is theirs alone.

pub use super::account::of as account;
use super::common::books;
use super::common::calls::{Ask, Dialect, Http};
use super::common::gateway::Gateway;
use super::common::setup::Setup;
use bursar::sim::{Settings, Sim};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Both kinds, at the simulated providers.
pub fn providers(addr: SocketAddr) -> String {
    format!(
        "[[provider]]\nname = \"google\"\nkind = \"gemini\"\nbase_url = \"http://{addr}\"\n\
         api_key = \"env:GOOGLE_KEY\"\nmodels = [\"never\"]\nforward_attribution = true\n\
         [[provider]]\nname = \"vertex\"\nkind = \"vertex\"\nbase_url = \"http://{addr}\"\n\
         location = \"europe-west4\"\ncredentials = \"env:SERVICE_ACCOUNT\"\nmodels = [\"never\"]\n\
         forward_attribution = true\n"
    )
}

/// The simulated providers, and a gateway in front of them as this account.
async fn scene(name: &str, limits: &str) -> (Sim, Gateway) {
    let sim = Sim::start(Settings::default()).await;
    let sim = sim.expect("a simulated provider");
    let setup = Setup::new(sim.addr())
        .more(&providers(sim.addr()))
        .limits(limits)
        .env("SERVICE_ACCOUNT", &account(name, sim.addr()))
        .env("GOOGLE_KEY", "g-key");
    let gateway = Gateway::start(&setup).await;
    (sim, gateway)
}

const KINDS: [&str; 2] = ["google", "vertex"];

fn ask(provider: &str, model: &str) -> Ask {
    Ask::chat(&format!("{provider}/{model}")).dialect(Dialect::Chat)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_where_google_has_its_models_with_its_keys() {
    let (sim, gateway) = scene("agents", "").await;
    let caller = gateway
        .caller("t")
        .header("x-goog-api-key", "the-callers-own");
    for (provider, stream, path) in [
        ("google", false, "/v1beta/models/sim-echo:generateContent"),
        (
            "google",
            true,
            "/v1beta/models/sim-echo:streamGenerateContent?alt=sse",
        ),
        (
            "vertex",
            false,
            "/v1/projects/p-1/locations/europe-west4/publishers/google/models/sim-echo:generateContent",
        ),
    ] {
        let mut ask = ask(provider, "sim-echo").max_tokens(Some(4_000));
        ask.stream = stream;
        let reply = caller.call(&ask).await.expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let text = match stream {
            false => reply.json()["choices"][0]["message"]["content"].clone(),
            true => {
                let events = reply.events();
                let words = events.iter().filter_map(|event| {
                    let event: Value = serde_json::from_str(event).ok()?;
                    Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())
                });
                Value::String(words.collect())
            }
        };
        let heard: Value = serde_json::from_str(text.as_str().expect("text")).expect("JSON");
        assert_eq!(heard["path"], path);
        let key = |name: &str| heard["headers"][name].as_str().map(str::to_owned);
        let signed = key("authorization").is_some();
        assert_eq!(
            (key("x-goog-api-key").is_some(), signed),
            (provider == "google", provider == "vertex")
        );
        assert_eq!(key("x-api-key"), None);
    }
    assert_eq!(sim.tokens_given(), 1);
    gateway.quiet().await;
    books::compare(&sim.bill_by_request(), &books::calls(&gateway.store()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_calls_stays_below_the_cap_and_one_token_serves_them() {
    let limit = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"0.02\"\n";
    let (sim, gateway) = scene("agents", limit).await;
    let mut calls = Vec::new();
    for number in 0..40 {
        let provider = KINDS[number % 2];
        let model = ["sim-greedy", "sim-reasoning", "sim-dense", "sim-tools"][number / 2 % 4];
        let mut ask = ask(provider, model).max_tokens(Some(400));
        ask.stream = number % 3 == 0;
        ask.tools = model == "sim-tools";
        ask.text = format!("Call {number}");
        let caller = gateway.caller("crowd");
        calls.push(async move { caller.call(&ask).await.expect("an answer").status.as_u16() });
    }
    let statuses = futures_util::future::join_all(calls).await;
    let count = |status: u16| statuses.iter().filter(|each| **each == status).count();
    assert_eq!(count(200) + count(402), 40, "{statuses:?}");
    assert!(count(200) > 3 && count(402) > 3, "{statuses:?}");
    gateway.quiet().await;
    assert_eq!(sim.tokens_given(), 1);
    let bill = sim.bill();
    assert!(
        bill.total_nano_usd > 0 && bill.total_nano_usd <= 20_000_000,
        "{bill:?}"
    );
    books::compare(&sim.bill_by_request(), &books::calls(&gateway.store()));
    books::verify(&gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_answer_ends_like_its_bill_is_covered() {
    let (sim, gateway) = scene("agents", "").await;
    for provider in KINDS {
        let caller = gateway.caller(&format!("t-{provider}"));
        for model in [
            "sim-no-usage",
            "sim-null-usage",
            "sim-zero-usage",
            "sim-reset",
            "sim-reset-early",
            "sim-error-event",
            "sim-page",
            "sim-503",
            "sim-504",
            "sim-usage-late",
            "sim-reasoning",
        ] {
            for stream in [false, true] {
                let mut ask = ask(provider, model);
                ask.stream = stream;
                // Whatever comes: the books are what is looked at.
                let _ = caller.call(&ask).await;
            }
        }
        // Somebody who hangs up after the first bytes.
        let ask = ask(provider, "sim-slow").stream();
        let _ = caller.hang_up(&ask, 1).await;
    }
    gateway.quiet().await;
    let entries = books::calls(&gateway.store());
    assert_eq!(entries.len(), 2 * (2 * 11 + 1));
    for entry in &entries {
        assert!(entry.quoted.usd() >= entry.charged.usd(), "{entry:?}");
    }
    books::compare(&sim.bill_by_request(), &entries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_on_gemini_3_keeps_its_signatures() {
    let (_sim, gateway) = scene("agents", "").await;
    let ceiling = gateway.caller("t");
    let mut ask = ask("google", "gemini-3-pro-preview");
    ask.tools = true;
    ask.text = "Please use a tool.".to_owned();
    for turn in 0..3 {
        let reply = ceiling.call(&ask).await.expect("an answer");
        assert_eq!(reply.status, 200, "{turn}: {}", reply.text());
        let call = &reply.json()["choices"][0]["message"]["tool_calls"][0];
        assert!(
            call["extra_content"]["google"]["thought_signature"].is_string(),
            "{call}"
        );
        ask.history = ask.answered(&reply);
        ask.text = format!("Please use a tool again: {turn}.");
    }
    // Without them the provider says no, in its own words.
    for message in &mut ask.history {
        for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
            call.as_object_mut()
                .expect("a call")
                .remove("extra_content");
        }
    }
    let reply = ceiling.call(&ask).await.expect("an answer");
    assert_eq!(reply.status, 400);
    let error = reply.json()["error"].clone();
    assert_eq!(error["code"], "INVALID_ARGUMENT", "{error}");
    assert!(
        error["message"].to_string().contains("thought_signature"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_nothing_is_sent_and_nothing_held() {
    for (name, told) in [
        ("broken", "400 (invalid_grant)"),
        ("down", "503 (internal_failure)"),
    ] {
        let (sim, gateway) = scene(
            name,
            "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"1\"\n",
        )
        .await;
        let reply = gateway
            .caller("t")
            .call(&ask("vertex", "sim-cheap"))
            .await
            .expect("an answer");
        assert_eq!(reply.status, 502, "{}", reply.text());
        let message = reply.json()["error"]["message"].to_string();
        assert!(message.contains(told), "{message}");
        gateway.quiet().await;
        let entries = books::calls(&gateway.store());
        assert_eq!(
            (&*entries[0].ending, &*entries[0].reason),
            ("void", "not_sent")
        );
        let bill = sim.bill();
        assert_eq!((bill.calls, bill.refused), (0, 0));
        let log = gateway.log();
        assert!(
            !log.contains("PRIVATE KEY") && !log.contains("assertion="),
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_that_answers_and_its_cost_are_told() {
    let (sim, gateway) = scene("agents", "").await;
    let http = Http::new();
    for provider in KINDS {
        let body = json!({"model": format!("{provider}/gemini-2.5-flash"), "max_tokens": 90,
            "reasoning_effort": "low", "messages": [{"role": "user", "content": "hi"}]});
        let url = format!("{}/v1/chat/completions", gateway.agents);
        let reply = http.post(&url, &body).await.expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(
            reply.header("x-bursar-model").as_deref(),
            Some("gemini-2.5-flash")
        );
        assert!(reply.cost().is_some());
    }
    gateway.quiet().await;
    let compared = books::compare(&sim.bill_by_request(), &books::calls(&gateway.store()));
    assert_eq!(compared.settled, 2);
}
