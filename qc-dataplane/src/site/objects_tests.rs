use proptest::prelude::*;
use valecast_config::{Config, Switch as View};
use valecast_switch::daemon::Daemon;

use super::*;
use crate::control::{SitePlan, TreeLimit};
use crate::site::install::Installed;

const LINKS: [&str; 4] = ["l0", "l1", "l2", "l3"];

fn links() -> BTreeSet<String> {
    LINKS.iter().map(|l| (*l).to_owned()).collect()
}

/// A switch with links, and groups, static entries and room of its own.
fn daemon(max_groups: usize) -> (tempfile::TempDir, Daemon) {
    let dir = tempfile::tempdir().unwrap();
    let mut text = format!(
        "run_dir = {:?}\n[[switch]]\nname = \"s\"\nmax_groups = {max_groups}\nmax_buckets = 3\n",
        dir.path()
    );
    for link in LINKS {
        text += &format!("[[switch.port]]\nname = {link:?}\nkind = \"null\"\nflood = false\n");
    }
    text +=
        "[[switch.group]]\nname = \"own\"\naddress = \"01:00:5e:00:00:01\"\nbuckets = [{ port = \"l0\" }]\n";
    text += "[[switch.static]]\nmac = \"02:00:00:05:00:00\"\nport = \"l0\"\n";
    let daemon = Daemon::start(Config::parse("test", &text).unwrap(), None).unwrap();
    let base = base(&["l0".to_owned(), "l1".to_owned()]).unwrap();
    let done = daemon.with("s", |s| s.edit([base.as_slice()])).unwrap();
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    (dir, daemon)
}

fn view(daemon: &Daemon) -> View {
    let mut v = daemon.with("s", |s| s.config_view()).unwrap();
    v.ports.sort_by(|a, b| a.name.cmp(&b.name));
    v.groups.sort_by(|a, b| a.name.cmp(&b.name));
    v.statics.sort_by_key(|s| s.mac);
    v
}

/// What the switch should be like with these trees.
fn with(mut v: View, trees: &BTreeMap<u32, Objects>) -> View {
    for o in trees.values() {
        v.ports.extend(o.port.clone());
        v.groups.extend(o.group.clone());
        let entry = |(mac, port): (&Mac, &String)| StaticEntry { mac: *mac, port: port.clone(), vlan: 0 };
        v.statics.extend(o.statics.iter().map(entry));
    }
    v.ports.sort_by(|a, b| a.name.cmp(&b.name));
    v.groups.sort_by(|a, b| a.name.cmp(&b.name));
    v.statics.sort_by_key(|s| s.mac);
    v
}

