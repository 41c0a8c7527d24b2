//! Who asks, and what that allows.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::serve::IncomingStream;

use super::error::ApiError;
use super::tls::TlsListener;

/// What a name in a certificate starts with.
pub const SCHEME: &str = "valecast:";

/// Whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over the Unix socket, whose mode says who may.
    Local,
    /// Over TLS, with a certificate for these sites.
    Sites(Vec<String>),
    /// Over TLS, with an operator's certificate.
    Operator,
    /// Over the listener for reading.
    Reader,
}

fn forbidden(message: String) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, message)
}

impl Peer {
    /// Whoever has a certificate with these names (URIs): `valecast:site:NAME`, `valecast:operator`.
    #[must_use]
    pub fn of_names<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut sites = Vec::new();
        for name in names.filter_map(|n| n.strip_prefix(SCHEME)) {
            match name.strip_prefix("site:") {
                Some(site) => sites.push(site.to_owned()),
                None if name == "operator" => return Self::Operator,
                None => {}
            }
        }
        Self::Sites(sites)
    }

    /// May it speak for this site?
    pub(super) fn speaks_for(&self, site: &str) -> Result<(), ApiError> {
        match self {
            Self::Local | Self::Operator => Ok(()),
            Self::Sites(own) if own.iter().any(|o| o == site) => Ok(()),
            Self::Sites(own) => {
                Err(forbidden(format!("this certificate is for {}, not for site {site}", own.join(", "))))
            }
            Self::Reader => Err(forbidden("this listener only reads".into())),
        }
    }

    /// The site that it can only be, if there is just one.
    pub(super) fn only_site(&self) -> Option<&str> {
        match self {
            Self::Sites(own) if own.len() == 1 => own.first().map(String::as_str),
            _ => None,
        }
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        stream.remote_addr().clone()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().cloned();
        let known = known.or_else(|| parts.extensions.get::<ConnectInfo<Self>>().map(|c| c.0.clone()));
        // Who is not known may only read.
        Ok(known.unwrap_or(Self::Reader))
    }
}
