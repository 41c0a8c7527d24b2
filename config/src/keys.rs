//! Every key that may be typed.
//!
//! The reader takes the keys it knows from here and the manual's table is rendered from here; a test
//! types every default written here and checks that nothing changes by it.

/// One key of a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: &'static str,
    /// Its default as TOML; or `required`, `none`, or words in parentheses when it depends on something.
    pub default: &'static str,
    /// What it is for.
    pub about: &'static str,
}

/// The keys of one kind of table.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    /// How the table is written.
    pub header: &'static str,
    /// The port kind these keys belong to, for those of one kind only.
    pub kind: Option<&'static str>,
    /// What the table describes.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

impl Section {
    /// Whether the section has this key.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }
}

macro_rules! section {
    ($id:ident $header:literal $(kind $kind:literal)? $about:literal
     { $($name:literal: $type:literal = $default:literal, $text:literal;)* }) => {
        pub(crate) static $id: Section = Section {
            header: $header,
            kind: { #[allow(unused_mut, unused_assignments)] { let mut kind = None; $(kind = Some($kind);)? kind } },
            about: $about,
            keys: &[$(Key { name: $name, kind: $type, default: $default, about: $text },)*],
        };
    };
}

section! { FILE "the file" "Keys above the first table." {
    "run_dir": "path" = "(`/run/valecast` for root, `$XDG_RUNTIME_DIR/valecast`, else `/tmp/valecast-<uid>`)", "Directory of the control sockets, one `<switch>.sock` each.";
    "api": "table" = "none", "The TCP listener, see `[api]`.";
    "netmap": "table" = "(its defaults)", "What netmap programs may do, see `[netmap]`.";
    "qc": "table" = "none", "The sites of QuickCast, see `[qc]`.";
    "switch": "array of tables" = "required", "The switches, see `[[switch]]`; at least one.";
}}

section! { API "[api]" "The TCP listener for `/metrics`, the control API and the dashboard." {
    "listen": "\"address:port\"" = "none", "Where to listen, like `\"127.0.0.1:9464\"`. Whoever reaches it may look at everything and change nothing.";
}}

section! { NETMAP "[netmap]" "Programs written for netmap, which reach the daemon by way of the socket `netmap` in `run_dir`." {
    "auto_create": "true or false" = "(`true` if `socket_mode` admits nobody but the owner)", "Make switches and ports that programs name and this file does not.";
    "spare_buffers": "0..=1048576" = "8192", "Buffers that a port's memory holds beside its rings, for pipes, monitors and extra buffers.";
    "socket_mode": "\"octal\"" = "\"0600\"", "Permission bits of the socket; whoever may open it may use every switch by it.";
    "socket_owner": "user name or number" = "none", "Owner of the socket; none: whoever runs the daemon.";
    "socket_group": "group name or number" = "none", "Group of the socket; none: the daemon's.";
}}

section! { QC "[qc]" "QuickCast: which switches are sites, and who controls them." {
    "controller": "\"unix:PATH\" or \"https://HOST:PORT\"" = "(`qc-controller.sock` in `run_dir`)", "Where the controller answers; a path is from `run_dir` on if it is not absolute, and the port is 7600 if none is given.";
    "ca": "path" = "none", "Certificate (PEM) of the authority that signed the controller's; needed for https, from the directory of this file on if it is no absolute path.";
    "cert": "path" = "none", "Certificate (PEM) of this side; as `ca`.";
    "key": "path" = "none", "Its private key (PEM); as `ca`.";
    "site": "array of tables" = "required", "The sites, see `[[qc.site]]`; at least one.";
}}

section! { QC_SITE "[[qc.site]]" "A switch that takes part in QuickCast. Its ports, groups, meters must not have names that begin with `qc-`." {
    "name": "name" = "(the switch's name)", "Unique among all sites of the controller; 1 to 15 of A-Z a-z 0-9 _ . -";
    "switch": "switch" = "required", "The switch; of one site only.";
    "link": "array of tables" = "[]", "Its links, see `[[qc.site.link]]`; each takes two groups of the switch.";
}}

section! { QC_LINK "[[qc.site.link]]" "A way to another site." {
    "port": "port" = "required", "The port: of kind patch, vxlan, packet, xdp, tap or netmap, with a `capacity` and `flood = false`.";
    "to": "name" = "required", "The site at its other end. There may be several links to one: which end belongs to which they find out themselves.";
}}

section! { SWITCH "[[switch]]" "One switch." {
    "name": "name" = "required", "Unique in the file; 1 to 15 of A-Z a-z 0-9 _ . -";
    "workers": "1..=64" = "1", "Forwarding threads.";
    "cpus": "array of CPU numbers" = "[]", "The CPU of each worker, as many as there are workers; empty leaves them unpinned.";
    "inline": "0..=64" = "0", "Threads of the program itself that may forward beside the workers, for programs that have the switch as a library.";
    "spin": "duration, up to 10s" = "\"50us\"", "How long an idle worker or ring is polled before it sleeps.";
    "gather": "duration, up to 10ms" = "\"0\"", "How long a worker that has had frames sleeps at the least: what comes meanwhile is taken together.";
    "burst": "1..=1024" = "256", "Most frames taken from a ring in one turn.";
    "ageing": "duration" = "\"300s\"", "Age at which an unused learned address is forgotten (IEEE 802.1D: 300 s); 0 never forgets.";
    "fdb_entries": "16..=4194304" = "65536", "Addresses the forwarding table holds.";
    "max_groups": "1..=65536" = "1024", "Most groups.";
    "max_buckets": "1..=1024" = "32", "Most buckets in a group.";
    "memory_limit": "size, from 64KiB" = "\"4GiB\"", "Memory all rings of the switch may take together.";
    "socket_mode": "\"octal\"" = "\"0600\"", "Permission bits of the control socket.";
    "socket_owner": "user name or number" = "none", "Owner of the control socket; none: whoever runs the daemon.";
    "socket_group": "group name or number" = "none", "Group of the control socket; none: the daemon's.";
    "port": "array of tables" = "[]", "Ports, see `[[switch.port]]`.";
    "static": "array of tables" = "[]", "Fixed forwarding entries, see `[[switch.static]]`.";
    "mirror": "array of tables" = "[]", "Mirrors, see `[[switch.mirror]]`.";
    "meter": "array of tables" = "[]", "Meters, see `[[switch.meter]]`.";
    "group": "array of tables" = "[]", "Groups, see `[[switch.group]]`.";
}}

section! { PORT "[[switch.port]]" "One port; these keys go with every kind." {
    "name": "name" = "required", "Unique in the switch; 1 to 15 of A-Z a-z 0-9 _ . -";
    "kind": "\"ring\", \"tap\", \"packet\", \"xdp\", \"pcap\", \"null\", \"patch\", \"netmap\", \"e1000\", \"vhost-user\" or \"vxlan\"" = "required", "What the port connects to.";
    "overflow": "\"drop\" or \"backpressure\"" = "(`\"drop\"`; `\"backpressure\"` for pcap)", "Without room, frames for this port are dropped and counted, or wait with their sender.";
    "mac_limit": "0..=4194304" = "0", "Most addresses learned on this port; 0 is no limit of its own.";
    "allowed_macs": "array of MAC addresses" = "[]", "Source addresses the port may send from; empty allows any.";
    "learn": "true or false" = "(`true`; `false` for pcap)", "Whether the switch learns addresses from this port.";
    "flood": "true or false" = "true", "Whether frames to unknown addresses, broadcasts and multicasts without a group leave by this port, and go anywhere if they come in by it.";
    "vlan_access": "1..=4094" = "none", "The port carries this VLAN only, untagged. Excludes the other VLAN keys.";
    "vlan_trunk": "\"all\" or array of 1..=4094" = "\"all\"", "VLANs the port carries tagged; the default without `vlan_access`.";
    "vlan_native": "1..=4094" = "none", "VLAN of a trunk's untagged frames, carried even if not in `vlan_trunk`; none leaves them outside every VLAN.";
    "rate": "rate" = "none", "Limit on what enters the switch here.";
    "rate_burst": "size, 64B to 1TiB" = "(10 ms at `rate`, at least `\"64KiB\"`)", "Depth of the limit's token bucket.";
    "rate_mode": "\"police\" or \"shape\"" = "(`\"police\"`)", "Above the limit, frames are dropped and counted, or wait in the sender's ring.";
    "capacity": "rate" = "none", "Rate at which frames leave here; none: as fast as they come.";
    "queue": "size, 4KiB to 4GiB, or duration at `capacity`" = "(50 ms at `capacity`; at least `\"256KiB\"` or 250 ms, whichever is less; `\"16KiB\"` to `\"64MiB\"`)", "How much may wait to leave; more is without room, see `overflow`. A frame counts as 128 bytes at least.";
    "faults": "table" = "none", "What goes wrong with frames that leave here, for tests; see below.";
}}

section! { FAULTS "faults = { loss = … }" "What goes wrong with frames that leave by a port, for tests. Shares are of all frames." {
    "loss": "0..=1" = "0", "Share that is lost.";
    "burst": "1..=1000000" = "(independent losses)", "Mean number of frames lost in a row.";
    "duplicate": "0..=1" = "0", "Share that is delivered twice.";
    "reorder": "0..=1" = "0", "Share that 1 to 8 later frames overtake.";
    "corrupt": "0..=1" = "0", "Share in which one bit behind the Ethernet header is flipped.";
    "delay": "duration, up to 10s" = "\"0ns\"", "How much later frames arrive.";
    "seed": "whole number from 0" = "1", "What chance begins with: the same seed and frames have the same fate.";
}}

section! { RING "[[switch.port]]" kind "ring" "Shared-memory rings of a client process." {
    "tx_rings": "1..=16" = "1", "Rings from the client to the switch.";
    "rx_rings": "1..=16" = "1", "Rings from the switch to the client.";
    "slots": "power of two, 16..=32768" = "1024", "Slots in each ring.";
    "buf_size": "size, 64B to 64KiB" = "2048", "Size of each buffer.";
    "hugepages": "\"try\" or \"off\"" = "\"try\"", "Have its memory lie in huge pages, where it fills whole ones and the kernel has some to give.";
    "memory_limit": "size, from 64KiB" = "none", "Memory this port may take; none: what the switch allows.";
    "allow_users": "array of names or numbers" = "[]", "Users who may open the port; this and `allow_groups` empty: whoever may open the socket.";
    "allow_groups": "array of names or numbers" = "[]", "Groups whose members may open the port.";
}}

section! { TAP "[[switch.port]]" kind "tap" "A TAP interface, created if it does not exist." {
    "ifname": "interface name" = "(the port's name)", "Name of the interface, up to 15 bytes.";
    "netns": "name or absolute path" = "none", "Network namespace to create it in: a name under `/run/netns`, or a path; none: the daemon's.";
    "queues": "1..=16" = "1", "Queues of the interface.";
    "mtu": "68..=65521" = "none", "MTU of the interface in bytes; none: the kernel's.";
    "mac": "MAC address" = "none", "Address of the interface; none: the kernel's choice.";
    "offload": "true or false" = "true", "Leave checksums and segmentation to this side (vnet header), and merge TCP segments for the kernel.";
    "addresses": "array of \"address/prefix\"" = "[]", "IP addresses to set on the interface.";
    "up": "true or false" = "true", "Bring the interface up.";
}}

section! { PACKET "[[switch.port]]" kind "packet" "An existing network interface, through a packet socket." {
    "interface": "interface name" = "required", "The interface.";
    "netns": "name or absolute path" = "none", "Network namespace it is in: a name under `/run/netns`, or a path; none: the daemon's.";
    "promiscuous": "true or false" = "true", "Take frames for any address.";
    "offload": "true or false" = "true", "Leave checksums and segmentation to the kernel (vnet header).";
}}

section! { XDP "[[switch.port]]" kind "xdp" "An existing network interface, through AF_XDP sockets; the port takes it over." {
    "interface": "interface name" = "required", "The interface.";
    "netns": "name or absolute path" = "none", "Network namespace it is in: a name under `/run/netns`, or a path; none: the daemon's.";
    "mode": "\"auto\", \"native\", \"copy\" or \"generic\"" = "\"auto\"", "Frames reach the port in the driver without a copy (`native`), in the driver with one (`copy`), or after it (`generic`); `auto` takes the first of these that the interface allows.";
    "queues": "1..=16" = "(all receive queues, at most 16)", "Receive queues to take frames from, the first ones; frames of the others go to the host.";
    "slots": "power of two, 64..=32768" = "2048", "Frames that may wait in each queue and direction.";
    "promiscuous": "true or false" = "true", "Take frames for any address.";
    "fill_checksums": "true or false" = "true", "Finish TCP and UDP checksums that a sender on this machine left to its device.";
}}

section! { PCAP "[[switch.port]]" kind "pcap" "Capture files; at least one of `read` and `write`." {
    "read": "path" = "none", "File whose frames enter the switch.";
    "write": "path" = "none", "File that frames leaving the switch are written to.";
    "timing": "\"original\" or \"asap\"" = "\"original\"", "Send the frames of `read` with their recorded gaps, or at once.";
    "pps": "number" = "none", "Send the frames of `read` at this many per second, instead of `timing`.";
    "loop": "0..=4294967295" = "1", "How often to send `read`; 0 is for ever.";
}}

section! { NULL "[[switch.port]]" kind "null" "Takes everything, gives nothing." {}}

section! { PATCH "[[switch.port]]" kind "patch" "A cable between two switches." {
    "peer": "\"switch:port\"" = "required", "The patch port at the other end, in another switch of this file, whose `peer` is this port.";
}}

section! { NETMAP_PORT "[[switch.port]]" kind "netmap" "A port of a real netmap, through `/dev/netmap`." {
    "interface": "name as netmap has it" = "required", "An interface (`eth0`), a port of a VALE switch (`vale9:a`), or the end of a pipe (`eth0{1`, `eth0}1`).";
    "device": "path" = "\"/dev/netmap\"", "The device.";
}}

section! { E1000 "[[switch.port]]" kind "e1000" "A network card (Intel 82540EM) in a virtual machine, which a VM monitor plugs in over vfio-user." {
    "socket": "path" = "(`<switch>.<port>.vm` in `run_dir`)", "Socket that VM monitors connect to, from `run_dir` on if it is no absolute path; it gets the switch's `socket_mode`, `socket_owner` and `socket_group`.";
    "mac": "MAC address" = "(made from the names of switch and port)", "Address of the card.";
    "mtu": "68..=16110" = "(whatever the guest sets up)", "Longest IP packet that is delivered to the guest.";
    "moderation": "true or false" = "true", "Moderate interrupts as the guest asks.";
    "itr": "0..=65535" = "0", "Least time between two interrupts in units of 256 ns, whatever the guest asks; 0 is none.";
    "tx_idle_polls": "0..=1000000" = "64", "Looks at an empty transmit ring before the guest is asked to tell of new frames (CSB).";
    "csb": "true or false" = "false", "Tell the guest that the card knows the CSB.";
    "allow_users": "array of names or numbers" = "[]", "Users whose VMs may open the port; this and `allow_groups` empty: whoever may open the socket.";
    "allow_groups": "array of names or numbers" = "[]", "Groups whose members' VMs may open the port.";
}}

section! { VHOST_USER "[[switch.port]]" kind "vhost-user" "A virtio-net device in a virtual machine, which a VM monitor plugs in over vhost-user." {
    "socket": "path" = "(`<switch>.<port>.vm` in `run_dir`)", "Socket that VM monitors connect to, from `run_dir` on if it is no absolute path; it gets the switch's `socket_mode`, `socket_owner` and `socket_group`.";
    "mtu": "68..=65521" = "none", "MTU that the guest is told of; none: it is not told.";
    "queues": "1..=16" = "1", "Most pairs of queues.";
    "offload": "true or false" = "true", "Let either side leave checksums and segmentation to the other.";
    "allow_users": "array of names or numbers" = "[]", "Users whose VMs may open the port; this and `allow_groups` empty: whoever may open the socket.";
    "allow_groups": "array of names or numbers" = "[]", "Groups whose members' VMs may open the port.";
}}

section! { VXLAN "[[switch.port]]" kind "vxlan" "A tunnel to another host: VXLAN over UDP (RFC 7348)." {
    "remote": "\"address\" or \"address:port\"" = "required", "The other end; only frames from this address are taken, from any port of it. The port is where frames go, 4789 by default.";
    "vni": "0..=16777215" = "required", "Number of the network; only frames of it are taken.";
    "local": "\"address\" or \"address:port\"" = "(port 4789 of every address)", "Where to listen; several vxlan ports may listen there, each for its own `remote` and `vni`.";
    "mtu": "68..=65477" = "(what a datagram holds)", "Longest IP packet that is sent.";
    "netns": "name or absolute path" = "none", "Network namespace of the sockets: a name under `/run/netns`, or a path; none: the daemon's.";
    "ttl": "1..=255" = "(the kernel's)", "TTL or hop limit of the datagrams.";
    "dont_fragment": "true or false" = "false", "Refuse datagrams that are too long for the way (counted as `tx_error`) rather than fragment them.";
}}

section! { STATIC "[[switch.static]]" "A forwarding entry that neither ages nor moves." {
    "mac": "MAC address" = "required", "Destination, of one station or of many; unique together with `vlan`.";
    "port": "port" = "required", "Where its frames go.";
    "vlan": "0..=4094" = "0", "VLAN; 0 is untagged.";
}}

section! { MIRROR "[[switch.mirror]]" "Copies the frames of some ports to another." {
    "from": "port or array of ports" = "required", "The ports to watch.";
    "to": "port" = "required", "The port that gets the copies; not among `from`.";
    "direction": "\"in\", \"out\" or \"both\"" = "\"both\"", "Frames that enter the switch from those ports, leave it through them, or both.";
}}

section! { METER "[[switch.meter]]" "A token bucket that groups can share." {
    "name": "name" = "required", "Unique in the switch.";
    "rate": "rate" = "required", "Its rate.";
    "burst": "size, 64B to 1TiB" = "(10 ms at `rate`, at least `\"64KiB\"`)", "Its depth.";
    "mode": "\"police\" or \"shape\"" = "\"shape\"", "Above the rate, frames are dropped and counted, or wait in the sender's ring.";
}}

section! { GROUP "[[switch.group]]" "Sends one frame to several ports." {
    "name": "name" = "required", "Unique in the switch.";
    "address": "MAC address" = "required", "Destination address that selects the group; unique together with `ingress`.";
    "ingress": "port" = "none", "Only frames from this port; none: from any.";
    "meter": "meter" = "none", "The meter its frames debit.";
    "buckets": "array of tables" = "required", "Where copies go: 1 to `max_buckets` of the switch, see below.";
}}

section! { BUCKET "a bucket: { port = … }" "One destination of a group, an element of `buckets`." {
    "port": "port" = "required", "Where the copy goes.";
    "set_dst": "MAC address" = "none", "Destination address written into the copy; none leaves it alone.";
}}

section! { TE "the file of `valecast qc serve`" "QuickCast's controller has a file of its own, without tables. Paths are relative to it." {
    "state_dir": "path" = "(`/var/lib/valecast/qc` for root, `$XDG_STATE_HOME/valecast/qc`, else `~/.local/state/valecast/qc`)", "Directory of the journal: transfers and trees outlive the controller.";
    "socket": "path" = "(`qc-controller.sock` in the `run_dir` of a daemon that sets none)", "Unix socket of the controller; whoever may open it may do everything.";
    "socket_mode": "\"octal\"" = "\"0600\"", "Permission bits of the socket.";
    "listen": "\"address:port\"" = "none", "Where sites on other hosts reach the controller, by TLS; needs `ca`, `cert` and `key`.";
    "ca": "path" = "none", "Certificate (PEM) of who makes the certificates of sites.";
    "cert": "path" = "none", "The controller's certificate (PEM).";
    "key": "path" = "none", "The private key of `cert` (PEM).";
    "dashboard": "\"address:port\"" = "none", "Where anybody may look at the page, the metrics and the transfers, in plain HTTP; nothing can be changed there.";
    "topology": "path or name" = "none", "Links that there should be, as `valecast qc solve` takes them: what differs is reported, links that are not in it are not used. None: whatever sites report.";
    "scheme": "\"unicast\", \"single\", \"quickcast2\", \"quickcast\", \"best\" or another of `valecast qc solve`" = "\"best\"", "How transfers are planned that do not say.";
    "rates": "rate policy" = "(that of `scheme`)", "Who gets how much of a link: `fair`, `fcfs`, `srpt`, `weighted`, `adaptive` and others of `valecast qc sim`.";
    "timeslot": "duration, 20ms to 1h" = "\"1s\"", "How often rates are computed.";
    "headroom": "above 0, at most 1" = "0.98", "The share of a link's capacity that trees may use; the rest is for reports, polls and repairs.";
    "lease": "duration, up to 1h" = "\"30s\"", "How long a silent site keeps its trees, as long as its links are up.";
    "sender_timeout": "duration, 1s to 1h" = "\"10s\"", "How long a sender may be silent before its trees are withdrawn.";
    "forget_after": "duration, 1s to 8760h" = "\"24h\"", "How long a transfer is kept that nobody sends; then it is over, as `partial`.";
    "install_timeout": "duration, 100ms to 10m" = "\"5s\"", "How long sites may take to install a tree, and how long missing receivers are waited for before others start.";
    "max_transfers": "1..=100000" = "1000", "Most transfers that have trees at once; others wait.";
}}

/// The sections that belong to one port kind, in the order messages list the kinds.
pub(crate) static KINDS: [&Section; 11] =
    [&RING, &TAP, &PACKET, &XDP, &PCAP, &NULL, &PATCH, &NETMAP_PORT, &E1000, &VHOST_USER, &VXLAN];

/// Every section, in the order of a file.
pub static SECTIONS: [&Section; 25] = [
    &FILE,
    &API,
    &NETMAP,
    &QC,
    &QC_SITE,
    &QC_LINK,
    &SWITCH,
    &PORT,
    &FAULTS,
    &RING,
    &TAP,
    &PACKET,
    &XDP,
    &PCAP,
    &NULL,
    &PATCH,
    &NETMAP_PORT,
    &E1000,
    &VHOST_USER,
    &VXLAN,
    &STATIC,
    &MIRROR,
    &METER,
    &GROUP,
    &BUCKET,
];
