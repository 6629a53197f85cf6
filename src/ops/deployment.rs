//! What runs here: health, providers, limits, and a reload on request. Never a secret.

use super::Ops;
use super::failure::{Answer, Failure};
use super::fields::Fields;
use super::request::{Body, by};
use super::show;
use crate::config;
use crate::gateway::Provider;
use crate::store::{Entry, Note, NoteKind};
use crate::units::UnixMs;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /api/health`
///
/// # Errors
/// None; the type is that of the other routes.
pub async fn health(State(ops): State<Ops>) -> Answer {
    let gateway = &ops.gateway;
    let health = gateway.purse.store().health();
    let totals = gateway.purse.look(crate::ledger::Ledger::totals);
    let state = match () {
        () if gateway.is_draining() => "draining",
        () if health.fault.is_some() => "store_unavailable",
        () => "ready",
    };
    let [active, suspended, closed] = gateway.tasks.count();
    let fault = ops.reloads.fault();
    Ok(Json(json!({
        "state": state,
        "version": env!("CARGO_PKG_VERSION"),
        "prices": **gateway.live().catalogue.version(),
        "store": {
            "fault": health.fault.map(|fault| fault.to_string()),
            "lag_ms": u64::try_from(health.lag.as_millis()).unwrap_or(u64::MAX),
        },
        "config": {"fault": fault.as_deref()},
        "calls": {"in_flight": gateway.tasks.flights.count(), "waiting": totals.waiting},
        "held_usd": totals.held_usd.to_string(),
        "in_doubt_usd": totals.in_doubt_usd.to_string(),
        "tasks_in_memory": {"active": active, "suspended": suspended, "closed": closed},
        "suspended": show::switches(&gateway.tasks.switches()),
    })))
}

/// `GET /api/providers`
///
/// # Errors
/// None; the type is that of the other routes.
pub async fn providers(State(ops): State<Ops>) -> Answer {
    let live = ops.gateway.live();
    let now = crate::clock::now();
    let providers = live.providers.iter().map(|provider| shown(provider, now));
    let providers: Vec<Value> = providers.collect();
    Ok(Json(json!({"providers": providers})))
}

/// One provider: what is configured, and how it fares.
fn shown(provider: &Provider, now: UnixMs) -> Value {
    let breaker = &provider.config.resilience.breaker;
    let targets = provider.healths.view(now, breaker);
    let state = match () {
        () if targets.is_empty() => "unknown",
        () if targets.iter().all(|target| target.until.is_some()) => "open",
        () if targets.iter().any(|target| target.until.is_some()) => "degraded",
        () => "healthy",
    };
    let targets = targets.iter().map(|target| {
        let left = target.until.map(|until| until.0.saturating_sub(now.0));
        json!({
            "model": &*target.model,
            "state": target.state,
            "open_for_ms": left,
            "failures_in_a_row": target.failures_in_a_row,
            "window": {"answered": target.window.0, "failed": target.window.1},
            "opened": target.opened,
        })
    });
    let targets: Vec<Value> = targets.collect();
    let (in_flight, queued) = provider.places.count();
    let mut shown = configured(&provider.config);
    shown["state"] = state.into();
    shown["targets"] = targets.into();
    shown["in_flight"] = in_flight.into();
    shown["queued"] = queued.into();
    shown["max_concurrent"] = provider.config.resilience.max_concurrent.into();
    shown
}

fn configured(provider: &config::Provider) -> Value {
    let url = &provider.base_url;
    // A user and password may stand before the host.
    let host = url.authority().map_or("", |authority| {
        let text = authority.as_str();
        text.rsplit_once('@').map_or(text, |(_, host)| host)
    });
    let url = format!(
        "{}://{host}{}",
        url.scheme_str().unwrap_or("http"),
        url.path()
    );
    let models: Vec<&str> = provider.models.iter().map(config::Glob::as_str).collect();
    let mut keys = provider.secrets().peekable();
    let has_key = keys.peek().is_some() && keys.all(|key| key.expose().is_some());
    json!({
        "name": provider.name.as_str(),
        "kind": provider.preset.name,
        "base_url": url,
        "models": models,
        "has_key": has_key,
        "forward_credentials": provider.forward_credentials,
    })
}

/// `GET /api/limits`
///
/// # Errors
/// None; the type is that of the other routes.
pub async fn limits(State(ops): State<Ops>) -> Answer {
    let live = ops.gateway.live();
    let limits: Vec<Value> = live.loaded.policies.limits().map(show::limit).collect();
    let bound = live.config().attribution.tasks_per_hour;
    Ok(Json(
        json!({"limits": limits, "tasks_per_owner_and_hour": bound}),
    ))
}

/// `POST /api/reload`: reads the configuration now, and says whether it is in force.
///
/// # Errors
/// 409 with every fault if it is not.
pub async fn reload(State(ops): State<Ops>, Body(body): Body) -> Answer {
    let by = by(&mut Fields::of_body(&body, &["by"])?)?;
    let Some(config) = &ops.config else {
        let message = "this gateway was started without a file to read again";
        return Err(Failure::conflict("no_config_file", message));
    };
    note(&ops, by, "reload");
    ops.reloads
        .reload(&ops.gateway, config)
        .await
        .map_err(|fault| Failure::conflict("config_fault", (*fault).clone()))?;
    let live = ops.gateway.live();
    Ok(Json(json!({
        "limits": live.loaded.policies.limits().len(),
        "identities": live.loaded.identities.iter().len(),
        "providers": live.config().providers.len(),
    })))
}

/// Puts an act that has no row of its own into the journal.
fn note(ops: &Ops, by: Arc<str>, subject: &str) {
    match ops.gateway.purse.store().try_reserve() {
        Ok(place) => place.post(Entry::Note(Box::new(Note {
            what: NoteKind::Admin,
            by,
            subject: subject.into(),
            detail: "".into(),
        }))),
        Err(error) => tracing::warn!(%error, subject, "an operator's act is not in the journal"),
    }
}
