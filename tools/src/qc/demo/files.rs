//! The file that is sent, and whether what arrived is the same.

use std::io::Write;
use std::path::Path;

/// A file whose bytes do not repeat.
pub fn write_file(path: &Path, bytes: u64) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    let (mut x, mut left) = (0x9e37_79b9_7f4a_7c15u64, bytes);
    while left > 0 {
        // xorshift64.
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let n = left.min(8) as usize;
        out.write_all(&x.to_le_bytes()[..n])?;
        left -= n as u64;
    }
    out.flush()
}

/// Whether two files have the same bytes.
pub fn same(a: &Path, b: &Path) -> std::io::Result<bool> {
    use std::io::Read;
    let open = |p: &Path| std::fs::File::open(p).map(|f| std::io::BufReader::with_capacity(1 << 20, f));
    let (mut a, mut b) = (open(a)?, open(b)?);
    let (mut x, mut y) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let n = a.read(&mut x)?;
        if n == 0 {
            return Ok(b.read(&mut y)? == 0);
        }
        if b.read_exact(&mut y[..n]).is_err() || x[..n] != y[..n] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_compared() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|n| dir.path().join(n));
        for (n, m, equal) in
            [(100_003, 100_003, true), (100_003, 100_002, false), (0, 1, false), (0, 0, true)]
        {
            write_file(&a, n).unwrap();
            write_file(&b, m).unwrap();
            assert_eq!(same(&a, &b).unwrap(), equal, "{n} {m}");
        }
    }
}
