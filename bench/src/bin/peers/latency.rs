//! Round trips and wake-ups.
//!
//! Probes are sent by a schedule that does not wait for answers, and every time is counted from the moment a probe
//! was due, not from when it could be sent: a switch that stands still for a millisecond makes all the probes
//! of that millisecond late.

use std::time::Duration;

use hdrhistogram::Histogram;
use valecast_bench::clock::now_ns;

use crate::drive::{self, Figures};
use crate::job::Job;
use crate::peer::{Trouble, Wire};

/// Shortest time between probes, in ns.
const INTERVAL: u64 = 5_000;
/// Most frames taken at once.
const ALL: u32 = 1024;

/// Longest time that is told from longer ones, in ns.
const LONGEST: u64 = 10_000_000_000;

/// Times in ns. The range is fixed: a histogram that may grow does not when a value is recorded by clamping, which
/// takes all that is beyond its first 2 us for 2 ns.
pub fn times() -> Result<Histogram<u64>, Trouble> {
    Ok(Histogram::new_with_bounds(1, LONGEST, 3)?)
}

/// There and back under `load` per cent of what goes through at most.
pub fn round_trips(
    job: &Job,
    load: u8,
    wires: &mut [Box<dyn Wire>],
    time: Duration,
) -> Result<Figures, Trouble> {
    let most = if load == 0 {
        0.0
    } else {
        let (got, seconds) = drive::load(job, wires, time / 4);
        drive::drain(wires, Duration::from_millis(2));
        got as f64 / seconds
    };
    let rate = most * f64::from(load) / 100.0;
    let [a, b, ..] = wires else { return Err("round trips need two ports".into()) };
    let answered = b.answers_itself(true);
    let figures = probe(a.as_mut(), b.as_mut(), answered, u64::from(job.burst()), rate, time);
    b.answers_itself(false);
    figures
}

/// Sends probes, and `rate` frames a second in bursts of `burst` beside them; answers at the other end unless they are
/// `answered`.
fn probe(
    a: &mut dyn Wire,
    b: &mut dyn Wire,
    answered: bool,
    burst: u64,
    rate: f64,
    time: Duration,
) -> Result<Figures, Trouble> {
    let interval = interval(a, b, answered)?;
    let mut hist = times()?;
    let (begin, end) = (now_ns(), now_ns() + time.as_nanos() as u64);
    let (mut next, mut sent, mut probes) = (begin + interval, 0u64, 0u64);
    let mut echo: Vec<u64> = Vec::with_capacity(ALL as usize);
    loop {
        let now = now_ns();
        // After the end, answers are awaited for a while: those that never come are lost.
        if now > end && (hist.len() >= probes || now > end + 50_000_000) {
            break;
        }
        if now <= end {
            let due = ((now - begin) as f64 * rate / 1e9) as u64;
            if due > sent {
                sent += u64::from(a.send((due - sent).min(burst) as u32));
            }
            if next <= now && a.send_stamp(next) {
                next += interval;
                probes += 1;
            }
        }
        if !answered {
            b.recv_stamps(ALL, &mut |stamp| echo.push(stamp));
            let sent = echo.iter().take_while(|stamp| b.send_stamp(**stamp)).count();
            echo.drain(..sent);
        }
        a.recv_stamps(ALL, &mut |stamp| hist.saturating_record(now_ns().saturating_sub(stamp)));
    }
    let mut figures = percentiles(&hist);
    figures.insert("lost", probes.saturating_sub(hist.len()) as f64);
    figures.insert("load_mpps", rate / 1e6);
    figures.insert("sent_mpps", sent as f64 / time.as_secs_f64() / 1e6);
    Ok(figures)
}

/// Four times the way of a single probe, so that probes alone make no load.
fn interval(a: &mut dyn Wire, b: &mut dyn Wire, answered: bool) -> Result<u64, Trouble> {
    let mut times = Vec::new();
    for _ in 0..50 {
        let begin = now_ns();
        let patience = begin + 200_000_000;
        while !a.send_stamp(begin) {
            if now_ns() > patience {
                return Err("the switch takes no probe".into());
            }
        }
        let arrives = |at: &mut dyn Wire| {
            let mut back = false;
            while !back && now_ns() < patience {
                at.recv_stamps(ALL, &mut |s| back |= s == begin);
            }
        };
        if !answered {
            arrives(b);
            if !b.send_stamp(begin) {
                return Err("no room for an answer".into());
            }
        }
        arrives(a);
        times.push(now_ns() - begin);
    }
    times.sort_unstable();
    let middle = times[times.len() / 2];
    if middle > 100_000_000 {
        return Err("probes do not come back".into());
    }
    Ok((4 * middle).max(INTERVAL))
}

/// One way through the switch with the switch and the receiver asleep: a kick wakes the one, then the other.
pub fn wake_ups(wires: &mut [Box<dyn Wire>], time: Duration) -> Result<Figures, Trouble> {
    let [a, b, ..] = wires else { return Err("wake-ups need two ports".into()) };
    let mut hist = times()?;
    let (end, mut lost) = (now_ns() + time.as_nanos() as u64, 0u32);
    while now_ns() < end {
        // Long enough for everybody to be asleep.
        std::thread::sleep(Duration::from_micros(200));
        let begin = now_ns();
        if !a.send_stamp(begin) {
            return Err("the switch takes no frame".into());
        }
        let mut back = false;
        while !back && now_ns() < begin + 100_000_000 {
            b.wait_recv(1, Duration::from_millis(100));
            b.recv_stamps(ALL, &mut |s| back |= s == begin);
        }
        if back {
            hist.saturating_record(now_ns() - begin);
        } else {
            lost += 1;
        }
    }
    let mut figures = percentiles(&hist);
    figures.insert("lost", f64::from(lost));
    Ok(figures)
}

/// The figures of a histogram in ns; the job's own is the median.
pub fn percentiles(hist: &Histogram<u64>) -> Figures {
    if hist.is_empty() {
        return Figures::from([("value", f64::NAN)]);
    }
    let at = |q| hist.value_at_quantile(q) as f64;
    Figures::from([
        ("value", at(0.5)),
        ("p50", at(0.5)),
        ("p99", at(0.99)),
        ("p99.9", at(0.999)),
        ("max", hist.max() as f64),
        ("probes", hist.len() as f64),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_stay_long() {
        let mut h = times().unwrap();
        [5_000, 70_000, u64::MAX].iter().for_each(|t| h.saturating_record(*t));
        assert!((70_000.0..71_000.0).contains(&percentiles(&h)["value"]));
        assert!(h.max() >= LONGEST);
    }

    #[test]
    fn the_median_is_the_figure() {
        let mut h = Histogram::<u64>::new(3).unwrap();
        assert!(percentiles(&h)["value"].is_nan());
        (1..=1000).for_each(|i| h.saturating_record(i));
        let f = percentiles(&h);
        assert_eq!((f["value"], f["p50"], f["max"]), (500.0, 500.0, 1000.0));
        assert_eq!(f["p99.9"], 999.0);
    }
}
