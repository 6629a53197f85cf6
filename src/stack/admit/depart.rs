//! The last step before the bytes leave: the body as the provider gets it, its headers, and the record
//! that owns the hold from here on.

use super::bounds::Bound;
use super::lineage::{self, Entered};
use super::{Admission, Placed, pace};
use crate::dialect::{Call, Dialect, Edits};
use crate::loops::Action;
use crate::purse::Hold;
use crate::stack::check::{self, Watched};
use crate::stack::meter::Admitted;
use crate::stack::race::Runner;
use crate::stack::record::{Facts, Record};
use crate::stack::trace::Trace;
use crate::stack::upstream::Outgoing;
use crate::stack::watch;
use crate::stack::{Refused, headers};
use crate::store::NoteKind;
use crate::task::Task;
use crate::task::pulse::Beat;
use crate::traces::{AskSpan, Lane};
use crate::units::Meter;
use http::{HeaderName, HeaderValue, Request};
use std::sync::Arc;

impl Admission {
    /// The request as it leaves, and the record that goes along.
    ///
    /// # Errors
    /// The agent is new to its task, and the store cannot write that down.
    pub(super) async fn depart(
        &self,
        request: Request<Outgoing>,
        placed: Placed,
    ) -> Result<Admitted, Refused> {
        let (admitted, joins) = self.ready(request, placed);
        if joins {
            Box::pin(lineage::join(self)).await?;
        }
        Ok(admitted)
    }

    /// The same without the last step: true if the agent is new to its task, which has to be written down
    /// by [`lineage::join`] before the call leaves.
    pub(super) fn ready(&self, mut request: Request<Outgoing>, placed: Placed) -> (Admitted, bool) {
        let Placed {
            uri,
            task,
            boarded,
            bound,
            hold,
            entered,
        } = placed;
        let call = &self.call;
        let (edits, hide_usage) = self.edits(&bound, &hold);
        self.note(&hold);
        self.is_warm_now();
        if let Some(course) = &self.routed.course {
            self.gateway
                .metrics
                .routed(&course.route.rule.name, course.label());
        }
        let warning = match self.again {
            None => {
                let came = request.extensions().get::<Arc<Call>>().unwrap_or(call);
                self.beat(&task, came, bound.fixed[Meter::Turns] > 0)
            }
            // It is the same call still.
            Some(_) => None,
        };
        let lane = self.runner.as_ref().map_or(Lane::Alone, Runner::lane);
        let span = self.span.as_ref();
        let span = span.map(|span| AskSpan::new(Arc::clone(span), lane));
        let facts = Facts {
            request: self.request.clone(),
            trace: self.trace,
            span: span.clone(),
            model: Arc::clone(&self.routed.model),
            course: self.routed.course.clone().map(Box::new),
            shadow: self.routed.shadow.clone(),
            card: bound.card,
            fixed: bound.fixed,
            elastic: bound.elastic,
            known_input: bound.known_input,
            lane: bound.lane,
            arrived: self.arrived,
            notice: self.notice_name(),
            warning: warning.map(Box::new),
            task: (Arc::clone(&task), task.paused_ms(self.now)),
            watched: self.watched(task, request.headers()),
            counts_attempts: bound.counts_attempts,
            trimmed: self.fitted.trimmed,
            translation: self.translation.clone(),
            steps: self.steps.clone(),
            aside: self.aside,
            ends_chants: self.came.stream
                && watch::ends_chants(&self.live, &self.came, &self.attribution),
            runner: self.runner.clone(),
        };
        self.fitted.left(&self.gateway, facts.notice);
        let joins = entered.is_some_and(Entered::admit);
        let record = Box::new(Record::open(
            Arc::clone(&self.gateway),
            Arc::clone(&self.live),
            hold,
            boarded,
            (
                Arc::clone(call),
                Arc::clone(&self.routed.provider),
                hide_usage,
            ),
            facts,
        ));
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_11;
        request.extensions_mut().clear();
        let headers = request.headers_mut();
        let provider = &self.routed.provider;
        if provider.config.forward_attribution {
            self.forward_attribution(headers);
        }
        if let Some(translation) = &self.translation {
            translation.dress(headers);
        }
        provider.dress(headers);
        if let Some(value) = Trace::departing(self.trace, span.as_ref()) {
            headers.insert(&headers::TRACEPARENT, value);
        }
        *request.body_mut() = Outgoing::Whole(crate::dialect::rewrite(call, &edits));
        // The record owns the hold by now, whoever hangs up meanwhile.
        (Admitted { request, record }, joins)
    }

    /// What is kept of the call to see how it ends.
    fn watched(&self, task: Arc<Task>, headers: &http::HeaderMap) -> Watched {
        let rules = self.rules();
        let declares = rules.malformed != Action::Off || rules.failures != Action::Off;
        let declared = declares
            .then(|| self.gateway.forms.of(&self.call))
            .flatten();
        let count = headers.get(&headers::RETRY_COUNT);
        Watched {
            task,
            who: check::who(&self.attribution, self.call.chain.root),
            declared,
            rules,
            is_retry: count.is_some_and(|count| count.as_bytes() != b"0"),
        }
    }

