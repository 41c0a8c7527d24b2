//! The file of QuickCast's controller (`te.toml`).

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::diagnostics::{ConfigErrors, Diagnostic};
use crate::keys::TE;
use crate::read::config::{listen, mode};
use crate::read::parse;
use crate::reader::Reader;
use crate::run_dir::default_run_dir;
use crate::units::format_duration;
use crate::value::{At, duration, int, positive, string};

const HOUR: Duration = Duration::from_secs(3600);

/// What a controller is started with. Paths are as in the file; [`Te::load`] makes them absolute.
#[derive(Clone, Debug, PartialEq)]
pub struct Te {
    /// Directory of the journal.
    pub state_dir: PathBuf,
    /// The Unix socket.
    pub socket: PathBuf,
    /// Its permission bits.
    pub socket_mode: u32,
    /// TLS for sites on other hosts.
    pub tls: Option<TeTls>,
    /// Plain HTTP for reading.
    pub dashboard: Option<SocketAddr>,
    /// A topology's name or file.
    pub topology: Option<String>,
    /// How transfers are planned.
    pub scheme: String,
    /// Who gets how much of a link.
    pub rates: Option<String>,
    /// How often rates are computed.
    pub timeslot: Duration,
    /// The share of a link's capacity that trees may use.
    pub headroom: f64,
    /// How long a silent site keeps its trees.
    pub lease: Duration,
    /// How long a sender may be silent.
    pub sender_timeout: Duration,
    /// How long a transfer is kept that nobody sends.
    pub forget_after: Duration,
    /// How long sites may take to install a tree.
    pub install_timeout: Duration,
    /// Most transfers that have trees at once.
    pub max_transfers: usize,
}

/// TLS of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeTls {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who makes certificates.
    pub ca: PathBuf,
    /// The controller's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Names that this crate does not know: what is wrong with a text, if something is.
#[derive(Clone, Copy, Debug)]
pub struct NamesInTe {
    /// Of schemes.
    pub scheme: fn(&str) -> Result<(), String>,
    /// Of rate policies.
    pub rates: fn(&str) -> Result<(), String>,
}

fn checked<'a>(check: fn(&str) -> Result<(), String>) -> impl Fn(At<'a>) -> Option<String> {
    move |at| {
        let text = string(at)?;
        match check(&text) {
            Ok(()) => Some(text),
            Err(why) => at.refuse(format!("`{}` is {text:?}", at.key), why),
        }
    }
}

/// A duration with a least value, too.
fn time<'a>(least: Duration, most: Duration) -> impl Fn(At<'a>) -> Option<Duration> {
    move |at| {
        let time = duration(most)(at)?;
        if time >= least {
            return Some(time);
        }
        let (shown, least) = (format_duration(time), format_duration(least));
        at.refuse(
            format!("`{}` is out of range: {shown}", at.key),
            format!("it must be at least \"{least}\""),
        )
    }
}

/// Where the journal is when nothing is configured; unlike sockets, it has to outlive the machine's start.
fn default_state_dir(root: bool, xdg: Option<OsString>, home: Option<OsString>, run_dir: &Path) -> PathBuf {
    let absolute = |dir: Option<OsString>| dir.map(PathBuf::from).filter(|d| d.is_absolute());
    if root {
        return PathBuf::from("/var/lib/valecast/qc");
    }
    let state = absolute(xdg).or_else(|| absolute(home).map(|h| h.join(".local/state")));
    state.map_or_else(|| run_dir.join("qc"), |s| s.join("valecast/qc"))
}

