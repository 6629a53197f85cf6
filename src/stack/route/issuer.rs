//! Ids that only one provider knows: a call that names one stays with whoever issued it.
//!
//! Looked at only where there are routes, for without them a model's name leads where it always led.

use super::{Asked, Course, Routed, Stays, no_target, split};
use crate::gateway::Provider;
use crate::stack::Refused;
use crate::units::ProviderName;
use memchr::memmem;
use std::sync::Arc;

/// Calls of the journal that an answer is looked for in, the newest of its task.
const MAX_CALLS: usize = 10_000;

/// Who issued what a call names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Issuer {
    /// It names nothing, or nobody knows.
    Nobody,
    /// This provider; and the model that gave the answer which the call goes on from.
    Is(ProviderName, Option<Arc<str>>),
}

/// Who issued it, as far as that needs no journal; `None` if it does.
pub(super) fn of(asked: &Asked<'_>) -> Option<Issuer> {
    let ids = &asked.call.ids;
    if let Some(id) = &ids.previous_response {
        let handed = asked.gateway.answers.find(&asked.attribution.owner, id);
        return handed.map(|handed| Issuer::Is(handed.provider, Some(handed.model)));
    }
    let prompt = &asked.call.prompt;
    let names = |key: &[u8]| memmem::find(&asked.call.body, key).is_some();
    let media = prompt.media.files + prompt.media.images + prompt.media.unknown;
    // What came through this gateway came from the first provider that lets such paths pass.
    let path = match () {
        () if prompt.opaque && names(b"\"conversation\"") => "/v1/conversations",
        () if media > 0 && names(b"\"file_id\"") => "/v1/files",
        () => return Some(Issuer::Nobody),
    };
    let mut providers = asked.live.providers.iter();
    let passes = |provider: &&Arc<Provider>| provider.config.unmetered.matches(path);
    let found = providers.find(passes);
    Some(found.map_or(Issuer::Nobody, |provider| {
        Issuer::Is(provider.name.clone(), None)
    }))
}

/// Looks for the previous answer among the calls of its task.
///
/// # Errors
/// The store's fault.
pub(super) async fn from_journal(asked: &Asked<'_>) -> Result<Issuer, Refused> {
    let Some(id) = &asked.call.ids.previous_response else {
        return Ok(Issuer::Nobody);
    };
    let store = asked.gateway.purse.store();
    let calls = store.trace(asked.attribution.task_key(), MAX_CALLS).await?;
    for row in calls.iter().rev() {
        let call = row.body()?;
        let is_it = call
            .answer_id
            .as_ref()
            .is_some_and(|own| own.as_str() == id);
        if let Some(provider) = call.provider.as_ref().filter(|_| is_it) {
            let model = Arc::from(call.model.as_str());
            return Ok(Issuer::Is(provider.as_str().into(), Some(model)));
        }
    }
    Ok(Issuer::Nobody)
}

impl Asked<'_> {
    /// The target of a route at the issuer; the model that answered before if the route has none there.
    pub(super) fn issued(
        &self,
        course: &Course,
        issuer: &Issuer,
    ) -> Result<Option<Routed>, Refused> {
        let Issuer::Is(name, model) = issuer else {
            return Ok(None);
        };
        let mut way = std::iter::successors(course.from(0), Routed::next);
        let routed = match way.find(|routed| routed.provider.name == *name) {
            Some(routed) => routed,
            None => {
                let mut providers = self.live.providers.iter();
                let Some(provider) = providers.find(|known| known.name == *name) else {
                    return Ok(None);
                };
                if !provider.speaks(course.dialect) {
                    return Err(no_target(&course.route, course.dialect));
                }
                let asked = || course.asked[course.bare_from..].into();
                Routed {
                    provider: Arc::clone(provider),
                    model: model.clone().unwrap_or_else(asked),
                    course: Some(course.clone()),
                    shadow: None,
                }
            }
        };
        let held = routed.course.map(|course| Course {
            stays: Some(Stays::Issued),
            ..course
        });
        Ok(Some(Routed {
            course: held,
            ..routed
        }))
    }

    /// Without a route the model's name leads on, but not to another provider than the issuer, unless
    /// the caller names one.
    pub(super) fn stay_where_issued(&self, routed: Routed, issuer: &Issuer) -> Routed {
        let Issuer::Is(name, _) = issuer else {
            return routed;
        };
        let mut providers = self.live.providers.iter();
        let named = split(self.live, self.model).is_some();
        match providers.find(|known| known.name == *name) {
            Some(provider) if !named && provider.speaks(self.call.dialect) => Routed {
                provider: Arc::clone(provider),
                ..routed
            },
            _ => routed,
        }
    }
}
