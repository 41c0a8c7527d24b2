//! The daemon: several switches, their sockets, and reloading.
//!
//! Everything here is control side, behind one lock that no worker ever takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};

use valecast_config::{Action, Config, ConfigAction, Mirror, Port, StaticEntry, diff_config};

use crate::netmap;
use crate::port::outside::{Kinds, Outside};
use crate::port::patch;
use crate::switch::{Switch, SwitchError};

mod inline;
mod listen;
mod socket;
mod stranger;

pub use listen::Listener;
pub(crate) use listen::{bind_socket, set_access};
pub use socket::SocketFile;
pub use socket::bind_stream;
pub(crate) use socket::fail;
pub(crate) use stranger::{bury, hear};

/// How often and after what time it is looked whether a socket is gone.
const SOCKET_TRIES: u32 = 2000;
const SOCKET_TRY: std::time::Duration = std::time::Duration::from_millis(1);
/// How often a port's thread looks whether it may change the port now.
pub(crate) const TRY_AGAIN: std::time::Duration = std::time::Duration::from_millis(1);

/// Why a daemon could not start or reload.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A switch refused.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// A difference that needs a restart.
    #[error(transparent)]
    Diff(#[from] valecast_config::DiffError),
    /// The file is wrong.
    #[error("{0}")]
    Config(#[from] valecast_config::ConfigErrors),
    /// A socket could not be made.
    #[error("{path}: {what}: {source}", path = path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no such switch.
    #[error("no switch {0:?} (there is {1})")]
    NoSwitch(String, String),
    /// Reloading without a file.
    #[error("this daemon was not started from a file")]
    NoFile,
}

/// A running daemon. Clones share it.
#[derive(Clone)]
pub struct Daemon(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    run_dir: PathBuf,
    /// What its switches share for ports of others' kinds.
    outside: Arc<Outside>,
    /// Called when switches come or go by themselves.
    changed: Mutex<Option<Box<dyn Fn() + Send>>>,
    /// Who is told of reloads. Held during one, so that they come one after another.
    companion: Mutex<Option<Box<dyn Companion>>>,
}

/// What runs beside the switches by the same configuration file, and adds to them: QuickCast's sites.
pub trait Companion: Send {
    /// The file was read and is right; nothing is applied yet. What it added to ports that will go is taken away now.
    fn before(&self, new: &Config);
    /// The reload is over: this is in force now.
    fn after(&self, loaded: &Config);
    /// What it counts, for `/metrics`.
    fn figures(&self) -> Vec<Figure>;
    /// Who needs a port of a switch, and what to do so that it is free; none if nobody does.
    fn needs(&self, switch: &str, port: &str) -> Option<String>;
}

/// A number for `/metrics`. Those of one name are one family.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Without the prefix, and a counter's without `_total`.
    pub name: &'static str,
    /// What it is, without a full stop.
    pub help: &'static str,
    /// Whether it only grows.
    pub counter: bool,
    /// Whose it is.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: u64,
}

struct State {
    switches: BTreeMap<String, Switch>,
    /// The configuration as last loaded; what `ctl` changed since is not in it.
    loaded: Config,
    file: Option<PathBuf>,
    listener: Option<Listener>,
    netmap: Option<netmap::Service>,
}

/// A daemon, seen from the ports it serves.
pub(crate) struct Home(Weak<Shared>);

impl Home {
    /// Works with one switch, unless the lock is held now (`None`). What `f` holds is taken when it runs. Inside, `None`
    /// means that there is no such switch.
    pub(crate) fn try_with<T, F: FnOnce(&mut Switch) -> T>(
        &self,
        switch: &str,
        f: &mut Option<F>,
    ) -> Option<Option<T>> {
        let Some(shared) = self.0.upgrade() else { return Some(None) };
        let mut state = match shared.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(state.switches.get_mut(switch).and_then(|s| f.take().map(|f| f(s))))
    }
}

impl Daemon {
    /// Starts all switches of `config`. `file` is what a reload reads.
    pub fn start(config: Config, file: Option<PathBuf>) -> Result<Self, DaemonError> {
        Self::start_with(config, file, Kinds::default())
    }

