//! kill -9 of the real program at random moments of everything that it does with virtual machines, under a load of
//! reads. What was answered 4096 must be there after each restart, and end verified.
//!
//! `FAILBACKD_TEST_SEED` sets the seed, `FAILBACKD_CRASH_MOMENTS` the number of kills.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use failbackd::backend::file::guest::{GuestSettings, LabGuest};

use super::process::{
    Lab, LabVm, Served, Wire, cancel, failback, get, job_of, newest_point, number, replication, returned, same,
    state_change, stop_file,
};

const IMAGE_OCTETS: u64 = 12 << 20;
/// Octets a second over the link, and within how many milliseconds a failback is then over.
const LINKS: [(&str, u64); 3] = [("0", 250), ("4000000", 900), ("1500000", 2_000)];
/// Phases that a kill is aimed at, and within how many milliseconds of them it comes.
const PHASES: [(&str, u64); 3] = [("quiescing", 20), ("quiesced", 250), ("finished", 20)];
/// The longest wait for one of them: a cancelled job never comes there.
const AIM: Duration = Duration::from_secs(4);
const READERS: usize = 4;
/// What a reader waits between two reads: a load, but one that leaves the failbacks a part of two cores.
const PAUSE: Duration = Duration::from_millis(1);

/// A setting of a test: a variable, or the default.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Xorshift.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }

    /// True once in `times`.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// Where a virtual machine is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// It runs at the peer.
    Ready,
    /// A failback is complete.
    Complete,
    Committed,
    Primary,
    /// It runs at home: no way back but a failover.
    Home,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Failback,
    Revert,
    Commit,
    Reverse,
    Start,
}

struct Member {
    vm: LabVm,
    home: PathBuf,
    peer: PathBuf,
    stand: Stand,
    _guest: LabGuest,
}

impl Member {
    /// The file beside home's image that says how far the data is.
    fn marker(&self) -> PathBuf {
        let mut marker = self.home.clone().into_os_string();
        marker.push(".failback");
        PathBuf::from(marker)
    }

    /// Two copies that may run are the one thing that must never be.
    fn check_rule(&self) {
        let runnable = |image: &Path| !stop_file(image).exists();
        assert!(!(runnable(&self.home) && runnable(&self.peer)), "both copies of {} may run", self.vm.name);
    }
}

/// The phase that a marker says.
fn phase_of(marker: &Path) -> String {
    let marker = std::fs::read(marker).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let marker: serde_json::Value = marker.unwrap_or_default();
    marker["phase"].as_str().unwrap_or("no marker").to_owned()
}

/// When a kill comes.
struct Trigger {
    aim: Option<(PathBuf, &'static str)>,
    delay: Duration,
}

impl Trigger {
    fn wait(&self) {
        let started = Instant::now();
        if let Some((marker, phase)) = &self.aim {
            while phase_of(marker) != *phase && started.elapsed() < AIM {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        std::thread::sleep(self.delay);
    }
}

/// One call, and what is known of it.
struct Order {
    member: usize,
    kind: Kind,
    envelope: String,
    /// What home becomes, when it is not the peer.
    point: Option<PathBuf>,
    job: Option<String>,
    cancel: Cancel,
}

/// Whether a cancel was sent, and what came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    None,
    NoAnswer,
    Accepted,
    TooLate,
}

/// Threads that read while servers come and go.
struct Readers {
    wire: Arc<Mutex<Option<Wire>>>,
    answers: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    fn start(names: &[String]) -> Self {
        let (wire, answers, ended) = (Arc::new(Mutex::new(None::<Wire>)), Arc::default(), Arc::default());
        let threads = (0..READERS).map(|index| {
            let (wire, answers, ended) = (Arc::clone(&wire), Arc::clone(&answers), Arc::clone(&ended));
            let name = names[index % names.len()].clone();
            std::thread::spawn(move || read(&wire, &answers, &ended, &name))
        });
        let threads = threads.collect();
        Self { wire, answers, ended, threads }
    }

