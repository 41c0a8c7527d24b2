//! All samples, and what could not be measured.

use std::collections::BTreeMap;

use crate::drive::Figures;
use crate::job::{Job, Setup};
use crate::noise::Noise;
use crate::placement::Class;
use crate::stats::Summary;

/// One measured run.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The job.
    pub job: Job,
    /// Who did it.
    pub contender: &'static str,
    /// In which round.
    pub round: usize,
    /// What it came to.
    pub figures: Figures,
    /// What disturbed it.
    pub noise: Noise,
    /// Where the cores were, if they stayed.
    pub class: Option<Class>,
    /// A cache line's way in ns, before and after.
    pub line_ns: [f64; 2],
    /// It stayed noisy for all its attempts.
    pub noisy: bool,
    /// Runs it took.
    pub attempts: u32,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// What was measured.
    pub samples: Vec<Sample>,
    /// Contender and job family: why not.
    pub not_possible: BTreeMap<(String, String), String>,
    /// Contender and job: what went wrong.
    pub failures: BTreeMap<(String, String), String>,
    /// The commands, by contender; the last setup's.
    pub commands: BTreeMap<String, String>,
    /// Runs in all.
    pub attempts: u32,
    /// Runs that did not count, because they were disturbed or the cores were elsewhere.
    pub thrown_away: u32,
    /// Ctrl-C.
    pub interrupted: bool,
}

impl Results {
    /// A contender cannot do a job.
    pub fn cannot(&mut self, name: &str, job: &Job, why: &str) {
        self.not_possible.insert((name.to_owned(), job.family()), why.to_owned());
    }

    /// A contender should have done a job and did not: said at once and again in the report.
    pub fn failed(&mut self, name: &str, job: &Job, why: &str) {
        let new = self.failures.insert((name.to_owned(), job.to_string()), why.to_owned()).is_none();
        if new {
            eprintln!("**** NOT MEASURED: {name}: {job}: {why}");
        }
    }

    /// For the record.
    pub fn command(&mut self, name: &str, _: &Setup, command: String) {
        self.commands.insert(name.to_owned(), command);
    }

    /// A word on the way.
    pub fn progress(&self, job: &Job, round: usize, rounds: usize) {
        let mine = self.samples.iter().filter(|s| s.job == *job && s.round == round);
        let words: Vec<String> = mine
            .map(|s| format!("{} {}", s.contender, crate::stats::three_digits(s.figures["value"])))
            .collect();
        eprintln!("[{}/{rounds}] {job} ({}): {}", round + 1, job.unit().name(), words.join(", "));
    }

    /// The samples that count for a contender's job: undisturbed ones in the class that is compared. Where there are
    /// none, those that there are, and `false`.
    pub fn counted(&self, contender: &str, job: &Job, class: Option<Class>) -> (Vec<&Sample>, bool) {
        let mine: Vec<&Sample> =
            self.samples.iter().filter(|s| s.contender == contender && s.job == *job).collect();
        let good: Vec<&Sample> =
            mine.iter().copied().filter(|s| !s.noisy && (class.is_none() || s.class == class)).collect();
        if good.is_empty() { (mine, false) } else { (good, true) }
    }

    /// A figure's summary over the samples that count; `false` if none was undisturbed.
    pub fn summary(
        &self,
        contender: &str,
        job: &Job,
        key: &str,
        class: Option<Class>,
    ) -> Option<(Summary, bool)> {
        let (samples, good) = self.counted(contender, job, class);
        let values = samples.iter().filter_map(|s| s.figures.get(key).copied());
        Summary::of(values).map(|s| (s, good))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;

    fn sample(value: f64, class: Class, noisy: bool) -> Sample {
        Sample {
            job: plan::quick()[0],
            contender: "x",
            round: 0,
            figures: Figures::from([("value", value)]),
            noise: Noise::default(),
            class: Some(class),
            line_ns: [55.0; 2],
            noisy,
            attempts: 1,
        }
    }

    #[test]
    fn only_undisturbed_samples_of_the_class_count() {
        let job = plan::quick()[0];
        let mut r = Results {
            samples: vec![
                sample(1.0, Class::SameL3, false),
                sample(9.0, Class::Far, false),
                sample(8.0, Class::SameL3, true),
            ],
            ..Results::default()
        };
        let (s, good) = r.summary("x", &job, "value", Some(Class::SameL3)).unwrap();
        assert!(good && s.max == 1.0);
        assert_eq!(r.summary("x", &job, "value", None).unwrap().0.max, 9.0);
        r.samples.remove(0);
        assert!(!r.summary("x", &job, "value", Some(Class::SameL3)).unwrap().1, "disturbed ones are marked");
        assert!(r.summary("y", &job, "value", None).is_none());
    }
}
