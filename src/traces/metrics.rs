//! What is counted of spans. Exporters are few and named by configuration.

use prometheus::{IntCounterVec, Opts, Registry};

/// The counters.
pub struct TraceMetrics {
    exported: IntCounterVec,
    dropped: IntCounterVec,
    posts: IntCounterVec,
}

impl TraceMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// Two metrics of one name.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Self {
            exported: counter(
                "bursar_trace_spans_exported_total",
                "Spans that an exporter's receiver took",
                &["exporter"],
            )?,
            dropped: counter(
                "bursar_trace_spans_dropped_total",
                "Spans that never arrived, by why",
                &["exporter", "reason"],
            )?,
            posts: counter(
                "bursar_trace_posts_total",
                "Posts of spans, by how they went",
                &["exporter", "result"],
            )?,
        })
    }

    /// Spans arrived.
    pub fn exported(&self, exporter: &str, spans: u64) {
        self.exported.with_label_values(&[exporter]).inc_by(spans);
    }

    /// Spans were dropped: `gateway` (more than it keeps), `queue` (the exporter's is full), `failed` (given up),
    /// `rejected` (by the receiver).
    pub fn dropped(&self, exporter: &str, reason: &str, spans: u64) {
        if spans > 0 {
            let labels = [exporter, reason];
            self.dropped.with_label_values(&labels).inc_by(spans);
        }
    }

    /// A post went like this: `ok`, `again`, `failed`.
    pub fn posted(&self, exporter: &str, result: &str) {
        self.posts.with_label_values(&[exporter, result]).inc();
    }
}
