//! What was measured on.

use std::fs;

use serde::Serialize;

use crate::cpu;

/// The machine, for the record.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: f64,
    /// The kernel's release.
    pub kernel: String,
    /// Under a hypervisor.
    pub virtual_machine: bool,
    /// The operating system.
    pub system: String,
}

impl Machine {
    /// This one.
    pub fn look() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let info = text("/proc/cpuinfo");
        let memory = field(&text("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse::<f64>();
        Self {
            cpu: field(&info, "model name"),
            cores: cpu::cores(),
            memory_gib: (memory.unwrap_or(0.0) / 1024.0 / 1024.0 * 10.0).round() / 10.0,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            virtual_machine: field(&info, "flags").split(' ').any(|f| f == "hypervisor"),
            system: os_name(&text("/etc/os-release")),
        }
    }

    /// In a line.
    pub fn line(&self) -> String {
        let kind = if self.virtual_machine { ", virtual machine" } else { "" };
        format!(
            "{}, {} cores{kind}, {} GiB, Linux {}, {}",
            self.cpu, self.cores, self.memory_gib, self.kernel, self.system
        )
    }
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|l| l.split(':').next().is_some_and(|n| n.trim() == name));
    line.and_then(|l| l.split_once(':')).map_or_else(String::new, |(_, v)| v.trim().to_owned())
}

fn os_name(text: &str) -> String {
    let line = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    line.unwrap_or("unknown system").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields() {
        assert_eq!(field("a : b\nmodel name\t: X 3\n", "model name"), "X 3");
        assert_eq!(os_name("ID=x\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
    }
}
