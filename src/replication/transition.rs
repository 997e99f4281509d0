//! What a change did to the view: the objects before and after it. Events are made of these.

use std::sync::Arc;

use super::view::{Change, JobEntry, View};
use super::vm::{RecoveryPoint, Vm, VmId};

/// One change as it took effect.
#[derive(Clone, Debug)]
pub enum Transition {
    /// A virtual machine is new, changed or gone.
    Vm {
        /// As it was.
        before: Option<Arc<Vm>>,
        /// As it is.
        after: Option<Arc<Vm>>,
    },
    /// A job is new, changed or gone.
    Job {
        /// As it was.
        before: Option<Arc<JobEntry>>,
        /// As it is.
        after: Option<Arc<JobEntry>>,
        /// The virtual machine that it works on, while there is one.
        vm: Option<Arc<Vm>>,
    },
    /// A virtual machine has other recovery points.
    Points {
        /// The machine.
        vm: Arc<Vm>,
        /// Those it had.
        before: Vec<Arc<RecoveryPoint>>,
        /// Those it has.
        after: Vec<Arc<RecoveryPoint>>,
    },
}

impl Transition {
    /// Applies a change to the view, and says what it did; nothing when it did nothing that can be seen, as an older
    /// revision does.
    pub fn apply(view: &mut View, change: Change) -> Option<Self> {
        match change {
            Change::Vm(vm) => {
                let (id, before) = (vm.id, view.vm(vm.id).cloned());
                view.apply(Change::Vm(vm));
                Self::of_vm(before, view.vm(id).cloned())
            }
            Change::VmRemoved(id) => {
                let before = view.vm(id).cloned();
                view.apply(Change::VmRemoved(id));
                Self::of_vm(before, None)
            }
            Change::Job(entry) => {
                let (id, before) = (entry.job.id, view.job(entry.job.id).cloned());
                view.apply(Change::Job(entry));
                Self::of_job(before, view.job(id).cloned(), view)
            }
            Change::JobRemoved(id) => {
                let before = view.job(id).cloned();
                view.apply(Change::JobRemoved(id));
                Self::of_job(before, None, view)
            }
            Change::Points(id, points) => {
                let before: Vec<_> = view.points_of(id).cloned().collect();
                view.apply(Change::Points(id, points));
                let after: Vec<_> = view.points_of(id).cloned().collect();
                if before == after {
                    return None;
                }
                view.vm(id).cloned().map(|vm| Self::Points { vm, before, after })
            }
            other => {
                view.apply(other);
                None
            }
        }
    }

    fn of_vm(before: Option<Arc<Vm>>, after: Option<Arc<Vm>>) -> Option<Self> {
        let same = match (&before, &after) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            (None, None) => true,
            _ => false,
        };
        (!same).then_some(Self::Vm { before, after })
    }

    fn of_job(before: Option<Arc<JobEntry>>, after: Option<Arc<JobEntry>>, view: &View) -> Option<Self> {
        let same = match (&before, &after) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            (None, None) => true,
            _ => false,
        };
        let vm = after.as_ref().or(before.as_ref()).and_then(|entry| view.vm(entry.vm)).cloned();
        (!same).then_some(Self::Job { before, after, vm })
    }

    /// The store's revision of what it wrote; none of what was removed or never stored.
    pub fn revision(&self) -> Option<u64> {
        match self {
            Self::Vm { after, .. } => after.as_ref().map(|vm| vm.revision),
            Self::Job { after, .. } => after.as_ref().map(|entry| entry.revision),
            Self::Points { .. } => None,
        }
    }

    /// The revision, unless what it is about had it before, as a job has whose live progress is told.
    pub fn new_revision(&self) -> Option<u64> {
        let before = match self {
            Self::Vm { before, .. } => before.as_ref().map(|vm| vm.revision),
            Self::Job { before, .. } => before.as_ref().map(|entry| entry.revision),
            Self::Points { .. } => None,
        };
        self.revision().filter(|revision| before != Some(*revision))
    }

    /// Two views that hold nothing but what it is about: before and after. `whole` is the view of the world, which
    /// lends its name and its backends.
    pub fn views(&self, whole: &View) -> (View, View) {
        let (mut old, mut new) = (whole.emptied(), whole.emptied());
        match self {
            Self::Vm { before, after } => {
                for (view, vm) in [(&mut old, before), (&mut new, after)] {
                    put_vm(view, vm.as_ref());
                }
            }
            Self::Job { before, after, vm } => {
                for (view, entry) in [(&mut old, before), (&mut new, after)] {
                    put_vm(view, vm.as_ref());
                    if let Some(entry) = entry {
                        view.apply(Change::Job(Arc::clone(entry)));
                    }
                }
            }
            Self::Points { vm, before, after } => {
                for (view, points) in [(&mut old, before), (&mut new, after)] {
                    put_vm(view, Some(vm));
                    put_points(view, vm.id, points);
                }
            }
        }
        (old, new)
    }
}

fn put_vm(view: &mut View, vm: Option<&Arc<Vm>>) {
    if let Some(vm) = vm {
        view.apply(Change::Vm(Arc::clone(vm)));
    }
}

fn put_points(view: &mut View, vm: VmId, points: &[Arc<RecoveryPoint>]) {
    let points = points.iter().map(|point| RecoveryPoint::clone(point)).collect();
    view.apply(Change::Points(vm, points));
}
