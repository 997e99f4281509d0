//! The durable marker beside home's first image: which job has claimed home's copy, and how far it came.
//!
//! It outlives the daemon, and it outlives the job too: its epoch is the highest one seen, so that an order of an owner
//! that has been replaced is refused whenever it comes.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::{Copy, from_io};
use super::io::{Disks, Stamp};
use super::settings::VmDisks;
use crate::backend::{DriverError, DriverErrorKind, Order};

/// How far the job of a marker came.
///
/// `Idle -> Claimed -> Quiescing -> Quiesced -> Finished`, and from each but the last back to `Idle` by an undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// No job has home's copy.
    Idle,
    /// Data may be moving; the peer's VM runs.
    Claimed,
    /// The peer's stop hook may have run.
    Quiescing,
    /// The peer's VM is stopped and its images are stamped.
    Quiesced,
    /// Authority is at home: the peer's VM is to stay stopped.
    Finished,
}

impl Phase {
    /// Whether a job has home's copy right now.
    pub(super) fn is_live(self) -> bool {
        matches!(self, Self::Claimed | Self::Quiescing | Self::Quiesced)
    }

    /// Whether a live job may have stopped the peer's VM.
    pub(super) fn may_have_stopped_peer(self) -> bool {
        matches!(self, Self::Quiescing | Self::Quiesced)
    }
}

/// The marker's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// The last job that claimed home's copy.
    pub(super) job: Uuid,
    /// The highest epoch of an order that was followed.
    pub(super) epoch: u64,
    /// How far the job came.
    pub(super) phase: Phase,
    /// The recovery point that it copies from.
    pub(super) point: Option<Uuid>,
    /// Stamps of the peer's images when its VM was stopped, by disk.
    pub(super) peer: Vec<Stamp>,
}

impl Marker {
    /// Where a VM's marker is.
    pub(super) fn path(vm: &VmDisks) -> PathBuf {
        let mut name = vm.home.first().map(|image| OsString::from(image.as_path())).unwrap_or_default();
        name.push(".failback");
        PathBuf::from(name)
    }

    /// The VM's marker; none when no job ever claimed it.
    pub(super) fn load(disks: &dyn Disks, vm: &VmDisks) -> Result<Option<Self>, DriverError> {
        let path = Self::path(vm);
        let octets = match disks.read_small(&path) {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(from_io(Copy::Home, &path, "read the marker of", &error)),
        };
        serde_json::from_slice(&octets).map(Some).map_err(|error| damaged(&path, &error))
    }

    /// Makes it durable.
    pub(super) fn save(&self, disks: &dyn Disks, vm: &VmDisks) -> Result<(), DriverError> {
        let path = Self::path(vm);
        let octets = serde_json::to_vec_pretty(self).map_err(|error| damaged(&path, &error))?;
        disks.write_small(&path, &octets).map_err(|error| from_io(Copy::Home, &path, "write the marker of", &error))
    }

    /// The marker of a job that `order` belongs to, or why the order must not be followed.
    pub(super) fn of_order(disks: &dyn Disks, vm: &VmDisks, order: &Order) -> Result<Self, DriverError> {
        match Self::load(disks, vm)? {
            Some(marker) if marker.job == order.job.0 && marker.epoch <= order.epoch => Ok(marker),
            Some(marker) => Err(stale(vm, order, &marker)),
            None => Err(DriverError::new(
                DriverErrorKind::Missing,
                format!("the marker {} of this job is gone", Self::path(vm).display()),
                "somebody has removed it or changed home's directory: start the failback again",
            )),
        }
    }
}

fn damaged(path: &Path, error: &serde_json::Error) -> DriverError {
    DriverError::new(
        DriverErrorKind::Io,
        format!("the marker {} cannot be understood: {error}", path.display()),
        "make sure that no failback of this VM runs anywhere, remove the marker and start again",
    )
}

/// The refusal of an order that another one has overtaken.
pub(super) fn stale(vm: &VmDisks, order: &Order, marker: &Marker) -> DriverError {
    DriverError::new(
        DriverErrorKind::Stale,
        format!(
            "an order of job {} (epoch {}) for {} came too late: job {} (epoch {}) has its copy",
            order.job.0, order.epoch, vm.name, marker.job, marker.epoch
        ),
        "nothing: the newer owner of the VM goes on",
    )
}
