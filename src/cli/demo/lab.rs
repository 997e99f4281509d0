//! The laboratory: two sites with real disk images, made through the same calls that a server makes.

use super::image::{self, Size};
use crate::backend::file::guest::{GuestSettings, LabGuest};
use crate::backend::file::{FileDriver, Hooks, VmDisks};
use crate::backend::{Driver, NewPoint, Unattended};
use crate::cli::Failure;
use crate::job::Timestamp;
use crate::replication::{PointId, PointKind, VmId};
use crate::server::random_id;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How many recovery points a VM of the lab keeps.
const POINTS_MAX: usize = 8;
/// What a guest writes at a time.
const GUEST_BLOCK_OCTETS: u64 = 4096;
/// How fast guests write while the lab is made.
const HASTE_BLOCKS_PER_SECOND: u32 = 20_000;
/// The longest wait for a guest's writes.
const GUEST_PATIENCE: Duration = Duration::from_mins(1);

/// The two directories that stand for the two sites.
pub(crate) struct Sites {
    pub(crate) home: PathBuf,
    pub(crate) peer: PathBuf,
}

impl Sites {
    /// The sites below a data directory.
    pub(crate) fn below(data_dir: &Path) -> Self {
        Self { home: data_dir.join("home"), peer: data_dir.join("peer") }
    }

    /// Makes the directories.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        for site in [&self.home, &self.peer] {
            std::fs::DirBuilder::new().mode(0o700).create(site).map_err(|error| failed(site, &error))?;
        }
        Ok(())
    }
}

/// A VM of the lab.
pub(crate) struct LabVm {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    /// True when it runs at the peer, so that a failback of it is admitted.
    pub(crate) ready: bool,
    /// Home's image.
    pub(crate) home: PathBuf,
    /// The peer's image.
    pub(crate) peer: PathBuf,
    /// The recovery point that was taken after the failover.
    pub(crate) point: Option<SavedPoint>,
    /// Its disk.
    pub(crate) size: Size,
    /// Seed of its guests.
    seed: u64,
}

/// A recovery point and what the disk held when it was taken.
pub(crate) struct SavedPoint {
    pub(crate) id: Uuid,
    /// SHA-256 of the disk.
    pub(crate) hash: [u8; 32],
}

impl LabVm {
    /// A VM with an image of pseudo-random data at home.
    pub(crate) fn create(sites: &Sites, name: &str, size: Size, seed: u64) -> Result<Self, Failure> {
        let file = format!("{name}.raw");
        let (home, peer) = (sites.home.join(&file), sites.peer.join(&file));
        image::create(&home, size, seed, name).map_err(|error| failed(&home, &error))?;
        let id = random_id();
        Ok(Self { name: name.to_owned(), id, ready: false, home, peer, point: None, size, seed })
    }

    /// The inventory's entry.
    pub(crate) fn disks(&self) -> VmDisks {
        VmDisks {
            vm: self.id,
            name: self.name.clone(),
            home: vec![self.home.clone()],
            peer: vec![self.peer.clone()],
            hooks: Hooks::lab(),
        }
    }

    /// Initial replication, then some writes at home and one more cycle: the peer has two recovery points.
    pub(crate) fn protect(&self, driver: &FileDriver, now: &dyn Fn() -> Timestamp) -> Result<(), Failure> {
        self.replicate(driver, now)?;
        self.write(&self.home, 1)?;
        self.replicate(driver, now)
    }

    fn replicate(&self, driver: &FileDriver, now: &dyn Fn() -> Timestamp) -> Result<(), Failure> {
        let done = driver.replicate(VmId(self.id), new_point(now), &Unattended);
        done.map(drop).map_err(|error| Failure::Failed(format!("{}: {error}; {}", self.name, error.action)))
    }

    /// What happens at the peer after a failover: the guest writes, a recovery point is taken, the guest writes on.
    pub(crate) fn run_at_peer(&mut self, driver: &FileDriver, now: &dyn Fn() -> Timestamp) -> Result<(), Failure> {
        self.write(&self.peer, 2)?;
        // Between two runs of the guest, so that the hash of the image is that of the point.
        let (hash, _) = image::fingerprint(&self.peer).map_err(|error| failed(&self.peer, &error))?;
        let point = driver
            .take_point(VmId(self.id), new_point(now), &Unattended)
            .map_err(|error| Failure::Failed(format!("{}: {error}; {}", self.name, error.action)))?;
        self.point = Some(SavedPoint { id: point.id.0, hash });
        self.write(&self.peer, 3)?;
        self.ready = true;
        Ok(())
    }

