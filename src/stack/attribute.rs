//! Whose call it is: task, agent, role, parent agent, on whose behalf, and where each came from.
//!
//! Needs the identity, the path and (for metered calls) the decoded body. Adds
//! [`Attribution`]; on the way back it stamps every answer, refusals too, with what it found.

pub mod ids;
pub(super) mod inferring;

use super::endpoint::Target;
use super::respond::Arrival;
use super::{Code, Refused, arrival, headers};
use crate::attribution::{Attribution, Source, Sourced};
use crate::clock;
use crate::config::{Identity, TaskSource};
use crate::dialect::Call;
use crate::gateway::{Gateway, Live};
use crate::inference::Inferred;
use crate::units::{AgentId, Role, TaskId};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use ids::{BadId, Said, rank};
use inferring::Named;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower::Service;

/// The service.
#[derive(Clone)]
pub struct Attribute<S> {
    gateway: Arc<Gateway>,
    inner: S,
}

impl<S> Attribute<S> {
    pub(super) const fn new(gateway: Arc<Gateway>, inner: S) -> Self {
        Self { gateway, inner }
    }
}

/// `x-bursar-task-usd`, as it came.
#[derive(Clone, Debug)]
pub struct TaskUsd(pub crate::units::NanoUsd);

impl<S, B, R> Service<Request<B>> for Attribute<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Refused>,
{
    type Response = Response<R>;
    type Error = Refused;
    type Future = Attributed<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.attribution(&request) {
            Ok((attribution, task_usd)) => {
                if let Some(task_usd) = task_usd {
                    request.extensions_mut().insert(task_usd);
                }
                request.extensions_mut().insert(Arc::clone(&attribution));
                let gateway = attribution.joined.map(|_| Arc::clone(&self.gateway));
                Attributed::Inner {
                    future: self.inner.call(request),
                    attribution,
                    gateway,
                }
            }
            Err(refused) => Attributed::Refused {
                refused: Some(refused),
            },
        }
    }
}

impl<S> Attribute<S> {
    fn attribution<B>(
        &self,
        request: &Request<B>,
    ) -> Result<(Arc<Attribution>, Option<TaskUsd>), Refused> {
        let extensions = request.extensions();
        let Some(identity) = extensions.get::<Arc<Identity>>() else {
            return Err(Refused::internal("attribute stands behind authenticate"));
        };
        let Arrival {
            target, live, id, ..
        } = arrival(extensions);
        let call = extensions.get::<Arc<Call>>();
        let mut said = ids::from_headers(request.headers());
        from_path(target, &mut said);
        if let Some(call) = call {
            from_body(call, &mut said);
        }
        let previous = call
            .and_then(|call| call.ids.previous_response.as_deref())
            .and_then(|id| self.gateway.answers.find(&identity.owner, id))
            .map(|handed| handed.task);
        if let Some(previous) = &previous {
            said.task.offer(
                rank::PREVIOUS,
                previous.as_str(),
                "previous_response_id",
                Source::PreviousResponse,
            );
        }
        let trace = extensions.get::<super::trace::Trace>();
        let trace_id = match trace {
            Some(trace)
                if trace.parent_span.is_some()
                    && live
                        .config()
                        .attribution
                        .task_from
                        .contains(&TaskSource::Trace) =>
            {
                format!("{:032x}", trace.ids.trace)
            }
            _ => String::new(),
        };
        configured(live, request.headers(), &trace_id, &mut said);
        let task_usd = said.task_usd.map(task_usd).transpose()?;
        let call = call.map(|call| &**call);
        let infer = |named: &Named<'_>| {
            let what = (call, target, id);
            inferring::infer(&self.gateway, live, what, request.headers(), named)
        };
        let attribution = assemble(identity, live, call, said, infer)?;
        Ok((Arc::new(attribution), task_usd))
    }
}

