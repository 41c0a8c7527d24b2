//! Clients that shorten the file behind their guest's memory.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use valecast_hypervisor_glue::vfio_user::sys::mapping::Mapping;
use zerocopy::IntoBytes;

use crate::peer::*;

fn unsealable(bytes: u64) -> OwnedFd {
    let fd = memfd_create(c"guest", MFdFlags::MFD_CLOEXEC).unwrap();
    nix::unistd::ftruncate(&fd, bytes as i64).unwrap();
    fd
}

#[test]
fn memory_is_sealed_if_it_can_be() {
    let ram = guest_memory(0x2000);
    let mapping = Mapping::new(&ram, 0, 0x2000, true).unwrap();
    assert!(mapping.sealed());
    assert_eq!(nix::unistd::ftruncate(&ram, 0), Err(Errno::EPERM));
    let qemu = guest_memory(0x2000);
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&qemu, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    assert!(Mapping::new(&qemu, 0, 0x2000, true).unwrap().sealed());
    assert!(!Mapping::new(&unsealable(0x2000), 0, 0x2000, true).unwrap().sealed());
    assert!(!Mapping::new(&tempfile_of(0x2000), 0, 0x2000, true).unwrap().sealed());
}

fn tempfile_of(bytes: u64) -> OwnedFd {
    let file = tempfile::tempfile().unwrap();
    file.set_len(bytes).unwrap();
    file.into()
}

#[test]
fn memory_cut_off_reads_as_zeros_and_is_noticed() {
    for ram in [unsealable(0x3000), tempfile_of(0x3000)] {
        poke(&ram, 0x2ff8, &[1; 8]);
        let mapping = Mapping::new(&ram, 0, 0x3000, true).unwrap();
        let slice = mapping.slice(0, 0x3000).unwrap();
        let mut word = [0; 8];
        assert!(slice.read(0x2ff8, &mut word) && word == [1; 8]);
        nix::unistd::ftruncate(&ram, 0x1000).unwrap();
        assert!(!mapping.cut_off(), "not touched yet");
        assert!(slice.read(0x2ff8, &mut word));
        assert_eq!(word, [0; 8]);
        assert!(mapping.cut_off());
        // What is written lands in this process's own memory from now on.
        assert!(slice.write(0x1000, &[7; 8]) && slice.read(0x1000, &mut word));
        assert_eq!(word, [7; 8]);
    }
}

#[test]
fn a_device_survives_a_client_that_cuts_its_memory() {
    let mut rig = Rig::new();
    let mut peer = rig.client();
    let (ram, other) = (unsealable(0x2000), guest_memory(0x1000));
    poke(&other, 0, &[1, 2, 3, 4, 5, 6, 7, 8]);
    rig.call(&mut peer, DMA_MAP, map(0, 0x2000, 0, 3).as_bytes(), &[ram.as_raw_fd()]).unwrap();
    rig.call(&mut peer, DMA_MAP, map(0x2000, 0x1000, 0, 3).as_bytes(), &[other.as_raw_fd()]).unwrap();
    rig.enable(&mut peer);
    nix::unistd::ftruncate(&ram, 0).unwrap();
    rig.write(&mut peer, 0, 0x10, &0x1000u64.to_le_bytes()).unwrap();
    assert_eq!(rig.read(&mut peer, 0, 0x20, 9), Ok(vec![0, 0, 0, 0, 0, 0, 0, 0, 1]));
    {
        let guard = crossbeam::epoch::pin();
        assert!(rig.server.session().bus().memory(&guard).cut_off());
    }
    rig.write(&mut peer, 0, 0x10, &0x2000u64.to_le_bytes()).unwrap();
    assert_eq!(rig.read(&mut peer, 0, 0x20, 9), Ok(vec![1, 2, 3, 4, 5, 6, 7, 8, 1]), "other maps are whole");
}

/// A SIGBUS that is nobody's guest ends the process as it would have without the handler.
#[test]
fn other_bus_errors_are_as_deadly_as_ever() {
    if let Ok(which) = std::env::var("VALECAST_TEST_SIGBUS") {
        let watched = Mapping::new(&unsealable(0x1000), 0, 0x1000, true).unwrap();
        assert!(!watched.sealed());
        let file = tempfile_of(0x1000);
        let bare = memmap2::MmapOptions::new().len(0x1000).map_raw(&file).unwrap();
        nix::unistd::ftruncate(&file, 0).unwrap();
        assert_eq!(which, "1");
        // SAFETY: inside the mapping; the page is gone, which is the point.
        let byte = unsafe { bare.as_ptr().read_volatile() };
        panic!("read {byte}");
    }
    let ended = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sigbus::other_bus_errors_are_as_deadly_as_ever", "--test-threads=1"])
        .env("VALECAST_TEST_SIGBUS", "1")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(ended.signal(), Some(nix::libc::SIGBUS), "{ended}");
}
