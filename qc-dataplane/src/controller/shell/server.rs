//! The thread, its sockets and its clock.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Extension;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::peer::Peer;
use super::routes::router;
use super::state::{Shell, moment};
use super::tls::{TlsError, TlsListener, server};
use crate::controller::core::{Core, Settings};
use crate::controller::journal::{Journal, JournalError, Writer};

/// How often time passes for the core.
const TICK: Duration = Duration::from_millis(100);
/// How long answers that are under way may take when the controller stops.
const GRACE: Duration = Duration::from_millis(500);

/// Where TLS is served, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The address.
    pub listen: SocketAddr,
    /// Who makes certificates (PEM).
    pub ca: PathBuf,
    /// The controller's own (PEM).
    pub cert: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

/// What a controller is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// How it decides.
    pub settings: Settings,
    /// Where its state is kept.
    pub state_dir: PathBuf,
    /// Its Unix socket.
    pub socket: PathBuf,
    /// Permission bits of the socket.
    pub socket_mode: u32,
    /// TLS, if sites are on other hosts.
    pub tls: Option<Tls>,
    /// Where anybody may look, in plain HTTP.
    pub dashboard: Option<SocketAddr>,
}

/// Why there is no controller.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// Its state cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Certificates are wrong.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A socket cannot be made.
    #[error("{place}: {what}: {source}")]
    Socket {
        /// Path or address.
        place: String,
        /// What was to be done.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

fn fail(place: &dyn Display, what: &'static str) -> impl FnOnce(io::Error) -> ShellError {
    let place = place.to_string();
    move |source| ShellError::Socket { place, what, source }
}

/// A socket's file; dropping it removes it.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn bind_unix(path: &Path, mode: u32) -> Result<(SocketFile, UnixListener), ShellError> {
    let place = path.display();
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(fail(&dir.display(), "cannot make the directory"))?;
    }
    if UnixStream::connect(path).is_ok() {
        let source = io::ErrorKind::AddrInUse.into();
        return Err(fail(&place, "another controller answers there; give this one another `socket`")(source));
    }
    match std::fs::symlink_metadata(path) {
        Ok(m) if m.file_type().is_socket() => {
            std::fs::remove_file(path).map_err(fail(&place, "cannot remove the old socket"))?;
        }
        Ok(_) => return Err(fail(&place, "what is there is no socket")(io::ErrorKind::AlreadyExists.into())),
        Err(_) => {}
    }
    // Bound under a name that nobody knows, so that it has its mode before anybody opens it.
    let hidden = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden).map_err(fail(&place, "cannot listen"))?;
    let file = SocketFile(hidden.clone());
    let set = std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(mode));
    set.map_err(fail(&place, "cannot set the mode"))?;
    listener.set_nonblocking(true).map_err(fail(&place, "cannot listen"))?;
    std::fs::rename(&hidden, path).map_err(fail(&place, "cannot put the socket there"))?;
    std::mem::forget(file);
    Ok((SocketFile(path.to_owned()), listener))
}

fn bind_tcp(address: SocketAddr, key: &'static str) -> Result<std::net::TcpListener, ShellError> {
    let bound = std::net::TcpListener::bind(address).and_then(|l| l.set_nonblocking(true).map(|()| l));
    bound.map_err(fail(&format!("{address} (`{key}`)"), "cannot listen"))
}

/// A controller at work. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    /// Where TLS is served.
    pub listen: Option<SocketAddr>,
    /// Where anybody may look.
    pub dashboard: Option<SocketAddr>,
    /// Bytes at the end of the journal that made no sense and were put aside.
    pub torn: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the controller's thread panicked");
        }
    }
}

struct Bound {
    unix: (SocketFile, UnixListener),
    tls: Option<(std::net::TcpListener, Arc<rustls::ServerConfig>)>,
    dashboard: Option<std::net::TcpListener>,
}

