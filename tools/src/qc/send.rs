//! `valecast qc send`: sends files to other sites.

mod screen;
mod serve;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;
use valecast_config::units::parse_duration;
use valecast_qc_dataplane::control::TransferStatus;
use valecast_qc_dataplane::endpoint::EndpointError;
use valecast_qc_dataplane::endpoint::local::LocalSite;
use valecast_qc_dataplane::endpoint::send::Cut;
use valecast_qc_dataplane::endpoint::send::job::{Job, JobEnd};
use valecast_qc_dataplane::endpoint::send::parcel::Parcel;
use valecast_qc_dataplane::transport::wire::DEFAULT_CHUNK;

use super::site::{AtSite, Failed, INTERRUPTED, ended, told_to_stop};
use screen::{Screen, word};

pub const HELP: &str = "\
Someone has to receive at each site: `valecast qc recv --dir DIR`.

With --wait, this process sends and shows how far each receiver is. Without, a process in the background does, and this one
ends as soon as the controller has accepted the transfer; `valecast qc status ID` shows how far it is.

Ctrl-C pauses the transfer, and so does SIGTERM; it goes on where it was with --resume ID. A second Ctrl-C ends at once, and
leaves it to the controller to find out. A file that was changed meanwhile is another transfer.

Receivers that cannot be reached, or where nobody receives, are waited for. Once all others have ended, that goes on for
--patience; while no receiver has ended and nothing can be sent to any, for --missing-after; then the transfer ends without
them, and says who lacks it and why (exit status 3, or 1 if nobody has it). A controller that does not answer is asked again for as long, before the
transfer has a number; after that, all that is installed goes on without it.

With --serve, this process waits for transfers that are asked for elsewhere (`valecast qc submit`), of files below
--root, until it is stopped.

Examples:
  valecast qc send image.qcow2 --to t1,t2,t3 --wait
  valecast qc send /srv/models --to t1,t2 --fec 64,8
  valecast qc send image.qcow2 --resume 12 --wait
  valecast qc send --serve --root /srv/out

Exit status: 0 all receivers have it and its hash is right (without --wait: it was accepted), 1 it could not be sent,
2 the command is wrong, 3 not all receivers have it, 130 paused.";

/// How often a controller that does not answer is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// What `valecast qc send` takes.
#[derive(Clone, Debug, Args)]
pub struct SendArgs {
    /// The file, or the directory with all that is in it.
    #[arg(required_unless_present = "serve", conflicts_with = "serve")]
    path: Option<PathBuf>,
    /// The sites that are to get it.
    #[arg(long, value_name = "SITE,SITE,..", value_delimiter = ',', required_unless_present_any = ["serve", "resume"], conflicts_with = "resume")]
    to: Vec<String>,
    /// How to plan it, see `valecast qc solve --help`; by default as the controller does.
    #[arg(long, value_name = "SCHEME", conflicts_with = "resume")]
    scheme: Option<String>,
    /// Send in this process, and end when the transfer has.
    #[arg(long)]
    wait: bool,
    /// How long to wait for the controller at first, and for receivers that cannot be reached, once all others have ended.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    patience: Duration,
    /// How long to wait while nothing can be sent: nobody receives, or no link leads there; then all that lack it are missing.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    missing_after: Duration,
    /// How long a receiver may be silent before the others end without it; it is taken up again if it comes back meanwhile.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    silence: Duration,
    /// Go on with a transfer that was paused or broke off.
    #[arg(long, value_name = "ID")]
    resume: Option<u64>,
    /// Repair by parity: M shards for each K chunks, and LEAD of them sent before anybody asks.
    #[arg(long, value_name = "K,M[,LEAD]", value_parser = fec)]
    fec: Option<Fec>,
    /// Bytes of content in a frame, a multiple of 64. Links must carry 50 bytes more.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_CHUNK)]
    chunk: u16,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
    /// Wait for transfers that are asked for elsewhere.
    #[arg(long, requires = "root")]
    serve: bool,
    /// With --serve: where the files are; nothing outside is sent.
    #[arg(long, value_name = "DIR", requires = "serve")]
    root: Option<PathBuf>,
    #[command(flatten)]
    at: AtSite,
}

#[derive(Clone, Copy, Debug)]
struct Fec {
    k: u16,
    m: u16,
    lead: u16,
}

fn fec(text: &str) -> Result<Fec, String> {
    let numbers: Vec<u16> = text.split(',').map_while(|n| n.trim().parse().ok()).collect();
    let wrong = || {
        format!(
            "`{text}` is not K,M or K,M,LEAD with K from 1 to 256, M from 1 to 128 and LEAD up to M, like 64,8"
        )
    };
    if numbers.len() != text.split(',').count() {
        return Err(wrong());
    }
    match numbers[..] {
        [k, m] if (1..=256).contains(&k) && (1..=128).contains(&m) => Ok(Fec { k, m, lead: 0 }),
        [k, m, lead] if (1..=256).contains(&k) && (1..=128).contains(&m) && lead <= m => {
            Ok(Fec { k, m, lead })
        }
        _ => Err(wrong()),
    }
}

impl SendArgs {
    fn cut(&self) -> Cut {
        Cut { chunk: self.chunk, fec: self.fec.map(|f| (f.k, f.m)), lead: self.fec.map_or(0, |f| f.lead) }
    }
}

impl SendArgs {
    /// With the limits on what it waits for.
    fn limits(&self, job: Job) -> Job {
        job.patience(self.patience).missing_after(self.missing_after).silence(self.silence)
    }
}

