//! The codes of refusals, their statuses, and the error types that each family of SDKs knows.

use crate::ledger::Dimension;
use crate::units::Meter;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:literal;)*) => {
        /// What happened. Part of the interface: names and statuses do not change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the wire, in the journal and in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status, unless `refusal_status` says otherwise.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
        }
    };
}

codes! {
    /// A task's dollars or tokens.
    TaskBudgetExceeded = "task_budget_exceeded", 402;
    /// An agent's dollars or tokens.
    AgentBudgetExceeded = "agent_budget_exceeded", 402;
    /// An identity's dollars or tokens.
    IdentityBudgetExceeded = "identity_budget_exceeded", 402;
    /// Dollars or tokens per anything else.
    BudgetExceeded = "budget_exceeded", 402;
    /// Turns.
    TurnsExceeded = "turns_exceeded", 402;
    /// Tool calls.
    ToolCallsExceeded = "tool_calls_exceeded", 402;
    /// Any other meter.
    LimitExceeded = "limit_exceeded", 402;
    /// The time is over.
    DeadlineExceeded = "deadline_exceeded", 402;
    /// The context has grown too large.
    ContextExceeded = "context_exceeded", 402;
    /// The agents go round in circles.
    LoopDetected = "loop_detected", 402;
    /// The task waits for a person.
    TaskSuspended = "task_suspended", 402;
    /// The task is over.
    TaskClosed = "task_closed", 402;
    /// Only held money is in the way.
    BudgetHeld = "budget_held", 402;
    /// This identity may not do this.
    NotPermitted = "not_permitted", 403;
    /// No price is known for the model.
    UnpricedModel = "unpriced_model", 403;
    /// Nothing meters the endpoint.
    UnmeteredEndpoint = "unmetered_endpoint", 403;
    /// The request has a field whose price is unknown.
    UnlistedField = "unlisted_field", 403;
    /// No valid key.
    Unauthenticated = "unauthenticated", 401;
    /// The request is malformed.
    InvalidRequest = "invalid_request", 400;
    /// No provider has the model.
    ModelNotFound = "model_not_found", 404;
    /// The body is too large.
    BodyTooLarge = "body_too_large", 413;
    /// Throughput, not budget: the only one that waiting a moment cures.
    RateLimited = "rate_limited", 429;
    /// Nothing can be held, for nothing can be written.
    StoreUnavailable = "store_unavailable", 503;
    /// This gateway is going down.
    Draining = "draining", 503;
    /// The provider is not called for the moment: it has as many calls as it may, or fails too often.
    ProviderUnavailable = "provider_unavailable", 503;
    /// The provider could not be reached or broke off.
    UpstreamError = "upstream_error", 502;
    /// The provider did not answer in time.
    UpstreamTimeout = "upstream_timeout", 504;
}

impl Code {
    /// The code for an account of this meter and `per` that leaves too little.
    #[must_use]
    pub fn exceeded(meter: Meter, account: &[Dimension]) -> Self {
        match meter {
            Meter::Turns => return Self::TurnsExceeded,
            Meter::ToolCalls => return Self::ToolCallsExceeded,
            Meter::Duration => return Self::DeadlineExceeded,
            Meter::Attempts | Meter::Tasks | Meter::Depth | Meter::FanOut => {
                return Self::LimitExceeded;
            }
            Meter::Usd
            | Meter::Tokens
            | Meter::InputTokens
            | Meter::OutputTokens
            | Meter::FreshTokens => {}
        }
        // An owner is around everything, so it does not tell one budget from another.
        let per = |name| account.iter().any(|(dimension, _)| *dimension == name);
        let of = |names: &[&str]| {
            let mut dimensions = account.iter().map(|(dimension, _)| *dimension);
            dimensions.all(|dimension| dimension == "owner" || names.contains(&dimension))
        };
        if per("agent") && of(&["agent", "task", "identity"]) {
            Self::AgentBudgetExceeded
        } else if per("task") && of(&["task"]) {
            Self::TaskBudgetExceeded
        } else if per("identity") && of(&["identity"]) {
            Self::IdentityBudgetExceeded
        } else {
            Self::BudgetExceeded
        }
    }

    /// Trying again at once will not help, and SDKs are told so. Such refusals are 402.
    #[must_use]
    pub const fn is_final(self) -> bool {
        self.status() == 402
    }

    /// The same call may pass later with nobody doing anything.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::BudgetHeld
                | Self::RateLimited
                | Self::StoreUnavailable
                | Self::Draining
                | Self::ProviderUnavailable
                | Self::UpstreamError
                | Self::UpstreamTimeout
        )
    }

    /// `error.type` as OpenAI's SDKs know it.
    pub(super) const fn openai_type(self) -> &'static str {
        match self.status() {
            402 => "insufficient_quota",
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// `error.type` as Anthropic's SDKs know it.
    pub(super) const fn anthropic_type(self) -> &'static str {
        if matches!(self, Self::ProviderUnavailable) {
            return "overloaded_error";
        }
        match self.status() {
            402 => "billing_error",
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            504 => "timeout_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        }
    }
}
