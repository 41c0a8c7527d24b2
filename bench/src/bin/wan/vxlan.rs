//! Part `vxlan`: what a tunnel carries between two hosts, with Valecast at both ends and with Linux's own device.
//!
//! A host is a network namespace; a veth pair of 1500 bytes joins them, whose checksums and segments are finished by the
//! sender, as for a network card without help. `iperf3` sends, one stream.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use valecast_bench::child::{Process, Trouble, run};
use valecast_bench::run::StopFlag;
use valecast_bench::stats::Summary;

use crate::wan::batch;

/// What a frame may be, that its tunnel's packet is no longer than 1500 bytes.
const MTU: u32 = 1450;
const VNI: u32 = 77;
/// Of a turn.
const SECONDS: &str = "5";
const PATIENCE: Duration = Duration::from_secs(20);
/// The far end's address in the tunnel.
const FAR: &str = "10.78.1.2";
/// UDP payloads: frames of 1464 bytes, and of 106.
const PAYLOADS: [u32; 2] = [1422, 64];

/// One end's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ends {
    /// A daemon at each end, with a TAP.
    Valecast,
    /// The kernel's vxlan device.
    Linux,
}

/// Medians of the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Who.
    pub ends: Ends,
    /// TCP, one stream, in Gbit/s of payload.
    pub tcp_gbits: Summary,
    /// UDP datagrams a second that arrive, for each of the payloads.
    pub datagrams: Vec<(u32, Summary)>,
}

/// Namespaces that go with the value.
struct Hosts {
    prefix: String,
}

impl Hosts {
    fn build() -> Result<Self, Trouble> {
        let hosts = Self { prefix: format!("vcvx-{}", std::process::id()) };
        let [a, b] = hosts.both();
        batch("ip", &[], &format!("netns add {a}\nnetns add {b}\n"))?;
        batch("ip", &[], &format!("link add eth0 netns {a} type veth peer name eth0 netns {b}\n"))?;
        for (n, ns) in (1..).zip([&a, &b]) {
            let text = format!("link set lo up\naddress add 192.0.2.{n}/24 dev eth0\nlink set eth0 up\n");
            batch("ip", &["-n", ns], &text)?;
            let off = ["tx", "off", "tx-udp_tnl-segmentation", "off", "tx-udp_tnl-csum-segmentation", "off"];
            run("ip", &[&["netns", "exec", ns, "ethtool", "-K", "eth0"], &off[..]].concat())?;
        }
        Ok(hosts)
    }

    fn both(&self) -> [String; 2] {
        ["a", "b"].map(|n| format!("{}-{n}", self.prefix))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let [a, b] = self.both();
        let _ = batch("ip", &["-force"], &format!("netns del {a}\nnetns del {b}\n"));
    }
}

