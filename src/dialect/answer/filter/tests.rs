use super::*;
use proptest::prelude::*;

const USAGE_ONLY: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
const HI: &str = ": hello\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn pass(filter: &mut StreamFilter, pieces: impl IntoIterator<Item = Bytes>) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        filter.push(piece);
        while let Some(bytes) = filter.pop() {
            out.extend_from_slice(&bytes);
        }
    }
    filter.end();
    while let Some(bytes) = filter.pop() {
        out.extend_from_slice(&bytes);
    }
    out
}

#[test]
fn whole_events_pass_as_the_same_bytes() {
    let chunk = Bytes::from([HI, STOP, DONE].concat());
    let mut filter = StreamFilter::new(Dialect::OpenaiChat, true);
    filter.push(chunk.clone());
    let passed = filter.pop().unwrap();
    assert_eq!(
        (passed.as_ptr(), passed.len()),
        (chunk.as_ptr(), chunk.len())
    );
    assert_eq!(filter.pop(), None);
}

#[test]
fn the_usage_only_chunk_is_taken_out_whole_and_nothing_else() {
    for end in ["\n", "\r\n", "\r"] {
        let text = [HI, STOP, USAGE_ONLY, DONE].concat().replace('\n', end);
        let expected = [HI, STOP, DONE].concat().replace('\n', end);
        for size in 1..=text.len() {
            let mut filter = StreamFilter::new(Dialect::OpenaiChat, true);
            let pieces = text.as_bytes().chunks(size).map(Bytes::copy_from_slice);
            let out = pass(&mut filter, pieces);
            assert_eq!(
                String::from_utf8(out).unwrap(),
                expected,
                "chunks of {size}"
            );
            assert!(filter.finish(true).usage.is_some());
        }
    }
}

#[test]
fn chunks_that_only_look_like_usage_pass() {
    let text = concat!(
        "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n",
        "data: {\"choices\":[],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{}}],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":1}}\n\n",
    );
    let mut filter = StreamFilter::new(Dialect::OpenaiChat, true);
    assert_eq!(pass(&mut filter, [Bytes::from(text)]), text.as_bytes());
}

#[test]
fn the_client_that_asked_for_usage_gets_it() {
    let text = [HI, STOP, USAGE_ONLY, DONE].concat();
    let mut filter = StreamFilter::new(Dialect::OpenaiChat, false);
    assert_eq!(
        pass(&mut filter, [Bytes::from(text.clone())]),
        text.as_bytes()
    );
}

#[test]
fn the_beginning_of_an_event_waits_for_its_rest() {
    let mut filter = StreamFilter::new(Dialect::OpenaiChat, false);
    let (head, tail) = HI.split_at(HI.len() - 3);
    filter.push(Bytes::from(head));
    assert_eq!(filter.pop().unwrap(), ": hello\n\n");
    assert_eq!(filter.pop(), None);
    filter.push(Bytes::from(tail));
    assert_eq!(filter.pop().unwrap(), HI[": hello\n\n".len()..]);
    filter.push(Bytes::from("data: [DO"));
    assert_eq!(filter.pop(), None);
    filter.end();
    assert_eq!(filter.pop().unwrap(), "data: [DO");
}

#[test]
fn a_missing_last_blank_line_loses_nothing() {
    let text = [HI, STOP, USAGE_ONLY.trim_end()].concat();
    let mut filter = StreamFilter::new(Dialect::OpenaiChat, false);
    assert_eq!(
        pass(&mut filter, [Bytes::from(text.clone())]),
        text.as_bytes()
    );
    assert!(filter.finish(false).usage.is_some());
    let mut hiding = StreamFilter::new(Dialect::OpenaiChat, true);
    assert_eq!(
        pass(&mut hiding, [Bytes::from(text)]),
        [HI, STOP].concat().as_bytes()
    );
}

#[test]
fn a_long_event_passes_in_pieces_and_is_still_read() {
    let long = "x".repeat(3 * HELD_BYTES_MAX);
    let text = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{long}\"}}}}]}}\n\n");
    let mut filter = StreamFilter::new(Dialect::OpenaiChat, true);
    let mut passed = 0;
    for piece in text.as_bytes().chunks(1000) {
        filter.push(Bytes::copy_from_slice(piece));
        while let Some(bytes) = filter.pop() {
            passed += bytes.len();
        }
        assert!(filter.partial.len() <= HELD_BYTES_MAX || passed > 0);
    }
    assert_eq!(passed, text.len());
    assert_eq!(filter.reader().visible_bytes(), long.len() as u64);
}

