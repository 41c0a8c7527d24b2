//! A port by its name: its kind and its socket.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use valecast_config::{Config, Mac, Port, PortKind, parse_port};
use valecast_hypervisor_glue::e1000_port::default_mac;

use crate::ctl::client::{At, Failure};
use crate::ctl::fragment::target;

/// A port that a VM can have.
#[derive(Clone, Debug, PartialEq)]
pub struct VmPort {
    /// Its switch.
    pub switch: String,
    /// The port.
    pub port: Port,
    /// Where monitors connect to, as an absolute path.
    pub socket: PathBuf,
}

impl VmPort {
    /// As users name it.
    pub fn name(&self) -> String {
        format!("{}:{}", self.switch, self.port.name)
    }

    /// The guest's address: the port's, or one made from its name. A `vhost-user` port has none of its own: it is what
    /// the monitor is told, and without being told QEMU gives all guests the same.
    pub fn mac(&self) -> Mac {
        let own = match &self.port.kind {
            PortKind::E1000(e) => e.mac,
            _ => None,
        };
        own.unwrap_or(Mac(default_mac(&self.switch, &self.port.name)))
    }

    /// For scripts.
    pub fn show(&self) -> Value {
        json!({
            "name": self.name(),
            "kind": self.port.kind.name(),
            "socket": self.socket,
            "mac": self.mac().to_string(),
        })
    }

    fn new(switch: &str, port: Port, run_dir: &Path) -> Result<Self, Failure> {
        if !is_vm(&port.kind) {
            return Err(Failure::Refused(format!(
                "port {switch}:{} is of kind {}, which no VM has: e1000 and vhost-user are",
                port.name,
                port.kind.name()
            )));
        }
        let default = format!("{switch}.{}.vm", port.name);
        let socket = run_dir.join(port.kind.socket().map_or(PathBuf::from(default), Path::to_path_buf));
        // The monitor may be started elsewhere.
        let socket = std::path::absolute(&socket).unwrap_or(socket);
        Ok(Self { switch: switch.to_owned(), port, socket })
    }
}

fn is_vm(kind: &PortKind) -> bool {
    matches!(kind, PortKind::E1000(_) | PortKind::VhostUser(_))
}

/// The port `name` in `file`, or in a running daemon.
pub fn find(name: &str, at: &At, file: Option<&Path>) -> Result<VmPort, Failure> {
    let (switch, port) = target(name);
    match file {
        Some(file) => in_file(file, switch.or(at.switch.as_deref()), port),
        None => in_daemon(at, switch, port),
    }
}

fn missing(switch: &str, name: &str, there: &[&str]) -> Failure {
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    Failure::Refused(format!("switch {switch} has no port {name:?} (its ports for VMs: {there})"))
}

fn in_file(file: &Path, switch: Option<&str>, name: &str) -> Result<VmPort, Failure> {
    let config = Config::load(file).map_err(|e| Failure::Usage(e.to_string().trim_end().to_owned()))?;
    let names = || config.switches.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = match (switch, &config.switches[..]) {
        (None, [only]) => only,
        (None, _) => return Err(Failure::Usage(format!("which switch? There are {}", names()))),
        (Some(want), all) => all.iter().find(|s| s.name == want).ok_or_else(|| {
            Failure::Refused(format!("{}: no switch {want:?} (there is {})", file.display(), names()))
        })?,
    };
    let vms = found.ports.iter().filter(|p| is_vm(&p.kind)).map(|p| p.name.as_str());
    let port = found.ports.iter().find(|p| p.name == name);
    let port = port.ok_or_else(|| missing(&found.name, name, &vms.collect::<Vec<_>>()))?;
    VmPort::new(&found.name, port.clone(), &config.run_dir)
}

fn in_daemon(at: &At, switch: Option<&str>, name: &str) -> Result<VmPort, Failure> {
    let client = at.client(switch)?;
    let answer = client.get("config")?;
    let ports = answer["port"].as_array().map_or(&[][..], Vec::as_slice);
    let vms = ports.iter().filter(|p| matches!(p["kind"].as_str(), Some("e1000" | "vhost-user")));
    let Some(found) = ports.iter().find(|p| p["name"] == name) else {
        let vms: Vec<&str> = vms.filter_map(|p| p["name"].as_str()).collect();
        return Err(missing(client.switch(), name, &vms));
    };
    let wrong = |e: String| Failure::Refused(format!("the daemon's answer makes no sense: {e}"));
    let text = toml::to_string(found).map_err(|e| wrong(e.to_string()))?;
    let port = parse_port("the daemon", &text).map_err(|e| wrong(e.to_string()))?;
    let ring = client.ring_socket();
    VmPort::new(client.switch(), port, ring.parent().unwrap_or(Path::new(".")))
}
