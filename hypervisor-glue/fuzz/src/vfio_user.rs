//! A VM monitor, or whoever poses as one.

use std::os::fd::OwnedFd;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use valecast_hypervisor_glue::vfio_user::Session;
use valecast_hypervisor_glue::vfio_user::stream::Stream;
use valecast_hypervisor_glue::vfio_user::wire::{
    ERROR, HEADER, Header, MAX_MESSAGE, NO_REPLY, TYPE_MASK, TYPE_REPLY,
};
use zerocopy::{FromBytes, IntoBytes};

#[path = "../../tests/vfio_user/scratch.rs"]
#[allow(missing_docs, reason = "a test's device")]
pub mod scratch;

use scratch::Scratch;

/// Takes bytes from the front of a script; zeros once it is used up.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let n = n.min(self.0.len());
        let (taken, rest) = self.0.split_at(n);
        self.0 = rest;
        taken.to_vec()
    }

    /// Mostly small, page-sized, or at the end of what 64 bits hold.
    fn number(&mut self) -> u64 {
        let b = self.byte();
        let n = u64::from(b & 15);
        match b >> 4 {
            0..5 => n,
            5..11 => n << 12,
            11 => n << 28,
            12 => u64::MAX - n,
            13 => u64::MAX << 12,
            14 => u64::from(u32::MAX) - n,
            _ => 4096 - n,
        }
    }
}

/// One client's life as a script says, with each answer checked.
pub fn vfio_user_session(data: &[u8]) {
    let mut script = Script(data);
    let mut client =
        Client { session: scratch::session(), stream: Stream::default(), out: Vec::new(), id: 0 };
    if script.byte() % 8 != 0 {
        assert!(!client.request(1, 0, &[0, 0, 0, 0], Vec::new(), 999), "agreed");
    }
    while !script.0.is_empty() {
        let kind = script.byte();
        let pieces = usize::from(script.byte()) + 1;
        let fds = descriptors(script.byte());
        if kind % 16 == 15 {
            // Anything: whatever the stream makes of it, it must not lose count of its own bytes.
            let n = script.byte().into();
            let bytes = script.bytes(n);
            client.garbage(&bytes, fds);
            return client.leave();
        }
        let command = [2, 3, 4, 5, 7, 8, 9, 10, 13, 15, 1, 6, 14, 9, 10][usize::from(kind % 16)];
        let flags = match script.byte() % 8 {
            0 => NO_REPLY,
            1 => TYPE_REPLY,
            2 => 7,
            _ => 0,
        };
        let body = body(command, &mut script);
        client.request(command, flags, &body, fds, pieces);
    }
    client.leave();
}

fn descriptors(choice: u8) -> Vec<OwnedFd> {
    let memory = || {
        let fd = memfd_create(c"guest", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).ok()?;
        nix::unistd::ftruncate(&fd, 1 << 16).ok()?;
        Some(fd)
    };
    let event = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC).ok().map(OwnedFd::from);
    match choice % 8 {
        0 | 1 => memory().into_iter().collect(),
        2 => event().into_iter().collect(),
        3 => memory().into_iter().chain(event()).collect(),
        _ => Vec::new(),
    }
}

/// A body of the right shape with odd numbers, sometimes cut short or too long.
fn body(command: u16, script: &mut Script<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    let small = |script: &mut Script<'_>, body: &mut Vec<u8>| {
        body.extend_from_slice(&(script.number() as u32).to_ne_bytes());
    };
    match command {
        2 | 3 => {
            small(script, &mut body);
            body.extend_from_slice(&u32::from(script.byte() % 5).to_ne_bytes());
            for _ in 0..if command == 2 { 3 } else { 2 } {
                body.extend_from_slice(&script.number().to_ne_bytes());
            }
        }
        4 | 5 | 7 => {
            body.extend_from_slice(&u32::from(script.byte()).to_ne_bytes());
            for _ in 0..if command == 5 { 7 } else { 3 } {
                small(script, &mut body);
            }
        }
        8 => {
            small(script, &mut body);
            body.extend_from_slice(&u32::from(script.byte()).to_ne_bytes());
            for _ in 0..3 {
                small(script, &mut body);
            }
            body.push(script.byte());
        }
        9 | 10 => {
            body.extend_from_slice(&script.number().to_ne_bytes());
            body.extend_from_slice(&u32::from(script.byte() % 10).to_ne_bytes());
            let n = script.byte() % 64;
            body.extend_from_slice(&u32::from(n).to_ne_bytes());
            if command == 10 {
                body.extend(script.bytes(n.into()));
            }
        }
        15 => {
            let n = script.byte() % 6;
            body.extend_from_slice(&u64::from(n).to_ne_bytes());
            body.extend(script.bytes(usize::from(n) * 24));
        }
        _ => {
            let n = script.byte().into();
            body = script.bytes(n);
        }
    }
    match script.byte() {
        0..8 => body.truncate(body.len() / 2),
        8..12 => body.push(1),
        _ => {}
    }
    body
}

