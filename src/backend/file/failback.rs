//! The steps of a failback, from the claim on home's copy to the end or the undo.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{Copy, from_blocks, from_io, refusal};
use super::guest::Request;
use super::hooks::HookRun;
use super::io::{Access, DiskFile, Stamp};
use super::marker::{Marker, Phase, stale};
use super::points::{Manifest, blocks, image_sha256};
use super::settings::VmDisks;
use super::{Active, FileDriver, LOCK_PATIENCE, StepControl, lock};
use crate::backend::{Context, DriverError, DriverErrorKind, Order, Plan, Probe, ProbeRefusal, Round, Verified};
use crate::blocks::{FirstDifference, Tally, Unlimited, converge, count_differing, first_difference};
use crate::replication::{PointId, Site, VmId};

/// One disk of a step: where it comes from and where it goes.
struct Pair {
    source_copy: Copy,
    source_path: PathBuf,
    source: Box<dyn DiskFile>,
    home_path: PathBuf,
    home: Box<dyn DiskFile>,
    octets: u64,
}

impl Pair {
    fn ends(&self) -> ((Copy, &Path), (Copy, &Path)) {
        ((self.source_copy, &self.source_path), (Copy::Home, &self.home_path))
    }
}

/// What all steps but the first begin with.
struct Step {
    vm: Arc<VmDisks>,
    marker: Marker,
}

impl FileDriver {
    /// The admission check.
    pub(super) fn probe_disks(&self, vm: VmId, point: Option<PointId>) -> Result<Probe, ProbeRefusal> {
        let entry =
            self.vm(vm).ok_or_else(|| ProbeRefusal::Missing(format!("the inventory's entry of VM {}", vm.0)))?;
        let mut disk_octets = 0;
        for path in &entry.peer {
            let image = self.disks.open(path, Access::Read).map_err(|error| refusal(Copy::Peer, path, &error))?;
            disk_octets += image.length().map_err(|error| refusal(Copy::Peer, path, &error))?;
        }
        for path in &entry.home {
            self.disks.open(path, Access::Write).map_err(|error| refusal(Copy::Home, path, &error))?;
        }
        let Some(point) = point else { return Ok(Probe { disk_octets }) };
        let manifest = self.points().load(vm, point).map_err(|error| ProbeRefusal::NotPermitted(error.message))?;
        let manifest = manifest.ok_or(ProbeRefusal::UnknownPoint)?;
        for index in 0..manifest.disks.len() {
            let path = self.points().disk_path(vm, point, index);
            self.disks.open(&path, Access::Read).map_err(|error| refusal(Copy::Point, &path, &error))?;
        }
        Ok(Probe { disk_octets: manifest.disks.iter().map(|disk| disk.octets).sum() })
    }

    /// `prepare`: the marker, the locks on home's images, and a first look at both sides.
    pub(super) fn claim(&self, order: &Order) -> Result<Plan, DriverError> {
        let vm = self.entry(order.vm)?;
        let before = Marker::load(&*self.disks, &vm)?;
        if let Some(newer) = before.as_ref().filter(|marker| marker.epoch > order.epoch) {
            return Err(stale(&vm, order, newer));
        }
        self.hold_home(order, &vm)?;
        let claimed = self.mark_claimed(order, &vm, before);
        if claimed.is_err() {
            self.release(order);
        }
        claimed
    }

    /// The rest of the claim, under the locks.
    fn mark_claimed(&self, order: &Order, vm: &VmDisks, before: Option<Marker>) -> Result<Plan, DriverError> {
        let pairs = self.open_pairs(order, vm)?;
        let point = order.point.map(|point| point.0);
        let marker = match before {
            // This job comes back after a restart: what it has done is still done.
            Some(own) if own.job == order.job.0 && own.phase != Phase::Idle => Marker { epoch: order.epoch, ..own },
            // A job that ended without its undo may have left the peer stopped; then ours is to start it again.
            Some(other) if other.phase.may_have_stopped_peer() => {
                Marker { job: order.job.0, epoch: order.epoch, phase: Phase::Quiescing, point, peer: Vec::new() }
            }
            _ => Marker { job: order.job.0, epoch: order.epoch, phase: Phase::Claimed, point, peer: Vec::new() },
        };
        marker.save(&*self.disks, vm)?;
        let octets_total = pairs.iter().map(|pair| pair.octets).sum();
        Ok(Plan { octets_total, disks: u32::try_from(pairs.len()).unwrap_or(u32::MAX) })
    }

