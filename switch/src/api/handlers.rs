//! What the routes do.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::StringRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use valecast_config::{Group, Meter, Mirror, Port, group_from_json, meter_from_json, port_from_json};

use super::error::ApiError;
use super::server::Change;
use super::{Api, Scope, metrics as prometheus};
use crate::switch::{Switch, SwitchError};

type Shared = State<Arc<Api>>;
type Body = Result<String, StringRejection>;
type Answer<T> = Result<Json<T>, ApiError>;
type Made<T> = Result<(StatusCode, Json<T>), ApiError>;
type Gone = Result<StatusCode, ApiError>;

const OPENAPI: &str = include_str!("openapi.json");
const DASHBOARD: &str = include_str!("dashboard.html");
/// The dashboard is one page that talks to this server only.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:";

/// Runs what may wait for the switch's lock away from the runtime's thread.
async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the request failed: see the log");
    tokio::task::spawn_blocking(f).await.map_err(failed)?
}

/// Looks at a switch.
async fn look<T: Send + 'static>(
    api: Arc<Api>,
    switch: String,
    f: impl FnOnce(&mut Switch) -> T + Send + 'static,
) -> Answer<T> {
    blocking(move || Ok(Json(api.daemon.with(&switch, f)?))).await
}

/// Changes a switch, if this listener may.
async fn change<T: Send + 'static>(
    api: Arc<Api>,
    switch: String,
    f: impl FnOnce(&Api, &str) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    blocking(move || {
        // A switch that does not exist is missing, whoever asks.
        api.daemon.with(&switch, |_| ())?;
        match &api.scope {
            Scope::Switch(own) if *own == switch => f(&api, &switch),
            Scope::Switch(own) => {
                let message = format!("this socket changes switch {own} only, not {switch}");
                Err(ApiError::new(StatusCode::FORBIDDEN, message))
            }
            Scope::ReadOnly => Err(ApiError::new(StatusCode::FORBIDDEN, "this listener only reads")),
        }
    })
    .await
}

/// As [`change`], with the switch locked.
async fn modify(
    api: Arc<Api>,
    switch: String,
    f: impl FnOnce(&mut Switch) -> Result<(), SwitchError> + Send + 'static,
) -> Result<(), ApiError> {
    change(api, switch, move |api, switch| Ok(api.daemon.with(switch, f)??)).await
}

fn text(body: Body) -> Result<String, ApiError> {
    body.map_err(|e| ApiError::new(e.status(), e.body_text()))
}

/// The name in the address of a PUT is the name of what is put.
fn same_name(path: &str, body: &str) -> Result<(), ApiError> {
    if path == body {
        return Ok(());
    }
    let message = format!("the address says {path:?}, the body {body:?}: names cannot be changed");
    Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message))
}

pub(super) async fn switches(State(api): Shared) -> Answer<Value> {
    blocking(move || {
        let default = match &api.scope {
            Scope::Switch(name) => Some(name.clone()),
            Scope::ReadOnly => None,
        };
        let mut list = Vec::new();
        for name in api.daemon.switch_names() {
            // One that went meanwhile is not listed.
            if let Ok(s) = api.daemon.with(&name, |s| s.stats_view()) {
                let (ports, entries) = (s.ports.len(), s.fdb_entries);
                list.push(json!({
                    "name": name, "workers": s.workers, "uptime_s": s.uptime_s, "ports": ports,
                    "fdb_entries": entries,
                }));
            }
        }
        let version = env!("CARGO_PKG_VERSION");
        Ok(Json(json!({ "switches": list, "default": default, "version": version })))
    })
    .await
}

pub(super) async fn ports(State(api): Shared, Path(sw): Path<String>) -> Answer<Value> {
    look(api, sw, |s| json!({ "ports": s.ports_view() })).await
}

pub(super) async fn fdb(State(api): Shared, Path(sw): Path<String>) -> Answer<Value> {
    look(api, sw, |s| json!({ "fdb": s.fdb_view() })).await
}

pub(super) async fn groups(State(api): Shared, Path(sw): Path<String>) -> Answer<impl Serialize> {
    look(api, sw, |s| s.groups_view()).await
}

pub(super) async fn meters(State(api): Shared, Path(sw): Path<String>) -> Answer<Value> {
    look(api, sw, |s| json!({ "meters": s.meters_view() })).await
}

pub(super) async fn mirrors(State(api): Shared, Path(sw): Path<String>) -> Answer<Value> {
    look(api, sw, |s| json!({ "mirrors": s.config_view().mirrors })).await
}

pub(super) async fn stats(State(api): Shared, Path(sw): Path<String>) -> Answer<impl Serialize> {
    look(api, sw, |s| s.stats_view()).await
}

