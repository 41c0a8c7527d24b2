//! Valecast over a network: sites' switches and their agents, the controller, and endpoints. All are processes of their
//! own, as they are with users.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use valecast_bench::child::{Process, Trouble};
use valecast_config::units::format_rate;
use valecast_qc_dataplane::control::TransferStatus;
use valecast_qc_dataplane::graph::Node;
use valecast_switch::api::client::ask;

use crate::net::Net;
use crate::wan::Wan;

/// How long all sites may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the sites' links are.
#[derive(Clone, Copy)]
pub enum Links<'a> {
    /// The interfaces of an emulated WAN; a daemon in each namespace.
    Wan(&'a Wan<'a>),
    /// Patch ports of one daemon, of the network's capacities.
    Patch,
    /// Patch ports of one daemon, without capacities.
    Unshaped,
}

/// How the controller and the switches are set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Group entries of a switch, buckets of a group.
    pub tables: (u32, u32),
    /// Transfers that have trees at once.
    pub transfers: usize,
    /// The scheme of the controller, whose rates all transfers get.
    pub scheme: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tables: (1024, 32), transfers: 1000, scheme: "best" }
    }
}

/// As much of the controller's overview as is of use here.
#[derive(serde::Deserialize)]
struct Overview {
    sites: Vec<SiteThere>,
    links: Vec<LinkThere>,
}

#[derive(serde::Deserialize)]
struct SiteThere {
    receives: bool,
}

#[derive(serde::Deserialize)]
struct LinkThere {
    up: bool,
}

/// Sites and their controller, until the value goes.
pub struct Rig {
    program: PathBuf,
    work: PathBuf,
    sites: Vec<String>,
    runs: Vec<PathBuf>,
    /// The daemons: one for each site, or one for all.
    pub daemons: Vec<Process>,
    /// The controller.
    pub controller: Process,
}

impl Rig {
    /// Starts all in `work`, and waits until the sites' sockets are there.
    pub fn start(
        net: &Net,
        links: Links<'_>,
        settings: &Settings,
        release: &Path,
        work: &Path,
    ) -> Result<Self, Trouble> {
        let program = release.join("valecast");
        std::fs::create_dir_all(work)?;
        let controller = controller(&program, settings, work)?;
        let nodes = 0..net.graph.nodes() as Node;
        let sites: Vec<String> = net.graph.names().to_vec();
        let mut daemons = Vec::new();
        let mut runs = Vec::new();
        if let Links::Wan(wan) = links {
            for n in nodes {
                let run = work.join(format!("run-{n}"));
                let file = work.join(format!("site-{n}.toml"));
                std::fs::write(&file, head(&run, work) + &switch(net, n, links, settings) + &site(net, n))?;
                let words = [program.display().to_string(), "run".to_owned(), file.display().to_string()];
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                daemons.push(wan.start(n, &words, &work.join(format!("daemon-{n}.log")))?);
                runs.push(run);
            }
        } else {
            let (run, file) = (work.join("run"), work.join("sites.toml"));
            let mut text = head(&run, work);
            text.extend(nodes.clone().map(|n| switch(net, n, links, settings)));
            text.extend(nodes.clone().map(|n| site(net, n)));
            std::fs::write(&file, text)?;
            let mut command = Command::new(&program);
            command.arg("run").arg(&file);
            daemons.push(Process::spawn(command, &work.join("daemon.log"))?);
            runs = nodes.map(|_| run.clone()).collect();
        }
        let mut rig = Self { program, work: work.to_owned(), sites, runs, daemons, controller };
        rig.wait(net.graph.links().len())?;
        Ok(rig)
    }

