//! Whole failbacks of the engine on a machine that loses power: home's disks and the store's volume drop a random half
//! of what was not synced, and nothing else is left. `FAILBACKD_TEST_SEED` sets the seed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failbackd::backend::Driver;
use failbackd::backend::file::guest::{GuestSettings, LabGuest};
use failbackd::backend::file::power_cut::PowerCutDisks;
use failbackd::backend::file::{self, FileDriver, FileSettings, Hooks, VmDisks};
use failbackd::job::{Job, JobId, JobState};
use failbackd::replication::{Command, Operation, ReplicationState, Site, VmId};
use failbackd::service::{Engine, EngineSettings, NewVm, SystemClock};
use failbackd::store::{RedbStore, Store};
use redb::StorageBackend;
use uuid::Uuid;

use super::crash::{Random, setting};
use super::process::same;

const VM: VmId = VmId(Uuid::from_u128(0xA1));
const IMAGE_OCTETS: u64 = 8 << 20;
/// What a medium writes as a whole.
const PAGE_OCTETS: usize = 4096;
const PATIENCE: Duration = Duration::from_mins(1);

/// When the power goes.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Never,
    /// In this call that writes to home's disks.
    Disk(u64),
    /// In this call that writes to the store's volume.
    Store(u64),
}

/// The volume of the store. It outlives the boots of the machine.
#[derive(Debug, Default)]
struct Volume {
    /// What reads see.
    now: Vec<u8>,
    /// What was there at the last sync.
    synced: Vec<u8>,
    /// Pages written since, in order.
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl Volume {
    /// What a new boot finds: of what was not synced, a random half.
    fn settle(&mut self, random: &mut Random) {
        let Self { now, synced, unsynced } = self;
        for (offset, page) in unsynced.drain(..) {
            if random.below(2) == 0 {
                synced[offset..offset + page.len()].copy_from_slice(&page);
            }
        }
        now.clone_from(synced);
    }
}

/// The volume as one boot of the machine sees it.
#[derive(Clone, Debug)]
struct Medium {
    volume: Arc<Mutex<Volume>>,
    power: Power,
}

/// One supply for home's disks and the store.
#[derive(Clone)]
struct Power {
    disks: PowerCutDisks,
    /// Writing calls of the store until the power goes.
    store_calls: Arc<AtomicU64>,
    seed: u64,
}

impl std::fmt::Debug for Power {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Power").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl Power {
    fn new(cut: Cut, seed: u64) -> Self {
        let (disk_calls, store_calls) = match cut {
            Cut::Never => (None, u64::MAX),
            Cut::Disk(calls) => (Some(calls), u64::MAX),
            Cut::Store(calls) => (None, calls),
        };
        Self { disks: PowerCutDisks::new(disk_calls), store_calls: Arc::new(AtomicU64::new(store_calls)), seed }
    }

