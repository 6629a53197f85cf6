use super::*;
use crate::dialect::answer::{AnswerReader, GIVEN_BYTES_MAX, Keep};
use crate::dialect::decode;
use serde_json::{Value, json};

fn read(dialect: Dialect, body: &Value) -> Asked {
    asked(&decode(dialect, body.to_string().into()).unwrap())
}

fn part(part: &Part) -> String {
    match part {
        Part::Text(text) => text.clone(),
        Part::Call {
            id,
            name,
            arguments,
        } => format!("{}={name}({arguments})", id.as_deref().unwrap_or_default()),
        Part::Result { id, text } => format!("{}->{text}", id.as_deref().unwrap_or_default()),
    }
}

fn shown(messages: &[Message]) -> Vec<String> {
    let show = |message: &Message| {
        let parts: Vec<String> = message.parts.iter().map(part).collect();
        format!("{}: {}", message.role, parts.join(" | "))
    };
    messages.iter().map(show).collect()
}

fn described(tools: &[Tool]) -> Vec<String> {
    let show = |tool: &Tool| {
        let more = [&tool.description, &tool.parameters].map(|text| text.as_deref().unwrap_or("-"));
        format!("{} {} {}", tool.kind, tool.name, more.join(" "))
    };
    tools.iter().map(show).collect()
}

const PNG: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg";

#[test]
fn chat_is_read() {
    let asked = read(
        Dialect::OpenaiChat,
        &json!({"model": "m", "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Look \"here\""}, {"type": "image_url", "image_url": {"url": PNG}},
                {"type": "input_audio", "input_audio": {"data": "UklGR", "format": "wav"}}, {"type": "file", "file": {"file_data": "JVBER"}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "function": {"name": "find", "arguments": "{\"q\":1}"}, "type": "function"},
                {"id": "c2", "type": "custom", "custom": {"name": "run", "input": "ls"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "no"}, {"type": "text", "text": "thing"}]},
            {"role": "assistant", "content": "Well.", "function_call": {"name": "old", "arguments": "{}"}},
            {"role": "function", "name": "old", "content": "x"}],
            "tools": [{"type": "function", "function": {"name": "find", "description": "Finds.", "parameters": {"type": "object"}}}]}),
    );
    assert_eq!(
        shown(&asked.input),
        [
            "system: Be brief.",
            "user: Look \"here\" | [image_url left out] | [input_audio left out] | [file left out]",
            "assistant: c1=find({\"q\":1}) | c2=run(ls)",
            "tool: c1->no\nthing",
            "assistant: Well. | =old({})",
            "tool: ->x",
        ]
    );
    assert_eq!(
        described(&asked.tools),
        ["function find Finds. {\"type\":\"object\"}"]
    );
    assert!(!asked.is_cut && asked.instructions.is_empty());
    assert_eq!(asked.result_of("c1"), Some("no\nthing"));
}

#[test]
fn messages_are_read_and_keys_beside_tools_are_not() {
    let asked = read(
        Dialect::AnthropicMessages,
        &json!({"model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            "messages": [
            {"role": "user", "content": "Look it up"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "I will."},
                {"type": "tool_use", "id": "t1", "name": "find", "input": {"q": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "here"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}]}, {"type": "text", "text": "Hurry."}]}],
            "tools": [{"name": "find", "description": "Finds.", "input_schema": {"type": "object"}}],
            "mcp_servers": [{"type": "url", "name": "m", "url": "https://m.example", "authorization_token": "a-key"}]}),
    );
    assert_eq!(
        shown(&asked.input),
        [
            "user: Look it up",
            "assistant: [thinking left out] | I will. | t1=find({\"q\":1})",
            "user: t1->here\n[image left out] | Hurry.",
        ]
    );
    assert_eq!(
        asked.instructions.iter().map(part).collect::<Vec<_>>(),
        ["Be brief."]
    );
    assert_eq!(
        described(&asked.tools),
        ["function find Finds. {\"type\":\"object\"}"]
    );
}

