//! Who gets the spans: for each exporter a bounded queue of written spans, and a task that posts them.
//!
//! Spans are written once for all exporters of one style. A receiver that is slow or gone fills its own
//! queue, whose newest spans are dropped and counted; nobody waits for it.

mod post;

use super::encode::{Style, encode};
use super::item::{Belongs, Item};
use super::wire::Wire;
use crate::config::{
    Conventions, HeaderText, KeyPlace, ProjectPlace, TraceExporter, TraceProtocol, TraceSettings,
};
use crate::ops::metrics::Metrics;
use crate::stack::upstream::PoolError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;
use post::Post;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Written spans that wait for one exporter, in bytes, whatever its `queue`.
const MAX_QUEUE_BYTES: usize = 64 << 20;
/// The largest post, in bytes; receivers commonly refuse more than 4 MiB.
const MAX_POST_BYTES: usize = 3 << 20;
/// How long exporters are waited for when the gateway stops.
const FINISH: Duration = Duration::from_secs(4);

/// All exporters of one configuration.
#[derive(Default)]
pub struct Exporting {
    exporters: Vec<Arc<Exporter>>,
    /// Some of them ask for what calls say.
    asks_content: bool,
}

/// One exporter.
pub struct Exporter {
    config: TraceExporter,
    style: Style,
    post: Post,
    /// `Resource`, as each post begins with.
    resource: Vec<u8>,
    queue: Mutex<Queue>,
    news: Notify,
}

#[derive(Default)]
struct Queue {
    written: VecDeque<Written>,
    spans: usize,
    bytes: usize,
    dropped: u64,
}

/// Spans of one item.
#[derive(Clone)]
struct Written {
    bytes: Bytes,
    spans: usize,
}

impl Exporting {
    /// Makes the exporters ready. Those that did not change keep their queues.
    ///
    /// # Errors
    /// A CA file cannot be used.
    pub fn new(
        settings: &TraceSettings,
        before: Option<&Self>,
    ) -> Result<Self, (Arc<str>, PoolError)> {
        let conventions = settings.conventions(&|name| std::env::var(name).ok());
        let exporters = settings.exporters.iter().map(|config| {
            let known = before.into_iter().flat_map(|before| &before.exporters);
            let resource = resource_of(config, &settings.service);
            let mut same = known.filter(|known| {
                known.config == *config
                    && known.resource == resource
                    && known.style.conventions == conventions
            });
            match same.next() {
                Some(same) => Ok(Arc::clone(same)),
                None => Exporter::new(config, conventions, resource)
                    .map(Arc::new)
                    .map_err(|error| (Arc::clone(&config.name), error)),
            }
        });
        Ok(Self {
            exporters: exporters.collect::<Result<_, _>>()?,
            asks_content: settings.exporters.iter().any(|config| config.content),
        })
    }

    /// Nobody gets spans.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.exporters.is_empty()
    }

    /// Somebody gets the spans of this trace.
    #[must_use]
    pub fn takes(&self, belongs: Belongs) -> bool {
        self.exporters
            .iter()
            .any(|exporter| exporter.takes(belongs))
    }

    /// Some exporter asks for what calls say.
    #[must_use]
    pub const fn asks_content(&self) -> bool {
        self.asks_content
    }

    /// Some exporter asks for it that gets the spans of this trace.
    #[must_use]
    pub fn tells(&self, belongs: Belongs) -> bool {
        let mut asking = self.exporters.iter().filter(|one| one.style.content);
        asking.any(|exporter| exporter.takes(belongs))
    }

    /// Writes what is over, once for each style, and puts it into the queues.
    pub(super) fn hand_over(&self, over: Vec<Item>) {
        let mut written: Vec<(Style, Written)> = Vec::with_capacity(1);
        for item in over {
            written.clear();
            let belongs = item.belongs();
            for exporter in &self.exporters {
                if !exporter.takes(belongs) {
                    continue;
                }
                let style = exporter.style;
                let known = written.iter().find(|(known, _)| *known == style);
                let spans = match known {
                    Some((_, spans)) => spans.clone(),
                    None => {
                        let mut wire = Wire(Vec::with_capacity(2_048));
                        encode(&item, style, &mut wire);
                        let spans = Written {
                            bytes: wire.0.into(),
                            spans: item.spans(),
                        };
                        written.push((style, spans.clone()));
                        spans
                    }
                };
                exporter.queue(spans);
            }
        }
    }
}

