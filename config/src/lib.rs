//! Valecast's TOML configuration: what was typed becomes what is valid.
//!
//! The modules, in the order a configuration file passes through them:
//!
//! 1. `keys`: every key that may be typed, with its type, default and meaning. [`reference()`] renders
//!    it as the manual's table, and the reader takes its known keys from it, so the two cannot drift.
//! 2. `reader` walks the parsed TOML one table at a time and reports what it does not know;
//!    `value` turns one TOML value into one typed value, with [`units`] and [`Mac`] for the notations.
//! 3. `read` goes through the whole file with those two, checks what refers to what, and builds
//! 4. `valid`, `port` and `qc`: the [`Config`] the rest of Valecast works with. Nothing in it needs checking again.
//! 5. `diagnostics`: what was wrong. Every mistake in a file is reported at once, each with its line,
//!    column, a caret and what would be right.
//! 6. `show` writes valid types back with the same keys (TOML or JSON), and reads single objects such as
//!    the port given to `valecast ctl attach`.
//! 7. `te` reads the other kind of file, that of QuickCast's controller, in the same way.
//! 8. `diff` compares two valid configurations and lists the actions that lead from one to the other.
//!
//! ```
//! let config = valecast_config::Config::parse("vale.toml", r#"
//!     [[switch]]
//!     name = "vale0"
//!     [[switch.port]]
//!     name = "a"
//!     kind = "ring"
//! "#)?;
//! assert_eq!(config.switches[0].ports[0].kind.name(), "ring");
//!
//! let errors = valecast_config::Config::parse("vale.toml", "[[switch]]\nname = \"v\"\nworkrs = 0\n").unwrap_err();
//! assert_eq!(errors.diagnostics[0].line, 3);
//! assert_eq!(errors.diagnostics[0].help, "did you mean `workers`?");
//! # Ok::<(), valecast_config::ConfigErrors>(())
//! ```

mod diagnostics;
mod diff;
mod keys;
mod mac;
mod port;
mod qc;
mod read;
mod reader;
mod reference;
mod run_dir;
mod show;
mod suggest;
mod te;
pub mod units;
mod valid;
mod value;

pub use diagnostics::{ConfigErrors, Diagnostic};
pub use diff::{Action, ConfigAction, DiffError, diff, diff_config};
pub use keys::{Key, SECTIONS, Section};
pub use mac::Mac;
pub use port::{
    E1000Port, Faults, HugePages, IfAddr, NetmapPort, Overflow, PacketPort, PatchPort, PcapPort, Port,
    PortKind, RateLimit, RingPort, TapPort, Timing, VhostUserPort, Vlan, VxlanPort, XdpMode, XdpPort,
};
pub use qc::{Controller, Keys, QC_PREFIX, Qc, Site, SiteLink};
pub use read::{parse_group, parse_meter, parse_mirror, parse_port, parse_static, parse_switch};
pub use reference::reference;
pub use run_dir::default_run_dir;
pub use show::{group_from_json, meter_from_json, port_from_json};
pub use suggest::nearest;
pub use te::{NamesInTe, Te, TeTls};
pub use valid::{
    Bucket, Config, Direction, Group, Meter, MeterMode, Mirror, Netmap, SocketAccess, StaticEntry, Switch,
    default_burst,
};
