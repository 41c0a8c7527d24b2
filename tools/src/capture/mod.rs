//! `valecast ctl capture`: records the frames of a port as pcapng.
//!
//! A temporary ring port of its own, and a mirror to it. Both belong to this process: when it ends, however it
//! ends, the switch takes them down.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde_json::json;
use valecast_ring::abi::SlotFlags;
use valecast_ring::client::{AttachOptions, Link, Port, RxRing};
use valecast_switch::switch::show::StatsView;

use crate::ctl::fragment::target;
use crate::ctl::{At, Client, Failure, number, ring_port};

mod recording;
#[cfg(test)]
mod tests;

use recording::Recording;

/// More on `valecast ctl capture`.
pub const HELP: &str = "\
Examples:
  valecast ctl capture vale0:a -w a.pcapng -c 1000
  valecast ctl capture vale0:a -w - | tcpdump -n -r -
  valecast ctl capture vale0:a -w - | wireshark -k -i -

Frames that come faster than they are written are dropped here, never at the port that is watched. Ctrl-C ends it.";

/// Slots of the capture's ring.
const SLOTS: u32 = 4096;
/// Bytes of a buffer: a jumbo frame fits into one.
const BUFFER: u32 = 9216;

/// What `valecast ctl capture` takes.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// The port to watch.
    #[arg(value_name = "SWITCH:PORT")]
    port: String,
    /// Where to write; `-` is the standard output.
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    write: PathBuf,
    /// Stop after so many frames.
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Which frames, seen from the switch.
    #[arg(long, value_enum, default_value = "both")]
    direction: Direction,
    /// Stop after so many seconds.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Keep only so many bytes of each frame.
    #[arg(long, value_name = "BYTES", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(1..))]
    snaplen: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Direction {
    /// Those that enter the switch from the port.
    In,
    /// Those that leave the switch through the port.
    Out,
    /// All.
    Both,
}

/// Records until told to stop.
///
/// # Errors
/// When the port cannot be watched or the file not be written.
pub fn run(at: &At, args: &CaptureArgs, as_json: bool) -> Result<(), Failure> {
    let (switch, port) = target(&args.port);
    let client = at.client(switch)?;
    // Asked for first: a wrong name must not truncate a file.
    let known: StatsView = client.read("stats")?;
    if !known.ports.iter().any(|p| p.name == port) {
        let names: Vec<_> = known.ports.iter().map(|p| p.name.as_str()).collect();
        let there_is = if names.is_empty() { "no ports".to_owned() } else { names.join(", ") };
        let what = format!("switch {} has no port {port:?} (it has {there_is})", client.switch());
        return Err(Failure::Refused(what));
    }
    let signals = catch_signals().map_err(|e| Failure::Refused(format!("signals: {e}")))?;
    let output = open(args)?;
    let writing = |e: io::Error| Failure::Refused(format!("{}: {e}", args.write.display()));
    let file =
        Recording::start(output, &format!("{}:{port}", client.switch()), args.snaplen).map_err(writing)?;

    let tap = Tap::place(&client, port, args.direction)?;
    let (link, mut ring) = tap.attach(&client)?;

    let mut capture = Capture {
        file,
        left: args.count.unwrap_or(u64::MAX),
        until: args.seconds.map(|s| Instant::now() + Duration::from_secs(s)),
        frames: 0,
    };
    let ended = capture.record(&mut ring, &link, &signals);
    let dropped = tap.dropped(&client);
    let flushed = capture.file.flush();
    let frames = capture.frames;
    let text = |n: Option<u64>| n.map_or_else(|| "an unknown number".to_owned(), number::count);
    errln!("{} frames captured, {} dropped", number::count(frames), text(dropped));
    if as_json && args.write.as_os_str() != "-" {
        outln!("{}", json!({ "frames": frames, "dropped": dropped }));
    }
    match ended.and(flushed) {
        // Whoever reads the pipe has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(writing),
    }
}

/// From here on the signals that end a capture wait to be read.
fn catch_signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

fn open(args: &CaptureArgs) -> Result<Box<dyn Write>, Failure> {
    if args.write.as_os_str() == "-" {
        if io::stdout().is_terminal() {
            return Err(Failure::Usage("a terminal cannot show a capture: redirect the output".to_owned()));
        }
        return Ok(Box::new(io::stdout()));
    }
    match File::create(&args.write) {
        Ok(file) => Ok(Box::new(file)),
        Err(e) => Err(Failure::Refused(format!("{}: {e}", args.write.display()))),
    }
}

