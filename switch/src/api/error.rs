//! Refusals: a status and `{"error": "..."}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use valecast_config::{ConfigErrors, Diagnostic};

use crate::daemon::DaemonError;
use crate::switch::SwitchError;

/// What a client is told instead of an answer.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
    diagnostics: Vec<Diagnostic>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), diagnostics: Vec::new() }
    }

    /// For requests whose body names things: what is missing is a mistake in the body, not in the address.
    pub fn in_body(self) -> Self {
        match self.status {
            StatusCode::NOT_FOUND => Self { status: StatusCode::UNPROCESSABLE_ENTITY, ..self },
            _ => self,
        }
    }
}

impl From<ConfigErrors> for ApiError {
    fn from(e: ConfigErrors) -> Self {
        let message = e.to_string();
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, message, diagnostics: e.diagnostics }
    }
}

impl From<SwitchError> for ApiError {
    fn from(e: SwitchError) -> Self {
        let status = match &e {
            SwitchError::Missing { .. } => StatusCode::NOT_FOUND,
            SwitchError::Exists { .. } | SwitchError::InUse { .. } | SwitchError::Busy { .. } => {
                StatusCode::CONFLICT
            }
            SwitchError::Denied { .. } => StatusCode::FORBIDDEN,
            SwitchError::Limit(_) => StatusCode::INSUFFICIENT_STORAGE,
            SwitchError::NotARing { .. } | SwitchError::Open { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            SwitchError::Worker { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, e.to_string())
    }
}

impl From<DaemonError> for ApiError {
    fn from(e: DaemonError) -> Self {
        let status = match e {
            DaemonError::Switch(e) => return e.into(),
            DaemonError::Config(e) => return e.into(),
            DaemonError::NoSwitch(..) => StatusCode::NOT_FOUND,
            DaemonError::Diff(_) | DaemonError::NoFile => StatusCode::CONFLICT,
            DaemonError::Socket { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, e.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.message });
        if !self.diagnostics.is_empty() {
            body["diagnostics"] = json!(self.diagnostics);
        }
        (self.status, Json(body)).into_response()
    }
}
