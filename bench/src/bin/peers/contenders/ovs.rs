//! Open vSwitch with its userspace datapath, ports by DPDK's memif.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::Pid;

use super::Places;
use super::testpmd::program;
use crate::child::{self, Process};
use crate::job::{Job, Kind, Setup, Waiting};
use crate::peer::{Peer, Running, Trouble, Wire};
use crate::wires::{Endpoint, retry};

/// The contender.
pub struct Ovs {
    name: &'static str,
    work: PathBuf,
    /// The folder of a Debian 13 that the programs and their libraries are in; none: this system's own.
    root: Option<PathBuf>,
    command: RefCell<String>,
}

const VSWITCHD: &str = "usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";

impl Ovs {
    /// This system's.
    pub fn debian12(places: &Places) -> Self {
        Self { name: "ovs-dpdk", work: places.work.clone(), root: None, command: RefCell::default() }
    }

    /// Of the Debian 13 in a folder.
    pub fn debian13(places: &Places) -> Self {
        let root = Some(places.trixie.clone());
        Self { name: "ovs-dpdk-new", work: places.work.clone(), root, command: RefCell::default() }
    }

    fn tool(&self, path: &str) -> Result<Command, String> {
        program(self.root.as_deref(), path).map(|(c, _)| c)
    }
}

impl Peer for Ovs {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> Result<String, String> {
        let out = self.tool(VSWITCHD)?.arg("--version").output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let after = |word: &str| text.lines().find_map(|l| l.split(word).nth(1)).map(|v| v.trim().to_owned());
        match (after("(Open vSwitch) "), after("DPDK ")) {
            (Some(ovs), Some(dpdk)) => Ok(format!("{ovs}, DPDK {dpdk}")),
            _ => Err(format!("no version in: {text}{}", String::from_utf8_lossy(&out.stderr))),
        }
    }

    fn about(&self) -> &'static str {
        "ovs-vswitchd, userspace datapath, PMD thread on core 1, memif ports (1024 slots) whose buffers the process owns; \
         a learning bridge (NORMAL), replication by a group of type all; its burst is always 32, hugepages"
    }

    fn can(&self, job: &Job) -> Result<(), String> {
        let Setup { idle_ports, waiting, pinned, .. } = job.setup;
        match job.kind {
            _ if waiting == Waiting::Sleeping => Err("its PMD threads never sleep".to_owned()),
            _ if job.setup.ports > 32 => Err("its DPDK is built for 32 ports".to_owned()),
            _ if idle_ports > 0 => Err("a thousand memif ports do not fit its memory pools".to_owned()),
            Kind::Scale { .. } => Err("its PMD thread would never let the client have the core".to_owned()),
            Kind::Split { .. } if !pinned => Err("its PMD threads are always tied to cores".to_owned()),
            _ => Ok(()),
        }
    }

    fn start(&self, setup: &Setup) -> Result<Box<dyn Running>, Trouble> {
        let folder = super::fresh(&self.work, self.name)?;
        let base = self.root.as_deref().unwrap_or(Path::new("/"));
        let (_, pmds) = program(self.root.as_deref(), VSWITCHD)?;
        let database = folder.join("conf.db");
        let schema = base.join("usr/share/openvswitch/vswitch.ovsschema");
        finish(self.tool("usr/bin/ovsdb-tool")?.arg("create").arg(&database).arg(schema))?;
        let remote = folder.join("db.sock");
        let mut server = self.tool("usr/sbin/ovsdb-server")?;
        server.arg(&database).arg(format!("--remote=punix:{}", remote.display()));
        let database = spawn(server, &folder, "ovsdb")?;
        let run = OvsTools { ovs: self, folder: folder.clone() };
        retry("ovsdb-server", Duration::from_secs(5), || run.vsctl(&["--no-wait", "init"]))?;
        let extra = format!("--in-memory --no-pci --no-telemetry -d {}", pmds.display());
        let (lcore, pmd) = ("other_config:dpdk-lcore-mask=0x1", "other_config:pmd-cpu-mask=0x2");
        run.vsctl(&[
            "--no-wait",
            "set",
            "Open_vSwitch",
            ".",
            lcore,
            pmd,
            "other_config:dpdk-socket-mem=384",
            &format!("other_config:dpdk-extra=\"{extra}\""),
            "other_config:dpdk-init=true",
        ])?;
        // Two of them at once would quarrel over the interface that both call ovs-netdev.
        let mut vswitchd = in_own_namespace(&self.tool(VSWITCHD)?);
        vswitchd.arg(format!("unix:{}", remote.display()));
        *self.command.borrow_mut() = child::shown(&vswitchd);
        let vswitchd = spawn(vswitchd, &folder, "vswitchd")?;
        let mut running =
            OvsRunning { vswitchd, _database: database, folder: folder.clone(), ports: setup.ports };
        run.configure(setup, &mut running)?;
        Ok(Box::new(running))
    }

    fn command(&self) -> String {
        self.command.borrow().clone()
    }
}

