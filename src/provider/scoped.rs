//! The view as one caller may see it: virtual machines that the access rules keep from the caller are not there, nor is
//! anything that belongs to them. Providers have no other view, so that none can forget a limit. Where no rule is about
//! virtual machines it costs one comparison.

use std::sync::Arc;

use crate::job::JobId;
use crate::replication::{
    Authorization, AuthorizationId, BackendInfo, JobEntry, PointId, RecoveryPoint, ServiceSettings, View, Vm, VmId,
};

use super::permissions::{Dimension, Permissions};

/// What a caller sees of a [`View`].
#[derive(Clone, Copy, Debug)]
pub struct Scoped<'v> {
    view: &'v View,
    /// What limits the virtual machines; none when nothing does.
    limits: Option<&'v Permissions>,
}

impl<'v> Scoped<'v> {
    /// The view under these permissions.
    pub fn new(view: &'v View, permissions: &'v Permissions) -> Self {
        Self { view, limits: Some(permissions).filter(|permissions| permissions.limit_vms()) }
    }

    /// Whether something may be kept from the caller.
    pub fn is_limited(self) -> bool {
        self.limits.is_some()
    }

    /// The view without limits, to say in the log whether there is something that was kept from a caller.
    pub(super) fn whole(self) -> Self {
        Self { limits: None, ..self }
    }

    fn shows(self, vm: &Vm) -> bool {
        self.limits.is_none_or(|limits| limits.admit(Dimension::Vms, &vm.name))
    }

    /// By the name that the machine has now. A machine that is gone still counts by the name that it had when the job
    /// was submitted, since its jobs outlive it.
    fn shows_job(self, entry: &JobEntry) -> bool {
        self.limits.is_none_or(|limits| {
            let name = self.view.vm(entry.vm).map_or(&entry.job.subject_name, |vm| &vm.name);
            limits.admit(Dimension::Vms, name)
        })
    }

    /// Name of this host.
    pub fn host_name(self) -> &'v str {
        self.view.host_name()
    }

    /// All loaded backends, by name.
    pub fn backends(self) -> impl Iterator<Item = &'v BackendInfo> {
        self.view.backends()
    }

    /// The virtual machine with this id.
    pub fn vm(self, id: VmId) -> Option<&'v Arc<Vm>> {
        self.view.vm(id).filter(|vm| self.shows(vm))
    }

    /// The virtual machine with this name, whatever the case of its letters.
    pub fn vm_by_name(self, name: &str) -> Option<&'v Arc<Vm>> {
        self.view.vm_by_name(name).filter(|vm| self.shows(vm))
    }

    /// Virtual machines in the order of their ids, from behind `after`.
    pub fn vms_after(self, after: Option<VmId>) -> impl Iterator<Item = &'v Arc<Vm>> {
        self.view.vms_after(after).filter(move |vm| self.shows(vm))
    }

    /// The recovery point with this id.
    pub fn point(self, id: PointId) -> Option<&'v Arc<RecoveryPoint>> {
        self.view.point(id).filter(|point| self.limits.is_none() || self.vm(point.vm).is_some())
    }

    /// Recovery points in the order of virtual machine and id, from behind `after`.
    pub fn points_after(self, after: Option<(VmId, PointId)>) -> impl Iterator<Item = &'v Arc<RecoveryPoint>> {
        // They come machine by machine, so that each machine is looked up once.
        let mut last: Option<(VmId, bool)> = None;
        self.view.points_after(after).filter(move |point| {
            if self.limits.is_none() {
                return true;
            }
            match last {
                Some((vm, shown)) if vm == point.vm => shown,
                _ => {
                    let shown = self.vm(point.vm).is_some();
                    last = Some((point.vm, shown));
                    shown
                }
            }
        })
    }

    /// Recovery points of a virtual machine in the order of their ids, from behind `after`.
    pub fn points_of(self, vm: VmId, after: Option<PointId>) -> impl Iterator<Item = &'v Arc<RecoveryPoint>> {
        let start = after.unwrap_or(PointId::MIN);
        let shown = self.limits.is_none() || self.vm(vm).is_some();
        self.view.points_after(Some((vm, start))).take_while(move |point| shown && point.vm == vm)
    }

    /// Jobs that work on a virtual machine in the order of their ids, from behind `after`.
    pub fn jobs_of(self, vm: VmId, after: Option<JobId>) -> impl Iterator<Item = &'v Arc<JobEntry>> {
        self.view.jobs_of(vm, after).filter(move |entry| self.shows_job(entry))
    }

    /// The job with this id.
    pub fn job(self, id: JobId) -> Option<&'v Arc<JobEntry>> {
        self.view.job(id).filter(|entry| self.shows_job(entry))
    }

    /// Jobs in the order of their ids, from behind `after`.
    pub fn jobs_after(self, after: Option<JobId>) -> impl Iterator<Item = &'v Arc<JobEntry>> {
        self.view.jobs_after(after).filter(move |entry| self.shows_job(entry))
    }

    /// Settings of the replication service.
    pub fn service_settings(self) -> &'v ServiceSettings {
        self.view.service_settings()
    }

    /// The authorization entry with this id.
    pub fn authorization(self, id: AuthorizationId) -> Option<&'v Authorization> {
        self.view.authorization(id).map(|entry| &**entry)
    }

    /// Authorization entries in the order of their ids, from behind `after`.
    pub fn authorizations_after(self, after: Option<AuthorizationId>) -> impl Iterator<Item = &'v Authorization> {
        self.view.authorizations_after(after).map(|entry| &**entry)
    }

    /// How many virtual machines there are; unknown where some are kept from the caller.
    pub fn vms_len(self) -> Option<u64> {
        self.known(self.view.vms_len())
    }

    /// How many recovery points there are; unknown where some are kept from the caller.
    pub fn points_len(self) -> Option<u64> {
        self.known(self.view.points_len())
    }

    /// How many jobs there are; unknown where some are kept from the caller.
    pub fn jobs_len(self) -> Option<u64> {
        self.known(self.view.jobs_len())
    }

    fn known(self, count: usize) -> Option<u64> {
        if self.limits.is_some() { None } else { u64::try_from(count).ok() }
    }

    /// How many instances a walk over everything looks at, shown or not.
    pub fn size(self) -> usize {
        self.view.vms_len().saturating_add(self.view.points_len()).saturating_add(self.view.jobs_len())
    }
}
