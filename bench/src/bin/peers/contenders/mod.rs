//! The contenders: one file each.

pub mod hosts;
pub mod inline;
pub mod kernel;
pub mod ovs;
pub mod testpmd;
pub mod valecast;
pub mod vde;

use std::path::{Path, PathBuf};

use crate::peer::Peer;
use crate::raw::stage::Raw;

/// Folders that contenders need.
#[derive(Clone, Debug)]
pub struct Places {
    /// For sockets, configurations and logs; gone afterwards.
    pub work: PathBuf,
    /// Cargo's release folder, with the daemon.
    pub release: PathBuf,
    /// A Debian 13 with the newest DPDK.
    pub trixie: PathBuf,
}

/// Every contender, in the order of the tables.
pub fn all(places: &Places) -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(valecast::Valecast::new(places)),
        Box::new(inline::Inline::new(places)),
        Box::new(Raw),
        Box::new(testpmd::Testpmd::debian12(places, false)),
        Box::new(testpmd::Testpmd::debian12(places, true)),
        Box::new(testpmd::Testpmd::debian13(places, false)),
        Box::new(testpmd::Testpmd::debian13(places, true)),
        Box::new(ovs::Ovs::debian12(places)),
        Box::new(ovs::Ovs::debian13(places)),
        Box::new(kernel::Bridge::veth(places)),
        Box::new(kernel::Bridge::tap(places)),
        Box::new(vde::VdeSwitch::new(places)),
        Box::new(hosts::Joined::new(places, hosts::Way::Tap)),
        Box::new(hosts::Joined::new(places, hosts::Way::Xdp)),
        Box::new(hosts::Joined::new(places, hosts::Way::Packet)),
        Box::new(hosts::Joined::new(places, hosts::Way::Bridge)),
        Box::new(hosts::Joined::new(places, hosts::Way::Pump)),
    ]
}

/// A folder of its own for each start.
pub fn fresh(work: &Path, name: &str) -> std::io::Result<PathBuf> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let folder = work.join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
