//! The tables of `docs/TRANSLATION.md` are true: every line is tried.

use super::*;

const DOC: &str = include_str!("../../../../docs/TRANSLATION.md");

/// The lines of a pair's table of requests: what, and what happens.
fn rows(pair: Pair) -> Vec<(String, String)> {
    let (caller, target) = (pair.caller().name(), pair.target().name());
    let title = format!("### `{caller}` → `{target}`: the request\n");
    let (_, section) = DOC.split_once(&title).expect("a table");
    let section = section.split("\n### ").next().expect("a section");
    let lines = section.lines().filter(|line| line.starts_with("| `"));
    lines
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let what = cells.next().expect("what").trim_matches('`');
            (what.to_owned(), cells.next().expect("how").to_owned())
        })
        .collect()
}

/// The smallest body that is carried as it is.
fn base(pair: Pair) -> Value {
    match pair {
        Pair::ResponsesChat => json!({"model": "m", "input": "hi"}),
        _ => {
            json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
        }
    }
}

fn with(pair: Pair, name: &str, value: Value) -> Value {
    let mut body = base(pair);
    body[name] = value;
    body
}

fn with_message(message: Value) -> Value {
    with(Pair::ChatMessages, "messages", json!([message]))
}

fn with_part(part: Value) -> Value {
    with_message(json!({"role": "user", "content": [part]}))
}

fn with_call(call: Value) -> Value {
    with_message(json!({"role": "assistant", "tool_calls": [call]}))
}

fn with_input(item: Value) -> Value {
    with(Pair::ResponsesChat, "input", json!([item]))
}

fn with_input_part(part: Value) -> Value {
    with_input(json!({"role": "user", "content": [part]}))
}

fn function() -> Value {
    json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}})
}

fn with_tools(pair: Pair, name: &str, value: Value) -> Value {
    let mut body = with(pair, name, value);
    body["tools"] = match pair {
        Pair::ChatMessages | Pair::ChatGemini | Pair::ChatBedrock => json!([function()]),
        Pair::MessagesChat => json!([{"name": "f", "input_schema": {"type": "object"}}]),
        Pair::ResponsesChat => json!([{"type": "function", "name": "f"}]),
    };
    body
}

/// A body that says `what`.
fn sample(pair: Pair, what: &str) -> Value {
    match pair {
        Pair::ChatMessages => chat(what),
        Pair::ChatGemini => gemini(what),
        Pair::MessagesChat => messages(what),
        Pair::ResponsesChat => responses(what),
        Pair::ChatBedrock => bedrock(what),
    }
}

/// What of a chat request this target has words of its own for.
fn bedrock(what: &str) -> Value {
    let url = |url: &str| with_part(json!({"type": "image_url", "image_url": {"url": url}}));
    match what {
        "image_url" => url("data:image/png;base64,AA"),
        "image_url.url" => url("https://example.com/a.png"),
        "image_url.type" => url("data:image/tiff;base64,AA"),
        "detail" => with_part(
            json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}}),
        ),
        "file.type" => with_part(
            json!({"type": "file", "file": {"file_data": "data:application/zip;base64,AA"}}),
        ),
        "tool_choice.none" => {
            let mut body = with_call(
                json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}),
            );
            body["tools"] = json!([function()]);
            body["tool_choice"] = json!("none");
            body
        }
        what => chat(what),
    }
}

