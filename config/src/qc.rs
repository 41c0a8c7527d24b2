//! The sites of QuickCast: which switches take part, and who controls them.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::show;

/// QuickCast: `[qc]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Qc {
    /// Where the controller answers. Default: the socket `qc-controller.sock` in `run_dir`.
    #[serde(serialize_with = "show::text")]
    pub controller: Controller,
    /// What this side shows to a controller on another host, and knows it by: `ca`, `cert`, `key`.
    #[serde(flatten)]
    pub keys: Option<Keys>,
    /// The sites; at least one.
    #[serde(rename = "site")]
    pub sites: Vec<Site>,
}

/// Where a controller answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Controller {
    /// At a Unix socket of this host: `unix:PATH`.
    Unix(PathBuf),
    /// On another host, over TLS: `https://HOST:PORT`.
    Https {
        /// A name or an address, an IPv6 one without its brackets.
        host: String,
        /// TCP port; [`Controller::PORT`] if none is given.
        port: u16,
    },
}

impl Controller {
    /// The port of a controller's HTTPS.
    pub const PORT: u16 = 7600;
    /// The name of a controller's socket in the directory of the sockets.
    pub const SOCKET: &str = "qc-controller.sock";

    /// Reads `unix:PATH`, a path from `dir` on, or `https://HOST` or `https://HOST:PORT`, an IPv6 address in brackets. None if it
    /// is neither.
    #[must_use]
    pub fn parse(text: &str, dir: &Path) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            let empty = path.is_empty() || path.contains('\0');
            return (!empty).then(|| Self::Unix(dir.join(path)));
        }
        let rest = text.strip_prefix("https://")?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => {
                let (host, port) = rest.split_once(':').map_or((rest, None), |(h, p)| (h, Some(p)));
                let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
                (!host.is_empty() && host.bytes().all(known)).then_some((host, port))?
            }
        };
        let port = port.map_or(Some(Self::PORT), |port| port.parse().ok().filter(|p| *p != 0))?;
        Some(Self::Https { host: host.to_owned(), port })
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Https { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Self::Https { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

/// PEM files for mutual TLS. Relative paths are from the configuration file on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Keys {
    /// Certificate of the authority that signed the other side's.
    pub ca: PathBuf,
    /// Certificate of this side.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Keys {
    /// Paths from `dir` on.
    pub(crate) fn resolve(&mut self, dir: &Path) {
        for path in [&mut self.ca, &mut self.cert, &mut self.key] {
            let from_there = dir.join(&*path);
            // The same whatever the working directory is when the file is read again.
            *path = std::path::absolute(&from_there).unwrap_or(from_there);
        }
    }
}

/// A switch that takes part: `[[qc.site]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Site {
    /// Name, unique among all sites of the controller. Default: the switch's.
    pub name: String,
    /// The switch. Required.
    pub switch: String,
    /// Its links: `[[qc.site.link]]`.
    #[serde(rename = "link", skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<SiteLink>,
}

/// A way to another site: `[[qc.site.link]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SiteLink {
    /// The port, which has a `capacity` and `flood = false`. Required.
    pub port: String,
    /// The site at its other end. Required.
    pub to: String,
}

/// How names of what QuickCast adds to a switch begin.
pub const QC_PREFIX: &str = "qc-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_controllers_are_read() {
        let read = |text| Controller::parse(text, Path::new("/run")).map(|c| c.to_string());
        for (text, want) in [
            ("unix:a.sock", "unix:/run/a.sock"),
            ("unix:/tmp/a.sock", "unix:/tmp/a.sock"),
            ("https://te.example:7/", "https://te.example:7"),
            ("https://te", "https://te:7600"),
            ("https://[::1]", "https://[::1]:7600"),
            ("https://[::1]:7", "https://[::1]:7"),
        ] {
            assert_eq!(read(text).as_deref(), Some(want), "{text}");
        }
        for text in [
            "te",
            "unix:",
            "https://",
            "https://:1",
            "https://te:0",
            "https://te:99999",
            "https://te:",
            "https://[::1]7",
            "https://[te]:7",
            "https://[::1",
            "https://a/b:7",
            "http://te:7",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
