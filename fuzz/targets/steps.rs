//! What is recorded of a call's steps, as a store may give it back: it is read or refused, and what
//! was read fires the same again.
#![no_main]

use bursar::loops::{Rules, Watch, heading};
use libfuzzer_sys::fuzz_target;

/// Records as they follow each other: each with its length in front.
fn records(mut data: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (record, after) = rest.split_at(rest.len().min(usize::from(*length)));
        records.push(record);
        data = after;
    }
    records
}

fn replay(rules: &Rules, records: &[&[u8]]) -> Vec<String> {
    let mut watch = Watch::default();
    let told = records.iter().map(|record| {
        let told = watch.replay(rules, record);
        assert!(heading(record).is_ok() || told.is_err());
        format!("{told:?}")
    });
    told.collect()
}

fuzz_target!(|data: &[u8]| {
    let rules = Rules::default();
    let records = records(data);
    assert_eq!(replay(&rules, &records), replay(&rules, &records));
});
