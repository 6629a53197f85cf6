//! Which earlier calls the account of a new or changed limit would have counted: a reload never
//! resets usage.

use super::{Gateway, Live};
use crate::config::{Match, Side};
use crate::ledger::AccountKey;
use crate::purse::Seeds;
use crate::store::{Field, SeedFrom, SeedQuery};
use crate::task::TASKS_OWN;
use crate::units::TaskKey;
use std::sync::{Arc, Weak};

/// Seeds by the policies in force.
#[must_use]
pub fn seeds(gateway: Weak<Gateway>) -> Seeds {
    Box::new(move |key| {
        let gateway = gateway.upgrade()?;
        let of = |live: Arc<Live>| {
            let limit = live.loaded.policies.by_id(&key.limit)?;
            query(&limit.matches, key)
        };
        // Calls in flight come under a limit before it is in force. In this order: what is announced
        // comes into force before it is announced no longer.
        let coming = gateway.coming().and_then(of);
        let query = match coming.or_else(|| of(gateway.live())) {
            Some(query) => query,
            None if *key.limit == *TASKS_OWN => SeedQuery {
                whenever_new: true,
                ..query(&Match::default(), key)?
            },
            None => return None,
        };
        Some(Arc::new(query))
    })
}

fn query(matches: &Match, key: &AccountKey) -> Option<SeedQuery> {
    let value = |side: &str| {
        let found = key.per.iter().find(|(name, _)| *name == side);
        found.map(|(_, value)| Arc::clone(value))
    };
    let from = match (key.window, value("owner"), value("task")) {
        (Some(opened), ..) => SeedFrom::Window(opened),
        (None, Some(owner), Some(task)) => SeedFrom::Task(TaskKey {
            owner: owner.into(),
            task: task.into(),
        }),
        _ => return None,
    };
    let matching = matches.sides.iter().filter_map(|(side, globs)| {
        // What the journal does not tell apart counts for all: too much rather than too little.
        Some((
            field(*side)?,
            globs.iter().map(|glob| Arc::from(glob.as_str())).collect(),
        ))
    });
    let per = key.per.iter().filter_map(|(side, value)| {
        let value = if &**value == "-" {
            "".into()
        } else {
            Arc::clone(value)
        };
        Some((field(Side::from_name(side)?)?, value))
    });
    Some(SeedQuery {
        from,
        matching: matching.collect(),
        per: per.collect(),
        whenever_new: false,
    })
}

const fn field(side: Side) -> Option<Field> {
    Some(match side {
        Side::Owner => Field::Owner,
        Side::Identity => Field::Identity,
        Side::OnBehalfOf => Field::OnBehalfOf,
        Side::Task => Field::Task,
        Side::Agent => Field::Agent,
        Side::Role => Field::Role,
        Side::Model => Field::Model,
        Side::Provider => Field::Provider,
        Side::Tool => Field::Tool,
        Side::Dialect => Field::Dialect,
    })
}