    /// One round of compare and copy, synced on return.
    pub(super) fn run_round(&self, order: &Order, round: u32, ctx: &dyn Context) -> Result<Round, DriverError> {
        let started = Instant::now();
        let Step { vm, marker } = self.begin(order)?;
        let pairs = self.open_pairs(order, &vm)?;
        let before = stamps(&pairs)?;
        self.refuse_changed(order, &vm, &marker)?;
        let octets_total = pairs.iter().map(|pair| pair.octets).sum();
        let (mut octets_before, mut tally) = (0, Tally::default());
        for pair in &pairs {
            let control = StepControl { ctx, link: Some(&self.link), octets_before, octets_total };
            let (source, target) = pair.ends();
            tally += converge(blocks(&*pair.source), blocks(&*pair.home), &control)
                .map_err(|error| from_blocks(&error, source, target))?;
            octets_before += pair.octets;
        }
        for pair in &pairs {
            pair.home.sync().map_err(|error| from_io(Copy::Home, &pair.home_path, "sync", &error))?;
        }
        self.refuse_changed(order, &vm, &marker)?;
        let quiet = order.point.is_some() || stamps(&pairs)? == before;
        let octets_left_estimate = self.estimate_left(order, round, tally.octets_moved, started.elapsed(), quiet);
        Ok(Round {
            blocks_compared: tally.blocks_compared,
            octets_compared: tally.octets_compared,
            octets_moved: tally.octets_moved,
            octets_left_estimate,
        })
    }

    /// What the guest wrote during this round, guessed from what it wrote during the last one.
    fn estimate_left(&self, order: &Order, round: u32, moved: u64, took: Duration, quiet: bool) -> u64 {
        let mut active = lock(&self.active);
        let last = active.get_mut(&order.vm).and_then(|active| active.last_round.replace((moved, took)));
        match last {
            _ if quiet => 0,
            Some((_, last_took)) if round > 0 => {
                let estimate = u128::from(moved) * took.as_micros() / last_took.as_micros().max(1);
                u64::try_from(estimate).unwrap_or(u64::MAX)
            }
            _ => moved,
        }
    }

    /// `quiesce`: the stop hook, the locks, the stamps.
    pub(super) fn stop_peer(&self, order: &Order, ctx: &dyn Context) -> Result<(), DriverError> {
        let Step { vm, mut marker } = self.begin(order)?;
        if marker.phase == Phase::Finished {
            return Ok(());
        }
        // Durable before the hook runs: whoever finds it knows that the peer may have to be started again.
        marker.phase = Phase::Quiescing;
        marker.save(&*self.disks, &vm)?;
        self.hook(&vm, Site::Peer, Request::Stop, &|| ctx.cancelled())?;
        self.hold_peer(order, &vm)?;
        marker.peer = self.peer_stamps(&vm)?;
        marker.phase = Phase::Quiesced;
        marker.save(&*self.disks, &vm)
    }

