//! Bulk transfer over a tree: one sender, many receivers, switches that copy, and any loss on the way.
//!
//! - [`files`]: what is sent ([`files::source`]), and where it is kept ([`files::store`]);
//! - [`wire`]: the frames.

pub mod files;
pub mod wire;
