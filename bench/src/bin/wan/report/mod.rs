//! What came out: `text` (a table, also as Markdown), `svg` (the chart), and all of it as JSON.

mod svg;
mod text;

use serde::Serialize;
use serde_json::{Value, json};
use valecast_bench::machine::Machine;

use crate::figures::{Figures, figures};
use crate::rounds::Row;

/// Everything that is told of part `wan`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The network, in a line.
    pub network: String,
    /// The file, in a line.
    pub task: String,
    /// Receivers, in the order asked for.
    pub receivers: Vec<String>,
    /// Where it was measured.
    pub machine: Machine,
    /// The rounds.
    pub rows: Vec<Row>,
}

impl Report {
    fn figures(&self) -> Vec<Figures> {
        self.rows.iter().filter_map(figures).collect()
    }

    /// All rounds and their figures.
    pub fn json(&self) -> Value {
        json!({ "report": self, "figures": self.figures() })
    }

    /// What has no figures, and why.
    fn missing(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for row in &self.rows {
            if let Err(why) = &row.version {
                lines.push(format!("{} was not measured: {why}", row.name));
            }
            for why in &row.failures {
                lines.push(format!("{} failed: {why}", row.name));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_of_telling_name_every_contender() {
        let failed = Row {
            name: "uftp",
            version: Err("uftp is not installed".to_owned()),
            runs: Vec::new(),
            ..crate::figures::tests::made_up()
        };
        let report = Report {
            network: "fig1".to_owned(),
            task: "100 MB".to_owned(),
            receivers: vec!["t1".to_owned(), "t2".to_owned()],
            machine: Machine::look(),
            rows: vec![crate::figures::tests::made_up(), failed],
        };
        let json = report.json().to_string();
        for text in [report.text(), report.markdown(), json] {
            assert!(text.contains("quickcast") && text.contains("uftp is not installed"), "{text}");
        }
        let svg = report.svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("quickcast"), "{svg}");
    }
}
