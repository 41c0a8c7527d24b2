//! The text of a file, which may be compressed.

use std::io::Read;

use valecast_config::{ConfigErrors, Diagnostic};

/// Longest text that is read, in bytes; what a small compressed file unpacks to has an end too.
pub const LONGEST: u64 = 256 << 20;

/// The text in `bytes` of `file`; gzip is undone.
///
/// # Errors
/// When the gzip stream is broken, the text is not UTF-8 or longer than [`LONGEST`].
pub fn text(file: &str, bytes: Vec<u8>) -> Result<String, ConfigErrors> {
    let wrong = |message: String, help: &str| {
        let found = Diagnostic::without_place(file, message, help.to_owned());
        ConfigErrors { diagnostics: vec![found] }
    };
    let plain = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut out = Vec::new();
        let gzip = flate2::read::MultiGzDecoder::new(&bytes[..]);
        gzip.take(LONGEST + 1).read_to_end(&mut out).map_err(|e| {
            wrong(format!("cannot unpack: {e}"), "it starts like a gzip file, but is not a whole one")
        })?;
        out
    } else {
        bytes
    };
    if plain.len() as u64 > LONGEST {
        return Err(wrong(format!("longer than {} MiB", LONGEST >> 20), "leave out what is not needed"));
    }
    String::from_utf8(plain).map_err(|e| {
        let place = e.utf8_error().valid_up_to();
        let line = e.as_bytes()[..place].iter().filter(|b| **b == b'\n').count() + 1;
        wrong(format!("not UTF-8 text: byte {place}, line {line}"), "save the file as UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        gz.finish().unwrap()
    }

    #[test]
    fn unpacks_and_says_what_is_wrong() {
        assert_eq!(text("f", b"plain".to_vec()).unwrap(), "plain");
        assert_eq!(text("f", gzip("packed")).unwrap(), "packed");
        let mut short = gzip("packed");
        short.truncate(12);
        assert!(text("f.gz", short).unwrap_err().to_string().contains("f.gz"));
        let e = text("f", b"a\nb\xff".to_vec()).unwrap_err().to_string();
        assert!(e.contains("not UTF-8 text: byte 3, line 2"), "{e}");
    }
}
