//! Ports: what all kinds share, and what each kind adds.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::units::UnitError;
use crate::valid::MeterMode;
use crate::{Mac, show};

/// One port of a switch: `[[switch.port]]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Port {
    /// Name, unique in the switch: 1 to 15 of `A-Z a-z 0-9 _ . -`. Required.
    pub name: String,
    /// What happens to a frame for which this port has no room. Default drop; backpressure for pcap.
    pub overflow: Overflow,
    /// Most addresses learned on this port; 0 (the default) is no limit of its own.
    pub mac_limit: u32,
    /// Source addresses the port may send from; empty (the default) allows any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_macs: Vec<Mac>,
    /// Whether the switch learns addresses from this port. Default true; false for pcap.
    pub learn: bool,
    /// Whether floods leave by this port, and frames that come in by it are flooded. Default true.
    pub flood: bool,
    /// VLANs: `vlan_access`, or `vlan_trunk` and `vlan_native`. Default: trunk of all.
    #[serde(flatten)]
    pub vlan: Vlan,
    /// Limit on what enters the switch here: `rate`, `rate_burst`, `rate_mode`. Default none.
    #[serde(flatten)]
    pub limit: Option<RateLimit>,
    /// Rate at which frames leave by this port, in bits per second. Default none: as fast as they come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// Bytes that may wait to leave. Default: [`Port::queue_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u64>,
    /// What goes wrong on the way out, for tests. Default nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults: Option<Faults>,
    /// What the port connects to, with the keys of that kind. Required.
    #[serde(flatten)]
    pub kind: PortKind,
}

/// Bytes that may wait at a port with a capacity in any case, unless configured: some frames.
const LEAST_QUEUE: u64 = 16 << 10;
/// Bytes that may wait beyond [`QUEUE_MS`], for bursts, if they take no longer than [`SLOW_QUEUE_MS`] to leave.
const BURSTS: u64 = 256 << 10;
/// Most bytes: room for a queue is taken when the port is made, about half as much as may wait in it.
const MOST_QUEUE: u64 = 64 << 20;
/// How long (ms) what may wait takes to leave, unless configured.
const QUEUE_MS: u64 = 50;
/// And at a port with so little capacity that bursts take long.
const SLOW_QUEUE_MS: u64 = 250;
/// Bytes that may be on the way at a port with faults and no capacity, unless configured.
const FREE_QUEUE: u64 = 16 << 20;

impl Port {
    /// Bytes that may wait to leave: `queue`, or 50 ms at `capacity` (but at least 256 KiB or 250 ms, whichever is less, and at
    /// least 16 KiB), at most 64 MiB; 16 MiB without a capacity.
    pub fn queue_bytes(&self) -> u64 {
        self.queue.unwrap_or_else(|| {
            let Some(rate) = self.capacity else { return FREE_QUEUE };
            let within = |ms: u64| (rate / 8).saturating_mul(ms) / 1000;
            within(QUEUE_MS).max(within(SLOW_QUEUE_MS).min(BURSTS)).clamp(LEAST_QUEUE, MOST_QUEUE)
        })
    }
}

/// What goes wrong with frames on their way out of a port: `faults`. Shares are of the frames that leave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Faults {
    /// Share that is lost, 0 to 1. Default 0.
    pub loss: f64,
    /// Mean number of frames lost in a row, from 1; the default loses each frame independently of the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<f64>,
    /// Share that is delivered twice. Default 0.
    pub duplicate: f64,
    /// Share that is overtaken by 1 to 8 frames. Default 0.
    pub reorder: f64,
    /// Share in which one bit after the addresses and the type is flipped. Default 0.
    pub corrupt: f64,
    /// How much later frames arrive. Default 0.
    #[serde(serialize_with = "show::duration")]
    pub delay: Duration,
    /// What chance begins with; the same seed and frames have the same fate. Default 1.
    pub seed: u64,
}

/// What happens to a frame for a port without room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// It is dropped and counted, as VALE does.
    Drop,
    /// It stays with its sender until there is room.
    Backpressure,
}