fn chat(what: &str) -> Value {
    let pair = Pair::ChatMessages;
    let answered = |member: &str, value: Value| {
        let mut message = json!({"role": "assistant", "content": "x"});
        message[member] = value;
        with_message(message)
    };
    match what {
        "messages.system" => with_message(json!({"role": "developer", "content": "x"})),
        "tool_calls" => with_call(
            json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}),
        ),
        "tool_calls.function.arguments" => with_call(
            json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "no"}}),
        ),
        "tool_calls.custom" => {
            with_call(json!({"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}))
        }
        "messages.function" => {
            with_message(json!({"role": "function", "name": "f", "content": "x"}))
        }
        "image_url" => with_part(
            json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
        ),
        "detail" => with_part(
            json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}),
        ),
        "file" => with_part(
            json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}}),
        ),
        "file.file_id" => with_part(json!({"type": "file", "file": {"file_id": "f"}})),
        "prompt_cache_breakpoint" => with_part(
            json!({"type": "text", "text": "hi", what: {"mode": "explicit", "ttl": "30m"}}),
        ),
        "content.input_audio" => with_part(
            json!({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}),
        ),
        "name" => with_message(json!({"role": "user", "name": "ann", "content": "x"})),
        "refusal" => answered("refusal", json!("no")),
        "annotations" => answered("annotations", json!([{"type": "url_citation"}])),
        "audio" => answered("audio", json!({"id": "a"})),
        "reasoning_details" => answered(
            "reasoning_details",
            json!([{"type": "reasoning.text", "text": "x", "signature": "s"}]),
        ),
        "thinking_blocks" => answered("reasoning_content", json!("hm")),
        "include_usage" | "include_obfuscation" => {
            let mut body = with(pair, "stream_options", json!({what: true}));
            body["stream"] = true.into();
            body
        }
        "tools" => with_tools(pair, "n", json!(1)),
        "tools.custom" => with(
            pair,
            "tools",
            json!([function(), {"type": "custom", "custom": {"name": "c"}}]),
        ),
        "tool_choice" => with_tools(pair, what, json!("required")),
        "tool_choice.allowed_tools" => with_tools(
            pair,
            "tool_choice",
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}),
        ),
        "parallel_tool_calls" => with_tools(pair, what, json!(false)),
        "response_format" => with(
            pair,
            what,
            json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}),
        ),
        "response_format.json_object" => {
            with(pair, "response_format", json!({"type": "json_object"}))
        }
        "model" | "messages" => base(pair),
        name => with(
            pair,
            name,
            match name {
                "max_tokens" | "max_completion_tokens" | "seed" | "top_k" => json!(5),
                "top_logprobs" | "n" => json!(2),
                "temperature" | "top_p" | "frequency_penalty" | "presence_penalty" => json!(0.5),
                "stream" | "logprobs" | "store" => json!(true),
                "reasoning_effort" | "verbosity" => json!("low"),
                "cache_control" => json!({"type": "ephemeral"}),
                "thinking" => json!({"type": "enabled", "budget_tokens": 1_024}),
                "service_tier" => json!("default"),
                "stop" | "user" | "safety_identifier" | "prompt_cache_key" => json!("x"),
                "prompt_cache_retention" => json!("24h"),
                "prompt_cache_options" | "web_search_options" | "prediction" => {
                    json!({"type": "content", "content": "x"})
                }
                "metadata" => json!({"team": "x"}),
                "modalities" => json!(["audio"]),
                "logit_bias" => json!({"5": 1}),
                "functions" => json!([{"name": "f"}]),
                "function_call" => json!("auto"),
                other => panic!("no sample of {other}"),
            },
        ),
    }
}

/// Where Gemini's table has other lines than Anthropic's.
fn gemini(what: &str) -> Value {
    let pair = Pair::ChatGemini;
    let image = |url: &str, detail: &str| {
        with_part(json!({"type": "image_url", "image_url": {"url": url, "detail": detail}}))
    };
    let data = "data:image/png;base64,AA";
    match what {
        "image_url" => image(data, "auto"),
        "detail" => image(data, "low"),
        "image_url.url" => image("https://example.com/a.png", "auto"),
        "input_audio" => chat("content.input_audio"),
        "filename" => with_part(
            json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}}),
        ),
        "tool_call_id" => {
            with_message(json!({"role": "tool", "tool_call_id": "c", "content": "x"}))
        }
        "extra_content" => with_message(
            json!({"role": "assistant", "content": "x", what: {"google": {"thought_signature": "s"}}}),
        ),
        "cache_control" => {
            with_part(json!({"type": "text", "text": "hi", what: {"type": "ephemeral"}}))
        }
        "strict" => {
            let mut tool = function();
            tool["function"]["strict"] = true.into();
            with(pair, "tools", json!([tool]))
        }
        other => chat(other),
    }
}

