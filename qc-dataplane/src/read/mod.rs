//! Reading files: text, and Steiner tree instances. Topologies are in [`crate::topology`].
//!
//! - `text`: bytes to text, gzip undone;
//! - `words`: lines and words with their places, for what is wrong with them;
//! - [`instance`]: Steiner tree instances.
//!
//! All of it takes text that anybody may have written.

pub mod instance;
mod text;
pub(crate) mod words;

pub use text::{LONGEST, text};
