//! QuickCast: copying bulk data from one site to many over multicast trees.
//!
//! Graph, partitions, trees, rates; each part is a pure function over plain data:
//!
//! - [`graph`]: sites and directed links with capacities;
//! - [`load`]: what the links already have to carry, and [`weight`]: what that makes a link cost a new tree;
//! - [`tree`]: the tree from a site to a set of others (algorithm 1);
//! - [`partition`]: hierarchies of receivers, and [`plan`]: the partitions of a transfer and their trees
//!   (algorithm 2), by schemes that have names;
//! - [`rate`]: how fast each tree may send in a timeslot (section IV-C);
//! - [`control`]: what sites, endpoints and the controller say to one another, and [`address`]: what frames are addressed to;
//! - [`transport`]: files over a tree, from a sender to many receivers;
//! - [`site`]: what makes a switch of a daemon one of QuickCast's sites: it installs what the controller wants there;
//! - [`endpoint`]: files in and out at a site, over its switch and as the controller says;
//! - [`controller`]: the server that plans transfers of running sites; [`ask`]: how sites and commands reach it;
//! - [`topology`]: networks from files, and those of the papers by name; [`read`]: other files.
//!
//! Sections and algorithms are those of "Fast and Efficient Bulk Multicasting over Dedicated Inter-Datacenter
//! Networks" (arXiv 1812.06553), the extended version of QuickCast (INFOCOM 2018).

pub mod address;
pub mod ask;
pub mod control;
pub mod controller;
pub mod endpoint;
pub mod graph;
pub mod load;
pub mod partition;
pub mod plan;
pub mod rate;
pub mod read;
pub mod sim;
pub mod site;
pub mod topology;
pub mod traffic;
pub mod transport;
pub mod tree;
pub mod weight;
