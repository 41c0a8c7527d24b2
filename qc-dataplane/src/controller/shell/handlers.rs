//! What the routes do.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;
use super::metrics;
use super::peer::Peer;
use super::state::Shell;
use crate::control::{Created, NewTransfer, Progress, SitePlan, SiteReport, TransferStatus};
use crate::controller::core::LONGEST_WAIT;
use crate::controller::core::view::Overview;

type Shared = State<Arc<Shell>>;
type Body = Result<Bytes, BytesRejection>;
type Answer<T> = Result<Json<T>, ApiError>;

const OPENAPI: &str = include_str!("openapi.json");
const PAGE: &str = include_str!("page.html");
/// The page is one file that talks to this server only.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:";
/// Transfers that are over in a list that does not say.
const LISTED: usize = 1_000;
/// Answers that change are gathered for so long, as one change seldom comes alone.
const GATHER: Duration = Duration::from_millis(2);

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message)
}

fn parse<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let body = body.map_err(|e| ApiError::new(e.status(), format!("the body: {}", e.body_text())))?;
    serde_json::from_slice(&body).map_err(|e| invalid(format!("the body: {e}")))
}

/// `a=1&b=2`, each key one of those known.
fn query(text: Option<&str>, known: &[&str]) -> Result<Vec<(String, String)>, ApiError> {
    let mut pairs = Vec::new();
    for pair in text.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !known.contains(&key) {
            return Err(invalid(format!("unknown query {key:?}: there are {}", known.join(", "))));
        }
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

fn number(pairs: &[(String, String)], key: &str) -> Result<Option<u64>, ApiError> {
    let found = pairs.iter().rev().find(|p| p.0 == key);
    let parse = |p: &(String, String)| {
        p.1.parse().map_err(|_| invalid(format!("{key} is {:?}, must be a whole number", p.1)))
    };
    found.map(parse).transpose()
}

fn deadline(wait_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(wait_ms.min(LONGEST_WAIT))
}

/// A site's request that waits; whatever ends it, the core hears of it.
struct Waiting<'s> {
    shell: &'s Shell,
    site: &'s str,
}

impl<'s> Waiting<'s> {
    fn new(shell: &'s Shell, site: &'s str) -> Self {
        shell.event(|core, _| core.waits(site));
        Self { shell, site }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shell.event(|core, now| core.answered(now, self.site));
    }
}

pub(super) async fn sync(
    State(shell): Shared,
    peer: Peer,
    Path(site): Path<String>,
    body: Body,
) -> Answer<SitePlan> {
    peer.speaks_for(&site)?;
    let report: SiteReport = parse(body)?;
    let until = deadline(report.wait_ms);
    shell.event(|core, now| core.sync(now, &site, &report)).0?;
    let mut changed = shell.wait_for_site(&site);
    let _waiting = Waiting::new(&shell, &site);
    let mut late = false;
    loop {
        changed.mark_unchanged();
        let (plan, ticket) = shell.look(|core, _| {
            let is_new = core.site(&site)?.generation != report.generation;
            if late || is_new { core.plan(&site) } else { None }
        });
        if let Some(plan) = plan {
            shell.kept(ticket).await?;
            return Ok(Json(plan));
        }
        match timeout_at(until, changed.changed()).await {
            Ok(_) => tokio::time::sleep(GATHER).await,
            Err(_) => late = true,
        }
    }
}

