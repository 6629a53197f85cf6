//! Plain answers in each dialect.

use super::{chat, message, tools, world};
use http::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn a_chat_answer_has_the_documented_shape() {
    let answer = world()
        .await
        .chat("sim-x", json!({"n": 2, "max_tokens": 8}))
        .await;
    assert!(
        answer["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("chatcmpl-"))
    );
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "sim-x");
    assert!(
        answer["created"]
            .as_i64()
            .is_some_and(|at| at > 1_700_000_000)
    );
    let choices = answer["choices"].as_array().expect("choices");
    assert_eq!(choices.len(), 2);
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], index);
        assert_eq!(choice["finish_reason"], "length");
        assert_eq!(choice["message"]["role"], "assistant");
        assert_eq!(
            choice["message"]["content"].as_str().map(str::len),
            Some(8 * 4)
        );
    }
    let usage = &answer["usage"];
    // "hello" is two tokens; four for the message, three for the answer's start.
    assert_eq!(usage["prompt_tokens"], 9);
    assert_eq!(usage["completion_tokens"], 16);
    assert_eq!(usage["total_tokens"], 25);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 0);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 0);
}

#[tokio::test]
async fn a_messages_answer_has_the_documented_shape() {
    let world = world().await;
    let answer = world
        .post(
            "/v1/messages",
            &message("claude-haiku-4-5", json!({"max_tokens": 5})),
        )
        .await;
    let answer = answer.json();
    assert!(
        answer["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("msg_"))
    );
    assert_eq!(answer["type"], "message");
    assert_eq!(answer["content"][0]["type"], "text");
    assert_eq!(
        answer["content"][0]["text"].as_str().map(str::len),
        Some(20)
    );
    assert_eq!(answer["stop_reason"], "max_tokens");
    assert_eq!(answer["usage"]["input_tokens"], 9);
    assert_eq!(answer["usage"]["cache_read_input_tokens"], 0);
    assert_eq!(answer["usage"]["output_tokens"], 5);
}

#[tokio::test]
async fn thinking_is_shown_in_messages_and_counted() {
    let world = world().await;
    let thinking =
        json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4096});
    let answer = world
        .post("/v1/messages", &message("sim-x", thinking))
        .await
        .json();
    assert_eq!(answer["content"][0]["type"], "thinking");
    assert_eq!(answer["content"][1]["type"], "text");
    let length = |at: usize, name: &str| answer["content"][at][name].as_str().map_or(0, str::len);
    let shown = length(0, "thinking") + length(1, "text");
    assert_eq!(answer["usage"]["output_tokens"], shown / 4);
}

