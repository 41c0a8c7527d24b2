//! An Intel 82540EM (e1000): the chip, and the engine that moves frames between its rings and the switch.
//!
//! No sockets and no clocks: `now` (ns) is an argument, guest memory is a [`dma::Dma`], and what a call has to do
//! to the outside world it returns. In the order in which a guest meets them:
//!
//! - [`pci`]: what configuration space says;
//! - [`chip`]: accesses to BAR 0 and BAR 1, by the table in [`regs`]; behind them [`eeprom`] and [`phy`];
//! - [`device`]: what register accesses and workers share: registers, [`interrupt`] logic, [`stats`], [`counters`];
//! - [`desc`]: descriptors, found in guest memory through [`dma`];
//! - [`tx`]: from the guest's ring to a burst;
//! - [`filter`] and [`rx`]: from bursts into the guest's buffers;
//! - [`csb_host`]: the paravirtual extension ([`crate::csb`]), by which both sides do without register writes and
//!   interrupts while the other is awake;
//! - [`guest`]: a driver, as tests and fuzzers use it.
//!
//! # A port on top
//!
//! One thread owns the [`chip::Chip`] and hands it the guest's accesses. It acts on [`device::Effects`]: `interrupt`
//! signals the guest (INTx; [`device::Device::line`] answers an unmask), `transmit` rings the worker's doorbell,
//! `room` rings the one of those who wait for room. Workers share the [`device::Device`], and the memory table of the
//! day, of which each call gets the view that is valid for the turn:
//!
//! | `Ingress` | here |
//! |---|---|
//! | `take(burst, max, now)` | [`tx::TxQueue::take`]; keep `now` for the others |
//! | `complete(burst, n)` | [`tx::TxQueue::complete`] |
//! | `publish()`, `wake()` | [`tx::TxQueue::publish`], [`tx::TxQueue::wake`] |
//! | `arm()`, `disarm()` | [`tx::TxQueue::arm`], [`tx::TxQueue::disarm`] |
//! | `fd()` | the doorbell that `transmit` rings |
//!
//! | `Egress` | here |
//! |---|---|
//! | `caps()` | no offload headers (the chip has none for the receiver), [`rx::MAX_FRAME`], one queue |
//! | `claim`, `unclaim`, `put` | [`device::Device::claim`], [`device::Device::unclaim`], [`device::Device::put`] |
//! | `wake()` | [`device::Device::notify`] |
//! | `arm_room(lane)`, `room_fds()` | [`device::Device::arm_room`], the doorbell that `room` rings |
//!
//! Each of them that returns a `bool` named after the line means: signal the interrupt. Delayed and throttled
//! interrupts need a timer at [`device::Device::due`] that calls [`device::Device::tick`]. Unmapping guest memory waits until no burst with frames
//! from it is in use, and until no view of the old table is.
//!
//! What a hostile guest can do is lose its own frames: each way to do so has a [`counters`] name. Work per call
//! is bounded by the ring (at most 65,528 descriptors) and the burst.

pub mod chip;
pub mod counters;
pub mod csb_host;
pub mod device;
pub mod dma;
pub mod eeprom;
pub mod filter;
pub mod guest;
pub mod interrupt;
pub mod pci;
pub mod phy;
pub mod rx;
pub mod stats;
mod sum;
pub mod tx;

pub use valecast_guest::{desc, regs};
