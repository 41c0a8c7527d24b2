//! Instructions per frame of the forwarding path, counted by callgrind and held to `bench/counts.toml`: what a
//! clock cannot tell on a machine that others use, a count can.

use std::fs;

use crate::cmd::{self, Cmd};
use crate::report::Outcome;

const ALLOWED: &str = "bench/counts.toml";
/// Those that have the jobs.
const PROGRAMS: [&str; 2] = ["counts", "counts_vm"];
/// The function whose instructions count, with all that it calls, of a job whose name begins so.
const COUNTED: [(&str, &str); 4] = [
    ("client", "*Rig*exchange*"),
    ("guest-sends", "*CardRig::send*"),
    ("guest-receives", "*CardRig::receive*"),
    ("", "*Rig*forward*"),
];

/// Counts every job; `write` puts what was counted into the file instead of holding it against it.
pub fn run(write: bool) -> Outcome {
    if !cmd::on_path("valgrind") {
        return Outcome::NotRun("needs valgrind (package valgrind)".into());
    }
    // With the daemon's package named, too, what the two share is taken as the step `build` has left it.
    let mut build = vec!["build", "--release", "--locked", "-p", "valecast", "-p", "valecast-bench"];
    build.extend(PROGRAMS.iter().flat_map(|p| ["--bin", p]));
    Cmd::cargo(build).run().and_then(|| match measure(write) {
        Ok(complaints) => crate::outcome(&complaints),
        Err(wrong) => Outcome::Failed(wrong),
    })
}

fn measure(write: bool) -> Result<Vec<String>, String> {
    let mut jobs: Vec<(String, String)> = Vec::new();
    for program in PROGRAMS {
        let binary = cmd::target_dir().join("release").join(program).to_string_lossy().into_owned();
        let list = Cmd::new(&binary, ["--list"]).output()?;
        let names = String::from_utf8_lossy(&list.stdout).into_owned();
        jobs.extend(names.lines().map(|job| (binary.clone(), job.to_owned())));
    }
    let text = fs::read_to_string(cmd::root().join(ALLOWED)).map_err(|e| format!("{ALLOWED}: {e}"))?;
    let allowed: toml::Table = text.parse().map_err(|e| format!("{ALLOWED}: {e}"))?;
    let number = |key: &str| allowed.get(key).and_then(|v| v.as_float().or(v.as_integer().map(|i| i as f64)));
    let tolerance = number("tolerance").ok_or(format!("{ALLOWED}: no `tolerance`"))?;
    let (mut complaints, mut counted) = (Vec::new(), String::new());
    for (binary, job) in &jobs {
        let now = per_frame(binary, job)?;
        counted += &format!("{job} = {now:.0}\n");
        match number(job) {
            None => {
                complaints.push(format!("{ALLOWED}: no `{job}`; counted {now:.0} instructions per frame"));
            }
            Some(then) => {
                println!("{job:<26} {now:>8.1} instructions per frame, {then:.0} allowed");
                if now > then * (1.0 + tolerance) {
                    complaints.push(format!(
                        "{job}: {now:.1} instructions per frame, over {then:.0} by more than {:.0} %; if that \
                         is worth it, say so in {ALLOWED} (cargo xtask counts --write)",
                        tolerance * 100.0
                    ));
                }
            }
        }
    }
    if !write {
        return Ok(complaints);
    }
    let head: String =
        text.lines().take_while(|l| !l.starts_with("unicast")).map(|l| format!("{l}\n")).collect();
    fs::write(cmd::root().join(ALLOWED), head + &counted).map_err(|e| format!("{ALLOWED}: {e}"))?;
    Ok(Vec::new())
}

/// Runs one job under callgrind.
fn per_frame(binary: &str, job: &str) -> Result<f64, String> {
    let counted = COUNTED.iter().find(|(of, _)| job.starts_with(of)).map_or("", |(_, function)| function);
    let toggle = format!("--toggle-collect={counted}");
    let args = ["--tool=callgrind", "--callgrind-out-file=/dev/null", &toggle, binary, job];
    let out = Cmd::new("valgrind", args).output()?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let frames = String::from_utf8_lossy(&out.stdout).trim().parse::<f64>().ok();
    match (collected(&said), frames) {
        (Some(n), Some(frames)) if n > 0.0 && frames > 0.0 => Ok(n / frames),
        _ => Err(format!("{job}: callgrind counted nothing:\n{said}")),
    }
}

/// The number in callgrind's line `Collected : N`.
fn collected(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|l| l.split_once("Collected : "))?;
    line.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_callgrinds_line() {
        assert_eq!(collected("==1== Events    : Ir\n==1== Collected : 10525093\n"), Some(10_525_093.0));
        assert_eq!(collected("==1== nothing"), None);
    }
}
