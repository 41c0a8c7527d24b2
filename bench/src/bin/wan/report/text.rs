//! The table.

use comfy_table::{CellAlignment, Table, TableStyle, presets};
use valecast_bench::stats::{Summary, three_digits};

use super::Report;
use crate::figures::Figures;

fn seconds(s: &Summary) -> String {
    let [min, median, max] = [s.min, s.median, s.max].map(three_digits);
    if s.count > 1 { format!("{median} ({min}-{max})") } else { median }
}

fn percent(part: Option<f64>) -> String {
    part.map_or("-".to_owned(), |p| format!("{:.1} %", p * 100.0))
}

impl Report {
    fn heads(&self) -> Vec<String> {
        let fixed = ["mean", "last", "on links, MB", "of allocated rate", "off planned bytes", "dropped"];
        let sites = self.receivers.iter().map(|r| format!("{r}, s"));
        std::iter::once("contender".to_owned()).chain(sites).chain(fixed.map(str::to_owned)).collect()
    }

    fn cells(&self, f: &Figures) -> Vec<String> {
        let site = |r: &String| f.seconds.get(r).map_or("-".to_owned(), seconds);
        let mut cells = vec![f.name.to_owned()];
        cells.extend(self.receivers.iter().map(site));
        cells.extend([
            seconds(&f.mean),
            seconds(&f.last),
            three_digits(f.carried.median / 1e6),
            percent(f.of_allocated),
            percent(f.off_plan),
            format!("{:.0}", f.dropped.median),
        ]);
        cells
    }

    fn table(&self, preset: TableStyle) -> String {
        let mut table = Table::new();
        table.load_style(preset).set_header(self.heads());
        for f in &self.figures() {
            table.add_row(self.cells(f));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    fn whole(&self, preset: TableStyle) -> String {
        let mut text =
            format!("{}\n{}\n{}\n\n{}\n", self.machine.line(), self.network, self.task, self.table(preset));
        for line in self.missing() {
            text += &format!("\n**** {line}");
        }
        text.trim_end().to_owned() + "\n"
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        self.whole(presets::NOTHING)
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        self.whole(presets::ASCII_MARKDOWN)
    }
}
