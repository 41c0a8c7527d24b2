use clap::Parser;
use serde_json::Value;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: VmArgs,
}

const FILE: &str = "\
run_dir = \"/run/v\"
[[switch]]
name = \"vale0\"
[[switch.port]]
name = \"vm1\"
kind = \"e1000\"
[[switch.port]]
name = \"vm2\"
kind = \"vhost-user\"
socket = \"/tmp/a b.sock\"
queues = 2
mtu = 1400
[[switch.port]]
name = \"r\"
kind = \"ring\"
";

fn ask(words: &str) -> Result<String, Failure> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), FILE).unwrap();
    let path = file.path().display().to_string();
    let words = ["vm-args"].into_iter().chain(words.split_whitespace()).chain(["--config", &path]);
    text(&Cli::try_parse_from(words).map_err(|e| Failure::Usage(e.to_string()))?.args)
}

#[test]
fn for_qemu() {
    let want = "-machine q35,memory-backend=m0 -object memory-backend-memfd,id=m0,size=1G,share=on -m 1G \
                -device '{\"driver\":\"vfio-user-pci\",\"socket\":{\"path\":\"/run/v/vale0.vm1.vm\",\"type\":\"unix\"}}'\n";
    assert_eq!(ask("vale0:vm1").unwrap(), want);
    assert_eq!(ask("vm1").unwrap(), want, "there is one switch only");
    let both = ask("vm2 vm1 --memory 1536m --json").unwrap();
    let both: Value = serde_json::from_str(&both).unwrap();
    assert_eq!(
        both["args"],
        json!([
            "-machine",
            "q35,memory-backend=m0",
            "-object",
            "memory-backend-memfd,id=m0,size=1536M,share=on",
            "-m",
            "1536M",
            "-chardev",
            "socket,id=c0,path=/tmp/a b.sock",
            "-netdev",
            "vhost-user,id=n0,chardev=c0,queues=2",
            "-device",
            "virtio-net-pci,netdev=n0,mac=02:9e:87:3a:f0:17,romfile=,mq=on,vectors=6,host_mtu=1400",
            "-device",
            "{\"driver\":\"vfio-user-pci\",\"socket\":{\"path\":\"/run/v/vale0.vm1.vm\",\"type\":\"unix\"}}",
        ])
    );
    assert_eq!(both["ports"][0]["mac"], "02:9e:87:3a:f0:17");
    let mac = both["ports"][1]["mac"].as_str().unwrap();
    assert!(mac.starts_with("02:") && mac.len() == 17 && mac != "02:9e:87:3a:f0:17", "{mac}");
    assert_eq!(
        (both["monitor"].as_str(), both["memory"].as_str()),
        (Some("qemu-system-x86_64"), Some("1536M"))
    );
}

#[test]
fn for_others() {
    assert_eq!(
        ask("vm1 vm2 --monitor cloud-hypervisor --memory 2G").unwrap(),
        "--memory size=2G,shared=on --user-device socket=/run/v/vale0.vm1.vm --net \
         'vhost_user=true,socket=/tmp/a b.sock,mac=02:9e:87:3a:f0:17,num_queues=4,mtu=1400'\n"
    );
    assert_eq!(
        ask("vm2 --monitor uml --memory 128").unwrap(),
        "mem=128M 'virtio_uml.device=/tmp/a b.sock:1'\n"
    );
    assert!(matches!(ask("vm1 --monitor uml"), Err(Failure::Usage(m)) if m.contains("no PCI bus")));
}

#[test]
fn mistakes_are_named() {
    let refused = |words: &str, part: &str| match ask(words) {
        Err(Failure::Refused(m)) => assert!(m.contains(part), "{m}"),
        other => panic!("{words}: {other:?}"),
    };
    let wrong = |words: &str, part: &str| match ask(words) {
        Err(Failure::Usage(m)) => assert!(m.contains(part), "{m}"),
        other => panic!("{words}: {other:?}"),
    };
    refused("vale0:vm3", "no port \"vm3\" (its ports for VMs: vm1, vm2)");
    refused("vale0:r", "of kind ring");
    refused("vale7:vm1", "no switch \"vale7\" (there is vale0)");
    wrong("vm1 vale0:vm1", "vale0:vm1 is named twice");
    wrong("vm1 --memory 0", "no size of memory");
    wrong("vm1 --memory 5x", "no size of memory");
    wrong("vm1 --memory 99999999999999999999T", "no size of memory");
    wrong("vm1 --monitor xen", "possible values");
    wrong("", "required");
}

#[test]
fn words_survive_a_shell() {
    assert_eq!(quoted("a=b,c"), "a=b,c");
    assert_eq!(quoted(""), "''");
    assert_eq!(quoted("it's"), r"'it'\''s'");
}
