//! Requests: whatever is accepted leaves byte for byte when nothing is to be changed, and says
//! afterwards what was changed when something is.
#![no_main]

use bursar::dialect::{Call, Dialect, Edits, content, decode, rewrite};
use bursar::units::NanoUsd;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

const DIALECTS: [(Dialect, Option<&str>); 5] = [
    (Dialect::OpenaiChat, Some("max_completion_tokens")),
    (Dialect::OpenaiResponses, Some("max_output_tokens")),
    (Dialect::OpenaiEmbeddings, None),
    (Dialect::OpenaiCompletions, Some("max_tokens")),
    (Dialect::AnthropicMessages, Some("max_tokens")),
];

/// What a kind of provider wants otherwise than the caller said it: one output cap by its name, and the
/// dearest price that a router may choose.
fn habits(call: &Call) {
    if call.dialect != Dialect::OpenaiChat {
        return;
    }
    for field in ["max_tokens", "max_completion_tokens"] {
        for told in [None, Some(77)] {
            let edits = Edits {
                only_cap: Some(field),
                output_cap: told.map(|tokens| (field, tokens)),
                max_price: (!says_provider(call)).then_some([NanoUsd(1), NanoUsd(2_500_000_000)]),
                ..Edits::default()
            };
            let changed = rewrite(call, &edits);
            let again = decode(call.dialect, changed.clone());
            let again = again.unwrap_or_else(|error| panic!("{error}: {changed:?}"));
            // A name that counts as none with every server becomes the one that is heard.
            let alias = call.output_caps.first().and_then(|cap| cap.tokens);
            let asked = told.or(call.asked_output);
            let asked = asked.or(alias.filter(|_| call.output_caps.len() == 1));
            assert_eq!(again.asked_output, asked, "{changed:?}");
            assert_eq!(again.prompt.messages, call.prompt.messages);
        }
    }
}

fn says_provider(call: &Call) -> bool {
    call.selectors
        .surcharges
        .iter()
        .any(|field| field == "provider")
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let (dialect, cap) = DIALECTS[usize::from(*choice) % DIALECTS.len()];
    let body = Bytes::copy_from_slice(body);
    let Ok(call) = decode(dialect, body.clone()) else {
        return;
    };
    assert_eq!(rewrite(&call, &Edits::default()), body);
    assert!(call.prompt.text_bytes <= body.len() as u64 * 4);
    // Its three bounds are 96 KiB together; the last part of each may have a name and a mark more.
    assert!(content::asked(&call).bytes() <= 100 << 10);

    let edits = Edits {
        model: Some("other \"model\"".to_owned()),
        output_cap: cap.map(|field| (field, 77)),
        include_usage: true,
        no_parallel_tools: true,
        strip_foreign: true,
        ..Edits::default()
    };
    let changed = rewrite(&call, &edits);
    let again = decode(dialect, changed.clone());
    let again = again.unwrap_or_else(|error| panic!("{error}: {changed:?}"));
    assert_eq!(again.model, "other \"model\"");
    assert_eq!(again.stream, call.stream);
    assert!(!call.stream || again.usage_asked || dialect != Dialect::OpenaiChat);
    if cap.is_some() {
        assert_eq!(again.asked_output, Some(77), "{changed:?}");
        assert!(
            again
                .output_caps
                .iter()
                .all(|cap| cap.tokens.is_none_or(|tokens| tokens == 77))
        );
    }
    assert_eq!(again.prompt.messages, call.prompt.messages);
    assert_eq!(
        rewrite(&again, &edits),
        changed,
        "a second time changes nothing"
    );
    habits(&call);
});