#[test]
fn responses_are_read_and_keys_in_tools_are_not() {
    let asked = read(
        Dialect::OpenaiResponses,
        &json!({"model": "m", "instructions": "Be brief.", "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Look"}, {"type": "input_image", "image_url": PNG}]},
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I will."}]},
            {"type": "function_call", "id": "f1", "call_id": "c1", "name": "find", "arguments": "{\"q\":1}"},
            {"type": "function_call_output", "call_id": "c1", "output": "no"},
            {"type": "computer_call_output", "call_id": "c2", "output": {"type": "computer_screenshot", "image_url": PNG}}],
            "tools": [{"type": "function", "name": "find", "parameters": {"type": "object"}},
                {"type": "mcp", "server_label": "m", "authorization": "a-key", "headers": {"x": "a-key"}}]}),
    );
    assert_eq!(
        shown(&asked.input),
        [
            "user: Look | [input_image left out]",
            "assistant: [reasoning left out]",
            "assistant: I will.",
            "assistant: c1=find({\"q\":1})",
            "tool: c1->no",
            "tool: c2->[computer_screenshot left out]",
        ]
    );
    assert_eq!(
        described(&asked.tools),
        ["function find - {\"type\":\"object\"}", "mcp mcp - -"]
    );
    let asked = read(
        Dialect::OpenaiResponses,
        &json!({"model": "m", "input": "Look"}),
    );
    assert_eq!(shown(&asked.input), ["user: Look"]);
}

#[test]
fn prompts_and_texts_to_embed_are_read_and_tokens_are_not() {
    let embed = |input: Value| {
        read(
            Dialect::OpenaiEmbeddings,
            &json!({"model": "m", "input": input}),
        )
    };
    assert_eq!(shown(&embed(json!("one")).input), ["user: one"]);
    assert_eq!(
        shown(&embed(json!(["one", "two"])).input),
        ["user: one", "user: two"]
    );
    for tokens in [json!([1, 2, 3]), json!([[1, 2], [3]])] {
        assert_eq!(shown(&embed(tokens).input), ["system: [tokens left out]"]);
    }
    let asked = read(
        Dialect::OpenaiCompletions,
        &json!({"model": "m", "prompt": "Once"}),
    );
    assert_eq!(shown(&asked.input), ["user: Once"]);
}

#[test]
fn gemini_and_bedrock_are_read() {
    let body = json!({"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [
        {"role": "user", "parts": [{"text": "Look"}, {"inlineData": {"mimeType": "image/png", "data": "iVBOR"}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "find", "args": {"q": 1}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "find", "response": {"result": "no"}}},
            {"functionResponse": {"name": "find", "response": {"text": "one", "type": "many", "functionCall": {}}}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "tools": [{"functionDeclarations": [{"name": "find", "description": "Finds.", "parameters": {"type": "OBJECT"}}]}]});
    let call = crate::dialect::decode_for(Dialect::Gemini, body.to_string().into(), Some("m"));
    let read = asked(&call.unwrap());
    assert_eq!(
        shown(&read.input),
        [
            "user: Look | [inlineData left out]",
            "assistant: =find({\"q\":1})",
            "user: ->{\"result\":\"no\"} | ->{\"functionCall\":{},\"text\":\"one\",\"type\":\"many\"}"
        ]
    );
    assert_eq!(
        read.instructions.iter().map(part).collect::<Vec<_>>(),
        ["Be brief."]
    );
    assert_eq!(
        described(&read.tools),
        ["function find Finds. {\"type\":\"OBJECT\"}"]
    );
    let body = json!({"system": [{"text": "Be brief."}], "messages": [
        {"role": "user", "content": [{"text": "Look"}, {"image": {"format": "png", "source": {"bytes": "iVBOR"}}}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "find", "input": {"q": 1}}}]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"json": {"n": 0}}, {"text": "no"}]}}]}],
        "toolConfig": {"tools": [{"toolSpec": {"name": "find", "inputSchema": {"json": {"type": "object"}}}}]}});
    let call = crate::dialect::decode_for(Dialect::Bedrock, body.to_string().into(), Some("m"));
    let read = asked(&call.unwrap());
    assert_eq!(
        shown(&read.input),
        [
            "user: Look | [image left out]",
            "assistant: t1=find({\"q\":1})",
            "user: t1->{\"n\":0}\nno"
        ]
    );
    assert_eq!(
        described(&read.tools),
        ["function find - {\"type\":\"object\"}"]
    );
}

#[test]
fn the_newest_messages_are_told_and_of_one_that_is_too_long_its_beginning() {
    let long = "é".repeat(INPUT_BYTES_MAX);
    let asked = read(
        Dialect::OpenaiChat,
        &json!({"model": "m", "messages": [
            {"role": "user", "content": "first"}, {"role": "assistant", "content": "second"},
            {"role": "user", "content": long}, {"role": "assistant", "content": "last"}]}),
    );
    assert!(asked.is_cut);
    let input = shown(&asked.input);
    assert_eq!(input.len(), 3);
    assert_eq!(input[0], "system: [2 earlier messages left out]");
    assert!(input[1].ends_with(&format!("… [cut: {} bytes in all]", long.len())));
    assert_eq!(input[2], "assistant: last");
    assert!(asked.bytes() < INPUT_BYTES_MAX + 1_024, "{}", asked.bytes());
    // Many small ones count more than their text.
    let many: Vec<Value> = (0..5_000)
        .map(|_| json!({"role": "user", "content": [{"type": "text", "text": "x"}]}))
        .collect();
    let asked = read(
        Dialect::OpenaiChat,
        &json!({"model": "m", "messages": many}),
    );
    assert!(asked.input.len() < 1_000 && asked.is_cut);
    let schema = json!({"type": "object", "description": "d".repeat(TOOLS_BYTES_MAX)});
    let tools = json!([{"type": "function", "function": {"name": "wide", "parameters": schema}},
        {"type": "function", "function": {"name": "next"}}]);
    let asked = read(
        Dialect::OpenaiChat,
        &json!({"model": "m", "messages": [], "tools": tools}),
    );
    assert_eq!(
        described(&asked.tools),
        ["function wide - -", "function next - -"]
    );
    assert!(asked.is_cut);
}

