//! Several threads at work while one watches.

use std::time::{Duration, Instant};

use crate::run::{Progress, RunError, StopFlag};

/// What one thread of a team does.
pub type Job<'a, R> = Box<dyn FnOnce(&Progress) -> Result<R, RunError> + Send + 'a>;

/// Runs each job on a thread of its own. `watch` is called with all their numbers before they start, then every
/// `every`, and once more when all have ended. If a job cannot begin, `stop` is set for the others.
///
/// Returns what the jobs returned, in their order.
pub fn run_team<'a, R: Send + 'a>(
    jobs: Vec<Job<'a, R>>,
    stop: &StopFlag,
    every: Duration,
    mut watch: impl FnMut(&[Progress]),
) -> Vec<Result<R, RunError>> {
    let progress: Vec<Progress> = jobs.iter().map(|_| Progress::default()).collect();
    watch(&progress);
    std::thread::scope(|scope| {
        let main = std::thread::current();
        let threads: Vec<_> = jobs
            .into_iter()
            .zip(&progress)
            .map(|(job, progress)| {
                let main = main.clone();
                scope.spawn(move || {
                    let result = job(progress);
                    if result.is_err() {
                        stop.set();
                    }
                    // The watcher looks whether this thread ended, which it does right after this: if the
                    // watcher is faster, it finds out at its next look.
                    main.unpark();
                    result
                })
            })
            .collect();
        let mut next = Instant::now() + every;
        loop {
            let done = threads.iter().all(|t| t.is_finished());
            let now = Instant::now();
            if done || now >= next {
                watch(&progress);
                next = now.max(next) + every;
            }
            if done {
                break;
            }
            // Short sleeps: an ended team should not keep its user waiting.
            std::thread::park_timeout((next - now.min(next)).min(Duration::from_millis(20)));
        }
        let join = |(i, t): (usize, std::thread::ScopedJoinHandle<'_, Result<R, RunError>>)| {
            t.join().unwrap_or(Err(RunError::Thread(i)))
        };
        threads.into_iter().enumerate().map(join).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_failures_stop_the_rest() {
        let stop = StopFlag::default();
        let wait = stop.clone();
        let jobs: Vec<Job<'_, u32>> = vec![
            Box::new(move |p| {
                p.store(1, 60, 1);
                while !wait.is_set() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(7)
            }),
            Box::new(|_| Err(RunError::NoRing)),
        ];
        let mut seen = Vec::new();
        let results = run_team(jobs, &stop, Duration::from_millis(5), |p| seen.push(p[0].counts().packets));
        assert!(matches!(results[0], Ok(7)));
        assert!(matches!(results[1], Err(RunError::NoRing)));
        assert_eq!(seen.last(), Some(&1));
    }
}
