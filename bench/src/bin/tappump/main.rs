//! The least that can be done between two TAP interfaces: read a frame here, write it there, offload headers and
//! all. No table, no counters, no other port: what a switch on TAPs can be measured against.
//!
//! `tappump NETNS/IFNAME NETNS/IFNAME [--one]` makes both interfaces, pumps in both directions until it is killed,
//! each by a thread that blocks in `read`, or with `--one` both by one thread that polls. The interfaces are
//! configured by whoever starts it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Offload header, largest segment, Ethernet header with tags.
const BUFFER: usize = 10 + 65536 + 64;
static HEADER: libc::c_int = 10;

fn main() {
    if let Err(e) = run() {
        eprintln!("tappump: {e}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [a, b, ..] = args.as_slice() else {
        return Err("usage: tappump NETNS/IFNAME NETNS/IFNAME [--one]".into());
    };
    let one = args.iter().any(|a| a == "--one");
    let (a, b) = (Arc::new(open(a, one)?), Arc::new(open(b, one)?));
    println!("ready");
    if one {
        return both(&a, &b);
    }
    let (a2, b2) = (a.clone(), b.clone());
    let back = std::thread::spawn(move || pump(&b2, &a2));
    pump(&a, &b)?;
    back.join().map_err(|_| "the other thread panicked")?
}

fn open(place: &str, nonblocking: bool) -> Result<File, Failed> {
    let (netns, ifname) = place.split_once('/').ok_or("an interface is written NETNS/IFNAME")?;
    let namespace = File::open(format!("/run/netns/{netns}")).map_err(|e| format!("{netns}: {e}"))?;
    let make = || {
        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        let flags = if nonblocking { libc::O_NONBLOCK } else { 0 };
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/net/tun")?;
        configure(&file, ifname)?;
        Ok(file)
    };
    std::thread::scope(|s| s.spawn(make).join()).map_err(|_| "a thread panicked")?
}

fn configure(file: &File, ifname: &str) -> Result<(), Failed> {
    let ioctl = |op, p: libc::c_ulong| {
        // SAFETY: the callers below pass what each operation takes, which outlives the call.
        let rc = unsafe { libc::ioctl(file.as_raw_fd(), op, p) };
        nix::errno::Errno::result(rc).map_err(|e| format!("{ifname}: {e}"))
    };
    // SAFETY: `ifreq` is plain data, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if ifname.len() >= request.ifr_name.len() {
        return Err(format!("{ifname}: too long for an interface").into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(ifname.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    ioctl(libc::TUNSETIFF, (&raw mut request) as libc::c_ulong)?;
    ioctl(libc::TUNSETVNETHDRSZ, (&raw const HEADER) as libc::c_ulong)?;
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let offloads = libc::c_ulong::from(tcp);
    let udp = libc::c_ulong::from(libc::TUN_F_USO4 | libc::TUN_F_USO6);
    ioctl(libc::TUNSETOFFLOAD, offloads | udp).or_else(|_| ioctl(libc::TUNSETOFFLOAD, offloads))?;
    Ok(())
}

/// One frame; `false` if there is none. What the other side refuses is lost.
fn step(mut from: &File, mut to: &File, buffer: &mut [u8]) -> Result<bool, Failed> {
    match from.read(buffer) {
        Ok(n) => {
            let _ = to.write(&buffer[..n]);
            Ok(true)
        }
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
        // The interface is down, which it may be before it is configured.
        Err(e) if e.raw_os_error() == Some(libc::EIO) => {
            std::thread::sleep(std::time::Duration::from_millis(10));
            Ok(false)
        }
        Err(e) => Err(e.into()),
    }
}

fn pump(from: &File, to: &File) -> Result<(), Failed> {
    let mut buffer = vec![0; BUFFER];
    loop {
        step(from, to, &mut buffer)?;
    }
}

fn both(a: &File, b: &File) -> Result<(), Failed> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut any = false;
        for (from, to) in [(a, b), (b, a)] {
            for _ in 0..64 {
                if !step(from, to, &mut buffer)? {
                    break;
                }
                any = true;
            }
        }
        if !any {
            let mut fds = [a, b].map(|f| PollFd::new(f.as_fd(), PollFlags::POLLIN));
            poll(&mut fds, PollTimeout::NONE)?;
        }
    }
}
