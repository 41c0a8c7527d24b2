//! `valecast run`: the daemon in the foreground.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use sd_notify::NotifyState;
use valecast_config::{Action, Config, ConfigAction};
use valecast_qc_dataplane::site::{self, Sites};
use valecast_switch::api::{self, ApiHandle};
use valecast_switch::daemon::Daemon;

/// More on `valecast run`.
pub const HELP: &str = "\
Signals:
  SIGTERM, SIGINT  stop: ports are closed, sockets removed
  SIGHUP           read FILE again and apply what changed; a wrong file changes nothing

Exit status: 0 stopped as told, 1 cannot start, 2 FILE is wrong.
RUST_LOG sets what is logged (default: info).";

/// What `valecast run` takes.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration (TOML).
    file: PathBuf,
    /// Only say whether FILE is right, and what is wrong with it.
    #[arg(long)]
    check: bool,
}

/// Runs the daemon until a signal ends it.
pub fn run(args: &RunArgs) -> ExitCode {
    let config = match Config::load(&args.file) {
        Ok(config) => config,
        Err(mistakes) => {
            errln!("{mistakes}");
            return ExitCode::from(2);
        }
    };
    let (switches, ports) = count(&config);
    if args.check {
        outln!("{}: ok: {switches}, {ports}", args.file.display());
        return ExitCode::SUCCESS;
    }
    match serve(args, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            errln!("valecast: {why}");
            ExitCode::FAILURE
        }
    }
}

fn count(config: &Config) -> (String, String) {
    let some = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    let ports = config.switches.iter().map(|s| s.ports.len()).sum();
    (some(config.switches.len(), "switch").replace("switchs", "switches"), some(ports, "port"))
}

fn serve(args: &RunArgs, config: Config) -> Result<(), String> {
    // Before there are threads: all of them inherit this, and the signals wait for the loop below.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().map_err(|e| format!("cannot block signals: {e}"))?;
    crate::print::start_log();
    allow_many_files();
    refuse_twice(&config)?;
    // A reload reads the file that is meant now, wherever the working directory is then.
    let file = std::path::absolute(&args.file).unwrap_or_else(|_| args.file.clone());
    let daemon = Daemon::start_with(config, Some(file), valecast_hypervisor_glue::kinds())
        .map_err(|e| e.to_string())?;
    let served = api::serve(daemon.clone()).map_err(|e| e.to_string());
    let served = served.and_then(|api| Ok((api, Sites::start(&daemon).map_err(|e| e.to_string())?)));
    let (api, sites) = match served {
        Ok(both) => both,
        Err(e) => {
            daemon.stop();
            return Err(e);
        }
    };
    announce(&daemon);
    tell_manager(&[NotifyState::Ready]);
    let ended = wait(&signals, &daemon, &api);
    tell_manager(&[NotifyState::Stopping]);
    drop(api);
    drop(sites);
    daemon.stop();
    ended
}

/// Each port takes several descriptors, and the usual soft limit is low.
fn allow_many_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(e) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!("at most {soft} files can be open: {e}");
    }
}

/// Before interfaces are touched: is somebody else at it?
fn refuse_twice(config: &Config) -> Result<(), String> {
    for switch in &config.switches {
        let socket = Daemon::control_socket(&config.run_dir, &switch.name);
        if UnixStream::connect(&socket).is_ok() {
            return Err(format!(
                "another daemon already runs switch {}: it answers at {}. Stop it first, or give this one \
                 another `run_dir`",
                switch.name,
                socket.display()
            ));
        }
    }
    Ok(())
}

fn announce(daemon: &Daemon) {
    for name in daemon.switch_names() {
        let ports = daemon.with(&name, |s| s.ports_view().len()).unwrap_or(0);
        let control = Daemon::control_socket(daemon.run_dir(), &name);
        let attach = Daemon::ring_socket(daemon.run_dir(), &name);
        let (control, attach) = (control.display(), attach.display());
        tracing::info!(switch = name, ports, %control, %attach, "serving");
    }
    let loaded = daemon.loaded();
    if let Some(qc) = &loaded.qc {
        for s in &qc.sites {
            let socket = site::socket(daemon.run_dir(), &s.name);
            let (socket, controller) = (socket.display(), &qc.controller);
            tracing::info!(site = s.name, switch = s.switch, links = s.links.len(), %controller, %socket, "site");
        }
    }
    if let Some(address) = loaded.api_listen {
        tracing::info!("dashboard and metrics at http://{address}/ (read only)");
    }
}

fn tell_manager(state: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        tracing::warn!("cannot tell the service manager: {e}");
    }
}

fn wait(signals: &SigSet, daemon: &Daemon, api: &ApiHandle) -> Result<(), String> {
    loop {
        match signals.wait() {
            Ok(Signal::SIGHUP) => reload(daemon, api),
            Ok(signal) => {
                tracing::info!("stopping: {signal}");
                return Ok(());
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(format!("cannot wait for signals: {e}")),
        }
    }
}

fn reload(daemon: &Daemon, api: &ApiHandle) {
    let begun = NotifyState::monotonic_usec_now();
    tell_manager(&[NotifyState::Reloading].into_iter().chain(begun).collect::<Vec<_>>());
    match api.reload() {
        Ok(actions) if actions.is_empty() => tracing::info!("reloaded: nothing changed"),
        Ok(actions) => {
            for action in &actions {
                tracing::info!("reloaded: {}", describe(action));
            }
            let switches = |a: &ConfigAction| !matches!(a, ConfigAction::Change(..));
            if actions.iter().any(switches) {
                announce(daemon);
            }
        }
        Err(e) => tracing::error!("not reloaded, all is as it was:\n{e}"),
    }
    tell_manager(&[NotifyState::Ready]);
}

/// One action of a reload in a line.
fn describe(action: &ConfigAction) -> String {
    match action {
        ConfigAction::AddSwitch(s) => format!("switch {} added", s.name),
        ConfigAction::RemoveSwitch(name) => format!("switch {name} removed"),
        ConfigAction::ChangeSites(None) => "no sites any more".to_owned(),
        ConfigAction::ChangeSites(Some(qc)) => {
            format!("sites {}", qc.sites.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", "))
        }
        ConfigAction::Change(name, steps) => {
            format!("switch {name}: {}", steps.iter().map(describe_step).collect::<Vec<_>>().join(", "))
        }
    }
}

fn describe_step(step: &Action) -> String {
    match step {
        Action::AttachPort(p) => format!("port {} attached", p.name),
        Action::DetachPort(name) => format!("port {name} detached"),
        Action::ReplacePort(p) => format!("port {} replaced", p.name),
        Action::UpdatePort(p) => format!("port {} changed", p.name),
        Action::AddMeter(m) => format!("meter {} added", m.name),
        Action::RemoveMeter(name) => format!("meter {name} removed"),
        Action::UpdateMeter(m) => format!("meter {} changed", m.name),
        Action::AddGroup(g) => format!("group {} added", g.name),
        Action::RemoveGroup(name) => format!("group {name} removed"),
        Action::UpdateGroup(g) => format!("group {} changed", g.name),
        Action::SetStatics(s) => format!("{} static entries", s.len()),
        Action::SetMirrors(m) => format!("{} mirrors", m.len()),
        Action::SetAgeing(t) => format!("ageing {}", valecast_config::units::format_duration(*t)),
        Action::SetLimits { .. } => "limits changed".to_owned(),
    }
}
