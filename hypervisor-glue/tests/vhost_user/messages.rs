//! Messages that make no sense: refused with a word to who asks, else the connection is cut; the next front end finds a
//! port that works.

use crate::driver::{BASE, MEMORY, Memory};
use crate::front::{
    ADD_MEM_REG, Front, GET_CONFIG, GET_FEATURES, GET_PROTOCOL_FEATURES, Options, SET_FEATURES,
    SET_MEM_TABLE, SET_PROTOCOL_FEATURES, SET_VRING_ADDR, SET_VRING_BASE, SET_VRING_CALL, SET_VRING_ENABLE,
    SET_VRING_KICK, SET_VRING_NUM, longs, receive, send, words,
};
use crate::rig::Rig;
use crate::talk::VM;

type Bad = (&'static str, u32, Vec<u8>, usize);

/// Messages that cannot be meant, with as many descriptors (of memory) as told.
fn bad() -> Vec<Bad> {
    let region = |at: u64, size: u64, user: u64, offset: u64| {
        let mut body = words(&[1, 0]);
        body.extend(longs(&[at, size, user, offset]));
        body
    };
    let places = |d: u64, u: u64, a: u64| [words(&[0, 0]), longs(&[d, u, a, 0])].concat();
    vec![
        ("features that were not offered", SET_FEATURES, longs(&[1 << 34]), 0),
        ("too short", SET_FEATURES, vec![1, 2, 3], 0),
        ("protocol features that were not offered", SET_PROTOCOL_FEATURES, longs(&[1 << 12]), 0),
        ("a ring that is not there", SET_VRING_NUM, words(&[2, 64]), 0),
        ("a ring that is not there", SET_VRING_ENABLE, words(&[u32::MAX, 1]), 0),
        ("entries no power of two", SET_VRING_NUM, words(&[0, 100]), 0),
        ("no entries", SET_VRING_NUM, words(&[0, 0]), 0),
        ("too many entries", SET_VRING_NUM, words(&[0, 1 << 16]), 0),
        ("an index of a packed ring", SET_VRING_BASE, words(&[0, 1 << 16]), 0),
        ("half enabled", SET_VRING_ENABLE, words(&[0, 2]), 0),
        ("a table askew", SET_VRING_ADDR, places(8, 0, 0), 0),
        ("a used ring askew", SET_VRING_ADDR, places(0, 2, 0), 0),
        ("an available ring askew", SET_VRING_ADDR, places(0, 0, 1), 0),
        ("no descriptor", SET_VRING_KICK, longs(&[0]), 0),
        ("a file to be kicked by", SET_VRING_KICK, longs(&[0]), 1),
        ("a file to interrupt by", SET_VRING_CALL, longs(&[1]), 1),
        ("a region and no descriptor", SET_MEM_TABLE, region(BASE, MEMORY, 0, 0), 0),
        ("a region and two descriptors", SET_MEM_TABLE, region(BASE, MEMORY, 0, 0), 2),
        ("more regions than bytes", SET_MEM_TABLE, words(&[2, 0]), 2),
        ("half a page", SET_MEM_TABLE, region(BASE, 2048, 0, 0), 1),
        ("no bytes", SET_MEM_TABLE, region(BASE, 0, 0, 0), 1),
        ("behind the file's end", SET_MEM_TABLE, region(BASE, MEMORY, 0, 4096), 1),
        ("round the end of all", SET_MEM_TABLE, region(u64::MAX - 4095, 8192, 0, 0), 1),
        ("round the end of all", SET_MEM_TABLE, region(BASE, 8192, u64::MAX - 4095, 0), 1),
        ("half a region", ADD_MEM_REG, longs(&[0, BASE, MEMORY]), 1),
        ("what is not spoken", 7, longs(&[0]), 0),
        ("what is not spoken", 25_000, Vec::new(), 0),
        ("an MTU that is none", 20, longs(&[1 << 20]), 0),
        ("no back channel", 21, Vec::new(), 0),
        ("far too long", SET_FEATURES, vec![0; 5000], 0),
    ]
}

#[test]
fn nonsense_is_refused_or_cut() {
    let rig = Rig::new("", &[("vm", VM)]);
    let memory = Memory::new();
    let all = bad();
    for (why, request, body, fds) in &all {
        let fds: Vec<_> = (0..*fds).map(|_| memory.fd()).collect();
        let fds: Vec<&dyn std::os::fd::AsFd> = fds.iter().map(|f| f as _).collect();
        // Who asks is told, and may go on.
        let mut polite = Front::connect(&rig.vm_socket("vm"), Options::default());
        polite.hello();
        if *request < 100 {
            assert!(!polite.checked(*request, body, &fds), "{why}");
        }
        assert_eq!(polite.ask_number(GET_FEATURES), polite.offered, "{why}");
        drop(polite);
        rig.until("it is gone", "vm", |p| p.device["clients"] > 0 && p.state == "waiting");
        // Who does not is cut off.
        let rude = loop {
            let rude = Front::connect(&rig.vm_socket("vm"), Options::default());
            // The one before may not have been seen to go yet.
            if send(&rude.sock, GET_PROTOCOL_FEATURES, 0, &[], &[]) && receive(&rude.sock).is_some() {
                break rude;
            }
        };
        assert!(send(&rude.sock, *request, 0, body, &fds), "{why}");
        assert_eq!(receive(&rude.sock), None, "{why}");
    }
    let n = all.len() as u64;
    rig.until("all are counted", "vm", |p| p.device["broken"] == n);
    rig.vm("vm", Options::default());
}

/// Bytes that are no messages.
#[test]
fn garbage_is_cut() {
    let rig = Rig::new("", &[("vm", VM)]);
    let header = |request: u32, flags: u32, size: u32| words(&[request, flags, size]);
    for bytes in [header(1, 0, 0), header(1, 2, 0), header(1, 5, 0), vec![0xff; 64]] {
        let rude = loop {
            let rude = Front::connect(&rig.vm_socket("vm"), Options::default());
            if send(&rude.sock, GET_FEATURES, 0, &[], &[]) && receive(&rude.sock).is_some() {
                break rude;
            }
        };
        std::io::Write::write_all(&mut &rude.sock, &bytes).unwrap();
        assert_eq!(receive(&rude.sock), None, "{bytes:?}");
    }
    rig.until("all are counted", "vm", |p| p.device["broken"] == 4);
    rig.vm("vm", Options::default());
}

/// Messages in pieces, and several at once.
#[test]
fn messages_are_put_together() {
    let rig = Rig::new("", &[("vm", VM)]);
    let front = Front::connect(&rig.vm_socket("vm"), Options::default());
    let get = words(&[GET_FEATURES, 1, 0]);
    for byte in &get {
        std::io::Write::write_all(&mut &front.sock, &[*byte]).unwrap();
    }
    assert_eq!(receive(&front.sock).unwrap().0, GET_FEATURES);
    std::io::Write::write_all(&mut &front.sock, &get.repeat(50)).unwrap();
    for _ in 0..50 {
        assert_eq!(receive(&front.sock).unwrap().0, GET_FEATURES);
    }
}

/// Configuration space, as user-mode Linux reads it: from 0, a byte at a time, to more than there is.
#[test]
fn configuration_is_read() {
    let rig = Rig::new("", &[("vm", &format!("{VM}\nmtu = 9000\nqueues = 3"))]);
    let mut front = Front::connect(&rig.vm_socket("vm"), Options::default());
    front.hello();
    let read = |offset: u32, size: u32| {
        let body = front.ask(GET_CONFIG, &[words(&[offset, size, 0]), vec![0; size as usize]].concat());
        assert_eq!(body[..12], words(&[offset, size, 0]));
        body[12..].to_vec()
    };
    let all = read(0, 12);
    assert_eq!(all[6..], [1, 0, 3, 0, 0x28, 0x23], "link up, pairs, MTU");
    assert_eq!(all[0] & 3, 2, "an address of the local kind");
    assert_eq!(read(6, 4), all[6..10]);
    assert_eq!(read(0, 256)[12..], [0; 244]);
    // What cannot be answered is answered with nothing.
    assert!(front.ask(GET_CONFIG, &words(&[0, 0, 0])).is_empty());
    assert!(front.ask(GET_CONFIG, &words(&[u32::MAX, u32::MAX, 0])).is_empty());
}