impl Exporter {
    fn new(
        config: &TraceExporter,
        conventions: Conventions,
        resource: Vec<u8>,
    ) -> Result<Self, PoolError> {
        Ok(Self {
            post: Post::new(config, headers_of(config))?,
            style: Style {
                vocabulary: config.vocabulary,
                conventions,
                content: config.content,
            },
            resource,
            queue: Mutex::default(),
            news: Notify::new(),
            config: config.clone(),
        })
    }

    /// The caller's decision holds; else a share of the traces, the same for all spans of one.
    fn takes(&self, belongs: Belongs) -> bool {
        belongs.sampled.unwrap_or_else(|| {
            let draw = (u128::from(super::half(belongs.trace)) * 1_000_000) >> 64;
            draw < u128::from(self.config.sample)
        })
    }

    fn queue(&self, written: Written) {
        let mut queue = self.queue.lock();
        let spans = queue.spans + written.spans;
        let bytes = queue.bytes + written.bytes.len();
        if spans > self.config.queue || bytes > MAX_QUEUE_BYTES {
            queue.dropped += written.spans as u64;
            return;
        }
        (queue.spans, queue.bytes) = (spans, bytes);
        queue.written.push_back(written);
        let is_much = spans >= self.config.batch;
        drop(queue);
        if is_much {
            self.news.notify_one();
        }
    }

    /// Spans for one post, and how many were dropped since the last.
    fn take(&self) -> (Vec<Written>, u64) {
        let mut queue = self.queue.lock();
        let (mut taken, mut spans, mut bytes) = (Vec::new(), 0, 0);
        while let Some(next) = queue.written.front() {
            let fits = spans + next.spans <= self.config.batch
                && bytes + next.bytes.len() <= MAX_POST_BYTES;
            if !taken.is_empty() && !fits {
                break;
            }
            (spans, bytes) = (spans + next.spans, bytes + next.bytes.len());
            taken.extend(queue.written.pop_front());
        }
        queue.spans -= spans;
        queue.bytes -= bytes;
        (taken, std::mem::take(&mut queue.dropped))
    }

    /// `ExportTraceServiceRequest`.
    fn message(&self, written: &[Written]) -> Bytes {
        let spans: usize = written.iter().map(|written| written.bytes.len()).sum();
        let mut wire = Wire(Vec::with_capacity(spans + self.resource.len() + 64));
        wire.message(1, |out| {
            out.bytes(1, &self.resource);
            out.message(2, |out| {
                out.message(1, |scope| {
                    scope.bytes(1, b"bursar");
                    scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
                });
                for written in written {
                    out.0.extend_from_slice(&written.bytes);
                }
            });
        });
        wire.0.into()
    }

    /// Posts what there is, again and again, until it is stopped; then what is left, once.
    async fn work(self: Arc<Self>, metrics: Arc<Metrics>, stop: CancellationToken) {
        let name = &*self.config.name;
        let mut is_down = false;
        loop {
            let stops = tokio::select! {
                () = tokio::time::sleep(self.config.every) => false,
                () = self.news.notified() => false,
                () = stop.cancelled() => true,
            };
            loop {
                let (taken, dropped) = self.take();
                metrics.traces.dropped(name, "queue", dropped);
                if taken.is_empty() {
                    break;
                }
                let spans = taken.iter().map(|written| written.spans as u64).sum();
                let sent = self.post.send(self.message(&taken), &metrics, &stop).await;
                match &sent {
                    Ok(rejected) => {
                        metrics
                            .traces
                            .dropped(name, "rejected", (*rejected).min(spans));
                        metrics
                            .traces
                            .exported(name, spans.saturating_sub(*rejected));
                    }
                    Err(why) => {
                        metrics.traces.dropped(name, "failed", spans);
                        // Once for each time that it goes down.
                        if !is_down {
                            tracing::warn!(
                                exporter = name,
                                why,
                                spans,
                                "spans could not be exported"
                            );
                        }
                    }
                }
                is_down = sent.is_err();
                if is_down && stops {
                    break;
                }
            }
            if stops {
                let (left, dropped) = self.take_all();
                metrics.traces.dropped(name, "failed", left);
                metrics.traces.dropped(name, "queue", dropped);
                return;
            }
        }
    }

