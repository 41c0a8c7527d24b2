//! Valid types written back with the keys they are typed with, and read from TOML or JSON by the parser.
//!
//! Reading always goes through the parser rather than a derived `Deserialize`, so that what arrives over
//! the control API is held to the same rules, with the same messages, as what stands in a file.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serializer};

use crate::diagnostics::{ConfigErrors, Diagnostic};
use crate::port::Port;
use crate::read::{
    parse_config, parse_group, parse_meter, parse_mirror, parse_port, parse_static, parse_switch,
};
use crate::units::format_duration;
use crate::valid::{Config, Group, Meter, Mirror, StaticEntry, Switch};

/// Writes what `Display` shows.
pub(crate) fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Writes a duration as `50us`.
pub(crate) fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*value))
}

/// Writes permission bits as `0600`.
pub(crate) fn mode<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{value:04o}"))
}

/// Writes the listening address as the table `[api]`.
pub(crate) fn api<S: Serializer>(value: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    if let Some(listen) = value {
        map.serialize_entry("listen", &listen.to_string())?;
    }
    map.end()
}

macro_rules! deserialize_with_the_parser {
    ($($type:ty = $parse:path;)*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let table = toml::Table::deserialize(deserializer)?;
                let text = toml::to_string(&table).map_err(serde::de::Error::custom)?;
                $parse("input", &text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

deserialize_with_the_parser! {
    Config = parse_config;
    Switch = parse_switch;
    Port = parse_port;
    StaticEntry = parse_static;
    Mirror = parse_mirror;
    Meter = parse_meter;
    Group = parse_group;
}

/// Reads a port from a JSON object with the keys of `[[switch.port]]`.
///
/// # Errors
/// Every mistake; lines and columns are those of the same object written as TOML.
pub fn port_from_json(json: &str) -> Result<Port, ConfigErrors> {
    parse_port(JSON, &toml_from_json(json)?)
}

/// Reads a group from a JSON object with the keys of `[[switch.group]]`.
///
/// # Errors
/// As [`port_from_json`].
pub fn group_from_json(json: &str) -> Result<Group, ConfigErrors> {
    parse_group(JSON, &toml_from_json(json)?)
}

/// Reads a meter from a JSON object with the keys of `[[switch.meter]]`.
///
/// # Errors
/// As [`port_from_json`].
pub fn meter_from_json(json: &str) -> Result<Meter, ConfigErrors> {
    parse_meter(JSON, &toml_from_json(json)?)
}

/// What messages call an object that came as JSON.
const JSON: &str = "request";

/// The same object as TOML text.
fn toml_from_json(json: &str) -> Result<String, ConfigErrors> {
    let refuse = |message: String| ConfigErrors {
        diagnostics: vec![Diagnostic::without_place(JSON, message, "expected a JSON object".to_owned())],
    };
    let mut value: serde_json::Value = serde_json::from_str(json).map_err(|e| refuse(e.to_string()))?;
    drop_nulls(&mut value);
    let table = toml::Table::try_from(value).map_err(|e| refuse(e.to_string()))?;
    toml::to_string(&table).map_err(|e| refuse(e.to_string()))
}

/// TOML has no null; in JSON a null member is the usual way to say "absent".
fn drop_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.retain(|_, member| !member.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
