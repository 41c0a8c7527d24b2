//! `valecast qc serve`: the controller in the foreground.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use sd_notify::NotifyState;
use valecast_config::{ConfigErrors, NamesInTe, Te};
use valecast_qc_dataplane::controller::core::{Settings, scheme};
use valecast_qc_dataplane::controller::shell::{self, Options, Tls};
use valecast_qc_dataplane::plan::Scheme;
use valecast_qc_dataplane::rate::Policy;
use valecast_qc_dataplane::topology::Topology;

/// More on `valecast qc serve`.
pub const HELP: &str = "\
Signals:
  SIGTERM, SIGINT  stop; transfers and trees stay as they are, and go on when it is started again

Exit status: 0 stopped as told, 1 cannot start, 2 FILE is wrong.
RUST_LOG sets what is logged (default: info).

Examples:
  valecast qc serve te.toml
  valecast qc serve te.toml --check
  valecast qc status";

/// What `valecast qc serve` takes.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// The controller's configuration (TOML); an empty file is one.
    file: PathBuf,
    /// Only say whether FILE is right, and what is wrong with it.
    #[arg(long)]
    check: bool,
}

fn known_scheme(name: &str) -> Result<(), String> {
    if scheme(name).is_some() {
        return Ok(());
    }
    let names: Vec<&str> = Scheme::NAMES.iter().map(|n| n.0).collect();
    Err(format!("use quickcast, {}", names.join(", ")))
}

fn known_rates(name: &str) -> Result<(), String> {
    name.parse::<Policy>().map(|_| ()).map_err(|e| e.to_string())
}

/// How the names of a controller's file are checked.
pub const NAMES: NamesInTe = NamesInTe { scheme: known_scheme, rates: known_rates };

/// What a controller is started with, from its file.
fn options(te: Te) -> Result<Options, ConfigErrors> {
    let expected = te.topology.as_deref().map(|name| Topology::find(name, None)).transpose()?;
    let expected = expected.map(|t| {
        let name = |n| t.graph.name(n).to_owned();
        let bits = |gbit: f64| (gbit * 1e9).round() as u64;
        t.graph
            .links()
            .iter()
            .map(|l| ((name(l.from), name(l.to)), bits(l.capacity)))
            .collect::<BTreeMap<_, _>>()
    });
    let ms = |t: std::time::Duration| t.as_millis() as u64;
    let chosen =
        scheme(&te.scheme).or_else(|| scheme("best")).ok_or(ConfigErrors { diagnostics: Vec::new() })?;
    let settings = Settings {
        rates: te.rates.as_deref().and_then(|r| r.parse().ok()),
        timeslot: ms(te.timeslot),
        headroom: te.headroom,
        lease: ms(te.lease),
        sender_timeout: ms(te.sender_timeout),
        forget_after: ms(te.forget_after),
        install_timeout: ms(te.install_timeout),
        max_transfers: te.max_transfers,
        expected,
        ..Settings::new(chosen)
    };
    let tls = te.tls.map(|t| Tls { listen: t.listen, ca: t.ca, cert: t.cert, key: t.key });
    Ok(Options {
        settings,
        state_dir: te.state_dir,
        socket: te.socket,
        socket_mode: te.socket_mode,
        tls,
        dashboard: te.dashboard,
    })
}

/// Runs the controller until a signal ends it.
pub fn run(args: &ServeArgs) -> ExitCode {
    let options = match Te::load(&args.file, NAMES).and_then(options) {
        Ok(options) => options,
        Err(mistakes) => {
            errln!("{mistakes}");
            return ExitCode::from(2);
        }
    };
    if args.check {
        if let Some(tls) = &options.tls
            && let Err(e) = shell::tls::server(&tls.ca, &tls.cert, &tls.key)
        {
            errln!("valecast: {e}");
            return ExitCode::from(2);
        }
        outln!("{}: ok", args.file.display());
        return ExitCode::SUCCESS;
    }
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            errln!("valecast: {why}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options) -> Result<(), String> {
    // Before there are threads: all of them inherit this, and the signals wait for the loop below.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        signals.add(signal);
    }
    signals.thread_block().map_err(|e| format!("cannot block signals: {e}"))?;
    crate::print::start_log();
    let (socket, state) = (options.socket.clone(), options.state_dir.clone());
    let running = shell::serve(options).map_err(|e| e.to_string())?;
    if running.torn > 0 {
        let bytes = running.torn;
        tracing::warn!("the journal ended in {bytes} bytes that were never whole: put aside as journal.torn");
    }
    tracing::info!(socket = %socket.display(), state = %state.display(), "the controller serves");
    if let Some(address) = running.listen {
        tracing::info!("sites may come over TLS to {address}");
    }
    if let Some(address) = running.dashboard {
        tracing::info!("page and metrics at http://{address}/ (read only)");
    }
    let tell = |state: &[NotifyState<'_>]| {
        if let Err(e) = sd_notify::notify(state) {
            tracing::warn!("cannot tell the service manager: {e}");
        }
    };
    tell(&[NotifyState::Ready]);
    let ended = loop {
        match signals.wait() {
            Ok(signal) => {
                tracing::info!("stopping: {signal}");
                break Ok(());
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(e) => break Err(format!("cannot wait for signals: {e}")),
        }
    };
    tell(&[NotifyState::Stopping]);
    drop(running);
    ended
}
