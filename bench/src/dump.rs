//! Frames in hexadecimal, for `-X`.

use std::fmt::Write as _;
use std::io::Write;

/// Where frames are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dump {
    /// Nowhere.
    #[default]
    Off,
    /// On standard output, as pkt-gen does.
    Stdout,
    /// On standard error.
    Stderr,
}

/// Shows `frame`, which lies in slot `slot` of its ring.
#[cold]
pub fn dump_frame(to: Dump, slot: u32, frame: &[u8]) {
    let text = hex(slot, frame);
    // A reader that went away must not end the run.
    let _ = match to {
        Dump::Off => Ok(()),
        Dump::Stdout => std::io::stdout().write_all(text.as_bytes()),
        Dump::Stderr => std::io::stderr().write_all(text.as_bytes()),
    };
}

fn hex(slot: u32, frame: &[u8]) -> String {
    let mut out = format!("cur {slot:5} len {:5}\n", frame.len());
    for (row, bytes) in frame.chunks(16).enumerate() {
        let _ = write!(out, "{:5}: ", row * 16);
        for i in 0..16 {
            let _ = match bytes.get(i) {
                Some(b) => write!(out, "{b:02x} "),
                None => write!(out, "   "),
            };
        }
        out.extend(bytes.iter().map(|b| if b.is_ascii_graphic() || *b == b' ' { *b as char } else { '.' }));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_sixteen() {
        let text = hex(3, b"0123456789abcdefA\0");
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows[0], "cur     3 len    18");
        assert!(rows[1].starts_with("    0: 30 31 32") && rows[1].ends_with("0123456789abcdef"));
        assert!(rows[2].starts_with("   16: 41 00 ") && rows[2].ends_with(" A."));
    }
}
