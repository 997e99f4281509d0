//! Eventing at work: feeds the endpoint with changes, keeps its subscriptions in the store, and sends its messages.
//!
//! One task feeds, keeps the timers and stores how far subscriptions have come. A subscription has a task of its own
//! only while a message of it is under way.

mod sinks;
mod stored;
mod tls;
mod witness;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::auth::{Role, Users, UsersUnusable};
use crate::config::EventingConfig;
use crate::endpoint::{
    Answer, Durable, Ended, Endpoint, Finished, Next, Outcome, Owner, Record, Standing, SubscriptionChange, Wakes,
};
use crate::job::Message;
use crate::provider::{Permissions, Rules};
use crate::service::Engine;
use crate::store::{Commit, Store, TxnError};
use crate::wsman::eventing::EndStatus;

use super::{StartError, random_id};
use sinks::Sinks;

pub use tls::{SinkTlsError, check_sink_tls};

/// How often live progress is looked at, and how exact the timers are.
const TICK: Duration = Duration::from_millis(100);
const PROGRESS_TICKS: u32 = 5;
/// How often the progress of subscriptions is stored.
const STORE_TICKS: u32 = 10;
/// How often idle connections are looked at.
const SWEEP_TICKS: u32 = 100;

/// Why a stored subscription ends with the start of a server that would refuse it.
const UNTELLABLE: &str = "this server does not tell such events any more";

/// What eventing is made of.
pub(super) struct Parts<'p> {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) engine: Arc<Engine>,
    pub(super) store: Arc<dyn Store>,
    pub(super) users: Arc<Users>,
    pub(super) rules: Arc<Rules>,
    pub(super) config: &'p EventingConfig,
}

/// Eventing of one server.
pub(super) struct Eventing {
    endpoint: Arc<Endpoint>,
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    users: Arc<Users>,
    rules: Arc<Rules>,
    sinks: Sinks,
    /// Pulls that wait, by subscription.
    waiters: Mutex<HashMap<Uuid, Arc<Waiting>>>,
    stop: watch::Sender<bool>,
    /// The generation of the users by which owners were looked at last.
    generation: AtomicU64,
    feeding: Mutex<()>,
    /// Held by whoever stores how far subscriptions have come: an earlier state is never written over a later one.
    storing: Arc<tokio::sync::Mutex<()>>,
}

impl Eventing {
    /// Takes up the stored subscriptions, and starts to feed and to deliver. Reads the store, and blocks for it.
    pub(super) fn start(parts: Parts<'_>) -> Result<Arc<Self>, StartError> {
        let Parts { endpoint, engine, store, users, rules, config } = parts;
        let eventing = Arc::new(Self {
            sinks: Sinks::new(config)?,
            waiters: Mutex::default(),
            stop: watch::channel(false).0,
            generation: AtomicU64::new(0),
            feeding: Mutex::default(),
            storing: Arc::default(),
            endpoint,
            engine,
            store,
            users,
            rules,
        });
        eventing.endpoint.set_source_certificate(eventing.sinks.tls().certificate());
        let view = eventing.engine.keep_transitions();
        let now = eventing.engine.now();
        eventing.endpoint.begin_events(&view, now);
        // Nobody has subscribed yet; it says what is still to come that the view ought to have.
        let _nobody = eventing.feed();
        let contents = stored::load(&*eventing.store)?;
        for (key, reason) in contents.damaged {
            tracing::error!(key, reason, "a stored subscription cannot be read; it is left as it is");
        }
        // Handed in before anybody is served, so that nothing newer is written over; nobody waits for it.
        let mut put_right: Vec<(Uuid, Commit)> = Vec::new();
        put_right.extend(contents.orphans.into_iter().map(|id| (id, eventing.store.commit(stored::gone(id)))));
        let mut untellable = Vec::new();
        for (record, progress) in contents.records {
            let id = record.id;
            let (record, changed) = eventing.with_account(record);
            if changed {
                let change = SubscriptionChange::Renew(Arc::new(record.clone()));
                put_right.push((id, eventing.store.commit(stored::txn(&change))));
            }
            let permissions = match eventing.standing(&record.owner) {
                Standing::May(_, permissions) => Some(permissions),
                Standing::Gone | Standing::Unknown => None,
            };
            let record = Arc::new(record);
            if let Err(fault) = eventing.endpoint.restore_subscription(Arc::clone(&record), progress, permissions, now)
            {
                tracing::warn!(subscription = %id, reason = %fault.reason, "a stored subscription cannot go on");
                untellable.push(Ended { record, reason: UNTELLABLE });
            }
        }
        eventing.act(Wakes { ended: untellable, ..Wakes::default() });
        tokio::spawn(async move {
            for (id, commit) in put_right {
                if let Err(error) = commit.await {
                    tracing::warn!(subscription = %id, %error, "a stored subscription could not be put right");
                }
            }
        });
        tokio::spawn(Arc::clone(&eventing).run());
        Ok(eventing)
    }

