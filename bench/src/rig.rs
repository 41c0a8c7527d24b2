//! A switch without threads: tables, rings and the pipeline, driven a step at a time. What is measured or counted
//! over it is the forwarding path and nothing else.

use std::sync::Arc;

use crate::ends;
use valecast_config::Overflow;
use valecast_ring::SlotFlags;
use valecast_ring::client::{Link, Port, RxRing, TxRing};
use valecast_ring::host::{Endpoint, EndpointError};
use valecast_ring::layout::{Layout, RingParams};
use valecast_ring::notify;
use valecast_switch::clock;
use valecast_switch::counters::PortStats;
use valecast_switch::fdb::{Fdb, key};
use valecast_switch::pipeline::Pipeline;
use valecast_switch::plan::Context;
use valecast_switch::port::ring::{RingEgress, RingIngress, Special};
use valecast_switch::port::{Caps, Egress, Ingress};
use valecast_switch::route::LastRoute;
use valecast_switch::tables::{Bucket, GroupEntry, PortEntry, Tables, VlanPolicy};

/// The group address that [`Rig::new`] sends to all receivers.
pub const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];
/// Most frames that a receiver takes at once.
const ALL: u32 = 1024;
/// Addresses that live at the first receiver: `mac(0)` to `mac(ADDRESSES - 1)`.
pub const ADDRESSES: usize = 10_000;

/// The `i`-th address of the first receiver.
pub fn mac(i: usize) -> [u8; 6] {
    let b = (i as u32).to_be_bytes();
    [2, 1, b[0], b[1], b[2], b[3]]
}

struct Client {
    _link: Link,
    tx: TxRing,
    rx: RxRing,
}

/// One sender and some receivers, each over rings.
pub struct Rig {
    tables: Tables,
    fdb: Fdb,
    sources: Vec<RingIngress>,
    clients: Vec<Client>,
    pipeline: Pipeline,
    last: LastRoute,
    /// Lengths of the frames that lie in the sender's buffers.
    lens: Vec<u16>,
}

impl Rig {
    /// A sender (port 0) and `receivers` (ports 1 and up).
    pub fn new(receivers: u16) -> Result<Self, EndpointError> {
        let fdb = Fdb::new(65536, 300, 1);
        let now = clock::secs(clock::now_ns());
        for i in 0..ADDRESSES {
            fdb.learn(key(valecast_switch::mac::bits(valecast_config::Mac(mac(i))), 0), 1, now, 0);
        }
        let mut rig = Self {
            tables: Tables::default(),
            fdb,
            sources: Vec::new(),
            clients: Vec::new(),
            pipeline: Pipeline::default(),
            last: LastRoute::default(),
            lens: vec![64; RingParams::default().slots as usize],
        };
        for id in 0..=receivers {
            rig.add_port(id)?;
        }
        let group = GroupEntry {
            ingress: None,
            buckets: (1..=receivers).map(|port| Bucket { port, set_dst: None }).collect(),
            meter: None,
            hits: (0..1).map(|_| Default::default()).collect(),
        };
        rig.tables.add_group(valecast_switch::mac::bits(valecast_config::Mac(GROUP)), group);
        Ok(rig)
    }

    fn add_port(&mut self, id: u16) -> Result<(), EndpointError> {
        let params = RingParams::default();
        let layout = Layout::try_from(params).unwrap_or_else(|e| unreachable!("the defaults are valid: {e}"));
        let mut end = Endpoint::new(layout, &format!("p{id}"), true)?;
        let nothing = std::fs::File::open("/dev/null").map_err(EndpointError::Doorbell)?;
        let bells = std::mem::take(&mut end.bells);
        let (link, tx, rx) = Port::local(&end.region, bells, nothing.into()).split();
        if let (Some(tx), Some(rx)) = (tx.into_iter().next(), rx.into_iter().next()) {
            self.clients.push(Client { _link: link, tx, rx });
        }
        self.sources.extend(end.tx.drain(..).map(|q| RingIngress::new(q, Special::default())));
        let egress = RingEgress::new(std::mem::take(&mut end.rx), params.slots, Special::default());
        self.tables.flood.push(id);
        self.tables.ports.push(Some(port_entry(id, egress.caps(), Arc::new(egress))));
        Ok(())
    }

    /// The sender puts in `n` frames of `size` bytes; the `i`-th goes to `dst(i)`.
    pub fn send(&mut self, n: u32, size: usize, dst: impl Fn(u32) -> [u8; 6]) -> u32 {
        let tx = &mut self.clients[0].tx;
        let n = tx.room().min(n);
        for i in 0..n {
            let b = tx.buffer(i);
            b[..6].copy_from_slice(&dst(i));
            b[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 8, 0]);
            tx.set(i, size, SlotFlags::empty());
        }
        tx.advance(n);
        tx.publish();
        n
    }

    /// One turn of a worker over the sender's ring. Frames done.
    #[inline(never)]
    pub fn forward(&mut self, burst: usize) -> usize {
        let Some(port) = self.tables.port(0) else { return 0 };
        // A count must not depend on what the clock says; a rate does not care.
        let now = 1_000_000_000;
        let cx = Context { tables: &self.tables, fdb: &self.fdb, port, lane: 0, worker: 0, now };
        self.pipeline.serve(cx, &mut self.sources[0], &mut self.last, burst).done
    }

    /// What a client does in one round: the sender hands over up to `n` frames of those that lie in its buffers, and the first
    /// receiver takes what is there. Frames sent and received.
    #[inline(never)]
    pub fn exchange(&mut self, n: u32) -> (u32, u32) {
        let Some((from, to)) = self.clients.split_first_mut() else { return (0, 0) };
        let sent = ends::send(&mut from.tx, n, &self.lens);
        let got = to.first_mut().map_or(0, |to| ends::recv(&mut to.rx, ALL));
        (sent, got)
    }

    /// What a worker does after some turns.
    pub fn settle(&mut self) {
        self.sources[0].publish();
        notify::settle();
    }

    /// [`Rig::settle`]. Then every receiver takes all it got; frames.
    pub fn receive(&mut self) -> u64 {
        self.settle();
        let mut got = 0;
        for c in &mut self.clients[1..] {
            let n = c.rx.pending();
            c.rx.advance(n);
            c.rx.release();
            got += u64::from(n);
        }
        got
    }
}

/// A port that floods, learns and may lose frames.
pub fn port_entry(id: u16, caps: Caps, egress: Arc<dyn Egress>) -> PortEntry {
    PortEntry {
        id,
        caps,
        egress: Some(egress),
        overflow: Overflow::Drop,
        vlan: VlanPolicy::Open,
        learn: true,
        mac_limit: 0,
        allowed: None,
        limit: None,
        mirror_in: vec![],
        mirror_out: vec![],
        floods: true,
        may_flood: true,
        stats: Arc::new(PortStats::new(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_where_they_should() {
        let mut rig = Rig::new(3).unwrap();
        for (dst, copies) in [(mac(7), 1), (GROUP, 3), ([0xff; 6], 3)] {
            assert_eq!(rig.send(100, 64, |_| dst), 100);
            assert_eq!((rig.forward(64), rig.forward(64)), (64, 36));
            assert_eq!(rig.receive(), 100 * copies);
        }
    }
}
