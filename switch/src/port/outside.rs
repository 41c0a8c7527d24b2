//! Kinds of ports that live above this crate, and whose other side comes and goes by itself: VM ports.
//!
//! A [`Kind`] is registered with [`Daemon::start_with`](crate::daemon::Daemon::start_with) and asked to serve
//! each port of its name. What it returns serves until it is dropped: it waits for the other side at a socket of its
//! own, and joins the port to the data path ([`Site::connect`]) while there is one, as the attach socket does for the
//! clients of rings.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use valecast_config::{Port, SocketAccess};

use super::{About, OpenError, Opened};
use crate::daemon::{Home, SocketFile, TRY_AGAIN, bind_stream};
use crate::switch::{Client, SwitchError, may};

/// How ports of one kind come to be.
pub trait Kind: Send + Sync {
    /// Its word in TOML.
    fn name(&self) -> &'static str;

    /// Begins to serve `port`. Called with the daemon's state locked: the [`Site`] can be used once this has returned,
    /// from another thread.
    ///
    /// # Errors
    /// Why it cannot be served.
    fn serve(&self, port: &Port, site: Site) -> Result<Box<dyn Served>, OpenError>;
}

/// A port that is being served. Dropping it ends that, and may wait for threads that use its [`Site`].
pub trait Served: Send {
    /// What there is to know about the port, whether anybody is there or not.
    fn about(&self) -> About;

    /// Takes other keys of its kind while it goes on serving, so that whoever is there stays. `false`, and nothing has
    /// changed: some key is not one that can change so. Called with the daemon's state locked.
    fn update(&self, _port: &Port) -> bool {
        false
    }
}

/// The kinds that a daemon knows beside its own.
#[derive(Default)]
pub struct Kinds(Vec<Box<dyn Kind>>);

impl Kinds {
    /// These.
    pub fn new(kinds: Vec<Box<dyn Kind>>) -> Self {
        Self(kinds)
    }
}

/// What the switches of a daemon share for these ports.
#[derive(Default)]
pub(crate) struct Outside {
    pub kinds: Kinds,
    pub run_dir: PathBuf,
    /// Set once the daemon is there.
    pub home: Arc<OnceLock<Home>>,
}

impl Outside {
    pub(crate) fn serve(
        &self,
        port: &Port,
        switch: &str,
        exclusive: bool,
        access: &SocketAccess,
    ) -> Result<Serving, OpenError> {
        let kind = port.kind.name();
        let Some(found) = self.kinds.0.iter().find(|k| k.name() == kind) else {
            return Err(OpenError::File(format!("this program has no ports of kind {kind:?}")));
        };
        let open = Arc::new(AtomicBool::new(true));
        let socket = port.kind.socket().map_or_else(
            || self.run_dir.join(format!("{switch}.{}.vm", port.name)),
            |path| self.run_dir.join(path),
        );
        let site = Site {
            switch: switch.to_owned(),
            port: port.name.clone(),
            socket,
            exclusive,
            access: access.clone(),
            open: open.clone(),
            home: self.home.clone(),
        };
        Ok(Serving { port: found.serve(port, site)?, open })
    }
}

/// A served port, in its switch.
pub(crate) struct Serving {
    pub port: Box<dyn Served>,
    open: Arc<AtomicBool>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Its threads must not wait for the lock that is held now.
        self.open.store(false, Ordering::Release);
    }
}

/// Why a port was not joined.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The port is being detached, or the daemon ends.
    #[error("the port is gone")]
    Gone,
    /// The switch refused.
    #[error(transparent)]
    Switch(#[from] SwitchError),
}

/// A port's place in its switch, for the threads that serve it.
#[derive(Clone)]
pub struct Site {
    switch: String,
    port: String,
    socket: PathBuf,
    exclusive: bool,
    access: SocketAccess,
    open: Arc<AtomicBool>,
    home: Arc<OnceLock<Home>>,
}

impl Site {
    /// Its switch.
    pub fn switch(&self) -> &str {
        &self.switch
    }

    /// Its name.
    pub fn port(&self) -> &str {
        &self.port
    }

    /// Where it is to be reached.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// Whether one worker alone delivers.
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// Listens at [`Site::socket`], with the access that the switch's configuration gives. A socket left there by a
    /// process that is gone is replaced; dropping the [`SocketFile`] removes it.
    ///
    /// # Errors
    /// Somebody else listens there, or the system refuses.
    pub fn listen(&self) -> Result<(SocketFile, UnixListener), OpenError> {
        bind_stream(&self.socket, &self.access).map_err(|e| OpenError::File(e.to_string()))
    }

    /// Whether one of these users and groups (anybody, if there are none) is who connected.
    pub fn admits(users: &[String], groups: &[String], client: Client) -> bool {
        may(users, groups, client)
    }

    /// Joins the port to the data path: somebody is there. The number of the attachment. Waits until it is done.
    ///
    /// # Errors
    /// There is no such port any more.
    pub fn connect(&self, opened: Opened, client: Option<Client>, memory: u64) -> Result<u64, SiteError> {
        let mut opened = Some(opened);
        self.with(|s| {
            let Some(opened) = opened.take() else { return Err(SiteError::Gone) };
            Ok(s.connect(&self.port, opened, client, memory, None)?)
        })?
    }

    /// Parts it again. When this returns no worker uses its sources and its destination any more.
    pub fn disconnect(&self, number: u64) {
        // A port that is gone was parted before.
        let _ = self.with(|s| s.client_gone(&self.port, number));
    }

    /// Lets the data path know that the port can do other things than before.
    pub fn caps_changed(&self) {
        let _ = self.with(|s| s.caps_changed());
    }

    fn with<T>(&self, f: impl FnOnce(&mut crate::switch::Switch) -> T) -> Result<T, SiteError> {
        let mut f = Some(f);
        // Who detaches the port holds the lock while it waits for the caller's thread: waiting for the lock would be
        // for ever.
        // ORDERING: Acquire pairs with the Release of `Serving::drop`.
        while self.open.load(Ordering::Acquire) {
            let Some(home) = self.home.get() else {
                std::thread::sleep(TRY_AGAIN);
                continue;
            };
            match home.try_with(&self.switch, &mut f) {
                Some(done) => return done.ok_or(SiteError::Gone),
                None => std::thread::sleep(TRY_AGAIN),
            }
        }
        Err(SiteError::Gone)
    }
}
