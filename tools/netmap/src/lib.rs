//! The library that is preloaded into netmap programs: it stands between them and the C library and serves
//! `/dev/netmap` from a running `valecast` daemon.
//!
//! ```text
//! LD_PRELOAD=libvalecast_netmap.so pkt-gen -i vale0:a -f tx      (or: valecast netmap -- pkt-gen …)
//! ```
//! A netmap descriptor is a connection to the daemon ([`valecast_ring::netmap`] says why), so it can be
//! duplicated, inherited and sent like any other. Requests go to the daemon; frames do not: the rings that the
//! program maps are the port's own, and syncing them is done here, in shared memory.
//!
//! In the order in which a program meets the parts:
//!
//! - `hooks`: the C library's functions that are taken over; `real` finds the C library's own;
//! - `table`: which descriptors are netmap's;
//! - `file`: one of them: opened, recognised in another process, bound to rings;
//! - `ctrl`: requests (`NIOCCTRL`), `legacy` those of the older API, `caller` takes them to the daemon;
//! - `sync`: `NIOCTXSYNC` and `NIOCRXSYNC`; `pipe` and `monitor` are their own kinds of rings;
//! - `wait`: poll, `select`, `epoll`;
//! - `kloop`: the loop that syncs by way of a CSB.
//!
//! A program that has no netmap descriptor pays one comparison for each call.

// Dereferencing what a program passes is what these functions are for; each says what it relies on.
#![warn(missing_docs)]

mod caller;
mod ctrl;
mod epoll;
mod file;
mod hooks;
mod kloop;
mod legacy;
mod lock;
mod monitor;
mod pipe;
mod real;
mod select;
mod sync;
mod table;
mod user;
mod wait;
