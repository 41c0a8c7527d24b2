//! From the first hello to the store.

use super::joined::Joined;
use super::{About, Receiver};
use crate::transport::files::FileError;
use crate::transport::files::journal::Stage;
use crate::transport::files::manifest::Manifest;
use crate::transport::files::store::Store;
use crate::transport::wire::{Hello, Reject, State};

impl Receiver {
    pub(super) fn hello(&mut self, hello: &Hello<'_>) -> Result<(), Reject> {
        let about = self.about.get_or_insert(About {
            shape: hello.shape,
            manifest_hash: hello.manifest_hash,
            content_hash: None,
        });
        if about.shape != hello.shape || about.manifest_hash != hello.manifest_hash {
            return Err(Reject::Field("another content than the first hello"));
        }
        about.content_hash = hello.content_hash.or(about.content_hash);
        if self.state != State::Joining {
            return Ok(());
        }
        if let Some(bytes) = hello.manifest {
            if blake3::hash(bytes) != about.manifest_hash {
                return Err(Reject::Field("manifest without its hash"));
            }
            self.manifest = bytes.to_vec();
            self.join();
        } else if self.parts.is_empty() {
            self.manifest = vec![0; about.shape.manifest()];
            self.parts = vec![false; about.shape.parts() as usize];
        }
        Ok(())
    }

    pub(super) fn part(&mut self, n: u64, bytes: &[u8]) -> Result<(), Reject> {
        let Some(about) = &self.about else { return Ok(()) };
        if about.shape.len_of_part(n) != bytes.len() {
            return Err(Reject::Field("part of the manifest of another length"));
        }
        let at = n as usize * about.shape.chunk();
        match self.parts.get_mut(n as usize) {
            Some(here) if !*here && self.state == State::Joining => {
                *here = true;
                self.manifest[at..at + bytes.len()].copy_from_slice(bytes);
                if self.parts.iter().all(|here| *here) {
                    if blake3::hash(&self.manifest) == about.manifest_hash {
                        self.join();
                    } else {
                        // Parts of two lists, or a checksum that missed something.
                        self.parts.fill(false);
                    }
                }
            }
            _ => self.counters.duplicates = self.counters.duplicates.wrapping_add(1),
        }
        Ok(())
    }

    /// The manifest is whole: make its files.
    fn join(&mut self) {
        let Some(about) = &self.about else { return };
        self.parts = Vec::new();
        let bytes = std::mem::take(&mut self.manifest);
        self.seats.iter_mut().for_each(|s| s.news = true);
        let opened = Manifest::parse(&bytes).map_err(FileError::from).and_then(|manifest| {
            let o = &self.options;
            Store::open(&o.store, o.transfer, &about.shape, manifest, &about.manifest_hash)
        });
        match opened {
            Ok(store) => {
                self.state = match store.stage() {
                    Stage::Done => State::Verified,
                    _ if store.left() == 0 => State::Checking,
                    _ => State::Receiving,
                };
                self.joined = Some(Joined::new(store, about.shape));
            }
            Err(e) => self.fail(e),
        }
    }
}
