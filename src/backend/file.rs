//! The embedded default backend: raw (sparse) image files in two directories, home's and the peer's, both mounted here.
//!
//! There is no dirty map: each round compares all data of all disks by hash, and moves what differs. That is simple and
//! needs nothing from whoever runs the guests; [`settings::Hooks`] stop and start them.
//!
//! What protects the data:
//! * The source (the peer's images, or a recovery point's files) is opened for reading only.
//! * Home's images are locked while a job has them, the peer's from quiesce on; a guest holds a lock while it runs.
//! * [`marker`] beside home's first image says which job has home's copy, and fences off replaced owners.
//! * A round is synced before it is reported, every small file is replaced atomically, every step can be run again.
//! * Verification compares all octets without the hashes of the compare; with a recovery point, home must also have the
//!   SHA-256 that was saved when the point was taken. So neither an error of the compare nor a damaged copy passes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{
    Capabilities, Context, Driver, DriverError, DriverErrorKind, NewPoint, Order, Plan, Probe, ProbeRefusal,
    Replicated, Round, Verified,
};
use crate::blocks::Control;
use crate::job::JobId;
use crate::replication::{PointId, RecoveryPoint, VmId};

mod error;
mod failback;
pub mod guest;
mod hooks;
pub mod io;
mod link;
mod marker;
mod points;
pub mod power_cut;
mod protect;
pub mod settings;

use error::Copy;
use io::{Access, DiskFile, Disks};
use link::Link;
use marker::Marker;
use points::Points;
pub use settings::{FileSettings, Hook, Hooks, VmDisks};

/// The name under which this driver is loaded and VM records name it.
pub const NAME: &str = "file";

/// Why a VM's disks were not taken into the inventory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InventoryError(String);

/// The driver for image files. See the module's comment.
pub struct FileDriver {
    settings: FileSettings,
    disks: Box<dyn Disks>,
    link: Link,
    inventory: Mutex<Inventory>,
    active: Mutex<HashMap<VmId, Active>>,
}

/// The VMs, and who owns which image.
#[derive(Default)]
struct Inventory {
    vms: HashMap<VmId, Arc<VmDisks>>,
    owners: HashMap<PathBuf, VmId>,
}

/// What this process holds for a job; all of it can be had again after a restart.
struct Active {
    job: JobId,
    /// Open and exclusively locked, never read.
    home_locks: Vec<Box<dyn DiskFile>>,
    /// Likewise, from quiesce on.
    peer_locks: Vec<Box<dyn DiskFile>>,
    /// The last round: what it moved, and how long it took.
    last_round: Option<(u64, Duration)>,
}

impl FileDriver {
    /// A driver without VMs. `disks` is [`io::RealDisks`] but for tests.
    pub fn new(settings: FileSettings, disks: Box<dyn Disks>) -> Self {
        let link = Link::new(settings.link_octets_per_second);
        Self { settings, disks, link, inventory: Mutex::default(), active: Mutex::default() }
    }

    /// Adds a VM to the inventory or replaces its entry. Nothing is opened.
    pub fn register(&self, vm: VmDisks) -> Result<(), InventoryError> {
        let refuse = |text: String| Err(InventoryError(text));
        if vm.home.is_empty() || vm.home.len() != vm.peer.len() {
            return refuse(format!("{} needs as many peer disks as home disks, and at least one", vm.name));
        }
        let id = VmId(vm.vm);
        let mut inventory = lock(&self.inventory);
        let mut own = Vec::with_capacity(vm.home.len() * 2);
        for path in vm.home.iter().chain(&vm.peer) {
            if !path.is_absolute() {
                return refuse(format!("{} is not an absolute path", path.display()));
            }
            if own.contains(&path) || inventory.owners.get(path).is_some_and(|owner| *owner != id) {
                return refuse(format!("{} is a disk already; no two disks may share an image", path.display()));
            }
            own.push(path);
        }
        inventory.owners.retain(|_, owner| *owner != id);
        inventory.owners.extend(own.into_iter().map(|path| (path.clone(), id)));
        inventory.vms.insert(id, Arc::new(vm));
        Ok(())
    }

    /// Takes a VM out of the inventory; its images stay.
    pub fn unregister(&self, vm: VmId) {
        let mut inventory = lock(&self.inventory);
        inventory.vms.remove(&vm);
        inventory.owners.retain(|_, owner| *owner != vm);
    }

    /// A VM's entry.
    pub fn vm(&self, vm: VmId) -> Option<Arc<VmDisks>> {
        lock(&self.inventory).vms.get(&vm).cloned()
    }

    fn entry(&self, vm: VmId) -> Result<Arc<VmDisks>, DriverError> {
        self.vm(vm).ok_or_else(|| {
            let message = format!("the inventory has no disks of VM {}", vm.0);
            DriverError::new(DriverErrorKind::Missing, message, "import the VM with its disks (`failbackd vm import`)")
        })
    }

