//! Reading files: text, Steiner tree instances, loads. Topologies are in [`crate::topology`].
//!
//! - `text`: bytes to text, gzip undone;
//! - `words`: lines and words with their places, for what is wrong with them;
//! - [`instance`]: Steiner tree instances; [`mod@load`]: what links have left to send.
//!
//! All of it takes text that anybody may have written.

pub mod instance;
pub mod load;
mod text;
pub(crate) mod words;

pub use text::{LONGEST, text};
