//! What sites, senders and people say.

use super::record::{Record, SavedSite};
use super::site::{SILENCE, Site};
use super::transfer::{Transfer, is_name};
use super::{Core, MOST_OPEN, MOST_SITES, Now, Refusal, scheme};
use crate::control::{
    Created, Ended, LinkReport, NewTransfer, Progress, ReceiverState, ReceiverStatus, SiteReport,
    TransferState,
};
use crate::plan::Scheme;

/// Most links of a site.
const MOST_LINKS: usize = 1_024;
/// Most trees that a site may say have failed.
const MOST_FAILED: usize = 100_000;
/// Longest reason that is kept.
const MOST_WHY: usize = 500;
/// A sender that was silent for so long may be taken over from, in milliseconds.
const TAKE_OVER: u64 = 3_000;

fn invalid<T>(message: String) -> Result<T, Refusal> {
    Err(Refusal::Invalid(message))
}

/// A text of others, as far as it is shown.
fn shown(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MOST_WHY).collect()
}

fn check(name: &str, report: &SiteReport) -> Result<(), Refusal> {
    if report.links.len() > MOST_LINKS {
        return invalid(format!("{} links, at most {MOST_LINKS} are possible", report.links.len()));
    }
    if report.failed.len() > MOST_FAILED {
        return invalid(format!("{} trees failed, at most {MOST_FAILED} are possible", report.failed.len()));
    }
    for (at, link) in report.links.iter().enumerate() {
        if !is_name(&link.port) {
            return invalid(format!("`links[{at}].port` is {:?}, which is no name of a port", link.port));
        }
        if !is_name(&link.to) || link.to == name {
            return invalid(format!("`links[{at}].to` is {:?}, must be the name of another site", link.to));
        }
        if link.peer.as_ref().is_some_and(|p| !is_name(p)) {
            return invalid(format!("`links[{at}].peer` is {:?}, which is no name of a port", link.peer));
        }
        if link.capacity == 0 || link.capacity > 1 << 53 {
            return invalid(format!("`links[{at}].capacity` is {}, must be from 1 to 2^53", link.capacity));
        }
        if report.links[..at].iter().any(|l| l.port == link.port) {
            return invalid(format!("`links[{at}].port` is {:?} again", link.port));
        }
    }
    Ok(())
}

fn same_links(a: &[LinkReport], b: &[LinkReport]) -> bool {
    let plain = |l: &LinkReport| (l.port.clone(), l.to.clone(), l.capacity, l.up, l.peer.clone());
    a.iter().map(plain).eq(b.iter().map(plain))
}

impl Core {
    /// A site reports. What it is to have afterwards is its plan.
    ///
    /// # Errors
    /// When the report makes no sense; nothing has changed then.
    pub fn sync(&mut self, now: Now, name: &str, report: &SiteReport) -> Result<(), Refusal> {
        if !is_name(name) {
            return invalid(format!("{name:?} is no name of a site: 1 to 63 of A-Z a-z 0-9 _ . -"));
        }
        check(name, report)?;
        if let Some(expected) = &self.settings.expected
            && !expected.keys().any(|(a, b)| a == name || b == name)
        {
            return invalid(format!("the topology that the controller was given has no site {name}"));
        }
        if !self.sites.contains_key(name) {
            if self.sites.len() >= MOST_SITES {
                return Err(Refusal::Full(format!("{MOST_SITES} sites, no more are possible")));
            }
            let generation = self.generation();
            self.sites.insert(name.to_owned(), Site::new(generation));
        }
        let Some(site) = self.sites.get_mut(name) else { return Ok(()) };
        let again = site.session != Some(report.session);
        let links = !same_links(&site.links, &report.links)
            || (site.max_groups, site.max_buckets) != (report.max_groups, report.max_buckets);
        let other = again || links || site.down || site.receives != report.receives;
        site.session = Some(report.session);
        site.links.clone_from(&report.links);
        (site.max_groups, site.max_buckets) = (report.max_groups, report.max_buckets);
        site.receives = report.receives;
        site.down = false;
        site.heard = now.ms;
        site.due = now.ms + report.wait_ms.min(super::LONGEST_WAIT) + SILENCE;
        site.measure(now.ms);
        // Of another run of this controller or of another controller: it is told anew.
        site.reported = if report.generation > site.generation { 0 } else { report.generation };
        let trees: Vec<u32> = site.trees.keys().copied().collect();
        let generation = site.generation;
        if again {
            site.unconfirmed.extend(&trees);
            let deadline = now.ms + self.settings.install_timeout;
            for n in &trees {
                if let Some(tree) = self.trees.get_mut(n) {
                    tree.pending.insert(name.to_owned(), generation);
                    tree.deadline = tree.deadline.max(deadline);
                }
            }
        }
        if links {
            let (links, name) = (report.links.clone(), name.to_owned());
            let (max_groups, max_buckets) = (report.max_groups, report.max_buckets);
            self.changes.records.push(Record::Site(SavedSite { name, links, max_groups, max_buckets }));
        }
        if other {
            self.network_changed();
            self.check_links(now);
        }
        for (tree, why) in &report.failed {
            // One that it is not to have has been withdrawn already.
            if self.sites.get(name).is_some_and(|s| s.trees.contains_key(tree)) {
                self.fail(*tree, name, format!("site {name} cannot install a tree: {}", shown(why)), now);
            }
        }
        self.confirm(name, now);
        self.pump(now);
        Ok(())
    }

