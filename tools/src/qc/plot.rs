//! The trees of a plan on the map of their network, as SVG. Readable on light and dark pages.
//!
//! Sites are where their coordinates say; those without are put between their neighbours, and a network without
//! any coordinates is laid out by springs.

use std::fmt::Write as _;

use valecast_bench::paint::{DASHES, PAINT, escape};
use valecast_qc_dataplane::graph::{Graph, Node};
use valecast_qc_dataplane::topology::Topology;

use super::solve::{Solved, show_rate, show_time};

const W: f64 = 960.0;
const EDGE: f64 = 48.0;
const HEAD: f64 = 48.0;
/// Lines of different trees over one link run this far apart.
const APART: f64 = 4.0;

const STYLE: &str = ".link{stroke:#ccd3da;stroke-width:1}.site{fill:#5f6b76}.tree{fill:none;stroke-width:2.5}\
.name{paint-order:stroke;stroke:#fff;stroke-width:3px}\
@media(prefers-color-scheme:dark){.link{stroke:#39424c}.site{fill:#9aa7b4}.name{stroke:#14181d}}";

type Point = (f64, f64);

fn between(points: impl Iterator<Item = Point>) -> Option<Point> {
    let (mut x, mut y, mut n) = (0.0, 0.0, 0.0);
    for p in points {
        (x, y, n) = (x + p.0, y + p.1, n + 1.0);
    }
    (n > 0.0).then_some((x / n, y / n))
}

fn neighbours(graph: &Graph, node: Node) -> impl Iterator<Item = Node> + '_ {
    let out = graph.out_of(node).iter().map(|l| graph.link(*l).to);
    out.chain(graph.in_to(node).iter().map(|l| graph.link(*l).from))
}

/// Where sites are, in any unit.
fn layout(topology: &Topology) -> Vec<Point> {
    let graph = &topology.graph;
    let known = topology.places.iter().flatten().count();
    if known * 2 < graph.nodes() {
        return springs(graph);
    }
    // A degree of longitude is shorter than one of latitude.
    let middle = topology.places.iter().flatten().map(|p| p.latitude).sum::<f64>() / known as f64;
    let shrink = middle.to_radians().cos().clamp(0.2, 1.0);
    let mut at: Vec<Option<Point>> =
        topology.places.iter().map(|p| p.map(|p| (p.longitude * shrink, -p.latitude))).collect();
    // Sites without a place, from those with one outwards.
    loop {
        let found: Vec<(usize, Point)> = (0..graph.nodes())
            .filter(|n| at[*n].is_none())
            .filter_map(|n| {
                let near = neighbours(graph, n as Node).filter_map(|m| at[m as usize]);
                // A little aside, so that two between the same neighbours are not on top of each other.
                let aside = (n as f64 * 2.4).sin_cos();
                between(near).map(|p| (n, (p.0 + 0.3 * aside.0, p.1 + 0.3 * aside.1)))
            })
            .collect();
        if found.is_empty() {
            break;
        }
        for (n, p) in found {
            at[n] = Some(p);
        }
    }
    let centre = between(at.iter().flatten().copied()).unwrap_or((0.0, 0.0));
    at.into_iter().map(|p| p.unwrap_or(centre)).collect()
}

/// Sites push each other away and links pull them together (Fruchterman and Reingold, 1991), from a circle on.
fn springs(graph: &Graph) -> Vec<Point> {
    let n = graph.nodes();
    let angle = |i: usize| (i as f64 / n.max(1) as f64 * std::f64::consts::TAU).sin_cos();
    let mut at: Vec<Point> = (0..n).map(angle).collect();
    // Large networks get fewer rounds.
    let rounds = (40_000_000 / (n * n).max(1)).clamp(20, 300);
    let ideal = 1.8 / (n as f64).sqrt();
    for round in 0..rounds {
        let mut force = vec![(0.0, 0.0); n];
        for a in 0..n {
            for b in a + 1..n {
                let (dx, dy) = (at[a].0 - at[b].0, at[a].1 - at[b].1);
                let push = ideal * ideal / (dx * dx + dy * dy).max(1e-6);
                force[a] = (force[a].0 + dx * push, force[a].1 + dy * push);
                force[b] = (force[b].0 - dx * push, force[b].1 - dy * push);
            }
        }
        for l in graph.links() {
            let (a, b) = (l.from as usize, l.to as usize);
            let (dx, dy) = (at[a].0 - at[b].0, at[a].1 - at[b].1);
            let pull = 0.5 * dx.hypot(dy) / ideal;
            force[a] = (force[a].0 - dx * pull, force[a].1 - dy * pull);
            force[b] = (force[b].0 + dx * pull, force[b].1 + dy * pull);
        }
        let heat = 0.15 * (1.0 - round as f64 / rounds as f64);
        for (p, f) in at.iter_mut().zip(force) {
            let length = f.0.hypot(f.1).max(1e-12);
            let step = length.min(heat) / length;
            *p = (p.0 + f.0 * step, p.1 + f.1 * step);
        }
    }
    at
}

