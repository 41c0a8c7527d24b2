//! A scratch device (a few registers, DMA, an interrupt) that stock VM monitors can plug in.
//!
//! ```sh
//! RUST_LOG=trace cargo run -p valecast-hypervisor-glue --example vfio_user_device -- /tmp/scratch.sock
//! qemu-system-x86_64 -m 256 -object memory-backend-memfd,id=m0,size=256M,share=on -machine q35,memory-backend=m0 \
//!     -device '{"driver":"vfio-user-pci","socket":{"path":"/tmp/scratch.sock","type":"unix"}}' …
//! ```
//!
//! Ends on Ctrl-C or SIGTERM and says what it has seen. With RUST_LOG=trace it prints each message.

use std::error::Error;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tracing_subscriber::EnvFilter;
use valecast_hypervisor_glue::vfio_user::Server;

#[path = "../tests/vfio_user/scratch.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod scratch;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: vfio_user_device SOCKET")?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGINT);
    ends.add(Signal::SIGTERM);
    ends.thread_block()?;
    let ends = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC)?;

    let mut server = Server::bind(Path::new(&path), scratch::session())?;
    println!("listening on {path}");
    server.run(ends.as_fd())?;

    let session = server.session();
    println!("{:?}", session.device().calls);
    let interrupt = session.bus().interrupt();
    println!("{:?}", session.bus().counters());
    println!("{} interrupts, {} lost", interrupt.signals(), interrupt.lost());
    Ok(())
}
