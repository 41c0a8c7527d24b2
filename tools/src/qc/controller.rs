//! How the commands reach a controller.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;
use valecast_config::default_run_dir;
use valecast_qc_dataplane::controller::connect::{Keys, Place};
use valecast_switch::api::client as http;

use crate::ctl::client::Failure;

/// How long a controller may think.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to find the controller.
#[derive(Clone, Debug, Default, Args)]
pub struct At {
    /// The controller: unix:PATH or https://HOST:PORT [default: its usual socket].
    #[arg(long, value_name = "ADDR", conflicts_with = "site")]
    pub controller: Option<String>,
    /// Ask by way of this site's own socket; that knows transfers, not sites and links.
    #[arg(long, value_name = "NAME")]
    pub site: Option<String>,
    /// Where the sockets are, when daemon or controller do not use the default directory.
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// For https: the certificate of who makes certificates.
    #[arg(long, value_name = "PEM", requires_all = ["cert", "key"])]
    pub ca: Option<PathBuf>,
    /// For https: an operator's or a site's certificate.
    #[arg(long, value_name = "PEM", requires_all = ["ca", "key"])]
    pub cert: Option<PathBuf>,
    /// For https: the key of --cert.
    #[arg(long, value_name = "PEM", requires_all = ["ca", "cert"])]
    pub key: Option<PathBuf>,
}

/// A controller, or a site that passes on what it is told.
#[derive(Clone, Debug)]
pub struct Client {
    place: Place,
    /// The site that passes it on.
    pub site: Option<String>,
}

impl At {
    /// The one that is meant.
    ///
    /// # Errors
    /// When the address makes no sense.
    pub fn client(&self) -> Result<Client, Failure> {
        let dir = || self.run_dir.clone().unwrap_or_else(default_run_dir);
        let place = match (&self.controller, &self.site) {
            (Some(text), _) => {
                let keys = match (&self.ca, &self.cert, &self.key) {
                    (Some(ca), Some(cert), Some(key)) => {
                        Some(Keys { ca: ca.clone(), cert: cert.clone(), key: key.clone() })
                    }
                    _ => None,
                };
                Place::parse(text, keys).map_err(Failure::Usage)?
            }
            (None, Some(site)) => Place::Unix(dir().join(format!("{site}.qc.sock"))),
            (None, None) => Place::Unix(dir().join("qc-controller.sock")),
        };
        Ok(Client { place, site: self.site.clone() })
    }
}

impl Client {
    /// Asks.
    ///
    /// # Errors
    /// When nobody answers, or the answer is no.
    pub fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, Failure> {
        let body = body.map(Value::to_string);
        let answer = self
            .place
            .connect(PATIENCE)
            .and_then(|stream| http::exchange(stream, method, path, body.as_deref()))
            .map_err(|e| self.unreachable(&e))?;
        if (200..300).contains(&answer.status) {
            let wrong = |e| Failure::Refused(format!("the controller's answer makes no sense: {e}"));
            return serde_json::from_str(&answer.body).map_err(wrong);
        }
        let value: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        let said = value["error"].as_str().unwrap_or(&answer.body);
        Err(Failure::Refused(said.to_owned()))
    }

    fn unreachable(&self, e: &io::Error) -> Failure {
        let help = match (&self.site, e.kind()) {
            (Some(site), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                format!(": no daemon with site {site} runs there (see --run-dir)")
            }
            (None, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                ": start one with `valecast qc serve te.toml` (--controller says where else to look)"
                    .to_owned()
            }
            _ => String::new(),
        };
        Failure::Unreachable(format!("no controller answers at {}: {e}{help}", self.place))
    }
}
