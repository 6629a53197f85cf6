//! The scan: accepts what serde_json accepts (but for its named bounds), refuses what it refuses, and
//! gives ranges that lie within the body.
#![no_main]

use bursar::json::{Cursor, JsonError, Reason, strings};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;

fn scan(body: &[u8]) -> Result<std::ops::Range<usize>, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let value = cursor.skip()?;
    cursor.finish()?;
    Ok(value.at)
}

fuzz_target!(|body: &[u8]| {
    let ours = scan(body);
    let text = std::str::from_utf8(body);
    let theirs = text.is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    match ours {
        Ok(at) => {
            assert!(theirs, "accepted what is no JSON");
            assert!(at.end <= body.len());
            for text in strings(body, at) {
                drop(text);
            }
        }
        Err(JsonError { offset, reason }) => {
            assert!(offset <= body.len(), "{reason} beyond the end");
            assert!(!theirs || reason == Reason::Depth, "refused JSON: {reason}");
        }
    }
});
