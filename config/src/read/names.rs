//! What was named where: unique names, and references to them.

use std::collections::BTreeMap;

use crate::diagnostics::Span;
use crate::suggest::nearest;
use crate::value::{At, is_name, one_of};

/// Things that must differ from one another, with the place of each.
pub(super) struct Unique<K> {
    seen: BTreeMap<K, Span>,
}

impl<K> Default for Unique<K> {
    fn default() -> Self {
        Self { seen: BTreeMap::new() }
    }
}

impl<K: Ord> Unique<K> {
    /// Remembers `key`, found at `at`; reports it when it was seen before. `what` is how to call it.
    pub fn add(&mut self, key: K, what: &str, at: &At<'_>) {
        match self.seen.get(&key) {
            Some(first) => {
                let line = at.sink.line(first.start);
                at.report(format!("{what} is already used"), format!("first used on line {line}"));
            }
            None => {
                self.seen.insert(key, at.span());
            }
        }
    }
}

impl Unique<String> {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.seen.keys().map(String::as_str)
    }
}

/// What to say of a name that none of `names` is.
pub(super) fn nearest_of<'n>(text: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    match nearest(text, names.clone()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None if names.clone().next().is_none() => "there are none".to_owned(),
        None => format!("expected {}", one_of(names)),
    }
}

/// What the tables of one switch may refer to. The default is for a table read on its own, of whose
/// switch nothing is known: it takes any name.
#[derive(Default)]
pub(super) struct Scope<'n> {
    pub ports: Option<&'n Unique<String>>,
    pub meters: Option<&'n Unique<String>>,
    pub max_buckets: Option<usize>,
}

/// A reference to something named; `what` is what it is (`port`).
pub(super) fn reference<'a>(names: Option<&Unique<String>>, what: &str) -> impl Fn(At<'a>) -> Option<String> {
    move |at| {
        let text = at.str(&format!("the name of a {what}"))?;
        let Some(names) = names else {
            return match is_name(text) {
                true => Some(text.to_owned()),
                false => at.refuse(
                    format!("{text:?} cannot name a {what}"),
                    "expected 1 to 15 of A-Z a-z 0-9 _ . -",
                ),
            };
        };
        if !names.seen.contains_key(text) {
            let help = match nearest(text, names.names()) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None if names.seen.is_empty() => format!("this switch has no {what}s"),
                None => format!("expected {}", one_of(names.names())),
            };
            at.report(format!("there is no {what} {text:?} in this switch"), help);
        }
        Some(text.to_owned())
    }
}
