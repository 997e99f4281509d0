//! What waits for each subscription: found behind its place, and counted when the log loses it.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use crate::endpoint::Endpoint;
use crate::job::Timestamp;
use crate::provider::Permissions;

use super::Position;
use super::interest::Interest;
use super::log::Entry;
use super::render::Rendered;
use super::subscription::Subscription;
use super::table::Table;

/// Changes that are looked at to find the first that waits.
const LOOKED_MAX: usize = 256;
/// Changes that are rendered to know whether a batch is full.
const RENDERED_MAX: usize = 32;

impl Table {
    /// Finds what waits for a subscription behind what it was delivered, as far as a few looks go: what they leave open
    /// counts as waiting, and whoever takes it looks on from there.
    pub(super) fn seek(&mut self, endpoint: &Endpoint, id: Uuid, now: Timestamp) {
        let Some(subscription) = self.get(id) else { return };
        let found = if subscription.fills_up() {
            self.count(endpoint, subscription)
        } else {
            Found { first: self.first(endpoint, subscription), pending: 1, vague: true }
        };
        let Some(subscription) = self.get_mut(id) else { return };
        let old = std::mem::replace(&mut subscription.first, found.first);
        (subscription.pending, subscription.vague) = (found.pending, found.vague);
        subscription.since = now;
        if let Some(old) = old {
            self.waiting.remove(&(old, id));
        }
        if let Some(first) = found.first {
            self.waiting.insert((first, id));
        }
        self.schedule(id);
    }

    /// Where the first change may be that waits for a subscription.
    fn first(&self, endpoint: &Endpoint, subscription: &Subscription) -> Option<Position> {
        let limited = subscription.permissions.as_ref().is_none_or(Permissions::limit_vms);
        let from = (subscription.delivered, limited);
        let chosen = self.choose(endpoint, &subscription.interest, from, (LOOKED_MAX, 1));
        match chosen.entries.first() {
            Some(entry) => Some(entry.position),
            None => chosen.more.then_some(chosen.until),
        }
    }

    /// Counts what waits, up to a full batch.
    fn count(&self, endpoint: &Endpoint, subscription: &Subscription) -> Found {
        let renderings = &endpoint.events.renderings;
        let (delivered, enough) = (subscription.delivered, subscription.elements_max());
        let chosen = self.choose(endpoint, &subscription.interest, (delivered, false), (LOOKED_MAX, RENDERED_MAX));
        let mut found = Found { first: None, pending: 0, vague: chosen.more };
        for entry in &chosen.entries {
            let rendered = renderings.of(endpoint, entry);
            let wanted = wanted(endpoint, &subscription.interest, (entry, &rendered), None);
            let count = wanted.filter(|position| delivered < *position).count();
            if 0 < count {
                found.first = found.first.or(Some(entry.position));
                found.pending = found.pending.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
            }
            if enough <= found.pending {
                break;
            }
        }
        if chosen.more {
            found.first = found.first.or(Some(chosen.until));
        }
        found
    }

    /// The oldest change is gone: whoever was still to be told of it is told that it was dropped. What its owner may
    /// not see does not count: with a filter made for it, the number would tell of it.
    //= EVT-25
    pub(super) fn drop_from(&mut self, endpoint: &Endpoint, gone: &Arc<Entry>, news: &mut BTreeSet<Uuid>) {
        let end = gone.position.end();
        let late: Vec<(Position, Uuid)> = self.waiting.range(..=(end, Uuid::max())).copied().collect();
        let mut seen = Seen { endpoint, gone, under: Vec::new() };
        for (first, id) in late {
            self.waiting.remove(&(first, id));
            let Some(subscription) = self.subscriptions.get_mut(&id) else { continue };
            seen.take_from(subscription);
            subscription.delivered = subscription.delivered.max(end);
            let Some(subscription) = self.subscriptions.get(&id) else { continue };
            let next = self.first(endpoint, subscription);
            if let Some(next) = next {
                self.waiting.insert((next, id));
            }
            if let Some(subscription) = self.subscriptions.get_mut(&id) {
                subscription.first = next;
            }
            news.insert(id);
        }
    }
}

/// What there is for a subscription.
struct Found {
    first: Option<Position>,
    pending: u32,
    vague: bool,
}

/// The places of what is wanted of a change, as far as these permissions go.
fn wanted<'w>(
    endpoint: &'w Endpoint,
    interest: &'w Interest,
    (entry, rendered): (&'w Entry, &'w Rendered),
    permissions: Option<&'w Permissions>,
) -> impl Iterator<Item = Position> + 'w {
    let host = endpoint.events.renderings.host();
    let wanted = rendered.0.iter().filter(move |change| {
        interest.wants(endpoint, entry, change, host)
            && permissions.is_none_or(|permissions| Interest::admits(endpoint, permissions, change.class))
    });
    wanted.map(|change| Position { item: change.item, ..entry.position })
}

/// A change that is gone, as it was seen.
struct Seen<'s> {
    endpoint: &'s Endpoint,
    gone: &'s Arc<Entry>,
    /// Once for all who may see as much.
    under: Vec<(Permissions, Arc<Rendered>)>,
}

impl Seen<'_> {
    /// Counts what a subscription loses.
    fn take_from(&mut self, subscription: &mut Subscription) {
        let limited = subscription.permissions.as_ref().is_none_or(Permissions::limit_vms);
        if !self.gone.may_be_wanted(self.endpoint.schema, &subscription.interest, limited) {
            return;
        }
        let (endpoint, gone) = (self.endpoint, self.gone);
        let (delivered, interest) = (subscription.delivered, Arc::clone(&subscription.interest));
        let all = self.rendered(&Permissions::unlimited());
        let passed = wanted(endpoint, &interest, (gone, &all), None).filter(|at| delivered < *at).count();
        subscription.pending = subscription.pending.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
        let Some(permissions) = subscription.permissions.clone() else {
            // How much of it was for its owner nobody can tell; that there may have been something is told once.
            if 0 < passed && subscription.dropped == subscription.told {
                subscription.dropped = subscription.dropped.saturating_add(1);
            }
            return;
        };
        let seen = self.rendered(&permissions);
        for at in wanted(endpoint, &interest, (gone, &seen), Some(&permissions)).filter(|at| delivered < *at) {
            if at <= subscription.taken {
                subscription.risked.push(at);
            } else {
                subscription.dropped = subscription.dropped.saturating_add(1);
            }
        }
    }

    fn rendered(&mut self, permissions: &Permissions) -> Arc<Rendered> {
        let same = |(of, _): &&(Permissions, Arc<Rendered>)| of.is_same(permissions);
        if let Some((_, rendered)) = self.under.iter().find(same) {
            return Arc::clone(rendered);
        }
        let rendered = self.endpoint.events.renderings.under(self.endpoint, self.gone, permissions);
        self.under.push((permissions.clone(), Arc::clone(&rendered)));
        rendered
    }
}
