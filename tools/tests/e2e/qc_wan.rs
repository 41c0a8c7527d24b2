//! The example of a WAN in namespaces, as its script makes it.

use std::path::Path;
use std::process::{Command, Output};

use crate::harness::need;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/wan.sh");
const NETWORK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/wan.toml");
const SITES: [&str; 8] = ["S", "a", "b", "c", "t1", "t2", "t3", "t4"];

fn wan(words: &[&str]) -> Output {
    let mut command = Command::new(SCRIPT);
    command.arg(NETWORK).args(words).env("VALECAST", env!("CARGO_BIN_EXE_valecast")).env("SIZE", "3");
    command.output().expect("run the example's script")
}

fn namespaces() -> usize {
    SITES.iter().filter(|site| Path::new("/run/netns").join(format!("wan-{site}")).exists()).count()
}

#[test]
fn the_script_sends_a_file_over_its_wan() {
    if !need("the_script_sends_a_file_over_its_wan", &["ip", "tc"]) {
        return;
    }
    let shown = wan(&["demo"]);
    let said = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success(), "{said}\n{}", String::from_utf8_lossy(&shown.stderr));
    for site in ["t1", "t2", "t3", "t4"] {
        assert!(said.contains(&format!("{site} has it, byte for byte")), "{said}");
    }
    assert_eq!(namespaces(), 0, "`demo` left namespaces");
}

#[test]
fn the_script_makes_and_removes_shaped_links() {
    if !need("the_script_makes_and_removes_shaped_links", &["ip", "tc"]) {
        return;
    }
    let up = wan(&["up"]);
    let made = namespaces();
    let shaped = Command::new("tc").args(["-n", "wan-S", "qdisc", "show", "dev", "w0-1"]).output();
    let down = wan(&["down"]);
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    assert_eq!(made, SITES.len());
    let shaped = String::from_utf8(shaped.expect("run tc").stdout).expect("text");
    assert!(shaped.contains("tbf") && shaped.contains("rate 400Mbit"), "{shaped}");
    assert!(down.status.success() && namespaces() == 0, "`down` left namespaces");
}
