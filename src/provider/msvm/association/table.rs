//! The associations, one row each: which class, which instances stand at its two ends, and how the pairs are found by
//! index from either end.

use uuid::Uuid;

use crate::job::JobId;
use crate::provider::{Key, Scoped};
use crate::replication::{PointId, RecoveryPoint, VmId};

use super::object::{Kind, Object};

/// An end of an association: its role, which is the name of the reference, and what stands there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) role: &'static str,
    pub(crate) kind: Kind,
}

/// An association.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) class: &'static str,
    /// What there is one pair of.
    pub(crate) each: Each,
    pub(crate) ends: [End; 2],
    /// Properties besides the references, with what they hold.
    pub(crate) facts: &'static [(&'static str, Fact)],
}

/// The value of a property that is the same in every instance of an association.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fact {
    Number(u16),
    Numbers(&'static [u16]),
}

/// There is one pair of an association for each of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Each {
    Host,
    Vm,
    Point,
    /// The newest recovery point of each virtual machine that has one.
    NewestPoint,
    Job,
}

const fn end(role: &'static str, kind: Kind) -> End {
    End { role, kind }
}

/// Every association that is served. Rows of one class stand together, and a class with a row for each recovery point
/// has no other.
pub(crate) const TABLE: [Row; 9] = [
    Row {
        class: "Msvm_AffectedJobElement",
        each: Each::Job,
        ends: [end("AffectedElement", Kind::Vm), end("AffectingElement", Kind::Job)],
        // Exclusive use: a job has its virtual machine for itself.
        facts: &[("ElementEffects", Fact::Numbers(&[2]))],
    },
    Row {
        class: "Msvm_OwningJobElement",
        each: Each::Job,
        ends: [end("OwningElement", Kind::Service), end("OwnedElement", Kind::Job)],
        facts: &[],
    },
    Row {
        class: "Msvm_HostedService",
        each: Each::Host,
        ends: [end("Antecedent", Kind::Host), end("Dependent", Kind::Service)],
        facts: &[],
    },
    Row {
        class: "Msvm_ElementSettingData",
        each: Each::Host,
        ends: [end("ManagedElement", Kind::Service), end("SettingData", Kind::ServiceSettings)],
        facts: &[("IsCurrent", Fact::Number(1))],
    },
    Row {
        class: "Msvm_ElementSettingData",
        each: Each::Vm,
        ends: [end("ManagedElement", Kind::Vm), end("SettingData", Kind::ReplicationSettings)],
        facts: &[("IsCurrent", Fact::Number(1))],
    },
    Row {
        class: "Msvm_SettingsDefineState",
        each: Each::Vm,
        ends: [end("ManagedElement", Kind::Vm), end("SettingData", Kind::Settings)],
        facts: &[],
    },
    Row {
        class: "Msvm_SystemReplicationRelationship",
        each: Each::Vm,
        ends: [end("Antecedent", Kind::Vm), end("Dependent", Kind::Relationship)],
        facts: &[],
    },
    Row {
        class: "Msvm_SnapshotOfVirtualSystem",
        each: Each::Point,
        ends: [end("Antecedent", Kind::Vm), end("Dependent", Kind::Point)],
        facts: &[],
    },
    Row {
        class: "Msvm_MostCurrentSnapshotInBranch",
        each: Each::NewestPoint,
        ends: [end("Antecedent", Kind::Vm), end("Dependent", Kind::Point)],
        facts: &[],
    },
];

/// What makes one pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pivot {
    Host,
    Vm(VmId),
    Point(VmId, PointId),
    /// A job with the virtual machine that it works on.
    Job(JobId, VmId),
}

impl Pivot {
    fn vm(self) -> Option<VmId> {
        match self {
            Self::Host => None,
            Self::Vm(vm) | Self::Point(vm, _) | Self::Job(_, vm) => Some(vm),
        }
    }

    /// The instance of a kind that belongs to this pivot.
    pub(crate) fn object(self, kind: Kind) -> Option<Object> {
        match (kind, self) {
            (Kind::Host, _) => Some(Object::Host),
            (Kind::Service, _) => Some(Object::Service),
            (Kind::ServiceSettings, _) => Some(Object::ServiceSettings),
            (Kind::Vm, pivot) => pivot.vm().map(Object::Vm),
            (Kind::Settings, pivot) => pivot.vm().map(Object::Settings),
            (Kind::ReplicationSettings, pivot) => pivot.vm().map(Object::ReplicationSettings),
            (Kind::Relationship, pivot) => pivot.vm().map(Object::Relationship),
            (Kind::Point, Self::Point(vm, point)) => Some(Object::Point(vm, point)),
            (Kind::Job, Self::Job(job, _)) => Some(Object::Job(job)),
            (Kind::Point | Kind::Job, _) => None,
        }
    }
}