fn messages(what: &str) -> Value {
    let pair = Pair::MessagesChat;
    let said = |role: &str, block: Value| {
        with(
            pair,
            "messages",
            json!([{"role": role, "content": [block]}]),
        )
    };
    let result = |more: Value| {
        let mut block = json!({"type": "tool_result", "tool_use_id": "t", "content": "x"});
        for (name, value) in more.as_object().expect("members") {
            block[name] = value.clone();
        }
        said("user", block)
    };
    let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "AA"});
    match what {
        "system" => with(pair, what, json!([{"type": "text", "text": "x"}])),
        "tool_use" => said(
            "assistant",
            json!({"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        ),
        "tool_result" => result(json!({})),
        "is_error" => result(json!({"is_error": true})),
        "image" => said(
            "user",
            json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}),
        ),
        "document" => said("user", json!({"type": "document", "source": pdf})),
        "source.url" => said(
            "user",
            json!({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}),
        ),
        "source.file" => said(
            "user",
            json!({"type": "image", "source": {"type": "file", "file_id": "f"}}),
        ),
        "citations" => said(
            "user",
            json!({"type": "document", "source": pdf, "citations": {"enabled": true}}),
        ),
        "context" => said(
            "user",
            json!({"type": "document", "source": pdf, "context": "x"}),
        ),
        "content.search_result" => said(
            "user",
            json!({"type": "search_result", "source": "x", "title": "x", "content": []}),
        ),
        "content.server_tool_use" => said(
            "assistant",
            json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        ),
        "thinking.type" => with(pair, "thinking", json!({"type": "adaptive"})),
        "thinking_blocks" => said(
            "assistant",
            json!({"type": "thinking", "thinking": "hm", "signature": "s"}),
        ),
        "cache_control" => with(
            pair,
            "system",
            json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]),
        ),
        "tools" => with_tools(pair, "max_tokens", json!(9)),
        "tools.web_search_20250305" => with(
            pair,
            "tools",
            json!([{"name": "f", "input_schema": {}}, {"type": "web_search_20250305", "name": "web_search"}]),
        ),
        "eager_input_streaming" => with(
            pair,
            "tools",
            json!([{"name": "f", "input_schema": {}, "eager_input_streaming": true}]),
        ),
        "tools.input_examples" => with(
            pair,
            "tools",
            json!([{"name": "f", "input_schema": {}, "input_examples": [{"a": 1}]}]),
        ),
        "tool_choice" => with_tools(pair, what, json!({"type": "any"})),
        "output_config.format" => with(
            pair,
            "output_config",
            json!({"format": {"type": "json_schema", "schema": {"type": "object"}}}),
        ),
        "output_config.effort" => with(pair, "output_config", json!({"effort": "low"})),
        "output_config.task_budget" => with(
            pair,
            "output_config",
            json!({"task_budget": {"type": "tokens", "total": 9}}),
        ),
        "model" | "messages" => base(pair),
        name => with(
            pair,
            name,
            match name {
                "max_tokens" | "top_k" => json!(5),
                "temperature" | "top_p" => json!(0.5),
                "stream" => json!(true),
                "stop_sequences" => json!(["x"]),
                "output_format" => json!({"type": "json_schema", "schema": {"type": "object"}}),
                "thinking" => json!({"type": "enabled", "budget_tokens": 1_024}),
                "metadata" => json!({"user_id": "u"}),
                "service_tier" => json!("standard_only"),
                "context_management" => json!({"edits": [{"type": "clear_tool_uses_20250919"}]}),
                "container" => json!("c"),
                "mcp_servers" => {
                    json!([{"type": "url", "url": "https://example.com", "name": "x"}])
                }
                "speed" => json!("fast"),
                "inference_geo" => json!("us"),
                other => panic!("no sample of {other}"),
            },
        ),
    }
}

