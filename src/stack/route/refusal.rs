//! Why a call goes nowhere, in the words that its caller gets.

use crate::config::Identity;
use crate::dialect::Dialect;
use crate::gateway::routes::Route;
use crate::gateway::{Live, Provider};
use crate::stack::{Code, Refused};

pub(super) fn not_permitted(identity: &Identity, model: &str) -> Refused {
    let message = format!(
        "Identity `{}` may not use the model `{model}`.",
        identity.name
    );
    Refused::new(Code::NotPermitted, &message)
}

pub(super) fn keyless(provider: &Provider, kept: &str) -> Refused {
    let message = format!(
        "Provider `{}` has no key: {kept} is not set where the gateway runs.",
        provider.name
    );
    Refused::new(Code::UpstreamError, &message)
}

pub(super) fn no_target(route: &Route, dialect: Dialect) -> Refused {
    let speaking = (route.targets.iter()).find(|target| target.provider.takes(dialect));
    if let Some(target) = speaking
        && let Some(kept) = target.provider.lacks_key()
    {
        return keyless(&target.provider, &kept);
    }
    let message = format!(
        "Route `{}` takes this call, and none of its targets takes {}.",
        route.rule.name,
        dialect.name()
    );
    Refused::new(Code::ModelNotFound, &message)
}

pub(super) fn not_found(live: &Live, model: &str, dialect: Dialect) -> Refused {
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
