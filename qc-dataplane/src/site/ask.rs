//! HTTP/1.1 to the controller: over its Unix socket, or over TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use valecast_config::{Controller, Keys};

/// Longest answer that is believed.
const MOST: usize = 64 << 20;
/// How long it may take to connect.
const PATIENCE: Duration = Duration::from_secs(5);

/// A byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects to a controller. Over TLS, both sides show certificates.
///
/// # Errors
/// When it is not there, or one side does not trust the other.
pub async fn connect(controller: &Controller, keys: Option<&Keys>) -> io::Result<Box<dyn Stream>> {
    let stream: io::Result<Box<dyn Stream>> = async {
        match controller {
            Controller::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?) as Box<dyn Stream>),
            Controller::Https { host, port } => {
                let tls = tls(keys)?;
                let name = ServerName::try_from(host.clone()).map_err(other)?;
                let tcp = TcpStream::connect((host.as_str(), *port)).await?;
                tcp.set_nodelay(true)?;
                Ok(Box::new(tls.connect(name, tcp).await?) as Box<dyn Stream>)
            }
        }
    }
    .await;
    stream.map_err(|e| io::Error::new(e.kind(), format!("{controller}: {e}")))
}

fn other(e: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(e)
}

fn tls(keys: Option<&Keys>) -> io::Result<tokio_rustls::TlsConnector> {
    let keys = keys.ok_or_else(|| io::Error::other("no certificates are configured"))?;
    let at = |path: &std::path::Path| {
        let path = path.display().to_string();
        move |e: rustls::pki_types::pem::Error| io::Error::other(format!("{path}: {e}"))
    };
    let read = |path: &std::path::Path| {
        let certs: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(at(path))?.collect();
        certs.map_err(at(path))
    };
    let mut roots = rustls::RootCertStore::empty();
    for cert in read(&keys.ca)? {
        roots.add(cert).map_err(other)?;
    }
    let key = PrivateKeyDer::from_pem_file(&keys.key).map_err(at(&keys.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(other)?
        .with_root_certificates(roots)
        .with_client_auth_cert(read(&keys.cert)?, key)
        .map_err(other)?;
    Ok(Arc::new(config).into())
}

/// Asks a controller, over one connection as long as it lasts.
pub struct Asker {
    controller: Controller,
    keys: Option<Keys>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Asker {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(controller: Controller, keys: Option<Keys>) -> Self {
        Self { controller, keys, connection: None }
    }

    /// Gives up what is under way.
    pub fn hang_up(&mut self) {
        self.connection = None;
    }

    /// The answer to a request, within `within`. If it is dropped before that, the next request has a connection of its own.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        within: Duration,
    ) -> io::Result<(StatusCode, Bytes)> {
        let mut connection = match self.connection.take().filter(|c| !c.is_closed()) {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let late = |_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("{}: no answer in {within:?}", self.controller))
        };
        let broken = |e: &dyn std::fmt::Display| io::Error::other(format!("{}: {e}", self.controller));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "valecast")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(|e| broken(&e))?;
        let answer = async {
            connection.ready().await.map_err(|e| broken(&e))?;
            let answer = connection.send_request(request).await.map_err(|e| broken(&e))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MOST).collect().await;
            Ok((status, body.map_err(|e| broken(&e))?.to_bytes()))
        };
        let answer = tokio::time::timeout(within, answer).await.map_err(late)?;
        if answer.is_ok() {
            self.connection = Some(connection);
        }
        answer
    }

    async fn open(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let opened = async {
            let stream = connect(&self.controller, self.keys.as_ref()).await?;
            handshake(TokioIo::new(stream)).await.map_err(other)
        };
        let late = |_| {
            let what = format!("{}: no connection in {PATIENCE:?}", self.controller);
            io::Error::new(io::ErrorKind::TimedOut, what)
        };
        let (sender, connection) = tokio::time::timeout(PATIENCE, opened).await.map_err(late)??;
        // Ends when the sender is dropped, or the other side hangs up.
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!("the connection to the controller: {e}");
            }
        });
        Ok(sender)
    }
}
