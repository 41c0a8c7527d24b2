//! How the commands reach a controller.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;
use valecast_config::{Controller, Keys, default_run_dir};
use valecast_qc_dataplane::ask::Asker;
use valecast_qc_dataplane::site::socket;
use valecast_switch::api::client::wait;

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
    controller: Controller,
    keys: Option<Keys>,
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
        let controller = match (&self.controller, &self.site) {
            (Some(text), _) => read(text)?,
            (None, Some(site)) => Controller::Unix(socket(&dir(), site)),
            (None, None) => Controller::Unix(dir().join(Controller::SOCKET)),
        };
        let keys = match (&self.ca, &self.cert, &self.key) {
            (Some(ca), Some(cert), Some(key)) => {
                Some(Keys { ca: ca.clone(), cert: cert.clone(), key: key.clone() })
            }
            _ if matches!(controller, Controller::Https { .. }) => {
                let said = "https needs --ca, --cert and --key (`valecast qc keygen` makes them)";
                return Err(Failure::Usage(said.to_owned()));
            }
            _ => None,
        };
        Ok(Client { controller, keys, site: self.site.clone() })
    }
}

/// Reads the place of a controller; a path need not say that it is one.
fn read(text: &str) -> Result<Controller, Failure> {
    let is_path = text.contains('/') && !text.contains("://");
    let plain = || is_path.then(|| Controller::Unix(text.into()));
    Controller::parse(text, Path::new("")).or_else(plain).ok_or_else(|| {
        Failure::Usage(format!("{text:?} is no controller: write unix:PATH or https://HOST:PORT"))
    })
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
        let mut asker = Asker::new(self.controller.clone(), self.keys.clone());
        // The first of the two to end says more.
        let answer = wait(PATIENCE * 2, asker.ask(method, path, body.as_deref(), PATIENCE))
            .map_err(|e| self.unreachable(&e))?;
        if answer.is_success() {
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
        Failure::Unreachable(format!("no controller answers at {e}{help}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_found() {
        let at = |text: &str| At {
            controller: Some(text.into()),
            run_dir: Some("/run/x".into()),
            ..At::default()
        };
        let found = |at: At| at.client().map(|c| c.controller.to_string()).map_err(|e| e.to_string());
        assert_eq!(found(at("unix:a.sock")).unwrap(), "unix:a.sock");
        assert_eq!(found(at("./a.sock")).unwrap(), "unix:./a.sock");
        let here = At { controller: None, ..at("") };
        assert_eq!(found(here.clone()).unwrap(), "unix:/run/x/qc-controller.sock");
        assert_eq!(found(At { site: Some("s".into()), ..here }).unwrap(), "unix:/run/x/s.qc.sock");
        let keys = |at: At| At { ca: Some("a".into()), cert: Some("c".into()), key: Some("k".into()), ..at };
        assert_eq!(found(keys(at("https://te.example"))).unwrap(), "https://te.example:7600");
        assert!(found(at("https://te.example")).unwrap_err().contains("--cert"));
        for text in ["te", "https://te:0", "https://a/b", ""] {
            assert!(found(keys(at(text))).unwrap_err().contains("unix:PATH or https"), "{text}");
        }
    }
}
