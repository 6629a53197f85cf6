//! Which call a log line is about: whoever logs while a call is handled says nothing of it, and the line has
//! the call's trace, span, request, task and agent all the same.
//!
//! What a call is named by goes along with its future ([`within`], [`inherited`]) and is read when a line is
//! written ([`InContext`]), not before. So a call that logs nothing pays for a few words that are put in place
//! and taken back as it is polled; a span of `tracing`'s own would be allocated, and its fields written as
//! text, for every call.

use crate::attribution::Attribution;
use crate::units::{RequestId, TraceIds};
use serde_json::json;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use tokio::task::futures::TaskLocalFuture;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

tokio::task_local! {
    static CALL: Option<CallContext>;
}

/// What a call is named by in the log.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// `x-bursar-request-id`
    pub request: RequestId,
    /// Its trace, and its span in it.
    pub ids: TraceIds,
    /// Whose it is.
    pub whose: Arc<Attribution>,
}

/// A future whose lines are about one call.
pub type OfCall<F> = TaskLocalFuture<Option<CallContext>, F>;

/// What is logged while this future is polled is about that call.
pub fn within<F: Future>(call: Option<CallContext>, future: F) -> OfCall<F> {
    CALL.scope(call, future)
}

/// What is logged in here is about that call.
pub fn at<T>(call: Option<CallContext>, work: impl FnOnce() -> T) -> T {
    CALL.sync_scope(call, work)
}

/// The call that lines written here are about.
pub fn here() -> Option<CallContext> {
    CALL.try_with(Clone::clone).ok().flatten()
}

/// The same call as here, wherever the future is polled: in a task or a body of its own.
pub fn inherited<F: Future>(future: F) -> OfCall<F> {
    within(here(), future)
}

/// Lines as `inner` writes them, and what call they are about.
#[derive(Debug)]
pub struct InContext<F> {
    inner: F,
    is_json: bool,
}

impl<F> InContext<F> {
    /// `inner` writes lines of JSON.
    pub const fn json(inner: F) -> Self {
        Self {
            inner,
            is_json: true,
        }
    }

    /// `inner` writes lines of text.
    pub const fn text(inner: F) -> Self {
        Self {
            inner,
            is_json: false,
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for InContext<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(call) = here() else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        let whole = Writer::new(&mut line);
        self.inner.format_event(context, whole, event)?;
        let line = line.trim_end_matches('\n');
        match line.strip_suffix('}').filter(|_| self.is_json) {
            Some(open) => {
                writer.write_str(open)?;
                call.write_json(&mut writer)?;
                writer.write_str("}\n")
            }
            None => {
                writer.write_str(line)?;
                call.write_text(&mut writer)?;
                writer.write_char('\n')
            }
        }
    }
}

impl CallContext {
    fn said(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let whose = &*self.whose;
        let agent = whose.agent.as_ref().map(|agent| agent.value.as_str());
        [
            ("request", Some(self.request.as_str())),
            ("task", Some(whose.task.value.as_str())),
            ("owner", Some(whose.owner.as_str())),
            ("agent", agent),
        ]
        .into_iter()
        .filter_map(|(name, said)| Some((name, said?)))
    }

    fn write_json(&self, out: &mut Writer<'_>) -> fmt::Result {
        let (trace, span) = (self.ids.trace_id(), self.ids.span);
        write!(out, ",\"trace_id\":\"{trace}\",\"span_id\":\"{span:016x}\"")?;
        self.said()
            .try_for_each(|(name, said)| write!(out, ",\"{name}\":{}", json!(said)))
    }

    fn write_text(&self, out: &mut Writer<'_>) -> fmt::Result {
        let (trace, span) = (self.ids.trace_id(), self.ids.span);
        write!(out, " trace_id={trace} span_id={span:016x}")?;
        self.said()
            .try_for_each(|(name, said)| write!(out, " {name}={said:?}"))
    }
}

#[cfg(test)]
mod tests;
