//! `/api/suspend` and `/api/resume`: the stop button, for one identity or for everything.

use super::Ops;
use super::failure::{Answer, Failure};
use super::fields::Fields;
use super::request::{Body, by};
use super::show;
use crate::config::advice;
use crate::flights::Whose;
use crate::store::Switch;
use crate::units::IdentityName;
use axum::Json;
use axum::extract::State;
use serde_json::json;

/// `POST /api/suspend`: refuses new calls and ends those in flight at once.
///
/// # Errors
/// See [`Failure`].
pub async fn suspend(State(ops): State<Ops>, Body(body): Body) -> Answer {
    press(&ops, &body, true).await
}

/// `POST /api/resume`
///
/// # Errors
/// See [`Failure`].
pub async fn resume(State(ops): State<Ops>, Body(body): Body) -> Answer {
    press(&ops, &body, false).await
}

async fn press(ops: &Ops, body: &[u8], on: bool) -> Answer {
    let mut fields = Fields::of_body(body, &["identity", "all", "by"])?;
    let switch = match (fields.id("identity")?, fields.flag("all")?) {
        (Some(name), false) => Switch::Identity(name.into()),
        (None, true) => Switch::All,
        _ => {
            let message = "say whose calls: either `identity`, or `all` as true";
            return Err(Failure::invalid(message));
        }
    };
    if let Switch::Identity(name) = &switch {
        check_known(ops, name, &switch)?;
    }
    let by = by(&mut fields)?;
    let ended = ops.gateway.tasks.switch(switch, on, by).await?;
    let pressed = ops.gateway.tasks.switches();
    Ok(Json(
        json!({"suspended": show::switches(&pressed), "calls_ended": ended}),
    ))
}

/// A button for a name that was mistyped would stop nobody. A name that left the configuration may
/// still have calls in flight, or its button pressed.
fn check_known(ops: &Ops, name: &IdentityName, switch: &Switch) -> Result<(), Failure> {
    let live = ops.gateway.live();
    let identities = &live.loaded.identities;
    let is_known = identities.iter().any(|identity| identity.name == *name);
    let whose = Whose::Identity(name.clone());
    if is_known
        || ops.gateway.tasks.switches().contains(switch)
        || ops.gateway.tasks.flights.any(&whose)
    {
        return Ok(());
    }
    let known: Vec<&str> = identities
        .iter()
        .map(|identity| identity.name.as_str())
        .collect();
    let advice = advice(name.as_str(), &known);
    Err(Failure::not_found(format!(
        "no identity is called `{name}`; {advice}"
    )))
}
