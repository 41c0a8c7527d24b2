//! The example of the guide.

use super::example;

#[test]
fn the_example_of_the_guide_works() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (guide, code) = (read("docs/guide/inline-ports.md"), read("examples/inline.rs"));
    let shown = guide.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    assert!(shown == Some(&*code), "docs/guide/inline-ports.md differs from examples/inline.rs");

    let dir = tempfile::tempdir().unwrap();
    let daemon = example::start(dir.path()).unwrap();
    let got = example::run(&daemon, 5000).map_err(|e| e.to_string());
    assert_eq!(got, Ok(5000));
    daemon.stop();
}