#[test]
fn of_many_prompts_only_the_newest_are_remembered() {
    let prompts = vec![""; asked::INPUT_MESSAGES_MAX + 10];
    let body = json!({"model": "m", "prompt": prompts}).to_string();
    let call = decode(Dialect::OpenaiCompletions, body.into()).unwrap();
    let places = asked::Places::of(&call).unwrap();
    assert_eq!(places.messages.len(), asked::INPUT_MESSAGES_MAX);
    assert_eq!(places.earlier, 10);
    let read = asked(&call);
    let told = read.input.len() - 1;
    let earlier = format!(
        "system: [{} earlier messages left out]",
        prompts.len() - told
    );
    assert!(read.is_cut);
    assert_eq!(shown(&read.input)[0], earlier);
}

#[test]
fn what_stands_within_a_part_of_a_result_is_not_read() {
    let result =
        |content: Value| json!({"type": "tool_result", "tool_use_id": "t", "content": content});
    let text = json!([{"type": "text", "text": "deep"}]);
    let asked = read(
        Dialect::AnthropicMessages,
        &json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [
            result(json!([result(text), {"type": "text", "text": "near"}])),
            result(json!([[["list"]], {"content": {"content": []}}])),
        ]}]}),
    );
    assert_eq!(
        shown(&asked.input),
        ["user: t->[tool_result left out]\nnear | t->[[\"list\"]]\n{\"content\":{\"content\":[]}}"]
    );
    let body = json!({"systemInstruction": {"parts": [{"text": "near"}, {"parts": [{"text": "deep"}]}]}, "contents": []});
    let call = crate::dialect::decode_for(Dialect::Gemini, body.to_string().into(), Some("m"));
    let instructions = super::asked(&call.unwrap()).instructions;
    assert_eq!(instructions.iter().map(part).collect::<Vec<_>>(), ["near"]);
}

#[test]
fn half_a_surrogate_pair_costs_no_more_than_itself() {
    let raw = r#"a\n\"\ud83d\u00e9\ude00 \ud83d\ude00é\ud83d"#;
    let told = "a\n\"\u{fffd}é\u{fffd} 😀é\u{fffd}";
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"{raw}"}},{{"role":"user","content":[{{"type":"text","text":"{raw}"}}]}}]}}"#
    );
    let asked = asked(&decode(Dialect::OpenaiChat, body.into()).unwrap());
    let said = format!("user: {told}");
    assert_eq!(shown(&asked.input), [&*said, &*said]);
    // What is cut in the middle of a pair would look the same: at an end it is left out.
    let body = format!(r#"{{"choices":[{{"index":0,"message":{{"content":"{raw}."}}}}]}}"#);
    let said = answer(Dialect::OpenaiChat, &body);
    assert_eq!(shown(&said.output), [format!("assistant: {told}.")]);
}

/// All that is kept of an answer.
const ALL: Keep = Keep {
    calls: true,
    text: true,
    beginning: true,
};

/// What is kept of one that nobody looks at but to tell it.
const TOLD: Keep = Keep {
    calls: false,
    text: false,
    beginning: true,
};

fn given(dialect: Dialect, keep: Keep, body: &str) -> Given {
    let mut reader = AnswerReader::new(dialect);
    reader.keep(keep);
    reader.body(body.as_bytes());
    *reader.finish(true).given.unwrap()
}

