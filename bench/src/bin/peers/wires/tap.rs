//! A TAP interface: one system call for each frame.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::PollFlags;
use nix::unistd::{read, write};

use super::datagram::wait;
use super::packet::inside;
use crate::frames::{Frames, Headers, STAMP_AT};
use crate::peer::{Trouble, Wire};

/// One TAP interface's file.
pub struct TapWire {
    fd: OwnedFd,
    list: Vec<Vec<u8>>,
    headers: Headers,
    next: usize,
    buffer: Vec<u8>,
}

impl TapWire {
    /// Attaches to a TAP interface that exists in a namespace.
    pub fn open(netns: &str, ifname: &str) -> Result<Self, Trouble> {
        let fd = inside(netns, || {
            let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
            let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/net/tun")?;
            let mut request: libc::ifreq = zeroed();
            for (to, from) in request.ifr_name.iter_mut().zip(ifname.bytes().take(15)) {
                *to = from as libc::c_char;
            }
            request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
            // SAFETY: TUNSETIFF reads and writes one `ifreq`.
            Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
            Ok(OwnedFd::from(file))
        })?;
        Ok(Self { fd, list: vec![vec![0; 64]], headers: Headers::default(), next: 0, buffer: vec![0; 4096] })
    }
}

fn zeroed() -> libc::ifreq {
    // SAFETY: a C struct of numbers, for which zeros are a value.
    unsafe { std::mem::zeroed() }
}

impl Wire for TapWire {
    fn load(&mut self, frames: &Frames) -> Result<(), Trouble> {
        self.list.clone_from(&frames.list);
        self.headers = Headers::new(frames);
        self.next = 0;
        Ok(())
    }

    fn send(&mut self, n: u32) -> u32 {
        for sent in 0..n {
            let frame = &mut self.list[self.next];
            if self.headers.needed() {
                frame[..12].copy_from_slice(self.headers.next());
            }
            if write(&self.fd, frame).is_err() {
                return sent;
            }
            self.next = (self.next + 1) % self.list.len();
        }
        n
    }

    fn recv(&mut self, max: u32) -> u32 {
        let (mut n, mut sum) = (0, 0u8);
        // No more than a sender's burst, or one of both would have the core for too long.
        while n < max.min(64) && read(&self.fd, &mut self.buffer).is_ok_and(|n| n > 0) {
            sum ^= self.buffer[0];
            n += 1;
        }
        std::hint::black_box(sum);
        n
    }

    fn send_stamp(&mut self, stamp: u64) -> bool {
        let mut frame = self.list[0].clone();
        frame[STAMP_AT..STAMP_AT + 8].copy_from_slice(&stamp.to_le_bytes());
        write(&self.fd, &frame).is_ok()
    }

    fn recv_stamps(&mut self, max: u32, found: &mut dyn FnMut(u64)) -> u32 {
        let mut n = 0;
        while n < max.min(64) && read(&self.fd, &mut self.buffer).is_ok_and(|n| n > 0) {
            let stamp =
                self.buffer[STAMP_AT..STAMP_AT + 8].iter().rev().fold(0, |s, b| s << 8 | u64::from(*b));
            if stamp != 0 {
                found(stamp);
            }
            n += 1;
        }
        n
    }

    fn wait_recv(&mut self, _: u32, timeout: Duration) {
        wait(&self.fd, PollFlags::POLLIN, timeout);
    }

    fn wait_send(&mut self, timeout: Duration) {
        wait(&self.fd, PollFlags::POLLOUT, timeout);
    }
}