    /// Waits until each site answers, and all links are up.
    fn wait(&mut self, links: usize) -> Result<(), Trouble> {
        let began = Instant::now();
        loop {
            for daemon in self.daemons.iter_mut().chain([&mut self.controller]) {
                daemon.alive()?;
            }
            let up = self.overview().map_or(0, |o| o.links.iter().filter(|l| l.up).count());
            if up == links && (0..self.sites.len() as Node).all(|n| self.socket(n).exists()) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("{up} of {links} links are up after {PATIENCE:?}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the controller knows that somebody receives at so many sites.
    pub fn wait_receivers(&self, count: usize) -> Result<(), Trouble> {
        let began = Instant::now();
        loop {
            let there = self.overview()?.sites.iter().filter(|s| s.receives).count();
            if there == count {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("{there} of {count} receivers are there after {PATIENCE:?}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the controller shows.
    fn overview(&self) -> Result<Overview, Trouble> {
        self.get("/v1/overview")
    }

    fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        let answer = ask(&socket(&self.work), "GET", path, None)?;
        if answer.status != 200 {
            return Err(format!("{path}: {}: {}", answer.status, answer.body).into());
        }
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// The local socket of a site.
    pub fn socket(&self, node: Node) -> PathBuf {
        self.runs[node as usize].join(format!("{}.qc.sock", self.sites[node as usize]))
    }

    /// All transfers, as the controller has them.
    pub fn transfers(&self) -> Result<Vec<TransferStatus>, Trouble> {
        self.get("/v1/transfers")
    }

    /// `valecast qc WORDS..` for a site's endpoint; its output goes to a log of that name.
    pub fn endpoint(&self, node: Node, words: &[&str], log: &str) -> Result<Process, Trouble> {
        let mut command = Command::new(&self.program);
        command.arg("qc").args(words).arg("--socket").arg(self.socket(node));
        Process::spawn(command, &self.work.join(log))
    }
}

fn head(run: &Path, work: &Path) -> String {
    format!(
        "run_dir = {:?}\n\n[qc]\ncontroller = \"unix:{}\"\n",
        run.display().to_string(),
        socket(work).display()
    )
}

/// The controller's socket.
fn socket(work: &Path) -> PathBuf {
    work.join("te.sock")
}

/// A site's switch, with a port for each link.
fn switch(net: &Net, node: Node, links: Links<'_>, settings: &Settings) -> String {
    let graph = &net.graph;
    let name = graph.name(node);
    let (groups, buckets) = settings.tables;
    // Many switches share few cores: one that polls takes the time of those that have frames, and each wake-up costs
    // more than some frames. Where links are unshaped, it is how fast it goes that counts.
    let gather = if matches!(links, Links::Unshaped) { "0" } else { "500us" };
    let mut text = format!(
        "\n[[switch]]\nname = \"{name}\"\nspin = \"0\"\ngather = \"{gather}\"\nmax_groups = {groups}\nmax_buckets = {buckets}\n"
    );
    for &l in graph.out_of(node) {
        let l = l as usize;
        let port = Net::interface(l);
        let kind = match links {
            Links::Wan(_) => format!("kind = \"packet\"\ninterface = \"{port}\""),
            Links::Patch | Links::Unshaped => {
                let peer = graph.name(graph.links()[l].to);
                format!("kind = \"patch\"\npeer = \"{peer}:{}\"", Net::interface(net.back(l)))
            }
        };
        let rate = match links {
            // More than can be: nothing ever waits.
            Links::Unshaped => 400_000_000_000,
            Links::Wan(_) | Links::Patch => net.bits(l),
        };
        let _ = writeln!(
            text,
            "\n[[switch.port]]\nname = \"{port}\"\n{kind}\ncapacity = \"{}\"\nflood = false\nlearn = false",
            format_rate(rate)
        );
    }
    text
}

/// A site and its links.
fn site(net: &Net, node: Node) -> String {
    let graph = &net.graph;
    let mut text = format!("\n[[qc.site]]\nswitch = \"{}\"\n", graph.name(node));
    for &l in graph.out_of(node) {
        let to = graph.name(graph.links()[l as usize].to);
        let _ =
            writeln!(text, "\n[[qc.site.link]]\nport = \"{}\"\nto = \"{to}\"", Net::interface(l as usize));
    }
    text
}

fn controller(program: &Path, settings: &Settings, work: &Path) -> Result<Process, Trouble> {
    let file = work.join("te.toml");
    let text = format!(
        "socket = \"{}\"\nstate_dir = {:?}\nmax_transfers = {}\nscheme = \"{}\"\n",
        socket(work).display(),
        work.join("te-state").display().to_string(),
        settings.transfers,
        settings.scheme
    );
    std::fs::write(&file, text)?;
    let mut command = Command::new(program);
    command.args(["qc", "serve"]).arg(&file);
    Process::spawn(command, &work.join("controller.log"))
}