type Pivots<'v> = Box<dyn Iterator<Item = Pivot> + 'v>;

impl Each {
    /// The place of a pivot in the order of its row, which is the `number`th of its class.
    pub(crate) fn key(self, number: u128, pivot: Pivot) -> Key {
        match (self, pivot) {
            (Self::Host, _) | (_, Pivot::Host) => Key(number, 0),
            (Self::Point, Pivot::Point(vm, point)) => Key(vm.0.as_u128(), point.0.as_u128()),
            (_, Pivot::Vm(vm) | Pivot::Point(vm, _)) => Key(number, vm.0.as_u128()),
            (_, Pivot::Job(job, _)) => Key(number, job.0.as_u128()),
        }
    }

    /// The pivots behind `after`, in the order of their keys: those of `source`, or all without one.
    pub(crate) fn pivots(self, view: Scoped<'_>, source: Option<Object>, after: Option<Key>) -> Pivots<'_> {
        let last = after.map(|key| Uuid::from_u128(key.1));
        let vm = source.and_then(Object::vm);
        match (self, source) {
            (Self::Host, _) => Box::new(after.is_none().then_some(Pivot::Host).into_iter()),
            (Self::Vm, _) => match vm {
                Some(vm) => once(after, view.vm(vm).map(|vm| Pivot::Vm(vm.id))),
                None => Box::new(view.vms_after(last.map(VmId)).map(|vm| Pivot::Vm(vm.id))),
            },
            (Self::Point, Some(Object::Point(vm, point))) => once(after, Some(Pivot::Point(vm, point))),
            (Self::Point, _) => points(view, vm, after),
            (Self::NewestPoint, Some(Object::Point(vm, point))) => {
                once(after, newest(view, vm).filter(|pivot| *pivot == Pivot::Point(vm, point)))
            }
            (Self::NewestPoint, _) => match vm {
                Some(vm) => once(after, newest(view, vm)),
                None => Box::new(view.vms_after(last.map(VmId)).filter_map(move |vm| newest(view, vm.id))),
            },
            (Self::Job, Some(Object::Job(job))) => once(after, of_job(view, job)),
            (Self::Job, _) => match vm {
                Some(vm) => Box::new(view.jobs_of(vm, last.map(JobId)).map(|entry| Pivot::Job(entry.job.id, entry.vm))),
                None => Box::new(view.jobs_after(last.map(JobId)).map(|entry| Pivot::Job(entry.job.id, entry.vm))),
            },
        }
    }

    /// The one pivot that has both objects, if there is one. Which ends they stand at is not looked at.
    pub(crate) fn between(self, view: Scoped<'_>, a: Object, b: Object) -> Option<Pivot> {
        let point = [a, b].into_iter().find_map(|object| match object {
            Object::Point(vm, point) => Some(Pivot::Point(vm, point)),
            _ => None,
        });
        match self {
            Self::Host => Some(Pivot::Host),
            Self::Vm => a.vm().or(b.vm()).map(Pivot::Vm),
            Self::Point => point,
            Self::NewestPoint => point.filter(|point| point.vm().and_then(|vm| newest(view, vm)) == Some(*point)),
            Self::Job => [a, b].into_iter().find_map(|object| match object {
                Object::Job(job) => of_job(view, job),
                _ => None,
            }),
        }
    }
}

fn once<'v>(after: Option<Key>, pivot: Option<Pivot>) -> Pivots<'v> {
    Box::new(pivot.filter(|_| after.is_none()).into_iter())
}

/// Recovery points of one virtual machine, or all.
fn points(view: Scoped<'_>, vm: Option<VmId>, after: Option<Key>) -> Pivots<'_> {
    let after = after.map(|Key(vm, point)| (VmId(Uuid::from_u128(vm)), PointId(Uuid::from_u128(point))));
    match vm {
        Some(vm) => Box::new(view.points_of(vm, after.map(|(_, point)| point)).map(|point| of_point(point))),
        None => Box::new(view.points_after(after).map(|point| of_point(point))),
    }
}

fn of_point(point: &RecoveryPoint) -> Pivot {
    Pivot::Point(point.vm, point.id)
}

fn of_job(view: Scoped<'_>, job: JobId) -> Option<Pivot> {
    view.job(job).map(|entry| Pivot::Job(job, entry.vm))
}

/// The newest recovery point of a virtual machine. A machine has a handful of them.
fn newest(view: Scoped<'_>, vm: VmId) -> Option<Pivot> {
    view.points_of(vm, None).max_by_key(|point| (point.taken, point.id)).map(|point| of_point(point))
}
