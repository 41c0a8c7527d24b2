//! The Debian packages of a list such as `debian-packages.txt`: what is missing, and bringing it.

use std::fs;
use std::path::Path;

use crate::cmd::{self, Cmd};
use crate::report::{Outcome, Report};

const LIST: &str = "tools/xtask/debian-packages.txt";

/// Where a package goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is installed.
    System,
    /// Unpacked beside what is installed.
    Unpack,
    /// Unpacked into the folder that QEMU runs from, with all it depends on.
    Vmm,
    /// Unpacked into the folder that guests are made of, with all it depends on.
    Guest,
    /// The same, alone.
    GuestAlone,
}

/// One line of the list.
#[derive(Debug, PartialEq)]
pub struct Package {
    /// Debian's name for it.
    pub name: String,
    /// The program it is wanted for; of what goes into a folder, a file there.
    pub command: String,
    /// Where it goes.
    pub place: Place,
    needed_by: String,
}

/// The packages of the list that go into the guests' folders, or what is wrong with the list.
pub fn of_guests() -> Result<Vec<Package>, String> {
    let path = cmd::root().join(LIST);
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(parse(LIST, &text)?.into_iter().filter(Package::is_for_guests).collect())
}

impl Package {
    fn is_for_guests(&self) -> bool {
        matches!(self.place, Place::Vmm | Place::Guest | Place::GuestAlone)
    }

    fn is_missing(&self) -> bool {
        !self.is_for_guests() && !cmd::on_path(&self.command)
    }
}

/// Brings what is missing, if it may and can. Returns whether everything is there now.
pub fn bring(no_install: bool, report: &mut Report) -> bool {
    let text = fs::read_to_string(cmd::root().join(LIST)).unwrap_or_default();
    let list = match parse(LIST, &text) {
        Ok(list) if !list.is_empty() => list,
        Ok(_) => return complain(report, &format!("{LIST} is missing or empty")),
        Err(wrong) => return complain(report, &wrong),
    };
    let missing: Vec<&Package> = list.iter().filter(|p| p.is_missing()).collect();
    if missing.is_empty() {
        return true;
    }
    let names: Vec<&str> = missing.iter().map(|p| p.name.as_str()).collect();
    println!("missing for the end-to-end tests: {}", names.join(" "));
    let why = if no_install {
        "missing, and --no-install was given"
    } else if !cmd::on_path("apt-get") {
        "missing, and this is not Debian (no apt-get); install it by your system's means"
    } else {
        install(&missing);
        "missing, and could not be installed (see above)"
    };
    let mut complete = true;
    for package in missing.iter().filter(|p| !cmd::on_path(&p.command)) {
        complete = false;
        let why = format!("`{}` (package {}) is {why}", package.command, package.name);
        report.not_run(&format!("e2e tests that need {}", package.command), &why);
        println!("     needed by: {}", package.needed_by);
    }
    complete
}

/// Brings what is missing of another list, as far as that goes; what is still missing shows where it is used.
pub fn bring_what_can_be(list: &str) {
    let text = fs::read_to_string(cmd::root().join(list)).unwrap_or_default();
    let packages = match parse(list, &text) {
        Ok(packages) => packages,
        Err(wrong) => return println!("**** {wrong}"),
    };
    let missing = || packages.iter().filter(|p| p.is_missing()).collect::<Vec<_>>();
    if !missing().is_empty() && cmd::on_path("apt-get") {
        install(&missing());
    }
    for package in missing() {
        println!("**** missing: package {}, for {}", package.name, package.needed_by);
    }
}

fn complain(report: &mut Report, wrong: &str) -> bool {
    report.step("packages", |_| Outcome::Failed(wrong.to_owned()));
    false
}

/// Installs and unpacks; what fails shows in the commands still missing afterwards.
fn install(missing: &[&Package]) {
    let (unpack, install): (Vec<&Package>, Vec<&Package>) =
        missing.iter().copied().partition(|p| p.place == Place::Unpack);
    let names = |list: &[&Package]| list.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    let prefix: Option<&[&str]> = if cmd::is_root() {
        Some(&["env"])
    } else if Cmd::new("sudo", ["-n", "true"]).works() {
        Some(&["sudo", "-n", "env"])
    } else {
        None
    };
    if let Some(prefix) = prefix {
        let apt = |args: &[&str]| {
            Cmd::new(prefix[0], &prefix[1..])
                .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"])
                .args(args)
        };
        if !install.is_empty() {
            println!("will install with apt-get: {}", names(&install).join(" "));
        }
        let _ = apt(&["update"]).run();
        if !install.is_empty() {
            let _ = apt(&["install", "--no-install-recommends"]).args(names(&install)).run();
        }
    } else {
        println!("neither root nor passwordless sudo: cannot install {}", names(&install).join(" "));
    }
    for package in unpack {
        let into = cmd::unpack_dir();
        println!(
            "will unpack {} into {} (not installed: no service is set up)",
            package.name,
            into.display()
        );
        if let Err(wrong) = unpack_one(package, &into) {
            println!("cannot unpack {}: {wrong}", package.name);
        }
    }
}

fn unpack_one(package: &Package, into: &Path) -> Result<(), String> {
    let folder = into.join("archives");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    Cmd::new("apt-get", ["-q", "download", &package.name]).dir(&folder).output()?;
    let archive = fs::read_dir(&folder)
        .map_err(|e| e.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|x| x == "deb"))
        .ok_or("apt-get download brought no .deb")?;
    Cmd::new("dpkg-deb", ["-x"]).args([&archive, &into.to_path_buf()]).output()?;
    fs::remove_dir_all(&folder).map_err(|e| e.to_string())
}

/// Reads the text of a list.
pub fn parse(list: &str, text: &str) -> Result<Vec<Package>, String> {
    let mut packages = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (fields, comment) = line.split_once('#').unwrap_or((line, ""));
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let place = match fields[..] {
            [] => continue,
            [_, _] => Place::System,
            [_, _, "unpack"] => Place::Unpack,
            [_, _, "vmm"] => Place::Vmm,
            [_, _, "guest"] => Place::Guest,
            [_, _, "guest-alone"] => Place::GuestAlone,
            _ => {
                let want = "want PACKAGE COMMAND [unpack|vmm|guest|guest-alone] # tests";
                return Err(format!("{list}:{}: {want}", number + 1));
            }
        };
        if comment.trim().is_empty() {
            return Err(format!("{list}:{}: say in a comment what needs {}", number + 1, fields[0]));
        }
        packages.push(Package {
            name: fields[0].to_owned(),
            command: fields[1].to_owned(),
            place,
            needed_by: comment.trim().to_owned(),
        });
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_well_formed() {
        let list = parse(LIST, include_str!("../debian-packages.txt")).unwrap();
        assert!(list.iter().any(|p| p.command == "iperf3" && p.place == Place::System));
        assert!(list.iter().any(|p| p.command == "promtool" && p.place == Place::Unpack));
    }

    #[test]
    fn wrong_lines_are_named() {
        assert!(parse("list", "iperf3 # t\n").unwrap_err().contains(":1:"));
        assert!(parse("list", "\n\niperf3 iperf3\n").unwrap_err().contains(":3:"));
        assert!(parse("list", "a b unpacked # t\n").is_err());
        assert_eq!(parse("list", "a b/c vmm # t\n").unwrap()[0].place, Place::Vmm);
        assert_eq!(parse("list", "# only a comment\n").unwrap(), []);
    }
}
