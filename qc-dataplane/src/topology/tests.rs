//! The readers: each format, the built-in networks, and what is said of mistakes.

use super::*;
use crate::graph::Link;

fn read(file: &str, text: &str) -> Topology {
    Topology::read(file, text.as_bytes().to_vec(), None).unwrap_or_else(|e| panic!("{e}"))
}

fn say(file: &str, text: &str) -> String {
    Topology::read(file, text.as_bytes().to_vec(), None).unwrap_err().to_string()
}

#[test]
fn csv_lines_are_links_both_ways() {
    let t = read("x/net.csv", "# c\nu,v,capacity\n10,2,1.5\n2,3, 500Mbit/s # slow\n2,3,1,2\n");
    assert_eq!((t.name.as_str(), t.graph.names()), ("net", &["2", "3", "10"].map(String::from)[..]));
    let link = |from, to, capacity| Link { from, to, capacity };
    let want = [
        link(2, 0, 1.5),
        link(0, 2, 1.5),
        link(0, 1, 0.5),
        link(1, 0, 0.5),
        link(0, 1, 1.0),
        link(1, 0, 2.0),
    ];
    assert_eq!(t.graph.links(), want);
    assert_eq!(Topology::read("n.csv", b"a,b\n".to_vec(), Some(3.0)).unwrap().graph.links()[1].capacity, 3.0);

    assert!(say("n.csv", "a,b\n").contains("no capacity from a to b"));
    let e = say("n.csv", "a,b,1\nb,c,fast\n");
    assert!(e.contains("n.csv:2:5") && e.contains("does not start with a number"), "{e}");
    assert!(say("n.csv", "a,b,-1").contains("a capacity of -1 Gbit/s"));
    assert!(say("n.csv", "a,b,NaN").contains("a capacity of NaN Gbit/s"));
    assert!(say("n.csv", "a,b,0Gbit/s").contains("a capacity of 0"));
    assert!(say("n.csv", "a,a,1").contains("this link starts and ends at a"));
    assert!(say("n.csv", "a").contains("1 fields, must be 2 to 4"));
    assert!(say("n.csv", "a,,1").contains("a node without a name"));
    assert!(say("n.csv", "").contains("no links"));
    assert!(say("n.xml", "").contains("cannot tell the format"));
}

const GML: &str = "graph [\n  Network \"N\"\n  directed 0\n  node [\n    id 1\n    label \"A &amp; B\"\n    Longitude 4.5\n\
    \x20   Latitude 52.0\n  ]\n  node [ id 0 label \"Z\" graphics [ x 1 ] ]\n  node [ id 7 label \"Z\" ]\n  edge [\n    \
    source 0\n    target 1\n    LinkSpeedRaw 10000000000.0\n  ]\n  edge [ source 7 target 1 LinkLabel \"45 Mbps DS-3\" ]\n]\n";

#[test]
fn gml_has_sites_and_speeds() {
    let t = read("n.gml", GML);
    assert_eq!(t.name, "N");
    assert_eq!(t.graph.names(), ["Z 0", "A & B", "Z 7"]);
    assert_eq!(t.places[1], Some(Place { longitude: 4.5, latitude: 52.0 }));
    assert_eq!(t.graph.capacities(), [10.0, 10.0, 0.045, 0.045]);
    let directed = read("n.gml", &GML.replace("directed 0", "directed 1"));
    assert_eq!(directed.graph.capacities(), [10.0, 0.045]);

    let e = say("n.gml", &GML.replace("target 1\n", "target 9\n"));
    assert!(e.contains("target 9 is no node") && e.contains("n.gml:12:3"), "{e}");
    assert!(say("n.gml", &GML.replace("target 1\n", "target x\n")).contains("\"x\" is not a whole number"));
    let e = say("n.gml", &GML.replace("45 Mbps DS-3", "fibre"));
    assert!(e.contains("no capacity from Z 7 to A & B"), "{e}");
    assert!(say("n.gml", &GML.replace("id 7", "id 0")).contains("two nodes are named \"Z 0\""));
    assert!(say("n.gml", &GML.replace("id 7", "")).contains("this node has no id"));
    assert!(say("n.gml", GML.trim_end().trim_end_matches(']')).contains("this bracket is not closed"));
    assert!(say("n.gml", &format!("{GML}]")).contains("nothing is open here"));
    assert!(say("n.gml", "graph [ label \"x").contains("this text does not end"));
    assert!(say("n.gml", "graph").contains("graph has no value"));
    assert!(say("n.gml", "[").contains("a key must stand here"));
    assert!(say("n.gml", &"a [ ".repeat(100_000)).contains("not closed"));
}

const TOML: &str = "name = \"two\"\n[[node]]\nname = \"a\"\nlongitude = 1.0\nlatitude = 2\n[[node]]\nname = \"bb\"\n\
    [[link]]\na = \"a\"\nb = \"bb\"\ncapacity = \"10Gbit\"\nback = \"1Gbit/s\"\n[[link]]\na = \"bb\"\nb = \"a\"\n\
    capacity = \"5Gbit/s\"\ndirected = true\n";

