use super::*;
use proptest::prelude::*;

/// Vectors that the makers of the format publish with their decoders.
const EMPTY: &[u8] = b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2H\xeb}\x98\xc8\xff";
const BYTE: &[u8] = b"\x00\x00\x00\x17\x00\x00\x00\x07)\x86\x01X\x04byte\x02\xff\xc2\xf8i\xdc";
const SHORT: &[u8] = b"\x00\x00\x00\x19\x00\x00\x00\tq\x0e\x92>\x05short\x03\xff\xff\xb2|\xb6\xcc";

fn json_vector() -> Vec<u8> {
    let digits = "0000003d0000002007fd83960c636f6e74656e742d747970650700106170706c69636174696f6e2f6a73\
                  6f6e7b27666f6f273a27626172277d8d9c08b1";
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(digit).collect()
}

/// A frame of text headers.
pub fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.put_u8(u8::try_from(name.len()).unwrap());
        head.put_slice(name.as_bytes());
        head.put_u8(7);
        head.put_u16(u16::try_from(value.len()).unwrap());
        head.put_slice(value.as_bytes());
    }
    let mut frame = Vec::new();
    frame.put_u32(u32::try_from(16 + head.len() + payload.len()).unwrap());
    frame.put_u32(u32::try_from(head.len()).unwrap());
    frame.put_u32(crc32fast::hash(&frame));
    frame.put_slice(&head);
    frame.put_slice(payload);
    frame.put_u32(crc32fast::hash(&frame));
    frame
}

fn event(name: &str, payload: &str) -> Vec<u8> {
    let headers = [
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    frame(&headers, payload.as_bytes())
}

fn read(bytes: &[u8]) -> (String, Result<(), FrameError>) {
    let mut decoder = Decoder::default();
    let mut out = BytesMut::new();
    decoder.push(bytes);
    let read = events(&mut decoder, &mut out).and_then(|()| decoder.end());
    (String::from_utf8(out.to_vec()).unwrap(), read)
}

#[test]
fn published_frames_are_read() {
    let mut decoder = Decoder::default();
    decoder.push(&[EMPTY, BYTE, SHORT, &json_vector()].concat());
    for _ in 0..3 {
        let frame = decoder.next_frame().unwrap().unwrap();
        assert!(frame.payload.is_empty());
        assert_eq!(frame.header("byte"), Ok(None), "it is no text");
    }
    let frame = decoder.next_frame().unwrap().unwrap();
    assert_eq!(frame.header("content-type"), Ok(Some("application/json")));
    assert_eq!(&*frame.payload, b"{'foo':'bar'}");
    assert_eq!(decoder.next_frame(), Ok(None));
    assert_eq!(decoder.end(), Ok(()));
}

#[test]
fn frames_become_events_that_name_themselves() {
    let exception = [
        (":message-type", "exception"),
        (":exception-type", "throttlingException"),
    ];
    let error = [
        (":message-type", "error"),
        (":error-code", "Internal\""),
        (":error-message", "Sorry."),
    ];
    let bytes = [
        event("initial-response", "{}"),
        event("messageStart", "{\"role\":\n\"assistant\"}"),
        event("messageStop", ""),
        frame(&exception, b" {\"message\":\"Too fast.\"}"),
        frame(&exception, b"{ }"),
        frame(&error, b""),
    ];
    let (text, read) = read(&bytes.concat());
    assert_eq!(read, Ok(()));
    let expected = "data: {\"messageStart\":{\"role\": \"assistant\"}}\n\n\
         data: {\"messageStop\":{}}\n\n\
         data: {\"error\":{\"type\":\"throttlingException\",\"message\":\"Too fast.\"}}\n\n\
         data: {\"error\":{\"type\":\"throttlingException\"}}\n\n\
         data: {\"error\":{\"type\":\"Internal\\\"\",\"message\":\"Sorry.\"}}\n\n";
    assert_eq!(text, expected);
}

#[test]
fn what_makes_no_sense_is_an_error_for_good() {
    let whole = event("messageStop", "{}");
    let nameless = frame(
        &[(":message-type", "event"), (":event-type", "a\nb")],
        b"{}",
    );
    assert_eq!(read(&nameless).1, Err(FrameError::Headers));
    assert_eq!(read(&frame(&[], b"{}")).1, Err(FrameError::Headers));
    assert_eq!(read(&whole[..whole.len() - 1]).1, Err(FrameError::CutShort));
    let mut long = whole.clone();
    long[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    let sum = crc32fast::hash(&long[..8]).to_be_bytes();
    long[8..12].copy_from_slice(&sum);
    assert_eq!(read(&long).1, Err(FrameError::Length));
    // What came whole before it is told; the fault stays.
    let mut decoder = Decoder::default();
    let mut out = BytesMut::new();
    decoder.push(&[whole.clone(), nameless, whole.clone()].concat());
    assert_eq!(events(&mut decoder, &mut out), Err(FrameError::Headers));
    assert_eq!(&*out, b"data: {\"messageStop\":{}}\n\n");
    decoder.push(&whole);
    assert_eq!(events(&mut decoder, &mut out), Err(FrameError::Headers));
    assert_eq!(decoder.end(), Err(FrameError::Headers));
    let mut decoder = Decoder::default();
    decoder.push(&long);
    assert_eq!(decoder.next_frame(), Err(FrameError::Length));
    decoder.push(&whole);
    assert_eq!(decoder.next_frame(), Err(FrameError::Length));
    assert_eq!(decoder.end(), Err(FrameError::Length));
}

proptest! {
    #[test]
    fn a_flipped_bit_is_never_read(at in 0_usize..70, bit in 0_u8..8) {
        let mut bytes = event("messageStop", "{\"stopReason\":\"end_turn\"}");
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let (text, read) = read(&bytes);
        prop_assert!(read.is_err());
        prop_assert_eq!(text, "");
    }

    #[test]
    fn the_same_is_read_wherever_the_network_cuts(
        payloads in prop::collection::vec("[a-z]{0,40}", 0..6),
        sizes in prop::collection::vec(1_usize..40, 1..8),
    ) {
        let bytes: Vec<u8> = payloads
            .iter()
            .flat_map(|text| event("contentBlockDelta", &format!("{{\"delta\":\"{text}\"}}")))
            .collect();
        let (whole, _) = read(&bytes);
        let mut decoder = Decoder::default();
        let mut out = BytesMut::new();
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            decoder.push(piece);
            events(&mut decoder, &mut out).unwrap();
            rest = after;
        }
        prop_assert_eq!(decoder.end(), Ok(()));
        prop_assert_eq!(whole.as_bytes(), &out[..]);
    }
}
