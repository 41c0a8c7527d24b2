//! Everything, for programs.

use serde_json::{Value, json};

use super::Report;
use crate::stats::Summary;

fn summary(s: Option<(Summary, bool)>) -> Value {
    s.map_or(Value::Null, |(s, good)| {
        json!({ "min": s.min, "median": s.median, "max": s.max, "samples": s.count, "undisturbed": good })
    })
}

impl Report {
    /// Machine, contenders, summaries, and every sample.
    pub fn json(&self) -> String {
        let contenders: Vec<Value> = self
            .contenders
            .iter()
            .map(|c| {
                json!({
                    "name": c.name,
                    "about": c.about,
                    "version": c.version.as_ref().ok(),
                    "not_measured": c.version.as_ref().err(),
                    "command": self.results.commands.get(c.name),
                })
            })
            .collect();
        let mut summaries = Vec::new();
        for job in &self.jobs {
            let mut names: Vec<&str> =
                self.results.samples.iter().filter(|s| s.job == *job).map(|s| s.contender).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                summaries.push(json!({
                    "job": job.to_string(), "family": job.family(), "burst": job.burst(), "contender": name,
                    "unit": job.unit().name(),
                    "value": summary(self.results.summary(name, job, "value", self.class)),
                }));
            }
        }
        let samples: Vec<Value> = self.results.samples.iter().map(|s| {
            json!({
                "job": s.job.to_string(), "contender": s.contender, "round": s.round, "figures": s.figures,
                "noise": s.noise, "noisy": s.noisy, "attempts": s.attempts, "class": s.class,
                "cache_line_ns": s.line_ns,
            })
        }).collect();
        let pairs = |map: &std::collections::BTreeMap<(String, String), String>| {
            let one = |((name, job), why): (&(String, String), &String)| json!({ "contender": name, "job": job, "why": why });
            map.iter().map(one).collect::<Vec<Value>>()
        };
        let all = json!({
            "machine": self.machine,
            "rounds": self.rounds,
            "ms": self.ms as u64,
            "class": self.class,
            "runs": self.results.attempts,
            "runs_that_did_not_count": self.results.thrown_away,
            "interrupted": self.results.interrupted,
            "contenders": contenders,
            "summaries": summaries,
            "not_possible": pairs(&self.results.not_possible),
            "failed": pairs(&self.results.failures),
            "samples": samples,
        });
        serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
    }
}