    fn take_all(&self) -> (u64, u64) {
        let mut queue = self.queue.lock();
        let all = std::mem::take(&mut *queue);
        (all.spans as u64, all.dropped)
    }
}

/// `Resource`: who reports.
fn resource_of(config: &TraceExporter, service: &str) -> Vec<u8> {
    let mut wire = Wire::default();
    wire.text(1, "service.name", service);
    wire.text(1, "service.version", env!("CARGO_PKG_VERSION"));
    if let (ProjectPlace::Resource(name), Some(project)) = (config.preset.project, &config.project)
    {
        wire.text(1, name, project);
    }
    for (name, value) in &config.resource {
        wire.text(1, name, value);
    }
    wire.0
}

fn headers_of(config: &TraceExporter) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let kind = match config.protocol {
        TraceProtocol::Http => "application/x-protobuf",
        TraceProtocol::Grpc => "application/grpc",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let agent = concat!("bursar/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    if config.protocol == TraceProtocol::Grpc {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    for (name, value) in config.preset.headers {
        let name = HeaderName::from_static(name);
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let (ProjectPlace::Header(name), Some(project)) = (config.preset.project, &config.project)
        && let Ok(project) = HeaderValue::from_str(project)
    {
        headers.insert(HeaderName::from_static(name), project);
    }
    let key = config.api_key.as_ref().and_then(|key| key.expose());
    let placed = key.and_then(|key| match config.preset.key {
        KeyPlace::None => None,
        KeyPlace::Bearer => Some((header::AUTHORIZATION, format!("Bearer {key}"))),
        KeyPlace::Basic => {
            let key = STANDARD.encode(key);
            Some((header::AUTHORIZATION, format!("Basic {key}")))
        }
        KeyPlace::Header(name) => Some((HeaderName::from_static(name), key.to_owned())),
        KeyPlace::Sentry => Some((
            HeaderName::from_static("x-sentry-auth"),
            format!("sentry sentry_key={key}"),
        )),
    });
    if let Some((name, text)) = placed
        && let Ok(mut value) = HeaderValue::from_str(&text)
    {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    for (name, text) in &config.headers {
        let value = match text {
            HeaderText::Plain(value) => Some(value.clone()),
            HeaderText::Secret(secret) => secret.expose().and_then(|text| {
                let mut value = HeaderValue::from_str(text).ok()?;
                value.set_sensitive(true);
                Some(value)
            }),
        };
        headers.extend(value.map(|value| (name.clone(), value)));
    }
    headers
}

/// The tasks that post.
#[derive(Default)]
pub(super) struct Workers {
    working: Vec<(Arc<Exporter>, CancellationToken)>,
    tasks: JoinSet<()>,
}

impl Workers {
    /// Every exporter in force has a task; those of exporters that are no longer end.
    pub(super) fn follow(&mut self, exporting: &Exporting, metrics: &Arc<Metrics>) {
        let wanted = &exporting.exporters;
        if self.working.len() == wanted.len()
            && (self.working.iter().zip(wanted)).all(|((known, _), one)| Arc::ptr_eq(known, one))
        {
            return;
        }
        let working = std::mem::take(&mut self.working);
        for (exporter, stop) in working {
            if wanted.iter().any(|wanted| Arc::ptr_eq(wanted, &exporter)) {
                self.working.push((exporter, stop));
            } else {
                stop.cancel();
            }
        }
        for exporter in wanted {
            if !self
                .working
                .iter()
                .any(|(known, _)| Arc::ptr_eq(known, exporter))
            {
                let stop = CancellationToken::new();
                let work = Arc::clone(exporter).work(Arc::clone(metrics), stop.clone());
                self.tasks.spawn(work);
                self.working.push((Arc::clone(exporter), stop));
            }
        }
        let order =
            |exporter: &Arc<Exporter>| wanted.iter().position(|one| Arc::ptr_eq(one, exporter));
        self.working.sort_by_key(|(exporter, _)| order(exporter));
        while self.tasks.try_join_next().is_some() {}
    }

    /// Posts what is left, for a bounded time.
    pub(super) async fn finish(mut self) {
        for (_, stop) in &self.working {
            stop.cancel();
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FINISH, all).await;
    }
}
