//! Small datagrams between two network namespaces: a sender and a receiver that cost little beside what is
//! between them.
//!
//! `udpload send ADDRESS:PORT [--size BYTES] [--seconds N]` and `udpload recv ADDRESS:PORT [--seconds N]`. Run each
//! where it belongs, such as by `ip netns exec`. Each prints one line of JSON. The receiver's clock begins with the
//! first datagram and ends with the last; its `pps` is what got through.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg, setsockopt, sockopt};

/// Datagrams in one call.
const BATCH: usize = 64;
const BUFFER: usize = 16 << 20;
/// Payload that makes a frame of 64 bytes with its check sequence.
const SIZE: usize = 18;

fn main() {
    if let Err(e) = run() {
        eprintln!("udpload: {e}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let usage = "usage: udpload send|recv ADDRESS:PORT [--size BYTES] [--seconds N]";
    let [mode, address, ..] = args.as_slice() else { return Err(usage.into()) };
    let address: SocketAddr = address.parse().map_err(|e| format!("{address}: {e}"))?;
    let seconds: f64 = value("--seconds").map_or(Ok(3.0), |v| v.parse())?;
    let size: usize = value("--size").map_or(Ok(SIZE), |v| v.parse())?;
    let time = Duration::from_secs_f64(seconds);
    let (packets, took) = match mode.as_str() {
        "send" => send(address, size, time)?,
        "recv" => receive(address, time)?,
        _ => return Err(usage.into()),
    };
    let pps = packets as f64 / took.as_secs_f64().max(1e-9);
    let line =
        serde_json::json!({ "mode": mode, "packets": packets, "seconds": took.as_secs_f64(), "pps": pps });
    println!("{line}");
    Ok(())
}

fn send(to: SocketAddr, size: usize, time: Duration) -> Result<(u64, Duration), Box<dyn std::error::Error>> {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(to)?;
    // The limit of the system may be lower; then as much as it allows.
    let _ = setsockopt(&socket, sockopt::SndBufForce, &BUFFER);
    let data = vec![0u8; size];
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let (begin, mut sent) = (Instant::now(), 0u64);
    while begin.elapsed() < time {
        for _ in 0..16 {
            let slices = [[IoSlice::new(&data)]; BATCH];
            let addresses = [None; BATCH];
            match sendmmsg(socket.as_raw_fd(), &mut headers, &slices, addresses, [], MsgFlags::empty()) {
                Ok(results) => sent += results.count() as u64,
                // No receiver yet, or a full queue.
                Err(Errno::ECONNREFUSED | Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok((sent, begin.elapsed()))
}

fn receive(at: SocketAddr, time: Duration) -> Result<(u64, Duration), Box<dyn std::error::Error>> {
    let socket = UdpSocket::bind(at)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER);
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let (begin, mut got) = (Instant::now(), 0u64);
    let (mut first, mut last) = (None, begin);
    while begin.elapsed() < time {
        let mut memory = [[0u8; 64]; BATCH];
        let mut slices: Vec<_> = memory.iter_mut().map(|b| [IoSliceMut::new(b)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        match recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None) {
            Ok(results) => {
                got += results.count() as u64;
                last = Instant::now();
                first.get_or_insert(last);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok((got, last.saturating_duration_since(first.unwrap_or(last))))
}