/// The temporary port and the mirror to it.
struct Tap {
    name: String,
}

impl Tap {
    fn place(client: &Client, port: &str, direction: Direction) -> Result<Self, Failure> {
        let name = format!("cap-{}", std::process::id());
        client.post("ports?temporary=true", &ring_port(&name, SLOTS, BUFFER))?;
        let tap = Self { name };
        let direction = match direction {
            Direction::In => "in",
            Direction::Out => "out",
            Direction::Both => "both",
        };
        // The mirror comes before the client: a port that is a mirror's gets no floods.
        let mirror = json!({ "from": [port], "to": tap.name, "direction": direction });
        match client.post("mirrors", &mirror) {
            Ok(_) => Ok(tap),
            Err(e) => {
                let _ = client.delete("ports", &tap.name);
                Err(e)
            }
        }
    }

    fn attach(&self, client: &Client) -> Result<(Link, RxRing), Failure> {
        let attached = Port::attach(&client.ring_socket(), &self.name, &AttachOptions::default());
        let ends = attached.map_err(|e| e.to_string()).and_then(|port| {
            let (link, _tx, rx) = port.split();
            rx.into_iter()
                .next()
                .map(|ring| (link, ring))
                .ok_or_else(|| "the port has no receive ring".to_owned())
        });
        ends.map_err(|why| {
            // Without a client the switch would wait for one.
            let _ = client.delete("ports", &self.name);
            Failure::Refused(why)
        })
    }

    /// What the ring had no room for.
    fn dropped(&self, client: &Client) -> Option<u64> {
        let stats: StatsView = client.read("stats").ok()?;
        let own = stats.ports.iter().find(|p| p.name == self.name)?;
        // What came before the client was attached belongs to no capture.
        Some(own.out_drops.iter().filter(|(cause, _)| *cause != "port_down").map(|(_, n)| n).sum())
    }
}

struct Capture {
    file: Recording,
    left: u64,
    until: Option<Instant>,
    frames: u64,
}

impl Capture {
    fn record(&mut self, rx: &mut RxRing, link: &Link, signals: &SignalFd) -> io::Result<()> {
        // The beginning of a frame whose end has not come yet.
        let mut begun = Vec::new();
        while self.left > 0 && self.until.is_none_or(|t| Instant::now() < t) {
            if signals.read_signal()?.is_some() {
                return Ok(());
            }
            let waiting = rx.pending();
            if waiting > 0 {
                self.take(rx, waiting, &mut begun)?;
                continue;
            }
            // Whoever reads along sees all there is before the next pause.
            self.file.flush()?;
            if !link.is_alive() {
                return Err(io::Error::other(
                    "the switch ended the capture (detached, or the daemon stopped)",
                ));
            }
            if rx.arm() {
                self.sleep(rx, link, signals)?;
            }
            rx.disarm();
        }
        Ok(())
    }

    fn take(&mut self, rx: &mut RxRing, waiting: u32, begun: &mut Vec<u8>) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut done = 0;
        while done < waiting && self.left > 0 {
            let slot = rx.frame(done);
            done += 1;
            let more = slot.flags.contains(SlotFlags::MORE_FRAG);
            if more || !begun.is_empty() {
                begun.extend_from_slice(slot.data);
            }
            if more {
                continue;
            }
            match begun.is_empty() {
                true => self.file.frame(slot.data, now)?,
                false => self.file.frame(begun, now)?,
            }
            begun.clear();
            self.frames += 1;
            self.left -= 1;
        }
        rx.advance(done);
        rx.release();
        Ok(())
    }

    fn sleep(&self, rx: &RxRing, link: &Link, signals: &SignalFd) -> io::Result<()> {
        let timeout = match self.until {
            None => PollTimeout::NONE,
            // Rounded up: waking early would mean spinning.
            Some(t) => {
                let ms = t.saturating_duration_since(Instant::now()).as_millis() + 1;
                PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
            }
        };
        let fds = [rx.call_fd(), link.fd(), signals.as_fd()];
        match poll(&mut fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)), timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}
