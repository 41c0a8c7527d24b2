//! A client that can send anything, and a server driven in the same thread: what was sent is served when the test says so.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::epoll::EpollTimeout;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::uio::{pread, pwrite};
use valecast_hypervisor_glue::vfio_user::wire::{self, Access, DmaMap, DmaUnmap, HEADER, Header, SetIrqs};
use valecast_hypervisor_glue::vfio_user::{Counters, Identity, Server, Session};
use zerocopy::{FromBytes, IntoBytes};

use crate::scratch::{Scratch, session, session_of};

pub const VERSION: u16 = 1;
pub const DMA_MAP: u16 = 2;
pub const DMA_UNMAP: u16 = 3;
pub const GET_INFO: u16 = 4;
pub const REGION_INFO: u16 = 5;
pub const IRQ_INFO: u16 = 7;
pub const SET_IRQS: u16 = 8;
pub const READ: u16 = 9;
pub const WRITE: u16 = 10;
pub const RESET: u16 = 13;
pub const MULTI: u16 = 15;
pub const CONFIG: u32 = 7;

pub struct Rig {
    pub server: Server<Scratch>,
    pub path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Rig {
    pub fn new() -> Self {
        Self::start(session())
    }

    pub fn of(id: &Identity) -> Self {
        Self::start(session_of(id))
    }

    fn start(session: Session<Scratch>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vm.sock");
        let server = Server::bind(&path, session).unwrap();
        Self { server, path, _dir: dir }
    }

    /// Serves all that has been sent.
    pub fn serve(&mut self) {
        for _ in 0..8 {
            assert!(!self.server.turn(EpollTimeout::ZERO).unwrap());
        }
    }

    pub fn connect(&mut self) -> Peer {
        let sock = UnixStream::connect(&self.path).unwrap();
        sock.set_nonblocking(true).unwrap();
        self.serve();
        Peer { sock, next: 100, answers: VecDeque::new(), partial: Vec::new() }
    }

    /// A client that has agreed on a version.
    pub fn client(&mut self) -> Peer {
        let mut peer = self.connect();
        self.call(&mut peer, VERSION, &version(0, 0, b"{}\0"), &[]).unwrap();
        peer
    }

    /// Sends one request; its answer's body, or errno.
    pub fn call(
        &mut self,
        peer: &mut Peer,
        command: u16,
        body: &[u8],
        fds: &[RawFd],
    ) -> Result<Vec<u8>, Errno> {
        let id = peer.send(command, 0, body, fds);
        self.serve();
        peer.answer(id, command)
    }

    pub fn read(&mut self, peer: &mut Peer, region: u32, offset: u64, count: u32) -> Result<Vec<u8>, Errno> {
        let answer = self.call(peer, READ, access(region, offset, count).as_bytes(), &[])?;
        assert_eq!(&answer[..16], access(region, offset, count).as_bytes());
        assert_eq!(answer.len(), 16 + count as usize);
        Ok(answer[16..].to_vec())
    }

    pub fn write(&mut self, peer: &mut Peer, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let answer = self.call(peer, WRITE, &write_body(region, offset, data), &[])?;
        assert_eq!(answer, access(region, offset, data.len() as u32).as_bytes());
        Ok(())
    }

    pub fn set_irqs(
        &mut self,
        peer: &mut Peer,
        flags: u32,
        (index, start, count): (u32, u32, u32),
        data: &[u8],
        fds: &[RawFd],
    ) -> Result<(), Errno> {
        let set = SetIrqs {
            argsz: (20 + data.len() as u32).into(),
            flags: flags.into(),
            index: index.into(),
            start: start.into(),
            count: count.into(),
        };
        self.call(peer, SET_IRQS, &[set.as_bytes(), data].concat(), fds).map(|body| assert!(body.is_empty()))
    }

    /// Memory and bus-master bits of the command register.
    pub fn enable(&mut self, peer: &mut Peer) {
        self.write(peer, CONFIG, 4, &[6, 0]).unwrap();
    }

    pub fn counters(&mut self) -> &Counters {
        self.server.session().bus().counters()
    }
}

pub struct Peer {
    sock: UnixStream,
    next: u16,
    answers: VecDeque<(Header, Vec<u8>)>,
    partial: Vec<u8>,
}

impl Peer {
    /// Sends one message; its id.
    pub fn send(&mut self, command: u16, flags: u32, body: &[u8], fds: &[RawFd]) -> u16 {
        let (id, bytes) = self.message(command, flags, body);
        self.raw(&bytes, fds);
        id
    }

