use super::*;
use crate::dialect::{Dialect, decode};
use serde_json::json;

fn call(text: &str) -> Call {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": text}]});
    decode(Dialect::OpenaiChat, body.to_string().into()).unwrap()
}

#[test]
fn what_finds_no_room_is_left_out_and_room_is_given_back() {
    let room = Room::default();
    let call = call(&"x".repeat(60_000));
    let mut kept = Vec::new();
    for _ in 0..MAX_CONTENT_BYTES / 60_000 + 50 {
        kept.push(Content::of(&call, &room));
        assert!(room.taken() <= MAX_CONTENT_BYTES);
    }
    let left_out = kept.iter().filter(|content| content.is_cut()).count();
    assert!((50..100).contains(&left_out), "{left_out}");
    let last = kept.last_mut().unwrap();
    assert!(last.asked.input.is_empty());
    last.answer(Answered::default());
    assert_eq!(last.tool("none").arguments, "");
    drop(kept);
    assert_eq!(room.taken(), 0);
}

#[test]
fn nothing_that_was_said_is_in_what_is_shown_of_it() {
    let content = Content::of(&call("a secret"), &Room::default());
    let shown = format!("{content:?} {:?} {:?}", content.asked, content.answered);
    assert!(!shown.contains("secret"), "{shown}");
}