#[test]
fn toml_has_nodes_and_links() {
    let t = read("n.toml", TOML);
    assert_eq!((t.name.as_str(), t.graph.capacities()), ("two", vec![10.0, 1.0, 5.0]));
    assert_eq!(t.places, [Some(Place { longitude: 1.0, latitude: 2.0 }), None]);
    let common = format!("capacity = \"3Gbit\"\n{}", TOML.replace("capacity = \"10Gbit\"\n", ""));
    assert_eq!(read("n.toml", &common).graph.capacities(), [3.0, 1.0, 5.0]);

    let two = say("n.toml", &TOML.replace("a = \"a\"", "a = \"c\"").replace("\"5Gbit/s\"", "\"5GB/s\""));
    assert!(two.contains("n.toml:9:5") && two.contains("there is no node \"c\""), "{two}");
    assert!(two.contains("counts bytes") && two.contains("2 mistakes"), "{two}");
    assert!(say("n.toml", &TOML.replace("b = \"bb\"", "b = \"bbb\"")).contains("did you mean \"bb\"?"));
    assert!(
        say("n.toml", &TOML.replace("name = \"bb\"", "name = \"a\"")).contains("two nodes are named \"a\"")
    );
    let none = say("n.toml", &TOML.replace("capacity = \"10Gbit\"\n", ""));
    assert!(none.contains("the link from a to bb has no capacity") && none.contains("n.toml:9:5"), "{none}");
    assert!(say("n.toml", &TOML.replace("back", "bakc")).contains("unknown field `bakc`"));
    assert!(
        say("n.toml", &TOML.replace("directed = true", "directed = true\nback = \"1Gbit\""))
            .contains("no way back")
    );
    assert!(say("n.toml", "[[node]\n").contains("n.toml:1:"));
}

#[test]
fn teavar_has_directions() {
    let t = read("n.txt", "to_node from_node capacity prob_failure\n1 2 5000000 .004\n2 1 1000 .004\n");
    assert_eq!(
        t.graph.links(),
        [Link { from: 1, to: 0, capacity: 5.0 }, Link { from: 0, to: 1, capacity: 0.001 }]
    );
    assert!(say("n.txt", "to_node capacity\n").contains("no column from_node"));
    assert!(say("n.txt", "to_node from_node capacity\n1 2\n").contains("2 fields, must be 3"));
    assert!(say("n.txt", "to_node from_node capacity\n1 2 -1\n").contains("a capacity of -1 kbit/s"));
}

/// As many sites, lines and capacities as the papers say, all of them connected.
#[test]
fn built_in_networks_are_those_of_the_papers() {
    for (name, nodes, links, least, most) in [
        ("ans", 18, 50, 0.045, 0.045),
        ("geant", 34, 104, 0.045, 10.0),
        ("uninett", 69, 192, 0.034, 11.0),
        ("gscale", 12, 38, 1.0, 1.0),
        ("cogent", 197, 486, 1.0, 1.0),
        ("random50", 50, 300, 1.0, 1.0),
        ("b4", 12, 38, 5.0, 5.0),
        ("kdl", 754, 1798, 1.0, 1.0),
    ] {
        let t = Topology::find(name, None).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((t.graph.nodes(), t.graph.links().len()), (nodes, links), "{name}");
        let capacities = t.graph.capacities();
        assert_eq!(capacities.iter().copied().fold(f64::INFINITY, f64::min), least, "{name}");
        assert_eq!(capacities.iter().copied().fold(0.0, f64::max), most, "{name}");
        assert_eq!(t.places.len(), nodes);
        let mut hops = crate::partition::Hops::new(&t.graph);
        assert!((0..nodes as u32).all(|n| hops.between(&t.graph, 0, n) < 200), "{name} is not connected");
    }
    assert_eq!(BUILT_IN.len(), 8);
    let geant = Topology::find("geant", None).unwrap();
    assert!(geant.graph.find("NL").is_some() && geant.places.iter().all(Option::is_some));
    assert!(
        Topology::find("/nowhere.gml", None)
            .unwrap_err()
            .to_string()
            .contains("built-in network: ans, geant")
    );
}

/// The author's capacities are those of the Zoo's file.
#[test]
fn geant_agrees_with_its_map() {
    let zoo =
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/topologies/zoo/Geant2009.gml.gz")).to_vec();
    let (zoo, authors) =
        (Topology::read("g.gml.gz", zoo, None).unwrap(), Topology::find("geant", None).unwrap());
    let sorted = |t: &Topology| {
        let mut links: Vec<_> =
            t.graph.links().iter().map(|l| (l.from, l.to, (l.capacity * 1e3).round() as u64)).collect();
        links.sort_unstable();
        links
    };
    assert_eq!(sorted(&zoo), sorted(&authors));
}
