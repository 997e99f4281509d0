//! WS-Eventing: subscriptions, and the events that the changes of the view make. Without I/O: whoever runs this feeds
//! changes in, is told whom there is news for, fetches their messages and says what became of them.
//!
//! Nothing is queued for a subscription. The recent changes stand in one bounded log, each subscription has a place in
//! it, and what happened behind that place waits for it: a sink that is slow or dead costs a few numbers. When the log
//! is full, its oldest change goes, and whoever had not been told of it is told how many events were dropped.

mod facts;
mod interest;
mod log;
mod message;
mod operations;
mod page;
mod places;
mod position;
mod record;
mod render;
mod renderings;
mod seek;
mod subscription;
mod table;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use uuid::Uuid;

use crate::auth::Role;
use crate::job::Timestamp;
use crate::provider::Permissions;
use crate::replication::{Transition, View};
use crate::soap::Fault;
use crate::wscim::Resource;
use crate::wsman::eventing::{DeliveryMode, SourceCertificate};
use crate::wsman::fault;

use super::{Answer, Endpoint};

pub use message::{Finished, Next, Outgoing, Standing};
pub use position::{NoPosition, Position};
pub use record::{Owner, Progress, Record};

use interest::Interest;
use message::NOT_ANY_MORE;
use operations::UNKNOWN;
use renderings::Renderings;
use table::Table;

/// Limits of eventing.
#[derive(Clone, Debug)]
pub struct EventLimits {
    /// Recent changes that are kept for those who have not been told of them.
    pub changes_max: usize,
    /// Subscriptions altogether.
    pub total_max: usize,
    /// Subscriptions of one principal.
    pub per_principal_max: usize,
    /// How long a subscription lives at most, in milliseconds, without being renewed.
    pub life_ms_max: u64,
    /// The largest message to a sink, in octets, when its subscriber names none.
    pub envelope_octets_max: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self {
            changes_max: 8_192,
            total_max: 16_384,
            per_principal_max: 4_096,
            life_ms_max: 7 * 24 * 3_600_000,
            envelope_octets_max: 512_000,
        }
    }
}

/// All subscriptions of an endpoint.
#[derive(Debug)]
pub(super) struct Events {
    limits: EventLimits,
    pub(super) renderings: Renderings,
    table: Mutex<Table>,
    /// What sinks can be shown.
    certificate: ArcSwapOption<SourceCertificate>,
}

impl Events {
    pub(super) fn new(limits: EventLimits) -> Self {
        let table = Mutex::new(Table::new(limits.changes_max));
        let certificate = ArcSwapOption::empty();
        Self { limits, renderings: Renderings::default(), table, certificate }
    }

    /// What a holder that panicked was at is one subscription's row; the others go on.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom there is something to do for.
#[derive(Debug, Default)]
pub struct Wakes {
    /// Pulled subscriptions with news: whoever waits in a Pull is to look again.
    pub pulls: Vec<Uuid>,
    /// Pushed subscriptions with a message to be sent: each is to be sent by one, who fetches messages until there is
    /// none left.
    pub sends: Vec<Uuid>,
    /// Subscriptions that ended.
    pub ended: Vec<Ended>,
}

/// A subscription that ended without its subscriber's doing.
#[derive(Debug)]
pub struct Ended {
    /// What it was.
    pub record: Arc<Record>,
    /// Why, for its subscriber.
    pub reason: &'static str,
}

/// What is to be durable before an answer goes out.
#[derive(Debug)]
pub enum SubscriptionChange {
    /// Store a new subscription of an owner who may see this much. Its sink is to be one that may be sent to.
    Open(Arc<Record>, Progress, Permissions),
    /// Store its record anew, if it is still there.
    Renew(Arc<Record>),
    /// Delete it.
    Close(Arc<Record>),
}

/// A change of a subscription with the answers to it.
#[derive(Debug)]
pub struct Durable {
    /// What is to be stored.
    pub change: SubscriptionChange,
    /// When it is durable.
    pub done: Answer,
    /// When it could not be stored.
    pub failed: Answer,
    /// When the sink is none that may be sent to, or what is to be renewed has ended.
    pub unusable: Answer,
}

impl Endpoint {
    /// Says which certificate sinks can be shown from now on. Subscriptions that want what there is not are refused;
    /// what waited for one is tried again.
    pub fn set_source_certificate(&self, certificate: Option<SourceCertificate>) {
        self.events.certificate.store(certificate.map(Arc::new));
        self.events.table().hope();
    }

