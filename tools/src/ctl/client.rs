//! Which switch is meant, where its socket is, and what it says.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;
use valecast_switch::daemon::Daemon;

use super::http;

/// How to find the daemon.
#[derive(Clone, Debug, Default, Args)]
pub struct At {
    /// The switch; not needed when there is one only, or the command names it (`vale0:a`).
    #[arg(long, global = true, value_name = "NAME")]
    pub switch: Option<String>,
    /// The switch's control socket.
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The directory of the sockets, when the daemon does not use the default one.
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "socket")]
    pub run_dir: Option<PathBuf>,
}

/// Why a command did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The daemon said no.
    #[error("{0}")]
    Refused(String),
    /// The command makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No daemon answers.
    #[error("{0}")]
    Unreachable(String),
}

impl Failure {
    /// The exit status.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        })
    }
}

/// One switch of a running daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    switch: String,
}

impl At {
    /// The switch that is meant; `named` is the one in the command's own arguments.
    ///
    /// # Errors
    /// When it is not clear which, or no daemon runs it.
    pub fn client(&self, named: Option<&str>) -> Result<Client, Failure> {
        let name = match (named, &self.switch) {
            (Some(a), Some(b)) if a != b => {
                return Err(Failure::Usage(format!("two switches are named: {a} and {b}")));
            }
            (a, b) => a.or(b.as_deref()),
        };
        if let Some(socket) = &self.socket {
            let switch = name.map_or_else(|| owner(socket), |n| Ok(n.to_owned()))?;
            return Ok(Client { socket: socket.clone(), switch });
        }
        let dir = self.run_dir.clone().unwrap_or_else(valecast_config::default_run_dir);
        let switch = match name {
            Some(name) => name.to_owned(),
            None => the_only(&dir)?,
        };
        let socket = Daemon::control_socket(&dir, &switch);
        Ok(Client { socket, switch })
    }
}

/// The switch whose socket this is.
fn owner(socket: &Path) -> Result<String, Failure> {
    let answer = get(socket, "/v1/switches")?;
    let default = answer["default"].as_str().map(str::to_owned);
    default.ok_or_else(|| Failure::Usage("which switch? Add --switch NAME".to_owned()))
}

/// The switches in a directory whose sockets somebody serves.
fn served(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sockets = entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "sock"));
    let reachable = |path: &PathBuf| match UnixStream::connect(path) {
        Ok(_) => true,
        // Somebody else's, but it is there.
        Err(e) => e.kind() == io::ErrorKind::PermissionDenied,
    };
    let name = |path: PathBuf| path.file_stem().map(|n| n.to_string_lossy().into_owned());
    let mut names: Vec<_> = sockets.filter(reachable).filter_map(name).collect();
    names.sort();
    names
}

fn the_only(dir: &Path) -> Result<String, Failure> {
    let mut names = served(dir);
    match (names.pop(), names.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => Err(Failure::Usage(format!(
            "which switch? There are {} and {last}: add --switch NAME",
            names.join(", ")
        ))),
        (None, _) => Err(Failure::Unreachable(format!("no switch runs in {}: {START}", dir.display()))),
    }
}

const START: &str = "start one with `valecast run FILE.toml` (--run-dir or --socket say where else to look)";

fn unreachable(socket: &Path, e: &io::Error) -> Failure {
    let at = socket.display();
    match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            let others = socket.parent().map(served).unwrap_or_default();
            let others = match others.is_empty() {
                true => String::new(),
                false => format!("; there are {}", others.join(", ")),
            };
            Failure::Unreachable(format!("no daemon answers at {at}{others}: {START}"))
        }
        io::ErrorKind::PermissionDenied => Failure::Unreachable(format!(
            "{at}: {e}: the daemon's user may, or whom `socket_mode`, `socket_owner` and `socket_group` let"
        )),
        _ => Failure::Unreachable(format!("{at}: {e}")),
    }
}

