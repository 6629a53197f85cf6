//! Which models have answered the roles of one task, and in which versions, by its calls in the journal.

use crate::store::{CallRow, Ending, StoreError};
use crate::task::versions::ModelName;
use crate::units::UnixMs;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Role, provider, the model that the provider was asked for, the one that it said it was.
type Line = (String, String, String, String);

/// The models by role; `-` stands for calls that named none.
#[derive(Clone, Debug, Default)]
pub struct Models(BTreeMap<Line, (u64, i64)>);

impl Models {
    /// Sums up calls.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn of(calls: &[CallRow]) -> Result<Self, StoreError> {
        let mut models = Self::default();
        for row in calls {
            let call = row.body()?;
            if Ending::from_name(call.ending.as_str()) != Some(Ending::Settle) {
                continue;
            }
            let (Some(provider), Some(answered)) = (&call.provider, &call.answered) else {
                continue;
            };
            let role = call.role.as_ref().map_or("-", |role| role.as_str());
            let line = [
                role,
                provider.as_str(),
                call.model.as_str(),
                answered.as_str(),
            ];
            let [role, provider, model, answered] = line.map(ToOwned::to_owned);
            let line = models.0.entry((role, provider, model, answered));
            let (calls, last) = line.or_default();
            *calls += 1;
            *last = call.ended.max(*last);
        }
        Ok(models)
    }

    /// One object a line; `skew`: some other line is of another version or generation of that model.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let names: Vec<ModelName> = (self.0.keys())
            .map(|(.., answered)| ModelName::of(answered))
            .collect();
        let lines = self.0.iter().zip(&names);
        let line = |((line, (calls, last)), name): ((&Line, &(u64, i64)), &ModelName)| {
            let (role, provider, model, answered) = line;
            json!({
                "role": role, "provider": provider, "model": model, "answered": answered,
                "calls": calls, "last": super::show::instant(UnixMs(*last)),
                "skew": names.iter().any(|other| other.differs(name)),
            })
        };
        lines.map(line).collect()
    }
}