/// Sends.
pub fn run(args: &SendArgs) -> ExitCode {
    ended(obey(args), args.json)
}

fn obey(args: &SendArgs) -> Result<u8, Failed> {
    let stop = told_to_stop()?;
    let site = args.at.find()?;
    if let Some(root) = &args.root {
        return serve::serve(args, &site, root, &stop);
    }
    let Some(path) = &args.path else { return Err(Failed::usage("which file?")) };
    let parcel = Parcel::open(path, args.cut())?;
    let id = match args.resume {
        Some(id) => {
            let Some(status) = insist(args, &stop, || site.status(id, 0, 0))? else {
                return Ok(INTERRUPTED);
            };
            resumable(&status, &parcel)?;
            id
        }
        None => {
            // Asked again with the same number, it is the same transfer.
            let new = parcel.ask(args.to.clone(), args.scheme.clone())?;
            let Some(created) = insist(args, &stop, || site.create(&new))? else { return Ok(INTERRUPTED) };
            created.id
        }
    };
    if args.wait {
        foreground(args, path, &site, id, parcel, stop)
    } else {
        background(args, path, &site, id, &parcel)
    }
}

/// Asks again while the controller does not answer, and says so once; `None` if it is told to stop.
fn insist<T>(
    args: &SendArgs,
    stop: &AtomicBool,
    mut ask: impl FnMut() -> Result<T, EndpointError>,
) -> Result<Option<T>, Failed> {
    let begun = Instant::now();
    let mut told = false;
    while !stop.load(Ordering::Relaxed) {
        let why = match ask() {
            Ok(answer) => return Ok(Some(answer)),
            // The site is there, and says that the controller is not.
            Err(e @ EndpointError::Refused { .. }) if e.may_pass() => e.to_string(),
            Err(e) => return Err(e.into()),
        };
        let left = args.patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(Failed::new(format!("{why}; it was asked for {:?}", args.patience)));
        }
        if !std::mem::replace(&mut told, true) {
            if args.json {
                outln!("{}", json!({"event": "waiting", "why": why}));
            } else {
                errln!("valecast: {why}; trying again for {:?} (--patience)", args.patience);
            }
        }
        std::thread::sleep(AGAIN.min(left));
    }
    Ok(None)
}

/// Whether a transfer can go on with these files.
fn resumable(status: &TransferStatus, parcel: &Parcel) -> Result<(), Failed> {
    let id = status.id;
    if status.state.is_over() {
        let why = status.why.as_ref().map(|w| format!(": {w}")).unwrap_or_default();
        return Err(Failed::new(format!(
            "transfer {id} is over ({}){why}; send it anew",
            word(&status.state)
        )));
    }
    if (status.name.as_str(), status.bytes) != (parcel.name(), parcel.bytes()) {
        return Err(Failed::new(format!(
            "transfer {id} is of {:?} with {} bytes, this is {:?} with {} bytes: it is another transfer",
            status.name,
            status.bytes,
            parcel.name(),
            parcel.bytes()
        )));
    }
    Ok(())
}

fn background(
    args: &SendArgs,
    path: &Path,
    site: &LocalSite,
    id: u64,
    parcel: &Parcel,
) -> Result<u8, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["qc", "send", "--wait", "--resume", &id.to_string()]);
    command.arg("--socket").arg(site.socket()).arg("--chunk").arg(args.chunk.to_string());
    command.arg("--patience").arg(format!("{}ms", args.patience.as_millis()));
    command.arg("--missing-after").arg(format!("{}ms", args.missing_after.as_millis()));
    command.arg("--silence").arg(format!("{}ms", args.silence.as_millis()));
    if let Some(f) = args.fec {
        command.arg("--fec").arg(format!("{},{},{}", f.k, f.m, f.lead));
    }
    command.arg("--").arg(std::path::absolute(path)?);
    // Its own group, so that the terminal's Ctrl-C is not for it.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let pid = command.spawn()?.id();
    let name = parcel.name();
    if args.json {
        outln!(
            "{}",
            json!({"event": "accepted", "id": id, "pid": pid, "name": name, "bytes": parcel.bytes()})
        );
    } else {
        outln!(
            "transfer {id}: {name} ({}); process {pid} sends it\n\
             valecast qc status {id} shows how far it is, kill {pid} pauses it",
            HumanBytes(parcel.bytes())
        );
    }
    Ok(0)
}

fn foreground(
    args: &SendArgs,
    path: &Path,
    site: &LocalSite,
    id: u64,
    parcel: Parcel,
    stop: Arc<AtomicBool>,
) -> Result<u8, Failed> {
    let mut screen = Screen::new(args.json);
    screen.begin(id, &parcel);
    let job = args.limits(Job::new(site.clone(), id, parcel, stop)?);
    let end = job.run(&mut |view| screen.show(view));
    screen.bars.clear();
    match end? {
        JobEnd::Paused => {
            screen.paused(id, path);
            Ok(INTERRUPTED)
        }
        JobEnd::Over(status) => Ok(screen.over(&status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parity_is_read_or_refused() {
        let f = fec("64, 8,2").unwrap();
        assert_eq!((f.k, f.m, f.lead), (64, 8, 2));
        assert_eq!(fec("256,128").unwrap().lead, 0);
        for text in ["", "64", "0,1", "1,0", "257,1", "64,8,9", "64,8,1,1", "64,x", "-1,2"] {
            assert!(fec(text).unwrap_err().contains("K,M"), "{text}");
        }
    }
}
