//! A connection to a controller, for commands: over its Unix socket, or over TLS.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::shell::tls::{TlsError, certificates, key, roots};

/// Where a controller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its Unix socket.
    Unix(PathBuf),
    /// Its TLS listener.
    Https {
        /// Name or address, as its certificate has it.
        host: String,
        /// Port.
        port: u16,
        /// What both sides show.
        keys: Keys,
    },
}

/// Files for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Who makes certificates (PEM).
    pub ca: PathBuf,
    /// One's own certificate (PEM).
    pub cert: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

/// Both ends of a connection.
pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Https { host, port, .. } => write!(f, "https://{host}:{port}"),
        }
    }
}

fn client(keys: &Keys) -> Result<Arc<ClientConfig>, TlsError> {
    let wrong = |e: rustls::Error| TlsError { path: keys.cert.clone(), what: e.to_string() };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_root_certificates(roots(&keys.ca)?)
        .with_client_auth_cert(certificates(&keys.cert)?, key(&keys.key)?)
        .map_err(wrong)?;
    Ok(Arc::new(config))
}

impl Place {
    /// Reads `unix:PATH`, a path with a slash in it, or `https://HOST:PORT`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str, keys: Option<Keys>) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let Some(rest) = text.strip_prefix("https://") else {
            return match text.contains('/') {
                true => Ok(Self::Unix(text.into())),
                false => Err(format!("{text:?} is no controller: write unix:PATH or https://HOST:PORT")),
            };
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let parts = rest.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let Some((host, port)) = parts.filter(|p| !p.0.is_empty()) else {
            return Err(format!("{text:?} has no port: write https://HOST:PORT"));
        };
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let keys = keys.ok_or("https needs --ca, --cert and --key (`valecast qc keygen` makes them)")?;
        Ok(Self::Https { host: host.to_owned(), port, keys })
    }

    /// Connects; nothing is waited for longer than `patience`.
    ///
    /// # Errors
    /// When nobody answers there, or the two do not trust one another.
    pub fn connect(&self, patience: Duration) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                Ok(Box::new(stream))
            }
            Self::Https { host, port, keys } => {
                let config = client(keys).map_err(io::Error::other)?;
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let tcp = TcpStream::connect((host.as_str(), *port))?;
                tcp.set_nodelay(true)?;
                tcp.set_read_timeout(Some(patience))?;
                tcp.set_write_timeout(Some(patience))?;
                let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
                Ok(Box::new(StreamOwned::new(session, tcp)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let read = |text| Place::parse(text, Some(Keys::default())).map(|p| p.to_string());
        assert_eq!(read("unix:a.sock").unwrap(), "unix:a.sock");
        assert_eq!(read("/run/x.sock").unwrap(), "unix:/run/x.sock");
        assert_eq!(read("https://te.example:7600/").unwrap(), "https://te.example:7600");
        assert!(
            matches!(Place::parse("https://[::1]:7", Some(Keys::default())), Ok(Place::Https { host, port: 7, .. }) if host == "::1")
        );
        for (text, want) in [
            ("te", "unix:PATH or https"),
            ("https://te", "no port"),
            ("https://:1", "no port"),
            ("https://te:99999", "no port"),
        ] {
            assert!(read(text).unwrap_err().contains(want), "{text}");
        }
        assert!(Place::parse("https://te:1", None).unwrap_err().contains("--cert"));
    }
}
