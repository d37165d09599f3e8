//! Why a request is not answered as asked: one shape for all interfaces, which is OpenAI's.

use super::Response;
use crate::engine::Busy;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde_json::json;
use std::time::Duration;

/// What the sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    status: StatusCode,
    message: String,
    /// The part of the request that is wrong.
    param: Option<String>,
    retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Failure { status, message: message.into(), param: None, retry_after: None }
    }

    /// Something in the request cannot be done.
    pub(super) fn bad(param: &str, message: impl Into<String>) -> Self {
        Failure { param: Some(param.to_string()), ..Failure::new(StatusCode::BAD_REQUEST, message) }
    }

    /// It may be possible later.
    pub(super) fn later(message: impl Into<String>, retry_after: Duration) -> Self {
        Failure { retry_after: Some(retry_after), ..Failure::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    pub(super) fn not_found(what: impl std::fmt::Display) -> Self {
        Failure::new(StatusCode::NOT_FOUND, format!("there is no {what}"))
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// As JSON.
    pub(super) fn json(&self) -> serde_json::Value {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            503 => "unavailable_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let mut error = json!({
            "message": self.message, "type": kind, "param": self.param, "code": self.status.as_u16(),
        });
        if let Some(after) = self.retry_after {
            error["retry_after_seconds"] = json!((after.as_secs_f64() * 10.0).ceil() / 10.0);
        }
        json!({ "error": error })
    }
}

impl From<Busy> for Failure {
    fn from(busy: Busy) -> Self {
        let seconds = busy.retry_after.as_secs_f64();
        Failure::later(format!("the queue is full: try again in about {seconds:.0} s"), busy.retry_after)
    }
}

impl Failure {
    pub(super) fn into_response(self) -> Response {
        let mut response = super::body::json(self.status, &self.json());
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            // Whole seconds, and rather too late than too early.
            headers.insert(header::RETRY_AFTER, (after.as_secs_f64().ceil() as u64).max(1).into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_says_when_to_come_back() {
        let failure = Failure::from(Busy { retry_after: Duration::from_millis(2300) });
        assert_eq!(failure.json()["error"]["retry_after_seconds"], 2.3);
        let response = failure.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "3");
    }
}