    /// `verify`: see the module's comment for what is checked and why.
    pub(super) fn check(&self, order: &Order, ctx: &dyn Context) -> Result<Verified, DriverError> {
        let Step { vm, marker } = self.begin(order)?;
        if !matches!(marker.phase, Phase::Quiesced | Phase::Finished) {
            return Err(not_quiesced(&vm));
        }
        self.hold_peer(order, &vm)?;
        self.refuse_changed(order, &vm, &marker)?;
        let manifest = self.manifest(order)?;
        let pairs = self.open_pairs(order, &vm)?;
        let octets_total = pairs.iter().map(|pair| pair.octets).sum();
        let (mut octets, mut octets_left_behind) = (0, 0);
        for (index, pair) in pairs.iter().enumerate() {
            let control = StepControl { ctx, link: None, octets_before: octets, octets_total };
            pair.home.forget_cache();
            let (source, target) = pair.ends();
            let found = first_difference(blocks(&*pair.source), blocks(&*pair.home), &control)
                .map_err(|error| from_blocks(&error, source, target))?;
            refuse_difference(pair, found)?;
            if let Some(manifest) = &manifest {
                check_saved_hash(pair, manifest, index, &control)?;
                octets_left_behind += self.left_behind(&vm, pair, index, &control)?;
            }
            octets += pair.octets;
        }
        self.refuse_changed(order, &vm, &marker)?;
        let method = match manifest {
            None => "home and peer compared octet for octet".to_owned(),
            Some(manifest) => format!(
                "home compared octet for octet with recovery point {} and with its saved SHA-256",
                manifest.point.id.0
            ),
        };
        Ok(Verified { method, octets, octets_left_behind })
    }

    /// `finish`: home is free, the peer stays as it is.
    pub(super) fn hand_over(&self, order: &Order) -> Result<(), DriverError> {
        let vm = self.entry(order.vm)?;
        let mut marker = Marker::of_order(&*self.disks, &vm, order)?;
        match marker.phase {
            Phase::Finished => {}
            Phase::Quiesced => {
                marker.phase = Phase::Finished;
                marker.save(&*self.disks, &vm)?;
            }
            _ => return Err(not_quiesced(&vm)),
        }
        self.release(order);
        Ok(())
    }

    /// `undo`: home is free, and the peer runs again if we stopped it.
    pub(super) fn give_back(&self, order: &Order) -> Result<(), DriverError> {
        let vm = self.entry(order.vm)?;
        let marker = Marker::load(&*self.disks, &vm)?;
        let Some(mut marker) = marker.filter(|marker| marker.job == order.job.0) else {
            // Never claimed, or claimed by somebody else since: nothing of ours is left.
            self.release(order);
            return Ok(());
        };
        if marker.epoch > order.epoch || marker.phase == Phase::Finished {
            return Err(stale(&vm, order, &marker));
        }
        // The guest needs the lock that we hold.
        self.release(order);
        if marker.phase.may_have_stopped_peer() {
            self.hook(&vm, Site::Peer, Request::Start, &|| false)?;
        }
        marker.phase = Phase::Idle;
        marker.peer.clear();
        marker.save(&*self.disks, &vm).or_else(|error| match error.kind {
            // On a full disk the marker cannot be replaced, but it can be removed, which also says idle.
            DriverErrorKind::OutOfSpace => {
                let path = Marker::path(&vm);
                self.disks
                    .remove_small(&path)
                    .map_err(|error| from_io(Copy::Home, &path, "remove the marker of", &error))
            }
            _ => Err(error),
        })
    }

    /// The VM and its marker, for a step of a job that has claimed it; home's locks are had again after a restart.
    fn begin(&self, order: &Order) -> Result<Step, DriverError> {
        let vm = self.entry(order.vm)?;
        let marker = Marker::of_order(&*self.disks, &vm, order)?;
        if marker.phase == Phase::Idle {
            return Err(stale(&vm, order, &marker));
        }
        self.hold_home(order, &vm)?;
        Ok(Step { vm, marker })
    }

    /// Locks home's images for the job.
    fn hold_home(&self, order: &Order, vm: &VmDisks) -> Result<(), DriverError> {
        let mut active = lock(&self.active);
        let complete = |active: &Active| active.job == order.job && active.home_locks.len() == vm.home.len();
        if active.get(&order.vm).is_some_and(complete) {
            return Ok(());
        }
        // A job that was replaced gives its locks up, or ours could not be had. So does ours when it got more disks.
        active.remove(&order.vm);
        let home_locks = self.lock_all(Copy::Home, &vm.home, LOCK_PATIENCE)?;
        let fresh = Active { job: order.job, home_locks, peer_locks: Vec::new(), last_round: None };
        active.insert(order.vm, fresh);
        Ok(())
    }

