//! Hugepages for the peers that want them, given back afterwards.

use std::fs;

const COUNT: &str = "/proc/sys/vm/nr_hugepages";
/// So many of 2 MiB must be free.
const WANTED: u64 = 2048;

/// Holds the reservation; the number of before comes back when it goes.
pub struct Hugepages {
    before: Option<u64>,
}

impl Hugepages {
    /// Reserves; a machine that refuses is said so, and its peers fail with words of their own.
    pub fn reserve() -> Self {
        let Some(before) = number(COUNT) else { return Self { before: None } };
        let free = number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").unwrap_or(0);
        let want = before + WANTED.saturating_sub(free);
        if want == before {
            return Self { before: None };
        }
        match fs::write(COUNT, want.to_string()) {
            Ok(()) => {
                let got = number(COUNT).unwrap_or(before);
                if got < want {
                    eprintln!("**** only {got} of {want} hugepages could be had");
                }
                Self { before: Some(before) }
            }
            Err(e) => {
                eprintln!("**** no hugepages for the peers that want them: {COUNT}: {e}");
                Self { before: None }
            }
        }
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            let _ = fs::write(COUNT, before.to_string());
        }
    }
}