/// A limit on what enters the switch from a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Bits per second.
    pub rate: u64,
    /// Depth of the token bucket in bytes. Default: [`default_burst`](crate::default_burst) of the rate.
    #[serde(rename = "rate_burst")]
    pub burst: u64,
    /// What happens above the rate. Default police.
    #[serde(rename = "rate_mode")]
    pub mode: MeterMode,
}

/// Which VLANs a port carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vlan {
    /// Untagged frames of this one VLAN (`vlan_access`).
    Access(u16),
    /// Tagged frames.
    Trunk {
        /// VLANs carried, ascending, the native one included; `None` carries all (`vlan_trunk = "all"`).
        allowed: Option<Vec<u16>>,
        /// VLAN of untagged frames (`vlan_native`); 0 leaves them in VLAN 0, outside every VLAN.
        native: u16,
    },
}

impl Default for Vlan {
    fn default() -> Self {
        Self::Trunk { allowed: None, native: 0 }
    }
}

impl Serialize for Vlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Access(vlan) => map.serialize_entry("vlan_access", vlan)?,
            Self::Trunk { allowed, native } => {
                match allowed {
                    Some(list) => map.serialize_entry("vlan_trunk", list)?,
                    None => map.serialize_entry("vlan_trunk", "all")?,
                }
                if *native != 0 {
                    map.serialize_entry("vlan_native", native)?;
                }
            }
        }
        map.end()
    }
}

/// What a port connects to (`kind`), with the keys of that kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PortKind {
    /// Shared-memory rings of a client process.
    Ring(RingPort),
    /// A TAP interface.
    Tap(TapPort),
    /// An existing network interface through a packet socket.
    Packet(PacketPort),
    /// An existing network interface through AF_XDP sockets.
    Xdp(XdpPort),
    /// Frames from and to capture files.
    Pcap(PcapPort),
    /// Takes everything, gives nothing.
    Null,
    /// A cable to a patch port of another switch in this file.
    Patch(PatchPort),
    /// A port of a real netmap.
    Netmap(NetmapPort),
    /// An e1000 in a virtual machine, over vfio-user.
    E1000(E1000Port),
    /// A tunnel to another host: VXLAN over UDP.
    Vxlan(VxlanPort),
    /// A virtio-net device in a virtual machine, over vhost-user.
    #[serde(rename = "vhost-user")]
    VhostUser(VhostUserPort),
}

impl PortKind {
    /// The socket that VM monitors connect to, if the file names one.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::E1000(p) => p.socket.as_deref(),
            Self::VhostUser(p) => p.socket.as_deref(),
            _ => None,
        }
    }

    /// The word for this kind in TOML, messages and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ring(_) => "ring",
            Self::Tap(_) => "tap",
            Self::Packet(_) => "packet",
            Self::Xdp(_) => "xdp",
            Self::Pcap(_) => "pcap",
            Self::Null => "null",
            Self::Patch(_) => "patch",
            Self::Netmap(_) => "netmap",
            Self::E1000(_) => "e1000",
            Self::Vxlan(_) => "vxlan",
            Self::VhostUser(_) => "vhost-user",
        }
    }
}

/// Keys of `kind = "ring"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RingPort {
    /// Rings from the client to the switch, 1 to 16. Default 1.
    pub tx_rings: u16,
    /// Rings from the switch to the client, 1 to 16. Default 1.
    pub rx_rings: u16,
    /// Slots in each ring, a power of two from 16 to 32768. Default 1024.
    pub slots: u32,
    /// Bytes in each buffer, 64 to 65536. Default 2048.
    pub buf_size: u32,
    /// Whether its memory is to lie in huge pages. Default try.
    pub hugepages: HugePages,
    /// Memory this port may take, in bytes. Default: what the switch allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// Users, by name or number, who may open the port. Empty, and no groups either: whoever may open
    /// the socket.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_users: Vec<String>,
    /// Groups, by name or number, whose members may open the port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_groups: Vec<String>,
}

