//! Traffic between two network namespaces: programs that use sockets, and know nothing of what is in between.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::child::Process;
use crate::drive::Figures;
use crate::job::{Job, Size, Traffic};
use crate::peer::{Hosts, Running, Trouble};

const PORT: &str = "5301";
/// A connection takes a while to find its window.
const LEAST: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);
/// Of a datagram: Ethernet, IPv4 and UDP header, and the check sequence that 64 bytes are meant with.
const AROUND: usize = 14 + 20 + 8 + 4;

/// One run.
pub fn run(
    job: &Job,
    traffic: Traffic,
    running: &dyn Running,
    folder: &Path,
    time: Duration,
) -> Result<Figures, Trouble> {
    let hosts = running.hosts().ok_or("it joins no namespaces")?;
    let seconds = time.max(LEAST).as_secs_f64();
    match traffic {
        Traffic::Tcp => tcp(&hosts, folder, seconds.round()),
        Traffic::Udp => {
            let Size::Fixed(size) = job.size else { return Err("no such size for this job".into()) };
            udp(&hosts, folder, size.saturating_sub(AROUND), seconds)
        }
    }
}

fn start(netns: &str, words: &[&str], log: &Path) -> Result<Process, Trouble> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns]).args(words);
    Process::spawn(command, log)
}

fn tcp(hosts: &Hosts, folder: &Path, seconds: f64) -> Result<Figures, Trouble> {
    let server = ["iperf3", "--forceflush", "-s", "-1", "-p", PORT];
    let mut server = start(&hosts.to, &server, &folder.join("iperf3-server.log"))?;
    server.wait_for("listening", PATIENCE)?;
    let seconds = format!("{seconds}");
    let client = ["iperf3", "--json", "-p", PORT, "-c", hosts.address, "-t", &seconds];
    let mut client = start(&hosts.from, &client, &folder.join("iperf3.log"))?;
    client.wait(PATIENCE)?;
    server.wait(PATIENCE)?;
    let said: serde_json::Value = serde_json::from_str(&client.said())?;
    let sum = &said["end"]["sum_received"];
    let bits = sum["bits_per_second"].as_f64().ok_or("iperf3 gave no rate")?;
    let sent = said["end"]["sum_sent"]["retransmits"].as_f64().unwrap_or(f64::NAN);
    Ok(Figures::from([("value", bits / 1e9), ("retransmits", sent)]))
}

fn udp(hosts: &Hosts, folder: &Path, size: usize, seconds: f64) -> Result<Figures, Trouble> {
    let exe = std::env::current_exe()?;
    let udpload = exe.with_file_name("udpload");
    let (udpload, at) = (udpload.to_string_lossy(), format!("{}:{PORT}", hosts.address));
    // The receiver's clock runs from the first datagram to the last.
    let (size, longer, seconds) = (size.to_string(), (seconds + 0.4).to_string(), seconds.to_string());
    let words = [udpload.as_ref(), "recv", &at, "--seconds", &longer];
    let mut receiver = start(&hosts.to, &words, &folder.join("udpload-recv.log"))?;
    std::thread::sleep(Duration::from_millis(100));
    let words = [udpload.as_ref(), "send", &at, "--size", &size, "--seconds", &seconds];
    let mut sender = start(&hosts.from, &words, &folder.join("udpload-send.log"))?;
    sender.wait(PATIENCE)?;
    receiver.wait(PATIENCE)?;
    let pps = |p: &Process| -> Result<f64, Trouble> {
        let said: serde_json::Value = serde_json::from_str(&p.said())?;
        Ok(said["pps"].as_f64().ok_or("udpload gave no rate")? / 1e6)
    };
    let value = pps(&receiver)?;
    if value == 0.0 {
        Err("no datagram arrived".into())
    } else {
        Ok(Figures::from([("value", value), ("sent", pps(&sender)?)]))
    }
}
