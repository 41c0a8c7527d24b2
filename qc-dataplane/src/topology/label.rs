//! Capacities in free text: `10 Gbit/s`, `45 Mbps DS-3`, `2-34 Mbit/s`, `OC-192c`.

/// Capacity in Gbit/s that a label names: the number before a unit (the upper end of a range), or a SONET/SDH level.
pub(super) fn capacity(label: &str) -> Option<f64> {
    let lower = label.to_ascii_lowercase();
    rate(&lower).or_else(|| level(&lower)).filter(|c| (1e-9..=1e15).contains(c))
}

fn rate(label: &str) -> Option<f64> {
    for (unit, _) in ["bit/s", "bps", "b/s"].iter().flat_map(|u| label.match_indices(u)) {
        let mut before = label[..unit].trim_end();
        let mut factor = 1e-9;
        for (prefix, f) in [('k', 1e-6), ('m', 1e-3), ('g', 1.0), ('t', 1e3)] {
            if let Some(rest) = before.strip_suffix(prefix) {
                (before, factor) = (rest.trim_end(), f);
                break;
            }
        }
        let number = before.rfind(|c: char| !c.is_ascii_digit() && c != '.').map_or(before, |at| {
            let end = at + before[at..].chars().next().map_or(1, char::len_utf8);
            &before[end..]
        });
        if let Ok(n) = number.parse::<f64>() {
            return Some(n * factor);
        }
    }
    None
}

/// OC-n carries n times 51.84 Mbit/s, STM-n three times that.
fn level(label: &str) -> Option<f64> {
    for (name, mbit) in [("oc-", 51.84), ("stm-", 155.52), ("oc", 51.84), ("stm", 155.52)] {
        let Some(at) = label.find(name) else { continue };
        let digits: String = label[at + name.len()..].chars().take_while(char::is_ascii_digit).collect();
        if let Ok(n) = digits.parse::<u32>() {
            return Some(f64::from(n) * mbit / 1e3);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_zoo_says() {
        for (label, want) in [
            ("10 Gbit/s", Some(10.0)),
            ("45 Mbps DS-3", Some(0.045)),
            ("Lit Fibre (10 Gbps)", Some(10.0)),
            ("2-34 Mbit/s", Some(0.034)),
            ("34/45 Mbit/s", Some(0.045)),
            ("100-155 Mbit/s", Some(0.155)),
            ("< 2.5 Gb/s", Some(2.5)),
            ("OC-192c", Some(9.95328)),
            ("STM-16", Some(2.48832)),
            ("Completion 2007-2008", None),
            ("Leased Wavelength/Managed Service", None),
            ("Gbps", None),
            ("0 Gbps", None),
            ("ü10 Gbps", Some(10.0)),
        ] {
            let got = capacity(label);
            assert!(
                got == want || got.zip(want).is_some_and(|(g, w)| (g - w).abs() < 1e-9),
                "{label}: {got:?}"
            );
        }
    }
}