    fn look_at(&self, wire: Option<Wire>) {
        *self.wire.lock().unwrap() = wire;
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _outcome = thread.join();
        }
    }
}

fn read(wire: &Mutex<Option<Wire>>, answers: &AtomicU64, ended: &AtomicBool, vm: &str) {
    let request = get("Msvm_ComputerSystem", &[("CreationClassName", "Msvm_ComputerSystem"), ("Name", vm)]);
    while !ended.load(Ordering::SeqCst) {
        let now = wire.lock().unwrap().clone();
        match now.map(|wire| wire.post(&request)) {
            Some(Ok((200, _))) => drop(answers.fetch_add(1, Ordering::SeqCst)),
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
        std::thread::sleep(PAUSE);
    }
}

struct Campaign {
    lab: Lab,
    members: Vec<Member>,
    random: Random,
    readers: Readers,
    kills: u64,
    calls: u64,
    /// Jobs that were answered, and how they ended.
    ended: Vec<(String, u64)>,
    /// How many calls of a kind a kill has met, by how far the data was.
    met: BTreeMap<(Kind, String), u64>,
}

impl Campaign {
    fn new(vms: usize, seed: u64) -> Self {
        let lab = Lab::prepare(vms + 1, &["--size", "12", "--data", "6"]);
        let mut random = Random::new(seed);
        let ready: Vec<LabVm> = lab.vms.iter().filter(|vm| vm.ready).cloned().collect();
        let ids: Vec<String> = ready.iter().map(|vm| vm.id.clone()).collect();
        let members = ready.into_iter().map(|vm| {
            let (home, peer) = (lab.home(&vm.name), lab.peer(&vm.name));
            // Home is off after the failover.
            std::fs::write(stop_file(&home), b"").unwrap();
            let settings =
                GuestSettings { range: 0..IMAGE_OCTETS, blocks_per_second: 200, seed: random.below(1 << 40) };
            let guest = LabGuest::spawn(&peer, settings).unwrap();
            Member { vm, home, peer, stand: Stand::Ready, _guest: guest }
        });
        let members = members.collect();
        let readers = Readers::start(&ids);
        Self { lab, members, random, readers, kills: 0, calls: 0, ended: Vec::new(), met: BTreeMap::new() }
    }

    fn variables(link: &'static str) -> [(&'static str, &'static str); 3] {
        [
            ("FAILBACKD_LINK_OCTETS_PER_SECOND_MAX", link),
            ("FAILBACKD_TIME_BEFORE_REMOVAL_MS", "36000000"),
            ("FAILBACKD_LOG_LEVEL", "info,failbackd::request=warn"),
        ]
    }

    fn serve(&mut self) -> (Served, Wire, u64) {
        let (link, milliseconds) = LINKS[usize::try_from(self.random.below(3)).unwrap()];
        let server = self.lab.serve(&Self::variables(link));
        let wire = self.lab.wire(server.address());
        // The password is checked before the clock runs.
        wire.vm(&self.members[0].vm.id);
        self.readers.look_at(Some(wire.clone()));
        (server, wire, milliseconds)
    }

    /// What comes next for a virtual machine, if anything does.
    fn next(&mut self, member: usize) -> Option<Order> {
        let usable = self.members.iter().filter(|member| matches!(member.stand, Stand::Ready | Stand::Complete));
        let spare = usable.count() > 3;
        let kind = match self.members[member].stand {
            Stand::Ready => Kind::Failback,
            Stand::Complete if !spare || self.random.below(5) < 3 => Kind::Revert,
            Stand::Complete if self.random.once_in(2) => Kind::Commit,
            Stand::Complete | Stand::Committed => Kind::Reverse,
            Stand::Primary => Kind::Start,
            Stand::Home => return None,
        };
        self.calls += 1;
        let message = format!("uuid:{}", self.calls);
        let vm = &self.members[member].vm;
        let mut point = None;
        let envelope = match kind {
            Kind::Failback if self.random.once_in(3) => {
                let (id, image) = newest_point(&self.lab, vm);
                point = Some(image);
                failback(&message, &vm.id, &format!("<p:RecoveryPointIdentifier>{id}</p:RecoveryPointIdentifier>"))
            }
            Kind::Failback => failback(&message, &vm.id, ""),
            Kind::Revert => replication(&message, "RevertFailover", &vm.id, ""),
            Kind::Commit => replication(&message, "CommitFailover", &vm.id, ""),
            Kind::Reverse => replication(&message, "ReverseReplicationRelationship", &vm.id, ""),
            Kind::Start => {
                let name = [("CreationClassName", "Msvm_ComputerSystem"), ("Name", vm.id.as_str())];
                state_change(&message, "Msvm_ComputerSystem", &name, 2)
            }
        };
        Some(Order { member, kind, envelope, point, job: None, cancel: Cancel::None })
    }

    /// Calls for two virtual machines.
    fn orders(&mut self) -> Vec<Order> {
        let count = self.members.len();
        let first = usize::try_from(self.random.below(1 << 20)).unwrap() % count;
        let mut orders = Vec::new();
        for member in (first..first + count).map(|index| index % count) {
            orders.extend(self.next(member));
            if orders.len() == 2 {
                break;
            }
        }
        orders
    }

    fn check_rules(&self) {
        self.members.iter().for_each(Member::check_rule);
    }

    /// When the kill comes: after a time, or some time after the data has come to a phase; the later ones are short.
    fn trigger(&mut self, orders: &[Order], milliseconds: u64) -> Trigger {
        let failback = orders.iter().find(|order| order.kind == Kind::Failback);
        // What only changes a record is over in no time.
        let milliseconds = if failback.is_some() { milliseconds } else { 60 };
        match failback {
            Some(order) if !self.random.once_in(3) => {
                let (phase, within) = PHASES[usize::try_from(self.random.below(3)).unwrap()];
                let marker = self.members[order.member].marker();
                Trigger { aim: Some((marker, phase)), delay: Duration::from_micros(self.random.below(within * 1000)) }
            }
            _ => Trigger { aim: None, delay: Duration::from_micros(self.random.below(milliseconds * 1000)) },
        }
    }

    /// Calls, kills, kills perhaps once more while the server recovers, and looks whether all is well.
    fn moment(&mut self) {
        let (server, wire, milliseconds) = self.serve();
        let mut orders = self.orders();
        let trigger = self.trigger(&orders, milliseconds);
        let killer = std::thread::spawn(move || {
            trigger.wait();
            server.kill();
        });
        for order in &mut orders {
            if let Ok((status, body)) = wire.post(&order.envelope) {
                assert_eq!((status, returned(&body)), (200, 4096), "{:?}: {body}", order.kind);
                order.job = job_of(&body);
                assert!(order.job.is_some(), "{body}");
            }
        }
        self.perhaps_cancel(&wire, &mut orders);
        while !killer.is_finished() {
            self.check_rules();
            std::thread::sleep(Duration::from_millis(2));
        }
        killer.join().unwrap();
        self.readers.look_at(None);
        self.kills += 1;
        self.note(&orders);
        self.kill_while_it_recovers();
        self.settle(orders);
    }

    fn perhaps_cancel(&mut self, wire: &Wire, orders: &mut [Order]) {
        let failback = orders.iter_mut().find(|order| order.kind == Kind::Failback && order.job.is_some());
        if let Some(order) = failback
            && let Some(job) = &order.job
            && self.random.once_in(4)
        {
            std::thread::sleep(Duration::from_millis(self.random.below(100)));
            order.cancel = match wire.post(&cancel(job)) {
                Err(_) => Cancel::NoAnswer,
                Ok((200, body)) if returned(&body) == 0 => Cancel::Accepted,
                Ok((200, body)) if returned(&body) == 4097 => Cancel::TooLate,
                Ok((status, body)) => panic!("{status}: {body}"),
            };
        }
    }

    /// How far the data was when the kill came, as the marker beside home's image says.
    fn note(&mut self, orders: &[Order]) {
        for order in orders {
            let phase = phase_of(&self.members[order.member].marker());
            let phase = if order.job.is_none() { "no answer".to_owned() } else { phase };
            *self.met.entry((order.kind, phase)).or_default() += 1;
        }
    }

    fn kill_while_it_recovers(&mut self) {
        while self.random.once_in(3) {
            let server = Served::spawn(&self.lab.data, &Self::variables("4000000"));
            std::thread::sleep(Duration::from_micros(self.random.below(120_000)));
            server.kill();
            self.kills += 1;
            self.check_rules();
        }
    }

    /// After the restart: the same call gets the same job, each job ends well, and no earlier one is forgotten.
    fn settle(&mut self, orders: Vec<Order>) {
        let (server, wire, _) = self.serve();
        for mut order in orders {
            if let Some(job) = &order.job {
                assert_eq!(number(&wire.job(job), "ErrorCode"), 0);
            }
            let again = wire.ask(&order.envelope);
            assert_eq!(returned(&again), 4096, "{:?}: {again}", order.kind);
            let job = job_of(&again).unwrap();
            assert_eq!(*order.job.get_or_insert(job.clone()), job, "the same call got another job");
            let ended = wire.end_of(&job);
            self.check_end(&wire, &order, &ended);
            self.check_rules();
            self.ended.push((job, number(&ended, "JobState")));
        }
        for (job, state) in self.ended.iter().rev().take(8) {
            assert_eq!(number(&wire.job(job), "JobState"), *state);
        }
        self.readers.look_at(None);
        server.kill();
    }

    fn check_end(&mut self, wire: &Wire, order: &Order, ended: &str) {
        let member = &mut self.members[order.member];
        let vm = wire.vm(&member.vm.id);
        let stands = (number(&vm, "ReplicationMode"), number(&vm, "ReplicationState"));
        let peer_is_stopped = stop_file(&member.peer).exists();
        let state = number(ended, "JobState");
        // Whoever was told 0 may rely on it; without an answer both ends are right.
        if order.cancel == Cancel::Accepted || (order.cancel == Cancel::NoAnswer && state == 8) {
            assert_eq!((state, stands, peer_is_stopped), (8, (2, 2), false), "{ended} {vm}");
            return;
        }
        assert_eq!(state, 7, "{:?} of {}: {ended}", order.kind, member.vm.name);
        assert_eq!(number(ended, "PercentComplete"), 100);
        let source = order.point.as_ref().unwrap_or(&member.peer);
        let (stand, expected, stopped) = match order.kind {
            Kind::Failback => (Stand::Complete, (2, 14), true),
            Kind::Revert => (Stand::Ready, (2, 2), false),
            Kind::Commit => (Stand::Committed, (2, 6), true),
            Kind::Reverse => (Stand::Primary, (1, 3), true),
            Kind::Start => (Stand::Home, (1, 3), true),
        };
        assert_eq!((stands, peer_is_stopped), (expected, stopped), "after {:?}: {vm}", order.kind);
        if matches!(order.kind, Kind::Failback | Kind::Reverse) {
            assert!(same(&member.home, source), "home of {} is not what it must be", member.vm.name);
        }
        assert_eq!(stop_file(&member.home).exists(), order.kind != Kind::Start);
        member.stand = stand;
    }
}

#[test]
fn no_acknowledged_job_is_lost_to_a_kill_at_any_moment() {
    let seed = setting("FAILBACKD_TEST_SEED", 20_262);
    let moments = setting("FAILBACKD_CRASH_MOMENTS", 8);
    println!("seed {seed}, {moments} moments (FAILBACKD_TEST_SEED and FAILBACKD_CRASH_MOMENTS set others)");
    let started = Instant::now();
    let vms = 4 + usize::try_from(moments / 8).unwrap();
    let mut campaign = Campaign::new(vms, seed);
    let prepared = started.elapsed();
    while campaign.kills < moments {
        campaign.moment();
    }
    let (kills, answers) = (campaign.kills, campaign.readers.answers.load(Ordering::SeqCst));
    println!("{kills} kills and {answers} reads in {:?}, lab made in {prepared:?}", started.elapsed());
    println!("{} jobs, all there and verified; kills met {:?}", campaign.ended.len(), campaign.met);
    assert!(answers > 0);
    let (server, wire, _) = campaign.serve();
    for (job, state) in &campaign.ended {
        assert_eq!(number(&wire.job(job), "JobState"), *state);
    }
    server.kill();
}
