//! Which provider a model's name means.
//!
//! Needs the call and the identity. Adds [`Routed`]. A name `a/b` is split only if `a` is a
//! configured provider; a bare name goes to the first provider whose `models` match, else to the
//! first that speaks the dialect and lists none.

use super::gate::Gate;
use super::respond::Arrival;
use super::{Code, Refused, arrival};
use crate::config::Identity;
use crate::dialect::{Call, Dialect};
use crate::gateway::{Live, Provider};
use http::Request;
use std::sync::Arc;

/// Where a call goes.
#[derive(Clone)]
pub struct Routed {
    /// The provider.
    pub provider: Arc<Provider>,
    /// The model as the provider names it.
    pub model: Arc<str>,
}

/// The stage.
#[derive(Clone, Copy, Debug)]
pub struct Route;

impl<B> Gate<B> for Route {
    fn pass(&self, request: &mut Request<B>) -> Result<(), Refused> {
        let extensions = request.extensions();
        let (Some(call), Some(identity)) = (
            extensions.get::<Arc<Call>>(),
            extensions.get::<Arc<Identity>>(),
        ) else {
            return Err(Refused::internal("route stands behind decode"));
        };
        // Azure's clients name a deployment in the path; what stands in the body is ignored there.
        let Arrival { target, live, .. } = arrival(extensions);
        let model = target.ids.deployment.as_deref().unwrap_or(&call.model);
        let found = find(live, model, call.dialect).or_else(|| {
            find_by(live, model, |provider| {
                provider.translates(call.dialect).is_some()
            })
        });
        let routed = resolved(found, live, identity, model, call.dialect)?;
        request.extensions_mut().insert(routed);
        Ok(())
    }
}

/// Finds the provider of a model for an identity, among those that speak the dialect.
///
/// # Errors
/// No provider has it, the identity may not use it, or the provider's key is missing.
pub fn resolve(
    live: &Live,
    identity: &Identity,
    model: &str,
    dialect: Dialect,
) -> Result<Routed, Refused> {
    resolved(find(live, model, dialect), live, identity, model, dialect)
}

fn resolved(
    found: Option<(&Arc<Provider>, &str)>,
    live: &Live,
    identity: &Identity,
    model: &str,
    dialect: Dialect,
) -> Result<Routed, Refused> {
    let (provider, name) = found.ok_or_else(|| not_found(live, model, dialect))?;
    if !identity.may_use(name) && !identity.may_use(model) {
        let message = format!(
            "Identity `{}` may not use the model `{model}`.",
            identity.name
        );
        return Err(Refused::new(Code::NotPermitted, &message));
    }
    if let Some(kept) = provider.lacks_key() {
        let message = format!(
            "Provider `{}` has no key: {kept} is not set where the gateway runs.",
            provider.name
        );
        return Err(Refused::new(Code::UpstreamError, &message));
    }
    Ok(Routed {
        provider: Arc::clone(provider),
        model: name.into(),
    })
}

fn find<'a>(
    live: &'a Live,
    model: &'a str,
    dialect: Dialect,
) -> Option<(&'a Arc<Provider>, &'a str)> {
    find_by(live, model, |provider| provider.speaks(dialect))
}

/// The same among the providers that `fits` says.
fn find_by<'a>(
    live: &'a Live,
    model: &'a str,
    fits: impl Fn(&Provider) -> bool,
) -> Option<(&'a Arc<Provider>, &'a str)> {
    let fits = |provider: &&Arc<Provider>| fits(provider);
    if let Some((prefix, rest)) = model.split_once('/')
        && let Some(named) = live
            .providers
            .iter()
            .find(|provider| provider.name.as_str() == prefix)
    {
        return fits(&named).then_some((named, rest));
    }
    let fitting = || live.providers.iter().filter(|provider| fits(provider));
    let matching = fitting()
        .find(|provider| provider.config.models.matches(model))
        .or_else(|| fitting().find(|provider| provider.config.models.is_empty()));
    matching.map(|provider| (provider, model))
}

fn not_found(live: &Live, model: &str, dialect: Dialect) -> Refused {
    let speaking: Vec<&str> = live
        .providers
        .iter()
        .filter(|provider| provider.speaks(dialect))
        .map(|provider| provider.name.as_str())
        .collect();
    let providers = match speaking.as_slice() {
        [] => format!("no configured provider speaks {}", dialect.name()),
        names => format!(
            "the providers that speak {} are {}",
            dialect.name(),
            names.join(", ")
        ),
    };
    let message = format!("No provider has the model `{model}`; {providers}.");
    Refused::new(Code::ModelNotFound, &message)
}
