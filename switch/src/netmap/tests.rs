use valecast_ring::netmap::abi::NmreqRegister;

use super::ports::{hosts, is_name, rings_wanted, vale};

#[test]
fn names_of_switches_and_ports() {
    assert_eq!(vale("vale0:a"), Some(("vale0", "a")));
    assert_eq!(vale("vale:0"), Some(("vale", "0")));
    assert_eq!(vale("vale_X9:eth0.5"), Some(("vale_X9", "eth0.5")));
    for bad in
        ["vale0", "vale0:", "eth0", "lab:a", "vale-1:a", "vale0:a:b", "vale0:a/b", "vale01234567890123:a"]
    {
        assert_eq!(vale(bad), None, "{bad}");
    }
    assert!(is_name("0123456789abcde") && !is_name("0123456789abcdef") && !is_name("") && !is_name("a b"));
}

#[test]
fn what_is_asked_for_is_held_to_what_is_possible() {
    let rings = |tx_slots, rx_slots, tx_rings, rx_rings| {
        let r = rings_wanted(&NmreqRegister {
            tx_slots,
            rx_slots,
            tx_rings,
            rx_rings,
            ..NmreqRegister::default()
        });
        (r.slots, r.tx_rings, r.rx_rings)
    };
    assert_eq!(rings(0, 0, 0, 0), (1024, 1, 1));
    assert_eq!(rings(100, 0, 2, 3), (128, 2, 3));
    assert_eq!(rings(1, 2, 1, 1), (16, 1, 1));
    assert_eq!(rings(u32::MAX, 5, u16::MAX, 17), (32768, 16, 16));
    let asked = NmreqRegister { host_tx_rings: 5, host_rx_rings: 400, ..NmreqRegister::default() };
    assert_eq!((hosts(&asked), hosts(&NmreqRegister::default())), ((5, 16), (1, 1)));
}
