//! The table `[qc]`: sites, and what they refer to.

use std::path::{Path, PathBuf};

use super::config::{ReadSwitch, unique_name};
use super::names::{Unique, nearest_of};
use crate::keys::{QC_LINK, QC_SITE};
use crate::port::{Port, PortKind};
use crate::qc::{Controller, Keys, QC_PREFIX, Qc, Site, SiteLink};
use crate::reader::Reader;
use crate::valid::Switch;
use crate::value::{At, name, string};

pub(super) fn qc(r: &Reader<'_>, run_dir: &Path, switches: &[ReadSwitch]) -> Qc {
    let controller = r
        .get("controller", |at| controller(at, run_dir))
        .unwrap_or_else(|| Controller::Unix(run_dir.join(Controller::SOCKET)));
    let keys = keys(r, &controller);
    let (mut sites, mut names, mut taken) = (Vec::new(), Unique::default(), Unique::default());
    for reader in r.tables("site", &QC_SITE) {
        let site = site(&reader, switches);
        match reader.at("name") {
            Some(_) => unique_name(&mut names, &reader, "site"),
            None => {
                if let Some(at) = reader.at("switch") {
                    names.add(site.name.clone(), &format!("site name {:?}", site.name), &at);
                }
            }
        }
        if let Some(at) = reader.at("switch") {
            taken.add(site.switch.clone(), &format!("switch {:?}", site.switch), &at);
        }
        sites.push((site, reader));
    }
    if r.at("site").is_none_or(|at| at.value.get_ref().as_array().is_some_and(|list| list.is_empty())) {
        r.sink.report(&r.span, "[qc] needs `site`", "add a [[qc.site]] for each switch that takes part");
    }
    let all: Vec<Site> = sites.iter().map(|(site, _)| site.clone()).collect();
    for (site, reader) in &sites {
        let found = switches.iter().map(|read| &read.switch).find(|s| s.name == site.switch);
        links(site, reader, found, &all);
    }
    Qc { controller, keys, sites: all }
}

fn controller(at: At<'_>, run_dir: &Path) -> Option<Controller> {
    let help = "\"unix:PATH\" or \"https://HOST:PORT\"";
    let text = at.str(help)?;
    match Controller::parse(text, run_dir) {
        Some(controller) => Some(controller),
        None => at.refuse(format!("{text:?} is no place of a controller"), format!("expected {help}")),
    }
}

fn keys(r: &Reader<'_>, controller: &Controller) -> Option<Keys> {
    let read = |key| r.get(key, string).map(PathBuf::from);
    let (ca, cert, key) = (read("ca"), read("cert"), read("key"));
    let given = ["ca", "cert", "key"];
    match controller {
        Controller::Https { .. } => {
            let missing: Vec<_> = given.iter().filter(|key| r.at(key).is_none()).collect();
            if !missing.is_empty()
                && let Some(at) = r.at("controller")
            {
                let list = missing.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
                let help = "`valecast qc keygen` makes the files: name them with `ca`, `cert` and `key`";
                at.report(format!("a controller over https needs {list}"), help);
            }
            Some(Keys {
                ca: ca.unwrap_or_default(),
                cert: cert.unwrap_or_default(),
                key: key.unwrap_or_default(),
            })
        }
        Controller::Unix(_) => {
            let wrong = r.at("controller").is_some_and(|at| at.value.get_ref().as_str().is_none());
            for at in given.iter().filter_map(|key| r.at(key)).filter(|_| !wrong) {
                let message = format!("`{}` goes with a controller over https", at.key);
                at.report(message, "give `controller = \"https://HOST:PORT\"`, or remove this");
            }
            None
        }
    }
}

