//! The manual's table of keys.

use std::fmt::Write;

use crate::keys::{SECTIONS, TE};

/// Every key with its type, default and meaning, as Markdown.
pub fn reference() -> String {
    let mut page = String::from(
        "# Configuration reference\n\n\
         Durations are a number and `ns`, `us`, `ms`, `s`, `m` or `h`. Sizes are a number of bytes, or a number\n\
         and `KiB`, `MiB`, `GiB` (1024) or `kB`, `MB`, `GB` (1000). Rates are a number and `bit/s`, `kbit/s`,\n\
         `Mbit/s` or `Gbit/s`. Unknown keys are errors.\n",
    );
    for section in SECTIONS.into_iter().chain([&TE]) {
        let header = match section.kind {
            Some(kind) => format!("`{}` with `kind = \"{kind}\"`", section.header),
            None if section.header.starts_with('[') => format!("`{}`", section.header),
            None => section.header.to_owned(),
        };
        page.push_str(&format!("\n## {header}\n\n{}\n", section.about));
        if section.keys.is_empty() {
            continue;
        }
        page.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
        for key in section.keys {
            let default = match key.default {
                words @ ("required" | "none") => words.to_owned(),
                words if words.starts_with('(') => words.trim_matches(['(', ')']).to_owned(),
                literal => format!("`{literal}`"),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(page, "| `{}` | {} | {default} | {} |", key.name, key.kind, key.about);
        }
    }
    page
}
