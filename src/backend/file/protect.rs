//! The forward direction (home to peer), recovery points, and power.

use std::path::PathBuf;

use super::error::{Copy, from_blocks, from_io};
use super::guest::Request;
use super::io::{Access, DiskFile, Stamp};
use super::marker::{Marker, Phase};
use super::points::blocks;
use super::settings::{Hook, VmDisks};
use super::{FileDriver, LOCK_PATIENCE, StepControl};
use crate::backend::{Context, DriverError, DriverErrorKind, NewPoint, Replicated, Round};
use crate::blocks::{Tally, converge};
use crate::replication::{PointId, RecoveryPoint, Site, VmId};

/// An open image with its path.
type Image = (PathBuf, Box<dyn DiskFile>);

impl FileDriver {
    /// `resume_peer`, for a revert after the end.
    pub(super) fn start_peer(&self, vm: VmId, epoch: u64) -> Result<(), DriverError> {
        let vm = self.entry(vm)?;
        let marker = self.refuse_live(&vm, "start the peer's")?;
        if let Some(newer) = marker.as_ref().filter(|marker| marker.epoch > epoch) {
            return Err(DriverError::new(
                DriverErrorKind::Stale,
                format!("an order of epoch {epoch} for {} came too late: epoch {} is known", vm.name, newer.epoch),
                "nothing: the newer owner of the VM goes on",
            ));
        }
        // The proof that home's copy does not run; given up as soon as the hook has been run.
        let home = self.lock_all(Copy::Home, &vm.home, LOCK_PATIENCE)?;
        self.hook(&vm, Site::Peer, Request::Start, &|| false)?;
        drop(home);
        match marker {
            Some(marker) => Marker { epoch, phase: Phase::Idle, peer: Vec::new(), ..marker }.save(&*self.disks, &vm),
            None => Ok(()),
        }
    }

    /// `power_home`.
    pub(super) fn switch_home(&self, vm: VmId, on: bool) -> Result<(), DriverError> {
        let vm = self.entry(vm)?;
        self.refuse_live(&vm, if on { "start" } else { "stop" })?;
        if !on {
            self.hook(&vm, Site::Home, Request::Stop, &|| false)?;
            return self.lock_all(Copy::Home, &vm.home, LOCK_PATIENCE).map(drop);
        }
        for path in &vm.home {
            self.open(Copy::Home, path, Access::Write)?;
        }
        // Never two running copies. A peer that cannot be seen may be gone for good, which is what home is there for.
        match self.lock_all(Copy::Peer, &vm.peer, LOCK_PATIENCE) {
            Err(error) if error.kind == DriverErrorKind::InUse => return Err(error),
            _ => {}
        }
        self.hook(&vm, Site::Home, Request::Start, &|| false)
    }

    /// `replicate`: the peer's copy becomes home's, then a point is taken of it.
    pub(super) fn protect(&self, id: VmId, point: NewPoint, ctx: &dyn Context) -> Result<Replicated, DriverError> {
        let vm = self.entry(id)?;
        self.refuse_live(&vm, "replicate")?;
        let home = self.open_images(Copy::Home, &vm.home, Access::Read)?;
        let peer = self.open_images(Copy::Peer, &vm.peer, Access::Create)?;
        let _locks = self.lock_all(Copy::Peer, &vm.peer, LOCK_PATIENCE)?;
        size_like(&home, &peer)?;
        let before = stamps(Copy::Home, &home)?;
        let mut tally = self.forward(&home, &peer, ctx)?;
        if stamps(Copy::Home, &home)? != before {
            // The guest wrote meanwhile: what is missing is brought while it holds its writes.
            tally += self.frozen(&vm, Site::Home, &|| ctx.cancelled(), || {
                let before = stamps(Copy::Home, &home)?;
                let rest = self.forward(&home, &peer, ctx)?;
                if stamps(Copy::Home, &home)? == before { Ok(rest) } else { Err(still_written(&vm, Site::Home)) }
            })?;
        }
        for (path, image) in &peer {
            image.sync().map_err(|error| from_io(Copy::Peer, path, "sync", &error))?;
        }
        let point = self.copy_point(id, &vm, point, &peer, ctx)?;
        let round = Round {
            blocks_compared: tally.blocks_compared,
            octets_compared: tally.octets_compared,
            octets_moved: tally.octets_moved,
            octets_left_estimate: 0,
        };
        Ok(Replicated { round, point })
    }

