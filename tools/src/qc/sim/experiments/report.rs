//! Pages and files.

use std::fs;
use std::path::Path;

use super::Context;
use crate::qc::sim::page::{Section, Table, markdown};

/// Where pictures and tables are, beside the page.
const IMAGES: &str = "img/quickcast";

fn put(path: &Path, text: String) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// A section's plot and tables.
pub fn files(out: &Path, section: &Section) -> Result<(), String> {
    let images = out.join(IMAGES);
    fs::create_dir_all(&images).map_err(|e| format!("{}: {e}", images.display()))?;
    put(&images.join(format!("{}.csv", section.id)), section.csv())?;
    match section.svg() {
        Some(svg) => put(&images.join(format!("{}.svg", section.id)), svg),
        None => Ok(()),
    }
}

/// A page of one section.
pub fn alone(out: &Path, section: &Section) -> Result<(), String> {
    put(&out.join(format!("quickcast-{}.md", section.id)), section.markdown(1, IMAGES))
}

/// All claims and all sections as one page.
pub fn page(out: &Path, sections: &[Section], context: &Context) -> Result<(), String> {
    let mut text = format!(
        "# QuickCast, reproduced\n\n\
         What \"Fast and Efficient Bulk Multicasting over Dedicated Inter-Datacenter Networks\" (arXiv 1812.06553; claims C0 \
         to C10) and its INFOCOM 2018 version (arXiv 1801.00837; I1 to I6) publish, beside what Valecast's simulator gives. \
         Written by\n\n```sh\nvalecast qc sim --experiment all --out docs\n```\n\n\
         Each figure comes from {} runs with seeds of their own and 200 transfers each unless it says otherwise; ± is the \
         half-width of the 95 % confidence interval, by jackknife for ratios. What the papers do not state (transfers per \
         run, heavy load's λ, receiver counts, the tail's percentile) is taken as each section says. Networks, volumes and \
         published figures are in `qc-dataplane/data`, with their sources.\n\n## All claims\n\n",
        context.runner.seeds.len()
    );
    let mut table = Table::new("", &["claim", "published", "measured here", "verdict"]);
    table.rows =
        sections.iter().filter(|s| s.id != "beyond").flat_map(|s| &s.claims).map(|c| c.row()).collect();
    text += &markdown(&table);
    text.push('\n');
    for section in sections {
        text += &section.markdown(2, IMAGES);
    }
    put(&out.join("quickcast-reproduction.md"), text.trim_end().to_owned() + "\n")
}
