//! Recovery points: a directory each, with a sparse copy of every disk and a manifest.
//!
//! `POINTS/VM/POINT/manifest.json`, `disk0.img`, `disk1.img`, ... A point is made under a name that starts with a dot
//! and renamed when all of it is on the medium, so that what is listed is whole. Its files are never written again.
//! The manifest holds the SHA-256 of each whole image, computed when the point was made: with it a failback can be
//! checked without the hashes of the compare, and by anybody with `sha256sum`.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{Copy, from_blocks, from_io};
use super::io::{Access, DiskFile, Disks};
use crate::backend::{DriverError, DriverErrorKind, NewPoint};
use crate::blocks::{BLOCK_OCTETS, BlockError, Blocks, Control, End, Extents, converge, narrow, widen};
use crate::replication::{PointId, RecoveryPoint, Site, VmId};

/// The name of the file that describes a point.
const MANIFEST: &str = "manifest.json";

/// A recovery point as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// What the engine shows.
    pub(super) point: RecoveryPoint,
    /// Its disks, in the order of the VM's.
    pub(super) disks: Vec<PointDisk>,
}

/// One disk of a recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PointDisk {
    /// Length in octets.
    pub(super) octets: u64,
    /// SHA-256 of all its octets, in hexadecimal.
    pub(super) sha256: String,
}

/// The directory of recovery points.
pub(super) struct Points<'a> {
    pub(super) disks: &'a dyn Disks,
    pub(super) root: &'a Path,
}

