//! Bursts over a datagram socket: one system call for up to 64 frames. What `packet` and `vde` have in common.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};

use crate::frames::{Frames, Headers, STAMP_AT};
use crate::peer::{Trouble, Wire};

/// Frames per system call.
const CALL: usize = 64;
/// Longer than any frame.
const BUFFER: usize = 2048;

/// A socket that is connected or bound to the one place it sends to.
pub struct Datagrams {
    fd: OwnedFd,
    list: Vec<Vec<u8>>,
    headers: Headers,
    next: usize,
    buffers: Vec<Vec<u8>>,
    lens: Vec<usize>,
    tx: MultiHeaders<SockaddrStorage>,
    rx: MultiHeaders<SockaddrStorage>,
}

impl Datagrams {
    /// Over a socket.
    pub fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            list: vec![vec![0; 64]],
            headers: Headers::default(),
            next: 0,
            buffers: vec![vec![0; BUFFER]; CALL],
            lens: Vec::with_capacity(CALL),
            tx: MultiHeaders::preallocate(CALL, None),
            rx: MultiHeaders::preallocate(CALL, None),
        }
    }

    /// One call's worth; `self.lens` tells what came.
    fn take(&mut self, max: u32) -> u32 {
        self.lens.clear();
        let n = (max as usize).min(CALL);
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.buffers[..n].iter_mut().map(|b| [IoSliceMut::new(b)]).collect();
        let got =
            recvmmsg(self.fd.as_raw_fd(), &mut self.rx, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
        if let Ok(got) = got {
            self.lens.extend(got.map(|m| m.bytes));
        }
        self.lens.len() as u32
    }
}

impl Wire for Datagrams {
    fn load(&mut self, frames: &Frames) -> Result<(), Trouble> {
        self.list.clone_from(&frames.list);
        self.headers = Headers::new(frames);
        self.next = 0;
        Ok(())
    }

    fn send(&mut self, n: u32) -> u32 {
        let n = (n as usize).min(CALL);
        let (next, len) = (self.next, self.list.len());
        let at = |i: usize| (next + i) % len;
        let picked: Vec<usize> = (0..n).map(at).collect();
        if self.headers.needed() {
            for i in &picked {
                self.list[*i][..12].copy_from_slice(self.headers.next());
            }
        }
        let slices: Vec<[IoSlice<'_>; 1]> = picked.iter().map(|i| [IoSlice::new(&self.list[*i])]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let none = vec![None; n];
        let sent = sendmmsg(self.fd.as_raw_fd(), &mut self.tx, slices.iter(), none, [], flags);
        let sent = sent.map_or(0, Iterator::count);
        self.next = at(sent);
        sent as u32
    }

    fn recv(&mut self, max: u32) -> u32 {
        let n = self.take(max);
        let sum = self.buffers[..n as usize].iter().fold(0, |s, b| s ^ b[0]);
        std::hint::black_box(sum);
        n
    }

    fn send_stamp(&mut self, stamp: u64) -> bool {
        let mut frame = self.list[0].clone();
        frame[STAMP_AT..STAMP_AT + 8].copy_from_slice(&stamp.to_le_bytes());
        nix::sys::socket::send(self.fd.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT).is_ok()
    }

    fn recv_stamps(&mut self, max: u32, found: &mut dyn FnMut(u64)) -> u32 {
        let n = self.take(max);
        for (buffer, len) in self.buffers.iter().zip(&self.lens).filter(|(_, len)| **len >= STAMP_AT + 8) {
            let stamp =
                buffer[..*len][STAMP_AT..STAMP_AT + 8].iter().rev().fold(0, |s, b| s << 8 | u64::from(*b));
            if stamp != 0 {
                found(stamp);
            }
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

/// Sleeps until a descriptor is ready.
pub fn wait(fd: &OwnedFd, what: PollFlags, timeout: Duration) {
    let ms = u16::try_from(timeout.as_millis()).unwrap_or(u16::MAX);
    let _ = poll(&mut [PollFd::new(fd.as_fd(), what)], PollTimeout::from(ms));
}
