//! Tables for the terminal and as Markdown.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::{Grid, Report};

impl Report {
    /// For the terminal.
    pub fn text(&self) -> String {
        let mut s = format!("\n{}\n", self.head().join("\n"));
        for g in self.grids() {
            let _ = writeln!(s, "\n{} ({})", g.title, g.unit.name());
            let _ = writeln!(s, "{}", table(&g));
        }
        let missing = self.missing();
        if !missing.is_empty() {
            s += "\n**** NOT MEASURED, and why:\n";
            missing.iter().for_each(|m| s += &format!("  {m}\n"));
        }
        s
    }

    /// For a page of the documentation.
    pub fn markdown(&self) -> String {
        let mut s = self.head().join("\n\n") + "\n\n| contender | version | configured as |\n|---|---|---|\n";
        for c in &self.contenders {
            let version = c.version.as_deref().unwrap_or("not measured");
            let _ = writeln!(s, "| {} | {version} | {} |", c.name, c.about);
        }
        for p in crate::raw::probes::PROBES {
            let _ = writeln!(s, "| {} | probe | {} |", p.name, p.about);
        }
        for g in self.grids() {
            let _ = writeln!(s, "\n### {} ({})\n", g.title, g.unit.name());
            let _ = writeln!(s, "| contender | {} |", g.columns.join(" | "));
            let _ = writeln!(s, "|---|{}", "---:|".repeat(g.columns.len()));
            for r in &g.rows {
                let _ = writeln!(s, "| {} | {} |", r.name, r.cells.join(" | "));
            }
        }
        let missing = self.missing();
        if !missing.is_empty() {
            s += "\n### Not measured, and why\n\n";
            missing.iter().for_each(|m| s += &format!("- {m}\n"));
        }
        s
    }
}

fn table(g: &Grid) -> Table {
    let mut t = Table::new();
    t.load_style(presets::NOTHING);
    let heads = std::iter::once(String::new()).chain(g.columns.clone());
    t.set_header(heads.map(|h| Cell::new(h).set_alignment(CellAlignment::Right)));
    for r in &g.rows {
        let cells = r.cells.iter().map(|c| Cell::new(c).set_alignment(CellAlignment::Right));
        t.add_row(std::iter::once(Cell::new(r.name)).chain(cells));
    }
    t
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::super::grid::tests::made_up;
    use super::super::{Contender, Report};
    use crate::placement::Class;
    use crate::run::Plan;

    fn report() -> Report {
        let (jobs, mut results) = made_up();
        results.cannot("vde", &jobs[0], "it has no groups");
        let plan = Plan {
            rounds: 3,
            time: Duration::from_millis(100),
            keep: true,
            class: Some(Class::SameL3),
            patience: Duration::ZERO,
            waiting: Duration::ZERO,
            work: PathBuf::new(),
        };
        let known = |name, version| Contender { name, about: "as it is", version };
        let contenders = vec![
            known("valecast", Ok("0.1.0".to_owned())),
            known("testpmd-24.11", Ok("24.11".to_owned())),
            known("ovs-dpdk", Err("no ovs-vswitchd".to_owned())),
        ];
        Report::new(&jobs, contenders, &plan, results)
    }

    #[test]
    fn what_is_missing_is_said_everywhere() {
        let r = report();
        for text in [r.text(), r.markdown()] {
            assert!(text.contains("ovs-dpdk: not measured: no ovs-vswitchd"));
            assert!(text.contains("vde: it has no groups ("));
        }
        let json: serde_json::Value = serde_json::from_str(&r.json()).unwrap();
        assert_eq!(json["contenders"][2]["not_measured"], "no ovs-vswitchd");
    }

    #[test]
    fn markdown_tables_are_whole() {
        let text = report().markdown();
        let mut rows = text.lines().skip_while(|l| *l != "### unicast 64 B (Mpps)").skip(2);
        let width = rows.next().unwrap().matches('|').count();
        assert!(rows.take(3).all(|r| r.matches('|').count() == width));
    }

    #[test]
    fn the_chart_is_well_formed() {
        let svg = report().svg();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("testpmd-24.11") && svg.contains("23.6"), "{svg}");
    }
}
