//! Walks one TOML table: hands out its values, and reports what is missing and what is unknown.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostics::{Sink, Span};
use crate::keys::{KINDS, PORT, Section};
use crate::suggest::nearest;
use crate::value::At;

/// One table, and the keys it may have.
pub(crate) struct Reader<'a> {
    table: &'a DeTable<'a>,
    /// Where the table stands: what a missing key points at.
    pub span: Span,
    sections: Vec<&'static Section>,
    pub sink: &'a Sink<'a>,
}

impl<'a> Reader<'a> {
    pub fn new(table: &'a DeTable<'a>, span: Span, section: &'static Section, sink: &'a Sink<'a>) -> Self {
        Self { table, span, sections: vec![section], sink }
    }

    /// Allows the keys of further sections too.
    pub fn also(&mut self, sections: impl IntoIterator<Item = &'static Section>) {
        self.sections.extend(sections);
    }

    /// The value of a key, if present.
    pub fn at(&self, key: &'static str) -> Option<At<'a>> {
        debug_assert!(self.knows(key), "{key} is read but not listed in keys.rs");
        let (_, value) = self.table.iter().find(|(k, _)| k.get_ref() == key)?;
        Some(At { key, value, sink: self.sink })
    }

    /// A key that may be absent.
    pub fn get<T>(&self, key: &'static str, parse: impl FnOnce(At<'a>) -> Option<T>) -> Option<T> {
        self.at(key).and_then(parse)
    }

    /// A key with a default. A wrong value is reported and replaced by the default, so that reading goes
    /// on and finds further mistakes.
    pub fn or<T>(&self, key: &'static str, default: T, parse: impl FnOnce(At<'a>) -> Option<T>) -> T {
        self.get(key, parse).unwrap_or(default)
    }

    /// A key that must be present.
    pub fn need<T>(&self, key: &'static str, parse: impl FnOnce(At<'a>) -> Option<T>) -> Option<T> {
        let Some(at) = self.at(key) else {
            let section =
                self.sections.iter().rev().find_map(|s| Some((s, s.keys.iter().find(|k| k.name == key)?)));
            let (header, kind) = section.map_or(("", ""), |(s, k)| (s.header, k.kind));
            self.sink.report(
                &self.span,
                format!("{header} needs `{key}`"),
                format!("add `{key} = …` ({kind})"),
            );
            return None;
        };
        parse(at)
    }

    /// Readers for an array of tables (`[[switch]]`); none when the key is absent.
    pub fn tables(&self, key: &'static str, section: &'static Section) -> Vec<Reader<'a>> {
        let Some(at) = self.at(key) else { return Vec::new() };
        let expected =
            if section.header.starts_with('[') { section.header } else { "an array of tables: [{ … }]" };
        let DeValue::Array(items) = at.value.get_ref() else {
            at.wrong_type::<()>(expected);
            return Vec::new();
        };
        items.iter().filter_map(|value| At { value, ..at }.table(section, expected)).collect()
    }

    /// Reports the keys that are not known here.
    pub fn finish(&self) {
        for (key, _) in self.table.iter().filter(|(key, _)| !self.knows(key.get_ref())) {
            self.unknown(key);
        }
    }

    fn knows(&self, key: &str) -> bool {
        self.sections.iter().any(|section| section.has(key))
    }

    fn unknown(&self, key: &Spanned<std::borrow::Cow<'_, str>>) {
        let name = key.get_ref().as_ref();
        let kind = self.sections.last().and_then(|s| s.kind);
        let owners: Vec<&str> = KINDS.iter().filter(|s| s.has(name)).filter_map(|s| s.kind).collect();
        if let (true, Some(kind), Some((first, rest))) =
            (std::ptr::eq(self.sections[0], &PORT), kind, owners.split_first())
        {
            let owners =
                rest.iter().fold(format!("kind {first}"), |all, next| format!("{all} and kind {next}"));
            let message = format!("key `{name}` belongs to {owners}, this port is {kind}");
            self.sink.report(&key.span(), message, "remove it, or change `kind`");
            return;
        }
        let known = || self.sections.iter().flat_map(|s| s.keys).map(|k| k.name);
        let help = nearest(name, known()).map_or_else(
            || format!("known keys: {}", known().collect::<Vec<_>>().join(", ")),
            |meant| format!("did you mean `{meant}`?"),
        );
        self.sink.report(&key.span(), format!("unknown key `{name}`"), help);
    }
}

impl<'a> At<'a> {
    /// A reader for the value, which must be a table.
    pub fn table(&self, section: &'static Section, expected: &str) -> Option<Reader<'a>> {
        match self.value.get_ref() {
            DeValue::Table(table) => Some(Reader::new(table, self.span(), section, self.sink)),
            _ => self.wrong_type(expected),
        }
    }
}