fn te(r: &Reader<'_>, names: NamesInTe) -> Te {
    let ms = Duration::from_millis;
    let run_dir = default_run_dir();
    let root = run_dir == Path::new("/run/valecast");
    let state =
        || default_state_dir(root, std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"), &run_dir);
    let path = |key| r.get(key, string).map(PathBuf::from);
    let address = r.get("listen", listen);
    let files = (path("ca"), path("cert"), path("key"));
    let tls = match (address, files) {
        (Some(listen), (Some(ca), Some(cert), Some(key))) => Some(TeTls { listen, ca, cert, key }),
        (Some(_), (ca, cert, key)) => {
            let missing = [("ca", ca), ("cert", cert), ("key", key)];
            let missing: Vec<_> =
                missing.iter().filter(|m| m.1.is_none()).map(|m| format!("`{}`", m.0)).collect();
            if let Some(at) = r.at("listen") {
                at.report(
                    format!("`listen` needs {}", missing.join(" and ")),
                    "make them with `valecast qc keygen`",
                );
            }
            None
        }
        (None, _) => {
            for at in ["ca", "cert", "key"].into_iter().filter_map(|key| r.at(key)) {
                if r.at("listen").is_none() {
                    at.report(format!("`{}` without `listen`", at.key), "add `listen`, or remove it");
                }
            }
            None
        }
    };
    let te = Te {
        state_dir: path("state_dir").unwrap_or_else(state),
        socket: path("socket").unwrap_or_else(|| run_dir.join("qc-controller.sock")),
        socket_mode: r.or("socket_mode", 0o600, mode),
        tls,
        dashboard: r.get("dashboard", listen),
        topology: r.get("topology", string),
        scheme: r.or("scheme", "best".into(), checked(names.scheme)),
        rates: r.get("rates", checked(names.rates)),
        timeslot: r.or("timeslot", ms(1_000), time(ms(20), HOUR)),
        headroom: r.or("headroom", 0.98, positive(1.0)),
        lease: r.or("lease", ms(30_000), time(ms(0), HOUR)),
        sender_timeout: r.or("sender_timeout", ms(10_000), time(ms(1_000), HOUR)),
        forget_after: r.or("forget_after", HOUR * 24, time(ms(1_000), HOUR * 24 * 365)),
        install_timeout: r.or("install_timeout", ms(5_000), time(ms(100), HOUR / 6)),
        max_transfers: r.or("max_transfers", 1_000, int(1..=100_000)),
    };
    if let (Some(tls), Some(at)) = (&te.tls, r.at("dashboard"))
        && te.dashboard == Some(tls.listen)
        && tls.listen.port() != 0
    {
        at.report("`dashboard` is the address of `listen`", "give it a port of its own");
    }
    r.finish();
    te
}

impl Te {
    /// Checks a configuration held in memory; `name` is what mistakes call it.
    ///
    /// # Errors
    /// Every mistake in the text.
    pub fn parse(name: &str, text: &str, names: NamesInTe) -> Result<Self, ConfigErrors> {
        parse(name, text, &TE, |reader| te(reader, names))
    }

    /// Reads and checks a file; its relative paths are from its directory on.
    ///
    /// # Errors
    /// Every mistake in the file, or the one reason why it cannot be read.
    pub fn load(path: &Path, names: NamesInTe) -> Result<Self, ConfigErrors> {
        let name = path.display().to_string();
        let unreadable = |message: String, help: &str| ConfigErrors {
            diagnostics: vec![Diagnostic::without_place(&name, message, help.to_owned())],
        };
        let bytes = std::fs::read(path).map_err(|e| unreadable(format!("cannot read the file: {e}"), ""))?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let offset = e.utf8_error().valid_up_to();
            unreadable(format!("byte {offset} is not UTF-8"), "save the file as UTF-8")
        })?;
        let mut te = Self::parse(&name, &text, names)?;
        let base = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let base = base.parent().unwrap_or_else(|| Path::new("/"));
        let from_base = |path: &mut PathBuf| *path = base.join(&*path);
        from_base(&mut te.state_dir);
        from_base(&mut te.socket);
        if let Some(tls) = &mut te.tls {
            [&mut tls.ca, &mut tls.cert, &mut tls.key].into_iter().for_each(from_base);
        }
        if let Some(topology) = &mut te.topology {
            let file = base.join(&*topology);
            // A name that is no file may be that of a network that is built in.
            if file.exists() {
                *topology = file.display().to_string();
            }
        }
        Ok(te)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Result<(), String> {
        if text == "best" || text == "fair" { Ok(()) } else { Err("use best or fair".into()) }
    }

    const NAMES: NamesInTe = NamesInTe { scheme: word, rates: word };

    fn wrong(text: &str) -> Vec<String> {
        let errors = Te::parse("te.toml", text, NAMES).unwrap_err();
        errors
            .diagnostics
            .iter()
            .map(|d| format!("{}:{}: {}; {}", d.line, d.column, d.message, d.help))
            .collect()
    }

    #[test]
    fn every_key_has_a_default() {
        let te = Te::parse("te.toml", "", NAMES).unwrap();
        assert_eq!((te.scheme.as_str(), te.headroom, te.tls, te.max_transfers), ("best", 0.98, None, 1000));
        assert_eq!((te.timeslot, te.lease), (Duration::from_secs(1), Duration::from_secs(30)));
        assert_eq!(te.forget_after, HOUR * 24);
        assert!(te.socket.ends_with("qc-controller.sock"));
    }

    #[test]
    fn all_mistakes_at_once() {
        let got = wrong(
            "scheme = \"worst\"\nheadroom = 1.5\ntimeslot = \"1ms\"\nlisten = \"here\"\nlease = 5\nca = \"a\"\n\
             sokcet = \"x\"\nsender_timeout = \"2h\"\nforget_after = \"1ms\"\n",
        );
        let want = [
            "1:10: `scheme` is \"worst\"; use best or fair",
            "2:12: `headroom` is out of range: 1.5; expected a number above 0, at most 1",
            "3:12: `timeslot` is out of range: 1ms; it must be at least \"20ms\"",
            "4:10: \"here\" is no address to listen on; expected an IP address and a port, like \"127.0.0.1:9464\" or \"[::1]:9464\"",
            "5:9: `lease` has no unit; write \"5us\" or \"5s\"",
            "7:1: unknown key `sokcet`; did you mean `socket`?",
            "8:18: `sender_timeout` is out of range: 7200s; expected a duration up to \"3600s\", with its unit",
            "9:16: `forget_after` is out of range: 1ms; it must be at least \"1s\"",
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn tls_is_whole_or_not_there() {
        let got = wrong("listen = \"[::]:7600\"\nca = \"ca.pem\"\n");
        assert_eq!(got, ["1:10: `listen` needs `cert` and `key`; make them with `valecast qc keygen`"]);
        let got = wrong("key = \"k\"\n");
        assert_eq!(got, ["1:7: `key` without `listen`; add `listen`, or remove it"]);
        let whole = "listen = \"[::]:7600\"\nca = \"ca.pem\"\ncert = \"c.pem\"\nkey = \"k.pem\"\n";
        let got = wrong(&format!("{whole}dashboard = \"[::]:7600\"\n"));
        assert_eq!(got, ["5:13: `dashboard` is the address of `listen`; give it a port of its own"]);
        assert_eq!(Te::parse("te.toml", whole, NAMES).unwrap().tls.unwrap().ca, Path::new("ca.pem"));
    }

    #[test]
    fn paths_are_from_the_file_on() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("te.toml");
        std::fs::write(dir.path().join("net.csv"), "a,b,1\n").unwrap();
        std::fs::write(&file, "state_dir = \"s\"\nsocket = \"/x/y.sock\"\ntopology = \"net.csv\"\n").unwrap();
        let te = Te::load(&file, NAMES).unwrap();
        assert_eq!((te.state_dir, te.socket), (dir.path().join("s"), PathBuf::from("/x/y.sock")));
        assert_eq!(te.topology.unwrap(), dir.path().join("net.csv").display().to_string());
        std::fs::write(&file, [0xff]).unwrap();
        assert!(Te::load(&file, NAMES).unwrap_err().to_string().contains("UTF-8"));
        assert!(Te::load(&dir.path().join("no"), NAMES).unwrap_err().to_string().contains("cannot read"));
    }

    #[test]
    fn state_is_where_the_user_keeps_it() {
        let at = |root, xdg: Option<&str>, home: Option<&str>| {
            default_state_dir(root, xdg.map(Into::into), home.map(Into::into), Path::new("/r"))
        };
        assert_eq!(at(true, Some("/x"), None), Path::new("/var/lib/valecast/qc"));
        assert_eq!(at(false, Some("/x"), Some("/h")), Path::new("/x/valecast/qc"));
        assert_eq!(at(false, Some("x"), Some("/h")), Path::new("/h/.local/state/valecast/qc"));
        assert_eq!(at(false, None, None), Path::new("/r/qc"));
    }
}
