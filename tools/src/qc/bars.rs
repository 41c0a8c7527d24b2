//! Progress on a terminal: a line for each receiver or transfer.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// More lines than these are one line for all.
const MOST: usize = 24;

/// What a line shows.
#[derive(Clone, Debug)]
pub struct Line {
    /// Whose.
    pub name: String,
    /// Bytes that are there, and of all.
    pub have: u64,
    /// See `have`.
    pub total: u64,
    /// Bytes a second.
    pub rate: u64,
    /// What else there is to say.
    pub state: String,
    /// Whether nothing more will change.
    pub is_over: bool,
}

/// Lines on stderr, if that is a terminal.
pub struct Bars {
    all: MultiProgress,
    lines: BTreeMap<String, ProgressBar>,
    note: Option<ProgressBar>,
    is_shown: bool,
}

impl Bars {
    /// No lines yet; none ever if not `wanted`, or stderr is no terminal.
    pub fn new(wanted: bool) -> Self {
        let is_shown = wanted && std::io::stderr().is_terminal();
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { all: MultiProgress::with_draw_target(target), lines: BTreeMap::new(), note: None, is_shown }
    }

    /// Whether anybody sees them.
    pub fn is_shown(&self) -> bool {
        self.is_shown
    }

    /// Shows these lines and no others, and a note below.
    pub fn show(&mut self, lines: Vec<Line>, note: Option<&str>) {
        if !self.is_shown {
            return;
        }
        let lines = if lines.len() > MOST { vec![together(&lines)] } else { lines };
        self.lines.retain(|name, bar| {
            let stays = lines.iter().any(|l| l.name == *name);
            if !stays {
                bar.finish_and_clear();
                self.all.remove(bar);
            }
            stays
        });
        for line in lines {
            let bar = self.lines.entry(line.name.clone()).or_insert_with(|| {
                let bar = self.all.add(ProgressBar::new(line.total));
                bar.set_style(style());
                bar.set_prefix(line.name.clone());
                bar
            });
            bar.set_length(line.total);
            bar.set_position(line.have);
            bar.set_message(line.told());
        }
        match note {
            Some(note) => {
                let bar = self.note.get_or_insert_with(|| {
                    let bar = self.all.add(ProgressBar::new_spinner());
                    let plain = ProgressStyle::with_template("{wide_msg}");
                    bar.set_style(plain.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                    bar
                });
                bar.set_message(note.to_owned());
            }
            None => {
                if let Some(bar) = self.note.take() {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
            }
        }
    }

    /// Prints a line above.
    pub fn print(&self, text: &str) {
        if self.is_shown {
            let _ = self.all.println(text);
        } else {
            outln!("{text}");
        }
    }

    /// Takes all lines away.
    pub fn clear(&mut self) {
        let _ = self.all.clear();
    }
}

fn style() -> ProgressStyle {
    let template = "{prefix:16!} [{bar:24}] {percent:>3}% {msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

impl Line {
    /// What stands behind the bar.
    fn told(&self) -> String {
        let left = self.total.saturating_sub(self.have);
        let moving = self.rate > 0 && left > 0 && !self.is_over;
        match moving {
            true => {
                let eta = HumanDuration(Duration::from_secs(left.div_ceil(self.rate)));
                format!(
                    "{} of {}, {}/s, {eta} left",
                    HumanBytes(self.have),
                    HumanBytes(self.total),
                    HumanBytes(self.rate)
                )
            }
            false => format!("{} {}", HumanBytes(self.have), self.state),
        }
    }
}

/// Many lines as one: the mean, and the slowest one's rate.
fn together(lines: &[Line]) -> Line {
    let n = lines.len() as u64;
    let over = lines.iter().filter(|l| l.is_over).count();
    let mean =
        |of: fn(&Line) -> u64| (lines.iter().map(|l| u128::from(of(l))).sum::<u128>() / u128::from(n)) as u64;
    let slowest = lines.iter().filter(|l| !l.is_over).map(|l| l.rate).min();
    Line {
        name: format!("{n} in all"),
        have: mean(|l| l.have),
        total: mean(|l| l.total),
        rate: slowest.unwrap_or(0),
        state: format!("{over} of {n} have ended"),
        is_over: over == lines.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_is_left() {
        let line = |have, rate, is_over| Line {
            name: "t1".into(),
            have,
            total: 10 << 20,
            rate,
            state: "verified".into(),
            is_over,
        };
        assert_eq!(line(5 << 20, 1 << 20, false).told(), "5.00 MiB of 10.00 MiB, 1.00 MiB/s, 5 seconds left");
        assert_eq!(line(10 << 20, 0, true).told(), "10.00 MiB verified");
        let one = together(&[line(10 << 20, 0, true), line(0, 7, false)]);
        assert_eq!((one.have, one.rate, one.is_over), (5 << 20, 7, false));
        assert_eq!(one.state, "1 of 2 have ended");
    }
}