pub(super) async fn submit(
    State(shell): Shared,
    peer: Peer,
    body: Body,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let mut new: NewTransfer = parse(body)?;
    if new.from.is_none() {
        new.from = peer.only_site().map(str::to_owned);
    }
    // Without one it is refused in any case, with a better reason.
    if let Some(from) = &new.from {
        peer.speaks_for(from)?;
    } else if peer == Peer::Reader {
        peer.speaks_for("")?;
    }
    let (created, ticket) = shell.event(|core, now| core.submit(now, new));
    let created = created?;
    shell.kept(ticket).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

pub(super) async fn list(State(shell): Shared, RawQuery(text): RawQuery) -> Answer<Vec<TransferStatus>> {
    let pairs = query(text.as_deref(), &["from", "open", "limit"])?;
    let from = pairs.iter().find(|p| p.0 == "from").map(|p| p.1.clone());
    let open = match pairs.iter().find(|p| p.0 == "open").map(|p| p.1.as_str()) {
        None | Some("false" | "0") => false,
        Some("" | "true" | "1") => true,
        Some(other) => return Err(invalid(format!("open is {other:?}, must be true or false"))),
    };
    let limit = number(&pairs, "limit")?.map_or(LISTED, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let (list, ticket) = shell.look(|core, _| core.list(from.as_deref(), open, limit));
    shell.kept(ticket).await?;
    Ok(Json(list))
}

pub(super) async fn transfer(
    State(shell): Shared,
    Path(id): Path<String>,
    RawQuery(text): RawQuery,
) -> Answer<TransferStatus> {
    let id = transfer_number(&id)?;
    let pairs = query(text.as_deref(), &["version", "wait_ms"])?;
    let version = number(&pairs, "version")?;
    let until = deadline(number(&pairs, "wait_ms")?.unwrap_or(0));
    let mut changed = shell.wait_for_transfer(id);
    loop {
        changed.mark_unchanged();
        let (status, ticket) = shell.look(|core, _| core.status(id));
        let status = status?;
        let fresh = version.is_none_or(|v| status.version > v) || status.state.is_over();
        if fresh || timeout_at(until, changed.changed()).await.is_err() {
            shell.kept(ticket).await?;
            return Ok(Json(status));
        }
    }
}

/// A transfer's number, as it stands in a path.
fn transfer_number(text: &str) -> Result<u64, ApiError> {
    let none =
        |_| ApiError::new(StatusCode::NOT_FOUND, format!("there is no transfer {text:?}: they have numbers"));
    text.parse().map_err(none)
}

/// May whoever asks speak for the sender of this transfer?
fn sender(shell: &Shell, peer: &Peer, id: u64) -> Result<(), ApiError> {
    let from = shell.look(|core, _| core.transfers().get(&id).map(|t| t.from.clone())).0;
    match from {
        Some(from) => peer.speaks_for(&from),
        None if *peer == Peer::Reader => peer.speaks_for(""),
        None => Err(ApiError::new(StatusCode::NOT_FOUND, format!("there is no transfer {id}"))),
    }
}

pub(super) async fn cancel(
    State(shell): Shared,
    peer: Peer,
    Path(id): Path<String>,
) -> Answer<TransferStatus> {
    let id = transfer_number(&id)?;
    sender(&shell, &peer, id)?;
    let (status, ticket) = shell.event(|core, now| core.cancel(now, id).and_then(|()| core.status(id)));
    let status = status?;
    shell.kept(ticket).await?;
    Ok(Json(status))
}

pub(super) async fn progress(
    State(shell): Shared,
    peer: Peer,
    Path(id): Path<String>,
    body: Body,
) -> Answer<TransferStatus> {
    let id = transfer_number(&id)?;
    sender(&shell, &peer, id)?;
    let progress: Progress = parse(body)?;
    let (status, ticket) =
        shell.event(|core, now| core.progress(now, id, &progress).and_then(|()| core.status(id)));
    let status = status?;
    shell.kept(ticket).await?;
    Ok(Json(status))
}

pub(super) async fn overview(State(shell): Shared) -> Json<Overview> {
    Json(shell.look(|core, now| core.overview(now)).0)
}

pub(super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}

pub(super) async fn page() -> impl IntoResponse {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE))
}

pub(super) async fn metrics(State(shell): Shared, headers: HeaderMap) -> Result<Response, ApiError> {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok());
    let open = metrics::wants_open(accepted);
    let (figures, _) = shell.look(|core, now| core.overview(now));
    let page = metrics::page(figures, open);
    let page = page.map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok(([(CONTENT_TYPE, metrics::content_type(open))], page).into_response())
}
