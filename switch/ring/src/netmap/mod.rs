//! What the netmap preload library and the switch tell one another, and what they share.
//!
//! A program's netmap descriptor is a connection to the switch's socket [`SOCKET`] (`SOCK_SEQPACKET`). The
//! switch sends one message on it, a [`call::Welcome`] with a token, which stays in the connection for good:
//! whoever holds the descriptor (after dup, fork, exec or SCM_RIGHTS) can peek at it. With the token, requests
//! are made over connections of their own ([`call`]), one each, so that no answer goes to the wrong reader.
//! When the last holder closes, the connection ends, and the switch takes back what was registered over it.
//!
//! - [`abi`]: netmap's control structures, API 14;
//! - [`call`]: requests and answers;
//! - [`kring`]: the books about each ring, in the region's spare part, shared by everybody who syncs it;
//! - [`mem`]: what lies in the spare part: the switch's side, which makes it and takes it back.

pub mod abi;
pub mod call;
pub mod kring;
pub mod mem;

/// Name of the socket in the run directory.
pub const SOCKET: &str = "netmap";