    /// As [`Daemon::start`], with further kinds of ports.
    pub fn start_with(config: Config, file: Option<PathBuf>, kinds: Kinds) -> Result<Self, DaemonError> {
        let run_dir = config.run_dir.clone();
        listen::make_run_dir(&run_dir)?;
        let home = Arc::new(OnceLock::new());
        let outside = Arc::new(Outside { kinds, run_dir: run_dir.clone(), home: home.clone() });
        let mut switches = BTreeMap::new();
        for s in &config.switches {
            switches.insert(s.name.clone(), Switch::start(s.clone(), outside.clone())?);
        }
        let mut state = State { switches, loaded: config, file, listener: None, netmap: None };
        state.join_patches();
        let shared = Shared {
            state: Mutex::new(state),
            run_dir,
            outside,
            changed: Mutex::new(None),
            companion: Mutex::new(None),
        };
        let me = Self(Arc::new(shared));
        let _ = home.set(Home(Arc::downgrade(&me.0)));
        let listener = Listener::start(&me)?;
        me.lock().listener = Some(listener);
        let netmap = netmap::Service::start(&me)?;
        me.lock().netmap = Some(netmap);
        Ok(me)
    }

    /// `f` is called when switches come or go by themselves.
    pub(crate) fn when_changed(&self, f: Box<dyn Fn() + Send>) {
        *self.0.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(f);
    }

    fn tell_changed(&self) {
        if let Some(f) = &*self.0.changed.lock().unwrap_or_else(PoisonError::into_inner) {
            f();
        }
    }

    /// Starts a switch that the configuration does not have, with every key at its default.
    pub(crate) fn make_switch(&self, name: &str) -> Result<(), DaemonError> {
        let cfg = valecast_config::parse_switch(name, &format!("name = {name:?}\n"));
        {
            let mut state = self.lock();
            let cfg = match cfg {
                Ok(cfg) => cfg,
                // Names that no file can have are this daemon's own.
                Err(_) => valecast_config::parse_switch(name, "name = \"x\"\n")
                    .map(|cfg| valecast_config::Switch { name: name.to_owned(), ..cfg })?,
            };
            state.switches.insert(name.to_owned(), Switch::start(cfg, self.0.outside.clone())?);
            let State { listener, switches, .. } = &mut *state;
            if let Some(Err(e)) = listener.as_ref().map(|l| l.refresh(switches, &self.0.run_dir)) {
                switches.remove(name);
                return Err(e);
            }
        }
        self.tell_changed();
        Ok(())
    }

