//! The agents that were seen in calls which do not say whose they are, for people to give them names.

use super::Ops;
use super::failure::Answer;
use super::show;
use crate::gateway::Live;
use crate::inference::{Fingerprint, Seen};
use crate::units::Owner;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// `GET /api/agents`
///
/// # Errors
/// None; the type is that of the other routes.
pub async fn list(State(ops): State<Ops>) -> Answer {
    let live = ops.gateway.live();
    let agents = ops.gateway.inference.agents();
    let agents: Vec<Value> = agents.iter().map(|agent| shown(agent, &live)).collect();
    Ok(Json(json!({"agents": agents})))
}

fn shown((owner, print, seen): &(Owner, Fingerprint, Seen), live: &Live) -> Value {
    let Seen {
        agent,
        tools,
        calls,
        invocations,
        tasks,
        opened,
        called,
        last,
        ..
    } = seen;
    let role = agent.as_ref().and_then(|agent| live.role_of(agent));
    let known = agent.as_ref();
    let known = known.is_some_and(|id| live.config().agents.iter().any(|agent| agent.id == *id));
    json!({
        "owner": owner.as_str(),
        "agent": agent.as_ref().map(crate::units::AgentId::as_str),
        "named": known,
        "role": role.map(crate::units::Role::as_str),
        "prompt": print.to_string(),
        "tools": tools,
        "calls": calls,
        "invocations": invocations,
        "tasks": tasks,
        "opened_tasks": opened,
        "called": called,
        "last": show::instant(*last),
    })
}
