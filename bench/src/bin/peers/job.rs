//! What is measured: a job, and the setup of the switch that it needs.

use std::fmt;

/// Frames of one job: how long they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// All of this many bytes, without CRC.
    Fixed(usize),
    /// Seven of 64, four of 570 and one of 1500 bytes, mixed.
    Imix,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Fixed(n) => write!(f, "{n} B"),
            Size::Imix => write!(f, "IMIX"),
        }
    }
}

/// Where frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// From port 0 to port 1, over this many source and as many destination addresses, all learned.
    Unicast {
        /// Addresses on either side.
        macs: usize,
    },
    /// From port 0 to every other port, by the broadcast address.
    Broadcast,
    /// From port 0 to every other port, by a group of the switch.
    Replicate,
}

/// What is done and what the figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// As many frames as go through: copies received per second.
    Rate,
    /// The same in both directions at once.
    BothWays,
    /// There and back again, polling, beside a load of this many per cent of what goes through.
    Rtt {
        /// Per cent of the contender's own maximum.
        load: u8,
    },
    /// From the process through the switch to the process, with everybody asleep in between.
    WakeUp,
    /// Generator and receiver are processes of their own.
    Split {
        /// Generator and receiver share core 0 and the switch has core 1; otherwise the scheduler places all three.
        pinned: bool,
        /// Generator and receiver sleep when they can do nothing, by the contender's own means; otherwise they poll.
        sleeping: bool,
    },
    /// One flow after the other, each with a client and a worker that share one core; copies per second.
    Scale {
        /// Flows, and cores.
        flows: usize,
    },
    /// Processor time of the switch's process for a steady, modest load in its ordinary configuration.
    Steady {
        /// Frames per second.
        pps: u32,
    },
    /// Processor time of the switch's process with ports attached and no frames.
    Idle,
    /// Time until a client is attached to a port that the switch has.
    Attach,
    /// Memory of the switch's process per attached port.
    Memory,
    /// Between two network namespaces, by programs that know nothing of the switch.
    Namespaces(Traffic),
}

/// What goes between two namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// One TCP connection (iperf3), with all offloads that the way has.
    Tcp,
    /// Small datagrams (udpload): those that arrive.
    Udp,
}

/// What the switch is configured as. Contenders are started anew for each setup, not for each job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setup {
    /// Ports with a client.
    pub ports: usize,
    /// Attached ports besides, without traffic.
    pub idle_ports: usize,
    /// Frames the generator hands over at once.
    pub burst: u32,
    /// A group with every port but the first.
    pub group: bool,
    /// Forwarding threads; with more than one, thread n is on core n.
    pub workers: usize,
    /// How the switch waits for work.
    pub waiting: Waiting,
    /// Tied to cores.
    pub pinned: bool,
}

impl Setup {
    /// Most frames the switch takes at once, where it can be told. Nobody sets up a switch to take frames one by one
    /// because a sender hands them over so.
    pub fn most(&self) -> u32 {
        self.burst.max(32)
    }
}

/// How the switch waits for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waiting {
    /// It polls.
    Polling,
    /// It sleeps at once.
    Sleeping,
    /// Whatever it does without being told.
    Default,
}

/// One job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    /// The switch's side.
    pub setup: Setup,
    /// What is done.
    pub kind: Kind,
    /// Where frames go.
    pub pattern: Pattern,
    /// Frame size.
    pub size: Size,
}

impl Job {
    /// Frames the generator hands over at once.
    pub fn burst(&self) -> u32 {
        self.setup.burst
    }

    /// The figure's unit.
    pub fn unit(&self) -> Unit {
        match self.kind {
            Kind::Rate | Kind::BothWays | Kind::Split { .. } | Kind::Scale { .. } => Unit::Mpps,
            Kind::Rtt { .. } | Kind::WakeUp => Unit::Nanoseconds,
            Kind::Steady { .. } => Unit::CpuPerMillion,
            Kind::Idle => Unit::CpuShare,
            Kind::Attach => Unit::Milliseconds,
            Kind::Memory => Unit::KibPerPort,
            Kind::Namespaces(Traffic::Tcp) => Unit::Gbits,
            Kind::Namespaces(Traffic::Udp) => Unit::Mpps,
        }
    }

    /// The job without its burst: contenders are compared at the burst that suits each best.
    pub fn family(&self) -> String {
        let mut s = match self.kind {
            Kind::Rate | Kind::BothWays => match self.pattern {
                Pattern::Unicast { macs: 1 } => format!("unicast {}", self.size),
                Pattern::Unicast { macs } => format!("unicast {macs} MACs {}", self.size),
                Pattern::Broadcast => format!("broadcast to {} {}", self.setup.ports - 1, self.size),
                Pattern::Replicate => format!("replicate to {} {}", self.setup.ports - 1, self.size),
            },
            Kind::Rtt { load: 0 } => "RTT idle".to_owned(),
            Kind::Rtt { load } => format!("RTT at {load} % load"),
            Kind::WakeUp => "one way, all asleep".to_owned(),
            Kind::Split { pinned, sleeping } => format!(
                "three processes{}{} {}",
                if pinned { "" } else { " unpinned" },
                if sleeping { "" } else { ", clients poll" },
                self.size
            ),
            Kind::Scale { flows } => format!("{flows} flow(s) on {flows} core(s) {}", self.size),
            Kind::Steady { pps } => format!("CPU at {pps} frames/s"),
            Kind::Idle => "idle CPU".to_owned(),
            Kind::Attach => "attach a port".to_owned(),
            Kind::Memory => format!("memory per port, {} ports", self.setup.ports),
            Kind::Namespaces(Traffic::Tcp) => "namespace to namespace, TCP".to_owned(),
            Kind::Namespaces(Traffic::Udp) => format!("namespace to namespace, UDP {}", self.size),
        };
        if self.kind == Kind::BothWays {
            s += " both ways";
        }
        if self.setup.idle_ports > 0 {
            s += &format!(" beside {} idle ports", self.setup.idle_ports);
        }
        s
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.family())?;
        match (self.unit(), self.kind) {
            (_, Kind::Namespaces(_)) => Ok(()),
            (Unit::Mpps, _) => write!(f, " burst {}", self.burst()),
            _ => Ok(()),
        }
    }
}

/// Units of figures; in tables all are given with three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Millions of frames a second.
    Mpps,
    /// Gigabits of payload a second.
    Gbits,
    /// Nanoseconds.
    Nanoseconds,
    /// Milliseconds of processor time per million frames.
    CpuPerMillion,
    /// Per cent of one core.
    CpuShare,
    /// Milliseconds.
    Milliseconds,
    /// KiB per port.
    KibPerPort,
}

impl Unit {
    /// As in a table's head.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Mpps => "Mpps",
            Unit::Gbits => "Gbit/s",
            Unit::Nanoseconds => "ns",
            Unit::CpuPerMillion => "CPU ms per million",
            Unit::CpuShare => "% of a core",
            Unit::Milliseconds => "ms",
            Unit::KibPerPort => "KiB per port",
        }
    }

    /// Whether more is better.
    pub fn more_is_better(self) -> bool {
        matches!(self, Unit::Mpps | Unit::Gbits)
    }
}
