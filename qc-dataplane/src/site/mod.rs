//! The sites of a daemon: each is a switch that takes part in QuickCast.
//!
//! - [`objects`]: what a tree needs in a switch, and the changes from one plan to the next;
//! - [`install`]: makes a switch be as a plan says, one tree after another, all of a tree or nothing;
//! - [`probe`]: whether a link carries frames both ways;
//! - `agent`: what a site's agent knows and does; `converse`: its thread: reports to the controller, follows its plans; `links`:
//!   probes its links and judges them;
//! - `local`: the site's socket for endpoints.
//!
//! While the controller is away, all stays as it is. [`Sites`] starts the agents of a configuration, and after a reload
//! those that are new or changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;
use valecast_config::{Config, Controller, Keys, Site};
use valecast_switch::daemon::{Companion, Daemon, DaemonError, Figure, bind_stream};

mod agent;
mod converse;
pub mod install;
mod links;
mod local;
pub mod objects;
pub mod probe;

#[cfg(test)]
mod tests;

use agent::Shared;

/// Why a site could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Its socket, or its switch.
    #[error("site {0}: {1}")]
    Daemon(String, DaemonError),
    /// Its ports and groups.
    #[error("site {0}: {1}")]
    SetUp(String, String),
    /// Its thread.
    #[error("site {0}: cannot start its thread: {1}")]
    Thread(String, std::io::Error),
}

/// The socket of a site for its endpoints.
#[must_use]
pub fn socket(run_dir: &Path, site: &str) -> PathBuf {
    run_dir.join(format!("{site}.qc.sock"))
}

/// The running sites of a daemon. Dropping it ends them, and takes out of the switches what they put in.
pub struct Sites {
    daemon: Daemon,
}

impl Sites {
    /// Starts the sites that `daemon` was configured with.
    ///
    /// # Errors
    /// When one cannot be started; none runs then.
    pub fn start(daemon: &Daemon) -> Result<Self, SiteError> {
        let running = Running { daemon: daemon.clone(), agents: Mutex::default() };
        for (site, controller, keys) in wanted(&daemon.loaded()) {
            let agent = Agent::start(daemon, site, controller, keys)?;
            running.lock().insert(agent.shared.site.name.clone(), agent);
        }
        daemon.set_companion(Some(Box::new(running)));
        Ok(Self { daemon: daemon.clone() })
    }
}

impl Drop for Sites {
    fn drop(&mut self) {
        self.daemon.set_companion(None);
    }
}

fn wanted(config: &Config) -> Vec<(Site, Controller, Option<Keys>)> {
    let Some(qc) = &config.qc else { return Vec::new() };
    qc.sites.iter().map(|s| (s.clone(), qc.controller.clone(), qc.keys.clone())).collect()
}

struct Running {
    daemon: Daemon,
    agents: Mutex<BTreeMap<String, Agent>>,
}

impl Running {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Agent>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Companion for Running {
    fn before(&self, new: &Config) {
        let wanted = wanted(new);
        self.lock().retain(|_, agent| wanted.iter().any(|w| agent.is(w)));
    }

    fn after(&self, loaded: &Config) {
        let mut agents = self.lock();
        for (site, controller, keys) in wanted(loaded) {
            if agents.contains_key(&site.name) {
                continue;
            }
            match Agent::start(&self.daemon, site, controller, keys) {
                Ok(agent) => drop(agents.insert(agent.shared.site.name.clone(), agent)),
                Err(e) => tracing::error!("{e}"),
            }
        }
    }

    fn needs(&self, switch: &str, port: &str) -> Option<String> {
        let agents = self.lock();
        agents.values().filter(|a| a.shared.site.switch == switch).find_map(|a| a.shared.needs(port))
    }

    fn figures(&self) -> Vec<Figure> {
        let mut all = Vec::new();
        for (name, agent) in &*self.lock() {
            let s = &agent.shared;
            let (trees, links) = s.view();
            let mut add = |name: &'static str, help: &'static str, counter, port: Option<&str>, value| {
                let site = ("site", s.site.name.clone());
                let labels = std::iter::once(site).chain(port.map(|p| ("port", p.to_owned()))).collect();
                all.push(Figure { name, help, counter, labels, value });
            };
            tracing::trace!(site = name, "looked at");
            let (failed, silent) = (&s.figures.failed, &s.figures.unanswered);
            add("qc_site_trees", "QuickCast's trees in force at the site", false, None, trees as u64);
            add(
                "qc_site_failed_trees",
                "Trees that could not be installed",
                true,
                None,
                failed.load(Ordering::Relaxed),
            );
            let help = "Requests that the controller did not answer";
            add("qc_site_unanswered", help, true, None, silent.load(Ordering::Relaxed));
            for (link, watch) in s.site.links.iter().zip(links) {
                let port = Some(link.port.as_str());
                add(
                    "qc_link_up",
                    "1 when the link's probes come and go",
                    false,
                    port,
                    u64::from(watch.is_up()),
                );
                add(
                    "qc_link_lost_probes",
                    "Probes that did not come while the link was up",
                    true,
                    port,
                    watch.lost,
                );
                let help = "Probes whose seal is not that of the controller's key";
                add("qc_link_forged_probes", help, true, port, watch.forged);
            }
        }
        all
    }
}

/// A running site.
struct Agent {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    fn start(
        daemon: &Daemon,
        site: Site,
        controller: Controller,
        keys: Option<Keys>,
    ) -> Result<Self, SiteError> {
        let name = site.name.clone();
        let fail = |e| SiteError::Daemon(name.clone(), e);
        let access = daemon.with(&site.switch, |s| s.access().clone()).map_err(fail)?;
        let socket = bind_stream(&socket(daemon.run_dir(), &name), &access).map_err(fail)?;
        let shared = Arc::new(Shared::new(site, controller, keys, daemon.clone()));
        shared.set_up().map_err(|e| SiteError::SetUp(name.clone(), e))?;
        let (stop, stopped) = watch::channel(false);
        let mut agent = Self { shared: shared.clone(), stop, thread: None };
        let failed = |e| SiteError::Thread(name.clone(), e);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .build()
            .map_err(failed)?;
        let thread = std::thread::Builder::new().name(format!("qc-{name}"));
        let body = move || {
            runtime.block_on(converse::run(shared, socket, stopped));
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        };
        agent.thread = Some(thread.spawn(body).map_err(failed)?);
        Ok(agent)
    }

    fn is(&self, (site, controller, keys): &(Site, Controller, Option<Keys>)) -> bool {
        let s = &self.shared;
        s.site == *site && s.controller == *controller && s.keys == *keys
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(site = self.shared.site.name, "its thread panicked");
        }
        self.shared.tear_down();
    }
}
