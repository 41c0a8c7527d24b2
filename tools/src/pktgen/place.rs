//! Which port of which switch, and where its socket is.

use std::path::{Path, PathBuf};

/// A port of a running switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the switch.
    pub switch: String,
    /// Name of the port.
    pub port: String,
}

impl Place {
    /// Reads `SWITCH:PORT`, with or without `netmap:` in front.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("netmap:").unwrap_or(text);
        let (switch, port) = bare
            .split_once(':')
            .filter(|(switch, port)| is_name(switch) && is_name(port))
            .filter(|(switch, _)| !["tap", "pcap"].contains(switch))
            .ok_or_else(|| {
                format!(
                    "-i {text}: not a port; accepted are SWITCH:PORT, such as vale0:a, and netmap:SWITCH:PORT \
                     (TAP, packet and pcap interfaces are ports of the switch: attach them there)"
                )
            })?;
        Ok(Self { switch: switch.to_owned(), port: port.to_owned() })
    }

    /// The socket of the switch in `run_dir`.
    pub fn socket(&self, run_dir: &Path) -> PathBuf {
        run_dir.join(format!("{}.ring", self.switch))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.switch, self.port)
    }
}

/// Letters, digits and `_-.`, not a dot first: also safe as a file name.
fn is_name(s: &str) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !s.is_empty() && !s.starts_with('.') && s.chars().all(ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_what_is_none() {
        for text in ["vale0:a", "netmap:vale0:a"] {
            let p = Place::parse(text).unwrap();
            assert_eq!(p.to_string(), "vale0:a");
            assert_eq!(p.socket(Path::new("/run/x")), Path::new("/run/x/vale0.ring"));
        }
        assert!(Place::parse("lab-1:web.2").is_ok());
        for bad in
            ["", "a", "vale0:", ":a", "../x:a", "vale0:a{1", "tap:tap0", "pcap:eth0", "null", "netmap:eth0"]
        {
            let e = Place::parse(bad).unwrap_err();
            assert!(e.contains("accepted are SWITCH:PORT"), "{bad}: {e}");
        }
    }
}
