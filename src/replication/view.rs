//! The immutable view of everything, with its indexes: what every read goes through.
//!
//! The maps are persistent: a clone shares everything and an update copies O(log n) nodes, so that a new view after
//! each commit stays cheap at hundreds of thousands of objects. What moves fast (the progress of running jobs) has an
//! atomic cell of its own and needs no new view.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use imbl::{HashMap, OrdMap, OrdSet};

use super::operation::{Operation, Submitted};
use super::service::{Authorization, AuthorizationId, ServiceSettings};
use super::vm::{PointId, RecoveryPoint, Vm, VmId};
use crate::job::{Job, JobId, Progress};

/// A loaded backend, as shown by `Msvm_ReplicationProvider`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendInfo {
    /// Short name, which VM records name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Whether it can fail back (else 32770).
    pub failback: bool,
    /// Whether a recovery point can be the source.
    pub recovery_points: bool,
    /// Whether it can protect home to the peer again.
    pub reverse: bool,
}

/// A job with what belongs to it.
#[derive(Clone, Debug)]
pub struct JobEntry {
    /// The job as last made durable.
    pub job: Job,
    /// The virtual machine it works on.
    pub vm: VmId,
    /// What it carries out.
    pub operation: Arc<Operation>,
    /// The key under which its submission is remembered.
    pub idempotency_key: Option<[u8; 32]>,
    /// Live progress, shared by all views.
    pub progress: Arc<Progress>,
    /// Store revision of the record.
    pub revision: u64,
}

impl JobEntry {
    /// `PercentComplete`: the durable value or the live one, whichever is further.
    #[must_use]
    pub fn percent_complete(&self) -> u16 {
        if self.job.state.is_terminal() {
            return self.job.percent_complete;
        }
        self.job.percent_complete.max(self.progress.percent())
    }
}

/// One change of the view.
#[derive(Clone, Debug)]
pub enum Change {
    /// A virtual machine is new or changed; older revisions than the present one are ignored.
    Vm(Arc<Vm>),
    /// A virtual machine is gone, with its recovery points.
    VmRemoved(VmId),
    /// A job is new or changed; older revisions than the present one are ignored.
    Job(Arc<JobEntry>),
    /// A job is gone.
    JobRemoved(JobId),
    /// These are all the recovery points of a virtual machine.
    Points(VmId, Vec<RecoveryPoint>),
    /// The answer of a submission.
    Answer([u8; 32], Submitted),
    /// The answer is forgotten.
    AnswerRemoved([u8; 32]),
    /// The service has new settings; older revisions than the present one are ignored.
    Service(Arc<ServiceSettings>),
    /// An authorization entry is new or changed; likewise.
    Authorization(Arc<Authorization>),
    /// An authorization entry is gone, by the transaction of this revision.
    AuthorizationRemoved(AuthorizationId, u64),
}

/// Everything that can be read, at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    host_name: Arc<str>,
    backends: Arc<BTreeMap<String, BackendInfo>>,
    jobs_max: usize,
    vms: OrdMap<VmId, Arc<Vm>>,
    names: HashMap<Arc<str>, VmId>,
    points: OrdMap<(VmId, PointId), Arc<RecoveryPoint>>,
    point_owners: HashMap<PointId, VmId>,
    jobs: OrdMap<JobId, Arc<JobEntry>>,
    /// Jobs by the virtual machine that they work on.
    vm_jobs: OrdSet<(VmId, JobId)>,
    jobs_live: usize,
    answers: HashMap<[u8; 32], Submitted>,
    service: Arc<ServiceSettings>,
    authorizations: OrdMap<AuthorizationId, Arc<Authorization>>,
}

impl View {
    /// An empty view of a host with these backends. `jobs_max` is the size of the job table.
    #[must_use]
    pub fn new(host_name: &str, backends: impl IntoIterator<Item = BackendInfo>, jobs_max: usize) -> Self {
        let backends = backends.into_iter().map(|backend| (backend.name.clone(), backend)).collect();
        Self { host_name: host_name.into(), backends: Arc::new(backends), jobs_max, ..Self::default() }
    }