    /// What the call, as it came, tells of its task's pulse; the answer's head says it too.
    fn beat(&self, task: &Task, call: &Call, turn: bool) -> Option<HeaderValue> {
        let whose = &self.attribution;
        // What the gateway asks is no part of the agent's conversation.
        if whose.is_unattributed() || self.aside {
            return None;
        }
        // Where the provider keeps the conversation, the call shows only its end.
        let is_whole = call.ids.previous_response.is_none();
        let beat = Beat {
            agent: whose.agent.as_ref().map(|agent| agent.value.as_str()),
            parent: whose.parent.as_ref().map(|parent| parent.value.as_str()),
            links: if is_whole { &call.chain.links } else { &[] },
            body: &call.body,
            turn,
            at: self.now,
        };
        let signs = task.beat(self.live.loaded.loops.pulse(), &beat);
        for sign in &signs {
            self.gateway.tell(&whose.task_key(), sign);
            if let Some(span) = &self.span {
                span.looped(sign.kind, "warn");
            }
        }
        let first = signs.first()?;
        HeaderValue::from_str(&format!("loop={}", first.kind)).ok()
    }

    /// What an operator should see of a call that goes through all the same: observed limits that
    /// would have refused it, fields whose price nobody knows.
    fn note(&self, hold: &Hold) {
        let gateway = &self.gateway;
        for reached in &hold.terms.observed {
            let limit = crate::config::Limit::name_in(&reached.key.limit);
            gateway.metrics.denied("observed", limit);
            self.tell_span("observed", "limit", limit);
            gateway.journal(
                NoteKind::Alarm,
                limit,
                &format!(
                    "observed: {} of {} would have refused {}",
                    reached.meter.name(),
                    limit,
                    self.request,
                ),
            );
        }
        for field in &self.call.unlisted {
            if gateway.unlisted.is_new(field) {
                let provider = self.routed.provider.name.as_str();
                gateway.journal(
                    NoteKind::FailOpen,
                    "unlisted_fields",
                    &format!(
                        "the field `{field}` passes to {provider}; what it may cost is not known"
                    ),
                );
            }
        }
    }

    /// What must be changed in the body, and whether usage was asked for on the caller's behalf.
    fn edits(&self, bound: &Bound, hold: &Hold) -> (Edits, bool) {
        let call = &self.call;
        let mut edits = Edits::default();
        if *call.model != *self.routed.model {
            edits.model = Some(self.routed.model.to_string());
        }
        if let Some(field) = bound.cap_field {
            // What was asked for under a name that the target ignores must be told under one it honours.
            let unheard = call.asked_output.filter(|_| call.tells(field).is_none());
            let told = hold
                .terms
                .told
                .or(unheard.and(bound.elastic.map(|elastic| elastic.want)))
                .or(bound
                    .elastic
                    .filter(|_| bound.is_last)
                    .map(|elastic| elastic.want));
            edits.output_cap = told.map(|tokens| (field, tokens));
        }
        let preset = self.routed.provider.config.preset;
        edits.max_price = bound.max_price(preset, call);
        edits.only_cap = bound.cap_field.filter(|_| preset.one_output_cap);
        let hide_usage = call.stream
            && !call.usage_asked
            && preset.asks_usage
            && matches!(
                call.dialect,
                Dialect::OpenaiChat | Dialect::OpenaiCompletions
            );
        edits.include_usage = hide_usage;
        edits.no_parallel_tools = hold.terms.remaining.tool_calls == Some(1);
        let terms = &hold.terms;
        edits.task_budget = pace::task_budget(
            call,
            &terms.remaining,
            &terms.quoted,
            bound.elastic.as_ref(),
        );
        edits.strip_foreign = !call.ids.foreign.is_empty();
        edits.no_tools = self.is_last();
        edits.notice = self.notice();
        (edits, hide_usage)
    }

    /// Servers of one's own may see whose call it is, wherever the caller had said it.
    fn forward_attribution(&self, headers: &mut http::HeaderMap) {
        let attribution = &self.attribution;
        let mut set = |name: &'static HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        set(&headers::REQUEST_ID, self.request.as_str());
        set(&headers::TASK_ID, attribution.task.value.as_str());
        if let Some(agent) = &attribution.agent {
            set(&headers::AGENT_ID, agent.value.as_str());
        }
        if let Some(role) = &attribution.role {
            set(&headers::AGENT_ROLE, role.value.as_str());
        }
        if let Some(parent) = &attribution.parent {
            set(&headers::PARENT_AGENT_ID, parent.value.as_str());
        }
    }
}
