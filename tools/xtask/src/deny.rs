//! Licences, banned crates and crate sources, against `deny.toml`.
//!
//! cargo-deny reads the same file and knows more (yanked crates, advisories); it runs too where it is installed.
//! The check here needs nothing but cargo, so that something real runs everywhere.

use std::collections::BTreeMap;
use std::fs;

use semver::{Version, VersionReq};
use serde_json::Value as Json;
use spdx::{Expression, Licensee, ParseMode};

use crate::cmd::{self, Cmd};
use crate::report::{Outcome, Report};

/// Checks; where cargo-deny is missing, what only it can check is listed as not run.
pub fn run(report: &mut Report) -> Outcome {
    let own = match check() {
        Ok(complaints) => crate::outcome(&complaints),
        Err(wrong) => Outcome::Failed(wrong),
    };
    if Cmd::cargo(["deny", "--version"]).works() {
        return own
            .and_then(|| Cmd::cargo(["deny", "--offline", "check", "licenses", "bans", "sources"]).run());
    }
    report.not_run("deny: licence texts, yanked crates", "needs cargo-deny (cargo install cargo-deny)");
    own
}

/// The complaints about the workspace's dependencies.
fn check() -> Result<Vec<String>, String> {
    let read = |name: &str| fs::read_to_string(cmd::root().join(name)).map_err(|e| format!("{name}: {e}"));
    let policy = Policy::parse(&read("deny.toml")?)?;
    let locked = locked(&read("Cargo.lock")?)?;
    let mut complaints = policy.bans(&locked);
    complaints.extend(policy.sources(&locked));
    for (name, versions) in duplicates(&locked) {
        println!("warning: {name} is there in {} versions: {}", versions.len(), versions.join(", "));
    }
    let licences = licences()?;
    complaints.extend(policy.licences(&licences));
    println!("{} locked crates, {} licences looked at", locked.len(), licences.len());
    Ok(complaints)
}

/// A crate of Cargo.lock.
struct Locked {
    name: String,
    version: Version,
    source: Option<String>,
}

fn locked(text: &str) -> Result<Vec<Locked>, String> {
    let lock: toml::Table = text.parse().map_err(|e| format!("Cargo.lock: {e}"))?;
    let packages = lock.get("package").and_then(|p| p.as_array()).ok_or("Cargo.lock: no packages")?;
    let one = |package: &toml::Value| {
        let text = |key| package.get(key).and_then(|v| v.as_str()).map(str::to_owned);
        let version = text("version").and_then(|v| v.parse().ok());
        Some(Locked { name: text("name")?, version: version?, source: text("source") })
    };
    packages.iter().map(|p| one(p).ok_or_else(|| format!("Cargo.lock: odd package {p}"))).collect()
}

/// Crates that are there more than once.
fn duplicates(locked: &[Locked]) -> Vec<(&str, Vec<String>)> {
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for package in locked {
        by_name.entry(&package.name).or_default().push(package.version.to_string());
    }
    by_name.into_iter().filter(|(_, versions)| versions.len() > 1).collect()
}

/// Name and licence of every crate built on this host, tests included.
fn licences() -> Result<Vec<(String, Option<String>)>, String> {
    let host = Cmd::new("rustc", ["-vV"]).output()?;
    let host = String::from_utf8_lossy(&host.stdout).into_owned();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
    let metadata = |extra: &[&str]| {
        Cmd::cargo(["metadata", "--format-version=1", "--locked", "--filter-platform", host])
            .args(extra)
            .output()
    };
    let output = metadata(&["--offline"]).or_else(|_| metadata(&[]))?;
    let metadata: Json =
        serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata: no packages")?;
    let name =
        |p: &Json| format!("{} {}", p["name"].as_str().unwrap_or("?"), p["version"].as_str().unwrap_or("?"));
    Ok(packages.iter().map(|p| (name(p), p["license"].as_str().map(str::to_owned))).collect())
}

/// What deny.toml allows and forbids.
struct Policy {
    allowed: Vec<Licensee>,
    banned: Vec<(String, VersionReq, String)>,
    registries: Vec<String>,
}

