//! Renderings of changes, shared by all who ask for the same one. Made without the lock of the table.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::endpoint::Endpoint;
use crate::provider::Permissions;
use crate::replication::View;

use super::log::Entry;
use super::render::{Rendered, render};

/// Renderings that are kept although nobody uses them at the moment.
const RENDERED_MAX: usize = 64;

/// Makes them, and keeps the last ones.
#[derive(Debug, Default)]
pub(crate) struct Renderings {
    recent: Mutex<VecDeque<Arc<Rendered>>>,
    /// An empty view of this host.
    template: OnceLock<View>,
    /// How many were made.
    made: AtomicU64,
    /// How many changes were looked at in the log, rendered or not.
    looked: AtomicU64,
}

impl Renderings {
    /// Begins with a view, of which only the name and the backends matter.
    pub(crate) fn begin(&self, view: &View) {
        let _begun_before = self.template.set(view.emptied());
    }

    fn template(&self) -> &View {
        self.template.get_or_init(View::default)
    }

    /// The name of this host.
    pub(crate) fn host(&self) -> &str {
        self.template().host_name()
    }

    /// What everybody may see of a change.
    pub(crate) fn of(&self, endpoint: &Endpoint, entry: &Entry) -> Arc<Rendered> {
        let mut fresh = false;
        let rendered = entry.rendered(endpoint.schema, || {
            fresh = true;
            self.made.fetch_add(1, Ordering::Relaxed);
            render(endpoint, entry, self.template(), &Permissions::unlimited())
        });
        if fresh {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.push_back(Arc::clone(&rendered));
            if RENDERED_MAX < recent.len() {
                recent.pop_front();
            }
        }
        rendered
    }

    /// What somebody with these permissions may see of it.
    pub(crate) fn under(&self, endpoint: &Endpoint, entry: &Entry, permissions: &Permissions) -> Arc<Rendered> {
        if !permissions.limit_vms() {
            return self.of(endpoint, entry);
        }
        self.made.fetch_add(1, Ordering::Relaxed);
        Arc::new(render(endpoint, entry, self.template(), permissions))
    }

    /// Notes that so many changes were looked at.
    pub(crate) fn looked(&self, changes: usize) {
        self.looked.fetch_add(u64::try_from(changes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many changes were looked at so far, and how many renderings were made.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.looked.load(Ordering::Relaxed), self.made.load(Ordering::Relaxed))
    }
}