/// Whether memory is to lie in huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HugePages {
    /// As far as the kernel has some to give.
    Try,
    /// No.
    Off,
}

impl HugePages {
    /// The word for it in TOML and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Try => "try",
            Self::Off => "off",
        }
    }
}

/// Keys of `kind = "tap"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TapPort {
    /// Name of the interface, up to 15 bytes. Default: the port's name.
    pub ifname: String,
    /// Network namespace: a name under `/run/netns` or an absolute path. Default: the daemon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Queues, 1 to 16. Default 1.
    pub queues: u16,
    /// MTU in bytes, 68 to 65521. Default: the kernel's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Address of the interface. Default: the kernel's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Whether checksums and segmentation are left to this side (vnet header). Default true.
    pub offload: bool,
    /// IP addresses to set on the interface. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IfAddr>,
    /// Whether to bring the interface up. Default true.
    pub up: bool,
}

/// Keys of `kind = "packet"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PacketPort {
    /// Name of the interface. Required.
    pub interface: String,
    /// Network namespace: a name under `/run/netns` or an absolute path. Default: the daemon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Whether to take frames for any address. Default true.
    pub promiscuous: bool,
    /// Whether checksums and segmentation are left to the kernel (vnet header). Default true.
    pub offload: bool,
}

/// Keys of `kind = "xdp"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct XdpPort {
    /// Name of the interface. Required.
    pub interface: String,
    /// Network namespace: a name under `/run/netns` or an absolute path. Default: the daemon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// How frames get from the interface to the port. Default auto.
    pub mode: XdpMode,
    /// Receive queues to take frames from, 1 to 16. Default: all of them, at most 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
    /// Frames that may wait in each queue and direction, a power of two from 64 to 32768. Default 2048.
    pub slots: u32,
    /// Whether to take frames for any address. Default true.
    pub promiscuous: bool,
    /// Whether to finish TCP and UDP checksums that a sender on this machine left to its device. Default true.
    pub fill_checksums: bool,
}

/// How frames get from an interface to an xdp port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum XdpMode {
    /// The first of the others that the interface allows.
    Auto,
    /// In the driver, without a copy.
    Native,
    /// In the driver, with a copy.
    Copy,
    /// After the driver.
    Generic,
}

impl XdpMode {
    /// The word for it in TOML and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Copy => "copy",
            Self::Generic => "generic",
        }
    }
}

/// Keys of `kind = "pcap"`. At least one of `read` and `write` is set.
#[derive(Clone, Debug, PartialEq)]
pub struct PcapPort {
    /// File whose frames enter the switch. Default none.
    pub read: Option<PathBuf>,
    /// File that frames leaving the switch are written to. Default none.
    pub write: Option<PathBuf>,
    /// When the frames of `read` are sent: `timing` or `pps`. Default original.
    pub timing: Timing,
    /// How often `read` is sent (`loop`); 0 is for ever. Default 1.
    pub repeat: u64,
}

/// When the frames of a capture file are sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// With the gaps the file recorded.
    Original,
    /// As fast as the switch takes them.
    Asap,
    /// This many frames per second (`pps`), more than 0 and at most 1e9.
    Pps(f64),
}

impl Serialize for PcapPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(path) = &self.write {
            map.serialize_entry("write", path)?;
        }
        // Without a file to read the other keys would be refused when read back.
        if let Some(path) = &self.read {
            map.serialize_entry("read", path)?;
            map.serialize_entry("loop", &self.repeat)?;
            match self.timing {
                Timing::Pps(pps) => map.serialize_entry("pps", &pps)?,
                timing => map.serialize_entry("timing", &timing)?,
            }
        }
        map.end()
    }
}

/// Keys of `kind = "patch"`; typed as `peer = "switch:port"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchPort {
    /// Switch at the other end; not this one.
    pub peer_switch: String,
    /// Patch port of that switch, whose peer is this port.
    pub peer_port: String,
}

impl Serialize for PatchPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("peer", &format!("{}:{}", self.peer_switch, self.peer_port))?;
        map.end()
    }
}

