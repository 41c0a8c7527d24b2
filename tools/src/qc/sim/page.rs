//! What an experiment hands back, and how it reads: as text on a terminal, as a page, as CSV.

use std::fmt::{self, Write as _};

use serde::Serialize;
use valecast_qc_dataplane::sim::stats::Estimate;

use super::svg::{self, Panel};

/// Whether a published claim holds here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It does.
    Reproduced,
    /// Some of it does.
    Partly,
    /// It does not.
    NotReproduced,
    /// An own goal is reached.
    Reached,
    /// An own goal is not reached.
    Missed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reproduced => "reproduced",
            Self::Partly => "partly",
            Self::NotReproduced => "not reproduced",
            Self::Reached => "reached",
            Self::Missed => "not reached",
        })
    }
}

/// All, some or none of the parts of a claim hold.
pub fn verdict(parts: &[bool]) -> Verdict {
    match parts.iter().filter(|p| **p).count() {
        n if n == parts.len() => Verdict::Reproduced,
        0 => Verdict::NotReproduced,
        _ => Verdict::Partly,
    }
}

/// A published claim beside what was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Claim {
    /// Its number, C0 to C10 of the extended paper and I1 to I6 of the conference paper.
    pub id: String,
    /// What was published.
    pub published: String,
    /// What was measured.
    pub measured: String,
    /// Whether it holds.
    pub verdict: Verdict,
    /// Why not, or what to know.
    pub note: String,
}

/// Rows under columns.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// Column names.
    pub columns: Vec<String>,
    /// Cells, as many in each row as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(caption: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|c| (*c).to_owned()).collect();
        Self { caption: caption.into(), columns, rows: Vec::new() }
    }
}

/// What an experiment found.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// Its name on the command line.
    pub id: &'static str,
    /// Its heading.
    pub title: String,
    /// What was run.
    pub text: String,
    /// Claims beside measurements.
    pub claims: Vec<Claim>,
    /// Tables.
    pub tables: Vec<Table>,
    /// The plot's panels.
    #[serde(skip)]
    pub panels: Vec<Panel>,
}

impl Section {
    pub fn new(id: &'static str, title: impl Into<String>, text: impl Into<String>) -> Self {
        let (title, text) = (title.into(), text.into());
        Self { id, title, text, claims: vec![], tables: vec![], panels: vec![] }
    }

    pub fn claim(
        &mut self,
        id: &str,
        published: impl Into<String>,
        measured: impl Into<String>,
        verdict: Verdict,
        note: impl Into<String>,
    ) {
        let (published, measured, note) = (published.into(), measured.into(), note.into());
        self.claims.push(Claim { id: id.to_owned(), published, measured, verdict, note });
    }

    /// The plot, if there is one.
    pub fn svg(&self) -> Option<String> {
        (!self.panels.is_empty()).then(|| svg::chart(&self.title, &self.panels))
    }

    /// All tables as one CSV file, each preceded by its caption as a comment.
    pub fn csv(&self) -> String {
        let mut out = String::new();
        for t in &self.tables {
            let _ = writeln!(out, "# {}", t.caption.replace('\n', " "));
            for row in std::iter::once(&t.columns).chain(&t.rows) {
                let cells: Vec<_> = row.iter().map(|c| quoted(c)).collect();
                out += &(cells.join(",") + "\n");
            }
        }
        out
    }

    /// As a part of a page, the heading at `level`; pictures and files are in `images`, relative to the page.
    pub fn markdown(&self, level: usize, images: &str) -> String {
        let mut out = format!("{} {}\n\n{}\n\n", "#".repeat(level), self.title, self.text);
        if !self.claims.is_empty() {
            let mut t = Table::new("", &["claim", "published", "measured here", "verdict"]);
            t.rows = self.claims.iter().map(|c| c.row()).collect();
            out += &(markdown(&t) + "\n");
            for c in self.claims.iter().filter(|c| !c.note.is_empty()) {
                let _ = writeln!(out, "- {}: {}", c.id, c.note);
            }
            if self.claims.iter().any(|c| !c.note.is_empty()) {
                out.push('\n');
            }
        }
        if !self.panels.is_empty() {
            let _ = writeln!(out, "![{}]({images}/{}.svg)\n", self.title, self.id);
        }
        for t in &self.tables {
            let _ = writeln!(out, "{}\n\n{}", t.caption, markdown(t));
        }
        if !self.tables.is_empty() {
            let _ = writeln!(out, "The same as a file: [{0}.csv]({images}/{0}.csv)\n", self.id);
        }
        out
    }

