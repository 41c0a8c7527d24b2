//! getopt's grammar: letters that may be run together (`-NXf tx`, `-ivale0:a`) and long options (`--json`,
//! `--plot FILE`, `--plot=FILE`).

/// Letters that take a value; each of the others is a switch.
const WITH_VALUE: &str = "afFnildsDSbcopTwRCHPM";
/// Letters that are switches.
const SWITCHES: &str = "46NIWvXhrzZAB";
/// Long options with a value.
const LONG_WITH_VALUE: [&str; 11] = [
    "buf-size",
    "hlog",
    "load",
    "loop",
    "patience",
    "pcap-speed",
    "plot",
    "probe",
    "run-dir",
    "seconds",
    "seed",
];
/// Long options that are switches, and `silence`, whose value follows.
const LONG_SWITCHES: [&str; 3] = ["busy", "help", "json"];
const SILENCE: &str = "silence";

/// One option as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The letter or the long name.
    pub name: String,
    /// Its value; empty for a switch.
    pub value: String,
}

impl Given {
    /// The option as people write it, for messages.
    pub fn shown(&self) -> String {
        let dashes = if self.name.chars().count() == 1 { "-" } else { "--" };
        format!("{dashes}{}", self.name)
    }
}

/// Splits `args` (without the command's name) into options, in order.
pub fn split(args: Vec<String>) -> Result<Vec<Given>, String> {
    let mut out = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg == "-" || arg == "--" {
            return Err(format!("`{arg}` is no option"));
        } else if let Some(long) = arg.strip_prefix("--") {
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let value = if LONG_WITH_VALUE.contains(&name) || name == SILENCE {
                inline.or_else(|| args.next()).ok_or_else(|| format!("--{name} needs a value"))?
            } else if !LONG_SWITCHES.contains(&name) {
                return Err(format!("unknown option --{name}"));
            } else if inline.is_some() {
                return Err(format!("--{name} takes no value"));
            } else {
                String::new()
            };
            out.push(Given { name: name.to_owned(), value });
        } else if let Some(letters) = arg.strip_prefix('-') {
            let mut rest = letters.chars();
            while let Some(letter) = rest.next() {
                let name = letter.to_string();
                if WITH_VALUE.contains(letter) {
                    let glued = rest.as_str();
                    let value = if glued.is_empty() {
                        args.next().ok_or_else(|| format!("-{letter} needs a value"))?
                    } else {
                        glued.to_owned()
                    };
                    out.push(Given { name, value });
                    break;
                } else if !SWITCHES.contains(letter) {
                    return Err(format!("unknown option -{letter}"));
                }
                out.push(Given { name, value: String::new() });
            }
        } else {
            return Err(format!("`{arg}` is no option"));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(args: &[&str]) -> Result<Vec<String>, String> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        Ok(split(args)?.iter().map(|g| format!("{} {}", g.shown(), g.value)).collect())
    }

    #[test]
    fn letters_apart_and_together() {
        assert_eq!(shown(&["-i", "vale0:a", "-ftx"]), Ok(vec!["-i vale0:a".into(), "-f tx".into()]));
        assert_eq!(shown(&["-NXl", "60"]), Ok(vec!["-N ".into(), "-X ".into(), "-l 60".into()]));
        assert_eq!(shown(&["-W", "-R1k"]), Ok(vec!["-W ".into(), "-R 1k".into()]));
    }

    #[test]
    fn long_ones() {
        let want =
            vec!["--json ".to_owned(), "--plot a=b.svg".into(), "--hlog x".into(), "--silence 2".into()];
        assert_eq!(shown(&["--json", "--plot=a=b.svg", "--hlog", "x", "--silence", "2"]), Ok(want));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (args, text) in [
            (&["-i"][..], "-i needs a value"),
            (&["-e"], "unknown option -e"),
            (&["-Nq"], "unknown option -q"),
            (&["--plot"], "--plot needs a value"),
            (&["--jsno"], "unknown option --jsno"),
            (&["--json=1"], "--json takes no value"),
            (&["vale0:a"], "`vale0:a` is no option"),
            (&["-"], "`-` is no option"),
            (&["--"], "`--` is no option"),
        ] {
            assert_eq!(shown(args), Err(text.into()));
        }
    }
}
