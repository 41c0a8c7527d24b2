//! PCI configuration space.

use valecast_hypervisor_glue::vfio_user::pci::{BadBar, Config};
use valecast_hypervisor_glue::vfio_user::{Bar, Command, Identity};

use crate::scratch::IDENTITY;

fn read(c: &Config, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    assert!(c.read(at, &mut bytes, false));
    bytes
}

fn word(c: &Config, at: u64) -> u32 {
    u32::from_le_bytes(read(c, at, 4).try_into().unwrap())
}

#[test]
fn says_what_the_device_is() {
    let c = Config::new(&IDENTITY).unwrap();
    assert_eq!(word(&c, 0), 0x10f7_1af4);
    assert_eq!(word(&c, 8), 0xff00_0003);
    assert_eq!(word(&c, 0x2c), 0x1101_1af4);
    assert_eq!(read(&c, 0x3c, 2), [0, 1], "INTA");
    assert_eq!(read(&c, 0x0e, 1), [0], "one function, ordinary header");
}

#[test]
fn base_addresses_tell_their_size() {
    let mut c = Config::new(&IDENTITY).unwrap();
    assert_eq!((word(&c, 0x10), word(&c, 0x14)), (0, 1));
    for at in (0x10..0x28).step_by(4) {
        assert!(c.write(at, &[0xff; 4]));
    }
    let sizes: Vec<u32> = (0x10..0x28).step_by(4).map(|at| word(&c, at)).collect();
    assert_eq!(sizes, [0xffff_f000, 0xffff_ffc1, 0, 0, 0, 0]);
    assert!(c.write(0x10, &0xfebc_0123u32.to_le_bytes()));
    assert_eq!(word(&c, 0x10), 0xfebc_0000);
    c.reset();
    assert_eq!(word(&c, 0x10), 0);
}

#[test]
fn only_what_may_be_written_is() {
    let mut c = Config::new(&IDENTITY).unwrap();
    let before = read(&c, 0, 256);
    assert!(c.write(0, &[0xff; 256]));
    let after = read(&c, 0, 256);
    let changed: Vec<usize> = (0..256).filter(|k| before[*k] != after[*k]).collect();
    let mut may = vec![4, 5, 0x0c, 0x0d, 0x3c, 0x52];
    may.extend([0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17]);
    may.extend(0x54..0x5e);
    may.sort_unstable();
    assert_eq!(changed, may);
    assert_eq!(c.command(), Command::all());
    assert_eq!(read(&c, 4, 2), [0x47, 0x05]);
    // One byte at a time works as well.
    assert!(c.write(5, &[0]));
    assert_eq!(c.command(), Command::IO | Command::MEMORY | Command::MASTER | Command::PARITY);
}

#[test]
fn io_and_memory_bits_need_such_a_bar() {
    let id = Identity { bars: [Some(Bar::Memory(1 << 17)), None, None, None, None, None], ..IDENTITY };
    let mut c = Config::new(&id).unwrap();
    assert!(c.write(4, &[7, 0]));
    assert_eq!(c.command(), Command::MEMORY | Command::MASTER);
}

#[test]
fn msi_is_listed_only_if_offered() {
    let c = Config::new(&IDENTITY).unwrap();
    assert_eq!(read(&c, 6, 1)[0] & 0x10, 0x10);
    let at = read(&c, 0x34, 1)[0];
    assert_eq!(read(&c, at.into(), 4), [5, 0, 0x80, 0], "MSI, last, 64-bit, off");
    let c = Config::new(&Identity { msi: false, ..IDENTITY }).unwrap();
    assert_eq!((read(&c, 6, 1)[0] & 0x10, read(&c, 0x34, 1)[0]), (0, 0));
}

#[test]
fn status_shows_the_interrupt() {
    let c = Config::new(&IDENTITY).unwrap();
    for (at, len, k) in [(6, 1, 0), (4, 4, 2), (0, 256, 6)] {
        let mut bytes = vec![0; len];
        assert!(c.read(at, &mut bytes, true));
        assert_eq!(bytes[k], 0x18, "read of {len} at {at}");
        assert!(c.read(at, &mut bytes, false));
        assert_eq!(bytes[k], 0x10);
    }
    let mut other = [0; 2];
    assert!(c.read(8, &mut other, true));
    assert_eq!(other, [3, 0], "and nowhere else");
}

#[test]
fn nothing_is_past_the_end() {
    let mut c = Config::new(&IDENTITY).unwrap();
    let mut bytes = [0; 4];
    for at in [253, 256, u64::MAX, u64::MAX - 3] {
        assert!(!c.read(at, &mut bytes, true));
        assert!(!c.write(at, &bytes));
    }
    assert!(c.read(252, &mut bytes, true));
}

#[test]
fn impossible_bars_are_refused() {
    for (bar, size) in [(Bar::Memory(3000), 3000), (Bar::Memory(8), 8), (Bar::Io(512), 512), (Bar::Io(0), 0)]
    {
        let id = Identity { bars: [None, Some(bar), None, None, None, None], ..IDENTITY };
        assert_eq!(Config::new(&id).err(), Some(BadBar { index: 1, size }));
    }
}
