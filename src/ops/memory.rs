//! What this process takes of memory, as its allocator counts it. The store's C library has its own.

use super::metrics::Metrics;
use tikv_jemalloc_ctl::{epoch, stats};

/// Brings the gauges up to date.
pub(super) fn refresh(metrics: &Metrics) {
    // The figures are those of the last step of the epoch.
    if epoch::advance().is_err() {
        return;
    }
    let figures = [
        ("allocated", stats::allocated::read()),
        ("resident", stats::resident::read()),
    ];
    for (kind, bytes) in figures {
        if let Some(bytes) = bytes.ok().and_then(|bytes| i64::try_from(bytes).ok()) {
            metrics.memory.with_label_values(&[kind]).set(bytes);
        }
    }
}
