//! A link that carries little, and many trees over it.

use std::time::{Duration, Instant};

use crate::harness::qc::{Sites, assert_same, link};

/// Far longer than the transfers here take, on any machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Transfers at a time, and bytes of each.
const TRANSFERS: usize = 20;
const BYTES: usize = 40_000;

/// What all of them may send at once must not keep the link's probes from getting through: a link that counts as down
/// has its trees withdrawn, and brings them all back at once when it is up.
#[test]
fn many_trees_do_not_bring_a_slow_link_down() {
    let sites = Sites::start(&[link("S", "t", "900kbit/s")]);
    let place = sites.folder("t");
    let _receiver = sites.recv("t", &place);
    let names: Vec<String> = (0..TRANSFERS).map(|i| format!("data-{i}")).collect();
    let sends: Vec<_> =
        names.iter().map(|name| sites.send("S", &sites.file(name, BYTES), "t", &[])).collect();
    let begun = Instant::now();
    let (mut looks, mut down) = (0, 0);
    while sites.transfers().iter().filter(|t| t["state"] == "done").count() < TRANSFERS {
        assert!(begun.elapsed() < PATIENCE, "{:#?}", sites.transfers());
        let links = sites.overview().and_then(|o| o["links"].as_array().cloned()).unwrap_or_default();
        looks += usize::from(!links.is_empty());
        down += usize::from(links.iter().any(|l| l["up"] == false));
        std::thread::sleep(Duration::from_millis(100));
    }
    eprintln!(
        "{TRANSFERS} transfers after {:.1?}; a link was down in {down} looks of {looks}",
        begun.elapsed()
    );
    assert_eq!(down, 0, "a link was down in {down} looks of {looks}");
    assert!(looks > 10, "{looks} looks in {:.1?}", begun.elapsed());
    for (name, send) in names.iter().zip(sends) {
        let (code, said) = send.end(PATIENCE);
        assert_eq!(code, 0, "{said}");
        assert_same(&sites.dir().join(name), &place.join(name));
    }
    sites.assert_clean();
    sites.assert_books();
    sites.daemon.stop();
}