#[tokio::test]
async fn a_response_has_the_documented_shape() {
    let world = world().await;
    let body = json!({"model": "sim-x", "input": "hello", "instructions": null});
    let answer = world.post("/v1/responses", &body).await.json();
    assert!(
        answer["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("resp_"))
    );
    assert_eq!(answer["status"], "completed");
    assert_eq!(answer["incomplete_details"], Value::Null);
    let text = answer["output"][0]["content"][0]["text"]
        .as_str()
        .expect("text");
    assert_eq!(answer["usage"]["input_tokens"], 9);
    assert_eq!(answer["usage"]["output_tokens"], text.len() / 4);
    assert_eq!(
        answer["usage"]["output_tokens_details"]["reasoning_tokens"],
        0
    );

    let body = json!({"model": "sim-x", "input": [{"role": "user", "content": "hello"}], "max_output_tokens": 16});
    let cut = world.post("/v1/responses", &body).await.json();
    assert_eq!(cut["status"], "incomplete");
    assert_eq!(cut["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(cut["usage"]["output_tokens"], 16);
}

#[tokio::test]
async fn a_response_can_be_built_upon_and_fetched() {
    let world = world().await;
    let first = world
        .post(
            "/v1/responses",
            &json!({"model": "sim-x", "input": "hello"}),
        )
        .await
        .json();
    let more = json!({"model": "sim-x", "input": "hello", "previous_response_id": first["id"]});
    let second = world.post("/v1/responses", &more).await.json();
    let total = first["usage"]["total_tokens"].as_u64().expect("tokens");
    assert_eq!(second["usage"]["input_tokens"], total + 9);

    let id = second["id"].as_str().expect("an id");
    assert_eq!(
        world.get(&format!("/v1/responses/{id}")).await.json(),
        second
    );
    assert_eq!(
        world.get("/v1/responses/resp_unknown").await.status,
        StatusCode::NOT_FOUND
    );
    let lost = json!({"model": "sim-x", "input": "x", "previous_response_id": "resp_unknown"});
    assert_eq!(
        world.post("/v1/responses", &lost).await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn a_background_response_is_queued_and_then_polled() {
    let world = world().await;
    let body = json!({"model": "sim-x", "input": "hello", "background": true});
    let queued = world.post("/v1/responses", &body).await.json();
    assert_eq!(
        (&queued["status"], &queued["usage"]),
        (&json!("queued"), &Value::Null)
    );
    let id = queued["id"].as_str().expect("an id");
    let done = world.get(&format!("/v1/responses/{id}")).await.json();
    assert_eq!(done["status"], "completed");
    assert_eq!(
        world.bill().by_task["none"].output_tokens,
        done["usage"]["output_tokens"]
    );
}

#[tokio::test]
async fn completions_answer_every_prompt_and_bill_best_of() {
    let world = world().await;
    let body = json!({"model": "sim-x", "prompt": ["abcd", "efgh"], "n": 2, "best_of": 3, "max_tokens": 5});
    let answer = world.post("/v1/completions", &body).await.json();
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"].as_array().map(Vec::len), Some(4));
    assert_eq!(answer["usage"]["prompt_tokens"], 2);
    assert_eq!(answer["usage"]["completion_tokens"], 2 * 3 * 5);

    let ids = json!({"model": "sim-x", "prompt": [1, 2, 3], "max_tokens": 5});
    let answer = world.post("/v1/completions", &ids).await.json();
    assert_eq!(answer["usage"]["prompt_tokens"], 3);
    assert_eq!(answer["usage"]["completion_tokens"], 5);
}

#[tokio::test]
async fn embeddings_come_as_numbers_or_base64() {
    use base64::Engine as _;
    let world = world().await;
    let body = json!({"model": "sim-embed", "input": ["abcd", "efghi"], "dimensions": 8});
    let answer = world.post("/v1/embeddings", &body).await.json();
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        answer["data"][1]["embedding"].as_array().map(Vec::len),
        Some(8)
    );
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 3, "total_tokens": 3})
    );

    let body =
        json!({"model": "text-embedding-3-small", "input": "abcd", "encoding_format": "base64"});
    let answer = world.post("/v1/embeddings", &body).await.json();
    let text = answer["data"][0]["embedding"].as_str().expect("base64");
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .expect("base64");
    assert_eq!(bytes.len(), 1_536 * 4);
    assert_eq!(world.bill().turns, 0, "embeddings are no turns");
}

#[tokio::test]
async fn tools_are_called_when_the_model_or_the_prompt_asks() {
    let world = world().await;
    let quiet = world.chat("sim-x", json!({"tools": tools()})).await;
    assert_eq!(quiet["choices"][0]["message"]["tool_calls"], Value::Null);
    let asked =
        json!({"tools": tools(), "messages": [{"role": "user", "content": "please use a tool"}]});
    let ways = [
        ("sim-tools", json!({"tools": tools()})),
        (
            "sim-x",
            json!({"tools": tools(), "tool_choice": "required"}),
        ),
        (
            "sim-x",
            json!({"tools": tools(), "tool_choice": {"type": "function", "function": {"name": "weather"}}}),
        ),
        ("gpt-4o", asked),
    ];
    let mut ids = Vec::new();
    for (model, more) in ways {
        let answer = world.chat(model, more).await;
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
        for call in answer["choices"][0]["message"]["tool_calls"]
            .as_array()
            .expect("calls")
        {
            ids.push(call["id"].as_str().expect("an id").to_owned());
            let arguments = call["function"]["arguments"].as_str().expect("arguments");
            check_weather(&serde_json::from_str(arguments).expect("JSON"));
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "every id is its own");

    let answered = json!({"tools": tools(), "messages": [
        {"role": "user", "content": "please use a tool"},
        {"role": "tool", "tool_call_id": "call_1", "content": "use a tool"}]});
    let answer = world.chat("gpt-4o", answered).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

fn check_weather(arguments: &Value) {
    assert!(arguments["city"].is_string());
    assert!(
        arguments["days"]
            .as_i64()
            .is_some_and(|days| (2..=5).contains(&days))
    );
    assert!(arguments["unit"] == "c" || arguments["unit"] == "f");
}

#[tokio::test]
async fn parallel_calls_can_be_switched_off_and_a_loop_repeats_itself() {
    let world = world().await;
    let mut counts = Vec::new();
    for i in 0..20 {
        let prompt = json!([{"role": "user", "content": format!("question {i}")}]);
        let body = json!({"tools": tools(), "messages": prompt});
        let many = world.chat("sim-tools", body.clone()).await;
        counts.push(
            many["choices"][0]["message"]["tool_calls"]
                .as_array()
                .map_or(0, Vec::len),
        );
        let mut one = body;
        one["parallel_tool_calls"] = json!(false);
        let one = world.chat("sim-tools", one).await;
        assert_eq!(
            one["choices"][0]["message"]["tool_calls"]
                .as_array()
                .map(Vec::len),
            Some(1)
        );
    }
    assert!(counts.contains(&1) && counts.contains(&2));

    let calls =
        |answer: &Value| answer["choices"][0]["message"]["tool_calls"][0]["function"].clone();
    let other = json!({"tools": tools(), "messages": [{"role": "user", "content": "other"}]});
    let first = world.chat("sim-loop", json!({"tools": tools()})).await;
    let second = world.chat("sim-loop", other).await;
    assert_eq!(calls(&first), calls(&second));
}

#[tokio::test]
async fn structured_answers_follow_their_schema() {
    let world = world().await;
    let schema = tools()[0]["function"]["parameters"].clone();
    let format = json!({"type": "json_schema", "json_schema": {"name": "w", "schema": schema}});
    let answer = world
        .chat("sim-x", json!({"response_format": format}))
        .await;
    let text = answer["choices"][0]["message"]["content"]
        .as_str()
        .expect("text");
    check_weather(&serde_json::from_str(text).expect("JSON"));

    let format = json!({"format": {"type": "json_schema", "name": "w", "schema": schema}});
    let body = json!({"model": "sim-x", "input": "x", "text": format});
    let answer = world.post("/v1/responses", &body).await.json();
    let text = answer["output"][0]["content"][0]["text"]
        .as_str()
        .expect("text");
    check_weather(&serde_json::from_str(text).expect("JSON"));

    let format = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    let answer = world
        .post("/v1/messages", &message("sim-x", format))
        .await
        .json();
    let text = answer["content"][0]["text"].as_str().expect("text");
    check_weather(&serde_json::from_str(text).expect("JSON"));

    let cut = json!({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}, "max_tokens": 2});
    let answer = world.chat("sim-x", cut).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn the_other_endpoints_answer() {
    let world = world().await;
    assert!(world.get("/v1/models").await.json()["data"].is_array());
    assert_eq!(world.get("/v1/models/sim-x").await.json()["id"], "sim-x");
    assert!(world.get("/v1/files").await.json()["data"].is_array());
    assert_eq!(world.get("/healthz").await.status, StatusCode::OK);
    let moderation = world
        .post("/v1/moderations", &json!({"input": "x"}))
        .await
        .json();
    assert_eq!(moderation["results"][0]["flagged"], false);
    assert_eq!(world.get("/v1/nothing").await.status, StatusCode::NOT_FOUND);

    let azure = "/openai/deployments/sim-cheap-a/chat/completions?api-version=2026-01-01";
    let answer = world.post(azure, &chat("ignored", json!({}))).await.json();
    assert_eq!(answer["model"], "sim-cheap-a");
    let bare = world
        .post("/chat/completions", &chat("sim-x", json!({})))
        .await;
    assert_eq!(bare.status, StatusCode::OK);
}

#[tokio::test]
async fn an_echo_says_what_was_received() {
    let world = world().await;
    let body = chat("sim-echo", json!({"odd": "field"}));
    let headers = [("x-odd", "yes"), ("authorization", "Bearer real-secret")];
    let got = world
        .post_with("/v1/chat/completions?beta=true", &headers, &body)
        .await
        .json();
    let text = got["choices"][0]["message"]["content"]
        .as_str()
        .expect("text");
    let echo: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(echo["path"], "/v1/chat/completions?beta=true");
    assert_eq!(echo["headers"]["x-odd"], "yes");
    assert_eq!(echo["body_bytes"], body.to_string().len());
    assert!(!text.contains("real-secret"));
    assert!(
        echo["headers"]["authorization"]
            .as_str()
            .is_some_and(|key| key.starts_with("sha256:"))
    );
    assert_eq!(got["usage"]["completion_tokens"], text.len().div_ceil(4));
}

fn told(model: &str, steps: Value) -> Value {
    json!({"model": model, "steps": steps})
}

#[tokio::test]
async fn a_scenario_says_what_a_model_answers_and_its_last_step_stays() {
    let world = world().await;
    let steps = json!([
        {"tool": "weather", "arguments": {"city": "Ur"}, "times": 2},
        {"text": "It rains."}
    ]);
    let got = world.post("/scenario", &told("sim-a", steps)).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.text());
    let mut said = Vec::new();
    for _ in 0..4 {
        let answer = world.chat("sim-a", json!({"tools": tools()})).await;
        let message = &answer["choices"][0]["message"];
        let call = &message["tool_calls"][0];
        match call["id"].as_str() {
            Some(_) => assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls"),
            None => assert_eq!(answer["choices"][0]["finish_reason"], "stop"),
        }
        said.push(format!(
            "{}{}{}",
            call["function"]["name"].as_str().unwrap_or_default(),
            call["function"]["arguments"].as_str().unwrap_or_default(),
            message["content"].as_str().unwrap_or_default(),
        ));
    }
    let tool = r#"weather{"city": "Ur"}"#.replace(": ", ":");
    assert_eq!(said[..2], [&*tool, &*tool]);
    assert_eq!(said[2..], ["It rains.", "It rains."]);
    // Streams take steps too, and a new scenario replaces the old.
    let again = told("sim-a", json!([{"text": "It has stopped."}]));
    world.post("/scenario", &again).await;
    let body = chat("sim-a", json!({"stream": true}));
    let events = world.post("/v1/chat/completions", &body).await.events();
    let texts = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(texts.collect::<String>(), "It has stopped.");
}

#[tokio::test]
async fn a_tool_that_is_not_offered_is_not_asked_for_and_the_step_waits() {
    let world = world().await;
    let steps = json!([{"tool": "weather"}, {"text": "Done."}]);
    world.post("/scenario", &told("sim-b", steps)).await;
    for without in [json!({}), json!({"tools": tools(), "tool_choice": "none"})] {
        let answer = world.chat("sim-b", without).await;
        let message = &answer["choices"][0]["message"];
        assert!(
            message["tool_calls"].is_null() && message["content"] != "Done.",
            "{message}"
        );
    }
    let answer = world.chat("sim-b", json!({"tools": tools()})).await;
    let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(
        (&call["name"], &call["arguments"]),
        (&json!("weather"), &json!("{}"))
    );
    let answer = world.chat("sim-b", json!({"tools": tools()})).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "Done.");
}

#[tokio::test]
async fn a_scenario_that_says_nothing_is_refused() {
    let world = world().await;
    for (body, why) in [
        (told("sim-c", json!([])), "1 to 1024 steps"),
        (
            told("sim-c", json!([{"times": 2}])),
            "either `text`, or `tool`",
        ),
        (
            told("sim-c", json!([{"text": "x", "arguments": {}}])),
            "either `text`",
        ),
        (json!({"model": "sim-c"}), "missing field `steps`"),
        (
            told("sim-c", json!([{"says": "x"}])),
            "unknown field `says`",
        ),
    ] {
        let got = world.post("/scenario", &body).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST);
        assert!(got.text().contains(why), "{why}: {}", got.text());
    }
}

