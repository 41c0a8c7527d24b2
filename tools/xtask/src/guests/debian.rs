//! Packages unpacked into a folder, with an apt of its own beside the system's: nothing is installed, and no root's
//! rights are needed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cmd::{self, Cmd};

/// A folder of unpacked packages of one Debian.
pub struct Tree {
    /// Where it lies; `root` below it has the files.
    pub at: PathBuf,
    /// The Debian, and a suite over it that packages are rather taken from.
    pub suites: (&'static str, Option<&'static str>),
    /// Packages that are wanted with all they depend on.
    pub whole: Vec<String>,
    /// Packages that are wanted alone.
    pub alone: Vec<String>,
    /// Files that show that it is complete, the last part perhaps with a `*`.
    pub files: Vec<String>,
}

/// What a folder was made of; one of other contents is made anew.
const STAMP: &str = "complete";

impl Tree {
    /// Where the unpacked files are.
    pub fn root(&self) -> PathBuf {
        self.at.join("root")
    }

    fn stamp(&self) -> String {
        format!("{:?}\n{}\n{}\n", self.suites, self.whole.join(" "), self.alone.join(" "))
    }

    /// Whether all of it is there.
    pub fn is_complete(&self) -> bool {
        let stamp = fs::read_to_string(self.at.join(STAMP));
        stamp.is_ok_and(|s| s == self.stamp()) && self.missing().is_none()
    }

