//! Keys and certificates for a controller and its sites: one authority that signs all of them.
//!
//! A site's certificate says `valecast:site:NAME`, an operator's `valecast:operator` (URIs among its names); both are good
//! for clients only. The controller's has its host's names and is good for a server only, so no site can pose as it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::core::transfer::is_name;
use super::shell::peer::SCHEME;

/// The authority's files.
pub const CA: (&str, &str) = ("ca.pem", "ca.key");
/// How an operator's files begin; no site may have this name.
pub const OPERATOR: &str = "operator";
/// How the controller's files begin; no site may have this name.
pub const CONTROLLER: &str = "controller";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or written.
    #[error("{}: {what}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was to be done.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A name makes no sense.
    #[error("{0}")]
    Name(String),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), KeyError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut f| f.write_all(text.as_bytes()));
    written.map_err(|source| KeyError::File { path: path.to_owned(), what: "cannot write", source })
}

fn params(name: &str) -> Result<CertificateParams, KeyError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

/// The authority in a directory; made if it is not there.
fn authority(dir: &Path, made: &mut Vec<PathBuf>) -> Result<Issuer<'static, KeyPair>, KeyError> {
    let (cert, key) = (dir.join(CA.0), dir.join(CA.1));
    let read = |path: &Path| {
        let fail = |source| KeyError::File { path: path.to_owned(), what: "cannot read", source };
        std::fs::read_to_string(path).map_err(fail)
    };
    let mut params = params("Valecast QuickCast CA")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    if cert.exists() || key.exists() {
        // All that certificates take from it are its name, which is always the same, and its key.
        read(&cert)?;
        return Ok(Issuer::new(params, KeyPair::from_pem(&read(&key)?)?));
    }
    let pair = KeyPair::generate()?;
    let own = params.self_signed(&pair)?;
    write(&key, &pair.serialize_pem(), 0o600)?;
    write(&cert, &own.pem(), 0o644)?;
    made.extend([cert, key]);
    Ok(Issuer::new(params, pair))
}

/// Makes what is missing in a directory: the authority, the controller's certificate for these host names or addresses,
/// an operator's, and one for each site. What is there stays, so sites can be added later. Returns the files made.
///
/// # Errors
/// When a name makes no sense or a file cannot be written.
pub fn generate(dir: &Path, hosts: &[String], sites: &[String]) -> Result<Vec<PathBuf>, KeyError> {
    for site in sites {
        if !is_name(site) {
            return Err(KeyError::Name(format!(
                "{site:?} is no name of a site: 1 to 63 of A-Z a-z 0-9 _ . -"
            )));
        }
        if [OPERATOR, CONTROLLER, "ca"].contains(&site.as_str()) {
            return Err(KeyError::Name(format!(
                "a site cannot be named {site:?}: files of that name are for another"
            )));
        }
    }
    let fail = |source| KeyError::File { path: dir.to_owned(), what: "cannot make the directory", source };
    std::fs::create_dir_all(dir).map_err(fail)?;
    let mut made = Vec::new();
    let issuer = authority(dir, &mut made)?;
    let mut issue = |stem: &str, names: Vec<SanType>, usage| -> Result<(), KeyError> {
        let (cert, key) = (dir.join(format!("{stem}.pem")), dir.join(format!("{stem}.key")));
        if cert.exists() {
            return Ok(());
        }
        let mut params = params(stem)?;
        params.subject_alt_names = names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let pair = KeyPair::generate()?;
        let signed = params.signed_by(&pair, &issuer)?;
        write(&key, &pair.serialize_pem(), 0o600)?;
        write(&cert, &signed.pem(), 0o644)?;
        made.extend([cert, key]);
        Ok(())
    };
    let host = |name: &String| match name.parse() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ia5String::try_from(name.clone()).map(SanType::DnsName),
    };
    let hosts = hosts.iter().map(host).collect::<Result<Vec<_>, _>>()?;
    issue(CONTROLLER, hosts, ExtendedKeyUsagePurpose::ServerAuth)?;
    let uri = |name: String| Ia5String::try_from(format!("{SCHEME}{name}")).map(SanType::URI);
    issue(OPERATOR, vec![uri(OPERATOR.to_owned())?], ExtendedKeyUsagePurpose::ClientAuth)?;
    for site in sites {
        issue(site, vec![uri(format!("site:{site}"))?], ExtendedKeyUsagePurpose::ClientAuth)?;
    }
    Ok(made)
}