    fn need(&self) -> io::Result<()> {
        if self.disks.is_dark() { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    /// Counts a call that writes to the store's volume; in the last one the power goes.
    fn spend(&self) -> io::Result<()> {
        self.need()?;
        if self.store_calls.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.disks.lose_power(self.seed)?;
        }
        self.need()
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl StorageBackend for Medium {
    fn len(&self) -> io::Result<u64> {
        self.power.need()?;
        Ok(u64::try_from(self.volume.lock().unwrap().now.len()).unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.power.need()?;
        out.copy_from_slice(&self.volume.lock().unwrap().now[place(offset)..][..out.len()]);
        Ok(())
    }

    /// Lengths are durable at once, as a journal of the file system would have them.
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.power.spend()?;
        let mut volume = self.volume.lock().unwrap();
        let length = place(length);
        volume.now.resize(length, 0);
        volume.synced.resize(length, 0);
        volume.unsynced.retain(|(offset, page)| offset + page.len() <= length);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.power.spend()?;
        let mut volume = self.volume.lock().unwrap();
        volume.unsynced.clear();
        let Volume { now, synced, .. } = &mut *volume;
        synced.clone_from(now);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.power.need()?;
        // What is on its way when the power goes may still arrive.
        let powered = self.power.spend();
        let mut volume = self.volume.lock().unwrap();
        for (index, page) in data.chunks(PAGE_OCTETS).enumerate() {
            let offset = place(offset) + index * PAGE_OCTETS;
            volume.now[offset..offset + page.len()].copy_from_slice(page);
            volume.unsynced.push((offset, page.to_vec()));
        }
        powered
    }
}

struct Lab {
    directory: tempfile::TempDir,
    store: Arc<Mutex<Volume>>,
}

impl Lab {
    fn new(random: &mut Random) -> Self {
        let lab = Self { directory: tempfile::tempdir().unwrap(), store: Arc::default() };
        let mut data = vec![0; 2 << 20];
        data.fill_with(|| u8::try_from(random.below(256)).unwrap());
        for path in [lab.home(), lab.peer()] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let image = File::create(&path).unwrap();
            image.set_len(IMAGE_OCTETS).unwrap();
            image.write_all_at(&data, 0).unwrap();
            // What the peer wrote since the failover follows; home has the same elsewhere.
            data.rotate_left(4096 * 3);
        }
        lab
    }

    fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    fn home(&self) -> PathBuf {
        self.path().join("home").join("web01.img")
    }

    fn peer(&self) -> PathBuf {
        self.path().join("peer").join("web01.img")
    }

    /// Boots the machine, does `run`, and cuts the power if that has not happened. None when it went before the start
    /// was over.
    fn boot<T>(&self, cut: Cut, seed: u64, run: impl AsyncFnOnce(&Arc<Engine>, &PowerCutDisks) -> T) -> Option<T> {
        let power = Power::new(cut, seed);
        let disks = power.disks.clone();
        let settings = FileSettings {
            home_host: "home".to_owned(),
            peer_host: "peer".to_owned(),
            points: self.path().join("points"),
            link_octets_per_second: None,
        };
        let driver = FileDriver::new(settings, Box::new(disks.clone()));
        let (home, peer) = (vec![self.home()], vec![self.peer()]);
        driver.register(VmDisks { vm: VM.0, name: "web01".to_owned(), home, peer, hooks: Hooks::lab() }).unwrap();
        let drivers: Vec<Arc<dyn Driver>> = vec![Arc::new(driver)];
        let medium = Medium { volume: Arc::clone(&self.store), power };
        let opener = move || redb::Builder::new().create_with_backend(medium.clone());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let result = runtime.block_on(async {
            let store: Arc<dyn Store> = Arc::new(RedbStore::open_with(opener).ok()?);
            let settings = EngineSettings { shutdown_limit_ms: 30_000, ..EngineSettings::default() };
            let opened = Engine::open(store, drivers, settings, "HOME".to_owned(), Arc::new(SystemClock)).await;
            let engine = opened.ok()?;
            let result = run(&engine, &disks).await;
            engine.shutdown().await;
            Some(result)
        });
        runtime.shutdown_timeout(PATIENCE);
        assert!(result.is_some() || disks.is_dark(), "seed {seed}, {cut:?}: no start, with power");
        disks.lose_power(seed).unwrap();
        self.store.lock().unwrap().settle(&mut Random::new(seed));
        result
    }
}

/// Waits until the job has ended, or the power is gone.
async fn end(engine: &Arc<Engine>, disks: &PowerCutDisks, id: JobId) -> Option<Job> {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    let wait = async {
        loop {
            let job = engine.view().job(id).expect("an acknowledged job is there").job.clone();
            if job.state.is_terminal() {
                return Some(job);
            }
            if disks.is_dark() {
                return None;
            }
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the job ends")
}

/// One failback, with a cut at each boot until one boot ends it. Returns how often the power went.
fn fail_back(random: &mut Random, seed: u64) -> u32 {
    let lab = Lab::new(random);
    let settings = GuestSettings { range: 0..IMAGE_OCTETS, blocks_per_second: 100, seed };
    let _guest = LabGuest::spawn(&lab.peer(), settings).unwrap();
    let new = NewVm { id: Some(VM), disk_octets: IMAGE_OCTETS, ..NewVm::failed_over("web01", file::NAME) };
    lab.boot(Cut::Never, seed, async |engine, _| engine.import_vm(new).await.unwrap()).unwrap();
    let key = [7; 32];
    let mut acknowledged: Option<JobId> = None;
    for boot in 0.. {
        let cut = match random.below(5) {
            _ if boot == 4 => Cut::Never,
            0 | 1 => Cut::Store(1 + random.below(60)),
            _ => Cut::Disk(1 + random.below(40)),
        };
        let seed = seed.wrapping_add(boot);
        let booted = lab.boot(cut, seed, async |engine, disks| {
            let command = Command {
                vm: VM,
                operation: Operation::InitiateFailback { point: None, settings: None },
                principal: "admin".to_owned(),
                idempotency_key: Some(key),
            };
            let Ok(answer) = engine.submit(command).await else {
                assert!(disks.is_dark(), "refused with power: {cut:?}");
                return (None, None);
            };
            assert_eq!(answer.return_value, 4096);
            let id = answer.job.unwrap();
            (Some(id), end(engine, disks, id).await)
        });
        let Some((id, job)) = booted else { continue };
        if let (Some(id), Some(before)) = (id, acknowledged) {
            assert_eq!(id, before, "seed {seed}, {cut:?}: the same call got another job");
        }
        acknowledged = acknowledged.or(id);
        let Some(job) = job else { continue };
        assert_eq!(job.state, JobState::COMPLETED, "seed {seed}, {cut:?}: {:?}", job.error);
        assert!(same(&lab.home(), &lab.peer()), "seed {seed}, {cut:?}");
        let checked = lab.boot(Cut::Never, seed, async |engine, _| {
            let vm = Arc::clone(engine.view().vm(VM).unwrap());
            assert_eq!((vm.state, vm.authority), (ReplicationState::FAILBACK_COMPLETE, Site::Home));
            assert_eq!(engine.view().job(job.id).unwrap().job.state, JobState::COMPLETED);
        });
        assert!(checked.is_some());
        return u32::try_from(boot).unwrap();
    }
    unreachable!("the loop ends by a return")
}

#[test]
fn failbacks_of_the_engine_end_verified_after_power_cuts_at_any_moment() {
    let seed = setting("FAILBACKD_TEST_SEED", 20_263);
    let times = setting("FAILBACKD_POWER_CUTS", 20);
    println!("seed {seed} (FAILBACKD_TEST_SEED and FAILBACKD_POWER_CUTS set others)");
    let mut random = Random::new(seed);
    let cuts: u32 = (0..times).map(|time| fail_back(&mut random, seed.wrapping_add(time * 100))).sum();
    println!("{times} failbacks, {cuts} power cuts");
    assert!(cuts > 0);
}