    /// A guest that runs at the peer until it is dropped or the peer is stopped.
    pub(crate) fn guest_at_peer(&self, blocks_per_second: u32) -> Result<LabGuest, Failure> {
        LabGuest::spawn(&self.peer, self.guest(4, blocks_per_second)).map_err(|error| failed(&self.peer, &error))
    }

    fn guest(&self, chapter: u64, blocks_per_second: u32) -> GuestSettings {
        // Neighbouring seeds would start a simple generator alike, so they are spread over all bits.
        let seed = self.seed ^ chapter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        GuestSettings { range: 0..self.size.disk_octets, blocks_per_second, seed }
    }

    /// Lets a guest write a while, and ends it. Each chapter of the history writes something else.
    fn write(&self, image: &Path, chapter: u64) -> Result<(), Failure> {
        let told = |error: io::Error| failed(image, &error);
        let guest = LabGuest::spawn(image, self.guest(chapter, HASTE_BLOCKS_PER_SECOND)).map_err(told)?;
        let started = Instant::now();
        while guest.blocks_written() < self.size.written_octets.div_ceil(GUEST_BLOCK_OCTETS) {
            if started.elapsed() > GUEST_PATIENCE {
                return Err(Failure::Failed(format!("the guest on {} does not write", image.display())));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        guest.end().map_err(told)
    }
}

fn new_point(now: &dyn Fn() -> Timestamp) -> NewPoint {
    NewPoint { id: PointId(random_id()), kind: PointKind::Standard, taken: now(), points_max: POINTS_MAX }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}

/// `web01`, `db01`, `app01`, `web02` and so on.
pub(crate) fn name_of(number: u32) -> String {
    const KINDS: [&str; 3] = ["web", "db", "app"];
    let kind = KINDS.iter().cycle().nth(usize::try_from(number % 3).unwrap_or_default()).unwrap_or(&"vm");
    format!("{kind}{:02}", (number / 3).saturating_add(1))
}

/// Makes the data directory itself; one that exists must be empty.
pub(crate) fn make_directory(data_dir: &Path) -> Result<(), Failure> {
    let told = |error: io::Error| failed(data_dir, &error);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(told)?;
    if std::fs::read_dir(data_dir).map_err(told)?.next().is_some() {
        return Err(Failure::Failed(format!(
            "{} is not empty; a lab is only made in a new or empty directory",
            data_dir.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::file::FileSettings;
    use crate::backend::file::io::RealDisks;

    #[test]
    fn names_go_on_in_turn() {
        let names: Vec<String> = (0..7).map(name_of).collect();
        assert_eq!(names, ["web01", "db01", "app01", "web02", "db02", "app02", "web03"]);
        assert_eq!(name_of(299), "app100");
    }

    #[test]
    fn a_vm_is_protected_fails_over_and_has_a_point_of_its_life_at_the_peer() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        let sites = Sites::below(&root);
        sites.create().unwrap();
        let settings = FileSettings {
            home_host: "home".to_owned(),
            peer_host: "peer".to_owned(),
            points: sites.peer.join("points"),
            link_octets_per_second: None,
        };
        let driver = FileDriver::new(settings, Box::new(RealDisks));
        let size = Size { disk_octets: 4 << 20, data_octets: 1 << 20, written_octets: 512 << 10 };
        let mut vm = LabVm::create(&sites, "web01", size, 11).unwrap();
        driver.register(vm.disks()).unwrap();
        let now = || Timestamp(1_000_000);
        vm.protect(&driver, &now).unwrap();
        assert_eq!(image::compare(&vm.home, &vm.peer).unwrap(), Ok(size.disk_octets));
        vm.run_at_peer(&driver, &now).unwrap();
        assert!(image::compare(&vm.home, &vm.peer).unwrap().is_err(), "the peer went on");
        let point = vm.point.as_ref().unwrap();
        assert_ne!(image::fingerprint(&vm.peer).unwrap().0, point.hash, "and went on after the point");
        let points = driver.recovery_points(VmId(vm.id)).unwrap();
        assert_eq!(points.len(), 3);
        assert!(points.iter().any(|known| known.id.0 == point.id));
        assert!(driver.probe(VmId(vm.id), Some(PointId(point.id))).is_ok());
    }

    #[test]
    fn only_an_empty_directory_becomes_a_lab() {
        let scratch = tempfile::tempdir().unwrap();
        let data_dir = scratch.path().join("a/b");
        make_directory(&data_dir).unwrap();
        make_directory(&data_dir).unwrap();
        std::fs::write(data_dir.join("x"), "").unwrap();
        let Err(Failure::Failed(problem)) = make_directory(&data_dir) else { panic!("accepted") };
        assert!(problem.contains("not empty"), "{problem}");
    }
}