    /// A record with its owner's account. What earlier servers stored has none: it gets that of now.
    fn with_account(&self, mut record: Record) -> (Record, bool) {
        let owner = &mut record.owner;
        if !owner.local && owner.account.is_none() {
            owner.account = self.users.account(&owner.name, Instant::now()).ok().flatten();
            let known = owner.account.is_some();
            return (record, known);
        }
        (record, false)
    }

    /// Reads the certificate for sinks and the authorities that vouch for them again, for the connections from now on.
    /// What cannot be used is told in the log, and what is in use stays.
    pub(super) fn reload_certificate(&self) {
        match self.sinks.tls().reload() {
            Ok(()) => {
                let certificate = self.sinks.tls().certificate();
                if let Some(certificate) = &certificate {
                    let (message_id, sha1) = (Message::SINK_CERTIFICATE_RELOADED.id, certificate.own);
                    tracing::info!(message_id, %sha1, "the certificate for event sinks was read again");
                }
                self.endpoint.set_source_certificate(certificate);
            }
            Err(error) => {
                let message_id = Message::SINK_CERTIFICATE_KEPT.id;
                tracing::error!(message_id, %error, "the certificate for event sinks in use stays");
            }
        }
    }

    async fn run(self: Arc<Self>) {
        let mut changes = self.engine.changes();
        let mut stop = self.stop.subscribe();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = 0_u32;
        loop {
            tokio::select! {
                news = changes.changed() => if news.is_err() { return },
                _ = ticks.tick() => {
                    count = count.wrapping_add(1);
                    self.tick(count);
                }
                _ = stop.changed() => return,
            }
            self.act(self.feed());
        }
    }

    /// Takes in what changed. One at a time, so that what is taken out of the view's hands first is in the log first.
    fn feed(&self) -> Wakes {
        let _alone = self.feeding.lock().unwrap_or_else(PoisonError::into_inner);
        self.endpoint.record_changes(self.engine.take_transitions(), self.engine.now())
    }

    fn tick(self: &Arc<Self>, count: u32) {
        let now = self.engine.now();
        self.act(self.endpoint.due_events(now));
        if count.is_multiple_of(PROGRESS_TICKS) {
            let view = self.engine.view();
            self.act(self.endpoint.record_progress(&view, now));
        }
        if count.is_multiple_of(STORE_TICKS) {
            self.store_progress_aside();
            self.look_at_owners();
        }
        if count.is_multiple_of(SWEEP_TICKS) {
            self.sinks.sweep();
        }
    }

    /// Ends what belongs to nobody any more, when the users are others than at the last look.
    fn look_at_owners(self: &Arc<Self>) {
        let generation = self.users.generation(Instant::now());
        if self.generation.swap(generation, Ordering::Relaxed) != generation {
            let ended = self.endpoint.end_where_owners_changed(&|owner| self.standing(owner));
            self.act(Wakes { ended, ..Wakes::default() });
        }
    }

    /// Does what there is to do for those who are named.
    fn act(self: &Arc<Self>, wakes: Wakes) {
        for id in wakes.pulls {
            self.wake(id);
        }
        for id in wakes.sends {
            tokio::spawn(Arc::clone(self).send(id));
        }
        for ended in wakes.ended {
            tokio::spawn(Arc::clone(self).end(ended, EndStatus::SourceCanceling));
        }
    }

    /// Sends the messages of one subscription until there is none left.
    async fn send(self: Arc<Self>, id: Uuid) {
        // The turn comes first: a sink that stalls holds tasks, but no messages.
        while let Some(record) = self.endpoint.subscription_record(id) {
            let turn = self.sinks.turn(&record).await;
            let standing = |owner: &Owner| self.standing(owner);
            match self.endpoint.next_message(id, &standing, random_id(), self.engine.now()) {
                Next::Nothing => return,
                Next::More => tokio::task::yield_now().await,
                Next::Ended(ended) => return self.end(ended, EndStatus::SourceCanceling).await,
                Next::Send(mut outgoing) => {
                    let finished = self.sinks.deliver(&mut outgoing, turn).await;
                    let ended = self.endpoint.finish_message(&outgoing, finished, self.engine.now());
                    match (finished, ended) {
                        (Finished::Delivered, None) => {}
                        (Finished::Refused, Some(ended)) => return self.forget(&ended).await,
                        (_, Some(ended)) => return self.end(ended, EndStatus::DeliveryFailure).await,
                        (_, None) => return,
                    }
                }
            }
        }
    }

    /// What the owner of a subscription may do now.
    fn standing(&self, owner: &Owner) -> Standing {
        if owner.local {
            return Standing::May(Role::Administrator, Permissions::unlimited());
        }
        match self.users.standing(&owner.name, owner.account, Instant::now()) {
            Ok(Some(role)) => Standing::May(role, self.rules.permissions_of(&owner.name, role)),
            Ok(None) => Standing::Gone,
            Err(UsersUnusable) => Standing::Unknown,
        }
    }

