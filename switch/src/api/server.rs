//! The API's thread: a small runtime, and a listener for each switch.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::serve::Listener;
use prometheus_client::registry::Registry;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use valecast_config::{ConfigAction, SocketAccess};

use super::{Api, Scope, metrics, routes};
use crate::daemon::{Daemon, DaemonError, SocketFile, bind_stream, fail};

/// How long answers that are under way may take when the API stops.
const GRACE: Duration = Duration::from_secs(1);

/// What the thread is told.
pub(super) enum Change {
    /// The set of switches may have changed; the sender hears when the sockets follow it.
    Refresh(oneshot::Sender<()>),
    Stop,
}

/// A running API. Dropping it ends it and removes its sockets.
pub struct ApiHandle {
    daemon: Daemon,
    changes: UnboundedSender<Change>,
    thread: Option<JoinHandle<()>>,
}

/// Serves the control API of `daemon`: a Unix socket for each switch, and TCP where it is configured.
///
/// # Errors
/// When a socket cannot be made; none is left behind then.
pub fn serve(daemon: Daemon) -> Result<ApiHandle, DaemonError> {
    let run_dir = daemon.run_dir().to_owned();
    std::fs::create_dir_all(&run_dir).map_err(|e| fail(&run_dir, "cannot make the directory", e))?;
    let mut bound = Vec::new();
    for (switch, access) in switches(&daemon) {
        let (file, listener) = bind_stream(&Daemon::control_socket(&run_dir, &switch), &access)?;
        bound.push((switch, file, listener));
    }
    let tcp = daemon.loaded().api_listen.map(|address| {
        let listener = TcpListener::bind(address).and_then(|l| l.set_nonblocking(true).map(|()| l));
        listener.map_err(|e| fail(address.to_string(), "cannot listen (`[api] listen`)", e))
    });
    let tcp = tcp.transpose()?;
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(16).build();
    let runtime = runtime.map_err(|e| fail(&run_dir, "cannot start the API", e))?;
    let (changes, told) = unbounded_channel();
    let tell = changes.clone();
    daemon.when_changed(Box::new(move || {
        let (done, _) = oneshot::channel();
        let _ = tell.send(Change::Refresh(done));
    }));
    let supervisor = Supervisor {
        registry: Arc::new(metrics::registry(daemon.clone())),
        daemon: daemon.clone(),
        changes: changes.clone(),
        served: BTreeMap::new(),
    };
    let thread = std::thread::Builder::new()
        .name("valecast-api".into())
        .spawn(move || run(runtime, supervisor, bound, tcp, told))
        .map_err(|e| fail(&run_dir, "cannot start the thread", e))?;
    Ok(ApiHandle { daemon, changes, thread: Some(thread) })
}

impl ApiHandle {
    /// Reloads the daemon's configuration; control sockets appear and go with their switches.
    ///
    /// # Errors
    /// As [`Daemon::reload`]: all is as it was.
    pub fn reload(&self) -> Result<Vec<ConfigAction>, DaemonError> {
        let actions = self.daemon.reload()?;
        let (done, wait) = oneshot::channel();
        if self.changes.send(Change::Refresh(done)).is_ok() {
            let _ = wait.blocking_recv();
        }
        Ok(actions)
    }
}

impl Drop for ApiHandle {
    fn drop(&mut self) {
        let _ = self.changes.send(Change::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the API's thread panicked");
        }
    }
}

fn switches(daemon: &Daemon) -> Vec<(String, SocketAccess)> {
    let access = |name: String| {
        let access = daemon.with(&name, |s| s.access().clone()).ok()?;
        Some((name, access))
    };
    daemon.switch_names().into_iter().filter_map(access).collect()
}

type Bound = (String, SocketFile, UnixListener);

fn run(
    runtime: Runtime,
    mut supervisor: Supervisor,
    bound: Vec<Bound>,
    tcp: Option<TcpListener>,
    told: UnboundedReceiver<Change>,
) {
    runtime.block_on(async {
        for socket in bound {
            supervisor.serve(socket);
        }
        let api = supervisor.api(Scope::ReadOnly);
        let tcp = tcp.and_then(|l| match tokio::net::TcpListener::from_std(l) {
            Ok(listener) => Some(Served::start(listener, routes::router(api), None)),
            Err(e) => {
                tracing::error!("the TCP listener of the API: {e}");
                None
            }
        });
        supervisor.obey(told).await;
        supervisor.stop(tcp).await;
    });
    runtime.shutdown_timeout(GRACE);
}

/// A listener at work. Dropping it stops it; what it is answering it finishes.
struct Served {
    _stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    _file: Option<SocketFile>,
}

impl Served {
    fn start<L>(listener: L, router: axum::Router, file: Option<SocketFile>) -> Self
    where
        L: Listener,
        L::Addr: std::fmt::Debug,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let until = async {
                let _ = stopped.await;
            };
            if let Err(e) = axum::serve(listener, router).with_graceful_shutdown(until).await {
                tracing::error!("the control API: {e}");
            }
        });
        Self { _stop: stop, task, _file: file }
    }
}

struct Supervisor {
    daemon: Daemon,
    registry: Arc<Registry>,
    changes: UnboundedSender<Change>,
    served: BTreeMap<String, Served>,
}

impl Supervisor {
    fn api(&self, scope: Scope) -> Arc<Api> {
        Arc::new(Api {
            daemon: self.daemon.clone(),
            scope,
            changes: self.changes.clone(),
            registry: self.registry.clone(),
        })
    }

    fn serve(&mut self, (switch, file, listener): Bound) {
        match tokio::net::UnixListener::from_std(listener) {
            Ok(listener) => {
                let router = routes::router(self.api(Scope::Switch(switch.clone())));
                self.served.insert(switch, Served::start(listener, router, Some(file)));
            }
            Err(e) => tracing::error!(switch, "the control socket: {e}"),
        }
    }

    async fn obey(&mut self, mut told: UnboundedReceiver<Change>) {
        while let Some(change) = told.recv().await {
            match change {
                Change::Stop => return,
                Change::Refresh(done) => {
                    self.refresh().await;
                    let _ = done.send(());
                }
            }
        }
    }

    /// Serves exactly the switches there are.
    async fn refresh(&mut self) {
        let daemon = self.daemon.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || switches(&daemon)).await else { return };
        self.served.retain(|name, _| now.iter().any(|(n, _)| n == name));
        for (switch, access) in now {
            if self.served.contains_key(&switch) {
                continue;
            }
            match bind_stream(&Daemon::control_socket(self.daemon.run_dir(), &switch), &access) {
                Ok((file, listener)) => self.serve((switch, file, listener)),
                Err(e) => tracing::error!(switch, "no control socket: {e}"),
            }
        }
    }

    async fn stop(&mut self, tcp: Option<Served>) {
        let all = std::mem::take(&mut self.served);
        // Taking them apart drops the stop senders and the socket files, and keeps what to wait for.
        let tasks: Vec<_> = all.into_values().chain(tcp).map(|s| s.task).collect();
        let finished = async {
            for task in tasks {
                let _ = task.await;
            }
        };
        if tokio::time::timeout(GRACE, finished).await.is_err() {
            tracing::debug!("the control API stops with answers under way");
        }
    }
}
