//! Addresses as pkt-gen takes them, and the walk through their ranges.
//!
//! - `-s`/`-d`: `IP[:PORT][-IP[:PORT]]`; IPv6 with a port is written `[IP]:PORT`, and `GROUP@` in front says
//!   which of the eight 16-bit groups a range counts in (7, the last, unless told).
//! - `-S`/`-D`: `MAC[-MAC]`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

pub use crate::mac::{Mac, MacRange, mac_of_port};
use crate::rng::Rng;

/// The UDP port where none is given.
pub const DEFAULT_PORT: u16 = 1234;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 (`-4`).
    V4,
    /// IPv6 (`-6`).
    V6,
}

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddr {
    /// Not an IPv4 range.
    #[error("`{0}` is no IPv4 range: write IP[:PORT][-IP[:PORT]], such as 10.0.0.1:1234-10.0.0.9:1240")]
    V4(String),
    /// Not an IPv6 range.
    #[error("`{0}` is no IPv6 range: write [IP]:PORT[-[IP]:PORT], such as [fd00::1]:1234-[fd00::9]:1240")]
    V6(String),
    /// Not a MAC range.
    #[error("`{0}` is no MAC range: write MAC[-MAC], such as 02:00:00:00:00:01-02:00:00:00:00:ff")]
    Mac(String),
}

/// Addresses and ports, from the first to the last of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpRange {
    family: Family,
    first: u128,
    last: u128,
    step: u128,
    port_first: u16,
    port_last: u16,
}

impl IpRange {
    /// Reads a range of `family`. Ends given the wrong way round are swapped.
    pub fn parse(text: &str, family: Family) -> Result<Self, BadAddr> {
        let (from, to) = text.split_once('-').map_or((text, None), |(a, b)| (a, Some(b)));
        let (a, b) = match family {
            Family::V4 => {
                let end = |s: &str| end_v4(s).ok_or_else(|| BadAddr::V4(text.to_owned()));
                (end(from)?, to.map(end).transpose()?)
            }
            Family::V6 => {
                let end = |s: &str| end_v6(s).ok_or_else(|| BadAddr::V6(text.to_owned()));
                (end(from)?, to.map(end).transpose()?)
            }
        };
        let port = a.port.unwrap_or(DEFAULT_PORT);
        let (last, port_last) = b.map_or((a.addr, port), |b| (b.addr, b.port.unwrap_or(port)));
        Ok(Self {
            family,
            first: a.addr.min(last),
            last: a.addr.max(last),
            step: 1u128 << (16 * (7 - u32::from(a.group.unwrap_or(7)))),
            port_first: port.min(port_last),
            port_last: port.max(port_last),
        })
    }

    /// The family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The first address and port.
    pub fn start(&self) -> End {
        End { addr: self.first, port: self.port_first }
    }

    /// Whether there is but one address and port.
    pub fn is_single(&self) -> bool {
        self.first == self.last && self.port_first == self.port_last
    }

    /// Moves `end` on: the port first, then the address; `true` when it went back to the start.
    fn step(&self, end: &mut End) -> bool {
        if end.port < self.port_last {
            end.port += 1;
            return false;
        }
        end.port = self.port_first;
        match end.addr.checked_add(self.step).filter(|a| *a <= self.last) {
            Some(next) => {
                end.addr = next;
                false
            }
            None => {
                end.addr = self.first;
                true
            }
        }
    }

    fn random(&self, rng: &mut Rng) -> End {
        let bits = rng.next_u64();
        let addr = match self.family {
            Family::V4 => u128::from(bits as u32),
            Family::V6 => (self.first >> 32 << 32) | u128::from(bits as u32),
        };
        End { addr, port: (bits >> 32) as u16 }
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, addr: u128, port: u16) -> fmt::Result {
        match self.family {
            Family::V4 => write!(f, "{}:{port}", Ipv4Addr::from_bits(addr as u32)),
            Family::V6 => write!(f, "[{}]:{port}", Ipv6Addr::from_bits(addr)),
        }
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, self.first, self.port_first)?;
        if !self.is_single() {
            f.write_str("-")?;
            self.show(f, self.last, self.port_last)?;
        }
        Ok(())
    }
}

/// One address and UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The address as a number; IPv4 in the low 32 bits.
    pub addr: u128,
    /// The UDP port.
    pub port: u16,
}

struct Parsed {
    addr: u128,
    port: Option<u16>,
    group: Option<u8>,
}

fn end_v4(s: &str) -> Option<Parsed> {
    let (addr, port) = s.split_once(':').map_or((s, None), |(a, p)| (a, Some(p)));
    let addr = addr.parse::<Ipv4Addr>().ok()?.to_bits().into();
    Some(Parsed {
        addr,
        port: port.map(|p| p.parse().ok()).map_or(Some(None), |p| p.map(Some))?,
        group: None,
    })
}

fn end_v6(s: &str) -> Option<Parsed> {
    let (group, s) = match s.split_once('@') {
        Some((g, rest)) => (Some(g.parse::<u8>().ok().filter(|g| *g <= 7)?), rest),
        None => (None, s),
    };
    let (addr, port) = match s.strip_prefix('[') {
        Some(inner) => match inner.split_once(']')? {
            (addr, "") => (addr, None),
            (addr, rest) => (addr, Some(rest.strip_prefix(':')?.parse().ok()?)),
        },
        None => (s, None),
    };
    Some(Parsed { addr: addr.parse::<Ipv6Addr>().ok()?.to_bits(), port, group })
}

/// Source and destination of the next frame, walking through both ranges as pkt-gen does: source port,
/// source address, destination port, destination address.
#[derive(Clone, Debug)]
pub struct Sweep {
    src: IpRange,
    dst: IpRange,
    random_src: bool,
    random_dst: bool,
    rng: Rng,
    /// The source of this frame.
    pub from: End,
    /// The destination of this frame.
    pub to: End,
}

impl Sweep {
    /// Starts at the beginning of both ranges.
    pub fn new(src: IpRange, dst: IpRange, random_src: bool, random_dst: bool, seed: u64) -> Self {
        let (from, to) = (src.start(), dst.start());
        Self { src, dst, random_src, random_dst, rng: Rng::new(seed), from, to }
    }

    /// Whether every frame has the same addresses.
    pub fn is_constant(&self) -> bool {
        !self.random_src && !self.random_dst && self.src.is_single() && self.dst.is_single()
    }

    /// Moves to the next frame's addresses.
    pub fn step(&mut self) {
        if self.random_src {
            self.from = self.src.random(&mut self.rng);
        } else if !self.src.step(&mut self.from) {
            return;
        }
        if self.random_dst {
            self.to = self.dst.random(&mut self.rng);
        } else {
            self.dst.step(&mut self.to);
        }
    }
}

#[cfg(test)]
#[path = "addr_tests.rs"]
mod tests;
