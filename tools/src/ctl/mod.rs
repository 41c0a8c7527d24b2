//! `valecast ctl`: looks at a running switch and changes it, over its control socket.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use valecast_config::{ConfigErrors, parse_group, parse_meter, parse_mirror, parse_port};

use crate::capture::{self, CaptureArgs};

pub mod client;
pub mod fragment;
pub mod number;
pub mod show;

pub use client::{At, Client, Failure};
use fragment::target;
pub use valecast_switch::api::client as http;

/// More on `valecast ctl`.
pub const HELP: &str = "\
Examples:
  valecast ctl ports
  valecast ctl stats --json
  valecast ctl attach vale0:c kind=tap netns=green 'addresses=[\"10.77.0.3/24\"]'
  valecast ctl detach vale0:c
  valecast ctl meter-add vale0:slow rate=100Mbit/s
  valecast ctl group-add vale0:g address=01:00:5e:00:00:01 meter=slow 'buckets=[{port=\"b\"}, {port=\"c\"}]'
  valecast ctl mirror-add vale0 from=a to=b direction=in
  valecast ctl capture vale0:a -w a.pcapng
  valecast ctl config > vale.toml

KEY=VALUE are the keys of the configuration file; plain words need no quotes. What is changed here is not
written to the file: the next reload of the file leaves it alone, a restart forgets it.

Exit status: 0 done, 1 refused, 2 the command is wrong, 3 no daemon answers.";

