//! Takes whatever transfers arrive at a site.
//!
//! - [`inbox`]: frames of one transfer, between the ring and its worker;
//! - [`station`]: the port: a thread that puts each frame that arrives into its inbox;
//! - [`worker`]: one transfer: a thread that runs the transport's receiver, and with it the disk;
//! - [`desk`]: which transfers may arrive, and their workers; `news`: as the site says;
//! - `tidy`: what is left of transfers that are over.

pub mod desk;
pub mod inbox;
mod news;
pub mod station;
mod tidy;
pub mod worker;