/// The picture as a whole document.
pub fn svg(title: &str, topology: &Topology, from: Node, solved: &Solved) -> String {
    let graph = &topology.graph;
    let raw = layout(topology);
    let bounds =
        |f: fn(f64, f64) -> f64, start: f64, part: fn(&Point) -> f64| raw.iter().map(part).fold(start, f);
    let (x0, x1) = (bounds(f64::min, f64::INFINITY, |p| p.0), bounds(f64::max, f64::NEG_INFINITY, |p| p.0));
    let (y0, y1) = (bounds(f64::min, f64::INFINITY, |p| p.1), bounds(f64::max, f64::NEG_INFINITY, |p| p.1));
    let (wide, high) = ((x1 - x0).max(1e-9), (y1 - y0).max(1e-9));
    let height = ((W - 2.0 * EDGE) * high / wide).clamp(280.0, 900.0);
    let scale = ((W - 2.0 * EDGE) / wide).min(height / high);
    let (left, top) = ((W - wide * scale) / 2.0, HEAD + EDGE / 2.0 + (height - high * scale) / 2.0);
    let at: Vec<Point> = raw.iter().map(|p| (left + (p.0 - x0) * scale, top + (p.1 - y0) * scale)).collect();
    let partitions = &solved.plan.partitions;
    let legend = HEAD + EDGE + height;
    let total = legend + 20.0 * partitions.len() as f64 + 16.0;

    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {W} {total:.0}\" role=\"img\" \
         aria-label=\"{0}\">\n<title>{0}</title>\n<style>{PAINT}{STYLE}</style>\n\
         <rect class=\"bg\" width=\"{W}\" height=\"{total:.0}\"/>\n\
         <text class=\"title\" x=\"24\" y=\"30\">{0}</text>",
        escape(title)
    );
    links(&mut out, graph, &at);
    trees(&mut out, graph, &at, solved);
    sites(&mut out, graph, &at, from, solved);
    for (i, p) in partitions.iter().enumerate() {
        let (y, colour, dash) = (legend + 20.0 * i as f64, i % 8, DASHES[i / 8 % 4]);
        let names: Vec<&str> = p.receivers.iter().map(|n| graph.name(*n)).collect();
        let rate: f64 = solved.prediction.rates[i].iter().sum();
        let text = format!(
            "{}: {}, {}",
            names.join(", "),
            show_rate(rate),
            show_time(solved.prediction.completion[i])
        );
        let _ = writeln!(
            out,
            "<path class=\"tree s{colour}\" stroke-dasharray=\"{dash}\" d=\"M24 {y:.0}h28\"/>\
             <text x=\"62\" y=\"{:.0}\">{}</text>",
            y + 4.0,
            escape(&text)
        );
    }
    out.push_str("</svg>\n");
    out
}

fn links(out: &mut String, graph: &Graph, at: &[Point]) {
    let mut drawn: Vec<(Node, Node)> =
        graph.links().iter().map(|l| (l.from.min(l.to), l.from.max(l.to))).collect();
    drawn.sort_unstable();
    drawn.dedup();
    out.push_str("<path class=\"link\" d=\"");
    for (a, b) in drawn {
        let (p, q) = (at[a as usize], at[b as usize]);
        let _ = write!(out, "M{:.1} {:.1}L{:.1} {:.1}", p.0, p.1, q.0, q.1);
    }
    out.push_str("\"/>\n");
}

/// Each link of each tree as an arrow; those over the same link side by side.
fn trees(out: &mut String, graph: &Graph, at: &[Point], solved: &Solved) {
    let mut over = vec![0u32; graph.links().len()];
    for (i, p) in solved.plan.partitions.iter().enumerate() {
        let (colour, dash) = (i % 8, DASHES[i / 8 % 4]);
        for &l in p.trees.iter().flat_map(|t| &t.links) {
            let link = graph.link(l);
            let (p, q) = (at[link.from as usize], at[link.to as usize]);
            let (dx, dy) = (q.0 - p.0, q.1 - p.1);
            let length = dx.hypot(dy).max(1e-6);
            let (ux, uy) = (dx / length, dy / length);
            // To the right of the way, so that both directions have room.
            let side = APART * (f64::from(over[l as usize]) + 0.5);
            over[l as usize] += 1;
            let (ox, oy) = (-uy * side, ux * side);
            let (a, b) = ((p.0 + ox, p.1 + oy), (q.0 + ox - ux * 6.0, q.1 + oy - uy * 6.0));
            let wing = |turn: f64| (b.0 - ux * 6.0 - uy * turn, b.1 - uy * 6.0 + ux * turn);
            let (w, v) = (wing(3.5), wing(-3.5));
            let _ = writeln!(
                out,
                "<path class=\"tree s{colour}\" stroke-dasharray=\"{dash}\" \
                 d=\"M{:.1} {:.1}L{:.1} {:.1}\"/><path class=\"f{colour}\" \
                 d=\"M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}Z\"/>",
                a.0, a.1, b.0, b.1, b.0, b.1, w.0, w.1, v.0, v.1
            );
        }
    }
}

fn sites(out: &mut String, graph: &Graph, at: &[Point], from: Node, solved: &Solved) {
    for p in at {
        let _ = writeln!(out, "<circle class=\"site\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>", p.0, p.1);
    }
    let mut name = |node: Node, mark: String| {
        let p = at[node as usize];
        // Names stay inside the picture.
        let (anchor, dx) = if p.0 > W - 120.0 { ("end", -9.0) } else { ("start", 9.0) };
        let _ = writeln!(
            out,
            "{mark}<text class=\"name\" text-anchor=\"{anchor}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            p.0 + dx,
            p.1 - 6.0,
            escape(graph.name(node))
        );
    };
    for (i, partition) in solved.plan.partitions.iter().enumerate() {
        for &r in &partition.receivers {
            let p = at[r as usize];
            let mark =
                format!("<circle class=\"f{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"5.5\"/>", i % 8, p.0, p.1);
            name(r, mark);
        }
    }
    let p = at[from as usize];
    let (x, y) = (p.0 - 6.0, p.1 - 6.0);
    name(from, format!("<rect class=\"ink\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"12\" height=\"12\"/>"));
}
