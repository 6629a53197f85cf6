//! How the API answers: one shape for what went well, one for what did not.
//!
//! `{"error":{"code","message"}}`; the codes are part of the API. A fault of the gateway itself is
//! logged where it is turned into an answer, and says nothing of its inside.

use crate::store::StoreError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status.
    pub status: StatusCode,
    /// The word for programs.
    pub code: &'static str,
    /// The sentence for people.
    pub message: String,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    /// 400: the request cannot be meant.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// 401: no token, or another one.
    #[must_use]
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", message)
    }

    /// 403: it comes from where nobody is trusted.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not_permitted", message)
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 409: it cannot be done to what is there.
    #[must_use]
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 413: the body is longer than its bound.
    #[must_use]
    pub fn too_large(bytes: usize) -> Self {
        let message = format!("the body is longer than {bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    /// 415: a browser could have sent it without asking.
    #[must_use]
    pub fn unsupported(message: impl Into<String>) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "unsupported_media_type", message)
    }

    /// 405: another method is meant.
    #[must_use]
    pub fn method() -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(
            status,
            "method_not_allowed",
            "this path takes another method",
        )
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self {
            status,
            code,
            message,
        } = self;
        let body = json!({"error": {"code": code, "message": message}});
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let bearer = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert("www-authenticate", bearer);
        }
        response
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound { .. } => Self::not_found(error.to_string()),
            StoreError::TaskClosed(_) => Self::conflict("task_closed", error.to_string()),
            _ => {
                tracing::error!(%error, "the store failed a request of an operator");
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Self::new(status, "store_unavailable", "the store does not answer")
            }
        }
    }
}

/// What a route answers.
pub type Answer = Result<Json<Value>, Failure>;
