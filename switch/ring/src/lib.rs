//! Shared-memory packet rings in netmap's layout, and the client API of Valecast.
//!
//! In the order in which a frame meets them:
//!
//! - [`client`]: what a program uses: [`client::Port::attach`], then take and put bursts.
//! - [`attach`]: the handshake that hands a client its region and doorbells (Unix `SOCK_SEQPACKET`).
//! - [`abi`]: the layout both sides share: `netmap_if`, `netmap_ring`, `netmap_slot`, CSB entries.
//! - [`layout`]: where each of these lies inside one region, from validated [`layout::RingParams`].
//! - `mapping`: where a process has it, huge pages included.
//! - [`region`]: the sealed memfd and the only code that touches shared memory, by [`moves`].
//! - [`host`]: the switch's side of the rings; trusts nothing that a client can write.
//! - [`ledger`]: how several workers share one destination ring: claim, reserve, copy, commit, publish.
//! - [`notify`]: sleep without losing a wake-up, the CSB protocol that every port kind uses.
//! - [`quiesce`]: how the control side waits for threads that forward now and then.
//! - [`netmap`]: what the netmap preload library and the switch tell one another, and share.
//! - [`doorbell`]: the file descriptors behind a kick.
//!
//! Nothing outside this crate touches raw shared memory.

pub mod abi;
pub mod attach;
pub mod client;
pub mod doorbell;
pub mod host;
pub mod layout;
pub mod ledger;
mod mapping;
pub mod moves;
pub mod netmap;
pub mod notify;
pub mod quiesce;
pub mod region;
mod sync;

pub use abi::SlotFlags;
pub use moves::{copy_payload, prefetch, prefetch_write};
