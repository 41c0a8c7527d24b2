//! What can be asked: every method and path, in one table.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};

use super::error::ApiError;
use super::{Api, Scope, handlers};

type Route = (&'static str, &'static str, MethodRouter<Arc<Api>>);

/// The table. Paths are written as OpenAPI writes them.
pub(super) fn table() -> Vec<Route> {
    use handlers as h;
    vec![
        ("get", "/v1/switches", get(h::switches)),
        ("get", "/v1/switches/{sw}/ports", get(h::ports)),
        ("post", "/v1/switches/{sw}/ports", post(h::attach)),
        ("delete", "/v1/switches/{sw}/ports/{port}", delete(h::detach)),
        ("get", "/v1/switches/{sw}/fdb", get(h::fdb)),
        ("get", "/v1/switches/{sw}/groups", get(h::groups)),
        ("post", "/v1/switches/{sw}/groups", post(h::group_add)),
        ("put", "/v1/switches/{sw}/groups/{group}", put(h::group_set)),
        ("delete", "/v1/switches/{sw}/groups/{group}", delete(h::group_del)),
        ("get", "/v1/switches/{sw}/meters", get(h::meters)),
        ("post", "/v1/switches/{sw}/meters", post(h::meter_add)),
        ("put", "/v1/switches/{sw}/meters/{meter}", put(h::meter_set)),
        ("delete", "/v1/switches/{sw}/meters/{meter}", delete(h::meter_del)),
        ("get", "/v1/switches/{sw}/mirrors", get(h::mirrors)),
        ("post", "/v1/switches/{sw}/mirrors", post(h::mirror_add)),
        ("delete", "/v1/switches/{sw}/mirrors/{to}", delete(h::mirror_del)),
        ("get", "/v1/switches/{sw}/stats", get(h::stats)),
        ("get", "/v1/switches/{sw}/config", get(h::config)),
        ("post", "/v1/reload", post(h::reload)),
        ("get", "/openapi.json", get(h::openapi)),
        ("get", "/metrics", get(h::metrics)),
        ("get", "/", get(h::dashboard)),
    ]
}

/// The router of one listener.
pub(super) fn router(api: Arc<Api>) -> Router {
    let router = table().into_iter().fold(Router::new(), |r, (_, path, handler)| r.route(path, handler));
    router
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "no such path: see /openapi.json") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this path takes other methods: see /openapi.json")
        })
        .layer(from_fn_with_state(api.clone(), guard))
        .with_state(api)
}

/// Nothing is changed over a listener that anybody may reach.
async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if api.scope == Scope::ReadOnly && !reads {
        let message = "the TCP listener only reads: change a switch over its Unix socket (`valecast ctl`)";
        return ApiError::new(StatusCode::FORBIDDEN, message).into_response();
    }
    next.run(request).await
}