    /// `take_point`: of a peer whose VM may run.
    pub(super) fn point_of_peer(
        &self,
        id: VmId,
        point: NewPoint,
        ctx: &dyn Context,
    ) -> Result<RecoveryPoint, DriverError> {
        let vm = self.entry(id)?;
        let peer = self.open_images(Copy::Peer, &vm.peer, Access::Read)?;
        let copy = || {
            let before = stamps(Copy::Peer, &peer)?;
            let made = self.copy_point(id, &vm, point, &peer, ctx)?;
            if stamps(Copy::Peer, &peer)? == before {
                return Ok(made);
            }
            self.points().discard(id, made.id)?;
            Err(still_written(&vm, Site::Peer))
        };
        match self.lock_all(Copy::Peer, &vm.peer, std::time::Duration::ZERO) {
            Ok(_off) => copy(),
            Err(error) if error.kind == DriverErrorKind::InUse => {
                self.frozen(&vm, Site::Peer, &|| ctx.cancelled(), copy)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the point and retires the oldest ones.
    fn copy_point(
        &self,
        id: VmId,
        vm: &VmDisks,
        point: NewPoint,
        peer: &[Image],
        ctx: &dyn Context,
    ) -> Result<RecoveryPoint, DriverError> {
        let sources: Vec<_> = peer.iter().map(|(path, image)| (path.as_path(), &**image)).collect();
        let control = StepControl { ctx, link: None, octets_before: 0, octets_total: 0 };
        let made = self.points().make(id, point, &sources, &control)?;
        let live = Marker::load(&*self.disks, vm)?.filter(|marker| marker.phase.is_live());
        let keep = live.and_then(|marker| marker.point).map(PointId);
        self.points().retire(id, point.points_max, keep)?;
        Ok(made)
    }

    /// One compare and copy from home to the peer.
    fn forward(&self, home: &[Image], peer: &[Image], ctx: &dyn Context) -> Result<Tally, DriverError> {
        let octets_total = lengths(home)?.iter().sum();
        let (mut octets_before, mut tally) = (0, Tally::default());
        for ((source_path, source), (target_path, target)) in home.iter().zip(peer) {
            let control = StepControl { ctx, link: Some(&self.link), octets_before, octets_total };
            tally += converge(blocks(&**source), blocks(&**target), &control)
                .map_err(|error| from_blocks(&error, (Copy::Home, source_path), (Copy::Peer, target_path)))?;
            octets_before += source.length().unwrap_or(0);
        }
        Ok(tally)
    }

    /// Runs `work` between the freeze and the thaw hook. The thaw is run whatever happens.
    fn frozen<T>(
        &self,
        vm: &VmDisks,
        site: Site,
        cancelled: &dyn Fn() -> bool,
        work: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        if vm.hooks.freeze == Hook::None {
            return Err(still_written(vm, site));
        }
        let result = self.hook(vm, site, Request::Freeze, cancelled).and_then(|()| work());
        self.hook(vm, site, Request::Thaw, &|| false)?;
        result
    }

    fn open_images(&self, copy: Copy, paths: &[PathBuf], access: Access) -> Result<Vec<Image>, DriverError> {
        paths.iter().map(|path| Ok((path.clone(), self.open(copy, path, access)?))).collect()
    }
}

/// Gives the peer's images home's length; they may only grow.
fn size_like(home: &[Image], peer: &[Image]) -> Result<(), DriverError> {
    let (home_octets, peer_octets) = (lengths(home)?, lengths(peer)?);
    for ((path, image), (wanted, present)) in peer.iter().zip(home_octets.into_iter().zip(peer_octets)) {
        if present > wanted {
            return Err(DriverError::new(
                DriverErrorKind::Shrunk,
                format!("the peer's image {} has {present} octets and home's has {wanted}", path.display()),
                "give both images the same size (the larger one, if a disk was grown), then start again",
            ));
        }
        if present < wanted {
            image.set_length(wanted).map_err(|error| from_io(Copy::Peer, path, "grow", &error))?;
        }
    }
    Ok(())
}

fn lengths(images: &[Image]) -> Result<Vec<u64>, DriverError> {
    // Which side it is does not matter much here: the path says it.
    let measure = |(path, image): &Image| image.length().map_err(|error| from_io(Copy::Peer, path, "measure", &error));
    images.iter().map(measure).collect()
}

fn stamps(copy: Copy, images: &[Image]) -> Result<Vec<Stamp>, DriverError> {
    let look = |(path, image): &Image| image.stamp().map_err(|error| from_io(copy, path, "look at", &error));
    images.iter().map(look).collect()
}

fn still_written(vm: &VmDisks, site: Site) -> DriverError {
    let place = if site == Site::Home { "home" } else { "the peer" };
    DriverError::new(
        DriverErrorKind::InUse,
        format!("the guest of {} wrote at {place} while its disks were copied", vm.name),
        "give the VM a freeze and a thaw hook that hold its writes for a moment, or stop it first",
    )
}
