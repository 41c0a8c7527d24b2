//! Two cards and a switch without threads, as [`crate::rig`] has rings: what a frame costs from a guest's ring into another's.
//!
//! Both drivers use the CSB and look by themselves, so that no registers are accessed once they are set up.

use std::path::Path;
use std::sync::Arc;

use crossbeam::epoch::pin;
use nix::sys::epoll::EpollTimeout;
use valecast_hypervisor_glue::e1000::device::Settings;
use valecast_hypervisor_glue::e1000_port::egress::E1000Egress;
use valecast_hypervisor_glue::e1000_port::ingress::E1000Ingress;
use valecast_hypervisor_glue::e1000_port::registers::{Registers, identity};
use valecast_hypervisor_glue::e1000_port::shared::Shared;
use valecast_hypervisor_glue::vfio_user::{Bus, Server, Session};
use valecast_ring::notify;
use valecast_switch::clock;
use valecast_switch::fdb::{Fdb, key};
use valecast_switch::pipeline::Pipeline;
use valecast_switch::plan::Context;
use valecast_switch::port::{Egress, Ingress};
use valecast_switch::route::LastRoute;
use valecast_switch::tables::Tables;

use super::inside::End;
use super::inside::card::Card;
use crate::rig::port_entry;

type Trouble = Box<dyn std::error::Error>;

/// The cards' addresses.
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0xe1, 0, 1], [2, 0, 0, 0xe1, 0, 2]];
/// Descriptors of a ring.
const DESCRIPTORS: u32 = 1024;

/// A sender (port 0) and a receiver (port 1).
pub struct CardRig {
    tables: Tables,
    fdb: Fdb,
    source: E1000Ingress,
    egress: Arc<E1000Egress>,
    pipeline: Pipeline,
    last: LastRoute,
    ends: [Card; 2],
    _servers: [Server<Registers>; 2],
    len: usize,
}

/// A card at a socket, set up by its driver.
fn plug(socket: &Path, mac: [u8; 6]) -> Result<(Arc<Shared>, Server<Registers>, Card), Trouble> {
    let id = identity(true);
    let settings = Settings { mac, csb: true, ..Settings::default() };
    let shared = Arc::new(Shared::new(settings, Bus::new(&id))?);
    let registers = Registers::new(shared.clone(), Box::new(|_| true));
    let session = Session::new(&id, shared.bus.clone(), registers)?;
    let mut server = Server::bind(socket, session)?;
    let path = socket.to_owned();
    let driver = std::thread::spawn(move || Card::new(&path, DESCRIPTORS));
    while !driver.is_finished() {
        server.turn(EpollTimeout::from(10u8))?;
    }
    let card = driver.join().map_err(|_| "a driver could not be started")??;
    Ok((shared, server, card))
}

impl CardRig {
    /// Frames will have `len` bytes.
    ///
    /// # Errors
    /// No sockets, no memory.
    pub fn new(len: usize) -> Result<Self, Trouble> {
        let folder = tempfile::tempdir()?;
        let (a, server_a, mut sender) = plug(&folder.path().join("a"), MACS[0])?;
        let (b, server_b, receiver) = plug(&folder.path().join("b"), MACS[1])?;
        let mut frame = vec![0; len];
        frame[..6].copy_from_slice(&MACS[1]);
        frame[6..14].copy_from_slice(&[2, 0, 0, 0xe1, 0, 1, 0x88, 0xb5]);
        sender.fill(&frame)?;
        let fdb = Fdb::new(1024, 300, 1);
        let to = valecast_switch::mac::bits(valecast_config::Mac(MACS[1]));
        fdb.learn(key(to, 0), 1, clock::secs(clock::now_ns()), 0);
        let mut tables = Tables::default();
        let egress = Arc::new(E1000Egress::new(b));
        for (id, egress) in [(0, Arc::new(E1000Egress::new(a.clone()))), (1, egress.clone())] {
            tables.flood.push(id);
            tables.ports.push(Some(port_entry(id, egress.caps(), egress)));
        }
        Ok(Self {
            tables,
            fdb,
            source: E1000Ingress::new(a),
            egress,
            pipeline: Pipeline::default(),
            last: LastRoute::default(),
            ends: [sender, receiver],
            _servers: [server_a, server_b],
            len,
        })
    }

    /// The sender puts in `n` frames.
    ///
    /// # Errors
    /// Its memory is gone.
    #[inline(never)]
    pub fn send(&mut self, n: u32) -> Result<(), Trouble> {
        Ok(self.ends[0].send(self.len, n)?)
    }

    /// One turn of a worker over the sender's ring, with what it does after. Frames done.
    #[inline(never)]
    pub fn forward(&mut self, burst: usize) -> usize {
        let _guard = pin();
        let Some(port) = self.tables.port(0) else { return 0 };
        // A count must not depend on what the clock says.
        let now = 1_000_000_000;
        let cx = Context { tables: &self.tables, fdb: &self.fdb, port, lane: 0, worker: 0, now };
        let done = self.pipeline.serve(cx, &mut self.source, &mut self.last, burst).done;
        self.source.publish();
        notify::settle();
        self.source.wake();
        self.egress.wake();
        done
    }

    /// The receiver takes what it got; frames since the start.
    ///
    /// # Errors
    /// Its memory is gone.
    #[inline(never)]
    pub fn receive(&mut self) -> Result<u64, Trouble> {
        self.ends[1].receive()?;
        Ok(self.ends[1].received())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_from_card_to_card() {
        let mut rig = CardRig::new(60).unwrap();
        for round in 1..=20 {
            rig.send(100).unwrap();
            assert_eq!((rig.forward(64), rig.forward(64)), (64, 36));
            assert_eq!(rig.receive().unwrap(), 100 * round);
        }
    }
}
