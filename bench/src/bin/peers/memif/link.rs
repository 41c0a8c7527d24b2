//! The handshake, in both roles.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, socket,
};
use valecast_ring::attach::{recv_msg, send_msg};

use super::message::{LEN, Message, VERSION};
use super::shm::{Area, LOG2_SLOTS, Rings};
use crate::peer::Trouble;

/// A switch that does not answer for so long has failed.
const PATIENCE: u16 = 5_000;

/// A connected memif: the memory, the eventfds of both rings, and the control channel, whose end is the link's.
pub struct Link {
    /// The memory with the rings.
    pub rings: Rings,
    /// Becomes readable when something has arrived, if the ring asks for it.
    pub arrived: OwnedFd,
    _sent: OwnedFd,
    control: OwnedFd,
}

/// One control channel.
struct Control(OwnedFd);

impl Control {
    fn send(&self, message: &Message, fds: &[i32]) -> Result<(), Trouble> {
        Ok(send_msg(self.0.as_fd(), &message.to_bytes(), fds)?)
    }

    fn recv(&self) -> Result<(Message, Option<OwnedFd>), Trouble> {
        ready(&self.0)?;
        let (bytes, fds) = recv_msg(self.0.as_fd(), MsgFlags::empty())?;
        if bytes.is_empty() {
            return Err("the other side closed the memif".into());
        }
        match Message::parse(bytes.get(..LEN).unwrap_or(&bytes))? {
            Message::Disconnect(why) => Err(format!("the other side refused the memif: {why}").into()),
            m => Ok((m, fds.into_iter().next())),
        }
    }

    fn expect(&self, want: &Message, after: &str) -> Result<(), Trouble> {
        match self.recv()?.0 {
            m if std::mem::discriminant(&m) == std::mem::discriminant(want) => Ok(()),
            m => Err(format!("memif: {m:?} in answer to {after}").into()),
        }
    }

    fn ask(&self, message: &Message, fds: &[i32]) -> Result<(), Trouble> {
        self.send(message, fds)?;
        self.expect(&Message::Ack, &format!("{message:?}"))
    }
}

fn ready(fd: &OwnedFd) -> Result<(), Trouble> {
    match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], PollTimeout::from(PATIENCE))? {
        0 => Err("the other side of the memif says nothing".into()),
        _ => Ok(()),
    }
}

/// Connects to interface `id` of the server that listens at `path`, bringing our own memory, and receives by the
/// server's transmit queue number `queue`. Queues below it get rings that nobody looks into.
pub fn join(path: &Path, id: u32, queue: u16) -> Result<Link, Trouble> {
    let sock = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(sock.as_raw_fd(), &UnixAddr::new(path)?).map_err(|e| format!("{}: {e}", path.display()))?;
    let control = Control(sock);
    match control.recv()?.0 {
        Message::Hello { min_version, max_version, max_log2_slots, .. } => {
            if !(min_version..=max_version).contains(&VERSION) || max_log2_slots < LOG2_SLOTS {
                return Err("the server's memif is of another version or has shorter rings".into());
            }
        }
        m => return Err(format!("memif: {m:?} in place of a greeting").into()),
    }
    control.ask(&Message::Init { version: VERSION, id }, &[])?;
    let (area, memory) = Area::create(queue + 1)?;
    control.ask(&Message::AddRegion { index: 0, size: area.len() as u64 }, &[memory.as_raw_fd()])?;
    let bell = || EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC);
    let (sent, arrived, unheard) = (bell()?, bell()?, bell()?);
    let unused = (0..queue).map(|i| (Some(i), &unheard));
    for (to_client, eventfd) in [(None, &sent)].into_iter().chain(unused).chain([(Some(queue), &arrived)]) {
        let (to_server, index) = (to_client.is_none(), to_client.unwrap_or(0));
        let offset = Area::ring_offset(to_client);
        let ring = Message::AddRing { to_server, index, region: 0, offset, log2_slots: LOG2_SLOTS };
        control.ask(&ring, &[eventfd.as_raw_fd()])?;
    }
    control.send(&Message::Connect, &[])?;
    control.expect(&Message::Connected, "Connect")?;
    let rings = Rings::of_client(area, queue)?;
    Ok(Link { rings, arrived: arrived.into(), _sent: sent.into(), control: control.0 })
}