    /// A view of the same host that holds nothing yet.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self {
            host_name: Arc::clone(&self.host_name),
            backends: Arc::clone(&self.backends),
            jobs_max: self.jobs_max,
            ..Self::default()
        }
    }

    /// Name of this host.
    #[must_use]
    pub fn host_name(&self) -> &str {
        &self.host_name
    }

    /// The loaded backend of this name.
    #[must_use]
    pub fn backend(&self, name: &str) -> Option<&BackendInfo> {
        self.backends.get(name)
    }

    /// All loaded backends, by name.
    pub fn backends(&self) -> impl Iterator<Item = &BackendInfo> {
        self.backends.values()
    }

    /// The virtual machine with this id.
    #[must_use]
    pub fn vm(&self, id: VmId) -> Option<&Arc<Vm>> {
        self.vms.get(&id)
    }

    /// The virtual machine with this name, whatever the case of its letters.
    #[must_use]
    pub fn vm_by_name(&self, name: &str) -> Option<&Arc<Vm>> {
        self.vms.get(self.names.get(name.to_lowercase().as_str())?)
    }

    /// Virtual machines in the order of their ids, from behind `after`.
    pub fn vms_after(&self, after: Option<VmId>) -> impl Iterator<Item = &Arc<Vm>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.vms.range((start, Bound::Unbounded)).map(|(_, vm)| vm)
    }

    /// Number of virtual machines.
    #[must_use]
    pub fn vms_len(&self) -> usize {
        self.vms.len()
    }

    /// Recovery points of a virtual machine, in the order of their ids.
    pub fn points_of(&self, vm: VmId) -> impl Iterator<Item = &Arc<RecoveryPoint>> {
        self.points.range((vm, PointId::MIN)..=(vm, PointId::MAX)).map(|(_, point)| point)
    }

    /// The recovery point of this virtual machine with this id.
    #[must_use]
    pub fn point_of(&self, vm: VmId, id: PointId) -> Option<&Arc<RecoveryPoint>> {
        self.points.get(&(vm, id))
    }

    /// The recovery point with this id.
    #[must_use]
    pub fn point(&self, id: PointId) -> Option<&Arc<RecoveryPoint>> {
        self.points.get(&(*self.point_owners.get(&id)?, id))
    }

    /// Recovery points in the order of virtual machine and id, from behind `after`.
    pub fn points_after(&self, after: Option<(VmId, PointId)>) -> impl Iterator<Item = &Arc<RecoveryPoint>> {
        let start = after.map_or(Bound::Included((VmId::MIN, PointId::MIN)), Bound::Excluded);
        self.points.range((start, Bound::Unbounded)).map(|(_, point)| point)
    }

    /// Number of recovery points.
    #[must_use]
    pub fn points_len(&self) -> usize {
        self.points.len()
    }

    /// The job with this id.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<&Arc<JobEntry>> {
        self.jobs.get(&id)
    }

    /// Jobs in the order of their ids, from behind `after`.
    pub fn jobs_after(&self, after: Option<JobId>) -> impl Iterator<Item = &Arc<JobEntry>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.jobs.range((start, Bound::Unbounded)).map(|(_, job)| job)
    }

    /// Jobs that work on a virtual machine, in the order of their ids, from behind `after`.
    pub fn jobs_of(&self, vm: VmId, after: Option<JobId>) -> impl Iterator<Item = &Arc<JobEntry>> {
        let start = after.map_or(Bound::Included((vm, JobId::MIN)), |after| Bound::Excluded((vm, after)));
        self.vm_jobs.range((start, Bound::Included((vm, JobId::MAX)))).filter_map(|(_, id)| self.jobs.get(id))
    }

    /// Number of jobs, finished ones included.
    #[must_use]
    pub fn jobs_len(&self) -> usize {
        self.jobs.len()
    }

    /// Number of jobs that have not ended.
    #[must_use]
    pub fn jobs_live(&self) -> usize {
        self.jobs_live
    }

    /// Size of the job table.
    #[must_use]
    pub fn jobs_max(&self) -> usize {
        self.jobs_max
    }

    /// The answer that was given under this idempotency key.
    #[must_use]
    pub fn answer(&self, key: &[u8; 32]) -> Option<Submitted> {
        self.answers.get(key).copied()
    }

    /// Settings of the replication service.
    #[must_use]
    pub fn service_settings(&self) -> &Arc<ServiceSettings> {
        &self.service
    }

    /// The authorization entry with this id.
    #[must_use]
    pub fn authorization(&self, id: AuthorizationId) -> Option<&Arc<Authorization>> {
        self.authorizations.get(&id)
    }

    /// Authorization entries in the order of their ids, from behind `after`.
    pub fn authorizations_after(&self, after: Option<AuthorizationId>) -> impl Iterator<Item = &Arc<Authorization>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.authorizations.range((start, Bound::Unbounded)).map(|(_, entry)| entry)
    }

    /// Number of authorization entries.
    #[must_use]
    pub fn authorizations_len(&self) -> usize {
        self.authorizations.len()
    }

    /// Applies one change. For the engine's publisher; every other holder has an immutable view.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Vm(vm) => self.put_vm(vm),
            Change::VmRemoved(id) => {
                if let Some(vm) = self.vms.remove(&id) {
                    self.names.remove(vm.name.to_lowercase().as_str());
                    self.replace_points(id, Vec::new());
                }
            }
            Change::Job(entry) => self.put_job(entry),
            Change::JobRemoved(id) => {
                if let Some(entry) = self.jobs.remove(&id) {
                    self.jobs_live -= usize::from(is_live(&entry));
                    self.vm_jobs.remove(&(entry.vm, id));
                }
            }
            Change::Points(vm, points) => self.replace_points(vm, points),
            Change::Answer(key, answer) => {
                self.answers.insert(key, answer);
            }
            Change::AnswerRemoved(key) => {
                self.answers.remove(&key);
            }
            Change::Service(settings) => {
                if self.service.revision <= settings.revision {
                    self.service = settings;
                }
            }
            Change::Authorization(entry) => {
                let id = entry.id();
                if self.authorizations.get(&id).is_none_or(|present| present.revision <= entry.revision) {
                    self.authorizations.insert(id, entry);
                }
            }
            Change::AuthorizationRemoved(id, revision) => {
                if self.authorizations.get(&id).is_some_and(|present| present.revision <= revision) {
                    self.authorizations.remove(&id);
                }
            }
        }
    }

    fn put_vm(&mut self, vm: Arc<Vm>) {
        match self.vms.get(&vm.id) {
            Some(present) if present.revision > vm.revision => return,
            Some(present) if present.name == vm.name => {}
            Some(present) => {
                let old = present.name.to_lowercase();
                self.names.remove(old.as_str());
                self.names.insert(vm.name.to_lowercase().into(), vm.id);
            }
            None => {
                self.names.insert(vm.name.to_lowercase().into(), vm.id);
            }
        }
        self.vms.insert(vm.id, vm);
    }

    fn put_job(&mut self, entry: Arc<JobEntry>) {
        let present = self.jobs.get(&entry.job.id);
        if present.is_some_and(|present| present.revision > entry.revision) {
            return;
        }
        let was_live = present.is_some_and(|present| is_live(present));
        self.jobs_live = self.jobs_live + usize::from(is_live(&entry)) - usize::from(was_live);
        self.vm_jobs.insert((entry.vm, entry.job.id));
        self.jobs.insert(entry.job.id, entry);
    }

    fn replace_points(&mut self, vm: VmId, points: Vec<RecoveryPoint>) {
        let old: Vec<PointId> = self.points_of(vm).map(|point| point.id).collect();
        for id in old {
            self.points.remove(&(vm, id));
            self.point_owners.remove(&id);
        }
        for point in points {
            self.point_owners.insert(point.id, vm);
            self.points.insert((vm, point.id), Arc::new(point));
        }
    }
}