#[tokio::test]
async fn a_thread_goes_on_from_a_message_and_keeps_its_tools() {
    let world = world().await;
    let steps = json!([{"tool": "weather"}, {"tool": "weather"}, {"text": "Done."}]);
    world.post("/scenario", &told("sim-d", steps)).await;
    let tool = json!({"name": "weather", "input_schema": {"type": "object"}});
    let begin = json!({"thread": {"type": "create"}, "tools": [tool], "system": "You look up."});
    let mut got = world.post("/v1/messages", &message("sim-d", begin)).await;
    let mut input = 0;
    for n in 0..2 {
        assert_eq!(got.status, StatusCode::OK, "{}", got.text());
        let answer = got.json();
        assert_eq!(answer["stop_reason"], "tool_use", "{n}");
        let now = answer["usage"]["input_tokens"].as_u64().expect("a count");
        assert!(now > input, "{n}: the conversation before counts too");
        input = now;
        let result = json!([{"type": "tool_result", "tool_use_id": answer["content"][0]["id"], "content": "sun"}]);
        let on = json!({"type": "continue", "previous_message_id": answer["id"]});
        let body = json!({"model": "sim-d", "max_tokens": 100, "thread": on,
            "messages": [{"role": "user", "content": result}]});
        got = world.post("/v1/messages", &body).await;
    }
    assert_eq!(got.json()["content"][0]["text"], "Done.");
    let on = json!({"thread": {"type": "continue", "previous_message_id": "msg_gone"}});
    let got = world.post("/v1/messages", &message("sim-d", on)).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    let details = &got.json()["error"]["details"];
    assert_eq!(details["error_code"], "thread_not_found");
}