    /// Ends a switch that [`Daemon::make_switch`] started.
    pub(crate) fn unmake_switch(&self, name: &str) {
        let gone = {
            let mut state = self.lock();
            let gone = state.switches.remove(name);
            let State { listener, switches, .. } = &mut *state;
            if let Some(Err(e)) = listener.as_ref().map(|l| l.refresh(switches, &self.0.run_dir)) {
                tracing::error!(switch = name, "its socket stays: {e}");
            }
            gone
        };
        drop(gone);
        // The thread behind the sockets removes this one; a switch of the same name may be made at once.
        let socket = Self::ring_socket(&self.0.run_dir, name);
        for _ in 0..SOCKET_TRIES {
            if !socket.exists() {
                break;
            }
            std::thread::sleep(SOCKET_TRY);
        }
        self.tell_changed();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves a state that is still consistent field by field.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its sockets are.
    pub fn run_dir(&self) -> &Path {
        &self.0.run_dir
    }

    /// The attach socket of a switch.
    pub fn ring_socket(run_dir: &Path, switch: &str) -> PathBuf {
        run_dir.join(format!("{switch}.ring"))
    }

    /// The control socket of a switch.
    pub fn control_socket(run_dir: &Path, switch: &str) -> PathBuf {
        run_dir.join(format!("{switch}.sock"))
    }

    /// Names of the switches.
    pub fn switch_names(&self) -> Vec<String> {
        self.lock().switches.keys().cloned().collect()
    }

    /// The configuration as last loaded.
    pub fn loaded(&self) -> Config {
        self.lock().loaded.clone()
    }

    /// Works with one switch, under the lock.
    pub fn with<T>(&self, name: &str, f: impl FnOnce(&mut Switch) -> T) -> Result<T, DaemonError> {
        let mut state = self.lock();
        let names = || state.switches.keys().cloned().collect::<Vec<_>>().join(", ");
        if !state.switches.contains_key(name) {
            return Err(DaemonError::NoSwitch(name.to_owned(), names()));
        }
        let switch = state.switches.get_mut(name);
        switch.map(f).ok_or_else(|| DaemonError::NoSwitch(name.to_owned(), String::new()))
    }

    /// Attaches a port live. `temporary`: it goes when its client goes.
    pub fn attach_port(&self, switch: &str, port: Port, temporary: bool) -> Result<(), DaemonError> {
        self.with(switch, |s| s.attach_port(port, temporary))??;
        self.lock().join_patches();
        Ok(())
    }

    /// Detaches a port live, unless what runs beside the switches needs it.
    pub fn detach_port(&self, switch: &str, port: &str) -> Result<(), DaemonError> {
        if let Some(by) = self.companion().as_ref().and_then(|c| c.needs(switch, port)) {
            return Err(SwitchError::InUse { kind: "port", name: port.to_owned(), by }.into());
        }
        self.lock().detach(switch, port)
    }

    /// `companion` is told of reloads from now on.
    pub fn set_companion(&self, companion: Option<Box<dyn Companion>>) {
        let before = std::mem::replace(&mut *self.companion(), companion);
        drop(before);
    }

    fn companion(&self) -> MutexGuard<'_, Option<Box<dyn Companion>>> {
        self.0.companion.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What runs beside the switches counts.
    pub(crate) fn further_figures(&self) -> Vec<Figure> {
        self.companion().as_ref().map(|c| c.figures()).unwrap_or_default()
    }

    /// Reads the file again and applies the difference. On an error all is as it was.
    pub fn reload(&self) -> Result<Vec<ConfigAction>, DaemonError> {
        let companion = self.companion();
        let file = self.lock().file.clone().ok_or(DaemonError::NoFile)?;
        let new = Config::load(&file)?;
        // The lock is free meanwhile: the companion needs it.
        if let Some(c) = &*companion {
            c.before(&new);
        }
        let done = self.reload_to(&new);
        if let Some(c) = &*companion {
            c.after(&self.loaded());
        }
        done
    }

    fn reload_to(&self, new: &Config) -> Result<Vec<ConfigAction>, DaemonError> {
        let mut state = self.lock();
        let before = state.loaded.clone();
        let actions = state.reload(new, &self.0.outside)?;
        let State { listener, switches, .. } = &mut *state;
        if let Some(Err(e)) = listener.as_ref().map(|l| l.refresh(switches, &self.0.run_dir)) {
            // A new switch without its socket is of no use: back to what was.
            state.reload(&before, &self.0.outside)?;
            return Err(e);
        }
        Ok(actions)
    }

    /// Forgets old addresses; about once a second.
    pub fn tick(&self) {
        self.lock().switches.values().for_each(Switch::tick);
    }

    /// Ends everything; sockets are removed.
    pub fn stop(&self) {
        let netmap = self.lock().netmap.take();
        // Its thread may be waiting for the lock: not while it is held.
        drop(netmap);
        let (mut switches, listener) = {
            let mut s = self.lock();
            (std::mem::take(&mut s.switches), s.listener.take())
        };
        drop(listener);
        switches.values_mut().for_each(Switch::stop);
    }
}

impl State {
    fn detach(&mut self, switch: &str, port: &str) -> Result<(), DaemonError> {
        let names = self.switches.keys().cloned().collect::<Vec<_>>().join(", ");
        let Some(s) = self.switches.get_mut(switch) else {
            return Err(DaemonError::NoSwitch(switch.to_owned(), names));
        };
        let peer = s.patch_peer(port);
        s.detach_port(port)?;
        if let Some((sw, p)) = peer
            && let Some(other) = self.switches.get_mut(&sw)
        {
            other.disconnect(&p);
        }
        Ok(())
    }

    /// Connects patches whose ends both exist and wait.
    fn join_patches(&mut self) {
        let loose: Vec<_> = self
            .switches
            .iter()
            .flat_map(|(name, s)| s.loose_patches().into_iter().map(move |l| (name.clone(), l)))
            .collect();
        for (a, (port_a, b, port_b)) in &loose {
            // Each pair appears twice; take it once.
            let twin = loose.iter().any(|(n, (p, q, r))| n == b && p == port_b && q == a && r == port_a);
            if !twin || (a, port_a) > (b, port_b) {
                continue;
            }
            let one =
                |name: &str, s: &BTreeMap<String, Switch>| s.get(name).is_some_and(Switch::is_exclusive);
            let ends = patch::pair(port_a, one(a, &self.switches), port_b, one(b, &self.switches));
            match ends {
                Err(e) => tracing::error!("patch {a}:{port_a} - {b}:{port_b}: {e}"),
                Ok((end_a, end_b)) => {
                    for (name, port, end) in [(a, port_a, end_a), (b, port_b, end_b)] {
                        if let Some(s) = self.switches.get_mut(name)
                            && let Err(e) = s.connect(port, end, None, 0, None)
                        {
                            tracing::error!("patch {name}:{port}: {e}");
                        }
                    }
                }
            }
        }
    }