fn is_live(entry: &JobEntry) -> bool {
    !entry.job.state.is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{JobEvent, JobState, JobType, NewJob, Timestamp};
    use crate::replication::{
        EnabledState, PointKind, ReplicationHealth, ReplicationMode, ReplicationSettings, ReplicationState,
        ReplicationType, Site,
    };
    use uuid::Uuid;

    fn vm(number: u128, name: &str, revision: u64) -> Arc<Vm> {
        Arc::new(Vm {
            id: VmId(Uuid::from_u128(number)),
            name: name.into(),
            backend: "test".into(),
            enabled_state: EnabledState::DISABLED,
            mode: ReplicationMode::REPLICA,
            state: ReplicationState::REPLICATING,
            health: ReplicationHealth::OK,
            failed_over_type: ReplicationType::NONE,
            last_type: ReplicationType::NONE,
            epoch: 0,
            authority: Site::Peer,
            prior: None,
            needs_resync: false,
            live_job: None,
            settings: ReplicationSettings::default(),
            primary_host: "peer".into(),
            recovery_host: "home".into(),
            last_replication: None,
            last_apply: None,
            last_app_consistent: None,
            created: Timestamp(0),
            changed: Timestamp(0),
            disk_octets: 0,
            revision,
        })
    }

    fn point(number: u128, vm: &Vm) -> RecoveryPoint {
        RecoveryPoint {
            id: PointId(Uuid::from_u128(number)),
            vm: vm.id,
            kind: PointKind::Standard,
            taken: Timestamp(0),
            site: Site::Peer,
            name: number.to_string(),
        }
    }

    fn entry(number: u128, revision: u64) -> JobEntry {
        let id = JobId(Uuid::from_u128(number));
        let new = NewJob {
            id,
            job_type: JobType::INITIATE_FAILBACK,
            subject: String::new(),
            subject_name: String::new(),
            owner: String::new(),
            cancellable: true,
            time_before_removal_ms: 0,
        };
        JobEntry {
            job: Job::new(new, Timestamp(0)),
            vm: VmId(Uuid::nil()),
            operation: Arc::new(Operation::CommitFailover),
            idempotency_key: None,
            progress: Arc::default(),
            revision,
        }
    }

    #[test]
    fn names_are_found_whatever_their_case_and_follow_a_rename() {
        let mut view = View::new("HOST", [], 10);
        view.apply(Change::Vm(vm(1, "Web01", 1)));
        assert_eq!(view.vm_by_name("wEB01").map(|vm| vm.revision), Some(1));
        view.apply(Change::Vm(vm(1, "Web02", 2)));
        view.apply(Change::Vm(vm(1, "stale", 1)));
        assert!(view.vm_by_name("web01").is_none() && view.vm_by_name("stale").is_none());
        assert!(view.vm_by_name("WEB02").is_some());
        view.apply(Change::VmRemoved(VmId(Uuid::from_u128(1))));
        assert!(view.vm_by_name("web02").is_none() && view.vms_len() == 0);
    }

    #[test]
    fn ranges_go_on_behind_a_key_and_points_are_replaced_whole() {
        let mut view = View::new("HOST", [], 10);
        let (first, second) = (vm(1, "a", 1), vm(2, "b", 1));
        view.apply(Change::Vm(Arc::clone(&first)));
        view.apply(Change::Vm(Arc::clone(&second)));
        view.apply(Change::Points(first.id, vec![point(11, &first), point(12, &first)]));
        view.apply(Change::Points(second.id, vec![point(21, &second)]));
        let old = view.clone();
        view.apply(Change::Points(first.id, vec![point(12, &first), point(13, &first)]));
        let names = |view: &View, after| -> Vec<String> { view.points_after(after).map(|p| p.name.clone()).collect() };
        assert_eq!(names(&old, None), ["11", "12", "21"], "an older view does not change");
        assert_eq!(names(&view, None), ["12", "13", "21"]);
        assert_eq!(names(&view, Some((first.id, PointId(Uuid::from_u128(12))))), ["13", "21"]);
        assert_eq!(view.points_of(first.id).count(), 2);
        assert!(view.point(PointId(Uuid::from_u128(11))).is_none());
        assert_eq!(view.point(PointId(Uuid::from_u128(21))).map(|p| p.vm), Some(second.id));
        assert_eq!(view.vms_after(Some(first.id)).count(), 1);
    }

    #[test]
    fn live_jobs_are_counted_and_progress_is_shared() {
        let mut view = View::new("HOST", [], 10);
        let mut first = entry(1, 1);
        view.apply(Change::Job(Arc::new(first.clone())));
        view.apply(Change::Job(Arc::new(entry(2, 1))));
        assert_eq!((view.jobs_len(), view.jobs_live()), (2, 2));
        first.progress.raise_percent(55);
        assert_eq!(view.job(first.job.id).map(|entry| entry.percent_complete()), Some(55));
        first.job.apply(&JobEvent::Cancel, Timestamp(1)).unwrap();
        first.job.apply(&JobEvent::Terminate { status: String::new() }, Timestamp(2)).unwrap();
        first.revision = 2;
        view.apply(Change::Job(Arc::new(first.clone())));
        view.apply(Change::Job(Arc::new(entry(1, 1))));
        assert_eq!((view.jobs_len(), view.jobs_live()), (2, 1));
        assert_eq!(view.job(first.job.id).map(|entry| entry.job.state), Some(JobState::TERMINATED));
        let nobody = VmId(Uuid::nil());
        let of = |view: &View, after| view.jobs_of(nobody, after).map(|entry| entry.job.id).collect::<Vec<_>>();
        let second = JobId(Uuid::from_u128(2));
        assert_eq!(of(&view, None), [first.job.id, second]);
        assert_eq!(of(&view, Some(first.job.id)), [second]);
        assert_eq!(view.jobs_of(VmId(Uuid::from_u128(1)), None).count(), 0);
        view.apply(Change::JobRemoved(first.job.id));
        assert_eq!(of(&view, None), [second]);
        assert_eq!((view.jobs_len(), view.jobs_live()), (1, 1));
    }
}
