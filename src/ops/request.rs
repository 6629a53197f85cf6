//! What a route takes: the body within its bound, the fields in it, who asks.

use super::Ops;
use super::failure::Failure;
use super::fields::Fields;
use crate::config::advice;
use crate::store::{TaskFilter, TaskRecord};
use crate::units::{Owner, TaskId};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::sync::Arc;
use std::time::Duration;

/// The longest body of a request, bytes.
pub const MAX_BODY_BYTES: usize = 64 << 10;
/// The longest body of evidence, bytes: a provider's export of about 100,000 calls.
pub const MAX_EVIDENCE_BYTES: usize = 32 << 20;
/// How long an answer waits for the journal.
const JOURNAL_TIME: Duration = Duration::from_secs(2);
/// How long a body may take to come.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A body of at most 64 KiB.
pub struct Body(pub Bytes);

/// A body of at most 32 MiB.
pub struct EvidenceBody(pub Bytes);

impl<S: Sync> FromRequest<S> for Body {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        read(request, MAX_BODY_BYTES).await.map(Self)
    }
}

impl<S: Sync> FromRequest<S> for EvidenceBody {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        read(request, MAX_EVIDENCE_BYTES).await.map(Self)
    }
}

async fn read(request: Request, most: usize) -> Result<Bytes, Failure> {
    let body = Limited::new(request.into_body(), most).collect();
    match tokio::time::timeout(BODY_TIME, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Failure::too_large(most)),
        Ok(Err(_)) => Err(Failure::invalid("the body broke off")),
        Err(_) => Err(Failure::invalid("the body took longer than 30 seconds")),
    }
}

/// The pairs of the query.
pub struct Pairs(pub Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Pairs {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Failure> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(pairs)| Self(pairs))
            .map_err(|error| Failure::invalid(error.to_string()))
    }
}

/// Who asks, for the journal: that it came through `ops`, and the name given, which nobody checked.
///
/// # Errors
/// `by` is no text.
pub fn by(fields: &mut Fields) -> Result<Arc<str>, Failure> {
    Ok(match fields.text("by")? {
        Some(name) => format!("ops:{name}").into(),
        None => "ops".into(),
    })
}

impl Ops {
    /// Waits until the journal holds every call that has ended, so that an answer shows what came
    /// before its question. A store that cannot write now shows what it has.
    pub async fn up_to_date(&self) {
        let written = self.gateway.purse.store().flush();
        // Whether it came to that, `/api/health` tells.
        let _ = tokio::time::timeout(JOURNAL_TIME, written).await;
    }

    /// The owner that is meant: the one named, which must have an identity, or the only one.
    ///
    /// # Errors
    /// None is named and there are several, or nobody belongs to the one named.
    pub fn owner(&self, named: Option<Arc<str>>) -> Result<Owner, Failure> {
        let live = self.gateway.live();
        let mut owners: Vec<Owner> = live
            .loaded
            .identities
            .iter()
            .map(|identity| identity.owner.clone())
            .collect();
        owners.sort();
        owners.dedup();
        let known: Vec<&str> = owners.iter().map(Owner::as_str).collect();
        match named {
            // A cap on a task that no call can reach would hold nothing, and nobody would notice.
            Some(named) if !known.contains(&&*named) => {
                let advice = advice(&named, &known);
                let message = format!("no identity belongs to the owner `{named}`; {advice}");
                Err(Failure::invalid(message))
            }
            Some(named) => Ok(named.into()),
            None => match owners.as_slice() {
                [only] => Ok(only.clone()),
                _ => Err(Failure::invalid(format!(
                    "name the task's `owner`: one of {}",
                    known.join(", ")
                ))),
            },
        }
    }

    /// The task of that id; with several owners that have one, the owner must be named.
    ///
    /// # Errors
    /// There is none, or several.
    pub async fn task(&self, id: &str, owner: Option<Arc<str>>) -> Result<TaskRecord, Failure> {
        let filter = TaskFilter {
            owner: owner.map(Owner::from),
            task: Some(TaskId::from(id)),
            limit: Some(20),
            ..TaskFilter::default()
        };
        let mut found = self.gateway.purse.store().tasks(filter).await?;
        match (found.pop(), found.is_empty()) {
            (Some(task), true) => Ok(task),
            (Some(task), false) => {
                found.push(task);
                let owners: Vec<&str> = found.iter().map(|task| task.key.owner.as_str()).collect();
                Err(Failure::conflict(
                    "ambiguous",
                    format!(
                        "several owners have a task `{id}`; name one as `owner`: {}",
                        owners.join(", ")
                    ),
                ))
            }
            (None, _) => Err(Failure::not_found(format!("no such task: {id}"))),
        }
    }
}
