//! How far subscriptions have come, as it is stored: soon after each delivery, and now and then of those that the log
//! went on without, so that a restart does not begin with what was passed over long ago.

use std::collections::HashSet;

use uuid::Uuid;

use crate::job::Timestamp;

use super::record::Progress;
use super::subscription::Subscription;
use super::table::Table;

/// All places are looked at when an eighth of the log is new, but not more often than this.
const SWEEP_MS: u64 = 30_000;

/// What is to be stored.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Those that were delivered something.
    moved: HashSet<Uuid>,
    /// How many changes the log had taken in when all places were looked at last, and from when on that may be again.
    swept: u64,
    next_sweep: Timestamp,
}

impl Places {
    /// Forgets a subscription.
    pub(super) fn forget(&mut self, id: Uuid) {
        self.moved.remove(&id);
    }
}

impl Table {
    /// Notes that a subscription was delivered something.
    pub(super) fn note_moved(&mut self, id: Uuid) {
        self.places.moved.insert(id);
    }

    /// The progress of those that moved since the last call, now and then also of those that passed over much, and at
    /// the end of all. Each counts as stored from then on.
    pub(crate) fn moved(&mut self, all: bool, now: Timestamp) -> Vec<(Uuid, Progress)> {
        let moved = std::mem::take(&mut self.places.moved);
        let (end, taken_in) = (self.log.last(), self.log.taken_in());
        let much = u64::try_from(self.log.max().div_ceil(8)).unwrap_or(u64::MAX);
        let sweeps = all || (much <= taken_in.saturating_sub(self.places.swept) && self.places.next_sweep <= now);
        let (mut changed, log, places) = (Vec::new(), &self.log, &mut self.places);
        let mut note = |id: Uuid, subscription: &mut Subscription| {
            let progress = subscription.progress(end);
            let position = log.safe(progress.position);
            if position < progress.position {
                // It has come further than a restart would know it to be. In a moment it is looked at again.
                places.moved.insert(id);
            }
            let progress = Progress { position, ..progress };
            if subscription.stored != Some(progress) {
                subscription.stored = Some(progress);
                changed.push((id, progress));
            }
        };
        if sweeps {
            self.subscriptions.iter_mut().for_each(|(id, subscription)| note(*id, subscription));
            (self.places.swept, self.places.next_sweep) = (taken_in, now.plus_ms(SWEEP_MS));
        } else {
            for id in moved {
                if let Some(subscription) = self.subscriptions.get_mut(&id) {
                    note(id, subscription);
                }
            }
        }
        changed
    }

    /// Takes back that their progress counts as stored.
    pub(crate) fn not_stored(&mut self, ids: impl Iterator<Item = Uuid>) {
        for id in ids {
            if let Some(subscription) = self.subscriptions.get_mut(&id) {
                subscription.stored = None;
                self.places.moved.insert(id);
            }
        }
    }
}