    /// Locks the peer's images for the job: the proof that no guest runs on them.
    fn hold_peer(&self, order: &Order, vm: &VmDisks) -> Result<(), DriverError> {
        if lock(&self.active).get(&order.vm).is_some_and(|active| !active.peer_locks.is_empty()) {
            return Ok(());
        }
        let peer_locks = self.lock_all(Copy::Peer, &vm.peer, LOCK_PATIENCE).map_err(|error| match error.kind {
            DriverErrorKind::InUse => DriverError {
                kind: DriverErrorKind::HookFailed,
                message: format!("the hook peer_stop has not stopped {}: {}", vm.name, error.message),
                ..error
            },
            _ => error,
        })?;
        if let Some(active) = lock(&self.active).get_mut(&order.vm) {
            active.peer_locks = peer_locks;
        }
        Ok(())
    }

    /// Gives all locks of a job up.
    fn release(&self, order: &Order) {
        let mut active = lock(&self.active);
        if let Some(held) = active.remove(&order.vm).filter(|held| held.job != order.job) {
            active.insert(order.vm, held);
        }
    }

    pub(super) fn hook(
        &self,
        vm: &VmDisks,
        site: Site,
        request: Request,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), DriverError> {
        let host = if site == Site::Home { &self.settings.home_host } else { &self.settings.peer_host };
        HookRun { vm, site, host, request, cancelled }.run()
    }

    fn manifest(&self, order: &Order) -> Result<Option<Manifest>, DriverError> {
        let Some(point) = order.point else { return Ok(None) };
        match self.points().load(order.vm, point)? {
            Some(manifest) => Ok(Some(manifest)),
            None => Err(DriverError::new(
                DriverErrorKind::Missing,
                format!("the recovery point {} of {} is gone", point.0, order.vm_name),
                "choose another recovery point, or none",
            )),
        }
    }

    /// Opens all disks of a step and gives home's images the source's length.
    fn open_pairs(&self, order: &Order, vm: &VmDisks) -> Result<Vec<Pair>, DriverError> {
        if let Some(manifest) = self.manifest(order)?
            && manifest.disks.len() != vm.home.len()
        {
            let (was, is) = (manifest.disks.len(), vm.home.len());
            let message = format!("the recovery point has {was} disks and {} has {is}", vm.name);
            return Err(DriverError::new(
                DriverErrorKind::Missing,
                message,
                "choose a recovery point of the VM's present disks",
            ));
        }
        vm.home
            .iter()
            .zip(&vm.peer)
            .enumerate()
            .map(|(index, (home, peer))| self.open_pair(order, index, home, peer))
            .collect()
    }

    fn open_pair(&self, order: &Order, index: usize, home_path: &Path, peer: &Path) -> Result<Pair, DriverError> {
        let (source_copy, source_path) = match order.point {
            Some(point) => (Copy::Point, self.points().disk_path(order.vm, point, index)),
            None => (Copy::Peer, peer.to_owned()),
        };
        let source = self.open(source_copy, &source_path, Access::Read)?;
        let home = self.open(Copy::Home, home_path, Access::Write)?;
        let stamp = source.stamp().map_err(|error| from_io(source_copy, &source_path, "look at", &error))?;
        let home_stamp = home.stamp().map_err(|error| from_io(Copy::Home, home_path, "look at", &error))?;
        let (octets, home_octets) = (stamp.octets, home_stamp.octets);
        if (stamp.device, stamp.inode) == (home_stamp.device, home_stamp.inode) {
            return Err(DriverError::new(
                DriverErrorKind::NotPermitted,
                format!("{} and {} are the same file", source_path.display(), home_path.display()),
                "give home an image of its own (a hard link is not a copy), or correct the VM's disks in the inventory",
            ));
        }
        if home_octets > octets {
            // Cutting home would throw data away that nobody asked to lose.
            return Err(DriverError::new(
                DriverErrorKind::Shrunk,
                format!(
                    "{} has {octets} octets, but home's image {} has {home_octets}: one of them has changed its size",
                    source_path.display(),
                    home_path.display()
                ),
                "give both images the same size (the larger one, if a disk was grown), then start again",
            ));
        }
        if home_octets < octets {
            home.set_length(octets).map_err(|error| from_io(Copy::Home, home_path, "grow", &error))?;
        }
        Ok(Pair { source_copy, source_path, source, home_path: home_path.to_owned(), home, octets })
    }