    /// Trees that a site now says to be in force.
    fn confirm(&mut self, name: &str, now: Now) {
        let Some(site) = self.sites.get_mut(name) else { return };
        let reported = site.reported;
        let mut there = Vec::new();
        for n in &site.unconfirmed {
            if let Some(tree) = self.trees.get_mut(n)
                && tree.pending.get(name).is_some_and(|needed| *needed <= reported)
            {
                tree.pending.remove(name);
                there.push(*n);
            }
        }
        for n in &there {
            site.unconfirmed.remove(n);
        }
        for n in there {
            if self.trees.get(&n).is_some_and(|t| t.pending.is_empty()) {
                self.arrived(n, now);
            }
        }
    }

    /// A request of a site waits for a change of its plan.
    pub fn waits(&mut self, name: &str) {
        if let Some(site) = self.sites.get_mut(name) {
            site.waiting += 1;
        }
    }

    /// It waits no longer: it was answered, or its connection is gone. The site has to come back soon.
    pub fn answered(&mut self, now: Now, name: &str) {
        let patience = SILENCE + self.settings.install_timeout;
        if let Some(site) = self.sites.get_mut(name) {
            site.waiting = site.waiting.saturating_sub(1);
            if site.waiting == 0 {
                site.due = site.due.min(now.ms + patience);
            }
        }
    }

    /// Somebody wants a transfer.
    ///
    /// # Errors
    /// When it makes no sense or too many are under way.
    pub fn submit(&mut self, now: Now, new: NewTransfer) -> Result<Created, Refusal> {
        if let Some(id) = self.asked_before(&new) {
            return Ok(Created { id });
        }
        if self.transfers.len() - self.over.len() >= MOST_OPEN {
            return Err(Refusal::Full(format!("{MOST_OPEN} transfers are under way: wait for some to end")));
        }
        if let Some(name) = &new.scheme
            && scheme(name).is_none()
        {
            let names: Vec<&str> = Scheme::NAMES.iter().map(|n| n.0).collect();
            return invalid(format!("there is no scheme {name:?}: use quickcast, {}", names.join(", ")));
        }
        let mut t = Transfer::new(self.numbers.transfer, new, now)?;
        for name in t.receivers.iter().map(|r| &r.site).chain([&t.from]) {
            self.known(name)?;
        }
        t.patience = now.ms + self.settings.install_timeout;
        let id = t.id;
        self.numbers.transfer += 1;
        if let Some(request) = t.request {
            self.requests.insert(request, id);
        }
        self.transfers.insert(id, t);
        self.wanting.insert(id);
        self.save(id);
        self.pump(now);
        Ok(Created { id })
    }

    /// The transfer that was made when this was asked for the first time, and the answer did not arrive.
    fn asked_before(&self, new: &NewTransfer) -> Option<u64> {
        let t = self.transfers.get(self.requests.get(&new.request?)?)?;
        let same = t.request == new.request
            && new.from.as_ref() == Some(&t.from)
            && (t.name.as_str(), t.bytes) == (new.name.as_str(), new.bytes);
        same.then_some(t.id)
    }

    /// Whether a site was ever heard of: one that was not is more likely a slip of the pen than late.
    fn known(&self, name: &str) -> Result<(), Refusal> {
        let expected = self.settings.expected.iter().flat_map(|e| e.keys());
        if self.sites.contains_key(name) || expected.clone().any(|(a, b)| a == name || b == name) {
            return Ok(());
        }
        let known = self.sites.keys().map(String::as_str);
        let meant = valecast_config::nearest(name, known.clone());
        let help = match meant {
            Some(meant) => format!("did you mean {meant}?"),
            None => {
                let names: Vec<&str> = known.take(20).collect();
                match names.is_empty() {
                    true => "no site has reported yet".to_owned(),
                    false => format!("there are {}", names.join(", ")),
                }
            }
        };
        invalid(format!("there is no site {:?}: {help}", shown(name)))
    }

