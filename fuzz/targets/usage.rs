//! Usage objects and whole plain answers of every dialect: no input stops the reading.
#![no_main]

use bursar::dialect::Dialect;
use bursar::dialect::answer::AnswerReader;
use bursar::price::usage::{Shape, from_json};
use libfuzzer_sys::fuzz_target;

const SHAPES: [Shape; 4] = [
    Shape::OpenaiChat,
    Shape::OpenaiResponses,
    Shape::Anthropic,
    Shape::Gemini,
];
const DIALECTS: [Dialect; 6] = [
    Dialect::OpenaiChat,
    Dialect::OpenaiResponses,
    Dialect::OpenaiEmbeddings,
    Dialect::OpenaiCompletions,
    Dialect::AnthropicMessages,
    Dialect::Gemini,
];

fuzz_target!(|body: &[u8]| {
    for shape in SHAPES {
        if let Some(usage) = from_json(shape, body) {
            // Absurd counts must not overflow a sum into a small one.
            assert!(usage.all_input() >= usage.input);
            assert!(usage.all_output() >= usage.output);
        }
    }
    for dialect in DIALECTS {
        let mut reader = AnswerReader::new(dialect);
        reader.body(body);
        let visible = reader.visible_bytes();
        let answer = reader.finish(true);
        assert_eq!(answer.visible_bytes, visible);
    }
});
