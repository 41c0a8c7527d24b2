//! The tables that refer to ports: static entries, mirrors, groups; and meters.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::names::{Scope, reference};
use crate::Mac;
use crate::keys::BUCKET;
use crate::reader::Reader;
use crate::valid::{Bucket, Direction, Group, Meter, MeterMode, Mirror, StaticEntry, default_burst};
use crate::value::{At, int, list, mac, name, rate, size, word};

/// Depths of a token bucket: from the smallest frame to beyond any memory.
pub(super) const BURST: RangeInclusive<u64> = 64..=1 << 40;
/// What happens above a rate.
pub(super) const MODES: &[(&str, MeterMode)] = &[("police", MeterMode::Police), ("shape", MeterMode::Shape)];

pub(super) fn static_entry(r: &mut Reader<'_>, scope: &Scope<'_>) -> StaticEntry {
    let entry = StaticEntry {
        mac: r.need("mac", destination).unwrap_or_default(),
        port: r.need("port", reference(scope.ports, "port")).unwrap_or_default(),
        vlan: r.or("vlan", 0, int(0..=4094)),
    };
    r.finish();
    entry
}

pub(super) fn mirror(r: &mut Reader<'_>, scope: &Scope<'_>) -> Mirror {
    let port = reference(scope.ports, "port");
    let from = r.need("from", |at| match at.value.get_ref() {
        DeValue::String(_) => port(at).map(|one| vec![one]),
        DeValue::Array(_) => list(&port)(at),
        _ => at.wrong_type("a port or an array of ports"),
    });
    let (from, to) = (from.unwrap_or_default(), r.need("to", &port).unwrap_or_default());
    if let Some(at) = r.at("from") {
        if at.value.get_ref().as_array().is_some_and(|list| list.is_empty()) {
            at.report("`from` is empty", "expected at least one port");
        }
        if let Some((_, twice)) = from.iter().enumerate().find(|(i, port)| from[..*i].contains(port)) {
            at.report(format!("`from` lists {twice:?} twice"), "once is enough");
        }
    }
    if let Some(at) = r.at("to").filter(|_| from.contains(&to)) {
        at.report(format!("{to:?} would mirror itself"), "expected a port that is not among `from`");
    }
    let directions = [("in", Direction::In), ("out", Direction::Out), ("both", Direction::Both)];
    let direction = r.or("direction", Direction::Both, word(&directions));
    r.finish();
    Mirror { from, to, direction }
}

pub(super) fn meter(r: &mut Reader<'_>) -> Meter {
    let rate = r.need("rate", rate).unwrap_or_default();
    let meter = Meter {
        name: r.need("name", name).unwrap_or_default(),
        rate,
        burst: r.or("burst", default_burst(rate), size(BURST)),
        mode: r.or("mode", MeterMode::Shape, word(MODES)),
    };
    r.finish();
    meter
}

pub(super) fn group(r: &mut Reader<'_>, scope: &Scope<'_>) -> Group {
    let buckets = r.tables("buckets", &BUCKET);
    // An absent key and one of another type are reported as such; here, how many there are.
    let count = r.need("buckets", |at| at.value.get_ref().as_array().map(|list| (at, list.len())));
    match (count, scope.max_buckets) {
        (Some((at, 0)), _) => at.report("`buckets` is empty", "expected at least { port = … }"),
        (Some((at, n)), Some(most)) if n > most => {
            let help = format!("remove some, or raise `max_buckets` above {most}");
            at.report(format!("{n} buckets, more than {most}"), help);
        }
        _ => {}
    }
    let group = Group {
        name: r.need("name", name).unwrap_or_default(),
        address: r.need("address", destination).unwrap_or_default(),
        ingress: r.get("ingress", reference(scope.ports, "port")),
        meter: r.get("meter", reference(scope.meters, "meter")),
        buckets: buckets.iter().map(|reader| bucket(reader, scope)).collect(),
    };
    r.finish();
    group
}

fn bucket(r: &Reader<'_>, scope: &Scope<'_>) -> Bucket {
    let bucket = Bucket {
        port: r.need("port", reference(scope.ports, "port")).unwrap_or_default(),
        set_dst: r.get("set_dst", destination),
    };
    r.finish();
    bucket
}

/// An address frames can be sent to: any but all zero.
fn destination(at: At<'_>) -> Option<Mac> {
    let mac = mac(at)?;
    if mac == Mac::default() {
        at.refuse(format!("no frame is sent to {mac}"), "expected an address in use")
    } else {
        Some(mac)
    }
}
