//! A stock guest on an e1000 port with what is not a guest: a TAP device of the host, and a client with a ring.

use std::process::{Command, Stdio};

use crate::harness::guests::{
    Guest, Qemu, bytes_per_frame, guest_ping_exact, iperf3_to, need_guests, udp_counter, udp_losses, up,
    vm_socket,
};
use crate::harness::{Daemon, Netns, assert_books, drops, iperf3_server, ping_exact, settle, wait_for};
use serde_json::Value;

const VALECAST: &str = env!("CARGO_BIN_EXE_valecast");

fn pkt_gen(daemon: &Daemon, args: &[&str]) -> Command {
    let mut command = Command::new(VALECAST);
    command.args(["pkt-gen", "-i", "vale0:ring", "--json", "--run-dir"]).arg(daemon.run_dir()).args(args);
    command.stdin(Stdio::null());
    command
}

#[track_caller]
fn packets(output: &std::process::Output) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "pkt-gen: {}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    json["packets"].as_u64().expect("packets")
}

#[test]
fn a_guest_talks_to_the_host_and_to_a_ring() {
    if !need_guests("a_guest_talks_to_the_host_and_to_a_ring", &["ip", "ping", "iperf3"]) {
        return;
    }
    let host = Netns::new("host");
    let daemon = Daemon::start(&format!(
        "run_dir = \"{{run}}\"\n[[switch]]\nname = \"vale0\"\n\
         [[switch.port]]\nname = \"vm\"\nkind = \"e1000\"\n\
         [[switch.port]]\nname = \"ring\"\nkind = \"ring\"\n\
         [[switch.port]]\nname = \"host\"\nkind = \"tap\"\nifname = \"vc0\"\nnetns = {:?}\n\
         addresses = [\"10.77.0.2/24\"]\n",
        host.name()
    ));
    host.wait_ready("vc0");
    let mut vm = Guest::start(&Qemu::new("vm", "e1000").vfio_user(&vm_socket(&daemon, "vm")));
    vm.wait_ready();
    up(&mut vm, "10.77.0.1/24");

    for size in [0, 56, 1472] {
        guest_ping_exact(&mut vm, "10.77.0.2", 20, size, "");
        ping_exact(&host, "10.77.0.1", 20, size, &["-M", "do"]);
    }
    tcp(&daemon, &mut vm, &host);

    // Broadcasts go to everybody, the ring among them.
    let receiver =
        pkt_gen(&daemon, &["-f", "rx", "-n", "200"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let receiver = receiver.expect("start pkt-gen");
    wait_for("pkt-gen to attach", || {
        let ports = daemon.ctl(&["ports"]).to_string();
        ports.contains(&format!("\"pid\":{}", receiver.id())).then_some(())
    });
    let text = vm.ok("ping -b -q -c 250 -i 0.004 -W 1 10.77.0.255 2>&1; true");
    assert!(text.contains("250 packets transmitted"), "{text}");
    assert!(packets(&receiver.wait_with_output().expect("wait")) >= 200);

    // Numbered by the guest's own count: datagrams to a port where nobody listens.
    let mac = vm.ok("cat /sys/class/net/eth0/address");
    let lost = |vm: &mut Guest| drops(&settle(&daemon)) + udp_losses(vm);
    let before = (udp_counter(&mut vm, "NoPorts"), lost(&mut vm));
    let to = ["-f", "tx", "-n", "2000", "-R", "2k", "-l", "100", "-D", mac.trim(), "-d", "10.77.0.1:9"];
    assert_eq!(packets(&pkt_gen(&daemon, &to).output().expect("run pkt-gen")), 2000);
    let got = udp_counter(&mut vm, "NoPorts") - before.0;
    let lost = lost(&mut vm) - before.1;
    println!("ring to guest: {got} of 2000, {lost} lost by count");
    assert!(got > 0 && got + lost >= 2000, "{got} came and {lost} were counted as lost of 2000");
    vm.healthy();
    assert_books(&daemon);
    daemon.stop();
}

/// Segments come whole from either side. The host gets them whole too, the guest's card cut.
fn tcp(daemon: &Daemon, vm: &mut Guest, host: &Netns) {
    for (from, more) in [("vm", ""), ("host", "-R")] {
        let whole = bytes_per_frame(daemon, from, || {
            let _server = iperf3_server(host);
            let json = iperf3_to(vm, "10.77.0.2", &format!("-n 8M {more}"));
            let bytes = json["end"]["sum_received"]["bytes"].as_u64().expect("bytes");
            let rate = json["end"]["sum_received"]["bits_per_second"].as_f64().expect("rate");
            println!("TCP from {from}: {:.0} Mbit/s", rate / 1e6);
            assert!(bytes > 1 << 20, "{json}");
        });
        assert!(whole > 2000, "segments from {from} did not enter whole: {whole} bytes");
    }
}
