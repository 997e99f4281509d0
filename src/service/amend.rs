//! Changes of settings: one conditional transaction each, then the view.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::engine::Engine;
use super::record::{SERVICE_KEY, authorization_key, put, vm_key};
use crate::replication::{Amended, Amendment, Authorization, Change, Denied, ServiceSettings, View, Vm, amend};
use crate::store::{Cond, Op, Revision, Txn, TxnError};

/// How often a change is decided anew after somebody else changed the same record in between.
const ATTEMPTS_MAX: usize = 8;

impl Engine {
    /// Makes a change of settings durable. When this returns, the view shows it.
    pub async fn amend(self: &Arc<Self>, amendment: Amendment) -> Result<(), Denied> {
        let engine = Arc::clone(self);
        // A task of its own, as for a submission: what is durable gets into the view whoever waits for it.
        let amend = tokio::spawn(async move { engine.amend_durably(&amendment).await });
        amend.await.unwrap_or_else(|error| Err(failed(&error.to_string())))
    }

    async fn amend_durably(&self, amendment: &Amendment) -> Result<(), Denied> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(failed("the server is stopping"));
        }
        for _attempt in 0..ATTEMPTS_MAX {
            let view = self.view();
            let amended = amend(&view, amendment)?;
            let Some((txn, change)) = Self::transaction(amended) else { return Ok(()) };
            let coming = self.publisher.coming();
            match self.store.commit(txn).await {
                Ok(revision) => {
                    coming.publish(vec![change(revision)]);
                    return Ok(());
                }
                // Whoever was first publishes it in a moment.
                Err(TxnError::Conflict { .. }) => {
                    drop(coming);
                    self.wait_for_other(&view).await;
                }
                Err(TxnError::Store(error)) => return Err(failed(&error.to_string())),
            }
        }
        Err(Denied::Changed { what: "the record" })
    }

    /// The transaction, and the change of the view that follows it; nothing when all is as wanted.
    fn transaction(amended: Amended) -> Option<(Txn, Publish)> {
        let (key, present, op, publish): (String, u64, Op, Publish) = match amended {
            Amended::Nothing => return None,
            Amended::Vm(vm) => {
                let key = vm_key(vm.id);
                let (present, op) = (vm.revision, put(key.clone(), &*vm));
                let publish = move |at: Revision| Change::Vm(Arc::new(Vm { revision: at.0, ..*vm }));
                (key, present, op, Box::new(publish))
            }
            Amended::Service(settings) => {
                let (present, op) = (settings.revision, put(SERVICE_KEY.to_owned(), &*settings));
                let publish =
                    move |at: Revision| Change::Service(Arc::new(ServiceSettings { revision: at.0, ..*settings }));
                (SERVICE_KEY.to_owned(), present, op, Box::new(publish))
            }
            Amended::Authorization(entry) => {
                let key = authorization_key(entry.id());
                let (present, op) = (entry.revision, put(key.clone(), &*entry));
                let publish =
                    move |at: Revision| Change::Authorization(Arc::new(Authorization { revision: at.0, ..*entry }));
                (key, present, op, Box::new(publish))
            }
            Amended::Removed(entry) => {
                let key = authorization_key(entry.id());
                let op = Op::Delete(key.clone());
                let id = entry.id();
                let publish = move |at: Revision| Change::AuthorizationRemoved(id, at.0);
                (key, entry.revision, op, Box::new(publish))
            }
        };
        let condition = if present == 0 { Cond::Absent(key) } else { Cond::Revision(key, Revision(present)) };
        Some((Txn { when: vec![condition], then: vec![op] }, publish))
    }

    /// Waits until there is another view than this one, for a while.
    async fn wait_for_other(&self, old: &Arc<View>) {
        let limit = Duration::from_millis(self.settings.admission_limit_ms);
        let mut changes = self.changes();
        let newer = async {
            while Arc::ptr_eq(&self.view(), old) {
                // The sender lives as long as the engine.
                let _never_closed = changes.changed().await;
            }
        };
        let _late = tokio::time::timeout(limit, newer).await;
    }
}

/// The change of the view, once the revision of its transaction is known.
type Publish = Box<dyn FnOnce(Revision) -> Change + Send>;

fn failed(reason: &str) -> Denied {
    Denied::EngineFailed { reason: reason.to_owned() }
}