fn site(r: &Reader<'_>, switches: &[ReadSwitch]) -> Site {
    let switch = r.need("switch", |at| {
        let text = at.str("the name of a switch")?;
        let names = || switches.iter().map(|read| read.switch.name.as_str());
        if !names().any(|n| n == text) {
            at.report(format!("there is no switch {text:?} in this file"), nearest_of(text, names()));
        }
        Some(text.to_owned())
    });
    let switch = switch.unwrap_or_default();
    let own = r.get("name", name).unwrap_or_else(|| switch.clone());
    let links = r.tables("link", &QC_LINK).into_iter().map(|link| {
        let read = SiteLink {
            port: link.need("port", |at| at.str("the name of a port").map(str::to_owned)).unwrap_or_default(),
            to: link.need("to", name).unwrap_or_default(),
        };
        link.finish();
        read
    });
    let site = Site { name: own, switch, links: links.collect() };
    r.finish();
    site
}

/// Checks what the links of a site refer to.
fn links(site: &Site, r: &Reader<'_>, switch: Option<&Switch>, all: &[Site]) {
    let Some(switch) = switch else { return };
    reserved(r, switch);
    let (groups, room) = (2 * site.links.len(), switch.max_groups.saturating_sub(switch.groups.len()));
    if let Some(at) = r.at("link").filter(|_| groups > room) {
        let help = format!(
            "raise `max_groups` of switch {:?}: each link takes two, and trees need some",
            switch.name
        );
        at.report(format!("{} links take {groups} groups, there is room for {room}", site.links.len()), help);
    }
    let mut ports = Unique::default();
    for (link, reader) in site.links.iter().zip(r.tables("link", &QC_LINK)) {
        if let Some(at) = reader.at("to").filter(|_| link.to == site.name) {
            at.report(format!("site {:?} links to itself", site.name), "expected another site");
        }
        let Some(at) = reader.at("port").filter(|_| !link.port.is_empty()) else { continue };
        ports.add(link.port.clone(), &format!("port {:?}", link.port), &at);
        match switch.ports.iter().find(|p| p.name == link.port) {
            Some(port) => link_port(link, port, &at, all),
            None => {
                let message = format!("switch {:?} has no port {:?}", switch.name, link.port);
                at.report(message, nearest_of(&link.port, switch.ports.iter().map(|p| p.name.as_str())));
            }
        }
    }
}

/// Checks a port that is a link.
fn link_port(link: &SiteLink, port: &Port, at: &At<'_>, all: &[Site]) {
    let name = &port.name;
    if matches!(
        port.kind,
        PortKind::Ring(_) | PortKind::Pcap(_) | PortKind::Null | PortKind::E1000(_) | PortKind::VhostUser(_)
    ) {
        let message = format!("port {name:?} of kind {} leads to no other site", port.kind.name());
        at.report(message, "expected a port of kind patch, vxlan, packet, xdp, tap or netmap");
        return;
    }
    if port.flood {
        let help = "give the port `flood = false`: what is flooded would circle in a network of sites";
        at.report(format!("port {name:?} is a link and floods"), help);
    }
    if port.capacity.is_none() {
        let help = "give the port a `capacity`, like \"1Gbit/s\": trees are planned by it";
        at.report(format!("port {name:?} is a link without `capacity`"), help);
    }
    if let PortKind::Patch(patch) = &port.kind
        && let Some(there) = all.iter().find(|s| s.switch == patch.peer_switch)
        && there.name != link.to
    {
        let message = format!("port {name:?} leads to site {:?}, not to {:?}", there.name, link.to);
        at.report(message, format!("write `to = {:?}`, or give the port another `peer`", there.name));
    }
}

/// Checks that no name of the file is one that QuickCast may take.
fn reserved(r: &Reader<'_>, switch: &Switch) {
    let Some(at) = r.at("switch") else { return };
    let named = |what: &'static str, name: &str| name.starts_with(QC_PREFIX).then(|| (what, name.to_owned()));
    let ports = switch.ports.iter().filter_map(|p| named("port", &p.name));
    let groups = switch.groups.iter().filter_map(|g| named("group", &g.name));
    let meters = switch.meters.iter().filter_map(|m| named("meter", &m.name));
    for (what, name) in ports.chain(groups).chain(meters) {
        let message = format!("switch {:?} of a site has a {what} {name:?}", switch.name);
        at.report(message, format!("names that begin with {QC_PREFIX:?} are QuickCast's here: rename it"));
    }
}