/// A server's socket: it must listen before the client starts.
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens at `path`.
    pub fn new(path: &Path) -> Result<Self, Trouble> {
        let sock = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        bind(sock.as_raw_fd(), &UnixAddr::new(path)?)?;
        listen(&sock, Backlog::new(1)?)?;
        Ok(Self(sock))
    }

    /// Takes the first client, with its memory, and lets it wait for the last word.
    pub fn accept(&self) -> Result<Introduced, Trouble> {
        use std::os::fd::FromRawFd;
        ready(&self.0)?;
        let fd = accept4(self.0.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
        let control = Control(unsafe { OwnedFd::from_raw_fd(fd) });
        let hello = Message::Hello {
            min_version: VERSION,
            max_version: VERSION,
            max_region: 255,
            max_to_client: 0,
            max_to_server: 0,
            max_log2_slots: LOG2_SLOTS,
        };
        control.send(&hello, &[])?;
        let (mut areas, mut rings) = (Vec::new(), Vec::new());
        loop {
            let (message, fd) = control.recv()?;
            match (message, fd) {
                (Message::Init { .. } | Message::Ack, _) => {}
                (Message::AddRegion { index, size }, Some(fd)) if usize::from(index) == areas.len() => {
                    areas.push(Area::map(fd, size)?);
                }
                (Message::AddRing { to_server, region, offset, log2_slots, .. }, Some(fd)) => {
                    rings.push((to_server, region, offset, log2_slots, fd));
                }
                (Message::Connect, _) => break,
                (m, _) => return Err(format!("memif: {m:?} does not belong here").into()),
            }
            control.send(&Message::Ack, &[])?;
        }
        let (mut to_us, mut from_us) = (None, None);
        for ring in rings {
            let place = if ring.0 { &mut to_us } else { &mut from_us };
            *place = Some(ring);
        }
        let (Some(to_us), Some(from_us)) = (to_us, from_us) else {
            return Err("the memif client brought no rings".into());
        };
        let at = |r: &(bool, u16, u32, u8, OwnedFd)| (r.1, r.2, r.3);
        let rings = Rings::of_server(areas, at(&to_us), at(&from_us))?;
        Ok(Introduced { link: Link { rings, arrived: to_us.4, _sent: from_us.4, control: control.0 } })
    }
}

/// A client whose memory and rings we know, but which we have not told so.
pub struct Introduced {
    link: Link,
}

impl Introduced {
    /// Tells it that it is connected.
    pub fn welcome(self) -> Result<Link, Trouble> {
        send_msg(self.link.control.as_fd(), &Message::Connected.to_bytes(), &[])?;
        Ok(self.link)
    }
}

impl Link {
    /// Sleeps until the other side says that something has arrived.
    pub fn sleep(&self, timeout: Duration) {
        let mut fds = [PollFd::new(self.arrived.as_fd(), PollFlags::POLLIN)];
        let ms = u16::try_from(timeout.as_millis()).unwrap_or(u16::MAX).max(1);
        if poll(&mut fds, PollTimeout::from(ms)).is_ok_and(|n| n > 0) {
            let _ = nix::unistd::read(&self.arrived, &mut [0; 8]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_roles_find_each_other_and_pass_frames() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memif");
        let listener = Listener::new(&path).unwrap();
        let theirs = std::thread::spawn(move || listener.accept().and_then(Introduced::welcome));
        let mut client = join(&path, 0, 1).unwrap();
        let mut server = theirs.join().unwrap().unwrap();
        pass(&mut client, &mut server);
        pass(&mut server, &mut client);
    }

    fn pass(from: &mut Link, to: &mut Link) {
        let frame: Vec<u8> = (0..200).collect();
        // The server may only send into buffers that the client has posted.
        assert!(from.rings.room() >= 3);
        for i in 0..3 {
            from.rings.put(i, &frame[..100 + i as usize]);
        }
        from.rings.publish(3);
        assert_eq!(to.rings.pending(), 3);
        assert_eq!(to.rings.frame(2), &frame[..102]);
        to.rings.release(3);
        assert_eq!(to.rings.pending(), 0);
    }
}
