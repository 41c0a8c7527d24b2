//! Reading files: topologies and Steiner tree instances, in their own formats.
//!
//! - `text`: bytes to text, gzip undone;
//! - `words`: lines and words with their places, for what is wrong with them;
//! - [`instance`]: Steiner tree instances.
//!
//! All of it takes text that anybody may have written.

pub mod instance;
mod text;
mod words;

pub use text::{LONGEST, text};