    /// Makes it unless it is there. A run that was interrupted goes on with the packages that it had downloaded.
    pub fn bring(&self) -> Result<(), String> {
        if self.is_complete() {
            return Ok(());
        }
        let stamp = self.at.join(STAMP);
        let say = |p: &Path, e: std::io::Error| format!("{}: {e}", p.display());
        if !cmd::on_path("apt-get") {
            return Err("this is not Debian (no apt-get)".to_owned());
        }
        println!(
            "will unpack into {} (not installed): {} {}",
            self.root().display(),
            self.whole.join(" "),
            self.alone.join(" ")
        );
        let _ = fs::remove_file(&stamp);
        match fs::remove_dir_all(self.root()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(say(&self.root(), e)),
            _ => {}
        }
        let archives = self.at.join("apt/cache/archives");
        for folder in [self.root(), archives.join("partial"), self.at.join("apt/state/lists/partial")] {
            fs::create_dir_all(&folder).map_err(|e| say(&folder, e))?;
        }
        self.configure()?;
        self.apt("apt-get", &["-q", "-y", "update"])?;
        let mut wanted: Vec<String> = Vec::new();
        if !self.whole.is_empty() {
            let install = ["-q", "-y", "--download-only", "--no-install-recommends", "install"];
            let words: Vec<&str> = install.into_iter().chain(self.whole.iter().map(String::as_str)).collect();
            self.apt("apt-get", &words)?;
        }
        for name in &self.alone {
            let depends = self.apt("apt-cache", &["depends", "--important", name])?;
            let of_kernel = kernel_packages(&depends);
            wanted.extend(if of_kernel.is_empty() { vec![name.clone()] } else { of_kernel });
        }
        if !wanted.is_empty() {
            // Headers of all flavours are a package of their own, which those of one flavour depend on.
            for name in wanted.clone() {
                wanted.extend(kernel_packages(&self.apt("apt-cache", &["depends", "--important", &name])?));
            }
            wanted.sort_unstable();
            wanted.dedup();
            let words: Vec<&str> =
                ["-q", "download"].into_iter().chain(wanted.iter().map(String::as_str)).collect();
            self.apt_in(&archives, "apt-get", &words)?;
        }
        let mut debs: Vec<PathBuf> = fs::read_dir(&archives)
            .map_err(|e| say(&archives, e))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|x| x == "deb"))
            .collect();
        debs.sort_unstable();
        println!("unpacking {} packages", debs.len());
        for deb in &debs {
            Cmd::new("dpkg-deb", ["-x"]).args([deb, &self.root()]).output()?;
        }
        if let Some(missing) = self.missing() {
            return Err(format!("{missing} is not in the packages"));
        }
        // What was downloaded is of no more use, and takes as much room again.
        let _ = fs::remove_dir_all(self.at.join("apt"));
        fs::write(&stamp, self.stamp()).map_err(|e| say(&stamp, e))
    }

    fn missing(&self) -> Option<&String> {
        self.files.iter().find(|file| find(&self.root(), file).is_none())
    }

    /// An apt that knows of nothing but this folder and the machine's own mirror; what else the machine's apt is
    /// told (a proxy, say) goes for it too.
    fn configure(&self) -> Result<(), String> {
        let write = |name: &str, text: &str| {
            let path = self.at.join("apt").join(name);
            fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
        };
        let mirror = mirror()?;
        let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let key = if Path::new(key).exists() { format!("[signed-by={key}] ") } else { String::new() };
        let line = |suite: &str| format!("deb {key}{mirror} {suite} main\n");
        let (main, over) = self.suites;
        write("sources.list", &(line(main) + &over.map(line).unwrap_or_default()))?;
        write("status", "")?;
        let at = self.at.join("apt");
        let at = at.display();
        let prefer = over.map(|suite| format!("APT::Default-Release \"{suite}\";\n")).unwrap_or_default();
        write(
            "apt.conf",
            &format!(
                "Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
                 Dir::Etc::preferencesparts \"/dev/null\";\nDir::State \"{at}/state\";\n\
                 Dir::State::status \"{at}/status\";\nDir::Cache \"{at}/cache\";\n\
                 Dir::Cache::archives \"archives/\";\nDir::Cache::pkgcache \"pkgcache.bin\";\n\
                 Dir::Cache::srcpkgcache \"srcpkgcache.bin\";\nAPT::Sandbox::User \"\";\n\
                 Acquire::Languages \"none\";\nAPT::Architecture \"amd64\";\nAPT::Get::List-Cleanup \"true\";\n\
                 #clear APT::Update::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n\
                 #clear APT::Update::Post-Invoke-Success;\n#clear DPkg::Post-Invoke;\n{prefer}"
            ),
        )
    }

    fn apt(&self, program: &str, words: &[&str]) -> Result<String, String> {
        self.apt_in(&self.at, program, words)
    }

    fn apt_in(&self, folder: &Path, program: &str, words: &[&str]) -> Result<String, String> {
        println!("$ {program} {}", words.join(" "));
        let config = self.at.join("apt/apt.conf");
        let output = Cmd::new(program, ["-c"])
            .args([config])
            .args(words)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C")
            .dir(folder)
            .output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The packages of the kernel (by their names with a version) that `apt-cache depends` lists.
fn kernel_packages(depends: &str) -> Vec<String> {
    let of_kernel = |name: &&str| {
        ["linux-image-", "linux-headers-", "linux-kbuild-"].iter().any(|prefix| {
            name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(of_kernel)
        .map(str::to_owned)
        .collect()
}

/// The mirror that this machine's own apt takes its Debian from.
fn mirror() -> Result<String, String> {
    if let Ok(mirror) = std::env::var("DEBIAN_MIRROR") {
        return Ok(mirror);
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or_default();
    let targets = Cmd::new("apt-get", ["indextargets", "--format", "$(RELEASE) $(REPO_URI)"]).output()?;
    let targets = String::from_utf8_lossy(&targets.stdout).into_owned();
    let own = targets.lines().filter_map(|line| line.split_once(' ')).find(|(s, _)| *s == suite);
    let no = format!("apt knows no mirror of `{suite}`; set DEBIAN_MIRROR to the address of a Debian mirror");
    own.filter(|_| release.lines().any(|line| line == "ID=debian")).map(|(_, uri)| uri.to_owned()).ok_or(no)
}

/// The file at a path under `root`, whose last part may have a `*`; of several the last by name.
pub fn find(root: &Path, path: &str) -> Option<PathBuf> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let (start, end) = name.split_once('*').unwrap_or((name, ""));
    let exact = !name.contains('*');
    let mut found: Vec<PathBuf> = fs::read_dir(root.join(folder))
        .ok()?
        .flatten()
        .filter(|entry| {
            let entry = entry.file_name().to_string_lossy().into_owned();
            if exact { entry == name } else { entry.starts_with(start) && entry.ends_with(end) }
        })
        .map(|entry| entry.path())
        .collect();
    found.sort_unstable();
    found.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_packages_are_taken_of_what_one_depends_on() {
        let said =
            "linux-headers-6.1.0-50-amd64\n  Depends: linux-headers-6.1.0-50-common\n  Depends: gcc-12\n";
        assert_eq!(kernel_packages(said), ["linux-headers-6.1.0-50-common"]);
        assert_eq!(
            kernel_packages(
                "linux-image-amd64\n  Depends: linux-image-6.1.0-50-amd64\n  Breaks: linux-image-5\n"
            ),
            ["linux-image-6.1.0-50-amd64"]
        );
        assert!(
            kernel_packages("linux-image-6.1.0-50-amd64\n  Depends: kmod\n  Depends: linux-base\n")
                .is_empty()
        );
    }

    #[test]
    fn files_are_found_by_the_start_of_their_name() {
        let dir = std::env::temp_dir().join(format!("valecast-find-{}", std::process::id()));
        fs::create_dir_all(dir.join("boot")).unwrap();
        fs::write(dir.join("boot/vmlinuz-6.1"), "").unwrap();
        assert!(find(&dir, "boot/vmlinuz-*").unwrap().ends_with("vmlinuz-6.1"));
        assert_eq!((find(&dir, "boot/vmlinuz"), find(&dir, "root/x")), (None, None));
        fs::remove_dir_all(dir).unwrap();
    }
}