/// Makes both ends of the tunnel; daemons end with what is returned.
fn tunnel(ends: Ends, hosts: &Hosts, release: &Path, work: &Path) -> Result<Vec<Process>, Trouble> {
    let mut daemons = Vec::new();
    for (n, ns) in (1..).zip(hosts.both()) {
        let (remote, address) = (format!("192.0.2.{}", 3 - n), format!("10.78.1.{n}/24"));
        if ends == Ends::Linux {
            let text = format!(
                "link add vx0 mtu {MTU} type vxlan id {VNI} remote {remote} dstport 4789\n\
                 address add {address} dev vx0\nlink set vx0 up\n"
            );
            batch("ip", &["-n", &ns], &text)?;
            continue;
        }
        let file = work.join(format!("host-{n}.toml"));
        let run_dir = work.join(format!("run-{n}")).display().to_string();
        let text = format!(
            "run_dir = {run_dir:?}\n[[switch]]\nname = \"vale0\"\n\
             [[switch.port]]\nname = \"t\"\nkind = \"tap\"\nifname = \"vx0\"\nnetns = \"{ns}\"\nmtu = {MTU}\n\
             addresses = [\"{address}\"]\n\
             [[switch.port]]\nname = \"tunnel\"\nkind = \"vxlan\"\nremote = \"{remote}\"\nvni = {VNI}\nnetns = \"{ns}\"\n"
        );
        std::fs::write(&file, text)?;
        let mut command = std::process::Command::new(release.join("valecast"));
        command.arg("run").arg(&file);
        daemons.push(Process::spawn(command, &work.join(format!("host-{n}.log")))?);
    }
    let began = Instant::now();
    let near = &hosts.both()[0];
    while let Err(e) = run("ip", &["netns", "exec", near, "ping", "-c", "1", "-W", "1", FAR]) {
        daemons.iter_mut().try_for_each(Process::alive)?;
        if began.elapsed() > PATIENCE {
            return Err(format!("the tunnel carries nothing: {e}").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(daemons)
}

/// What `iperf3` says of one stream.
fn iperf3(hosts: &Hosts, words: &[&str]) -> Result<serde_json::Value, Trouble> {
    let words = [&["netns", "exec", &hosts.both()[0], "iperf3", "-J", "-t", SECONDS, "-c", FAR], words];
    let said: serde_json::Value = serde_json::from_str(&run("ip", &words.concat())?)?;
    match said["error"].as_str() {
        Some(e) => Err(format!("iperf3: {e}").into()),
        None => Ok(said["end"].clone()),
    }
}

/// One turn: TCP in Gbit/s, and datagrams a second.
fn turn(ends: Ends, release: &Path, work: &Path) -> Result<Vec<f64>, Trouble> {
    std::fs::create_dir_all(work)?;
    let hosts = Hosts::build()?;
    let mut daemons = tunnel(ends, &hosts, release, work)?;
    let mut server = std::process::Command::new("ip");
    server.args(["netns", "exec", &hosts.both()[1], "iperf3", "-s", "--forceflush"]);
    let mut server = Process::spawn(server, &work.join("iperf3.log"))?;
    server.wait_for("listening", PATIENCE)?;
    let number = |end: &serde_json::Value, path: &str| {
        end.pointer(path).and_then(serde_json::Value::as_f64).ok_or_else(|| format!("iperf3 says no {path}"))
    };
    let mut figures = vec![number(&iperf3(&hosts, &[])?, "/sum_received/bits_per_second")? / 1e9];
    for payload in PAYLOADS {
        let end = iperf3(&hosts, &["-u", "-b", "0", "-l", &payload.to_string()])?;
        let arrived = number(&end, "/sum/packets")? - number(&end, "/sum/lost_packets")?;
        figures.push(arrived / number(&end, "/sum/seconds")?);
    }
    daemons.iter_mut().try_for_each(Process::alive)?;
    Ok(figures)
}

/// Measures both, in rounds.
pub fn all(rounds: usize, release: &Path, work: &Path, stop: &StopFlag) -> Result<Vec<Row>, Trouble> {
    let mut samples: Vec<(Ends, Vec<Vec<f64>>)> =
        [Ends::Valecast, Ends::Linux].map(|e| (e, Vec::new())).into();
    for round in 0..rounds {
        for (ends, samples) in &mut samples {
            if stop.is_set() {
                return Err("interrupted".into());
            }
            let folder = work.join(format!("{ends:?}-{round}").to_lowercase());
            let one = turn(*ends, release, &folder)?;
            eprintln!("round {round}: {ends:?}: {one:?}");
            samples.push(one);
        }
    }
    let rows = samples.into_iter().filter_map(|(ends, samples)| {
        let of = |i: usize| Summary::of(samples.iter().map(|s| s[i]));
        let datagrams = (1..).zip(PAYLOADS).map(|(i, payload)| Some((payload, of(i)?)));
        Some(Row { ends, tcp_gbits: of(0)?, datagrams: datagrams.collect::<Option<_>>()? })
    });
    Ok(rows.collect())
}

/// The table.
pub fn text(rows: &[Row]) -> String {
    let mut text = "| tunnel | TCP, Gbit/s |".to_owned();
    for payload in PAYLOADS {
        text += &format!(" datagrams of {payload} B, thousands a second |");
    }
    text += "\n|---|--:|--:|--:|\n";
    let cell = |s: &Summary, by: f64| format!("{:.2} ({:.2}-{:.2})", s.median / by, s.min / by, s.max / by);
    for r in rows {
        text += &format!("| {:?} | {} |", r.ends, cell(&r.tcp_gbits, 1.0));
        for (_, s) in &r.datagrams {
            text += &format!(" {} |", cell(s, 1e3));
        }
        text.push('\n');
    }
    text
}
