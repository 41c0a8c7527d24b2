//! The examples and the documentation: every file is right, what needs no root runs, and the commands that are
//! written down exist.

#[path = "../../../examples/ring_client.rs"]
mod ring_client;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;

use crate::harness::{Daemon, assert_books, port_count};
use tempfile::TempDir;

const VALECAST: &str = env!("CARGO_BIN_EXE_valecast");
/// Examples that need root, or interfaces that they do not make.
const NEED_ROOT: [&str; 4] = ["packet.toml", "two-namespaces.toml", "wan.toml", "xdp.toml"];
/// The first line of a fenced block that is a whole configuration.
const WHOLE: &str = "# vale.toml";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The files in a folder whose name ends so.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let folder = root().join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.is_file() && path.to_string_lossy().ends_with(end));
    paths.sort();
    paths
}

/// The examples that configure switches; the others are networks and the controller of `valecast qc`.
fn configurations() -> Vec<PathBuf> {
    let mut found = files("examples", ".toml");
    found.retain(|path| !path.to_string_lossy().ends_with("-topology.toml") && !path.ends_with("te.toml"));
    found
}

fn pages() -> Vec<PathBuf> {
    let all = [(".", "README.md"), ("docs", ".md"), ("docs/guide", ".md"), ("examples", ".md")];
    all.iter().flat_map(|(folder, end)| files(folder, end)).collect()
}

/// A fenced block: where it begins, its language, its text.
struct Fence {
    place: String,
    language: String,
    text: String,
}

fn fences(page: &Path) -> Vec<Fence> {
    let (mut found, mut open): (Vec<Fence>, Option<Fence>) = (Vec::new(), None);
    for (number, line) in (1..).zip(read(page).lines()) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(language), None) => {
                let place = format!("{}:{number}", page.display());
                open = Some(Fence { place, language: language.to_owned(), text: String::new() });
            }
            (None, Some(fence)) => fence.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a fence is not closed", page.display());
    found
}

fn valecast(words: &[&str]) -> Output {
    let output = Command::new(VALECAST).args(words).stdin(Stdio::null()).output();
    output.unwrap_or_else(|e| panic!("{VALECAST}: {e}"))
}

#[track_caller]
fn check(file: &Path, place: &str) {
    let output = valecast(&["run", &file.display().to_string(), "--check"]);
    assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_example_is_right() {
    let examples = configurations();
    assert!(examples.len() >= 9, "where are the examples? {examples:?}");
    for example in examples {
        check(&example, &example.display().to_string());
    }
}

#[test]
fn the_controllers_example_is_right() {
    let example = root().join("examples/te.toml");
    let output = valecast(&["qc", "serve", &example.display().to_string(), "--check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn examples_that_need_no_root_run() {
    for example in configurations() {
        let name = example.file_name().expect("a name").to_string_lossy().into_owned();
        if NEED_ROOT.contains(&name.as_str()) {
            continue;
        }
        // What an example writes goes beside the test's sockets; what it reads is where it stands.
        let text = read(&example)
            .replace("\"/tmp/", "\"{run}-")
            .replace("\"examples/", &format!("\"{}/", root().join("examples").display()));
        let ports = text.lines().filter(|line| line.trim() == "[[switch.port]]").count();
        let daemon = Daemon::start(&format!("run_dir = \"{{run}}\"\n{text}"));
        let switches: Vec<String> = {
            let answer = daemon.ctl(&["ports"]);
            let first = port_count(&answer);
            if first == ports { Vec::new() } else { vec!["left".into(), "right".into()] }
        };
        if !switches.is_empty() {
            let sum: usize = switches.iter().map(|s| port_count(&daemon.ctl_on(s, &["ports"]))).sum();
            assert_eq!(sum, ports, "{name}: ports");
        }
        daemon.stop();
    }
}

#[test]
fn the_client_of_the_guide_works() {
    let guide = root().join("docs/guide/ring-clients.md");
    let code = read(&root().join("examples/ring_client.rs"));
    let shown = fences(&guide).into_iter().find(|f| f.language == "rust").expect("a block of Rust");
    assert!(shown.text == code, "{}: differs from examples/ring_client.rs", shown.place);

    let text = read(&root().join("examples/demo.toml"));
    let daemon = Daemon::start(&format!("run_dir = \"{{run}}\"\n{text}"));
    let socket = daemon.run_dir().join("vale0.ring");
    let count = 500;
    let (ready, wait) = channel();
    let got = std::thread::scope(|s| {
        let receiver = s.spawn(|| {
            ring_client::receive(&socket, "b", count, move || ready.send(()).expect("the test waits"))
                .map_err(|e| e.to_string())
        });
        wait.recv().expect("the receiver is attached");
        ring_client::send(&socket, "a", count).expect("send");
        receiver.join().expect("no panic")
    });
    assert_eq!(got, Ok(count));
    assert_books(&daemon);
    daemon.stop();
}

#[test]
fn configurations_in_the_documentation_are_right() {
    let dir = TempDir::new().expect("a temporary folder");
    let file = dir.path().join("vale.toml");
    let mut seen = 0;
    for fence in pages().iter().flat_map(|page| fences(page)) {
        if fence.language == "toml" && fence.text.starts_with(WHOLE) {
            fs::write(&file, &fence.text).expect("write");
            check(&file, &fence.place);
            seen += 1;
        }
    }
    assert!(seen >= 10, "only {seen} whole configurations in the documentation");
}

/// The words after `valecast` in a line, if it calls it; quotes are respected.
fn call(line: &str) -> Option<Vec<String>> {
    let line = line.trim().trim_start_matches('#').trim();
    let line = line.strip_prefix("sudo ").unwrap_or(line);
    let rest = ["valecast ", "cargo run --release -- "].iter().find_map(|p| line.strip_prefix(p))?;
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for c in rest.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                any = true;
            }
            ' ' if !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            _ => {
                word.push(c);
                any = true;
            }
        }
    }
    if any {
        words.push(word);
    }
    // What follows belongs to the shell, or is a remark.
    if let Some(end) = words.iter().position(|w| ["|", ">", "&", "#"].contains(&w.as_str())) {
        words.truncate(end);
    }
    Some(words)
}