    fn peer_stamps(&self, vm: &VmDisks) -> Result<Vec<Stamp>, DriverError> {
        vm.peer
            .iter()
            .map(|path| {
                let image = self.open(Copy::Peer, path, Access::Read)?;
                image.stamp().map_err(|error| from_io(Copy::Peer, path, "look at", &error))
            })
            .collect()
    }

    /// After quiesce the peer's images must stay as they are.
    fn refuse_changed(&self, order: &Order, vm: &VmDisks, marker: &Marker) -> Result<(), DriverError> {
        if marker.phase != Phase::Quiesced {
            return Ok(());
        }
        self.hold_peer(order, vm)?;
        let now = self.peer_stamps(vm)?;
        match vm.peer.iter().zip(now.iter().zip(&marker.peer)).find(|(_, (now, then))| now != then) {
            None => Ok(()),
            Some((path, _)) => Err(DriverError::new(
                DriverErrorKind::ChangedAfterQuiesce,
                format!("{} was changed after {} had been stopped at the peer", path.display(), vm.name),
                "find out who writes to it (a second start of the VM, a backup, a person), stop that, and start again",
            )),
        }
    }

    /// What the peer wrote after the point, in octets.
    fn left_behind(
        &self,
        vm: &VmDisks,
        pair: &Pair,
        index: usize,
        control: &StepControl<'_>,
    ) -> Result<u64, DriverError> {
        let Some(path) = vm.peer.get(index) else { return Ok(0) };
        if control.ctx.cancelled() {
            return Err(DriverError::cancelled());
        }
        let peer = self.open(Copy::Peer, path, Access::Read)?;
        count_differing(blocks(&*peer), blocks(&*pair.source), &Unlimited)
            .map_err(|error| from_blocks(&error, (Copy::Peer, path), (Copy::Point, &pair.source_path)))
    }
}

fn stamps(pairs: &[Pair]) -> Result<Vec<Stamp>, DriverError> {
    let stamp = |pair: &Pair| {
        pair.source.stamp().map_err(|error| from_io(pair.source_copy, &pair.source_path, "look at", &error))
    };
    pairs.iter().map(stamp).collect()
}

fn not_quiesced(vm: &VmDisks) -> DriverError {
    DriverError::new(
        DriverErrorKind::InUse,
        format!("{} has not been stopped at the peer", vm.name),
        "stop it there first: a failback must not end while both copies could run",
    )
}

fn refuse_difference(pair: &Pair, found: FirstDifference) -> Result<(), DriverError> {
    let (source, home) = (pair.source_path.display(), pair.home_path.display());
    let message = match found {
        FirstDifference::None => return Ok(()),
        FirstDifference::Length(was, is) => format!("{source} has {was} octets and {home} has {is}"),
        FirstDifference::At(offset) => format!("{source} and {home} differ at octet {offset}"),
    };
    let action = "start again; if it happens once more, look for damage of the medium that holds home's image";
    Err(DriverError::new(DriverErrorKind::Mismatch, message, action))
}

fn check_saved_hash(
    pair: &Pair,
    manifest: &Manifest,
    index: usize,
    control: &StepControl<'_>,
) -> Result<(), DriverError> {
    let (source, target) = pair.ends();
    let hash = image_sha256(blocks(&*pair.home), control).map_err(|error| from_blocks(&error, source, target))?;
    match manifest.disks.get(index) {
        Some(disk) if disk.sha256 == hash => Ok(()),
        _ => Err(DriverError::new(
            DriverErrorKind::Mismatch,
            format!(
                "{} has the SHA-256 {hash}, not the one saved with the recovery point: the point's copy {} is damaged",
                pair.home_path.display(),
                pair.source_path.display()
            ),
            "choose another recovery point, or none",
        )),
    }
}
