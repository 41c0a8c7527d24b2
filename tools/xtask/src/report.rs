//! What ran, how long it took and how it ended.

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How a step ended.
pub enum Outcome {
    /// It ran and found nothing wrong.
    Passed,
    /// It ran and found something wrong.
    Failed(String),
    /// It could not run here.
    NotRun(String),
}

impl Outcome {
    /// Goes on to the next part of a step only if this one passed.
    pub fn and_then(self, next: impl FnOnce() -> Outcome) -> Outcome {
        match self {
            Outcome::Passed => next(),
            other => other,
        }
    }
}

struct Row {
    name: String,
    outcome: Outcome,
    took: Duration,
}

/// The rows of the table at the end.
pub struct Report {
    rows: Vec<Row>,
    begun: Instant,
}

impl Report {
    /// A report without rows.
    pub fn new() -> Self {
        Self { rows: Vec::new(), begun: Instant::now() }
    }

    /// Runs one step under a header and notes how it ended.
    pub fn step(&mut self, name: &str, step: impl FnOnce(&mut Report) -> Outcome) {
        println!("\n==== {name} ====");
        let begun = Instant::now();
        let outcome = step(self);
        let took = begun.elapsed();
        let ended = match &outcome {
            Outcome::Passed => "passed".to_owned(),
            Outcome::Failed(why) => format!("FAILED: {why}"),
            Outcome::NotRun(why) => format!("NOT RUN: {why}"),
        };
        println!("---- {name}: {ended} ({:.1} s)", took.as_secs_f64());
        self.rows.push(Row { name: name.to_owned(), outcome, took });
    }

    /// Notes a part that could not run, at once and in the table.
    pub fn not_run(&mut self, name: &str, why: &str) {
        println!("**** NOT RUN: {name}: {why}");
        let outcome = Outcome::NotRun(why.to_owned());
        self.rows.push(Row { name: name.to_owned(), outcome, took: Duration::ZERO });
    }

    /// Prints the table; fails if a step failed.
    pub fn finish(&self) -> ExitCode {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        println!("\n==== summary ({:.0} s) ====", self.begun.elapsed().as_secs_f64());
        for row in &self.rows {
            let (word, why) = match &row.outcome {
                Outcome::Passed => ("passed", ""),
                Outcome::Failed(why) => ("FAILED", why.as_str()),
                Outcome::NotRun(why) => ("NOT RUN", why.as_str()),
            };
            let why = why.lines().next().unwrap_or("");
            println!("{:width$}  {word:8} {:7.1} s  {why}", row.name, row.took.as_secs_f64());
        }
        let not_run = self.rows.iter().filter(|row| matches!(row.outcome, Outcome::NotRun(_))).count();
        if not_run > 0 {
            println!("{not_run} NOT RUN: what they check is unchecked here.");
        }
        if self.rows.iter().any(|row| matches!(row.outcome, Outcome::Failed(_))) {
            println!("FAILED");
            return ExitCode::FAILURE;
        }
        println!("no step failed");
        ExitCode::SUCCESS
    }

    /// As `finish`, and it is a failure too if the step itself (the last row) did not run.
    pub fn finish_strict(&self) -> ExitCode {
        let code = self.finish();
        if matches!(self.rows.last(), Some(Row { outcome: Outcome::NotRun(_), .. })) {
            return ExitCode::FAILURE;
        }
        code
    }
}