impl Policy {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("deny.toml: {what}");
        let table: toml::Table = text.parse().map_err(|e| format!("deny.toml: {e}"))?;
        let array = |section: &str, key: &str| {
            table
                .get(section)
                .and_then(|s| s.get(key))
                .and_then(|v| v.as_array())
                .map_or(&[][..], Vec::as_slice)
        };
        let text =
            |value: &toml::Value| value.as_str().map(str::to_owned).ok_or_else(|| wrong("want a string"));
        let mut policy = Self { allowed: Vec::new(), banned: Vec::new(), registries: Vec::new() };
        for id in array("licenses", "allow") {
            let id = text(id)?;
            policy.allowed.push(Licensee::parse(&id).map_err(|e| wrong(&format!("licence {id}: {e}")))?);
        }
        for ban in array("bans", "deny") {
            let field = |key: &str| ban.get(key).and_then(|v| v.as_str());
            let name = field("name").ok_or_else(|| wrong("a ban without a name"))?;
            let versions = field("version").unwrap_or("*");
            let versions = versions.parse().map_err(|e| wrong(&format!("ban of {name}: {e}")))?;
            policy.banned.push((name.to_owned(), versions, field("reason").unwrap_or("").to_owned()));
        }
        for registry in array("sources", "allow-registry") {
            policy.registries.push(format!("registry+{}", text(registry)?));
        }
        Ok(policy)
    }

    fn bans(&self, locked: &[Locked]) -> Vec<String> {
        let ban = |p: &Locked| {
            let hit = self
                .banned
                .iter()
                .find(|(name, versions, _)| *name == p.name && versions.matches(&p.version));
            hit.map(|(_, _, reason)| format!("{} {} is banned: {reason}", p.name, p.version))
        };
        locked.iter().filter_map(ban).collect()
    }

    fn sources(&self, locked: &[Locked]) -> Vec<String> {
        let foreign = |p: &&Locked| p.source.as_ref().is_some_and(|source| !self.registries.contains(source));
        locked.iter().filter(foreign).map(|p| format!("{} comes from {:?}", p.name, p.source)).collect()
    }

    fn licences(&self, packages: &[(String, Option<String>)]) -> Vec<String> {
        let complaint = |(name, licence): &(String, Option<String>)| {
            let Some(licence) = licence else { return Some(format!("{name} names no licence")) };
            match Expression::parse_mode(licence, ParseMode::LAX) {
                Ok(terms) if terms.evaluate(|req| self.allowed.iter().any(|one| one.satisfies(req))) => None,
                Ok(_) => Some(format!("{name}: licence `{licence}` is not allowed by deny.toml")),
                Err(error) => Some(format!("{name}: licence `{licence}`: {error}")),
            }
        };
        packages.iter().filter_map(complaint).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::parse(include_str!("../../../deny.toml")).unwrap()
    }

    fn crate_at(name: &str, version: &str, source: Option<&str>) -> Locked {
        Locked { name: name.into(), version: version.parse().unwrap(), source: source.map(str::to_owned) }
    }

    #[test]
    fn old_versions_are_banned_and_new_ones_are_not() {
        let bans = |name, version| policy().bans(&[crate_at(name, version, None)]).len();
        assert_eq!(bans("memmap2", "0.9.10"), 1);
        assert_eq!(bans("memmap2", "0.9.11"), 0);
        assert_eq!(bans("crossbeam-epoch", "0.9.18"), 1);
        assert_eq!(bans("arc-swap", "1.9.5"), 0);
        assert_eq!(bans("openssl-sys", "0.9.100"), 1);
    }

    #[test]
    fn only_the_public_registry_is_a_source() {
        let crates_io = "registry+https://github.com/rust-lang/crates.io-index";
        let sources = |source| policy().sources(&[crate_at("x", "1.0.0", source)]).len();
        assert_eq!(sources(None), 0);
        assert_eq!(sources(Some(crates_io)), 0);
        assert_eq!(sources(Some("git+https://example.org/x")), 1);
    }

    #[test]
    fn licences_are_expressions() {
        let bad = |licence: &str| policy().licences(&[("x 1".into(), Some(licence.into()))]).len();
        assert_eq!(bad("MIT OR GPL-3.0-only"), 0);
        assert_eq!(bad("MIT/Apache-2.0"), 0);
        assert_eq!(bad("MIT AND GPL-3.0-only"), 1);
        assert_eq!(bad("(MIT OR Apache-2.0) AND Unicode-3.0"), 0);
        assert_eq!(bad("SSPL-1.0"), 1);
        assert_eq!(policy().licences(&[("x 1".into(), None)]).len(), 1);
    }
}
