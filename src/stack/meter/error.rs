//! Exchanges that bring no answer: a provider that is full, was not reached, broke off, or answered with
//! an error. Says how the hold ends, what the caller is told, and what might help.

use super::plain::unreadable;
use super::{JSON, Underway};
use crate::dialect::translate::Unreadable;
use crate::flights::Stop;
use crate::gateway::NoToken;
use crate::stack::body::{AnswerBody, Upstream};
use crate::stack::failed::{Cure, Failed, NoAnswer};
use crate::stack::record::{Outcome, Record};
use crate::stack::upstream::{Reached, reached};
use crate::stack::{Code, Refused};
use http::{Response, StatusCode, header};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

/// Longest error answer that is collected, bytes; a longer one is in doubt like a broken one.
pub(super) const ERROR_BYTES_MAX: usize = 4 * 1024 * 1024;

/// No place at the provider: nothing was sent.
pub(super) fn shed(record: Box<Record>, refused: Refused) -> NoAnswer {
    if refused.refusal.code() != Code::ProviderUnavailable {
        return refused.into();
    }
    let cure = Cure {
        elsewhere: true,
        ..Cure::default()
    };
    NoAnswer::Failed(Failed::new(
        record,
        Outcome::Void("shed"),
        Err(refused),
        cure,
    ))
}

/// Nothing to sign the call with: nothing was sent.
pub(super) fn unsigned(record: Box<Record>, why: &NoToken) -> NoAnswer {
    let message = format!(
        "Provider `{}` cannot be called: {why}.",
        record.provider.name
    );
    let cure = Cure {
        elsewhere: true,
        ..Cure::default()
    };
    let told = Err(Refused::new(Code::UpstreamError, &message));
    NoAnswer::Failed(Failed::new(record, Outcome::Void("not_sent"), told, cure))
}

impl Underway {
    /// An error answer of the provider passes as it came, if nobody tries again. Void, if such answers
    /// are not billed.
    pub(super) async fn error_answer(
        mut self,
        mut parts: http::response::Parts,
        body: Upstream,
    ) -> Result<Response<AnswerBody>, NoAnswer> {
        self.part = None;
        let Some(record) = self.record.take() else {
            return Err(Refused::internal("no record").into());
        };
        let limited = http_body_util::Limited::new(body, ERROR_BYTES_MAX);
        let by = record.until(Instant::now(), record.provider.timeouts.between_bytes);
        let back = record.back().cloned();
        // If this future is dropped half-way, the record's own drop leaves the hold in doubt.
        let failed = match timeout_at(by, limited.collect()).await {
            Ok(Ok(body)) => {
                let mut body = body.to_bytes();
                let status = parts.status;
                if status.is_server_error() {
                    let (provider, status) = (record.provider.name.as_str(), status.as_u16());
                    tracing::info!(provider, status, "a provider answered with an error");
                }
                let outcome = match status.is_success() {
                    // Some intermediary's page in the place of an answer.
                    true => Outcome::Doubt("no_answer"),
                    false if record.provider.bills(status, &body) => Outcome::Doubt("billed_error"),
                    false => Outcome::Void("provider_refused"),
                };
                let cure = match status.is_success() {
                    true => Cure::ANY,
                    false => Cure::of(status, &parts.headers, &body, crate::clock::now()),
                };
                if status == StatusCode::UNAUTHORIZED {
                    record.provider.distrust();
                }
                if let Some(pause) = cure.after {
                    record.quiet(pause);
                }
                parts.headers.remove(header::CONTENT_LENGTH);
                let told = match back {
                    Some(_) if status.is_success() => Err(unreadable(Unreadable::Form)),
                    Some(back) => {
                        (parts.status, body) = back.error(status, &body);
                        parts.headers.insert(header::CONTENT_TYPE, JSON);
                        Ok(Response::from_parts(parts, AnswerBody::Whole(body)))
                    }
                    None => Ok(Response::from_parts(parts, AnswerBody::Whole(body))),
                };
                Failed::new(record, outcome, told, cure)
            }
            Ok(Err(_)) | Err(_) => {
                let provider = &record.provider.name;
                let message = format!("Provider `{provider}` broke its error answer off.");
                let told = Err(Refused::new(Code::UpstreamError, &message));
                Failed::new(record, Outcome::Doubt("broken_error"), told, Cure::ANY)
            }
        };
        Err(NoAnswer::Failed(failed))
    }
}

/// The provider was not reached, or perhaps it was.
pub(super) fn unreached(
    record: Box<Record>,
    error: &hyper_util::client::legacy::Error,
) -> Box<Failed> {
    let provider = record.provider.name.clone();
    let cause = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    tracing::info!(%provider, %error, cause, "a provider could not be reached");
    let (outcome, message) = match reached(error) {
        Reached::Never => (
            Outcome::Void("unreachable"),
            format!("Provider `{provider}` cannot be reached."),
        ),
        Reached::Perhaps => (
            Outcome::Doubt("reset"),
            format!("Provider `{provider}` closed the connection without an answer."),
        ),
    };
    let told = Err(Refused::new(Code::UpstreamError, &message));
    Failed::new(record, outcome, told, Cure::ANY)
}

/// Why an exchange ended before its answer did.
pub(super) enum Broken {
    Failed(String),
    TimedOut,
    Stopped(Stop),
}

impl Broken {
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Failed(_) => "reset",
            Self::TimedOut => "timeout",
            Self::Stopped(_) => "stopped",
        }
    }

    pub(super) fn refusal(&self, provider: &str) -> Refused {
        match self {
            Self::TimedOut => Refused::new(
                Code::UpstreamTimeout,
                &format!("Provider `{provider}` fell silent in the middle of its answer."),
            ),
            Self::Failed(error) => {
                tracing::info!(provider, error, "an answer broke off");
                Refused::new(
                    Code::UpstreamError,
                    &format!("Provider `{provider}` broke its answer off."),
                )
            }
            Self::Stopped(_) => Refused::internal("a stop has its own refusal"),
        }
    }
}
