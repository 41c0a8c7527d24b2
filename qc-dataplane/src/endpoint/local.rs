//! A site's local socket: `<run_dir>/<site>.qc.sock`, HTTP with JSON.
//!
//! What is about transfers goes on to the controller, so a refusal may be the site's or the controller's; both say why.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use valecast_switch::api::client as http;

use super::EndpointError;
use crate::control::{Created, Incoming, NewTransfer, Place, Progress, SiteInfo, TransferStatus};

/// How names of sites' sockets end.
const SUFFIX: &str = ".qc.sock";

/// Names of the sites in a directory whose sockets somebody serves.
#[must_use]
pub fn sites_in(run_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(run_dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|e| {
            let name = e.file_name().to_string_lossy().strip_suffix(SUFFIX)?.to_owned();
            match UnixStream::connect(e.path()) {
                Ok(_) => Some(name),
                // Somebody else's, but it is there.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Some(name),
                Err(_) => None,
            }
        })
        .collect();
    names.sort();
    names
}

/// A site, asked over its local socket.
#[derive(Clone, Debug)]
pub struct LocalSite {
    socket: PathBuf,
}

impl LocalSite {
    /// The site at a socket.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How the site is.
    ///
    /// # Errors
    ///
    /// Nobody answers, or the answer is no; also of all below.
    pub fn info(&self) -> Result<SiteInfo, EndpointError> {
        self.get("/v1/site")
    }

    /// Says that somebody receives here, and asks by which port.
    ///
    /// # Errors
    ///
    /// See [`Self::info`].
    pub fn receive(&self) -> Result<Place, EndpointError> {
        self.post("/v1/receive", &serde_json::json!({}))
    }

    /// The trees that end here, once there are others than in `version`, or after `wait_ms`.
    ///
    /// # Errors
    ///
    /// See [`Self::info`].
    pub fn incoming(&self, version: u64, wait_ms: u64) -> Result<Incoming, EndpointError> {
        self.get(&format!("/v1/incoming?version={version}&wait_ms={wait_ms}"))
    }

    /// Asks for a transfer.
    ///
    /// # Errors
    ///
    /// See [`Self::info`].
    pub fn create(&self, new: &NewTransfer) -> Result<Created, EndpointError> {
        self.post("/v1/transfers", new)
    }

    /// All transfers that the controller knows.
    ///
    /// # Errors
    ///
    /// See [`Self::info`].
    pub fn transfers(&self) -> Result<Vec<TransferStatus>, EndpointError> {
        self.get("/v1/transfers")
    }

    /// How a transfer stands, once it is otherwise than in `version`, or after `wait_ms`.
    ///
    /// # Errors
    ///
    /// See [`Self::info`].
    pub fn status(&self, id: u64, version: u64, wait_ms: u64) -> Result<TransferStatus, EndpointError> {
        self.get(&format!("/v1/transfers/{id}?version={version}&wait_ms={wait_ms}"))
    }

    /// Says how far the sender of a transfer is.
    ///
    /// # Errors
    ///
    /// See [`Self::info`].
    pub fn progress(&self, id: u64, progress: &Progress) -> Result<TransferStatus, EndpointError> {
        self.post(&format!("/v1/transfers/{id}/progress"), progress)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EndpointError> {
        self.ask("GET", path, None)
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, EndpointError> {
        let body = serde_json::to_string(body).map_err(EndpointError::Answer)?;
        self.ask("POST", path, Some(&body))
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Result<T, EndpointError> {
        let answer = http::ask(&self.socket, method, path, body)
            .map_err(|source| EndpointError::Unreachable { socket: self.socket.clone(), source })?;
        if answer.is_success() {
            return serde_json::from_str(&answer.body).map_err(EndpointError::Answer);
        }
        let json: Option<serde_json::Value> = serde_json::from_str(&answer.body).ok();
        let said = json.as_ref().and_then(|j| j["error"].as_str()).unwrap_or(answer.body.trim());
        let said =
            if said.is_empty() { format!("refused with status {}", answer.status) } else { said.into() };
        Err(EndpointError::Refused { status: answer.status, said })
    }
}