pub(super) async fn config(State(api): Shared, Path(sw): Path<String>) -> Answer<impl Serialize> {
    look(api, sw, |s| s.config_view()).await
}

fn temporary(query: Option<&str>) -> Result<bool, ApiError> {
    let mut temporary = false;
    for pair in query.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
        temporary = match pair {
            "temporary" | "temporary=true" | "temporary=1" => true,
            "temporary=false" | "temporary=0" => false,
            _ => {
                let message = format!("unknown query {pair:?}: there is temporary=true");
                return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message));
            }
        };
    }
    Ok(temporary)
}

pub(super) async fn attach(
    State(api): Shared,
    Path(sw): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Made<Port> {
    let (temporary, port) = (temporary(query.as_deref())?, port_from_json(&text(body)?)?);
    change(api, sw, move |api, switch| {
        api.daemon.attach_port(switch, port.clone(), temporary)?;
        Ok((StatusCode::CREATED, Json(port)))
    })
    .await
}

pub(super) async fn detach(State(api): Shared, Path((sw, port)): Path<(String, String)>) -> Gone {
    change(api, sw, move |api, switch| {
        api.daemon.detach_port(switch, &port)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

pub(super) async fn group_add(State(api): Shared, Path(sw): Path<String>, body: Body) -> Made<Group> {
    let group = group_from_json(&text(body)?)?;
    let made = Json(group.clone());
    modify(api, sw, move |s| s.add_group(group)).await.map_err(ApiError::in_body)?;
    Ok((StatusCode::CREATED, made))
}

pub(super) async fn group_set(
    State(api): Shared,
    Path((sw, name)): Path<(String, String)>,
    body: Body,
) -> Answer<Group> {
    let group = group_from_json(&text(body)?)?;
    same_name(&name, &group.name)?;
    let made = Json(group.clone());
    modify(api, sw, move |s| s.update_group(group)).await?;
    Ok(made)
}

pub(super) async fn group_del(State(api): Shared, Path((sw, name)): Path<(String, String)>) -> Gone {
    modify(api, sw, move |s| s.remove_group(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn meter_add(State(api): Shared, Path(sw): Path<String>, body: Body) -> Made<Meter> {
    let meter = meter_from_json(&text(body)?)?;
    let made = Json(meter.clone());
    modify(api, sw, move |s| s.add_meter(meter)).await?;
    Ok((StatusCode::CREATED, made))
}

pub(super) async fn meter_set(
    State(api): Shared,
    Path((sw, name)): Path<(String, String)>,
    body: Body,
) -> Answer<Meter> {
    let meter = meter_from_json(&text(body)?)?;
    same_name(&name, &meter.name)?;
    let made = Json(meter.clone());
    modify(api, sw, move |s| s.update_meter(meter)).await?;
    Ok(made)
}

pub(super) async fn meter_del(State(api): Shared, Path((sw, name)): Path<(String, String)>) -> Gone {
    modify(api, sw, move |s| s.remove_meter(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn mirror_add(State(api): Shared, Path(sw): Path<String>, body: Body) -> Made<Mirror> {
    let mirror: Mirror = serde_json::from_str(&text(body)?)
        .map_err(|e| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, e.to_string()))?;
    let made = Json(mirror.clone());
    modify(api, sw, move |s| s.add_mirror(mirror)).await.map_err(ApiError::in_body)?;
    Ok((StatusCode::CREATED, made))
}

pub(super) async fn mirror_del(State(api): Shared, Path((sw, to)): Path<(String, String)>) -> Gone {
    change(api, sw, move |api, switch| {
        api.daemon.with(switch, |s| {
            let all = s.config_view().mirrors;
            let rest: Vec<_> = all.iter().filter(|m| m.to != to).cloned().collect();
            if rest.len() == all.len() {
                let message = format!("switch {switch} has no mirror to {to:?}");
                return Err(ApiError::new(StatusCode::NOT_FOUND, message));
            }
            Ok(s.set_mirrors(rest)?)
        })??;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

pub(super) async fn reload(State(api): Shared) -> Answer<Value> {
    let daemon = api.daemon.clone();
    let actions = blocking(move || Ok(daemon.reload()?)).await?;
    let (done, wait) = oneshot::channel();
    if api.changes.send(Change::Refresh(done)).is_ok() {
        let _ = wait.await;
    }
    Ok(Json(json!({ "actions": actions })))
}

pub(super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}

pub(super) async fn dashboard() -> impl IntoResponse {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(DASHBOARD))
}

pub(super) async fn metrics(State(api): Shared, headers: HeaderMap) -> Result<Response, ApiError> {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok());
    let format = prometheus::Format::accepted_by(accepted);
    let page = blocking(move || {
        let page = prometheus::page(&api.registry, format);
        page.map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))
    });
    Ok(([(CONTENT_TYPE, format.content_type())], page.await?).into_response())
}
