use super::{Shape, from_json};
use crate::dialect::Usage;
use crate::units::NanoUsd;
use proptest::prelude::*;

fn read(shape: Shape, object: &str) -> Usage {
    from_json(shape, object.as_bytes()).unwrap()
}

#[test]
fn openai_counts_cached_and_audio_inside_the_prompt() {
    let usage = read(
        Shape::OpenaiChat,
        r#"{"prompt_tokens":1000,"completion_tokens":50,"total_tokens":1050,"queue_time":0.05,
            "prompt_tokens_details":{"cached_tokens":600,"audio_tokens":100,"cache_write_tokens":50},
            "completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":10}}"#,
    );
    assert_eq!(
        usage,
        Usage {
            input: 250,
            cache_read: 600,
            cache_write_5m: 50,
            audio_input: 100,
            output: 40,
            reasoning: 20,
            audio_output: 10,
            ..Usage::default()
        }
    );
}

#[test]
fn responses_names_its_fields_otherwise() {
    let usage = read(
        Shape::OpenaiResponses,
        r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":40},"output_tokens":9,
            "output_tokens_details":{"reasoning_tokens":4},"total_tokens":109}"#,
    );
    assert_eq!((usage.input, usage.cache_read), (60, 40));
    assert_eq!((usage.output, usage.reasoning), (9, 4));
}

#[test]
fn xai_reasons_outside_the_completion_and_states_its_cost() {
    let usage = read(
        Shape::OpenaiChat,
        r#"{"prompt_tokens":12,"completion_tokens":1,"total_tokens":303,
            "prompt_tokens_details":{"text_tokens":12,"cached_tokens":11},
            "completion_tokens_details":{"reasoning_tokens":290},"cost_in_usd_ticks":1466250}"#,
    );
    assert_eq!((usage.output, usage.reasoning), (291, 290));
    assert_eq!(usage.stated_cost, Some(NanoUsd(146_625)));
}

#[test]
fn a_router_states_its_cost_and_the_upstreams_with_ones_own_key() {
    let plain = r#"{"prompt_tokens":1,"completion_tokens":1,"cost":1.13e-05,"is_byok":false,
        "cost_details":{"upstream_inference_cost":0.5}}"#;
    assert_eq!(
        read(Shape::OpenaiChat, plain).stated_cost,
        Some(NanoUsd(11_300))
    );
    let own_key = plain.replace("false", "true");
    assert_eq!(
        read(Shape::OpenaiChat, &own_key).stated_cost,
        Some(NanoUsd(500_011_300))
    );
    let object = r#"{"prompt_tokens":1,"cost":{"total_cost":0.006}}"#;
    assert_eq!(
        read(Shape::OpenaiChat, object).stated_cost,
        Some(NanoUsd(6_000_000))
    );
}

#[test]
fn deepseek_names_its_cache_hits() {
    let usage = read(
        Shape::OpenaiChat,
        r#"{"prompt_tokens":13,"completion_tokens":4,"total_tokens":17,
            "prompt_cache_hit_tokens":10,"prompt_cache_miss_tokens":3}"#,
    );
    assert_eq!((usage.input, usage.cache_read), (3, 10));
}

#[test]
fn anthropic_counts_its_cache_outside_the_input() {
    let usage = read(
        Shape::Anthropic,
        r#"{"input_tokens":6,"cache_creation_input_tokens":3337,"cache_read_input_tokens":6289,
            "cache_creation":{"ephemeral_5m_input_tokens":3068,"ephemeral_1h_input_tokens":200},
            "output_tokens":198,"output_tokens_details":{"thinking_tokens":7},"service_tier":"standard",
            "server_tool_use":{"web_search_requests":3,"web_fetch_requests":0}}"#,
    );
    assert_eq!((usage.input, usage.cache_read), (6, 6289));
    assert_eq!((usage.cache_write_5m, usage.cache_write_1h), (3137, 200));
    assert_eq!((usage.output, usage.reasoning), (198, 7));
    assert_eq!(usage.fees, [("web_search".to_owned(), 3)]);
    assert_eq!(usage.service_tier.as_deref(), Some("standard"));
}