#[test]
fn an_answer_is_bounded_as_a_whole_and_more_so_where_it_is_only_told() {
    let content = "x".repeat(GIVEN_BYTES_MAX - 10);
    let calls = json!([{"id": "c1", "type": "function", "function": {"name": "find", "arguments": content}}]);
    let choice = |index| json!({"index": index, "message": {"role": "assistant", "content": content, "tool_calls": calls}});
    let body = json!({"choices": [choice(0), choice(1)]}).to_string();
    for (keep, most) in [(ALL, GIVEN_BYTES_MAX), (TOLD, 2 * OUTPUT_BYTES_MAX)] {
        let given = given(Dialect::OpenaiChat, keep, &body);
        let texts = given.beginnings().map(|(_, text)| text.len());
        let calls = given
            .calls_begun()
            .iter()
            .map(|call| call.beginning().len());
        let kept = texts.chain(calls).sum::<usize>();
        assert_eq!(kept, most + 1);
        let told = answered(Dialect::OpenaiChat, &given, None);
        assert!(told.is_cut && told.bytes() < OUTPUT_BYTES_MAX + 1_024);
    }
    // Escapes take room: where that leaves less than would be told, a mark says so.
    let content = "\\u0041".repeat(OUTPUT_BYTES_MAX);
    let body = format!(r#"{{"choices":[{{"index":0,"message":{{"content":"{content}"}}}}]}}"#);
    let given = given(Dialect::OpenaiChat, TOLD, &body);
    let told = answered(Dialect::OpenaiChat, &given, None);
    let [Part::Text(text), Part::Text(mark)] = &told.output[0].parts[..] else {
        panic!("a text and a mark")
    };
    assert!(told.is_cut && text.starts_with("AAA"));
    assert_eq!(mark, "[the rest left out]");
}

#[test]
fn what_is_kept_to_be_told_is_nothing_else() {
    let body = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "I will.",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}]}}]});
    let chat = given(Dialect::OpenaiChat, TOLD, &body.to_string());
    let body = json!({"choices": [{"index": 0, "text": "upon", "finish_reason": "stop"}]});
    let completion = given(Dialect::OpenaiCompletions, ALL, &body.to_string());
    for given in [chat, completion] {
        assert!(given.beginnings().next().is_some());
        assert!(given.texts().next().is_none() && given.calls().is_empty());
        assert_eq!((given.traces().count(), &*given.items()), (0, &b"[]"[..]));
    }
}

fn answer(dialect: Dialect, body: &str) -> Answered {
    let mut reader = AnswerReader::new(dialect);
    reader.keep(ALL);
    if body.starts_with('{') {
        reader.body(body.as_bytes());
    } else {
        for event in body.split_inclusive("\n\n") {
            reader.event(event.as_bytes());
        }
    }
    let answer = reader.finish(true);
    answered(dialect, &answer.given.unwrap(), answer.finish.as_deref())
}

#[test]
fn answers_are_read_choice_by_choice() {
    let body = json!({"choices": [
        {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "I will.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}]}},
        {"index": 1, "finish_reason": "stop", "message": {"role": "assistant", "content": "No."}}]});
    let said = answer(Dialect::OpenaiChat, &body.to_string());
    assert_eq!(
        shown(&said.output),
        ["assistant: I will. | c1=find({})", "assistant: No."]
    );
    assert_eq!(said.arguments_of("c1"), Some("{}"));
    let body = json!({"choices": [{"index": 0, "text": "upon", "finish_reason": "stop"}]});
    let said = answer(Dialect::OpenaiCompletions, &body.to_string());
    assert_eq!(shown(&said.output), ["assistant: upon"]);
    assert_eq!(said.output[0].finish.as_deref(), Some("stop"));
    let body = json!({"id": "m", "stop_reason": "tool_use", "content": [{"type": "text", "text": "I will."},
        {"type": "tool_use", "id": "t1", "name": "find", "input": {"q": 1}}]});
    let said = answer(Dialect::AnthropicMessages, &body.to_string());
    assert_eq!(
        shown(&said.output),
        ["assistant: I will. | t1=find({\"q\":1})"]
    );
    let stream = "data: {\"choices\":[{\"text\":\"up\",\"index\":0}]}\n\ndata: {\"choices\":[{\"text\":\"on\",\"index\":0}]}\n\ndata: [DONE]\n\n";
    let said = answer(Dialect::OpenaiCompletions, stream);
    assert_eq!(shown(&said.output), ["assistant: upon"]);
}

#[test]
fn of_a_long_answer_the_beginning_is_told() {
    for piece in ["é\\n", "\\ud83d\\ude00", "plain text "] {
        let text = piece.repeat(GIVEN_BYTES_MAX / piece.len() + 10);
        let body =
            format!("{{\"choices\":[{{\"index\":0,\"message\":{{\"content\":\"{text}\"}}}}]}}");
        let said = answer(Dialect::OpenaiChat, &body);
        let [message] = &said.output[..] else {
            panic!("one message")
        };
        let told = part(&message.parts[0]);
        assert!(said.is_cut && told.contains("… [cut: "));
        assert!(told.len() > OUTPUT_BYTES_MAX / 2 && told.len() <= OUTPUT_BYTES_MAX + 64);
    }
}
