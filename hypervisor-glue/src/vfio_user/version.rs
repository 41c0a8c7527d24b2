//! The first message: protocol version and capabilities, as JSON.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;

use super::memory::MAX_MAPS;
use super::wire::{self, MAX_DATA, MAX_FDS};

/// The version spoken here is 0.1: later minor versions add what this server refuses one by one.
const MINOR: u16 = 1;
/// Text longer than this is no capability list.
const MAX_TEXT: usize = 16 * 1024;

/// What the client said of itself. Unknown keys are other people's extensions and are skipped.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClientCapabilities {
    /// Descriptors that it takes in one message.
    pub max_msg_fds: Option<u64>,
    /// Bytes that it takes in one data transfer.
    pub max_data_xfer_size: Option<u64>,
    /// It packs several writes in one message.
    pub write_multiple: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ClientText {
    capabilities: ClientCapabilities,
}

#[derive(Serialize)]
struct ServerText {
    capabilities: ServerCapabilities,
}

#[derive(Serialize)]
struct ServerCapabilities {
    max_msg_fds: usize,
    max_data_xfer_size: usize,
    max_dma_maps: usize,
    pgsizes: u64,
    write_multiple: bool,
}

/// Reads a VERSION message's body; the body of the answer, and what the client can do.
///
/// `EINVAL`: another major version, or text that is no JSON object (also if it lacks its final NUL or is too
/// long).
pub fn negotiate(body: &[u8]) -> Result<(Vec<u8>, ClientCapabilities), Errno> {
    let (version, text) = wire::split::<wire::Version>(body)?;
    if version.major.get() != 0 || text.len() > MAX_TEXT {
        return Err(Errno::EINVAL);
    }
    let client = match text {
        [] => ClientCapabilities::default(),
        [text @ .., 0] => serde_json::from_slice::<ClientText>(text).map_err(|_| Errno::EINVAL)?.capabilities,
        _ => return Err(Errno::EINVAL),
    };
    let agreed = wire::Version { major: 0.into(), minor: version.minor.get().min(MINOR).into() };
    let capabilities = ServerCapabilities {
        max_msg_fds: MAX_FDS,
        max_data_xfer_size: MAX_DATA,
        max_dma_maps: MAX_MAPS,
        pgsizes: super::memory::PAGE,
        write_multiple: true,
    };
    let mut answer = agreed.as_bytes().to_vec();
    serde_json::to_writer(&mut answer, &ServerText { capabilities }).map_err(|_| Errno::EINVAL)?;
    answer.push(0);
    Ok((answer, client))
}