/// What `valecast ctl` takes.
#[derive(Debug, Args)]
pub struct CtlArgs {
    #[command(flatten)]
    at: At,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// A switch, named in its place.
#[derive(Debug, Args)]
struct Which {
    /// The switch.
    #[arg(value_name = "SWITCH")]
    which: Option<String>,
}

/// Something new: its place and its keys.
#[derive(Debug, Args)]
struct New {
    /// `SWITCH`, `SWITCH:NAME` or nothing, then the keys.
    #[arg(value_name = "[SWITCH[:NAME]] KEY=VALUE", required = true, num_args = 1..)]
    words: Vec<String>,
}

/// Something that is there.
#[derive(Debug, Args)]
struct Old {
    /// `SWITCH:NAME`, or `SWITCH NAME`, or only `NAME`.
    #[arg(value_name = "SWITCH:NAME", required = true, num_args = 1..=2)]
    words: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The ports and what went through them.
    Ports(Which),
    /// The forwarding table.
    Fdb(Which),
    /// The groups.
    Groups(Which),
    /// The meters.
    Meters(Which),
    /// The mirrors.
    Mirrors(Which),
    /// All counters, drops by cause.
    Stats(Which),
    /// The configuration as it is now (TOML); `config reload`: read the file again.
    Config {
        /// Read the file again and apply what changed.
        #[arg(value_name = "reload", value_parser = ["reload"])]
        action: Option<String>,
    },
    /// Attach a port: `attach vale0:c kind=tap netns=green`.
    Attach {
        /// The switch and the new port's name.
        #[arg(value_name = "SWITCH:PORT")]
        port: String,
        /// The keys of [[switch.port]].
        #[arg(value_name = "KEY=VALUE", required = true)]
        keys: Vec<String>,
    },
    /// Detach a port.
    Detach(Old),
    /// Add a group: `group-add vale0:g address=01:00:5e:00:00:01 'buckets=[{port="b"}]'`.
    GroupAdd(New),
    /// Change a group; its counter goes on.
    GroupSet(New),
    /// Remove a group.
    GroupDel(Old),
    /// Add a meter: `meter-add vale0:m rate=1Gbit/s`.
    MeterAdd(New),
    /// Change a meter.
    MeterSet(New),
    /// Remove a meter.
    MeterDel(Old),
    /// Copy the frames of some ports to another: `mirror-add vale0 from=a to=b direction=in`.
    MirrorAdd(New),
    /// Remove the mirrors to a port.
    MirrorDel(Old),
    /// Record the frames of a port as pcapng.
    #[command(after_help = capture::HELP)]
    Capture(CaptureArgs),
}

/// Does what was asked.
pub fn run(args: CtlArgs) -> ExitCode {
    let CtlArgs { at, json, verb } = args;
    let done = match verb {
        Verb::Capture(what) => capture::run(&at, &what, json),
        verb => obey(&at, verb, json).map(|text| out!("{text}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            errln!("valecast ctl: {failure}");
            failure.code()
        }
    }
}

type Table = fn(&Value) -> String;

fn obey(at: &At, verb: Verb, json: bool) -> Result<String, Failure> {
    let look = |which: Which, what: &str, table: Table| {
        let answer = at.client(which.which.as_deref())?.get(what)?;
        Ok(if json { show::json(&answer) } else { table(&answer) })
    };
    let told = |answer: &Value, text: String| match (json, answer) {
        (true, Value::Null) => String::new(),
        (true, _) => show::json(answer),
        (false, _) => text + "\n",
    };
    match verb {
        Verb::Ports(w) => look(w, "ports", show::ports),
        Verb::Fdb(w) => look(w, "fdb", show::fdb),
        Verb::Groups(w) => look(w, "groups", show::groups),
        Verb::Meters(w) => look(w, "meters", show::meters),
        Verb::Mirrors(w) => look(w, "mirrors", show::mirrors),
        Verb::Stats(w) => look(w, "stats", show::stats),
        Verb::Config { action: None } => look(Which { which: None }, "config", show::config),
        Verb::Config { action: Some(_) } => {
            let answer = at.client(None)?.reload()?;
            Ok(if json { show::json(&answer) } else { show::actions(&answer) })
        }
        Verb::Attach { port, keys } => {
            let (switch, name) = target(&port);
            let body = body(Some(name), &keys, |name, text| parse_port(name, text).map(drop))?;
            let client = at.client(switch)?;
            let made = client.post("ports", &body)?;
            let kind = made["kind"].as_str().unwrap_or("port");
            Ok(told(&made, format!("attached {}:{name} ({kind})", client.switch())))
        }
        Verb::GroupAdd(new) => new.send(at, "group", Client::post, &|n, t| parse_group(n, t).map(drop), told),
        Verb::GroupSet(new) => new.send(at, "group", put, &|n, t| parse_group(n, t).map(drop), told),
        Verb::MeterAdd(new) => new.send(at, "meter", Client::post, &|n, t| parse_meter(n, t).map(drop), told),
        Verb::MeterSet(new) => new.send(at, "meter", put, &|n, t| parse_meter(n, t).map(drop), told),
        Verb::MirrorAdd(new) => {
            new.send(at, "mirror", Client::post, &|n, t| parse_mirror(n, t).map(drop), told)
        }
        Verb::Detach(old) => old.remove(at, "port", "detached", told),
        Verb::GroupDel(old) => old.remove(at, "group", "removed group", told),
        Verb::MeterDel(old) => old.remove(at, "meter", "removed meter", told),
        Verb::MirrorDel(old) => old.remove(at, "mirror", "removed mirrors to", told),
        Verb::Capture(_) => Ok(String::new()),
    }
}

fn put(client: &Client, what: &str, body: &Value) -> Result<Value, Failure> {
    let name = body["name"].as_str().unwrap_or_default();
    client.put(&format!("{what}/{}", client::segment(name)), body)
}

/// The body of a request from the words of a command, which is checked here: mistakes are shown in what the
/// user typed.
fn body(
    name: Option<&str>,
    keys: &[String],
    check: impl Fn(&str, &str) -> Result<(), ConfigErrors>,
) -> Result<Value, Failure> {
    let text = fragment::toml_text(name, keys)?;
    check("command line", &text).map_err(|e| Failure::Usage(format!("these keys are wrong\n{e}")))?;
    fragment::json(&text)
}

type Send = fn(&Client, &str, &Value) -> Result<Value, Failure>;
type Check<'c> = &'c dyn Fn(&str, &str) -> Result<(), ConfigErrors>;

impl New {
    fn send(
        &self,
        at: &At,
        kind: &str,
        send: Send,
        check: Check<'_>,
        told: impl Fn(&Value, String) -> String,
    ) -> Result<String, Failure> {
        let (switch, name, keys) = match self.words.split_first() {
            Some((first, keys)) if !first.contains('=') => match first.split_once(':') {
                Some((switch, name)) => (Some(switch), Some(name), keys),
                None => (Some(first.as_str()), None, keys),
            },
            _ => (None, None, &self.words[..]),
        };
        let body = body(name, keys, check)?;
        let client = at.client(switch)?;
        let made = send(&client, &format!("{kind}s"), &body)?;
        let name = made["name"].as_str().or(made["to"].as_str()).unwrap_or_default();
        let text = format!("{kind} {name} of switch {} is in place", client.switch());
        Ok(told(&made, text))
    }
}

impl Old {
    fn remove(
        &self,
        at: &At,
        kind: &str,
        done: &str,
        told: impl Fn(&Value, String) -> String,
    ) -> Result<String, Failure> {
        let (switch, name) = match &self.words[..] {
            [switch, name] => (Some(switch.as_str()), name.as_str()),
            [one] => target(one),
            _ => return Err(Failure::Usage("name one thing".to_owned())),
        };
        let client = at.client(switch)?;
        let answer = client.delete(&format!("{kind}s"), name)?;
        Ok(told(&answer, format!("{done} {}:{name}", client.switch())))
    }
}

/// A request for a temporary ring port.
pub fn ring_port(name: &str, slots: u32, buf_size: u32) -> Value {
    json!({ "name": name, "kind": "ring", "slots": slots, "buf_size": buf_size, "learn": false })
}