fn tree() -> impl Strategy<Value = TreeHere> {
    let link = prop::sample::select(vec!["l0", "l1", "l2", "l3", "l3", "nowhere"]).prop_map(str::to_owned);
    let out = prop::sample::subsequence(LINKS.to_vec(), 0..=4);
    let towards = prop::collection::btree_map(1u16..4, link.clone(), 0..3);
    // Number 5 is the one whose sender's address is taken.
    (
        1u32..6,
        prop::option::weighted(0.7, link),
        out,
        prop::option::of(1u16..4),
        towards,
        prop::option::of((1u64..1 << 33, 64u64..1 << 20)),
    )
        .prop_map(|(tree, ingress, out, receiver, towards, limit)| TreeHere {
            tree,
            ingress,
            out: out.into_iter().map(str::to_owned).collect(),
            receiver,
            towards,
            limit: limit.map(|(rate, burst)| TreeLimit { rate, burst }),
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever plan follows whatever plan: the switch is as the plan says but for the trees that failed, of which there is
    /// what was there before; and at the end nothing is left.
    #[test]
    fn a_switch_is_as_the_plans_say(plans in prop::collection::vec(prop::collection::vec(tree(), 0..5), 1..8)) {
        // Base and own groups are 5; trees may have 2 more.
        let (_dir, daemon) = daemon(7);
        let empty = view(&daemon);
        let mut installed = Installed::default();
        let mut expected: BTreeMap<u32, Objects> = BTreeMap::new();
        for trees in plans {
            let plan = SitePlan { generation: 1, trees, ..SitePlan::default() };
            let failed = daemon.with("s", |s| installed.follow(s, &links(), &plan)).unwrap();
            expected.retain(|tree, _| plan.trees.iter().any(|t| t.tree == *tree));
            for t in &plan.trees {
                let twice = plan.trees.iter().filter(|o| o.tree == t.tree).count() > 1;
                let of = Objects::of(t, &links());
                prop_assert!((of.is_ok() && !twice) || failed.contains_key(&t.tree), "{:?}", t);
                if !failed.contains_key(&t.tree) {
                    expected.insert(t.tree, of.unwrap());
                }
            }
            prop_assert_eq!(view(&daemon), with(empty.clone(), &expected));
            prop_assert_eq!(installed.trees().collect::<Vec<_>>(), expected.keys().copied().collect::<Vec<_>>());
        }
        daemon.with("s", |s| installed.clear(s)).unwrap();
        prop_assert_eq!(view(&daemon), empty);
        daemon.stop();
    }
}

fn at(tree: u32, ingress: Option<&str>, out: &[&str], receiver: Option<u16>) -> TreeHere {
    TreeHere {
        tree,
        ingress: ingress.map(str::to_owned),
        out: out.iter().map(|p| (*p).to_owned()).collect(),
        receiver,
        towards: BTreeMap::new(),
        limit: Some(TreeLimit { rate: 80_000_000, burst: 100_000 }),
    }
}

#[test]
fn a_sender_has_a_shaped_port_and_an_entry_or_a_group() {
    let one = Objects::of(&at(7, None, &["l1"], None), &links()).unwrap();
    let port = one.port.unwrap();
    let limit = port.limit.unwrap();
    assert_eq!((port.name.as_str(), port.learn, port.flood), ("qc-7", false, false));
    assert_eq!(
        (limit.rate, limit.burst, limit.mode),
        (80_000_000, 100_000, valecast_config::MeterMode::Shape)
    );
    assert_eq!(one.group, None);
    let statics: Vec<_> = one.statics.iter().map(|(mac, port)| (mac.to_string(), port.as_str())).collect();
    assert_eq!(statics, [("02:00:00:07:00:00".to_owned(), "qc-7"), ("03:00:00:07:00:00".to_owned(), "l1")]);
    let two = Objects::of(&at(7, None, &["l1", "l2"], None), &links()).unwrap();
    let group = two.group.unwrap();
    assert_eq!(
        (group.name.as_str(), group.ingress.as_deref(), group.buckets.len()),
        ("qc-7", Some("qc-7"), 2)
    );
    // What is not decided yet is the least there is.
    let new = TreeHere { limit: Some(TreeLimit::default()), ..at(7, None, &["l1"], None) };
    let new = Objects::of(&new, &links()).unwrap().port.unwrap().limit.unwrap();
    assert_eq!((new.rate, new.burst), (1, 64));
}

#[test]
fn a_receiver_has_a_bucket_and_an_address() {
    let here = Objects::of(&at(1, Some("l0"), &["l2"], Some(3)), &links()).unwrap();
    let ports: Vec<_> = here.group.iter().flat_map(|g| &g.buckets).map(|b| b.port.as_str()).collect();
    assert_eq!(ports, ["l2", "qc-recv"]);
    assert_eq!(here.statics[&receiver_address(1, 3)], "qc-recv");
    assert_eq!(here.statics[&sender_address(1)], "l0");
    assert_eq!(here.port, None);
}

#[test]
fn what_is_no_tree_is_refused() {
    let why = |t: &TreeHere| Objects::of(t, &links()).unwrap_err();
    assert_eq!(why(&at(1, Some("x"), &["l1"], None)), "port \"x\" is no link of this site");
    assert_eq!(why(&at(1, Some("l1"), &["l1"], None)), "the tree leaves by port \"l1\", where it comes from");
    assert_eq!(why(&at(1, Some("l1"), &["l2", "l2"], None)), "the tree leaves by port \"l2\" twice");
    assert_eq!(why(&at(1, Some("l1"), &[], None)), "the tree ends here, and nobody receives it");
    assert!(why(&at(probe::TREE, None, &["l1"], None)).starts_with("trees have numbers below 16777215"));
    assert_eq!(why(&at(1, None, &["l1"], Some(0))), "receivers have numbers from 1");
}

#[test]
fn a_new_rate_changes_the_port_alone() {
    let of = |rate| {
        let limit = Some(TreeLimit { rate, burst: 100 });
        Objects::of(&TreeHere { limit, ..at(1, None, &["l1", "l2"], None) }, &links()).unwrap()
    };
    let edits = of(1000).change_to(&of(2000));
    assert!(
        matches!(edits.as_slice(), [Edit::UpdatePort(p)] if p.limit.as_ref().unwrap().rate == 2000),
        "{edits:?}"
    );
    assert_eq!(of(1000).change_to(&of(1000)), []);
}

#[test]
fn a_full_table_is_told_and_leaves_nothing() {
    let (_dir, daemon) = daemon(5);
    let empty = view(&daemon);
    let trees = vec![at(1, None, &["l1", "l2"], None), at(2, Some("l0"), &["l1"], None)];
    let plan = SitePlan { generation: 1, trees, ..SitePlan::default() };
    let mut installed = Installed::default();
    let failed = daemon.with("s", |s| installed.follow(s, &links(), &plan)).unwrap();
    assert_eq!(failed[&1], "group \"qc-1\": the table is full, 5 entries (max_groups)");
    let second = BTreeMap::from([(2, Objects::of(&plan.trees[1], &links()).unwrap())]);
    assert_eq!(view(&daemon), with(empty, &second));
    daemon.stop();
}

/// Ten thousand changes must not take ten thousand new tables.
#[test]
fn many_trees_take_few_tables() {
    let (_dir, daemon) = daemon(8);
    let trees = (10..4010).map(|t| at(t, Some("l0"), &["l1"], None)).collect();
    let plan = SitePlan { generation: 1, trees, ..SitePlan::default() };
    let mut installed = Installed::default();
    let before = daemon.with("s", |s| s.tables_built()).unwrap();
    assert!(daemon.with("s", |s| installed.follow(s, &links(), &plan)).unwrap().is_empty());
    daemon.with("s", |s| installed.follow(s, &links(), &SitePlan::default())).unwrap();
    assert_eq!(daemon.with("s", |s| s.tables_built()).unwrap() - before, 2);
    daemon.stop();
}