struct Client {
    session: Session<Scratch>,
    stream: Stream,
    out: Vec<u8>,
    id: u16,
}

impl Client {
    /// Sends one whole request in pieces of `piece` bytes; true if it was refused (or is not to be answered).
    fn request(
        &mut self,
        command: u16,
        flags: u32,
        body: &[u8],
        mut fds: Vec<OwnedFd>,
        piece: usize,
    ) -> bool {
        self.id = self.id.wrapping_add(1);
        let header = Header {
            id: self.id.into(),
            command: command.into(),
            size: ((HEADER + body.len()) as u32).into(),
            flags: flags.into(),
            error: 0.into(),
        };
        let message = [header.as_bytes(), body].concat();
        for part in message.chunks(piece.max(1)) {
            assert_eq!(self.stream.feed(part, std::mem::take(&mut fds)), part.len(), "room for a message");
            assert!(!self.serve(), "whole messages are always followed");
        }
        let answered = flags & NO_REPLY == 0 && flags & TYPE_MASK != TYPE_REPLY;
        let answers = self.answers();
        assert_eq!(answers.len(), usize::from(answered), "one answer to command {command}, flags {flags}");
        let Some(answer) = answers.first() else { return true };
        assert_eq!((answer.id.get(), answer.command.get()), (self.id, command));
        answer.flags.get() & ERROR != 0
    }

    /// Sends bytes that may mean anything.
    fn garbage(&mut self, bytes: &[u8], mut fds: Vec<OwnedFd>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = self.stream.feed(rest, std::mem::take(&mut fds));
            assert!(n > 0, "room, since all whole messages have been taken");
            rest = &rest[n..];
            if self.serve() {
                return;
            }
        }
        self.answers();
    }

    /// True if the stream is lost.
    fn serve(&mut self) -> bool {
        loop {
            match self.stream.message() {
                Ok(Some(m)) => self.session.handle(m, &mut self.out),
                Ok(None) => break,
                Err(_) => return true,
            }
        }
        let guard = crossbeam::epoch::pin();
        let memory = self.session.bus().memory(&guard);
        assert!(memory.shared_bytes() <= 1 << 42 && !memory.cut_off());
        let mut byte = [0];
        for address in [0, 0xfff, 0x3000, 0xf000, u64::MAX] {
            let _ = memory.read(address, &mut byte);
        }
        false
    }

    /// What has been answered, checked for shape.
    fn answers(&mut self) -> Vec<Header> {
        let mut rest = &self.out[..];
        let mut answers = Vec::new();
        while !rest.is_empty() {
            let (header, _) = Header::read_from_prefix(rest).expect("whole headers");
            let size = header.size.get() as usize;
            assert!((HEADER..=MAX_MESSAGE).contains(&size) && size <= rest.len());
            assert_eq!(header.flags.get() & !ERROR, TYPE_REPLY);
            assert_eq!(header.flags.get() & ERROR != 0, header.error.get() != 0, "errors have a number");
            rest = &rest[size..];
            answers.push(header);
        }
        self.out.clear();
        answers
    }

    fn leave(mut self) {
        self.session.detach();
        assert!(self.session.client().is_none() && self.session.resample().is_none());
        let guard = crossbeam::epoch::pin();
        assert_eq!(self.session.bus().memory(&guard).maps(), 0);
        assert!(!self.session.bus().interrupt().level());
    }
}
