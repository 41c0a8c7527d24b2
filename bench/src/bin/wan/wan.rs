//! The network in the kernel: a namespace for each site, a veth pair for each link, shaped at both ends by TBF.
//!
//! What a link carried is what its interface sent: whole frames without CRC, as Valecast's rates count them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use valecast_bench::child::{Process, Trouble, run};
use valecast_qc_dataplane::graph::Node;

use crate::net::Net;

/// Longer than any file here takes in a shaper's queue.
const QUEUE: &str = "20ms";
/// What may go at once: this long at the link's rate.
const BURST_MS: u64 = 10;

/// A network that is there as long as this value.
pub struct Wan<'a> {
    /// What it was made of.
    pub net: &'a Net,
    prefix: String,
}

/// How it is joined at the sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sites {
    /// By the kernel's bridges, with an address for each site: `10.77.0.N`.
    Bridged,
    /// Not at all: interfaces are up, and somebody takes them as ports.
    Bare,
}

impl<'a> Wan<'a> {
    /// Makes it.
    pub fn build(net: &'a Net, sites: Sites) -> Result<Self, Trouble> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if sites == Sites::Bridged && !net.is_tree() {
            return Err(format!(
                "{} has more than one way between two sites, and bridges need a tree",
                net.name
            )
            .into());
        }
        let prefix = format!("vcwan-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let wan = Self { net, prefix };
        let nodes = 0..net.graph.nodes() as Node;
        let names: String = nodes.clone().map(|n| format!("netns add {}\n", wan.netns(n))).collect();
        batch("ip", &[], &names)?;
        for n in nodes.clone() {
            let ns = wan.netns(n);
            // No chatter of the kernel's own.
            let quiet = ["net.ipv6.conf.default.disable_ipv6=1", "net.ipv6.conf.all.disable_ipv6=1"];
            run("ip", &[&["netns", "exec", ns.as_str(), "sysctl", "-qw"], &quiet[..]].concat())?;
        }
        let mut pairs = String::new();
        let mut inside: BTreeMap<Node, (String, String)> = BTreeMap::new();
        for (i, link) in net.graph.links().iter().enumerate() {
            let (here, there) = (Net::interface(i), Net::interface(net.back(i)));
            if i < net.back(i) {
                let (a, b) = (wan.netns(link.from), wan.netns(link.to));
                pairs += &format!("link add {here} netns {a} type veth peer name {there} netns {b}\n");
            }
            let (ip, tc) = inside.entry(link.from).or_default();
            // A segment is a frame: what is counted is what a wire would carry.
            *ip += &format!("link set {here} gso_max_segs 1\nlink set {here} up\n");
            let rate = net.bits(i);
            // As much as a sender that had to wait for a processor may be behind: a shaper that holds frames back sets a
            // timer for each, which in a VM costs more than the frame.
            let burst = (rate / 8 * BURST_MS / 1000).max(64_000);
            *tc += &format!("qdisc add dev {here} root tbf rate {rate}bit burst {burst} latency {QUEUE}\n");
        }
        batch("ip", &[], &pairs)?;
        for (n, (ip, tc)) in inside {
            let ns = wan.netns(n);
            let bridge = match sites {
                Sites::Bare => String::new(),
                Sites::Bridged => wan.bridge(n),
            };
            batch("ip", &["-n", &ns], &(ip + &bridge))?;
            batch("tc", &["-n", &ns], &tc)?;
        }
        Ok(wan)
    }

    fn bridge(&self, node: Node) -> String {
        // Without snooping a group's frames go over all links, which is the whole tree.
        let mut text =
            "link add br0 type bridge mcast_snooping 0 forward_delay 0\nlink set br0 up\n".to_owned();
        for &l in self.net.graph.out_of(node) {
            text += &format!("link set {} master br0\n", Net::interface(l as usize));
        }
        let address = Self::address(node);
        text += "link set lo up\n";
        text += &format!(
            "address add {address}/16 broadcast 10.77.255.255 dev br0\nroute add 224.0.0.0/4 dev br0\n"
        );
        text
    }

    /// A site's address, where bridges join them.
    pub fn address(node: Node) -> String {
        let n = node + 1;
        format!("10.77.{}.{}", n / 250, n % 250)
    }

    /// A site's namespace.
    pub fn netns(&self, node: Node) -> String {
        format!("{}-{node}", self.prefix)
    }

    /// Starts a program at a site.
    pub fn start(&self, node: Node, words: &[&str], log: &Path) -> Result<Process, Trouble> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns(node)]).args(words);
        Process::spawn(command, log)
    }

    /// Bytes that each link has carried, by link.
    pub fn carried(&self) -> Result<Vec<u64>, Trouble> {
        let mut bytes = vec![0; self.net.graph.links().len()];
        for n in 0..self.net.graph.nodes() as Node {
            let said = run("ip", &["-n", &self.netns(n), "-j", "-s", "link", "show"])?;
            let links: Vec<serde_json::Value> = serde_json::from_str(&said)?;
            for &l in self.net.graph.out_of(n) {
                let name = Net::interface(l as usize);
                let found = links.iter().find(|v| v["ifname"] == name.as_str());
                let sent = found.and_then(|v| v["stats64"]["tx"]["bytes"].as_u64());
                bytes[l as usize] = sent.ok_or_else(|| format!("no counter of {name} in {said}"))?;
            }
        }
        Ok(bytes)
    }

    /// Frames that shapers dropped.
    pub fn dropped(&self) -> Result<u64, Trouble> {
        let mut sum = 0;
        for n in 0..self.net.graph.nodes() as Node {
            let said = run("tc", &["-n", &self.netns(n), "-j", "-s", "qdisc", "show"])?;
            let all: Vec<serde_json::Value> = serde_json::from_str(&said)?;
            sum += all.iter().filter_map(|q| q["drops"].as_u64()).sum::<u64>();
        }
        Ok(sum)
    }
}

impl Drop for Wan<'_> {
    fn drop(&mut self) {
        let nodes = 0..self.net.graph.nodes() as Node;
        let names: String = nodes.map(|n| format!("netns del {}\n", self.netns(n))).collect();
        // Some may not have been made.
        let _ = batch("ip", &["-force"], &names);
    }
}

/// Several commands of `ip` or `tc` at once.
pub fn batch(program: &str, before: &[&str], text: &str) -> Result<(), Trouble> {
    let mut command = Command::new(program);
    command.args(before).args(["-batch", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{program}: {e}"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes())?;
    }
    let out = child.wait_with_output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("{program} -batch: {}\n{text}", String::from_utf8_lossy(&out.stderr).trim()).into())
}
