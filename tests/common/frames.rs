//! AWS's binary frames, made out of server-sent events whose data names its event.

use serde_json::Value;

/// A frame of text headers.
pub fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).expect("a short name"));
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        let length = u16::try_from(value.len()).expect("a short value");
        head.extend_from_slice(&length.to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).expect("a short frame").to_be_bytes();
    let mut frame = length(16 + head.len() + payload.len()).to_vec();
    frame.extend_from_slice(&length(head.len()));
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&head);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}

/// A stream of `data: {"NAME": PAYLOAD}` in frames.
pub fn framed(events: &str) -> Vec<u8> {
    let mut all = Vec::new();
    for data in events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
    {
        let event: Value = serde_json::from_str(data).expect("JSON");
        for (name, payload) in event.as_object().expect("an event") {
            let headers = [
                (":event-type", name.as_str()),
                (":content-type", "application/json"),
                (":message-type", "event"),
            ];
            all.extend_from_slice(&frame(&headers, payload.to_string().as_bytes()));
        }
    }
    all
}
