//! Bulk transfer over a tree: one sender, many receivers, switches that copy, and any loss on the way.
//!
//! - [`wire`]: the frames.

pub mod wire;