fn responses(what: &str) -> Value {
    let pair = Pair::ResponsesChat;
    match what {
        "prompt_cache_breakpoint" => {
            with_input_part(json!({"type": "input_text", "text": "hi", what: {"mode": "explicit"}}))
        }
        "annotations" => with_input(
            json!({"role": "assistant", "content": [{"type": "output_text", "text": "x", what: [{"type": "url_citation"}]}]}),
        ),
        "function_call_output" => with_input(json!({"type": what, "call_id": "c", "output": "x"})),
        "input_image" => with_input_part(
            json!({"type": "input_image", "image_url": "https://example.com/a.png"}),
        ),
        "input_image.file_id" => with_input_part(json!({"type": "input_image", "file_id": "f"})),
        "input_file" => with_input_part(
            json!({"type": "input_file", "filename": "a", "file_data": "data:application/pdf;base64,AA"}),
        ),
        "input_file.file_id" => with_input_part(json!({"type": "input_file", "file_id": "f"})),
        "reasoning_items" => with(
            pair,
            "input",
            json!([{"type": "reasoning", "id": "r", "summary": []}, {"role": "user", "content": "x"}]),
        ),
        "input.item_reference" => with_input(json!({"type": "item_reference", "id": "i"})),
        "input.computer_call" => with_input(json!({"type": "computer_call", "id": "i"})),
        "include_obfuscation" => with(pair, "stream_options", json!({what: true})),
        "tools" => with_tools(pair, "store", json!(false)),
        "tools.web_search" => with(
            pair,
            "tools",
            json!([{"type": "function", "name": "f"}, {"type": "web_search"}]),
        ),
        "tool_choice" => with_tools(pair, what, json!({"type": "function", "name": "f"})),
        "tool_choice.allowed_tools" => with_tools(
            pair,
            "tool_choice",
            json!({"type": "allowed_tools", "mode": "auto", "tools": []}),
        ),
        "parallel_tool_calls" => with_tools(pair, what, json!(false)),
        "text" => with(pair, what, json!({"verbosity": "low"})),
        "reasoning" => with(pair, what, json!({"effort": "low"})),
        "reasoning.summary" => with(pair, "reasoning", json!({"summary": "auto"})),
        "include" => with(pair, what, json!(["reasoning.encrypted_content"])),
        "include.message.output_text.logprobs" => {
            with(pair, "include", json!(["message.output_text.logprobs"]))
        }
        "model" | "input" => base(pair),
        name => with(
            pair,
            name,
            match name {
                "max_output_tokens" | "max_tool_calls" | "top_logprobs" => json!(20),
                "temperature" | "top_p" => json!(0.5),
                "stream" | "store" | "background" => json!(true),
                "service_tier" | "truncation" => json!("auto"),
                "metadata" => json!({"team": "x"}),
                "prompt_cache_options" => json!({"mode": "explicit"}),
                "prompt" => json!({"id": "p"}),
                "context_management" => json!([{"type": "compaction"}]),
                "instructions"
                | "user"
                | "safety_identifier"
                | "prompt_cache_key"
                | "prompt_cache_retention"
                | "previous_response_id"
                | "conversation" => json!("x"),
                other => panic!("no sample of {other}"),
            },
        ),
    }
}

#[test]
fn every_line_of_the_tables_is_so() {
    for pair in Pair::ALL {
        let rows = rows(pair);
        assert!(rows.len() > 30, "{pair:?}");
        let plain = translated(pair, &base(pair)).body;
        for (what, happens) in rows {
            let body = sample(pair, &what);
            let told = translated_with(pair, &body, &[]);
            let why = format!("{pair:?} `{what}` is {happens}: {told:?}");
            match &*happens {
                "carried" => {
                    let told = told.expect(&why);
                    assert!(told.dropped.is_empty(), "{why}");
                    let in_path = pair.target().is_named_by_path() && what == "stream";
                    let says_more = told.body != plain || told.back.include_usage || in_path;
                    assert!(says_more || body == base(pair), "{why}");
                }
                "hint" => {
                    let is_hint = HINTS.contains(&&*what) || pair.hints().contains(&&*what);
                    assert!(is_hint, "{why}");
                    let told = told.expect(&why);
                    assert_eq!(told.dropped, [&*what], "{why}");
                }
                "refused" => {
                    let error = told.expect_err(&why);
                    let named = matches!(&error, Unfit::Foreign { name, .. } if *name == what);
                    assert!(named, "{why}");
                    let told = translated_with(pair, &body, &[&what]).expect(&why);
                    assert_eq!(told.dropped, [&*what], "{why}");
                }
                "needed" => {
                    let error = translated_with(pair, &body, &[&what]).expect_err(&why);
                    let named = matches!(&error, Unfit::Needed { name, .. } if *name == what);
                    assert!(named, "{why}");
                }
                other => panic!("{other}: {why}"),
            }
        }
    }
}

#[test]
fn every_hint_stands_in_a_table() {
    let own = Pair::ALL.iter().flat_map(|pair| pair.hints());
    for hint in HINTS.iter().chain(own) {
        let told = Pair::ALL.iter().any(|pair| {
            let rows = rows(*pair);
            rows.iter()
                .any(|(what, happens)| what == hint && happens == "hint")
        });
        assert!(told, "{hint}");
    }
}