    /// A subscription has ended: it goes from the store, and its sink is told.
    async fn end(self: Arc<Self>, ended: Ended, status: EndStatus) {
        self.forget(&ended).await;
        let record = &ended.record;
        let Some(_pending) = self.sinks.may_tell() else {
            tracing::warn!(subscription = %record.id, "too many ends are being told; this one is not");
            return;
        };
        if let Some((sink, message)) = self.endpoint.end_message(record, status, ended.reason, random_id()) {
            self.sinks.tell(&sink.address, record, message).await;
        }
    }

    async fn forget(&self, ended: &Ended) {
        let id = ended.record.id;
        let (owner, reason) = (&ended.record.owner.name, ended.reason);
        tracing::info!(subscription = %id, owner, reason, "a subscription ended");
        if let Err(error) = self.store.commit(stored::gone(id)).await {
            tracing::error!(subscription = %id, %error, "a subscription that ended is still stored");
        }
        self.wake(id);
    }

    /// Makes a change of a subscription durable, and answers.
    pub(super) async fn carry_out(self: &Arc<Self>, durable: Durable) -> Answer {
        let Durable { change, done, failed, unusable } = durable;
        if let SubscriptionChange::Open(record, ..) = &change
            && !self.sinks.may_reach(record).await
        {
            return unusable;
        }
        let renews = matches!(change, SubscriptionChange::Renew(_));
        match self.store.commit(stored::txn(&change)).await {
            Ok(_) => {}
            Err(TxnError::Conflict { .. }) if renews => return unusable,
            Err(error) => return with_internal(failed, error.to_string()),
        }
        let now = self.engine.now();
        if let Err(fault) = self.endpoint.apply_subscription(&change, now) {
            if renews {
                // Whatever ended it deletes what was stored just now.
                return unusable;
            }
            return with_internal(failed, fault.reason.into_owned());
        }
        if let SubscriptionChange::Close(record) = &change {
            self.wake(record.id);
        }
        self.act(self.endpoint.due_events(now));
        done
    }

    /// Registers a Pull that waits for a subscription; earlier ones give way.
    pub(super) fn waiter(&self, id: Uuid) -> Waiter<'_> {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = Arc::clone(waiters.entry(id).or_default());
        let number = waiting.newest.fetch_add(1, Ordering::Relaxed) + 1;
        waiting.notify.notify_waiters();
        Waiter { eventing: self, id, waiting, number }
    }

    fn wake(&self, id: Uuid) {
        let waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = waiters.get(&id) {
            waiting.notify.notify_waiters();
        }
    }

    /// Stores what there is to store, unless that is under way. Nobody waits for it: changes go on to be fed.
    fn store_progress_aside(self: &Arc<Self>) {
        if let Ok(alone) = Arc::clone(&self.storing).try_lock_owned() {
            let eventing = Arc::clone(self);
            tokio::spawn(async move {
                eventing.store_progress(false).await;
                drop(alone);
            });
        }
    }

    async fn store_progress(&self, all: bool) {
        let moved = self.endpoint.moved_subscriptions(all, self.engine.now());
        for chunk in moved.chunks(stored::WRITTEN) {
            if let Err(error) = stored::store_progress(&*self.store, chunk).await {
                tracing::warn!(%error, "how far subscriptions have come could not be stored");
                self.endpoint.progress_not_stored(chunk);
            }
        }
    }

    /// Stops feeding, and stores how far every subscription has come. They go on with the next start.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        self.feed();
        let _alone = self.storing.lock().await;
        self.store_progress(true).await;
    }
}

/// The Pulls that wait for one subscription.
#[derive(Default)]
struct Waiting {
    notify: Notify,
    /// The number of the newest.
    newest: AtomicU64,
}

/// A Pull that waits. Whoever goes last takes the entry along, also when the client has gone.
pub(super) struct Waiter<'e> {
    eventing: &'e Eventing,
    id: Uuid,
    waiting: Arc<Waiting>,
    number: u64,
}

impl Waiter<'_> {
    /// Waits until there is news, the subscription has ended, or a newer Pull has come.
    pub(super) async fn news(&self) {
        let notified = self.waiting.notify.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        // What came before the wait began is news too.
        if self.eventing.endpoint.has_news(self.id) == Some(false) && !self.is_displaced() {
            notified.await;
        }
    }

    /// Whether a newer Pull has come.
    pub(super) fn is_displaced(&self) -> bool {
        self.number != self.waiting.newest.load(Ordering::Relaxed)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiters = self.eventing.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's and this one's.
        if Arc::strong_count(&self.waiting) <= 2 {
            waiters.remove(&self.id);
        }
    }
}

/// The answer of something that failed inside, with what it was for the log.
fn with_internal(mut answer: Answer, internal: String) -> Answer {
    if let Outcome::Fault { internal: told, .. } = &mut answer.journal.outcome {
        *told = Some(internal);
    }
    answer
}
