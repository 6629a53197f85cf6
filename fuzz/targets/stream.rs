//! Streams: wherever the network cuts them, the same bytes leave and the same is read out of them.
#![no_main]

use bursar::dialect::answer::{Cut, StreamFilter};
use bursar::dialect::{Answer, Dialect};
use bytes::Bytes;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const DIALECTS: [Dialect; 6] = [
    Dialect::OpenaiChat,
    Dialect::OpenaiResponses,
    Dialect::OpenaiCompletions,
    Dialect::AnthropicMessages,
    Dialect::Gemini,
    Dialect::Bedrock,
];

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    dialect: u8,
    hide_usage: bool,
    cuts: [u8; 8],
    stop_after: Option<u8>,
    body: &'a [u8],
}

/// The bytes that leave and what was read, for a body that comes in pieces of these sizes.
fn pass(input: &Input<'_>, sizes: &[usize], stop_after: Option<usize>) -> (Vec<u8>, Answer) {
    let dialect = DIALECTS[usize::from(input.dialect) % DIALECTS.len()];
    let mut filter = StreamFilter::new(dialect, input.hide_usage);
    let mut out = Vec::new();
    let mut rest = input.body;
    let mut sizes = sizes.iter().cycle();
    let mut pieces = 0;
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| *size)
            .clamp(1, rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        filter.push(Bytes::copy_from_slice(piece));
        pieces += 1;
        if stop_after == Some(pieces) {
            out.extend_from_slice(&filter.cut(Cut::Length(None)));
        }
        while let Some(bytes) = filter.pop() {
            out.extend_from_slice(&bytes);
        }
    }
    filter.end();
    while let Some(bytes) = filter.pop() {
        out.extend_from_slice(&bytes);
    }
    (out, filter.finish(true))
}

fuzz_target!(|input: Input<'_>| {
    let sizes = input.cuts.map(usize::from);
    let (whole, read) = pass(&input, &[input.body.len()], None);
    let (pieces, again) = pass(&input, &sizes, None);
    assert_eq!(format!("{read:?}"), format!("{again:?}"));
    if input.hide_usage {
        assert!(whole.len() <= input.body.len());
        assert_eq!(whole, pieces);
    } else {
        assert_eq!(whole, input.body);
        assert_eq!(pieces, input.body);
    }
    // Ended early, the same is read on for its usage.
    if let Some(stop) = input.stop_after {
        let (_, behind) = pass(&input, &sizes, Some(usize::from(stop)));
        assert_eq!(format!("{read:?}"), format!("{behind:?}"));
    }
});
