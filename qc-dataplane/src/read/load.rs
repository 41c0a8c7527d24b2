//! Loads: what is left to send over links, one line `from,to,volume` each. `#` starts a comment.

use valecast_config::ConfigErrors;
use valecast_config::units::parse_size;

use super::words::Source;
use crate::graph::{Graph, LinkId, Node};
use crate::load::Load;

/// Bits of a byte count, in Gbit.
fn gigabits(bytes: u64) -> f64 {
    bytes as f64 * 8.0 / 1e9
}

/// A volume in Gbit: a size like `10GB`.
///
/// # Errors
/// When it is no size, with what would be.
pub fn volume(text: &str) -> Result<f64, valecast_config::units::UnitError> {
    parse_size(text).map(gigabits)
}

/// Reads a load of `graph`. Each line is a volume from a site to the next; lines for one link add up, and parallel
/// links share it by their capacities. A link with something left to send counts as wholly in use.
///
/// # Errors
/// What is wrong, with its line.
pub fn load(file: &str, text: &str, graph: &Graph) -> Result<Load, ConfigErrors> {
    let source = Source { file, text };
    let mut load = Load::new(graph);
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or(line).trim();
        if line.is_empty() {
            continue;
        }
        let fields = line.split(',').map(str::trim);
        let [from, to, size] = source.fields(line, fields, "write from,to,volume, like NL,DE,10GB")?;
        let volume = volume(size).map_err(|e| source.wrong(size, e.message, e.help))?;
        let node = |name: &str| -> Result<Node, ConfigErrors> {
            let help = || valecast_config::nearest(name, graph.names().iter().map(String::as_str));
            let help = || help().map_or_else(String::new, |n| format!("did you mean \"{n}\"?"));
            graph.find(name).ok_or_else(|| source.wrong(name, format!("there is no node \"{name}\""), help()))
        };
        let (a, b) = (node(from)?, node(to)?);
        let between: Vec<LinkId> =
            graph.out_of(a).iter().copied().filter(|l| graph.link(*l).to == b).collect();
        let capacity: f64 = between.iter().map(|l| graph.link(*l).capacity).sum();
        if between.is_empty() {
            return Err(source.wrong(
                line,
                format!("no link leads from {from} to {to}"),
                "loads are of single links",
            ));
        }
        for l in between {
            let part = graph.link(l).capacity / capacity;
            load.add_to_link(l, volume * part);
            if volume > 0.0 {
                load.set_rate()[l as usize] = graph.link(l).capacity;
            }
        }
    }
    Ok(load)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Link;

    #[test]
    fn reads_volumes_by_link() {
        let link = |from, to, capacity| Link { from, to, capacity };
        let names = ["a", "b", "cc"].map(String::from).to_vec();
        let g = Graph::new(names, vec![link(0, 1, 1.0), link(0, 1, 3.0), link(1, 0, 1.0)]).unwrap();
        let l = load("l.csv", "# left\na,b,1GB\n a, b , 500MB # more\n", &g).unwrap();
        assert_eq!((l.volume(), l.rate()), (&[3.0, 9.0, 0.0][..], &[1.0, 3.0, 0.0][..]));
        let say = |text: &str| load("l.csv", text, &g).unwrap_err().to_string();
        assert!(say("a,b,1GB\na,c,1GB").contains("l.csv:2:3"), "{}", say("a,b,1GB\na,c,1GB"));
        assert!(say("a,cd,1GB").contains("did you mean \"cc\"?"));
        assert!(say("a,b,-1").contains("does not start with a number"));
        assert!(say("a,b").contains("2 fields, must be 3"));
        assert!(say("b,cc,1GB").contains("no link leads from b to cc"));
    }
}