    /// A message's bytes.
    pub fn message(&mut self, command: u16, flags: u32, body: &[u8]) -> (u16, Vec<u8>) {
        self.next = self.next.wrapping_add(1);
        let header = Header {
            id: self.next.into(),
            command: command.into(),
            size: ((HEADER + body.len()) as u32).into(),
            flags: flags.into(),
            error: 0.into(),
        };
        (self.next, [header.as_bytes(), body].concat())
    }

    pub fn raw(&mut self, bytes: &[u8], fds: &[RawFd]) {
        let rights = [ControlMessage::ScmRights(fds)];
        let rights = if fds.is_empty() { &rights[..0] } else { &rights[..] };
        let n = sendmsg::<()>(
            self.sock.as_raw_fd(),
            &[IoSlice::new(bytes)],
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        assert_eq!(n, Ok(bytes.len()));
    }

    /// As much of `bytes` as the socket takes.
    pub fn some(&mut self, bytes: &[u8]) -> usize {
        let flags = MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<()>(self.sock.as_raw_fd(), &[IoSlice::new(bytes)], &[], flags, None) {
            Ok(n) => n,
            Err(Errno::EAGAIN) => 0,
            Err(e) => panic!("{e}"),
        }
    }

    /// Takes in what has been answered; false if the server has hung up.
    pub fn receive(&mut self) -> bool {
        let mut open = true;
        let mut chunk = vec![0; 65536];
        loop {
            match self.sock.read(&mut chunk) {
                Ok(0) => {
                    open = false;
                    break;
                }
                Ok(n) => self.partial.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::ConnectionReset => {
                    open = false;
                    break;
                }
                Err(e) => panic!("{e}"),
            }
        }
        while let Ok((header, rest)) = Header::read_from_prefix(&self.partial[..]) {
            let body = header.size.get() as usize - HEADER;
            if rest.len() < body {
                break;
            }
            self.answers.push_back((header, rest[..body].to_vec()));
            self.partial.drain(..HEADER + body);
        }
        open
    }

    /// The next answer, which must be to request `id`.
    pub fn answer(&mut self, id: u16, command: u16) -> Result<Vec<u8>, Errno> {
        self.receive();
        let (header, body) = self.answers.pop_front().expect("an answer");
        assert_eq!((header.id.get(), header.command.get()), (id, command));
        if header.flags.get() == wire::TYPE_REPLY | wire::ERROR {
            assert!(body.is_empty());
            return Err(Errno::from_raw(header.error.get() as i32));
        }
        assert_eq!((header.flags.get(), header.error.get()), (wire::TYPE_REPLY, 0));
        Ok(body)
    }

    /// Answers that have come and were not asked for yet.
    pub fn waiting(&mut self) -> usize {
        self.receive();
        self.answers.len()
    }
}

pub fn version(major: u16, minor: u16, text: &[u8]) -> Vec<u8> {
    let v = wire::Version { major: major.into(), minor: minor.into() };
    [v.as_bytes(), text].concat()
}

pub fn access(region: u32, offset: u64, count: u32) -> Access {
    Access { offset: offset.into(), region: region.into(), count: count.into() }
}

pub fn write_body(region: u32, offset: u64, data: &[u8]) -> Vec<u8> {
    [access(region, offset, data.len() as u32).as_bytes(), data].concat()
}

pub fn map(address: u64, size: u64, offset: u64, flags: u32) -> DmaMap {
    DmaMap {
        argsz: 32.into(),
        flags: flags.into(),
        offset: offset.into(),
        address: address.into(),
        size: size.into(),
    }
}

pub fn unmap(address: u64, size: u64, flags: u32) -> DmaUnmap {
    DmaUnmap { argsz: 24.into(), flags: flags.into(), address: address.into(), size: size.into() }
}

/// Guest memory as a VM monitor makes it.
pub fn guest_memory(bytes: u64) -> OwnedFd {
    let fd = memfd_create(c"guest", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
    nix::unistd::ftruncate(&fd, bytes as i64).unwrap();
    fd
}

pub fn poke(fd: &OwnedFd, at: u64, bytes: &[u8]) {
    assert_eq!(pwrite(fd, bytes, at as i64), Ok(bytes.len()));
}

pub fn peek(fd: &OwnedFd, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    assert_eq!(pread(fd, &mut bytes, at as i64), Ok(len));
    bytes
}

pub fn eventfd() -> EventFd {
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap()
}

/// Signals since the last look.
pub fn signals(fd: &EventFd) -> u64 {
    match fd.read() {
        Ok(n) => n,
        Err(Errno::EAGAIN) => 0,
        Err(e) => panic!("{e}"),
    }
}
