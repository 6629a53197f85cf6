//! `[cache]` and `[idempotency]`.

use super::*;
use std::time::Duration;

#[test]
fn nothing_is_cached_unless_it_is_said() {
    assert_eq!(parsed("", "").cache, None);
    let usual = parsed("", "").idempotency;
    assert_eq!(usual, IdempotencySettings::default());
    assert_eq!(
        (usual.kept.ttl.as_secs(), usual.durable_answers),
        (86_400, false)
    );
}

#[test]
fn bounds_of_answers_given_again() {
    let config = parsed(
        "",
        "[cache]\nttl = \"1h\"\nmax_bytes = \"8MiB\"\n[idempotency]\nwindow = \"7d\"\ndurable_answers = true\n",
    );
    let cache = config.cache.unwrap();
    assert_eq!(cache.ttl, Duration::from_secs(3600));
    assert_eq!((cache.max_bytes, cache.max_answer), (8 << 20, 1 << 20));
    assert_eq!(config.idempotency.kept.ttl, Duration::from_secs(7 * 86_400));
    assert!(config.idempotency.durable_answers);
}

#[test]
fn what_cannot_be_meant_is_a_fault() {
    let faults = faults_of(&config(
        "",
        "[cache]\nttl = \"0s\"\nmax_bytes = \"1KiB\"\ntime = 1\n[idempotency]\nwindow = \"0s\"\ndurable_answers = true\n",
    ));
    let told = faults.join("\n");
    assert!(
        told.contains("one answer cannot be larger than `max_bytes`"),
        "{told}"
    );
    assert!(
        told.contains("without a `window` no answer is kept"),
        "{told}"
    );
    assert!(told.contains("`time`"), "{told}");
    assert_eq!(faults.len(), 4, "{told}");
}
