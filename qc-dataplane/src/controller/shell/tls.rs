//! TLS with certificates on both sides: who has none that the CA made is not heard.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::peer::Peer;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once.
const AT_ONCE: usize = 256;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct TlsError {
    /// The file that is wrong.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

fn wrong(path: &Path, what: &dyn Display) -> TlsError {
    TlsError { path: path.to_owned(), what: what.to_string() }
}

/// The certificates in a PEM file.
///
/// # Errors
/// When it cannot be read or has none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|e| wrong(path, &e))?;
    let all: Vec<_> = read.collect::<Result<_, _>>().map_err(|e| wrong(path, &e))?;
    if all.is_empty() {
        return Err(wrong(path, &"there is no certificate in this file (PEM, BEGIN CERTIFICATE)"));
    }
    Ok(all)
}

/// The certificates of those who may be trusted, from a PEM file.
///
/// # Errors
/// When it cannot be read or has none.
pub fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| wrong(path, &e))?;
    }
    Ok(roots)
}

/// The private key in a PEM file.
///
/// # Errors
/// When it cannot be read or has none.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| wrong(path, &format!("no private key: {e}")))
}

/// A server that shows `cert` and wants clients to show one that `ca` made.
///
/// # Errors
/// When a file is missing or does not go with the others.
pub fn server(ca: &Path, cert: &Path, key_file: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider.clone())
        .build()
        .map_err(|e| wrong(ca, &e))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(cert, &e))?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(cert)?, key(key_file)?)
        .map_err(|e| wrong(cert, &e))?;
    Ok(Arc::new(config))
}

/// Whoever is at the other end, by the certificate that it showed.
fn peer(stream: &TlsStream<TcpStream>) -> Option<Peer> {
    let shown = stream.get_ref().1.peer_certificates()?.first()?;
    let certificate = webpki::EndEntityCert::try_from(shown).ok()?;
    Some(Peer::of_names(certificate.valid_uri_names()))
}

/// Connections whose handshake is done.
#[derive(Debug)]
pub struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, Peer)>,
}

impl TlsListener {
    /// Starts to accept connections. Each handshake is a task of its own, so that who dawdles keeps nobody waiting.
    #[must_use]
    pub fn start(listener: TcpListener, config: Arc<ServerConfig>) -> Self {
        let (send, ready) = mpsc::channel(AT_ONCE);
        tokio::spawn(accept(listener, TlsAcceptor::from(config), send));
        Self { ready }
    }
}

async fn accept(
    mut listener: TcpListener,
    acceptor: TlsAcceptor,
    send: mpsc::Sender<(TlsStream<TcpStream>, Peer)>,
) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let accepted = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = send.closed() => return,
        };
        let (stream, address) = accepted;
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (acceptor, send) = (acceptor.clone(), send.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let _ = stream.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    if let Some(peer) = peer(&stream) {
                        let _ = send.send((stream, peer)).await;
                    }
                }
                Ok(Err(e)) => tracing::debug!(%address, "no TLS: {e}"),
                Err(_) => tracing::debug!(%address, "a TLS handshake takes too long"),
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The accepting task never ends before this does.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Err(io::Error::other("connections come from a task"))
    }
}
