//! Without a route: the provider that a model's name means.

use super::Routed;
use super::refusal::{keyless, not_found, not_permitted};
use crate::config::Identity;
use crate::dialect::Dialect;
use crate::gateway::{Live, Provider};
use crate::stack::Refused;
use std::sync::Arc;

/// Finds the provider of a model for an identity by the model's name.
///
/// # Errors
/// No provider has it, the identity may not use it, or the provider's key is missing.
pub fn resolve(
    live: &Live,
    identity: &Identity,
    model: &str,
    dialect: Dialect,
) -> Result<Routed, Refused> {
    let (provider, name) =
        find(live, model, dialect).ok_or_else(|| not_found(live, model, dialect))?;
    resolved(provider, name, identity, model)
}

/// The same among the providers that speak the dialect, for what is not translated.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_spoken(
    live: &Live,
    identity: &Identity,
    model: &str,
    dialect: Dialect,
) -> Result<Routed, Refused> {
    let found = find_among(live, model, |provider| provider.speaks(dialect));
    let (provider, name) = found.ok_or_else(|| not_found(live, model, dialect))?;
    resolved(provider, name, identity, model)
}

fn resolved(
    provider: &Arc<Provider>,
    name: &str,
    identity: &Identity,
    model: &str,
) -> Result<Routed, Refused> {
    if !identity.may_use(name) && !identity.may_use(model) {
        return Err(not_permitted(identity, model));
    }
    if let Some(kept) = provider.lacks_key() {
        return Err(keyless(provider, &kept));
    }
    Ok(Routed {
        provider: Arc::clone(provider),
        model: name.into(),
        course: None,
        shadow: None,
    })
}

/// Where a call of the gateway's own goes; `None` if nobody has the model, or its key is missing.
#[must_use]
pub fn resolve_own(live: &Live, model: &str, dialect: Dialect) -> Option<Routed> {
    let (provider, name) = find(live, model, dialect)?;
    provider.lacks_key().is_none().then(|| Routed {
        provider: Arc::clone(provider),
        model: name.into(),
        course: None,
        shadow: None,
    })
}

/// The provider that a model's name means to calls of a dialect, and the model's own name: one that
/// speaks it, or else one that such calls are translated for.
#[must_use]
pub fn find<'a>(
    live: &'a Live,
    model: &'a str,
    dialect: Dialect,
) -> Option<(&'a Arc<Provider>, &'a str)> {
    find_among(live, model, |provider| provider.speaks(dialect))
        .or_else(|| find_among(live, model, |provider| provider.takes(dialect)))
}

fn find_among<'a>(
    live: &'a Live,
    model: &'a str,
    fits: impl Fn(&Provider) -> bool,
) -> Option<(&'a Arc<Provider>, &'a str)> {
    if let Some((named, rest)) = split(live, model) {
        return fits(named).then_some((named, rest));
    }
    let fitting = || live.providers.iter().filter(|provider| fits(provider));
    let matching = fitting()
        .find(|provider| provider.config.models.matches(model))
        .or_else(|| fitting().find(|provider| provider.config.models.is_empty()));
    matching.map(|provider| (provider, model))
}

/// A provider's name before a model's own.
#[must_use]
pub fn split<'a>(live: &'a Live, model: &'a str) -> Option<(&'a Arc<Provider>, &'a str)> {
    let (prefix, rest) = model.split_once('/')?;
    let mut providers = live.providers.iter();
    let named = providers.find(|provider| provider.name.as_str() == prefix)?;
    Some((named, rest))
}