impl Points<'_> {
    fn vm_directory(&self, vm: VmId) -> PathBuf {
        self.root.join(vm.0.to_string())
    }

    /// The copy of a disk in a point.
    pub(super) fn disk_path(&self, vm: VmId, point: PointId, index: usize) -> PathBuf {
        self.vm_directory(vm).join(point.0.to_string()).join(format!("disk{index}.img"))
    }

    /// All points of a VM, oldest first.
    pub(super) fn list(&self, vm: VmId) -> Result<Vec<Manifest>, DriverError> {
        let directory = self.vm_directory(vm);
        let names = match self.disks.list(&directory) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(from_io(Copy::Point, &directory, "list", &error)),
        };
        let ids = names.iter().filter_map(|name| name.parse().ok().map(PointId));
        let mut found: Vec<Manifest> = ids.filter_map(|id| self.load(vm, id).transpose()).collect::<Result<_, _>>()?;
        found.sort_by_key(|manifest| (manifest.point.taken, manifest.point.id.0));
        Ok(found)
    }

    /// One point; none when there is no such point of this VM.
    pub(super) fn load(&self, vm: VmId, point: PointId) -> Result<Option<Manifest>, DriverError> {
        let path = self.vm_directory(vm).join(point.0.to_string()).join(MANIFEST);
        let octets = match self.disks.read_small(&path) {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(from_io(Copy::Point, &path, "read", &error)),
        };
        let manifest: Manifest = serde_json::from_slice(&octets).map_err(|error| {
            let message = format!("the recovery point's manifest {} cannot be understood: {error}", path.display());
            DriverError::new(DriverErrorKind::Io, message, "remove the point's directory, or use another point")
        })?;
        Ok(Some(manifest).filter(|manifest| manifest.point.id == point && manifest.point.vm == vm))
    }

    /// Makes a point of `sources`, which must not change meanwhile. A point that is there already stays as it is.
    pub(super) fn make(
        &self,
        vm: VmId,
        new: NewPoint,
        sources: &[(&Path, &dyn DiskFile)],
        control: &dyn Control,
    ) -> Result<RecoveryPoint, DriverError> {
        if let Some(manifest) = self.load(vm, new.id)? {
            return Ok(manifest.point);
        }
        let fresh = self.vm_directory(vm).join(format!(".{}", new.id.0));
        let failed = |doing: &'static str| {
            let fresh = &fresh;
            move |error: io::Error| from_io(Copy::Point, fresh, doing, &error)
        };
        self.disks.remove_directory(&fresh).map_err(failed("clear"))?;
        self.disks.create_directory(&fresh).map_err(failed("make"))?;
        let made = self.fill(&fresh, sources, control).and_then(|disks| {
            let name = format!("recovery point {}", new.id.0);
            let point = RecoveryPoint { id: new.id, vm, kind: new.kind, taken: new.taken, site: Site::Peer, name };
            let manifest = Manifest { point, disks };
            let octets = serde_json::to_vec_pretty(&manifest).map_err(|error| failed("describe")(error.into()))?;
            self.disks.write_small(&fresh.join(MANIFEST), &octets).map_err(failed("describe"))?;
            let place = self.vm_directory(vm).join(new.id.0.to_string());
            self.disks.rename(&fresh, &place).map_err(failed("put in place"))?;
            Ok(manifest.point)
        });
        if made.is_err() {
            // What is left would only take space; the error that matters is the one above.
            drop(self.disks.remove_directory(&fresh));
        }
        made
    }

    /// Copies the disks into the new point's directory.
    fn fill(
        &self,
        fresh: &Path,
        sources: &[(&Path, &dyn DiskFile)],
        control: &dyn Control,
    ) -> Result<Vec<PointDisk>, DriverError> {
        let mut disks = Vec::with_capacity(sources.len());
        for (index, (source_path, source)) in sources.iter().enumerate() {
            let path = fresh.join(format!("disk{index}.img"));
            let failed = |doing: &'static str| {
                let path = &path;
                move |error: io::Error| from_io(Copy::Point, path, doing, &error)
            };
            let target = self.disks.open(&path, Access::Create).map_err(failed("make"))?;
            let octets = source.length().map_err(|error| from_io(Copy::Peer, source_path, "measure", &error))?;
            target.set_length(octets).map_err(failed("size"))?;
            let blocks_failed =
                |error: BlockError| from_blocks(&error, (Copy::Peer, source_path), (Copy::Point, &path));
            if !target.clone_from(*source).map_err(failed("clone into"))? {
                converge(blocks(*source), blocks(&*target), control).map_err(blocks_failed)?;
            }
            target.sync().map_err(failed("sync"))?;
            let sha256 = image_sha256(blocks(&*target), control).map_err(blocks_failed)?;
            self.disks.make_read_only(&path).map_err(failed("protect"))?;
            disks.push(PointDisk { octets, sha256 });
        }
        Ok(disks)
    }

    /// Removes the oldest points until `points_max` are left; `keep` (the source of a live failback) always stays.
    pub(super) fn retire(&self, vm: VmId, points_max: usize, keep: Option<PointId>) -> Result<(), DriverError> {
        let points = self.list(vm)?;
        let surplus = points.len().saturating_sub(points_max.max(1));
        let mut old = points.iter().map(|manifest| manifest.point.id).take(surplus).filter(|id| Some(*id) != keep);
        old.try_for_each(|id| self.discard(vm, id))
    }

    /// Removes a point.
    pub(super) fn discard(&self, vm: VmId, point: PointId) -> Result<(), DriverError> {
        let place = self.vm_directory(vm).join(point.0.to_string());
        let gone = self.vm_directory(vm).join(format!(".{}", point.0));
        // Renamed first: half a point must never be listed.
        self.disks
            .rename(&place, &gone)
            .and_then(|()| self.disks.remove_directory(&gone))
            .map_err(|error| from_io(Copy::Point, &place, "remove", &error))
    }
}

/// An open image as what the block engine works on.
pub(super) fn blocks(disk: &dyn DiskFile) -> &dyn Blocks {
    disk
}

/// SHA-256 of all octets of an image in hexadecimal, holes read as zeros. Failures are told as the target's.
pub(super) fn image_sha256(image: &dyn Blocks, control: &dyn Control) -> Result<String, BlockError> {
    let length = image.length().map_err(BlockError::at(End::Target, 0))?;
    let (mut extents, mut hash) = (Extents::new(image), Sha256::new());
    let zeros = vec![0; BLOCK_OCTETS];
    let mut buffer = vec![0; BLOCK_OCTETS];
    let mut offset = 0;
    while offset < length {
        if control.cancelled() {
            return Err(BlockError::Cancelled);
        }
        let octets = narrow(length - offset, BLOCK_OCTETS);
        let end = offset + widen(octets);
        if extents.has_data(&(offset..end)).map_err(BlockError::at(End::Target, offset))? {
            let data = &mut buffer[..octets];
            image.read_at(offset, data).map_err(BlockError::at(End::Target, offset))?;
            hash.update(data);
        } else {
            hash.update(&zeros[..octets]);
        }
        offset = end;
    }
    Ok(hash.finalize().iter().fold(String::with_capacity(64), |mut text, octet| {
        for digit in [octet >> 4, octet & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
        text
    }))
}