fn get(socket: &Path, path: &str) -> Result<Value, Failure> {
    send(socket, "GET", path, None)
}

fn send(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let body = body.map(Value::to_string);
    let answer = http::ask(socket, method, path, body.as_deref()).map_err(|e| unreachable(socket, &e))?;
    let value: Value = match answer.body.is_empty() {
        true => Value::Null,
        false => serde_json::from_str(&answer.body).unwrap_or_else(|_| Value::from(answer.body.as_str())),
    };
    if answer.is_success() {
        return Ok(value);
    }
    let said = value["error"].as_str().or(value.as_str()).unwrap_or("no reason given");
    Err(Failure::Refused(said.to_owned()))
}

impl Client {
    /// The switch.
    pub fn switch(&self) -> &str {
        &self.switch
    }

    /// Where clients attach: beside the control socket.
    pub fn ring_socket(&self) -> PathBuf {
        let dir = self.socket.parent().unwrap_or_else(|| Path::new("."));
        Daemon::ring_socket(dir, &self.switch)
    }

    /// Asks for something of the switch, such as `ports`.
    ///
    /// # Errors
    /// When nobody answers, or the answer is no.
    pub fn get(&self, what: &str) -> Result<Value, Failure> {
        get(&self.socket, &self.path(what))
    }

    /// As [`Self::get`], as a type.
    ///
    /// # Errors
    /// Also when the daemon answers with something else.
    pub fn read<T: DeserializeOwned>(&self, what: &str) -> Result<T, Failure> {
        let wrong = |e| Failure::Refused(format!("the daemon's answer makes no sense: {e}"));
        serde_json::from_value(self.get(what)?).map_err(wrong)
    }

    /// Adds something.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn post(&self, what: &str, body: &Value) -> Result<Value, Failure> {
        send(&self.socket, "POST", &self.path(what), Some(body))
    }

    /// Changes something.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn put(&self, what: &str, body: &Value) -> Result<Value, Failure> {
        send(&self.socket, "PUT", &self.path(what), Some(body))
    }

    /// Removes something.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn delete(&self, what: &str, name: &str) -> Result<Value, Failure> {
        let path = format!("{}/{}", self.path(what), segment(name));
        send(&self.socket, "DELETE", &path, None)
    }

    /// Makes the daemon read its file again.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn reload(&self) -> Result<Value, Failure> {
        send(&self.socket, "POST", "/v1/reload", None)
    }

    fn path(&self, what: &str) -> String {
        format!("/v1/switches/{}/{what}", segment(&self.switch))
    }
}

/// A name as a part of a path.
pub fn segment(name: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'~');
    name.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_in_paths() {
        assert_eq!(segment("vale0"), "vale0");
        assert_eq!(segment("a/b c\r\n?"), "a%2Fb%20c%0D%0A%3F");
    }

    #[test]
    fn says_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = At { run_dir: Some(dir.path().to_owned()), ..At::default() };
        let none = at.client(None).unwrap_err();
        assert!(matches!(&none, Failure::Unreachable(m) if m.contains("valecast run")), "{none}");
        let bind = |name: &str| std::os::unix::net::UnixListener::bind(dir.path().join(name)).unwrap();
        let _a = bind("vale0.sock");
        drop(bind("stale.sock"));
        assert_eq!(at.client(None).unwrap().switch(), "vale0");
        let _b = bind("vale1.sock");
        let two = at.client(None).unwrap_err();
        assert!(matches!(&two, Failure::Usage(m) if m.contains("vale0 and vale1")), "{two}");
        assert_eq!(at.client(Some("vale1")).unwrap().ring_socket(), dir.path().join("vale1.ring"));
        let gone = at.client(Some("vale7")).unwrap().get("ports").unwrap_err();
        assert!(matches!(&gone, Failure::Unreachable(m) if m.contains("vale7.sock")), "{gone}");
        let both = At { switch: Some("vale0".into()), ..at };
        assert!(matches!(both.client(Some("vale1")), Err(Failure::Usage(_))));
    }
}