/// Keys of `kind = "netmap"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetmapPort {
    /// Interface, VALE port or pipe end, as netmap has it (`nr_name`), up to 63 bytes. Required.
    pub interface: String,
    /// The device. Default `/dev/netmap`.
    pub device: PathBuf,
}

/// Keys of `kind = "e1000"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct E1000Port {
    /// Socket that VM monitors connect to. Default: `<switch>.<port>.vm` in `run_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Address in the card's EEPROM. Default: made from the names of switch and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Longest IP packet in bytes, 68 to 16110. Default: whatever the guest sets up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether interrupts are moderated as the guest asks. Default true.
    pub moderation: bool,
    /// Least time between two interrupts, in units of 256 ns, as the card's register has it; what the guest
    /// asks for counts where it is longer. Default 0.
    pub itr: u16,
    /// Looks at a transmit ring that is empty before the guest is asked to tell of new frames (CSB). Default 64.
    pub tx_idle_polls: u32,
    /// Whether the card tells the guest that it knows the CSB. Default false.
    pub csb: bool,
    /// Users, by name or number, whose VMs may open the port. Empty, and no groups either: whoever may open
    /// the socket.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_users: Vec<String>,
    /// Groups, by name or number, whose members' VMs may open the port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_groups: Vec<String>,
}

/// Keys of `kind = "vhost-user"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VhostUserPort {
    /// Socket that VM monitors connect to. Default: `<switch>.<port>.vm` in `run_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Longest IP packet in bytes that the guest is told of, 68 to 65521. Default: not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Most pairs of queues, 1 to 16. Default 1.
    pub queues: u16,
    /// Whether checksums and segmentation may be left to the other side, in both directions. Default true.
    pub offload: bool,
    /// Users, by name or number, whose VMs may open the port. Empty, and no groups either: whoever may open
    /// the socket.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_users: Vec<String>,
    /// Groups, by name or number, whose members' VMs may open the port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_groups: Vec<String>,
}

/// Keys of `kind = "vxlan"` (RFC 7348).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VxlanPort {
    /// Where the other end is, with the UDP port that it listens at, 4789 by default. Required.
    pub remote: SocketAddr,
    /// Where to listen; other vxlan ports may listen there, too. Default port 4789 of every address.
    pub local: SocketAddr,
    /// Number of the tunnel's network, 0 to 16777215. Required.
    pub vni: u32,
    /// Longest IP packet in bytes that is sent, 68 to 65477. Default: what a datagram holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Network namespace of the sockets: a name under `/run/netns` or an absolute path. Default: the daemon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// TTL or hop limit of the datagrams, 1 to 255. Default: the kernel's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Whether datagrams too long for the way are refused rather than fragmented. Default false.
    pub dont_fragment: bool,
}

/// The UDP port of VXLAN (RFC 7348, section 5).
pub(crate) const VXLAN_UDP: u16 = 4789;

/// An IP address with its prefix length, written `10.0.0.1/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfAddr {
    /// The address.
    pub addr: IpAddr,
    /// Prefix length in bits, up to 32 (IPv4) or 128 (IPv6).
    pub prefix: u8,
}

impl fmt::Display for IfAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

impl FromStr for IfAddr {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let help = "an address and its prefix length, like \"10.0.0.1/24\" or \"fd00::1/64\"";
        let wrong = |what: String| UnitError::new(what, help);
        let (addr, prefix) =
            text.split_once('/').ok_or_else(|| wrong(format!("`{text}` has no prefix length")))?;
        let addr: IpAddr = addr.parse().map_err(|_| wrong(format!("`{addr}` is not an IP address")))?;
        let most = if addr.is_ipv4() { 32 } else { 128 };
        match prefix.parse() {
            Ok(prefix) if prefix <= most => Ok(Self { addr, prefix }),
            _ => Err(wrong(format!("prefix length `{prefix}` is not from 0 to {most}"))),
        }
    }
}

impl Serialize for IfAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        show::text(self, serializer)
    }
}
