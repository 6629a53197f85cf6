//! What operators see and do: probes, metrics, the API behind `bursar task`, `doubt` and `report`.
//!
//! [`gate`] says who may; each file below serves one part of the API; [`show`] says how things look.

pub mod accounts;
pub mod agents;
pub mod books;
pub mod crew;
pub mod deployment;
pub mod doubts;
pub mod escalations;
pub mod evidence;
pub mod failure;
pub mod fields;
pub mod gate;
mod memory;
pub mod metrics;
pub mod models;
pub mod request;
pub mod show;
pub mod standing;
pub mod stop;
pub mod tasks;

use crate::gateway::Gateway;
use crate::server::reload::Reloads;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use failure::Failure;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the routes need.
#[derive(Clone)]
pub struct Ops {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// Its reloads.
    pub reloads: Reloads,
    /// The file to reload from.
    pub config: Option<PathBuf>,
}

/// All routes of the `ops` listener.
pub fn router(gateway: &Arc<Gateway>, reloads: &Reloads, config: Option<&Path>) -> Router {
    let ops = Ops {
        gateway: Arc::clone(gateway),
        reloads: reloads.clone(),
        config: config.map(Path::to_owned),
    };
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(text))
        .route("/api/tasks", get(tasks::list).post(tasks::open))
        .route("/api/tasks/{id}", get(tasks::show))
        .route("/api/tasks/{id}/top-up", post(tasks::top_up))
        .route("/api/tasks/{id}/suspend", post(tasks::suspend))
        .route("/api/tasks/{id}/resume", post(tasks::resume))
        .route("/api/tasks/{id}/close", post(tasks::close))
        .route("/api/suspend", post(stop::suspend))
        .route("/api/resume", post(stop::resume))
        .route("/api/accounts", get(accounts::list))
        .route("/api/agents", get(agents::list))
        .route("/api/escalations", get(escalations::list))
        .route("/api/escalations/{id}", get(escalations::show_one))
        .route("/api/escalations/{id}/approve", post(escalations::approve))
        .route("/api/escalations/{id}/deny", post(escalations::deny))
        .route("/api/doubts", get(doubts::list))
        .route("/api/doubts/release", post(doubts::release))
        .route("/api/doubts/reconcile", post(doubts::reconcile))
        .route("/api/report", get(books::report))
        .route("/api/audit/trace/{task}", get(books::trace))
        .route("/api/providers", get(deployment::providers))
        .route("/api/limits", get(deployment::limits))
        .route("/api/reload", post(deployment::reload))
        .route("/api/health", get(deployment::health))
        .fallback(|| async {
            Failure::not_found("there is nothing here; GET / lists what there is")
        })
        .method_not_allowed_fallback(|| async { Failure::method() })
        // Outermost, also before the fallbacks: strangers learn not even what there is.
        .layer(axum::middleware::from_fn_with_state(
            ops.clone(),
            gate::gate,
        ))
        .with_state(ops)
}

/// What `/` says.
const INDEX: &str = "\
Bursar's ops listener: /livez, /readyz, /metrics, and a JSON API: GET /api/health, /api/tasks[/{id}], \
/api/accounts, /api/agents, /api/escalations[/{id}], /api/doubts, /api/report, /api/audit/trace/{task}, /api/providers, \
/api/limits; POST /api/tasks, /api/tasks/{id}/top-up|suspend|resume|close, /api/suspend, /api/resume, \
/api/escalations/{id}/approve|deny, \
/api/doubts/release|reconcile, /api/reload. docs/OPERATIONS.md says what each takes and gives.
";

/// The router as a service for one listener.
#[must_use]
pub fn service(
    router: Router,
) -> impl tower::Service<
    http::Request<hyper::body::Incoming>,
    Response = http::Response<axum::body::Body>,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static {
    tower::ServiceExt::map_request(router, |request: http::Request<hyper::body::Incoming>| {
        request.map(axum::body::Body::new)
    })
}

/// Ready to take calls: not draining, and the store writes. A configuration that could not be
/// reloaded is told, and is no reason to take no calls.
async fn readyz(State(ops): State<Ops>) -> impl IntoResponse {
    let health = ops.gateway.purse.store().health();
    let config = ops.reloads.fault();
    let (status, state) = if ops.gateway.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining".to_owned())
    } else if let Some(fault) = &health.fault {
        (StatusCode::SERVICE_UNAVAILABLE, format!("store: {fault}"))
    } else {
        (StatusCode::OK, "ok".to_owned())
    };
    let config = config.map(|fault| format!("config: the old one is in force: {fault}\n"));
    (status, format!("{state}\n{}", config.unwrap_or_default()))
}

async fn text(State(ops): State<Ops>) -> impl IntoResponse {
    refresh_gauges(&ops.gateway);
    match ops.gateway.metrics.text() {
        Ok(text) => (
            StatusCode::OK,
            [("content-type", "text/plain; version=0.0.4")],
            text,
        ),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be shown");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                [("content-type", "text/plain")],
                String::new(),
            )
        }
    }
}

/// Brings the gauges up to date.
pub fn refresh_gauges(gateway: &Gateway) {
    let totals = gateway.purse.look(crate::ledger::Ledger::totals);
    let metrics = &gateway.metrics;
    memory::refresh(metrics);
    metrics.held_usd.set(metrics::dollars(totals.held_usd));
    metrics
        .in_doubt_usd
        .set(metrics::dollars(totals.in_doubt_usd));
    metrics
        .waiting
        .set(i64::try_from(totals.waiting).unwrap_or(i64::MAX));
    let held_open = gateway.escalations.held_open();
    metrics
        .held_open
        .set(i64::try_from(held_open).unwrap_or(i64::MAX));
    metrics
        .journal_lag
        .set(gateway.purse.store().health().lag.as_secs_f64());
    let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    metrics.accounts.set(gauge(totals.accounts));
    let now = crate::clock::now();
    for provider in &gateway.live().providers {
        let name = [provider.name.as_str()];
        let (in_flight, queued) = provider.places.count();
        let targets = provider
            .healths
            .view(now, &provider.config.resilience.breaker);
        let open = targets.iter().filter(|target| target.until.is_some());
        let open = gauge(open.count());
        let set = |gauges: &prometheus::IntGaugeVec, value| {
            gauges.with_label_values(&name).set(value);
        };
        set(&metrics.provider_in_flight, gauge(in_flight));
        set(&metrics.provider_queued, gauge(queued));
        set(&metrics.provider_open, open);
        // Named from the start, so that a rate has its zero.
        provider.counters(metrics);
    }
    let states = ["active", "suspended", "closed"];
    for (state, count) in states.into_iter().zip(gateway.tasks.count()) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        metrics
            .tasks
            .with_label_values(&[state])
            .set(f64::from(count));
    }
}
