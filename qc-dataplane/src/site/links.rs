//! The links of a site: sends and takes their probes, and judges by these. Looks after the rest of the switch on the way.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use valecast_ring::client::{AttachOptions, Link, Port as RingPort, RxRing, TxRing};

use super::agent::{Shared, State};
use super::converse::blocking;
use super::probe::{self, News, Probe, Read, Sent, Turn};

/// How often a probe is sent, and those of others are looked for.
const LOOK: Duration = Duration::from_millis(60);
/// Looks in a time of [`probe::EVERY`]: a link that loses every other frame is seldom silent for one.
const LOOKS: u32 = 5;
/// Most probes at once while a link is in doubt: losses in a row are counted in frames, so the more frames, the sooner they end.
const IN_DOUBT: u128 = 20;

/// The part of a link's capacity that probes may take, as long as they are often enough: in parts of it.
const SHARE: u128 = 100;
/// The same while a link is in doubt.
const DOUBTED_SHARE: u128 = 12;

/// An attached port.
type Rings = (Link, Vec<TxRing>, Vec<RxRing>);

/// Probes the links and looks after the receiver, for ever.
pub(super) async fn watch_links(shared: &Arc<Shared>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut port: Option<Rings> = None;
    let mut sequence: u32 = 0;
    for look in 0u32.. {
        ticks.tick().await;
        if port.as_ref().is_none_or(|p| !p.0.is_alive()) {
            port = blocking(shared, |s| {
                let want = AttachOptions::default();
                let port =
                    RingPort::attach(&s.attach_socket(), probe::PORT, &want).map_err(|e| e.to_string())?;
                Ok(port.split())
            })
            .await
            .inspect_err(|e| tracing::debug!(site = shared.site.name, "links cannot be probed: {e}"))
            .ok();
        }
        if let Some(port) = &mut port {
            hear(shared, port, sequence);
            sequence = sequence.wrapping_add(1);
            speak(shared, port, sequence);
        }
        if look % LOOKS != LOOKS - 1 {
            continue;
        }
        judge(shared);
        let receives = blocking(shared, Shared::look_after).await.unwrap_or(false);
        let before = std::mem::replace(&mut shared.lock().receives, receives);
        if before != receives {
            shared.news.notify_one();
        }
    }
}

fn hear(shared: &Shared, (_, _, rings): &mut Rings, sequence: u32) {
    let mut state = shared.lock();
    let State { watches, probe_keys, .. } = &mut *state;
    let name = &shared.site.name;
    for rx in rings {
        let n = rx.pending();
        for i in 0..n {
            let Some(read) = Probe::read(rx.frame(i).data, probe_keys) else { continue };
            let (Read::Probe(number, _) | Read::Forged(number)) = &read;
            let link = usize::from(*number);
            let (Some(own), Some(watch)) = (shared.site.links.get(link), watches.get_mut(link)) else {
                continue;
            };
            let (port, to) = (&own.port, &own.to);
            let Read::Probe(_, probe) = &read else {
                watch.hear_forged();
                continue;
            };
            let this = Sent { site: name.clone(), port: port.clone(), sequence };
            match watch.hear(&this, to, probe) {
                None => {}
                Some(News::Wrong(wrong)) => {
                    let site = name;
                    tracing::warn!(
                        site,
                        port,
                        "the link should lead to site {to:?}, at its other end is {wrong:?}"
                    );
                }
                // The controller pairs links by it.
                Some(News::Peer(_)) => shared.news.notify_one(),
            }
        }
        rx.advance(n);
        rx.release();
    }
}

fn judge(shared: &Shared) {
    let mut state = shared.lock();
    let mut changed = false;
    for (link, watch) in shared.site.links.iter().zip(&mut state.watches) {
        let (site, port, to) = (&shared.site.name, &link.port, &link.to);
        let turn = watch.look();
        if watch.is_strange() {
            tracing::warn!(site, port, "probes come in that are forged, or of another controller's site");
        }
        let Some(turn) = turn else { continue };
        changed = true;
        match turn {
            Turn::Up => tracing::info!(site, port, to, "link up"),
            Turn::Down => tracing::warn!(site, port, to, "link down: its probes do not come in, or not out"),
        }
    }
    if changed {
        shared.news.notify_one();
    }
}

fn speak(shared: &Shared, (_, rings, _): &mut Rings, sequence: u32) {
    let state = shared.lock();
    for tx in rings {
        for (number, (link, watch)) in (0..).zip(shared.site.links.iter().zip(&state.watches)) {
            let this = Sent { site: shared.site.name.clone(), port: link.port.clone(), sequence };
            let probe = Probe { this, heard: watch.hears().cloned(), doubts: watch.is_doubted() };
            let frame = probe.frame(number, &state.probe_keys);
            let capacity = state.capacities.get(usize::from(number)).copied().unwrap_or(0);
            if !sequence.is_multiple_of(looks_between(capacity, frame.len())) {
                continue;
            }
            for _ in 0..if watch.wants_many() { in_doubt(capacity, frame.len()) } else { 1 } {
                tx.push(&frame);
            }
        }
        tx.publish();
    }
}

/// In every how-many-th look a probe is sent by a link of so many bit/s (0: not known): in each one, but where probes would
/// take more than their share down to one in a time of [`probe::EVERY`]. A link that carries little must not be full of them.
fn looks_between(capacity: u64, bytes: usize) -> u32 {
    let times = (bits(bytes) * SHARE).div_ceil(u128::from(capacity.max(1)));
    if capacity == 0 { 1 } else { u32::try_from(times).unwrap_or(LOOKS).clamp(1, LOOKS) }
}

/// How many probes are sent at once by a link in doubt, as far as their share goes.
fn in_doubt(capacity: u64, bytes: usize) -> u128 {
    let room = u128::from(capacity) / (bits(bytes) * DOUBTED_SHARE);
    if capacity == 0 { IN_DOUBT } else { room.clamp(1, IN_DOUBT) }
}

/// What one probe in each look takes, in bit/s.
fn bits(bytes: usize) -> u128 {
    (bytes as u128 * 8 * 1000).div_ceil(LOOK.as_millis().max(1))
}

#[cfg(test)]
mod tests {
    use super::{in_doubt, looks_between};

    #[test]
    fn slow_links_are_not_filled_with_probes() {
        // 120 bytes each 60 ms are 16 kbit/s.
        assert_eq!(looks_between(1_000_000_000, 120), 1);
        assert_eq!(looks_between(1_600_000, 120), 1);
        assert_eq!(looks_between(800_000, 120), 2);
        assert_eq!(looks_between(100_000, 120), 5);
        assert_eq!(looks_between(0, 120), 1, "not known yet");
    }

    #[test]
    fn slow_links_in_doubt_are_not_filled_either() {
        assert_eq!(in_doubt(1_000_000_000, 120), 20);
        assert_eq!(in_doubt(60_000_000, 120), 20);
        assert_eq!(in_doubt(1_600_000, 120), 8);
        assert_eq!(in_doubt(100_000, 120), 1);
        assert_eq!(in_doubt(0, 120), 20, "not known yet");
    }
}
