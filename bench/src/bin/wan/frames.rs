//! What a file's frames add to it.

use valecast_qc_dataplane::transport::wire::{BEFORE_BODY, DEFAULT_CHUNK, PieceHead};

/// Bytes of frames, without CRC, for each byte of content.
pub const OVERHEAD: f64 =
    (BEFORE_BODY + size_of::<PieceHead>() + DEFAULT_CHUNK as usize) as f64 / DEFAULT_CHUNK as f64;
/// The share of a link that the controller gives to trees.
pub const HEADROOM: f64 = 0.98;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_content_adds_its_headers() {
        assert!((OVERHEAD - 1458.0 / 1408.0).abs() < 1e-12);
    }
}