    fn reload(&mut self, new: &Config, outside: &Arc<Outside>) -> Result<Vec<ConfigAction>, DaemonError> {
        let actions = diff_config(&self.loaded, new)?;
        let before: BTreeMap<_, _> =
            self.switches.iter().map(|(n, s)| (n.clone(), s.config_view())).collect();
        for a in &actions {
            if let Err(e) = self.apply(a.clone(), outside) {
                self.restore(&before, outside);
                return Err(e);
            }
        }
        self.loaded = new.clone();
        self.join_patches();
        Ok(actions)
    }

    fn apply(&mut self, action: ConfigAction, outside: &Arc<Outside>) -> Result<(), DaemonError> {
        match action {
            ConfigAction::AddSwitch(s) => {
                self.switches.insert(s.name.clone(), Switch::start(s, outside.clone())?);
            }
            ConfigAction::RemoveSwitch(name) => {
                self.switches.remove(&name);
            }
            ConfigAction::Change(name, steps) => steps.into_iter().try_for_each(|s| self.step(&name, s))?,
            // Whoever runs the sites hears of it beside ([`Companion`]).
            ConfigAction::ChangeSites(_) => {}
        }
        Ok(())
    }

    fn step(&mut self, name: &str, step: Action) -> Result<(), DaemonError> {
        let step = match step {
            Action::DetachPort(port) => return self.detach(name, &port),
            Action::SetMirrors(new) => Action::SetMirrors(self.keep_live_mirrors(name, new)),
            Action::SetStatics(new) => Action::SetStatics(self.keep_live_statics(name, new)),
            other => other,
        };
        match self.switches.get_mut(name) {
            Some(s) => Ok(s.apply(step)?),
            None => Err(DaemonError::NoSwitch(name.to_owned(), String::new())),
        }
    }

    /// `new`, and the mirrors that `ctl` made since the file was loaded: running captures, for one.
    fn keep_live_mirrors(&self, name: &str, mut new: Vec<Mirror>) -> Vec<Mirror> {
        let filed = self.loaded.switches.iter().find(|s| s.name == name).map_or(&[][..], |s| &s.mirrors);
        if let Some(s) = self.switches.get(name) {
            let live = s.config_view().mirrors.into_iter().filter(|m| !filed.contains(m) && !new.contains(m));
            new.extend(live.collect::<Vec<_>>());
        }
        new
    }

    /// `new`, and the static entries made since the file was loaded: those of QuickCast's trees.
    fn keep_live_statics(&self, name: &str, mut new: Vec<StaticEntry>) -> Vec<StaticEntry> {
        let filed = self.loaded.switches.iter().find(|s| s.name == name).map_or(&[][..], |s| &s.statics);
        let key = |s: &StaticEntry| (s.mac, s.vlan);
        if let Some(s) = self.switches.get(name) {
            let known: BTreeSet<_> = filed.iter().chain(&new).map(key).collect();
            new.extend(s.statics().into_iter().filter(|s| !known.contains(&key(s))));
        }
        new
    }

    /// Undoes what a failed reload did: brings every switch back to what it was.
    fn restore(&mut self, before: &BTreeMap<String, valecast_config::Switch>, outside: &Arc<Outside>) {
        self.switches.retain(|name, _| before.contains_key(name));
        for (name, was) in before {
            let undone = match self.switches.get(name).map(Switch::config_view) {
                None => self.apply(ConfigAction::AddSwitch(was.clone()), outside),
                Some(now) => match valecast_config::diff(&now, was) {
                    Ok(steps) => self.apply(ConfigAction::Change(name.clone(), steps), outside),
                    Err(e) => Err(e.into()),
                },
            };
            if let Err(e) = undone {
                tracing::error!(switch = name, "undoing the reload: {e}");
            }
        }
        self.join_patches();
    }
}
