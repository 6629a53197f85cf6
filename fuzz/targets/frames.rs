//! AWS's binary frames: wherever the network cuts them, the same events are read out of them, and every event is
//! one line of JSON's making.
//!
//! The input: the sizes of the pieces, whether what follows is made a whole frame first, and the bytes.
#![no_main]

use bursar::aws::frames::{Decoder, FrameError, events};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

/// What was read, and how it ended.
fn read(bytes: &[u8], sizes: &[usize]) -> (BytesMut, Result<(), FrameError>) {
    let mut decoder = Decoder::default();
    let mut out = BytesMut::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).clamp(1, rest.len()));
        rest = after;
        decoder.push(piece);
        if let Err(error) = events(&mut decoder, &mut out) {
            assert_eq!(decoder.next_frame(), Err(error), "for good");
            return (out, Err(error));
        }
    }
    (out, decoder.end())
}

/// A frame around headers and a payload, so that the checksums are not what stops every input.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let (head, payload) = match bytes.split_first() {
        None => (&[][..], &[][..]),
        Some((first, rest)) => rest.split_at(usize::from(*first).min(rest.len())),
    };
    let sum = |bytes: &[u8]| crc32fast::hash(bytes).to_be_bytes();
    let length = |length: usize| u32::try_from(length).expect("short").to_be_bytes();
    let mut frame = length(16 + head.len() + payload.len()).to_vec();
    frame.extend_from_slice(&length(head.len()));
    frame.extend_from_slice(&sum(&frame));
    frame.extend_from_slice(head);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&sum(&frame));
    frame
}

fuzz_target!(|data: &[u8]| {
    let Some((&[is_framed, sizes @ ..], bytes)) = data.split_first_chunk::<5>() else {
        return;
    };
    let bytes = match is_framed & 1 {
        1 => framed(bytes),
        _ => bytes.to_vec(),
    };
    let whole = read(&bytes, &[bytes.len().max(1)]);
    assert_eq!(whole, read(&bytes, &sizes.map(usize::from)));
    let (out, _) = whole;
    assert!(out.is_empty() || out.ends_with(b"}\n\n"));
    for event in out[..].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        assert!(event.starts_with(b"data: {\""), "{event:?}");
    }
});
