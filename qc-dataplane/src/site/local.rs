//! A site's socket for its endpoints: what `valecast qc send` and `recv` talk to.
//!
//! What is about transfers goes to the controller as it is, with this site as the sender's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::agent::Shared;
use crate::ask::Asker;
use crate::control::{Incoming, NewTransfer, Place, RECEIVE_PORT, SiteInfo};

/// Longest request of an endpoint; a sender's progress with thousands of receivers is far smaller.
const MOST_BODY: usize = 16 << 20;
/// Longest wait for news.
const MOST_WAIT: u64 = 60_000;
/// How long the controller may take beyond what was asked for.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/site", get(site))
        .route("/v1/incoming", get(incoming))
        .route("/v1/receive", post(receive))
        .route("/v1/transfers", any(pass))
        .route("/v1/transfers/{*rest}", any(pass))
        .fallback(|| async {
            refuse(
                StatusCode::NOT_FOUND,
                "no such path: there are /v1/site, /v1/incoming, /v1/receive, /v1/transfers",
            )
        })
        .with_state(shared)
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({ "error": message.into() }))).into_response()
}

async fn site(State(s): State<Arc<Shared>>) -> Json<SiteInfo> {
    Json(SiteInfo {
        site: s.site.name.clone(),
        switch: s.site.switch.clone(),
        socket: s.attach_socket(),
        controller: s.controller_state(),
    })
}

async fn receive(State(s): State<Arc<Shared>>) -> Json<Place> {
    Json(Place { port: RECEIVE_PORT.to_owned(), socket: s.attach_socket() })
}

type Words = Query<HashMap<String, String>>;

fn number(words: &HashMap<String, String>, key: &str) -> Result<Option<u64>, String> {
    let Some(text) = words.get(key) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("`{key}` is no whole number: {text:?}"))
}

async fn incoming(State(s): State<Arc<Shared>>, Query(words): Words) -> Response {
    let asked = number(&words, "version").and_then(|v| Ok((v, number(&words, "wait_ms")?.unwrap_or(0))));
    let (version, wait) = match asked {
        Ok(asked) => asked,
        Err(why) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, why),
    };
    let mut news = s.incoming.subscribe();
    let changed = news.wait_for(|now| version != Some(now.version));
    // At the end of the wait the answer is what it was.
    let _ = tokio::time::timeout(Duration::from_millis(wait.min(MOST_WAIT)), changed).await;
    let now: Incoming = s.incoming.borrow().clone();
    Json(now).into_response()
}

async fn pass(State(s): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let body = match to_bytes(body, MOST_BODY).await {
        Ok(body) => body,
        Err(e) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, e.to_string()),
    };
    let Ok(body) = String::from_utf8(body.into()) else {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "the request is not UTF-8");
    };
    let body = match head.method == Method::POST && head.uri.path() == "/v1/transfers" {
        true => match from_here(&body, &s.site.name) {
            Ok(body) => body,
            Err(e) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, e),
        },
        false => body,
    };
    let waits = head.uri.query().and_then(|q| q.split('&').find_map(|w| w.strip_prefix("wait_ms=")));
    let waits = Duration::from_millis(waits.and_then(|w| w.parse().ok()).unwrap_or(0).min(MOST_WAIT));
    let mut asker = Asker::new(s.controller.clone(), s.keys.clone());
    let body = (!body.is_empty()).then_some(body.as_str());
    match asker.ask(head.method.as_str(), &path, body, PATIENCE + waits).await {
        Ok(said) => {
            let mut answer = Response::new(Body::from(said.body));
            *answer.status_mut() = StatusCode::from_u16(said.status).unwrap_or(StatusCode::BAD_GATEWAY);
            answer
                .headers_mut()
                .insert(CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
            answer
        }
        Err(e) => refuse(StatusCode::SERVICE_UNAVAILABLE, format!("the controller does not answer: {e}")),
    }
}

/// A request for a transfer, from this site.
fn from_here(body: &str, site: &str) -> Result<String, String> {
    let mut value: Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let known: NewTransfer = serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
    if known.from.as_deref().is_some_and(|from| from != site) {
        return Err(format!("this is site {site:?}: leave `from` out"));
    }
    value["from"] = json!(site);
    serde_json::to_string(&value).map_err(|e| e.to_string())
}
