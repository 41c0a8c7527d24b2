//! Stories that chance writes: whatever happens, nothing is half installed and no limit is exceeded.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::world::World;
use super::GB;
use crate::control::Ended;

#[derive(Clone, Debug)]
enum Step {
    Sync(usize),
    Pass(u64),
    Kill(usize),
    Revive(usize),
    Cut(usize, usize),
    Mend,
    Refuse(usize, bool),
    Receive(usize, bool),
    Submit(usize, Vec<usize>, u64),
    Progress(usize, u64, u8),
    Cancel(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    use Step as S;
    prop_oneof![
        8 => (0..16usize).prop_map(S::Sync),
        3 => (1..4_000u64).prop_map(S::Pass),
        1 => (0..16usize).prop_map(S::Kill),
        2 => (0..16usize).prop_map(S::Revive),
        2 => (0..16usize, 0..16usize).prop_map(|(a, b)| S::Cut(a, b)),
        1 => Just(S::Mend),
        1 => (0..16usize, any::<bool>()).prop_map(|(a, b)| S::Refuse(a, b)),
        1 => (0..16usize, any::<bool>()).prop_map(|(a, b)| S::Receive(a, b)),
        3 => (0..16usize, prop::collection::vec(0..16usize, 1..6), 0..GB).prop_map(|(a, b, c)| S::Submit(a, b, c)),
        4 => (0..16usize, 0..=100u64, 0..6u8).prop_map(|(a, b, c)| S::Progress(a, b, c)),
        1 => (0..16usize).prop_map(S::Cancel),
        1 => Just(S::Restart),
    ]
}

fn act(w: &mut World, step: &Step) {
    let names = w.names();
    let name = |n: usize| names[n % names.len()].clone();
    let ids: Vec<u64> = w.core.transfers().keys().copied().collect();
    let id = |n: usize| (!ids.is_empty()).then(|| ids[n % ids.len()]);
    match step {
        Step::Sync(n) => w.sync(&name(*n)),
        Step::Pass(ms) => w.pass(*ms),
        Step::Kill(n) => w.sites.get_mut(&name(*n)).unwrap().alive = false,
        Step::Revive(n) => {
            let site = w.sites.get_mut(&name(*n)).unwrap();
            if !site.alive {
                (site.alive, site.session) = (true, site.session + 1);
                (site.plan, site.failed) = (Default::default(), Default::default());
            }
        }
        Step::Cut(a, b) => {
            w.cut.insert((name(*a), name(*b)));
        }
        Step::Mend => w.cut.clear(),
        Step::Refuse(n, yes) => w.sites.get_mut(&name(*n)).unwrap().refuses = *yes,
        Step::Receive(n, yes) => w.sites.get_mut(&name(*n)).unwrap().receives = *yes,
        Step::Submit(from, to, bytes) => {
            let from = name(*from);
            let to: BTreeSet<String> = to.iter().map(|n| name(*n)).filter(|n| *n != from).collect();
            let known = |s: &String| w.core.site(s).is_some();
            if !to.is_empty() && known(&from) && to.iter().all(known) {
                w.submit(&from, &to.iter().map(String::as_str).collect::<Vec<_>>(), *bytes);
            }
        }
        Step::Progress(n, percent, end) => {
            let ended = match end {
                0 => Some(Ended::Complete),
                1 => Some(Ended::Paused),
                _ => None,
            };
            if let Some(id) = id(*n) {
                w.progress(id, *percent, ended);
            }
        }
        Step::Cancel(n) => {
            if let Some(id) = id(*n) {
                let _ = w.core.cancel(w.now, id);
                w.check();
            }
        }
        Step::Restart => w.restart(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Whatever happens, the checks of the world hold after each step; and once all is well again, all that was asked for
    /// comes to its end and nothing stays behind.
    #[test]
    fn any_story_keeps_its_promises(
        sites in 3..9usize,
        chords in prop::collection::vec((0..9usize, 0..9usize, 1..2_000u64), 0..8),
        limits in prop::collection::vec((1..5u32, 1..4u32), 9),
        which in 0..4usize,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let names: Vec<String> = (0..sites).map(|n| format!("s{n}")).collect();
        let mut links: Vec<(&str, &str, u64)> = Vec::new();
        for n in 0..sites {
            links.push((&names[n], &names[(n + 1) % sites], 100));
        }
        for (a, b, c) in &chords {
            let (a, b) = (&*names[a % sites], &*names[b % sites]);
            if a != b && !links.iter().any(|l| (l.0, l.1) == (a, b) || (l.1, l.0) == (a, b)) {
                links.push((a, b, *c));
            }
        }
        let mut w = World::new(&links, ["quickcast", "single", "unicast", "best"][which]);
        for (site, (groups, buckets)) in w.sites.values_mut().zip(&limits) {
            (site.max_groups, site.max_buckets) = (*groups, *buckets);
        }
        for s in &steps {
            act(&mut w, s);
        }
        // All is well.
        w.cut.clear();
        for site in w.sites.values_mut() {
            if !site.alive {
                (site.alive, site.session) = (true, site.session + 1);
                (site.plan, site.failed) = (Default::default(), Default::default());
            }
            (site.refuses, site.receives) = (false, true);
        }
        for _ in 0..400 {
            w.settle();
            let open: Vec<u64> = w.core.transfers().values().filter(|t| !t.state.is_over()).map(|t| t.id).collect();
            if open.is_empty() {
                break;
            }
            for id in open {
                w.progress(id, 100, None);
                if w.core.transfers()[&id].all_verified() {
                    w.progress(id, 100, Some(Ended::Complete));
                }
            }
            w.pass(300);
        }
        for t in w.core.transfers().values() {
            prop_assert!(t.state.is_over(), "{:?}", t);
        }
        w.settle();
        prop_assert!(w.core.trees().is_empty());
        for (name, site) in w.core.sites() {
            prop_assert!(site.trees.is_empty() && site.entries == 0, "{}", name);
        }
    }
}
