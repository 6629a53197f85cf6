//! THE MAP: the path of a call through Bursar, top to bottom.
//!
//! Stages talk through typed request extensions; each file says what it needs and what it adds.
//! Refusals travel back as [`Refused`] and become answers in one place, [`respond`].

pub mod admit;
pub mod again;
pub mod attribute;
pub mod authenticate;
pub mod body;
pub mod budget;
pub mod cache;
mod check;
pub mod decode;
pub mod elsewhere;
pub mod endpoint;
mod estimate;
pub mod failed;
pub mod gate;
mod headers;
pub mod held;
pub mod meter;
mod race;
pub mod record;
pub mod respond;
mod retry;
pub mod route;
pub mod socket;
pub mod span;
pub mod throttle;
mod tools;
pub mod trace;
pub mod upstream;
pub mod watch;

pub use crate::dialect::refusal::Code;
use crate::dialect::refusal::Refusal;
use crate::gateway::{Gateway, Live};
use body::AnswerBody;
use gate::GateLayer;
use http::{Extensions, HeaderMap, Request, Response};
use hyper::body::Incoming;
use respond::Arrival;
pub(crate) use retry::jittered;
use std::convert::Infallible;
use std::sync::Arc;
use tower::layer::layer_fn;
use tower::{Service, ServiceBuilder};

/// Builds the stack. Cloning it is cheap: one clone serves one connection.
pub fn build(
    gateway: &Arc<Gateway>,
) -> impl Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let gateway = || Arc::clone(gateway);
    // What is metered: the upstream stack.
    let metered = ServiceBuilder::new()
        // The same call once more, by its key: before it could be taken for a step of its task.
        .layer(layer_fn(|inner| again::Again::new(gateway(), inner)))
        // Before anything is worked out for it: a task that goes round in circles is stopped, asked
        // about or warned, whatever it calls; a notice to the model must stand in the bytes that are quoted.
        .layer(layer_fn(|inner| watch::Watch::new(gateway(), inner)))
        // The first stage that needs the model's name: everything behind it needs a provider.
        .layer(layer_fn(|inner| route::Routing::new(gateway(), inner)))
        // What was answered before costs nothing: behind the watch, which counts it all the same.
        .layer(layer_fn(|inner| cache::Cache::new(gateway(), inner)))
        // Money is set aside once it is known where the bytes go, and before any leaves.
        .layer(layer_fn(|inner| admit::Admit::new(gateway(), inner)))
        // Around the exchange, for it ends the hold by what came back; `record` is its pen.
        .layer(layer_fn(|inner| meter::Meter { inner }))
        // The bytes leave.
        .service(upstream::Send);
    ServiceBuilder::new()
        // Before all: each frame of a WebSocket takes the whole way down by itself.
        .layer(layer_fn(|inner| socket::Socket::new(gateway(), inner)))
        // Whatever is refused below leaves in the caller's dialect, with an id.
        .layer(layer_fn(|inner| respond::Respond::new(gateway(), inner)))
        // Before anything can fail, so that every answer belongs to a trace.
        .layer(GateLayer(trace::Continue))
        // Before a byte of the body is read: strangers cost nothing.
        .layer(GateLayer(authenticate::Authenticate))
        // One read of the body serves every later stage.
        .layer(layer_fn(|inner| decode::Decode { inner }))
        // Whose call it is may stand in the body; every refusal below says whose it was.
        .layer(layer_fn(|inner| {
            attribute::Attribute::new(gateway(), inner)
        }))
        // As soon as it is known whose call it is: what is refused below has a span too, and belongs to
        // its task's trace.
        .layer(layer_fn(|inner| span::Span::new(gateway(), inner)))
        // Throughput before budget: a flood must not reach the ledger.
        .layer(GateLayer(throttle::Throttle::default()))
        // Metered calls go on below; the rest (models, budget, named passthrough) ends here.
        .layer(layer_fn(|inner| {
            elsewhere::Elsewhere::new(gateway(), inner)
        }))
        .service(metered)
}

/// A refusal on its way back, with the headers that stages put on it.
#[derive(Debug)]
pub struct Refused {
    /// What is told.
    pub refusal: Box<Refusal>,
    /// Whose call it was.
    pub headers: HeaderMap,
}

impl Refused {
    /// A refusal that no account stands behind.
    #[must_use]
    pub fn new(code: Code, message: &str) -> Self {
        Refusal::new(code, message).into()
    }

    /// A fault of our own: the outside learns nothing of it, the log does.
    #[must_use]
    pub fn internal(why: &'static str) -> Self {
        tracing::error!(why, "a stage found the stack out of order");
        Self::new(Code::UpstreamError, "The gateway failed.").status(500)
    }

    /// Says so in the log. The caller is told, and the journal and the metrics tell operators: to the log
    /// it is routine.
    fn log(&self) {
        let refusal = &self.refusal;
        let (code, status) = (refusal.code().name(), refusal.status());
        tracing::debug!(code, status, limit = refusal.limit(), "a call was refused");
    }

    /// With another HTTP status.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        let Self { refusal, headers } = self;
        Self {
            refusal: Box::new(refusal.with_status(status)),
            headers,
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal: Box::new(refusal),
            headers: HeaderMap::new(),
        }
    }
}

/// What `respond` found out.
fn arrival(extensions: &Extensions) -> &Arrival {
    match extensions.get::<Arrival>() {
        Some(arrival) => arrival,
        None => unreachable!("respond stands before every stage"),
    }
}

/// The configuration that this call sees all its way.
fn live<B>(request: &Request<B>) -> Arc<Live> {
    Arc::clone(&arrival(request.extensions()).live)
}
