//! The daemon's answers as tables.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use valecast_config::units::format_rate;
use valecast_switch::switch::show::{FdbView, PortView, StatsView};

use super::number::{bytes, count, span, workers};

/// As JSON.
pub fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A table with these columns; a `>` in front of a name puts its figures to the right.
pub fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|c| c.trim_start_matches('>')));
    for (i, name) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(i) {
            // Two spaces between columns and none at the edge.
            column.set_padding((0, 2));
            if name.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.add_rows(rows);
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The list under `key`, as far as it is understood.
fn list<T: DeserializeOwned>(answer: &Value, key: &str) -> Vec<T> {
    let items = answer[key].as_array().into_iter().flatten();
    items.filter_map(|item| T::deserialize(item).ok()).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(s) => s.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn some(rows: Vec<Vec<String>>, columns: &[&str], none: &str) -> String {
    if rows.is_empty() { format!("{none}\n") } else { table(columns, rows) }
}

fn drops(causes: &BTreeMap<String, u64>) -> u64 {
    causes.values().sum()
}

fn by_cause(causes: &BTreeMap<String, u64>) -> String {
    let each: Vec<_> = causes.iter().map(|(cause, n)| format!("{cause} {}", count(*n))).collect();
    if each.is_empty() { "-".to_owned() } else { each.join(", ") }
}

/// `ctl ports`.
pub fn ports(answer: &Value) -> String {
    let row = |p: PortView| {
        let client = p.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let lost = drops(&p.in_drops) + drops(&p.out_drops);
        let figures =
            [count(p.in_frames), bytes(p.in_bytes), count(p.out_frames), bytes(p.out_bytes), count(lost)];
        let kind = p.mode.map_or(p.kind.clone(), |mode| format!("{} ({mode})", p.kind));
        [p.name, kind, p.state, client].into_iter().chain(figures).collect()
    };
    let columns = ["PORT", "KIND", "STATE", "CLIENT", ">IN", ">IN BYTES", ">OUT", ">OUT BYTES", ">DROPS"];
    some(list(answer, "ports").into_iter().map(row).collect(), &columns, "no ports")
}

/// `ctl stats`.
pub fn stats(answer: &Value) -> String {
    let Ok(s) = StatsView::deserialize(answer) else { return json(answer) };
    let mut out = format!(
        "switch {}: up {}, {}, ring memory {} of {}\naddresses: {} known, {} moved, {} evicted\n\n",
        s.switch,
        span(s.uptime_s),
        workers(s.workers),
        bytes(s.memory),
        bytes(s.memory_limit),
        count(s.fdb_entries as u64),
        count(s.fdb_moves),
        count(s.fdb_evictions),
    );
    let rows = |p: &PortView| {
        let head =
            [p.name.clone(), count(p.in_frames), count(p.forwarded), count(p.copies), count(p.out_frames)];
        let tail = [
            by_cause(&p.in_drops),
            by_cause(&p.out_drops),
            by_cause(&p.kernel_drops),
            count(p.ring_resets),
            count(p.learn_refused),
        ];
        let mut rows: Vec<Vec<String>> = vec![head.into_iter().chain(tail).collect()];
        // One ring alone would only say the same again.
        for r in p.rings.iter().filter(|_| p.rings.len() > 1) {
            let name = format!("{} ring {}", p.name, r.ring);
            let empty = String::new;
            rows.push(vec![name, count(r.in_frames), empty(), empty(), count(r.out_frames)]);
        }
        rows
    };
    let columns = [
        "PORT",
        ">IN",
        ">FORWARDED",
        ">COPIES",
        ">OUT",
        "DROPPED IN",
        "DROPPED OUT",
        "IN THE KERNEL",
        ">RESETS",
        ">NOT LEARNED",
    ];
    let retired = Some(&s.retired).filter(|r| r.in_frames + r.out_frames + drops(&r.out_drops) > 0);
    out += &some(s.ports.iter().chain(retired).flat_map(rows).collect(), &columns, "no ports");
    out += &devices(&s.ports);
    out
}

/// What devices of ports that have one count; what did not happen is left out.
fn devices(ports: &[PortView]) -> String {
    let of = |p: &PortView| {
        let counted = p.device.iter().filter(|(_, n)| **n > 0);
        counted.map(|(what, n)| vec![p.name.clone(), what.clone(), count(*n)]).collect::<Vec<_>>()
    };
    let rows: Vec<_> = ports.iter().flat_map(of).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", table(&["DEVICE", "COUNTER", ">COUNT"], rows))
}

/// `ctl fdb`.
pub fn fdb(answer: &Value) -> String {
    let row = |e: FdbView| {
        let vlan = if e.vlan == 0 { "-".to_owned() } else { e.vlan.to_string() };
        let age = if e.is_static { "static".to_owned() } else { span(f64::from(e.age_s)) };
        vec![e.mac, vlan, e.port, age]
    };
    let rows = list(answer, "fdb").into_iter().map(row).collect();
    some(rows, &["ADDRESS", ">VLAN", "PORT", ">AGE"], "no addresses known")
}

/// `ctl groups`.
pub fn groups(answer: &Value) -> String {
    let groups = answer["groups"].as_array().into_iter().flatten();
    let bucket = |b: &Value| match &b["set_dst"] {
        Value::String(mac) => format!("{} (to {mac})", text(&b["port"])),
        _ => text(&b["port"]),
    };
    let row = |g: &Value| {
        let buckets = g["buckets"].as_array().into_iter().flatten().map(bucket).collect::<Vec<_>>();
        let frames = count(g["frames"].as_u64().unwrap_or(0));
        let words = [&g["name"], &g["address"], &g["ingress"], &g["meter"]].map(text);
        words.into_iter().chain([frames, buckets.join(", ")]).collect()
    };
    let rows: Vec<_> = groups.map(row).collect();
    let (used, most) = (rows.len(), text(&answer["max_groups"]));
    let columns = ["GROUP", "ADDRESS", "INGRESS", "METER", ">FRAMES", "BUCKETS"];
    let table = some(rows, &columns, "no groups");
    format!("{table}{used} of {most} entries, at most {} buckets each\n", text(&answer["max_buckets"]))
}

/// `ctl meters`.
pub fn meters(answer: &Value) -> String {
    let meters = answer["meters"].as_array().into_iter().flatten();
    let row = |m: &Value| {
        let figure = |key: &str| m[key].as_u64().unwrap_or(0);
        vec![text(&m["name"]), format_rate(figure("rate")), bytes(figure("burst")), text(&m["mode"])]
    };
    some(meters.map(row).collect(), &["METER", ">RATE", ">BURST", "MODE"], "no meters")
}

/// `ctl mirrors`.
pub fn mirrors(answer: &Value) -> String {
    let mirrors = answer["mirrors"].as_array().into_iter().flatten();
    let row = |m: &Value| [&m["from"], &m["to"], &m["direction"]].map(text).to_vec();
    some(mirrors.map(row).collect(), &["FROM", "TO", "DIRECTION"], "no mirrors")
}

/// `ctl config`: a file that would start the switch as it is.
pub fn config(answer: &Value) -> String {
    let table = toml::Table::try_from(answer).map(|switch| {
        let switches = toml::Value::Array(vec![toml::Value::Table(switch)]);
        toml::Table::from_iter([("switch".to_owned(), switches)])
    });
    match table.map(|t| toml::to_string(&t)) {
        Ok(Ok(text)) => text,
        _ => json(answer),
    }
}

/// `ctl config reload`.
pub fn actions(answer: &Value) -> String {
    let actions = answer["actions"].as_array().cloned().unwrap_or_default();
    if actions.is_empty() {
        return "nothing changed\n".to_owned();
    }
    let mut out = String::new();
    for action in &actions {
        let change = action["change"].as_array().map(Vec::as_slice);
        if let Some([switch, steps]) = change {
            for step in steps.as_array().into_iter().flatten() {
                out += &format!("switch {}: {}\n", text(switch), step_text(step));
            }
        } else {
            out += &format!("{}\n", step_text(action));
        }
    }
    out
}

/// `{"attach_port": {"name": "c", ...}}` -> `attach port c`.
fn step_text(step: &Value) -> String {
    let Some((verb, what)) = step.as_object().and_then(|o| o.iter().next()) else { return text(step) };
    let name = match what {
        Value::Object(o) => o.get("name").map(text).unwrap_or_default(),
        Value::Array(items) => items.len().to_string(),
        other => text(other),
    };
    format!("{} {name}", verb.replace('_', " ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_line_up() {
        let port = PortView {
            name: "a".into(),
            kind: "ring".into(),
            state: "up".into(),
            in_frames: 1_234_567,
            in_bytes: 1 << 20,
            out_drops: [("ring_full".to_owned(), 1000)].into(),
            ..PortView::default()
        };
        let fast = PortView { kind: "xdp".into(), mode: Some("copy".into()), ..port.clone() };
        assert!(ports(&json!({ "ports": [fast] })).contains("a     xdp (copy)  up"));
        let text = ports(&json!({ "ports": [port] }));
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some("PORT  KIND  STATE  CLIENT         IN  IN BYTES  OUT  OUT BYTES  DROPS")
        );
        assert_eq!(
            lines.next(),
            Some("a     ring  up     -       1,234,567   1.0 MiB    0        0 B  1,000")
        );
        let view = StatsView { switch: "vale0".into(), ports: vec![port], ..StatsView::default() };
        let text = stats(&json!(view));
        assert!(text.contains("ring_full 1,000") && !text.contains("DEVICE"));
        let device = [("tx_kicks".to_owned(), 12_345), ("dma_errors".to_owned(), 0)].into();
        let vm = PortView { name: "vm1".into(), device, ..PortView::default() };
        let view = StatsView { ports: vec![vm], ..StatsView::default() };
        assert!(stats(&json!(view)).ends_with("DEVICE  COUNTER    COUNT\nvm1     tx_kicks  12,345\n"));
    }

    #[test]
    fn configuration_is_a_file_again() {
        let source = "[[switch]]\nname = \"vale0\"\n[[switch.port]]\nname = \"a\"\nkind = \"ring\"\n";
        let config_before = valecast_config::Config::parse("a", source).unwrap();
        let text = config(&json!(config_before.switches[0]));
        assert_eq!(valecast_config::Config::parse("b", &text).unwrap(), config_before);
    }

    #[test]
    fn reloads_in_words() {
        let answer = json!({"actions": [
            {"remove_switch": "vale9"},
            {"change": ["vale0", [{"attach_port": {"name": "c"}}, {"set_mirrors": []}]]},
        ]});
        let want = "remove switch vale9\nswitch vale0: attach port c\nswitch vale0: set mirrors 0\n";
        assert_eq!(actions(&answer), want);
        assert_eq!(actions(&json!({"actions": []})), "nothing changed\n");
    }
}
