//! QuickCast: copying bulk data from one site to many over multicast trees.
//!
//! - [`rate`]: how fast each tree may send in a timeslot (QuickCast, section IV-C).

pub mod rate;
