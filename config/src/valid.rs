//! What the rest of Valecast works with: a configuration in which nothing needs checking again.
//!
//! Field names are the TOML keys, and serialising any of these types writes TOML (or JSON) that is read
//! back as the same value.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::diagnostics::{ConfigErrors, Diagnostic};
use crate::port::Port;
use crate::qc::Qc;
use crate::{Mac, read, show};

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Directory of the control sockets, one `<switch>.sock` each. Default:
    /// [`default_run_dir`](crate::default_run_dir).
    pub run_dir: PathBuf,
    /// TCP address for `/metrics`, the control API and the dashboard (`[api] listen`). Default: none.
    #[serde(rename = "api", serialize_with = "show::api", skip_serializing_if = "Option::is_none")]
    pub api_listen: Option<SocketAddr>,
    /// What netmap programs may do: `[netmap]`.
    pub netmap: Netmap,
    /// QuickCast's sites: `[qc]`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qc: Option<Qc>,
    /// The switches; at least one.
    #[serde(rename = "switch")]
    pub switches: Vec<Switch>,
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// Every mistake in the file, or the one reason why it cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        let name = path.display().to_string();
        match std::fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => {
                let mut config = Self::parse(&name, &text)?;
                if let (Some(keys), Some(dir)) =
                    (config.qc.as_mut().and_then(|qc| qc.keys.as_mut()), path.parent())
                {
                    keys.resolve(dir);
                }
                Ok(config)
            }
            Ok(Err(e)) => {
                let offset = e.utf8_error().valid_up_to();
                Err(unreadable(&name, format!("byte {offset} is not UTF-8"), "save the file as UTF-8"))
            }
            Err(e) => Err(unreadable(&name, format!("cannot read the file: {e}"), "")),
        }
    }

    /// Checks a configuration held in memory; `name` is what mistakes call it.
    ///
    /// # Errors
    /// Every mistake in the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigErrors> {
        read::parse_config(name, text)
    }
}

fn unreadable(name: &str, message: String, help: &str) -> ConfigErrors {
    ConfigErrors { diagnostics: vec![Diagnostic::without_place(name, message, help.to_owned())] }
}

/// Programs written for netmap: `[netmap]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Netmap {
    /// Whether switches and ports that programs name are made. Default: whether only the socket's owner may open it.
    pub auto_create: bool,
    /// Spare buffers in a port's memory. Default 8192.
    pub spare_buffers: u32,
    /// Who may open the socket: `socket_mode`, `socket_owner`, `socket_group`.
    #[serde(flatten)]
    pub socket: SocketAccess,
}

/// One switch: `[[switch]]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Switch {
    /// Name, unique in the file: 1 to 15 of `A-Z a-z 0-9 _ . -`. Required.
    pub name: String,
    /// Forwarding threads, 1 to 64. Default 1.
    pub workers: usize,
    /// CPU of each worker; empty leaves them to the scheduler (the default), else one per worker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<usize>,
    /// Threads of the program itself that may forward beside the workers, 0 to 64. Default 0.
    pub inline: usize,
    /// How long an idle worker or ring is polled before it sleeps, up to 10 s. Default 50 µs.
    #[serde(serialize_with = "show::duration")]
    pub spin: Duration,
    /// How long a worker that has had frames sleeps at the least, up to 10 ms. Default 0.
    #[serde(serialize_with = "show::duration")]
    pub gather: Duration,
    /// Most frames taken from a ring in one turn, 1 to 1024. Default 256.
    pub burst: usize,
    /// Age at which an unused learned address is forgotten; zero never forgets. Default 300 s (IEEE 802.1D).
    #[serde(serialize_with = "show::duration")]
    pub ageing: Duration,
    /// Addresses the forwarding table holds, 16 to 4194304. Default 65536.
    pub fdb_entries: usize,
    /// Most groups, 1 to 65536. Default 1024.
    pub max_groups: usize,
    /// Most buckets in a group, 1 to 1024. Default 32.
    pub max_buckets: usize,
    /// Memory all rings of the switch may take together, in bytes. Default 4 GiB.
    pub memory_limit: u64,
    /// Who may talk to the control socket: `socket_mode`, `socket_owner`, `socket_group`.
    #[serde(flatten)]
    pub socket: SocketAccess,
    /// Ports: `[[switch.port]]`.
    #[serde(rename = "port", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Fixed forwarding entries: `[[switch.static]]`.
    #[serde(rename = "static", skip_serializing_if = "Vec::is_empty")]
    pub statics: Vec<StaticEntry>,
    /// Mirrors: `[[switch.mirror]]`.
    #[serde(rename = "mirror", skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// Meters: `[[switch.meter]]`.
    #[serde(rename = "meter", skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<Meter>,
    /// Groups: `[[switch.group]]`.
    #[serde(rename = "group", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

/// Who may connect to a switch's control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SocketAccess {
    /// Permission bits of the socket. Default 0600.
    #[serde(rename = "socket_mode", serialize_with = "show::mode")]
    pub mode: u32,
    /// User name or number that owns the socket. Default: whoever runs the daemon.
    #[serde(rename = "socket_owner", skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Group name or number of the socket. Default: the daemon's.
    #[serde(rename = "socket_group", skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// A forwarding entry that neither ages nor moves: `[[switch.static]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StaticEntry {
    /// Unicast destination; unique together with `vlan`. Required.
    pub mac: Mac,
    /// Port its frames go to. Required.
    pub port: String,
    /// VLAN, 1 to 4094; 0 (the default) is untagged.
    pub vlan: u16,
}

/// Copies the frames of some ports to another: `[[switch.mirror]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mirror {
    /// Ports to watch; at least one. Required.
    pub from: Vec<String>,
    /// Port that gets the copies; not among `from`. Required.
    pub to: String,
    /// Which frames. Default both.
    pub direction: Direction,
}

/// Which frames of a port, seen from the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Those entering the switch from the port.
    In,
    /// Those leaving the switch through the port.
    Out,
    /// All of them.
    Both,
}

/// A token bucket that groups can share: `[[switch.meter]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Meter {
    /// Name, unique in the switch. Required.
    pub name: String,
    /// Rate in bits per second. Required.
    pub rate: u64,
    /// Depth of the bucket in bytes. Default: [`default_burst`] of the rate.
    pub burst: u64,
    /// What happens to frames above the rate. Default shape.
    pub mode: MeterMode,
}

/// What happens to frames above a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeterMode {
    /// They are dropped and counted.
    Police,
    /// They wait in the sender's ring.
    Shape,
}

/// Sends one frame to several ports: `[[switch.group]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Name, unique in the switch. Required.
    pub name: String,
    /// Destination address that selects the group; unique together with `ingress`. Required.
    pub address: Mac,
    /// Only frames from this port; absent: from any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<String>,
    /// Meter that the group's frames debit; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
    /// Where copies go: 1 to `max_buckets` of the switch. Required.
    pub buckets: Vec<Bucket>,
}

/// One destination of a [`Group`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// Port the copy goes to. Required.
    pub port: String,
    /// Destination address written into the copy; absent: left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_dst: Option<Mac>,
}

/// The burst of a token bucket when none is given, in bytes: 10 ms at the rate (bits per second), but at
/// least 64 KiB so that one large segment always passes.
pub fn default_burst(rate: u64) -> u64 {
    (rate / 800).max(64 * 1024)
}
