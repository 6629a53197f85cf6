use super::*;

const BODY: &str = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1}}"#;

#[test]
fn one_chunk_is_not_copied() {
    let chunk = Bytes::from_static(BODY.as_bytes());
    let mut buffer = BodyBuffer::new(Dialect::OpenaiChat, None);
    assert_eq!(buffer.push(chunk.clone()), Kept::Waiting);
    let (body, answer) = buffer.finish(true);
    assert_eq!(body.as_ptr(), chunk.as_ptr());
    assert!(answer.complete && answer.usage.is_some());
}

#[test]
fn many_chunks_give_the_same_body_and_answer() {
    let mut buffer = BodyBuffer::new(Dialect::OpenaiChat, Some(u64::MAX));
    for byte in BODY.as_bytes() {
        assert_eq!(buffer.push(Bytes::copy_from_slice(&[*byte])), Kept::Waiting);
    }
    let (body, answer) = buffer.finish(true);
    assert_eq!(body, BODY);
    assert_eq!(answer.usage.unwrap().all_input(), 2);
}

#[test]
fn a_body_that_is_too_long_passes_unread_and_counts_in_full() {
    let chunk = Bytes::from(vec![b' '; ANSWER_BYTES_MAX / 2]);
    let mut buffer = BodyBuffer::new(Dialect::OpenaiChat, None);
    assert_eq!(buffer.push(chunk.clone()), Kept::Waiting);
    assert_eq!(buffer.push(chunk), Kept::Waiting);
    let Kept::Through(held) = buffer.push(Bytes::from_static(b"x")) else {
        panic!("it is beyond the bound");
    };
    assert_eq!(held.len(), ANSWER_BYTES_MAX + 1);
    let last = Bytes::from_static(b"yz");
    assert_eq!(buffer.push(last.clone()), Kept::Through(last));
    let (body, answer) = buffer.finish(true);
    assert!(body.is_empty() && !answer.complete);
    assert_eq!(answer.visible_bytes, ANSWER_BYTES_MAX as u64 + 3);
}
