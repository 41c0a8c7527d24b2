//! What can be asked: every method and path, in one table.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, delete, get, post};

use super::error::ApiError;
use super::handlers;
use super::state::Shell;

/// Longest body of a request. A site's report names all trees that failed, a transfer all receivers.
const BODY: usize = 8 << 20;

type Route = (&'static str, &'static str, MethodRouter<Arc<Shell>>);

/// The table. Paths are written as OpenAPI writes them.
pub(super) fn table() -> Vec<Route> {
    use handlers as h;
    vec![
        ("post", "/v1/sites/{site}/sync", post(h::sync)),
        ("post", "/v1/transfers", post(h::submit)),
        ("get", "/v1/transfers", get(h::list)),
        ("get", "/v1/transfers/{id}", get(h::transfer)),
        ("delete", "/v1/transfers/{id}", delete(h::cancel)),
        ("post", "/v1/transfers/{id}/progress", post(h::progress)),
        ("get", "/v1/overview", get(h::overview)),
        ("get", "/openapi.json", get(h::openapi)),
        ("get", "/metrics", get(h::metrics)),
        ("get", "/", get(h::page)),
    ]
}

/// The router of all listeners. Who asks is told by the connection.
pub(super) fn router(shell: Arc<Shell>) -> Router {
    let router = table().into_iter().fold(Router::new(), |r, (_, path, handler)| r.route(path, handler));
    router
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "no such path: see /openapi.json") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this path takes other methods: see /openapi.json")
        })
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(shell)
}