/// Whether a help text names an option, as a word of its own.
fn names(help: &str, option: &str) -> bool {
    help.split(|c: char| c.is_whitespace() || ",=[]<>:;()/".contains(c)).any(|word| word == option)
}

#[test]
fn commands_in_the_documentation_exist() {
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut lines: Vec<(String, String)> = Vec::new();
    for fence in pages().iter().flat_map(|page| fences(page)).filter(|f| f.language == "sh") {
        lines.extend(fence.text.lines().map(|line| (fence.place.clone(), line.to_owned())));
    }
    for example in files("examples", ".toml") {
        let place = example.display().to_string();
        let comments = read(&example).lines().filter(|l| l.starts_with("#  ")).map(str::to_owned).collect();
        let comments: Vec<String> = comments;
        lines.extend(comments.into_iter().map(|line| (place.clone(), line)));
    }
    let mut seen = 0;
    for (place, line) in lines {
        let Some(words) = call(&line) else { continue };
        seen += 1;
        let depth = if ["ctl", "qc"].contains(&words[0].as_str()) { 2 } else { 1 };
        let command: Vec<String> = words.iter().take(depth).cloned().collect();
        let help = helps.entry(command.clone()).or_insert_with(|| {
            let mut ask: Vec<&str> = command.iter().map(String::as_str).collect();
            ask.push("--help");
            let output = valecast(&ask);
            assert!(output.status.success(), "{place}: `{line}`: there is no such command");
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        let mut options = words.iter().skip(depth).filter(|w| w.starts_with('-') && *w != "-");
        for option in options.by_ref() {
            let option = option.split('=').next().unwrap_or(option);
            assert!(names(help, option), "{place}: `{line}`: {command:?} has no {option}");
        }
    }
    assert!(seen >= 40, "only {seen} commands in the documentation");
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = read(&page);
        let folder = page.parent().expect("a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { folder.join(file) };
            assert!(target.exists(), "{}: nothing at {link}", page.display());
            if !anchor.is_empty() {
                let slug = |line: &str| {
                    let title = line.trim_start_matches('#').trim().to_lowercase();
                    let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                    kept.collect::<String>().replace(' ', "-")
                };
                let there = read(&target).lines().any(|l| l.starts_with('#') && slug(l) == anchor);
                assert!(there, "{}: no heading for {link}", page.display());
            }
        }
    }
}
