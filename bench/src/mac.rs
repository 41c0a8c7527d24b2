//! Ethernet addresses and ranges of them.

use std::fmt;

use crate::addr::BadAddr;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// MAC addresses from the first to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacRange {
    first: u64,
    last: u64,
}

impl MacRange {
    /// The one address `mac`.
    pub fn single(mac: Mac) -> Self {
        let n = mac_bits(mac);
        Self { first: n, last: n }
    }

    /// Reads `MAC[-MAC]`. Ends given the wrong way round are swapped.
    pub fn parse(text: &str) -> Result<Self, BadAddr> {
        let one = |s: &str| mac(s).map(mac_bits).ok_or_else(|| BadAddr::Mac(text.to_owned()));
        let (a, b) = match text.split_once('-') {
            Some((a, b)) => (one(a)?, one(b)?),
            None => (one(text)?, one(text)?),
        };
        Ok(Self { first: a.min(b), last: a.max(b) })
    }

    /// The first address.
    pub fn start(&self) -> Mac {
        mac_of_bits(self.first)
    }

    /// Whether there is but one.
    pub fn is_single(&self) -> bool {
        self.first == self.last
    }

    /// The address after `mac`, the first again after the last.
    pub fn after(&self, mac: Mac) -> Mac {
        let n = mac_bits(mac);
        mac_of_bits(if n < self.last { n + 1 } else { self.first })
    }
}

impl fmt::Display for MacRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |f: &mut fmt::Formatter<'_>, m: Mac| {
            let [a, b, c, d, e, g] = m;
            write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
        };
        show(f, self.start())?;
        if !self.is_single() {
            f.write_str("-")?;
            show(f, mac_of_bits(self.last))?;
        }
        Ok(())
    }
}

fn mac(s: &str) -> Option<Mac> {
    let mut out = [0; 6];
    let mut parts = s.split(':');
    for byte in &mut out {
        let part = parts.next().filter(|p| (1..=2).contains(&p.len()) && !p.starts_with('+'))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(out)
}

fn mac_bits(m: Mac) -> u64 {
    m.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn mac_of_bits(n: u64) -> Mac {
    let [_, _, m @ ..] = n.to_be_bytes();
    m
}

/// The source address of a port that was given none: locally administered, and the same whenever the port
/// has the same name, so that a switch's table stays small. (pkt-gen sends from 00:00:00:00:00:00 here.)
pub fn mac_of_port(name: &str) -> Mac {
    // FNV-1a: the address only has to differ between names.
    let hash =
        name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let [a, b, c, d, e, ..] = (hash ^ hash >> 32).to_le_bytes();
    [0x02, a, b, c, d, e]
}
