//! The client's side of vfio-user, as far as a monitor with one bare guest needs it.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use valecast_hypervisor_glue::vfio_user::wire::{self, Access, Header};
use zerocopy::{FromBytes, IntoBytes};

const VERSION: u16 = 1;
const DMA_MAP: u16 = 2;
const SET_IRQS: u16 = 8;
const REGION_READ: u16 = 9;
const REGION_WRITE: u16 = 10;
/// Region of the registers.
const BAR0: u32 = 0;
/// Region of configuration space.
const CONFIG: u32 = 7;
/// PCI command: memory, bus master.
const COMMAND: (u64, u16) = (4, 0x6);
/// `VFIO_IRQ_SET_DATA_EVENTFD` with `_ACTION_TRIGGER`.
const TRIGGER: u32 = 0x24;
/// `VFIO_IRQ_SET_DATA_NONE` with `_ACTION_UNMASK`.
const UNMASK: u32 = 0x11;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that is set up.
pub struct Client {
    stream: UnixStream,
    id: u16,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// What is to be done about INTx.
fn irq(flags: u32) -> wire::SetIrqs {
    wire::SetIrqs {
        argsz: (size_of::<wire::SetIrqs>() as u32).into(),
        flags: flags.into(),
        index: 0.into(),
        start: 0.into(),
        count: 1.into(),
    }
}

impl Client {
    /// Connects to a port's socket and agrees on the version.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut c = Self { stream, id: 0 };
        let version = wire::Version { major: 0.into(), minor: 0.into() };
        let caps = b"{\"capabilities\":{\"max_msg_fds\":16}}\0";
        c.call(VERSION, &[version.as_bytes(), caps], None)?;
        Ok(c)
    }

    /// All that a machine's firmware and monitor do: memory from address 0 on, INTx, and leave to use both.
    pub fn plug(&mut self, memory: BorrowedFd<'_>, size: u64, raise: BorrowedFd<'_>) -> io::Result<()> {
        self.map(memory, size)?;
        self.wire(raise)?;
        self.enable()
    }

    /// Gives the device the file's first `size` bytes as memory from guest address 0 on.
    pub fn map(&mut self, memory: BorrowedFd<'_>, size: u64) -> io::Result<()> {
        let map = wire::DmaMap {
            argsz: (size_of::<wire::DmaMap>() as u32).into(),
            flags: (wire::MAP_READ | wire::MAP_WRITE).into(),
            offset: 0.into(),
            address: 0.into(),
            size: size.into(),
        };
        self.call(DMA_MAP, &[map.as_bytes()], Some(memory)).map(drop)
    }

    /// Wires INTx: `raise` is written by the device.
    pub fn wire(&mut self, raise: BorrowedFd<'_>) -> io::Result<()> {
        self.call(SET_IRQS, &[irq(TRIGGER).as_bytes()], Some(raise)).map(drop)
    }

    /// Lets the device decode its registers and use memory.
    pub fn enable(&mut self) -> io::Result<()> {
        let (at, v) = COMMAND;
        let access = Access { offset: at.into(), region: CONFIG.into(), count: 2.into() };
        self.call(REGION_WRITE, &[access.as_bytes(), &v.to_le_bytes()], None).map(drop)
    }

    /// Reads a register; waits for the answer.
    pub fn read(&mut self, at: u64, data: &mut [u8]) -> io::Result<()> {
        let asked = self.ask(at, data.len())?;
        self.take(asked, data)
    }

    /// Reads a register, and says that INTx may be signalled again; both are served in one turn.
    pub fn read_and_unmask(&mut self, at: u64, data: &mut [u8]) -> io::Result<()> {
        let asked = self.ask(at, data.len())?;
        self.send(SET_IRQS, wire::NO_REPLY, &[irq(UNMASK).as_bytes()], None)?;
        self.take(asked, data)
    }

    fn ask(&mut self, at: u64, len: usize) -> io::Result<u16> {
        let access = Access { offset: at.into(), region: BAR0.into(), count: (len as u32).into() };
        self.send(REGION_READ, 0, &[access.as_bytes()], None)?;
        Ok(self.id)
    }

    fn take(&mut self, asked: u16, data: &mut [u8]) -> io::Result<()> {
        let answer = self.answer(asked, REGION_READ)?;
        let from = answer.get(size_of::<Access>()..size_of::<Access>() + data.len());
        data.copy_from_slice(from.ok_or_else(|| bad("the answer to a read is too short"))?);
        Ok(())
    }

    /// Writes a register; does not wait, and there is no answer.
    pub fn post(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        let access = Access { offset: at.into(), region: BAR0.into(), count: (data.len() as u32).into() };
        self.send(REGION_WRITE, wire::NO_REPLY, &[access.as_bytes(), data], None)
    }

    fn send(
        &mut self,
        command: u16,
        flags: u32,
        parts: &[&[u8]],
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        self.id = self.id.wrapping_add(1);
        let size = wire::HEADER + parts.iter().map(|p| p.len()).sum::<usize>();
        let header = Header {
            id: self.id.into(),
            command: command.into(),
            size: (size as u32).into(),
            flags: (wire::TYPE_COMMAND | flags).into(),
            error: 0.into(),
        };
        let mut message = [0u8; 256];
        let room = message.get_mut(..size).ok_or_else(|| bad("a message is too long"))?;
        let mut at = 0;
        for p in std::iter::once(&header.as_bytes()).chain(parts) {
            room[at..at + p.len()].copy_from_slice(p);
            at += p.len();
        }
        let Some(fd) = fd else { return self.stream.write_all(room) };
        let fds = [fd.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&fds)];
        let data = [IoSlice::new(room)];
        // A stream's socket takes so few bytes whole, or none.
        sendmsg::<()>(self.stream.as_raw_fd(), &data, &control, MsgFlags::empty(), None)?;
        Ok(())
    }

    /// Sends a request and returns the body of its answer.
    fn call(&mut self, command: u16, parts: &[&[u8]], fd: Option<BorrowedFd<'_>>) -> io::Result<Vec<u8>> {
        self.send(command, 0, parts, fd)?;
        self.answer(self.id, command)
    }

    /// The body of the answer to message `id`.
    fn answer(&mut self, id: u16, command: u16) -> io::Result<Vec<u8>> {
        let mut head = [0u8; wire::HEADER];
        self.stream.read_exact(&mut head)?;
        let h = Header::read_from_bytes(&head).map_err(|_| bad("no header"))?;
        let size = h.size.get() as usize;
        if !(wire::HEADER..=wire::MAX_MESSAGE).contains(&size) {
            return Err(bad(format!("an answer of {size} bytes")));
        }
        let mut body = vec![0; size - wire::HEADER];
        self.stream.read_exact(&mut body)?;
        if h.id.get() != id || h.flags.get() & wire::TYPE_MASK != wire::TYPE_REPLY {
            return Err(bad(format!("message {} instead of the answer to {id}", h.id.get())));
        }
        if h.flags.get() & wire::ERROR != 0 {
            let why = io::Error::from_raw_os_error(h.error.get() as i32);
            return Err(io::Error::new(why.kind(), format!("the device refused command {command}: {why}")));
        }
        Ok(body)
    }
}
