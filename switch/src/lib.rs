//! The Valecast switch.
//!
//! In the order in which a frame meets them:
//!
//! - [`port`]: where frames come from and go to: rings, TAPs, interfaces, files, other switches;
//! - [`frame`]: a burst of references into senders' memory;
//! - [`worker`]: the threads that take bursts, turn after turn;
//! - [`pipeline`]: what is done with each burst, in these steps:
//! - [`plan`]: classify, learn ([`fdb`]), match groups, pay meters ([`meter`]), sort by destination;
//! - [`route`]: where a source's last frames went, for those that are like them, and [`flows`]: where frames between two
//!   addresses did;
//! - [`offload`]: segments and checksums for receivers that need them made;
//! - [`deliver`]: claim room, copy once, publish, count ([`counters`]);
//! - [`inline`]: threads of the user's own that do what a worker does, for their own frames;
//! - [`tables`]: the snapshot that all of this looks things up in.
//!
//! And beside the data path, the control side: [`switch`] (attach, detach, groups, meters), [`daemon`]
//! (several switches, attach sockets, reload), [`api`] (HTTP/JSON, Prometheus) and [`netmap`] (for programs written for
//! netmap).

pub mod api;
pub mod clock;
pub mod counters;
pub mod daemon;
pub mod deliver;
pub mod fdb;
pub mod flows;
pub mod frame;
pub mod inline;
pub mod mac;
pub mod meter;
pub mod netmap;
pub mod offload;
pub mod pipeline;
pub mod plan;
pub mod port;
pub mod route;
pub mod switch;
pub mod tables;
pub mod worker;
