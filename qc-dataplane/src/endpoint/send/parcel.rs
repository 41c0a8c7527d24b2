//! What is to be sent, looked at once.

use std::path::{Path, PathBuf};

use super::Cut;
use crate::control::NewTransfer;
use crate::endpoint::EndpointError;
use crate::endpoint::clock::random;
use crate::transport::files::source::Source;
use crate::transport::wire::Shape;

/// What is to be sent, looked at once.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Where it is.
    pub path: PathBuf,
    /// How it is cut.
    pub cut: Cut,
    pub(super) shape: Shape,
    pub(super) manifest: [u8; 32],
    name: String,
}

impl Parcel {
    /// Lists a file or directory.
    ///
    /// # Errors
    ///
    /// It cannot be read, or not be sent.
    pub fn open(path: &Path, cut: Cut) -> Result<Self, EndpointError> {
        let source = Source::open(path, cut.chunk, cut.fec)?;
        Ok(Self {
            path: path.to_path_buf(),
            cut,
            shape: *source.shape(),
            manifest: source.manifest_hash(),
            name: source.name().to_string_lossy().into_owned(),
        })
    }

    /// Bytes of content.
    pub fn bytes(&self) -> u64 {
        self.shape.total()
    }

    /// The name under which it appears at receivers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What to ask the controller for.
    ///
    /// # Errors
    ///
    /// The system has no randomness.
    pub fn ask(&self, to: Vec<String>, scheme: Option<String>) -> Result<NewTransfer, EndpointError> {
        Ok(NewTransfer {
            from: None,
            to,
            bytes: self.bytes(),
            name: self.name.clone(),
            overhead: self.cut.overhead(),
            scheme,
            path: None,
            request: Some(random().map_err(EndpointError::system("/dev/urandom"))?),
        })
    }
}