/// Starts a controller in a thread of its own.
///
/// # Errors
/// When its state, its certificates or its sockets are not to be had; nothing is left behind then.
pub fn serve(options: Options) -> Result<Running, ShellError> {
    let mut found = Journal::open(&options.state_dir)?;
    if found.saved.key.is_none() {
        found.saved.key = Some(key().map_err(fail(&"/dev/urandom", "cannot read it"))?);
    }
    let tls = options.tls.as_ref().map(|tls| {
        let config = server(&tls.ca, &tls.cert, &tls.key)?;
        Ok::<_, ShellError>((bind_tcp(tls.listen, "listen")?, config))
    });
    let tls = tls.transpose()?;
    let dashboard = options.dashboard.map(|a| bind_tcp(a, "dashboard")).transpose()?;
    let unix = bind_unix(&options.socket, options.socket_mode)?;
    let listen = tls.as_ref().and_then(|t| t.0.local_addr().ok());
    let reading = dashboard.as_ref().and_then(|d| d.local_addr().ok());
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(fail(&"runtime", "cannot start"))?;
    let writer = Writer::start(found.journal).map_err(fail(&"journal", "cannot start its thread"))?;
    let started = Instant::now();
    let core = Core::new(options.settings, found.saved, moment(started));
    let shell = Shell::new(core, writer, started);
    let bound = Bound { unix, tls, dashboard };
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::Builder::new()
        .name("qc-controller".into())
        .spawn(move || run(&runtime, &shell, bound, stopped))
        .map_err(fail(&"thread", "cannot start"))?;
    Ok(Running { stop, thread: Some(thread), listen, dashboard: reading, torn: found.torn })
}

/// A key for the links' probes, at random.
fn key() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

fn run(runtime: &Runtime, shell: &Arc<Shell>, bound: Bound, stopped: watch::Receiver<bool>) {
    runtime.block_on(async move {
        let mut tasks = Vec::new();
        let (_file, unix) = bound.unix;
        match tokio::net::UnixListener::from_std(unix) {
            Ok(listener) => {
                let service = router(shell.clone()).layer(Extension(Peer::Local)).into_make_service();
                let until = until(stopped.clone());
                tasks.push(start(axum::serve(listener, service).with_graceful_shutdown(until)));
            }
            Err(e) => tracing::error!("the Unix socket: {e}"),
        }
        if let Some((listener, config)) = bound.tls {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    let listener = TlsListener::start(listener, config);
                    let service = router(shell.clone()).into_make_service_with_connect_info::<Peer>();
                    let until = until(stopped.clone());
                    tasks.push(start(axum::serve(listener, service).with_graceful_shutdown(until)));
                }
                Err(e) => tracing::error!("the TLS listener: {e}"),
            }
        }
        if let Some(listener) = bound.dashboard {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    let service = router(shell.clone()).layer(Extension(Peer::Reader)).into_make_service();
                    let until = until(stopped.clone());
                    tasks.push(start(axum::serve(listener, service).with_graceful_shutdown(until)));
                }
                Err(e) => tracing::error!("the listener for reading: {e}"),
            }
        }
        let mut stopping = stopped;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    shell.event(|core, now| core.tick(now));
                }
                _ = stopping.wait_for(|s| *s) => break,
            }
        }
        let finished = async {
            for task in tasks {
                let _ = task.await;
            }
        };
        // Requests that wait for a change wait no longer: their connections end.
        let _ = tokio::time::timeout(GRACE, finished).await;
    });
}

/// Serves until the controller stops.
fn start<F>(serving: F) -> tokio::task::JoinHandle<()>
where
    F: IntoFuture<Output = io::Result<()>>,
    F::IntoFuture: Send + 'static,
{
    let serving = serving.into_future();
    tokio::spawn(async move {
        if let Err(e) = serving.await {
            tracing::error!("a listener of the controller: {e}");
        }
    })
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|s| *s).await;
}
