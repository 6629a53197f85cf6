//! What a provider asks its callers to wait: any header is a pause of bounded length or none.
#![no_main]

use bursar::stack::failed::{PAUSE_MAX, asked_pause};
use bursar::units::UnixMs;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

const NAMES: [HeaderName; 2] = [
    HeaderName::from_static("retry-after"),
    HeaderName::from_static("retry-after-ms"),
];

fuzz_target!(|data: &[u8]| {
    let Some((now, data)) = data.split_first_chunk() else {
        return;
    };
    let now = UnixMs(i64::from_le_bytes(*now));
    let mut headers = HeaderMap::new();
    for (name, value) in NAMES.into_iter().zip(data.split(|byte| *byte == 0)) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    }
    assert!(asked_pause(&headers, now).is_none_or(|pause| pause <= PAUSE_MAX));
});
