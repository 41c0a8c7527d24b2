//! The sites, the controller and the endpoints on the switches, and the transfer.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use valecast_config::Controller;
use valecast_qc_dataplane::control::TransferStatus;
use valecast_qc_dataplane::controller::core::{Settings, scheme, view::Overview};
use valecast_qc_dataplane::controller::shell::{self, Options};
use valecast_qc_dataplane::endpoint::local::LocalSite;
use valecast_qc_dataplane::endpoint::receive::desk::Desk;
use valecast_qc_dataplane::endpoint::receive::worker::Where;
use valecast_qc_dataplane::endpoint::send::Cut;
use valecast_qc_dataplane::endpoint::send::job::{Job, JobEnd};
use valecast_qc_dataplane::endpoint::send::parcel::Parcel;
use valecast_qc_dataplane::site::{Sites, socket};
use valecast_switch::api::client;
use valecast_switch::daemon::Daemon;

use super::picture::{Use, picture};
use super::plan::Plan;
use super::{DemoArgs, FILE, Failure};

/// How long sites and links may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the picture is drawn.
const DRAW: Duration = Duration::from_millis(250);
/// A link by the sites at its ends, and the bytes that it has sent.
pub type Carried = (usize, usize, u64);

/// Starts all that stands on the switches, and sends.
///
/// # Errors
/// Something cannot be started, or it was told to stop.
pub fn over_sites(
    args: &DemoArgs,
    plan: &Plan,
    dir: &Path,
    daemon: &Daemon,
    quiet: bool,
    told: &Arc<AtomicBool>,
) -> Result<(TransferStatus, Vec<Carried>), Failure> {
    let run_dir = daemon.run_dir().to_owned();
    let chosen = scheme(&args.scheme).ok_or_else(|| Failure::Usage("no such scheme".into()))?;
    let place = run_dir.join(Controller::SOCKET);
    let controller = shell::serve(Options {
        settings: Settings::new(chosen),
        state_dir: dir.join("state"),
        socket: place.clone(),
        socket_mode: 0o600,
        tls: None,
        dashboard: args.page,
    })?;
    if let Some(page) = controller.dashboard {
        errln!("the controller's page: http://{page}/");
    }
    let sites = Sites::start(daemon)?;
    let stop = Arc::new(AtomicBool::new(false));
    let receivers: Result<Vec<_>, Failure> =
        plan.to.iter().map(|t| receiver(&run_dir, &plan.network.sites[*t], dir, &stop)).collect();
    let sent = receivers.and_then(|receivers| {
        ready(plan, &place, told)?;
        let before = counted(plan, daemon);
        let status = send(args, plan, dir, &place, quiet, told);
        let after = counted(plan, daemon);
        stop.store(true, Ordering::Relaxed);
        for r in receivers {
            if r.join().is_err() {
                return Err(Failure::Other("a receiver panicked".into()));
            }
        }
        let carried = before.iter().zip(after).map(|((a, b, n), (_, _, m))| (*a, *b, m - n)).collect();
        Ok((status?, carried))
    });
    stop.store(true, Ordering::Relaxed);
    drop(sites);
    drop(controller);
    sent
}

/// A receiver in a thread of its own.
fn receiver(
    run_dir: &Path,
    site: &str,
    dir: &Path,
    stop: &Arc<AtomicBool>,
) -> Result<JoinHandle<()>, Failure> {
    let to = Where { dir: dir.join("at").join(site), replace: false };
    std::fs::create_dir_all(&to.dir)?;
    let desk = Desk::open(LocalSite::at(socket(run_dir, site)), to, stop.clone())?;
    let thread = std::thread::Builder::new().name(format!("recv-{site}"));
    Ok(thread.spawn(move || {
        if let Err(e) = desk.run(&mut |_| true) {
            tracing::error!("a receiver: {e}");
        }
    })?)
}

fn overview(controller: &Path) -> Result<Overview, Failure> {
    let answer = client::ask(controller, "GET", "/v1/overview", None)?;
    Ok(serde_json::from_str(&answer.body)?)
}

/// Waits until all sites, links and receivers are there.
fn ready(plan: &Plan, controller: &Path, told: &AtomicBool) -> Result<(), Failure> {
    let since = Instant::now();
    loop {
        let now = overview(controller)?;
        let links = now.links.iter().filter(|l| l.up).count();
        let receives = |t: &usize| now.sites.iter().any(|s| s.name == plan.network.sites[*t] && s.receives);
        let up = now.sites.iter().filter(|s| s.state == "up").count();
        if up == plan.network.sites.len() && links == plan.network.links.len() && plan.to.iter().all(receives)
        {
            return Ok(());
        }
        if told.load(Ordering::Relaxed) {
            return Err(Failure::Stopped);
        }
        if since.elapsed() > PATIENCE {
            return Err(Failure::Other(format!(
                "after a minute {up} of {} sites and {links} of {} links are up: this machine may be too slow for it",
                plan.network.sites.len(),
                plan.network.links.len()
            )));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Bytes that each link has carried.
fn counted(plan: &Plan, daemon: &Daemon) -> Vec<Carried> {
    let bytes = |(from, to): &(usize, usize)| {
        let port = plan.network.port(*to);
        let counted = daemon.with(&plan.network.sites[*from], |s| s.out_bytes(&port));
        (*from, *to, counted.ok().flatten().unwrap_or(0))
    };
    plan.network.links.keys().map(bytes).collect()
}

fn send(
    args: &DemoArgs,
    plan: &Plan,
    dir: &Path,
    controller: &Path,
    quiet: bool,
    told: &Arc<AtomicBool>,
) -> Result<TransferStatus, Failure> {
    let run_dir = controller.parent().unwrap_or(dir);
    let site = LocalSite::at(socket(run_dir, &plan.network.sites[plan.from]));
    let parcel = Parcel::open(&dir.join(FILE), Cut::default())?;
    let to = plan.to.iter().map(|t| plan.network.sites[*t].clone()).collect();
    let id = site.create(&parcel.ask(to, Some(args.scheme.clone()))?)?.id;
    let since = Instant::now();
    let job = Job::new(site, id, parcel, told.clone())?;
    let (mut drawn, mut lines) = (None::<Instant>, 0);
    let end = job.run(&mut |view| {
        if quiet || drawn.is_some_and(|d| d.elapsed() < DRAW) {
            return;
        }
        drawn = Some(Instant::now());
        let links = overview(controller).map(|o| uses(&o)).unwrap_or_default();
        let mut status = view.status.clone();
        // The sender knows more than the controller.
        for (r, (_, newer)) in status.receivers.iter_mut().zip(&view.receivers) {
            (r.have, r.rate) = (newer.have.max(r.have), newer.rate);
        }
        let text = picture(&status, &links, since.elapsed().as_secs_f64());
        redraw(&text, &mut lines);
    })?;
    match end {
        JobEnd::Over(status) => Ok(*status),
        JobEnd::Paused => Err(Failure::Stopped),
    }
}

fn uses(overview: &Overview) -> Use {
    overview.links.iter().map(|l| ((l.from.clone(), l.to.clone()), (l.used, l.capacity))).collect()
}

/// Draws over what was drawn before.
fn redraw(text: &str, lines: &mut usize) {
    let mut out = String::new();
    if *lines > 0 {
        out += &format!("\x1b[{lines}A");
    }
    for line in text.lines() {
        out += &format!("\x1b[2K{line}\n");
    }
    out += "\x1b[J";
    *lines = text.lines().count();
    let mut err = std::io::stderr();
    let _ = err.write_all(out.as_bytes()).and_then(|()| err.flush());
}
