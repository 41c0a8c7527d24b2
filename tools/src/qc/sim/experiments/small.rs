//! The papers' two small examples, which have exact answers.

use std::convert::Infallible;

use valecast_qc_dataplane::graph::{Graph, Link, LinkId, Node};
use valecast_qc_dataplane::plan::{Partition, Plan};
use valecast_qc_dataplane::rate::Policy;
use valecast_qc_dataplane::sim::{Settings, run, stats};
use valecast_qc_dataplane::traffic::Transfer;
use valecast_qc_dataplane::tree::Tree;

use super::Context;
use crate::qc::sim::page::{Section, Table, Verdict, three, verdict};

fn part(receivers: &[Node], links: &[LinkId]) -> Partition {
    Partition { receivers: receivers.to_vec(), trees: vec![Tree { root: 0, links: links.to_vec() }] }
}

fn close(have: &[f64], want: &[f64]) -> bool {
    have.len() == want.len() && have.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6)
}

fn cells(times: &[f64]) -> impl Iterator<Item = String> + '_ {
    times.iter().chain([&stats::mean(times)]).map(|t| three(*t)).collect::<Vec<_>>().into_iter()
}

/// Fig. 1 of the extended paper.
pub fn figure_one(_: &Context) -> Result<Section, String> {
    let link = |from, to, capacity| Link { from, to, capacity };
    // The sender's link of 10, to t1 and t2 over 1, to t3 and t4 over 10.
    let links =
        [(0, 1, 10.0), (1, 2, 1.0), (1, 3, 10.0), (2, 4, 10.0), (2, 5, 10.0), (3, 6, 10.0), (3, 7, 10.0)];
    let graph =
        Graph::numbered(8, links.map(|(a, b, c)| link(a, b, c)).to_vec()).map_err(|e| e.to_string())?;
    let transfers = [Transfer { arrival: 0.0, from: 0, receivers: vec![4, 5, 6, 7], volume: 100.0 }];
    let single = Plan { partitions: vec![part(&[4, 5, 6, 7], &[0, 1, 2, 3, 4, 5, 6])] };
    let (slow, fast) = (part(&[4, 5], &[0, 1, 3, 4]), part(&[6, 7], &[0, 2, 5, 6]));
    let two = Plan { partitions: vec![fast, slow] };
    let mut section = Section::new(
        "fig1",
        "Fig. 1: the motivating example",
        "100 units to four receivers, two of them behind a link of 1, all behind one of 10. Slots of a ninth, so that \
         all ends of transfers are ends of slots.",
    );
    let mut table = Table::new("Completion times:", &["setup", "t1", "t2", "t3", "t4", "mean"]);
    let ninth = 100.0 / 9.0;
    let mut parts = Vec::new();
    for (name, plan, policy, delta, want) in [
        ("single tree", &single, Policy::Fair, 1.0, [100.0; 4]),
        ("two trees, fair", &two, Policy::Fair, 1.0 / 9.0, [100.0, 100.0, ninth, ninth]),
        ("two trees, one after the other", &two, Policy::Fcfs, 1.0, [110.0, 110.0, 10.0, 10.0]),
    ] {
        let settings = Settings { delta, policy, ..Settings::default() };
        let outcome = run(&graph, &transfers, &settings, |_, _| Ok::<_, Infallible>(plan.clone()));
        let times = outcome.map_err(|e| e.to_string())?.completion;
        parts.push(close(&times, &want));
        table.rows.push(std::iter::once(name.to_owned()).chain(cells(&times)).collect());
    }
    section.tables.push(table);
    section.claim(
        "C0",
        "single tree 100 each; two trees at rates 1 and 9: 100, 100, 11.1, 11.1, mean 55.55; serial: 110, 110, 10, 10",
        "as published, exactly",
        verdict(&parts),
        "",
    );
    exact(&mut section);
    Ok(section)
}

/// An example is reproduced exactly or not at all.
fn exact(section: &mut Section) {
    for c in section.claims.iter_mut().filter(|c| c.verdict != Verdict::Reproduced) {
        c.verdict = Verdict::NotReproduced;
        c.measured = "differs, see the table".into();
    }
}

/// Fig. 4 of the INFOCOM paper.
pub fn infocom_four(_: &Context) -> Result<Section, String> {
    let pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
    let links = (1..=6).map(|to| Link { from: 0, to, capacity: 1.0 }).collect();
    let graph = Graph::numbered(7, links).map_err(|e| e.to_string())?;
    let plans: Vec<Partition> = (0..4)
        .map(|i| {
            let links: Vec<u32> =
                (0..6).filter(|l| pairs[*l as usize].0 == i || pairs[*l as usize].1 == i).collect();
            part(&links.iter().map(|l| l + 1).collect::<Vec<_>>(), &links)
        })
        .collect();
    let transfers: Vec<_> = plans
        .iter()
        .zip([10.0, 11.0, 12.0, 13.0])
        .map(|(p, volume)| Transfer {
            arrival: volume - 10.0,
            from: 0,
            receivers: p.receivers.clone(),
            volume,
        })
        .collect();
    let mut section = Section::new(
        "infocom-fig4",
        "INFOCOM Fig. 4: fair sharing beats priorities",
        "Four transfers of 10 to 13 units, one slot apart, each two of which share a link of capacity 1. Times from the \
         first transfer's start, slots of a half.",
    );
    let mut table = Table::new("Completion times:", &["policy", "A", "B", "C", "D", "mean"]);
    let mut parts = Vec::new();
    for (name, policy, want) in [
        ("FCFS", Policy::Fcfs, [10.0, 21.0, 33.0, 46.0]),
        ("SRPT", Policy::Srpt, [10.0, 21.0, 33.0, 46.0]),
        ("max-min fair", Policy::Fair, [19.0, 23.0, 26.0, 27.5]),
        ("DispatchRates", Policy::Dispatch, [19.0, 23.0, 26.0, 27.5]),
    ] {
        let settings = Settings { delta: 0.5, policy, ..Settings::default() };
        let mut next = plans.iter();
        let outcome = run(&graph, &transfers, &settings, |_, _| {
            let partitions = next.next().into_iter().cloned().collect();
            Ok::<_, Infallible>(Plan { partitions })
        });
        let outcome = outcome.map_err(|e| e.to_string())?;
        let times: Vec<f64> =
            transfers.iter().enumerate().map(|(i, t)| outcome.of(i)[0] + t.arrival).collect();
        parts.push(close(&times, &want));
        table.rows.push(std::iter::once(name.to_owned()).chain(cells(&times)).collect());
    }
    section.tables.push(table);
    section.claim(
        "I1",
        "FCFS and SRPT 10, 21, 33, 46 (mean 27.5); max-min fair 19, 23, 26, 27.5 (mean 23.87)",
        "as published, exactly",
        verdict(&parts),
        "",
    );
    exact(&mut section);
    Ok(section)
}