fn task_usd(text: &str) -> Result<TaskUsd, Refused> {
    let usd = text.trim().parse().map_err(|error| {
        let message = format!("`x-bursar-task-usd`: {error}.");
        Refused::new(Code::InvalidRequest, &message)
    });
    usd.map(TaskUsd)
}

fn from_path<'a>(target: &'a Target, said: &mut Said<'a>) {
    let ids = &target.ids;
    for (slot, value, from) in [
        (&mut said.task, &ids.task, "the path's /task/{id}"),
        (&mut said.agent, &ids.agent, "the path's /agent/{id}"),
        (&mut said.role, &ids.role, "the path's /role/{name}"),
    ] {
        if let Some(value) = value {
            slot.offer(rank::PATH, value, from, Source::Path);
        }
    }
}

fn from_body<'a>(call: &'a Call, said: &mut Said<'a>) {
    let ids = &call.ids;
    if let Some(session) = &ids.session {
        let from = "the session in metadata.user_id";
        said.task.offer(rank::BODY + 1, session, from, Source::Body);
    }
    for (slot, value, from) in [
        (&mut said.task, &ids.task, "metadata.user_task_id"),
        (&mut said.agent, &ids.agent, "metadata.agent_id"),
        (&mut said.role, &ids.role, "metadata.agent_role"),
    ] {
        if let Some(value) = value {
            slot.offer(rank::BODY, value, from, Source::Body);
        }
    }
}

/// What `[attribution] task_from` adds.
fn configured<'a>(live: &Live, headers: &'a HeaderMap, trace_id: &'a str, said: &mut Said<'a>) {
    const FROM: &str = "[attribution] task_from";
    for (index, from) in live.config().attribution.task_from.iter().enumerate() {
        let rank = rank::CONFIGURED.saturating_add(u8::try_from(index).unwrap_or(u8::MAX));
        let task = &mut said.task;
        match from {
            TaskSource::Header(name) => {
                if let Some(value) = headers.get(name) {
                    task.offer_bytes(rank, value.as_bytes(), FROM, Source::Configured);
                }
            }
            TaskSource::Baggage(key) => {
                let values = headers.get_all(&headers::BAGGAGE).into_iter();
                let mut members = values
                    .filter_map(|value| value.to_str().ok())
                    .flat_map(ids::baggage_members);
                if let Some((_, value)) = members.find(|(found, _)| found == key) {
                    task.offer_configured_baggage(rank, value, FROM);
                }
            }
            TaskSource::Trace => {
                // Empty without a trace of the caller's; an empty value says nothing.
                task.offer(rank, trace_id, FROM, Source::Configured);
            }
        }
    }
}

