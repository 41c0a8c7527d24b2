//! Somebody else's client: the `vfio_user` crate's, against a server on a thread of its own.

use std::os::fd::{AsFd, AsRawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use valecast_hypervisor_glue::vfio_user::{Bus, Server};

use crate::peer::{eventfd, guest_memory, peek, poke, signals};
use crate::scratch::session;

struct Running {
    path: std::path::PathBuf,
    bus: Bus,
    stop: std::sync::Arc<EventFd>,
    thread: Option<std::thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Running {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vm.sock");
        let mut server = Server::bind(&path, session()).unwrap();
        let bus = server.session().bus().clone();
        let stop = std::sync::Arc::new(eventfd());
        let told = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || server.run(told.as_fd()).unwrap());
        Self { path, bus, stop, thread: Some(thread), _dir: dir }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.write(1).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn wait(fd: &EventFd) -> u64 {
    let n = poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], PollTimeout::from(20_000u16)).unwrap();
    assert_eq!(n, 1, "signalled");
    signals(fd)
}

#[test]
fn plugs_in_uses_and_leaves_and_comes_again() {
    let server = Running::start();
    for round in 1..=3u64 {
        let mut client = vfio_user::Client::new(&server.path).unwrap();
        let size = |k| client.region(k).map(|r| r.size);
        assert_eq!((size(0), size(1), size(2), size(7)), (Some(4096), Some(64), Some(0), Some(256)));
        let mut id = [0; 4];
        client.region_read(7, 0, &mut id).unwrap();
        assert_eq!(id, [0xf4, 0x1a, 0xf7, 0x10]);
        let irq = client.get_irq_info(0).unwrap();
        assert_eq!((irq.index, irq.flags, irq.count), (0, 7, 1));

        let ram = guest_memory(0x10000);
        poke(&ram, 0x8000, &[round as u8; 8]);
        client.dma_map(0x8000, 0x10_0000, 0x8000, ram.as_raw_fd()).unwrap();
        client.region_write(7, 4, &[6, 0]).unwrap();
        client.region_write(0, 0x10, &0x10_0000u64.to_le_bytes()).unwrap();
        let mut seen = [0; 9];
        client.region_read(0, 0x20, &mut seen).unwrap();
        assert_eq!((seen[0], seen[7], seen[8]), (round as u8, round as u8, 1));
        assert_eq!(peek(&ram, 0x8008, 8), [!(round as u8); 8]);

        let fd = eventfd();
        client.set_irqs(0, 0x24, 0, 1, &[fd.as_raw_fd()]).unwrap();
        // From a worker's side, while the client waits.
        server.bus.interrupt().set_level(true);
        assert_eq!(wait(&fd), 1);
        client.set_irqs(0, 0x11, 0, 1, &[]).unwrap();
        assert_eq!(wait(&fd), 1);
        server.bus.interrupt().set_level(false);
        client.set_irqs(0, 0x21, 0, 0, &[]).unwrap();

        client.dma_unmap(0x10_0000, 0x8000).unwrap();
        client.region_write(0, 0x10, &0x10_0000u64.to_le_bytes()).unwrap();
        client.region_read(0, 0x20, &mut seen).unwrap();
        assert_eq!(seen[8], 2, "a fault");
        client.reset().unwrap();
        client.region_read(0, 0x20, &mut seen).unwrap();
        assert_eq!(seen, [0; 9]);
        client.shutdown().unwrap();
        assert_eq!(server.bus.counters().clients.get(), round);
    }
    let counters = server.bus.counters();
    assert_eq!((counters.maps.get(), counters.unmaps.get()), (3, 3));
    assert_eq!((counters.refused.get(), counters.broken.get()), (0, 0));
}