/// The command, in a network namespace of its own.
fn in_own_namespace(inner: &Command) -> Command {
    let mut c = Command::new("unshare");
    c.arg("--net").arg(inner.get_program()).args(inner.get_args());
    c.envs(inner.get_envs().filter_map(|(k, v)| Some((k, v?))));
    c
}

/// Runs a command to its end.
fn finish(command: &mut Command) -> Result<String, Trouble> {
    let out = command.output()?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    Err(format!("{}: {}", child::shown(command), String::from_utf8_lossy(&out.stderr)).into())
}

/// Starts one of its daemons, all of whose files are in `folder`.
fn spawn(mut command: Command, folder: &Path, name: &str) -> Result<Process, Trouble> {
    command.arg(format!("--unixctl={}", folder.join(format!("{name}.ctl")).display()));
    command.args(["-vconsole:warn", "-vfile:off", "-vsyslog:off"]);
    command
        .env("OVS_RUNDIR", folder)
        .env("OVS_LOGDIR", folder)
        .env("OVS_DBDIR", folder)
        .env("OVS_SYSCONFDIR", folder);
    Process::spawn(command, &folder.join(format!("{name}.log")))
}

struct OvsTools<'a> {
    ovs: &'a Ovs,
    folder: PathBuf,
}

impl OvsTools<'_> {
    fn vsctl(&self, words: &[&str]) -> Result<String, Trouble> {
        let mut c = self.ovs.tool("usr/bin/ovs-vsctl")?;
        c.arg(format!("--db=unix:{}", self.folder.join("db.sock").display())).arg("--timeout=20").args(words);
        finish(&mut c)
    }

    fn ofctl(&self, words: &[&str]) -> Result<String, Trouble> {
        let mut c = self.ovs.tool("usr/bin/ovs-ofctl")?;
        finish(c.env("OVS_RUNDIR", &self.folder).args(["-O", "OpenFlow13"]).args(words))
    }

    fn configure(&self, setup: &Setup, running: &mut OvsRunning) -> Result<(), Trouble> {
        let mut words: Vec<String> =
            "add-br br0 -- set bridge br0 datapath_type=netdev other_config:mac-table-size=65536"
                .split(' ')
                .map(str::to_owned)
                .collect();
        for i in 0..setup.ports {
            let path = self.folder.join("memif");
            let devargs = format!(
                "net_memif{i},role=server,id={i},socket={},socket-abstract=no,rsize=10,bsize=2048",
                path.display()
            );
            let set =
                format!("-- add-port br0 m{i} -- set Interface m{i} type=dpdk ofport_request={}", i + 1);
            words.extend(set.split(' ').map(str::to_owned));
            words.push(format!("options:dpdk-devargs=\"{devargs}\""));
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.vsctl(&words).map_err(|e| {
            let alive = running.vswitchd.alive().err().map(|e| e.to_string()).unwrap_or_default();
            format!("{e} {alive}\n{}", running.vswitchd.said())
        })?;
        let wrong = self.vsctl(&["--columns=error", "--bare", "list", "Interface"])?;
        if !wrong.trim().is_empty() {
            return Err(format!("{}\n{}", wrong.trim(), running.vswitchd.said()).into());
        }
        if setup.group {
            let bridge = format!("unix:{}", fs::canonicalize(self.folder.join("br0.mgmt"))?.display());
            let buckets: String = (2..=setup.ports).map(|i| format!(",bucket=output:{i}")).collect();
            self.ofctl(&["add-group", &bridge, &format!("group_id=1,type=all{buckets}")])?;
            self.ofctl(&["add-flow", &bridge, "priority=100,dl_dst=01:00:5e:00:00:01,actions=group:1"])?;
        }
        Ok(())
    }
}

struct OvsRunning {
    vswitchd: Process,
    _database: Process,
    folder: PathBuf,
    ports: usize,
}

impl Running for OvsRunning {
    fn wires(&mut self) -> Result<Vec<Box<dyn Wire>>, Trouble> {
        let ends = self.endpoints();
        let wires: Result<Vec<_>, _> =
            ends.iter().map(|end| retry("memif", Duration::from_secs(5), || end.open())).collect();
        // A port forwards once its link has been seen to be up.
        std::thread::sleep(Duration::from_millis(500));
        wires.map_err(|e| format!("{e}\n{}", self.vswitchd.said()).into())
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let socket = self.folder.join("memif");
        // Its main thread has transmit queue 0 of each port, its one PMD thread queue 1. A queue without a ring is taken
        // by DPDK's memif driver for the ring that lies first in memory, where it overwrites what we send.
        (0..self.ports).map(|i| Endpoint::Memif { socket: socket.clone(), id: i as u32, queue: 1 }).collect()
    }

    fn pids(&self) -> Vec<Pid> {
        vec![self.vswitchd.pid()]
    }
}