    fn points(&self) -> Points<'_> {
        Points { disks: &*self.disks, root: &self.settings.points }
    }

    fn open(&self, copy: Copy, path: &Path, access: Access) -> Result<Box<dyn DiskFile>, DriverError> {
        self.disks.open(path, access).map_err(|error| error::from_io(copy, path, "open", &error))
    }

    /// Refuses while a job has home's copy.
    fn refuse_live(&self, vm: &VmDisks, what: &str) -> Result<Option<Marker>, DriverError> {
        let marker = Marker::load(&*self.disks, vm)?;
        match &marker {
            Some(live) if live.phase.is_live() => Err(DriverError::new(
                DriverErrorKind::InUse,
                format!("cannot {what} {}: the failback job {} has its copy", vm.name, live.job),
                "wait for the job's end or cancel it",
            )),
            _ => Ok(marker),
        }
    }

    /// Exclusive locks on images, or the news that a guest runs. With `patience`, waits a little for a lock that
    /// somebody just looks at.
    fn lock_all(
        &self,
        copy: Copy,
        paths: &[PathBuf],
        patience: Duration,
    ) -> Result<Vec<Box<dyn DiskFile>>, DriverError> {
        let started = std::time::Instant::now();
        let mut locked = Vec::with_capacity(paths.len());
        for path in paths {
            let image = self.open(copy, path, Access::Read)?;
            loop {
                if image.try_lock().map_err(|error| error::from_io(copy, path, "lock", &error))? {
                    break;
                }
                if started.elapsed() >= patience {
                    return Err(in_use(copy, path));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            locked.push(image);
        }
        Ok(locked)
    }
}

/// A lock that is only looked at (by a probe, or a guest that is about to see its stop file) is free again in no time.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

fn in_use(copy: Copy, path: &Path) -> DriverError {
    let side = if copy == Copy::Home { "home" } else { "the peer" };
    DriverError::new(
        DriverErrorKind::InUse,
        format!(
            "the image {} is in use: a guest still runs on it at {side}, or another program holds its lock",
            path.display()
        ),
        format!("stop the VM at {side} (see `fuser {}`), then start again", path.display()),
    )
}

/// A poisoned lock only means that some step panicked; the maps themselves are always whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A step's [`Context`] and the link as the block engine's [`Control`], for one disk after the other.
struct StepControl<'a> {
    ctx: &'a dyn Context,
    /// None for what does not cross the link.
    link: Option<&'a Link>,
    octets_before: u64,
    octets_total: u64,
}

impl Control for StepControl<'_> {
    fn cancelled(&self) -> bool {
        self.ctx.cancelled()
    }

    fn throttle(&self, octets: u64) {
        if let Some(link) = self.link {
            link.pass(octets, &|| self.ctx.cancelled());
            self.ctx.throttle(octets);
        }
    }

    fn progress(&self, position: u64) {
        self.ctx.progress(self.octets_before + position, self.octets_total);
    }
}

impl Driver for FileDriver {
    fn describe(&self) -> Capabilities {
        Capabilities {
            name: NAME,
            description: "Raw disk images in directories that are mounted on this machine",
            failback: true,
            recovery_points: true,
            reverse: true,
        }
    }

    fn recovery_points(&self, vm: VmId) -> Result<Vec<RecoveryPoint>, DriverError> {
        Ok(self.points().list(vm)?.into_iter().map(|manifest| manifest.point).collect())
    }

    fn probe(&self, vm: VmId, point: Option<PointId>) -> Result<Probe, ProbeRefusal> {
        self.probe_disks(vm, point)
    }

    fn prepare(&self, order: &Order, _ctx: &dyn Context) -> Result<Plan, DriverError> {
        self.claim(order)
    }

    fn sync_round(&self, order: &Order, round: u32, ctx: &dyn Context) -> Result<Round, DriverError> {
        self.run_round(order, round, ctx)
    }

    fn quiesce(&self, order: &Order, ctx: &dyn Context) -> Result<(), DriverError> {
        self.stop_peer(order, ctx)
    }

    fn verify(&self, order: &Order, ctx: &dyn Context) -> Result<Verified, DriverError> {
        self.check(order, ctx)
    }

    fn finish(&self, order: &Order, _ctx: &dyn Context) -> Result<(), DriverError> {
        self.hand_over(order)
    }

    fn undo(&self, order: &Order, _ctx: &dyn Context) -> Result<(), DriverError> {
        self.give_back(order)
    }

    fn resume_peer(&self, vm: VmId, epoch: u64) -> Result<(), DriverError> {
        self.start_peer(vm, epoch)
    }

    fn power_home(&self, vm: VmId, on: bool) -> Result<(), DriverError> {
        self.switch_home(vm, on)
    }

    fn replicate(&self, vm: VmId, point: NewPoint, ctx: &dyn Context) -> Result<Replicated, DriverError> {
        self.protect(vm, point, ctx)
    }

    fn take_point(&self, vm: VmId, point: NewPoint, ctx: &dyn Context) -> Result<RecoveryPoint, DriverError> {
        self.point_of_peer(vm, point, ctx)
    }
}