fn assemble(
    identity: &Identity,
    live: &Live,
    call: Option<&Call>,
    said: Said<'_>,
    infer: impl FnOnce(&Named<'_>) -> Option<Inferred>,
) -> Result<Attribution, Refused> {
    let task = said.task.take()?.map(|(value, source)| Sourced {
        value: TaskId::from(&*value),
        source,
    });
    let agent = match said.agent.take()? {
        Some((value, source)) => Some(Sourced {
            value: AgentId::from(&*value),
            source,
        }),
        None => bound(identity.agent.as_ref()),
    };
    let parent = said.parent.take()?.map(|(value, source)| Sourced {
        value: (&*value).into(),
        source,
    });
    let inferred = infer(&Named {
        owner: &identity.owner,
        task: task.as_ref(),
        agent: agent.as_ref(),
        parent: parent.as_ref(),
    });
    let inferred = inferred.unwrap_or_default();
    let task = match task.or(inferred.task) {
        Some(task) => task,
        None => unattributed(live, call.is_some())?,
    };
    let agent = agent.or(inferred.agent);
    let parent = parent.or(inferred.parent);
    let role = match said.role.take()? {
        Some((value, source)) => Some(Sourced {
            value: Role::from(&*value),
            source,
        }),
        None => bound(identity.role.as_ref()).or_else(|| {
            let role = live.role_of(&agent.as_ref()?.value)?;
            Some(Sourced {
                value: role.clone(),
                source: Source::Policy,
            })
        }),
    };
    let invocation = said.invocation.take()?.map(|(value, source)| Sourced {
        value: (&*value).into(),
        source,
    });
    let invocation = invocation.or(inferred.invocation);
    let on_behalf_of = match said.on_behalf_of.take()? {
        Some(_) if !identity.may_say_on_behalf_of => {
            let message = format!(
                "Identity `{}` may not say on whose behalf it acts (`may_say_on_behalf_of`).",
                identity.name
            );
            return Err(Refused::new(Code::NotPermitted, &message));
        }
        Some((value, source)) => Some(Sourced {
            value: (&*value).into(),
            source,
        }),
        // `user` in the body is recorded, not trusted: no limit counts per it.
        None => call
            .and_then(|call| call.ids.user.as_deref())
            .filter(|user| ids::is_id(user))
            .map(|user| Sourced {
                value: user.into(),
                source: Source::Body,
            }),
    };
    Ok(Attribution {
        owner: identity.owner.clone(),
        identity: identity.name.clone(),
        task,
        agent,
        role,
        invocation,
        parent,
        on_behalf_of,
        joined: inferred.joined,
    })
}

fn bound<T: Clone>(value: Option<&T>) -> Option<Sourced<T>> {
    value.map(|value| Sourced {
        value: value.clone(),
        source: Source::Key,
    })
}

/// Nothing named a task: the owner's `unattributed` task of that day or hour. A missing id never
/// means no cap.
fn unattributed(live: &Live, is_call: bool) -> Result<Sourced<TaskId>, Refused> {
    let now = clock::now();
    let Some(task) = live
        .unattributed(now)
        .or_else(|| (!is_call).then(|| "unattributed".into()))
    else {
        let message = "This call names no task. Send `x-bursar-task-id`, or put /task/{id} into the base URL.";
        return Err(Refused::new(Code::InvalidRequest, message));
    };
    Ok(Sourced {
        value: task,
        source: Source::Unattributed,
    })
}

impl From<BadId> for Refused {
    fn from(bad: BadId) -> Self {
        Self::new(Code::InvalidRequest, &format!("{bad}."))
    }
}

pin_project! {
    /// Stamps the answer.
    #[project = AttributedProj]
    pub enum Attributed<F> {
        /// On its way.
        Inner {
            #[pin]
            future: F,
            attribution: Arc<Attribution>,
            // Who must hear that a call came to nothing, where that tells whose the next one is.
            gateway: Option<Arc<Gateway>>,
        },
        /// Refused: a malformed id.
        Refused { refused: Option<Refused> },
    }
}

impl<F, R> Future for Attributed<F>
where
    F: Future<Output = Result<Response<R>, Refused>>,
{
    type Output = Result<Response<R>, Refused>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AttributedProj::Inner {
                future,
                attribution,
                gateway,
            } => {
                let mut result = ready!(future.poll(cx));
                match &mut result {
                    Ok(answer) => stamp(answer.headers_mut(), attribution),
                    Err(refused) => {
                        if let Some(gateway) = gateway {
                            inferring::refused(gateway, attribution);
                        }
                        stamp(&mut refused.headers, attribution);
                    }
                }
                Poll::Ready(result)
            }
            AttributedProj::Refused { refused } => match refused.take() {
                Some(refused) => Poll::Ready(Err(refused)),
                None => Poll::Pending,
            },
        }
    }
}

fn stamp(headers: &mut HeaderMap, attribution: &Attribution) {
    let mut set = |name: &'static HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(&headers::TASK_ID, attribution.task.value.as_str());
    if let Some(agent) = &attribution.agent {
        set(&headers::AGENT_ID, agent.value.as_str());
    }
    let how = match attribution.task.source {
        Source::Unattributed => "none",
        source if source.is_inferred() => "inferred",
        _ => "explicit",
    };
    headers.insert(&headers::ATTRIBUTION, HeaderValue::from_static(how));
}