    /// For a terminal.
    pub fn terminal(&self) -> String {
        let mut out = format!("{}\n{}\n\n", self.title, self.text);
        for t in &self.tables {
            let _ = writeln!(out, "{}\n{}", t.caption, plain(t));
        }
        for c in &self.claims {
            let _ = writeln!(
                out,
                "{} {}\n  published: {}\n  here:      {}",
                c.id, c.verdict, c.published, c.measured
            );
            if !c.note.is_empty() {
                let _ = writeln!(out, "  {}", c.note);
            }
        }
        out
    }
}

impl Claim {
    /// As a row of a table.
    pub fn row(&self) -> Vec<String> {
        let verdict = match self.verdict {
            Verdict::Reproduced | Verdict::Reached => self.verdict.to_string(),
            other => format!("**{other}**"),
        };
        vec![self.id.clone(), self.published.clone(), self.measured.clone(), verdict]
    }
}

fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

/// A table in Markdown.
pub fn markdown(t: &Table) -> String {
    let row = |cells: &[String]| {
        let cells: Vec<_> = cells.iter().map(|c| c.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = format!("|{}\n", "---|".repeat(t.columns.len()));
    row(&t.columns) + &rule + &t.rows.iter().map(|r| row(r)).collect::<String>()
}

/// A table in columns of characters.
pub fn plain(t: &Table) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(&t.columns);
    for (i, _) in t.columns.iter().enumerate() {
        if let Some(column) = table.column_mut(i) {
            column.set_padding((0, 2));
            if t.rows
                .iter()
                .all(|r| r.get(i).is_some_and(|c| c.starts_with(|c: char| c.is_ascii_digit() || c == '-')))
            {
                column.set_cell_alignment(comfy_table::CellAlignment::Right);
            }
        }
    }
    table.add_rows(&t.rows);
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Three significant digits.
pub fn three(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    if value.abs() < 1e-9 {
        return "0".to_owned();
    }
    let digits = 2 - value.abs().max(1e-12).log10().floor() as i32;
    match digits {
        d if d <= 0 => format!("{value:.0}"),
        d => format!("{value:.*}", d.min(6) as usize),
    }
}

/// A mean and its interval.
pub fn with_half(e: Estimate) -> String {
    match e.half.is_finite() {
        true => format!("{} ± {}", three(e.mean), three(e.half)),
        false => three(e.mean),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section() -> Section {
        let mut s = Section::new("fig9", "Ninth", "All of it.");
        s.claim("C9", "2x", "1.9x", Verdict::Partly, "nearly");
        let mut t = Table::new("by size", &["k", "mean"]);
        t.rows.push(vec!["2".into(), "1,5".into()]);
        s.tables.push(t);
        s
    }

    #[test]
    fn reads_in_three_forms() {
        let s = section();
        assert_eq!(s.csv(), "# by size\nk,mean\n2,\"1,5\"\n");
        let page = s.markdown(2, "img");
        assert!(page.starts_with("## Ninth\n\nAll of it.\n\n| claim | published |"), "{page}");
        assert!(
            page.contains("| C9 | 2x | 1.9x | **partly** |\n") && page.contains("- C9: nearly"),
            "{page}"
        );
        assert!(page.contains("[fig9.csv](img/fig9.csv)") && !page.contains(".svg"), "{page}");
        assert!(s.terminal().contains("C9 partly\n  published: 2x\n"));
    }

    #[test]
    fn digits() {
        let all: Vec<_> = [0.0123456, 1.0, 12.34, 1234.5, f64::NAN].into_iter().map(three).collect();
        assert_eq!(all, ["0.0123", "1.00", "12.3", "1234", "-"]);
        assert_eq!(verdict(&[true, false]), Verdict::Partly);
        assert_eq!((verdict(&[true]), verdict(&[false])), (Verdict::Reproduced, Verdict::NotReproduced));
    }
}
