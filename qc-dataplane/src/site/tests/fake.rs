//! A controller that says what a test wants, and keeps what it was told.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path as Part, Request, State};
use axum::routing::{any, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::control::{SitePlan, SiteReport};

#[derive(Clone)]
struct Heard {
    plans: watch::Sender<BTreeMap<String, SitePlan>>,
    reports: Arc<Mutex<BTreeMap<String, SiteReport>>>,
}

/// Dropping it ends it.
pub struct Fake {
    heard: Heard,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Fake {
    pub fn start(socket: &Path) -> Self {
        let heard = Heard { plans: watch::Sender::new(BTreeMap::new()), reports: Arc::default() };
        let router = Router::new()
            .route("/v1/sites/{site}/sync", post(sync))
            .route("/v1/transfers", any(echo))
            .route("/v1/transfers/{*rest}", any(echo))
            .with_state(heard.clone());
        let _ = std::fs::remove_file(socket);
        let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, mut stopped) = watch::channel(false);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                tokio::select! {
                    served = axum::serve(listener, router) => served.unwrap(),
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
        });
        Self { heard, stop, thread: Some(thread) }
    }

    pub fn plan(&self, site: &str, plan: SitePlan) {
        self.heard.plans.send_modify(|plans| drop(plans.insert(site.to_owned(), plan)));
    }

    /// The report of a site that `is` holds of.
    pub fn report(&self, site: &str, is: impl Fn(&SiteReport) -> bool) -> SiteReport {
        super::wait_for(&format!("a report of site {site}"), || {
            self.heard.reports.lock().unwrap().get(site).filter(|r| is(r)).cloned()
        })
    }

    pub fn forget(&self) {
        self.heard.reports.lock().unwrap().clear();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn sync(
    State(heard): State<Heard>,
    Part(site): Part<String>,
    Json(report): Json<SiteReport>,
) -> Json<SitePlan> {
    let (wait, generation) = (report.wait_ms, report.generation);
    heard.reports.lock().unwrap().insert(site.clone(), report);
    let mut plans = heard.plans.subscribe();
    let changed = plans.wait_for(|p| p.get(&site).is_some_and(|p| p.generation != generation));
    let _ = tokio::time::timeout(Duration::from_millis(wait), changed).await;
    let plan = heard.plans.borrow().get(&site).cloned();
    Json(plan.unwrap_or(SitePlan { generation, ..SitePlan::default() }))
}

async fn echo(request: Request) -> Json<Value> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Json(json!({ "method": head.method.as_str(), "path": head.uri.to_string(), "body": body }))
}