#[test]
fn anthropic_iterations_are_the_usage_when_they_cover_it() {
    let usage = read(
        Shape::Anthropic,
        r#"{"input_tokens":30,"output_tokens":3,"iterations":[
            {"type":"message","input_tokens":10,"output_tokens":1},
            {"type":"advisor_message","model":"other","input_tokens":500,"output_tokens":50},
            {"type":"message","input_tokens":20,"output_tokens":2}]}"#,
    );
    assert_eq!((usage.input, usage.output), (0, 0));
    assert_eq!((usage.all_input(), usage.all_output()), (530, 53));
    assert_eq!(usage.others.len(), 3);
}

#[test]
fn anthropic_iterations_come_on_top_when_they_do_not() {
    let usage = read(
        Shape::Anthropic,
        r#"{"input_tokens":30,"output_tokens":3,"iterations":[
            {"type":"compaction","input_tokens":7,"output_tokens":1}]}"#,
    );
    assert_eq!((usage.input, usage.output), (30, 3));
    assert_eq!((usage.all_input(), usage.all_output()), (37, 4));
}

#[test]
fn gemini_thinks_outside_the_candidates() {
    let usage = read(
        Shape::Gemini,
        r#"{"promptTokenCount":100,"candidatesTokenCount":5,"thoughtsTokenCount":20,"toolUsePromptTokenCount":3,
            "totalTokenCount":128,"cachedContentTokenCount":40,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":70},{"modality":"AUDIO","tokenCount":30}],
            "cacheTokensDetails":[{"modality":"TEXT","tokenCount":30},{"modality":"AUDIO","tokenCount":10}]}"#,
    );
    assert_eq!((usage.input, usage.cache_read), (43, 30));
    assert_eq!((usage.audio_input, usage.audio_cache_read), (20, 10));
    assert_eq!((usage.output, usage.reasoning), (25, 20));
}

#[test]
fn what_holds_no_count_is_no_usage() {
    for shape in [
        Shape::OpenaiChat,
        Shape::OpenaiResponses,
        Shape::Anthropic,
        Shape::Gemini,
    ] {
        for object in [
            "null",
            "{}",
            "[]",
            "7",
            "",
            "{\"prompt_tokens\":-1}",
            "{\"input_tokens\":\"9\"}",
        ] {
            assert_eq!(
                from_json(shape, object.as_bytes()),
                None,
                "{shape:?} {object}"
            );
        }
    }
    let huge = br#"{"prompt_tokens":18446744073709551615,"completion_tokens":1}"#;
    assert_eq!(from_json(Shape::OpenaiChat, huge), None);
}

#[test]
fn a_whole_float_is_a_count() {
    let usage = read(
        Shape::OpenaiChat,
        r#"{"prompt_tokens":12.0,"completion_tokens":null}"#,
    );
    assert_eq!(usage.input, 12);
}

proptest! {
    #[test]
    fn input_parts_always_sum_to_the_prompt(
        prompt in 0_u64..1_000_000, cached in 0_u64..2_000_000, audio in 0_u64..2_000_000,
        image in 0_u64..2_000_000, written in 0_u64..2_000_000, cached_audio in 0_u64..2_000_000,
    ) {
        let object = format!(
            r#"{{"prompt_tokens":{prompt},"completion_tokens":1,"prompt_tokens_details":{{"cached_tokens":{cached},
            "audio_tokens":{audio},"image_tokens":{image},"cache_write_tokens":{written},
            "cached_tokens_details":{{"audio_tokens":{cached_audio}}}}}}}"#
        );
        prop_assert_eq!(read(Shape::OpenaiChat, &object).all_input(), prompt);
    }
}
