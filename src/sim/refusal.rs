//! Error answers, in the shape of the dialect that asked.

use crate::dialect::Dialect;
use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use std::borrow::Cow;

/// An error answer.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub kind: &'static str,
    pub message: Cow<'static, str>,
    pub param: Option<&'static str>,
    pub code: Option<&'static str>,
}

impl Refusal {
    /// A 400 about the request as a whole.
    pub fn invalid(message: Cow<'static, str>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "invalid_request_error",
            message,
            param: None,
            code: None,
        }
    }

    /// A 400 about one member.
    pub fn about(param: &'static str, message: String) -> Self {
        Self {
            param: Some(param),
            code: Some("invalid_value"),
            ..Self::invalid(message.into())
        }
    }

    /// A member that must be there is not.
    pub fn required(dialect: Dialect, param: &'static str) -> Self {
        let message = match dialect {
            Dialect::AnthropicMessages => format!("{param}: Field required"),
            _ => format!("Missing required parameter: '{param}'."),
        };
        Self {
            code: Some("missing_required_parameter"),
            ..Self::about(param, message)
        }
    }

    /// An output cap below what the dialect takes.
    pub fn below_minimum(dialect: Dialect, param: &'static str, least: u64, got: u64) -> Self {
        let message = match dialect {
            Dialect::AnthropicMessages => {
                format!("{param}: Input should be greater than or equal to {least}")
            }
            _ => format!(
                "Invalid '{param}': integer below minimum value. Expected a value >= {least}, but \
                 got {got} instead."
            ),
        };
        Self {
            code: Some("integer_below_min_value"),
            ..Self::about(param, message)
        }
    }

    /// OpenAI's reasoning models take `max_completion_tokens` only.
    pub fn unsupported_max_tokens(both: bool) -> Self {
        if both {
            let text = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not \
                        supported.";
            return Self {
                code: Some("invalid_parameter_combination"),
                ..Self::about("max_tokens", text.into())
            };
        }
        let text = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                    'max_completion_tokens' instead.";
        Self {
            code: Some("unsupported_parameter"),
            ..Self::about("max_tokens", text.into())
        }
    }

    /// No such model.
    pub fn missing_model(dialect: Dialect, model: &str) -> Self {
        let (kind, message) = match dialect {
            Dialect::AnthropicMessages => ("not_found_error", format!("model: {model}")),
            Dialect::Gemini => (
                "not_found",
                format!(
                    "models/{model} is not found for API version v1beta, or is not supported for generateContent."
                ),
            ),
            _ => (
                "invalid_request_error",
                format!("The model `{model}` does not exist or you do not have access to it."),
            ),
        };
        Self {
            status: StatusCode::NOT_FOUND,
            kind,
            message: message.into(),
            param: None,
            code: Some("model_not_found"),
        }
    }

    /// A thread goes on from a message that is not kept: clients send the whole conversation again.
    pub fn lost_thread(id: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            kind: "not_found_error",
            code: Some("thread_not_found"),
            ..Self::invalid(format!("thread: message '{id}' not found").into())
        }
    }

    /// The prompt does not fit.
    pub fn too_long(dialect: Dialect, tokens: u64, window: u64) -> Self {
        let message = match dialect {
            Dialect::AnthropicMessages => {
                format!("prompt is too long: {tokens} tokens > {window} maximum")
            }
            _ => format!(
                "This model's maximum context length is {window} tokens. However, your messages \
                 resulted in {tokens} tokens. Please reduce the length of the messages."
            ),
        };
        Self {
            code: Some("context_length_exceeded"),
            ..Self::about("messages", message)
        }
    }

    /// Nothing is there.
    pub fn not_found(message: String) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            ..Self::invalid(message.into())
        }
    }

    /// The plain error that a model's name or the settings ask for.
    pub fn simulated(dialect: Dialect, status: u16) -> Self {
        let anthropic = dialect == Dialect::AnthropicMessages;
        let (kind, message): (_, &'static str) = match status {
            400 => (
                "invalid_request_error",
                "The simulated provider refuses this request.",
            ),
            408 => ("timeout_error", "Request timed out."),
            429 if anthropic => (
                "rate_limit_error",
                "Number of requests has exceeded your rate limit.",
            ),
            429 => (
                "requests",
                "Rate limit reached for this model. Please try again in 1s.",
            ),
            499 => ("client_closed_request", "Client closed request."),
            502 => ("bad_gateway", "Bad gateway."),
            503 if anthropic => ("overloaded_error", "Service unavailable."),
            503 => (
                "server_error",
                "The engine is currently overloaded, please try again later.",
            ),
            504 => ("timeout_error", "Gateway timeout."),
            529 => ("overloaded_error", "Overloaded"),
            _ if anthropic => ("api_error", "Internal server error"),
            _ => (
                "server_error",
                "The server had an error while processing your request.",
            ),
        };
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            kind,
            message: message.into(),
            param: None,
            code: (status == 429).then_some("rate_limit_exceeded"),
        }
    }

    /// The body, in the caller's dialect.
    pub fn body(&self, dialect: Dialect) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        match dialect {
            Dialect::Gemini => {
                out.put_slice(b"{\"error\":{\"code\":");
                out.put_slice(self.status.as_str().as_bytes());
                out.put_slice(b",\"message\":");
                quote(&mut out, &self.message);
                out.put_slice(b",\"status\":");
                quote(&mut out, super::gemini::status_word(self.status));
                out.put_slice(b"}}");
            }
            Dialect::Bedrock => return super::bedrock::error_body(self),
            Dialect::AnthropicMessages => {
                out.put_slice(b"{\"type\":\"error\",\"error\":");
                object(
                    &mut out,
                    &[("type", Some(self.kind)), ("message", Some(&self.message))],
                );
                // What clients of threads look at.
                if let Some(code) = self.code.filter(|code| code.starts_with("thread_")) {
                    out.truncate(out.len() - 1);
                    out.put_slice(b",\"details\":");
                    object(&mut out, &[("error_code", Some(code))]);
                    out.put_slice(b"}");
                }
                out.put_slice(b",\"request_id\":null}");
            }
            _ => {
                out.put_slice(b"{\"error\":");
                object(
                    &mut out,
                    &[
                        ("message", Some(&self.message)),
                        ("type", Some(self.kind)),
                        ("param", self.param),
                        ("code", self.code),
                    ],
                );
                out.put_slice(b"}");
            }
        }
        out.freeze()
    }
}

fn object(out: &mut BytesMut, members: &[(&str, Option<&str>)]) {
    for (i, (name, value)) in members.iter().enumerate() {
        out.put_u8(if i == 0 { b'{' } else { b',' });
        quote(out, name);
        out.put_u8(b':');
        match value {
            Some(value) => quote(out, value),
            None => out.put_slice(b"null"),
        }
    }
    out.put_u8(b'}');
}

/// Writes a JSON string.
pub fn quote(out: &mut BytesMut, text: &str) {
    // Writing a string into memory cannot fail.
    let _ = serde_json::to_writer(out.writer(), text);
}
