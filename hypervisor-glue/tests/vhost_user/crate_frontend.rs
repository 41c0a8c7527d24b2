//! The `vhost` crate's front end against this server: another's reading of the protocol.

use std::os::fd::AsRawFd;

use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::eventfd::EventFd;

use crate::driver::{BASE, MEMORY, Memory, Ring};
use crate::front::USER;
use crate::rig::{Rig, frame};
use crate::talk::{RING, VM};

#[test]
fn anothers_front_end_agrees() {
    let rig = Rig::new("", &[("vm", &format!("{VM}\nqueues = 2\nmtu = 1500")), ("c", RING)]);
    let mut client = rig.client("c");
    let mut f = Frontend::connect(rig.vm_socket("vm"), 4).unwrap();
    f.set_owner().unwrap();
    let features = f.get_features().unwrap();
    f.set_features(features).unwrap();
    let protocol = f.get_protocol_features().unwrap();
    f.set_protocol_features(protocol).unwrap();
    assert!(protocol.contains(VhostUserProtocolFeatures::REPLY_ACK));
    f.set_hdr_flags(vhost::vhost_user::message::VhostUserHeaderFlag::NEED_REPLY);
    // Both pairs: this front end goes by it, and would not name the second's rings otherwise.
    assert_eq!(f.get_queue_num().unwrap(), 4);
    (0..4).for_each(|ring| f.set_vring_num(ring, 64).unwrap());
    assert!(f.set_vring_num(4, 64).is_err());
    assert!(f.get_max_mem_slots().unwrap() > 8);
    let (_, config) = f.get_config(0, 12, VhostUserConfigFlags::empty(), &[0; 12]).unwrap();
    assert_eq!(config[10..], [0xdc, 5]);
    let memory = Memory::new();
    let region = VhostUserMemoryRegionInfo {
        guest_phys_addr: BASE,
        memory_size: MEMORY,
        userspace_addr: USER,
        mmap_offset: 0,
        mmap_handle: memory.fd().as_raw_fd(),
    };
    f.set_mem_table(&[region]).unwrap();
    let mut rings = [Ring::new(BASE, 64, true, 0), Ring::new(BASE + 0x1_0000, 64, true, 0)];
    let bells: Vec<_> = (0..4).map(|_| EventFd::new(0).unwrap()).collect();
    for (i, ring) in rings.iter().enumerate() {
        let user = |a: u64| a - BASE + USER;
        f.set_vring_num(i, 64).unwrap();
        f.set_vring_base(i, 0).unwrap();
        let data = VringConfigData {
            queue_max_size: 64,
            queue_size: 64,
            flags: 0,
            desc_table_addr: user(ring.descriptors()),
            used_ring_addr: user(ring.used()),
            avail_ring_addr: user(ring.available()),
            log_addr: None,
        };
        f.set_vring_addr(i, &data).unwrap();
        f.set_vring_call(i, &bells[2 * i]).unwrap();
        f.set_vring_err(i, &bells[2 * i]).unwrap();
        f.set_vring_kick(i, &bells[2 * i + 1]).unwrap();
        f.set_vring_enable(i, true).unwrap();
    }
    rig.until("the port is up", "vm", |p| p.state == "up");
    let sent = frame(2, 1, 5, 400);
    memory.write(BASE + 0x40_0000, &[&[0; 12], &sent[..]].concat());
    rings[1].add(&memory, &[(BASE + 0x40_0000, 412, 0)]);
    rings[1].publish(&memory);
    bells[3].write(1).unwrap();
    assert_eq!(client.wait(), sent);
    assert_eq!((f.get_vring_base(0).unwrap(), f.get_vring_base(1).unwrap()), (0, 1));
    let head = memory.u16(rings[1].available() + 4);
    assert_eq!(rings[1].take(&memory), Some((head, 0)));
    f.reset_owner().unwrap();
    drop(f);
    rig.until("it is gone", "vm", |p| p.state == "waiting");
}
