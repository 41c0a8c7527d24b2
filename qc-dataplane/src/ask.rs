//! Asking a controller: HTTP over its Unix socket, or over TLS.
//!
//! Whoever asks a site does so over its Unix socket, with [`valecast_switch::api::client`], which this is made of.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use valecast_config::{Controller, Keys};
use valecast_switch::api::client::{Answer, Connection, unix};

use crate::controller::shell::tls::{TlsError, certificates, key, roots};

/// How long it may take to connect.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks a controller, over one connection as long as it lasts.
#[derive(Debug)]
pub struct Asker {
    controller: Controller,
    keys: Option<Keys>,
    connection: Option<Connection>,
}

impl Asker {
    /// Nothing is connected yet. With a controller that is reached over TLS, both sides show certificates.
    #[must_use]
    pub fn new(controller: Controller, keys: Option<Keys>) -> Self {
        Self { controller, keys, connection: None }
    }

    /// Gives up what is under way.
    pub fn hang_up(&mut self) {
        self.connection = None;
    }

    /// The answer to a request, within `within` once there is a connection. If it is dropped before that, the next request
    /// has a connection of its own.
    ///
    /// # Errors
    /// When the controller is not there, one side does not trust the other, or there is no answer; of the kind that the
    /// system gave.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&str>,
        within: Duration,
    ) -> io::Result<Answer> {
        let controller = self.controller.to_string();
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{controller}: {e}"));
        let late = |what: &str, after: Duration| {
            io::Error::new(io::ErrorKind::TimedOut, format!("{controller}: no {what} in {after:?}"))
        };
        let mut connection = match self.connection.take().filter(Connection::is_open) {
            Some(connection) => connection,
            None => tokio::time::timeout(PATIENCE, self.open())
                .await
                .map_err(|_| late("connection", PATIENCE))?
                .map_err(named)?,
        };
        let answer = tokio::time::timeout(within, connection.ask(method, path, body))
            .await
            .map_err(|_| late("answer", within))?
            .map_err(named)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn open(&self) -> io::Result<Connection> {
        match &self.controller {
            Controller::Unix(path) => Connection::over(unix(path).await?).await,
            Controller::Https { host, port } => {
                let keys = self.keys.as_ref().ok_or_else(|| io::Error::other("no certificates are given"))?;
                let config = tls(keys).map_err(io::Error::other)?;
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let tcp = TcpStream::connect((host.as_str(), *port)).await?;
                tcp.set_nodelay(true)?;
                let connector = tokio_rustls::TlsConnector::from(config);
                Connection::over(connector.connect(name, tcp).await?).await
            }
        }
    }
}

fn tls(keys: &Keys) -> Result<Arc<ClientConfig>, TlsError> {
    let wrong = |e: rustls::Error| TlsError { path: keys.cert.clone(), what: e.to_string() };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_root_certificates(roots(&keys.ca)?)
        .with_client_auth_cert(certificates(&keys.cert)?, key(&keys.key)?)
        .map_err(wrong)?;
    Ok(Arc::new(config))
}
