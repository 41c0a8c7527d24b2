//! Lines and words of a text, each with its place.

use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use valecast_config::{ConfigErrors, Diagnostic};

/// A file's name and text: what mistakes are reported against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

impl<'a> Source<'a> {
    /// A mistake at a part of the text.
    pub fn wrong(self, part: &str, message: impl Into<String>, help: impl Into<String>) -> ConfigErrors {
        let start = (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        self.wrong_at(start..start + part.len(), message, help)
    }

    /// A mistake at a byte range.
    pub fn wrong_at(
        self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> ConfigErrors {
        ConfigErrors { diagnostics: vec![Diagnostic::at(self.file, self.text, span, message, help)] }
    }

    /// A mistake of the whole file.
    pub fn wrong_file(self, message: impl Into<String>, help: impl Into<String>) -> ConfigErrors {
        ConfigErrors { diagnostics: vec![Diagnostic::without_place(self.file, message.into(), help.into())] }
    }

    /// The number that a word is.
    pub fn number<T: FromStr>(self, word: &str, what: impl Display) -> Result<T, ConfigErrors> {
        word.parse()
            .map_err(|_| self.wrong(word, format!("\"{word}\" is not {what}"), format!("write {what}")))
    }

    /// Exactly so many words of a line.
    pub fn fields<const N: usize>(
        self,
        line: &'a str,
        words: impl Iterator<Item = &'a str>,
        want: &str,
    ) -> Result<[&'a str; N], ConfigErrors> {
        let words: Vec<&str> = words.take(N + 1).collect();
        <[&str; N]>::try_from(words).map_err(|got| {
            let many = if got.len() > N { "too many fields".into() } else { format!("{} fields", got.len()) };
            self.wrong(line, format!("{many}, must be {N}"), want)
        })
    }
}