    /// Begins eventing: what the view holds is the past.
    pub fn begin_events(&self, view: &View, now: Timestamp) {
        self.events.renderings.begin(view);
        self.events.table().begin(view, now);
    }

    /// Takes in a subscription that was stored, of an owner who may see this much; the error says why it cannot go on.
    pub fn restore_subscription(
        &self,
        record: Arc<Record>,
        progress: Progress,
        permissions: Option<Permissions>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let interest = self.interest(&record)?;
        self.events.table().insert(self, record, (interest, permissions), progress, now);
        Ok(())
    }

    fn interest(&self, record: &Record) -> Result<Interest, Fault> {
        let resource = Resource::resolve(&record.resource_uri, &record.selectors(), self.schema)?;
        Interest::resolve(self, resource, record.filter.as_deref())
    }

    /// Lets a change that is durable take effect.
    pub fn apply_subscription(&self, change: &SubscriptionChange, now: Timestamp) -> Result<(), Fault> {
        let mut table = self.events.table();
        match change {
            SubscriptionChange::Open(record, progress, permissions) => {
                let interest = self.interest(record)?;
                table.insert(self, Arc::clone(record), (interest, Some(permissions.clone())), *progress, now);
            }
            SubscriptionChange::Renew(record) => {
                if !table.replace(Arc::clone(record)) {
                    return Err(fault::unable_to_renew(UNKNOWN));
                }
            }
            SubscriptionChange::Close(record) => {
                table.remove(record.id);
            }
        }
        Ok(())
    }

    /// Takes in what changed, in order; and up to which revision that is all, with what was taken in before.
    pub fn record_changes(&self, changes: (Vec<Transition>, u64), now: Timestamp) -> Wakes {
        self.events.table().record(self, changes, now)
    }

    /// Looks at the live progress of jobs, which makes no change of its own. To be called a few times a second.
    pub fn record_progress(&self, view: &View, now: Timestamp) -> Wakes {
        self.events.table().progress(self, view, now)
    }

    /// What is due by now: batches, signs of life, further tries, ends.
    pub fn due_events(&self, now: Timestamp) -> Wakes {
        self.events.table().due(now)
    }

    /// When something is due next.
    pub fn next_due_event(&self) -> Option<Timestamp> {
        self.events.table().next_due()
    }

    /// Ends the subscriptions whose owners have gone, or may less than they need. To be called when the users changed.
    pub fn end_where_owners_changed(&self, standing: &dyn Fn(&Owner) -> Standing) -> Vec<Ended> {
        let records = self.subscription_records();
        // Asked without the lock, and once each.
        let mut standings: HashMap<&Owner, Standing> = HashMap::new();
        let mut ends = Vec::new();
        for record in &records {
            let standing = standings.entry(&record.owner).or_insert_with_key(|owner| standing(owner));
            let goes = match standing {
                Standing::May(role, _) => record.delivery.mode != DeliveryMode::Pull && *role < Role::Operator,
                Standing::Gone => true,
                Standing::Unknown => false,
            };
            ends.extend(goes.then_some(record.id));
        }
        let mut table = self.events.table();
        let gone = ends.into_iter().filter_map(|id| table.remove(id));
        gone.map(|record| Ended { record, reason: NOT_ANY_MORE }).collect()
    }

    /// Whether there is news for a subscription; none when there is no such subscription any more.
    pub fn has_news(&self, id: Uuid) -> Option<bool> {
        self.events.table().get(id).map(subscription::Subscription::has_news)
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&self) -> usize {
        self.events.table().len()
    }

    /// The progress that is to be stored: of those subscriptions that moved since the last call, now and then of those
    /// that passed over much, and for the end of the server of all.
    pub fn moved_subscriptions(&self, all: bool, now: Timestamp) -> Vec<(Uuid, Progress)> {
        self.events.table().moved(all, now)
    }

    /// Takes back that this could be stored: it is told again with the next call.
    pub fn progress_not_stored(&self, moved: &[(Uuid, Progress)]) {
        self.events.table().not_stored(moved.iter().map(|(id, _)| *id));
    }

    /// Every subscription.
    pub fn subscription_records(&self) -> Vec<Arc<Record>> {
        self.events.table().records()
    }
}
