//! TOML text -> valid types, and every mistake on the way.
//!
//! `config` reads the file and its switches, `port` the ports, `tables` what refers to ports, `qc` the sites; `names`
//! knows what was named where. A mistake never stops the reading: the value is replaced by a placeholder,
//! and at the end either nothing was reported and every value is real, or only the reports leave here.

pub(crate) mod config;
mod names;
mod port;
mod qc;
mod tables;

use toml::de::DeTable;

use crate::diagnostics::{ConfigErrors, Sink};
use crate::keys::{FILE, GROUP, METER, MIRROR, PORT, STATIC, SWITCH, Section};
use crate::port::Port;
use crate::reader::Reader;
use crate::valid::{Config, Group, Meter, Mirror, StaticEntry, Switch};
use names::Scope;

/// Reads a whole configuration; `name` is what mistakes call it.
pub(crate) fn parse_config(name: &str, text: &str) -> Result<Config, ConfigErrors> {
    parse(name, text, &FILE, config::config)
}

/// Reads one switch from the keys of a `[[switch]]` table at top level (its ports are `[[port]]`).
///
/// # Errors
/// Every mistake in the text. Whether the peers of patch ports exist is for the caller to see.
pub fn parse_switch(source_name: &str, toml_text: &str) -> Result<Switch, ConfigErrors> {
    parse(source_name, toml_text, &SWITCH, |reader| config::switch(reader).switch)
}

/// Reads one port from the keys of a `[[switch.port]]` table at top level.
///
/// # Errors
/// Every mistake in the text. Whether the name is free in its switch, and the peer of a patch port
/// exists, is for the caller to see.
pub fn parse_port(source_name: &str, toml_text: &str) -> Result<Port, ConfigErrors> {
    parse(source_name, toml_text, &PORT, port::port)
}

/// Reads one group from the keys of a `[[switch.group]]` table at top level.
///
/// # Errors
/// Every mistake in the text. Whether what it names exists in its switch, and the switch's limits allow
/// it, is for the caller to see.
pub fn parse_group(source_name: &str, toml_text: &str) -> Result<Group, ConfigErrors> {
    parse(source_name, toml_text, &GROUP, |reader| tables::group(reader, &Scope::default()))
}

/// Reads one meter from the keys of a `[[switch.meter]]` table at top level.
///
/// # Errors
/// Every mistake in the text. Whether the name is free in its switch is for the caller to see.
pub fn parse_meter(source_name: &str, toml_text: &str) -> Result<Meter, ConfigErrors> {
    parse(source_name, toml_text, &METER, tables::meter)
}

/// Reads one fixed forwarding entry from the keys of a `[[switch.static]]` table at top level.
///
/// # Errors
/// Every mistake in the text. Whether the port exists in its switch is for the caller to see.
pub fn parse_static(source_name: &str, toml_text: &str) -> Result<StaticEntry, ConfigErrors> {
    parse(source_name, toml_text, &STATIC, |reader| tables::static_entry(reader, &Scope::default()))
}

/// Reads one mirror from the keys of a `[[switch.mirror]]` table at top level.
///
/// # Errors
/// Every mistake in the text. Whether the ports exist in its switch is for the caller to see.
pub fn parse_mirror(source_name: &str, toml_text: &str) -> Result<Mirror, ConfigErrors> {
    parse(source_name, toml_text, &MIRROR, |reader| tables::mirror(reader, &Scope::default()))
}

/// Parses the text and hands its top-level table to `read`.
pub(crate) fn parse<T>(
    name: &str,
    text: &str,
    section: &'static Section,
    read: impl FnOnce(&mut Reader<'_>) -> T,
) -> Result<T, ConfigErrors> {
    // Some editors put a byte-order mark in front, which would shift the columns of the first line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let sink = Sink::new(name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    // Past a syntax error the parser's idea of the file is a guess, so checking values would report
    // mistakes nobody made. Of several errors in one line only the first is the typist's.
    let mut last_line = 0;
    for error in &errors {
        let span = error.span().unwrap_or_default();
        let line = sink.line(span.start);
        if line != last_line {
            sink.report(&span, error.message(), "");
        }
        last_line = line;
        // Inside an array that never ends, each line that follows looks like another mistake.
        if error.message().starts_with("missing comma") || error.message().starts_with("unclosed") {
            break;
        }
    }
    if !errors.is_empty() {
        return Err(sink.into_errors());
    }
    // The top level has no header to point at; a missing key points at the start.
    let mut reader = Reader::new(document.get_ref(), 0..0, section, &sink);
    let value = read(&mut reader);
    drop(document);
    sink.finish(value)
}