    /// A sender says how far it is.
    ///
    /// # Errors
    /// When there is no such transfer, another sender speaks for it, or what it says makes no sense.
    pub fn progress(&mut self, now: Now, id: u64, progress: &Progress) -> Result<(), Refusal> {
        let t = self.transfer(id)?;
        if t.state.is_over() {
            return Ok(());
        }
        if t.state != TransferState::Stalled
            && t.session.is_some_and(|s| s != progress.session)
            && now.ms < t.heard + TAKE_OVER
        {
            let message = format!("another sender is at transfer {id}: stop it, or wait until it is silent");
            return Err(Refusal::Conflict(message));
        }
        for p in &progress.trees {
            let receivers =
                self.trees.get(&p.tree).filter(|tree| tree.transfer == id).map(|t| t.receivers.len());
            if let Some(n) = receivers.filter(|n| *n != p.receivers.len()) {
                let message =
                    format!("tree {} has {n} receivers, the report has {}", p.tree, p.receivers.len());
                return invalid(message);
            }
        }
        if let Some(name) = progress.verified.iter().find(|v| !t.receivers.iter().any(|r| r.site == **v)) {
            return invalid(format!(
                "`verified` names {:?}, which is no receiver of transfer {id}",
                shown(name)
            ));
        }
        let Some(t) = self.transfers.get_mut(&id) else { return Ok(()) };
        t.session = Some(progress.session);
        t.heard = now.ms;
        let was_quiet = t.quiet.take().is_some();
        t.quiet_ms = None;
        if was_quiet {
            self.save(id);
        }
        let Some(t) = self.transfers.get_mut(&id) else { return Ok(()) };
        if t.state == TransferState::Stalled && progress.ended.is_none() {
            (t.state, t.why, t.failures) = (TransferState::Planning, None, 0);
            (t.retry, t.blocked) = (now.ms, None);
            t.patience = now.ms + self.settings.install_timeout;
            self.wanting.insert(id);
            self.save(id);
        }
        let verified = self.take_in(now, id, progress);
        match &progress.ended {
            None if verified => self.save(id),
            None => {}
            Some(Ended::Complete) => {
                if verified {
                    self.save(id);
                }
                self.complete(id, now);
            }
            Some(Ended::Enough) => self.finish(id, now),
            Some(Ended::Paused) => self.stall(id, "its sender was told to stop; it can be resumed".into()),
            Some(Ended::Failed(why)) => {
                self.end(id, TransferState::Partial, Some(format!("the sender: {}", shown(why))), now);
            }
        }
        self.pump(now);
        // Others need not wait for the next tick to get what this one leaves them.
        self.share_out(now);
        Ok(())
    }

    /// Takes in how far trees and receivers are; whether somebody new has it all, or failed.
    fn take_in(&mut self, now: Now, id: u64, progress: &Progress) -> bool {
        let Some(t) = self.transfers.get_mut(&id) else { return false };
        let mut news = false;
        for p in &progress.trees {
            let Some(tree) = self.trees.get_mut(&p.tree).filter(|tree| tree.transfer == id) else { continue };
            let was = std::mem::replace(&mut tree.residual, p.residual.min(t.bytes));
            // Who has nothing left to send makes room at once.
            self.rates_due |= (was == 0) != (tree.residual == 0);
            for (site, r) in tree.receivers.iter().zip(&p.receivers) {
                let Some(own) = t.receivers.iter_mut().find(|o| o.site == *site) else { continue };
                own.rate = r.rate;
                if own.state == ReceiverState::Verified {
                    continue;
                }
                own.have = r.have.min(t.bytes);
                let why = r.why.as_deref().map(shown);
                if own.state != r.state || own.why != why {
                    let ends = |s| matches!(s, ReceiverState::Verified | ReceiverState::Failed);
                    news |= ends(r.state) || ends(own.state);
                    (own.state, own.why) = (r.state, why);
                    self.changes.transfers.insert(id);
                    t.version += 1;
                }
                if own.state == ReceiverState::Verified {
                    own.have = t.bytes;
                    own.seconds = Some((i128::from(now.ms) - t.created).max(0) as f64 / 1e3);
                }
            }
        }
        // Of trees that were taken away before this was heard, the names are all that is left.
        for site in &progress.verified {
            let open = |r: &&mut ReceiverStatus| r.site == *site && r.state != ReceiverState::Verified;
            let Some(own) = t.receivers.iter_mut().find(open) else { continue };
            (own.state, own.why, own.have) = (ReceiverState::Verified, None, t.bytes);
            own.seconds = Some((i128::from(now.ms) - t.created).max(0) as f64 / 1e3);
            self.changes.transfers.insert(id);
            t.version += 1;
            news = true;
        }
        news
    }

    /// A sender has nothing left to do.
    pub(super) fn complete(&mut self, id: u64, now: Now) {
        let Some(t) = self.transfers.get(&id) else { return };
        // Who waits for its site, and has no tree yet, is still to get it: it is not over before somebody says so.
        if self.unserved(t).is_empty() {
            self.finish(id, now);
        }
    }

    /// A transfer is over, whoever has it.
    fn finish(&mut self, id: u64, now: Now) {
        let Some(t) = self.transfers.get(&id) else { return };
        if t.all_verified() {
            self.end(id, TransferState::Done, None, now);
            return;
        }
        let why = t.who_lacks_it();
        self.end(id, TransferState::Partial, Some(why), now);
    }

    /// Somebody wants a transfer no more.
    ///
    /// # Errors
    /// When there is none of this number, or it is over.
    pub fn cancel(&mut self, now: Now, id: u64) -> Result<(), Refusal> {
        let t = self.transfer(id)?;
        if t.state == TransferState::Cancelled {
            return Ok(());
        }
        if t.state.is_over() {
            return Err(Refusal::Conflict(format!("transfer {id} is over already")));
        }
        self.end(id, TransferState::Cancelled, Some("it was cancelled".into()), now);
        self.pump(now);
        Ok(())
    }
}
