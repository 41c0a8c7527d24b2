//! What is wrong with a configuration, and where.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// A byte range of the configuration's text.
pub(crate) type Span = Range<usize>;

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// File name, or what the text was called by whoever handed it over.
    pub file: String,
    /// Line, counted from 1; 0 when the mistake has no place in the text (the file could not be read).
    pub line: usize,
    /// Column in characters, counted from 1; 0 like [`line`](Self::line).
    pub column: usize,
    /// Byte range of what is wrong.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
    /// The text of the line.
    pub source_line: String,
}

impl Diagnostic {
    /// A mistake that has no place in the text.
    #[must_use]
    pub fn without_place(file: &str, message: String, help: String) -> Self {
        let (line, column, span, source_line) = (0, 0, 0..0, String::new());
        Self { file: file.to_owned(), line, column, span, message, help, source_line }
    }

    /// A mistake at a byte range of a text.
    #[must_use]
    pub fn at(
        file: &str,
        text: &str,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let (line, column, source_line) = locate(text, span.start);
        let (file, source_line) = (file.to_owned(), source_line.to_owned());
        Self { file, line, column, span, message: message.into(), help: help.into(), source_line }
    }

    /// How many carets underline the mistake: what the span covers of its first line, at least one.
    fn carets(&self) -> usize {
        let mut bytes = self.span.len();
        let covered = self.source_line.chars().skip(self.column.saturating_sub(1)).take_while(|c| {
            let inside = bytes > 0;
            bytes = bytes.saturating_sub(c.len_utf8());
            inside
        });
        covered.count().max(1)
    }
}

/// Rendered as rustc does: message, place, the line, carets with the help beside them.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        if self.line == 0 {
            write!(f, " --> {}", self.file)?;
            return if self.help.is_empty() { Ok(()) } else { write!(f, "\n  = {}", self.help) };
        }
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // A configuration is shown on a terminal; control characters in it must not steer that terminal.
        // Tabs stay, in the caret line too, so that the carets line up.
        let shown: String = self
            .source_line
            .chars()
            .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
            .collect();
        let indent = self.source_line.chars().take(self.column - 1);
        let indent: String = indent.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(f, "{margin}--> {}:{}:{}", self.file, self.line, self.column)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {shown}")?;
        let line = format!("{margin} | {indent}{} {}", "^".repeat(self.carets()), self.help);
        write!(f, "{}", line.trim_end())
    }
}

/// Every mistake found in one configuration, in the order of the text. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct ConfigErrors {
    /// The mistakes.
    pub diagnostics: Vec<Diagnostic>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.diagnostics.iter().enumerate() {
            write!(f, "{}{diagnostic}", if i == 0 { "" } else { "\n\n" })?;
        }
        match self.diagnostics.len() {
            1 => Ok(()),
            n => write!(f, "\n\n{n} mistakes"),
        }
    }
}

/// The text being read, and what was found wrong with it so far.
///
/// Shared by all readers of one text, hence the `RefCell`: each reports as it goes, none looks at the
/// reports of another.
pub(crate) struct Sink<'a> {
    file: &'a str,
    text: &'a str,
    found: RefCell<Vec<Diagnostic>>,
}

impl<'a> Sink<'a> {
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: RefCell::default() }
    }

    /// Records one mistake.
    pub fn report(&self, span: &Span, message: impl Into<String>, help: impl Into<String>) {
        let found = Diagnostic::at(self.file, self.text, span.clone(), message, help);
        self.found.borrow_mut().push(found);
    }

    /// The line (from 1) of a byte offset.
    pub fn line(&self, offset: usize) -> usize {
        locate(self.text, offset).0
    }

    /// The value when nothing was wrong, else every mistake in the order of the text.
    pub fn finish<T>(self, value: T) -> Result<T, ConfigErrors> {
        if self.found.borrow().is_empty() { Ok(value) } else { Err(self.into_errors()) }
    }

    /// Every mistake in the order of the text.
    pub fn into_errors(self) -> ConfigErrors {
        let mut diagnostics = self.found.into_inner();
        diagnostics.sort_by_key(|d| d.span.start);
        ConfigErrors { diagnostics }
    }
}

/// Line, column and the line's text for a byte offset.
fn locate(text: &str, offset: usize) -> (usize, usize, &str) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let (before, after) = text.split_at(offset);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let end = after.find('\n').map_or(text.len(), |newline| offset + newline);
    let line = before.matches('\n').count() + 1;
    let column = text[start..offset].chars().count() + 1;
    (line, column, text[start..end].trim_end_matches('\r'))
}
