//! The thread of one site's agent: the local socket, the probes of the links (`links`), and the conversation with the
//! controller.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use valecast_switch::daemon::SocketFile;

use super::agent::Shared;
use super::links::watch_links;
use super::local;
use crate::ask::Asker;
use crate::control::SitePlan;

/// How long an answer may take beyond what the controller may wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// Waits after failures, doubling.
const BACKOFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// A controller that answers at once with what it said before is asked again after this.
const NO_NEWS: Duration = Duration::from_millis(50);

/// Runs until `stop` is told.
pub(super) async fn run(
    shared: Arc<Shared>,
    socket: (SocketFile, UnixListener),
    mut stop: watch::Receiver<bool>,
) {
    let (file, listener) = socket;
    let serve = async {
        match tokio::net::UnixListener::from_std(listener) {
            Ok(listener) => {
                if let Err(e) = axum::serve(listener, local::router(shared.clone())).await {
                    tracing::error!(site = shared.site.name, "its socket: {e}");
                }
            }
            Err(e) => tracing::error!(site = shared.site.name, "its socket: {e}"),
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = serve => {}
        () = converse(&shared) => {}
        () = watch_links(&shared) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    drop(file);
}

/// Runs what may wait for the switch's lock away from the thread.
pub(super) async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    f: impl FnOnce(&Shared) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let shared = shared.clone();
    tokio::task::spawn_blocking(move || f(&shared)).await.map_err(|e| e.to_string())?
}

/// Reports and follows, for ever.
async fn converse(shared: &Arc<Shared>) {
    let mut asker = Asker::new(shared.controller.clone(), shared.keys.clone());
    let mut backoff = BACKOFF[0];
    loop {
        // What changes from here on is in the next report.
        let changed = shared.news.notified();
        let said = tokio::select! {
            said = sync(shared, &mut asker) => said,
            () = changed => {
                // The controller waits with an answer to what is not so any more.
                asker.hang_up();
                continue;
            }
        };
        // Nothing interrupts this, so plans are followed in the order in which they came.
        let done = match said {
            Ok(Some(plan)) => blocking(shared, move |s| s.follow(&plan)).await,
            Ok(None) => {
                sleep(NO_NEWS).await;
                Ok(())
            }
            Err(why) => Err(why),
        };
        match done {
            Ok(()) => {
                shared.heard_of_controller(Ok(()));
                backoff = BACKOFF[0];
            }
            Err(why) => {
                shared.figures.unanswered.fetch_add(1, Ordering::Relaxed);
                shared.heard_of_controller(Err(why));
                asker.hang_up();
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF[1]);
            }
        }
    }
}

/// One exchange. The plan, if it is another than the one in force.
async fn sync(shared: &Arc<Shared>, asker: &mut Asker) -> Result<Option<SitePlan>, String> {
    let report = blocking(shared, Shared::report).await?;
    let body = serde_json::to_string(&report).map_err(|e| e.to_string())?;
    let path = format!("/v1/sites/{}/sync", shared.site.name);
    let within = PATIENCE + Duration::from_millis(report.wait_ms);
    let answer = asker.ask("POST", &path, Some(&body), within).await.map_err(|e| e.to_string())?;
    if !answer.is_success() {
        let text: String = answer.body.chars().take(300).collect();
        return Err(format!("{}: status {}: {text}", shared.controller, answer.status));
    }
    let plan: SitePlan = serde_json::from_str(&answer.body)
        .map_err(|e| format!("{}: a plan that is none: {e}", shared.controller))?;
    Ok((plan.generation != report.generation).then_some(plan))
}