#[test]
fn an_event_beyond_the_bound_passes_unread_and_counts_in_full() {
    let mut filter = StreamFilter::new(Dialect::OpenaiChat, true);
    let piece = Bytes::from(vec![b'x'; EVENT_BYTES_MAX / 4]);
    let mut passed = 0;
    for _ in 0..6 {
        filter.push(piece.clone());
        while let Some(bytes) = filter.pop() {
            passed += bytes.len();
        }
        assert!(filter.partial.len() <= EVENT_BYTES_MAX);
    }
    filter.push(Bytes::from([b"\n\n", STOP.as_bytes()].concat()));
    while let Some(bytes) = filter.pop() {
        passed += bytes.len();
    }
    assert_eq!(passed, 6 * piece.len() + 2 + STOP.len());
    assert_eq!(filter.reader().visible_bytes(), 6 * piece.len() as u64 + 2);
    assert_eq!(filter.finish(true).finish.as_deref(), Some("stop"));
}

#[test]
fn after_a_cut_the_client_gets_nothing_and_the_usage_is_still_read() {
    let mut filter = StreamFilter::new(Dialect::OpenaiChat, true);
    let (head, tail) = STOP.split_at(20);
    filter.push(Bytes::from([HI, head].concat()));
    let last = filter.cut(Cut::Length(None));
    assert_eq!(
        (filter.pop(), filter.cut(Cut::Length(None))),
        (None, Bytes::new())
    );
    let ending = last.strip_prefix(HI.as_bytes()).unwrap();
    assert!(ending.starts_with(b"data: {") && ending.ends_with(DONE.as_bytes()));
    let rest = Bytes::from([tail, USAGE_ONLY, DONE].concat());
    assert_eq!(pass(&mut filter, [rest]), b"");
    let answer = filter.finish(true);
    assert!(answer.complete && answer.usage.is_some());
}

#[test]
fn a_cut_inside_a_long_event_ends_it_first() {
    let mut filter = StreamFilter::new(Dialect::OpenaiChat, true);
    filter.push(Bytes::from(format!("data: {}", "x".repeat(HELD_BYTES_MAX))));
    assert!(filter.pop().is_some());
    assert!(filter.cut(Cut::Length(None)).starts_with(b"\n\ndata: {"));
}

/// A stream of events of all kinds, with the line ends given.
fn any_stream() -> impl Strategy<Value = (Dialect, String)> {
    let event = prop_oneof![
        Just(HI.to_owned()),
        Just(STOP.to_owned()),
        Just(USAGE_ONLY.to_owned()),
        Just(DONE.to_owned()),
        Just("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3}}}\n\n".to_owned()),
        Just("event: message_delta\ndata: {\"type\":\"message_delta\",\ndata: \"usage\":{\"output_tokens\":4}}\n\n".to_owned()),
        Just("event: response.completed\ndata: {\"response\":{\"usage\":{\"input_tokens\":1}}}\n\n".to_owned()),
        Just("\n".to_owned()),
        "[ -~é\n]{0,12}",
    ];
    let dialect = prop_oneof![
        Just(Dialect::OpenaiChat),
        Just(Dialect::OpenaiResponses),
        Just(Dialect::AnthropicMessages),
    ];
    let ends = prop_oneof![Just("\n"), Just("\r\n"), Just("\r")];
    (dialect, proptest::collection::vec((event, ends), 0..8)).prop_map(|(dialect, events)| {
        let events = events
            .into_iter()
            .map(|(event, end)| event.replace('\n', end));
        (dialect, events.collect())
    })
}

proptest! {
    #[test]
    fn chunking_changes_neither_the_bytes_nor_the_answer(
        (dialect, text) in any_stream(),
        hide in any::<bool>(),
        sizes in proptest::collection::vec(1_usize..40, 1..40),
    ) {
        let whole = Bytes::from(text);
        let mut at_once = StreamFilter::new(dialect, hide);
        let expected = pass(&mut at_once, [whole.clone()]);
        if !hide {
            prop_assert_eq!(&expected, &whole);
        }
        let (mut rest, mut pieces, mut sizes) = (whole, Vec::new(), sizes.into_iter().cycle());
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(1).min(rest.len());
            pieces.push(rest.split_to(size));
        }
        let mut split = StreamFilter::new(dialect, hide);
        prop_assert_eq!(pass(&mut split, pieces), expected);
        prop_assert_eq!(format!("{:?}", split.finish(true)), format!("{:?}", at_once.finish(true)));
    }
}
