//! A driver in memory that does what a test tells it, and watches over the one rule: never two copies that run.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use failbackd::backend::{
    Capabilities, Context, Driver, DriverError, DriverErrorKind, NewPoint, Order, Plan, Probe, ProbeRefusal,
    Replicated, Round, Verified,
};
use failbackd::replication::{PointId, PointKind, RecoveryPoint, Site, VmId};

/// One virtual machine, at both sites. Data is a number: who has the same number has the same data.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) home: u64,
    pub(crate) peer: u64,
    pub(crate) home_runs: bool,
    pub(crate) peer_runs: bool,
    pub(crate) epoch: u64,
    pub(crate) finished: bool,
}

impl Default for Disk {
    fn default() -> Self {
        Self { home: 0, peer: 100, home_runs: false, peer_runs: true, epoch: 0, finished: false }
    }
}

#[derive(Default)]
struct World {
    disks: HashMap<VmId, Disk>,
    points: Vec<RecoveryPoint>,
    steps: Vec<(String, &'static str)>,
    failing: Vec<(&'static str, DriverErrorKind)>,
    panicking: Option<&'static str>,
    closed: Vec<&'static str>,
    refusal: Option<ProbeRefusal>,
    left: Vec<u64>,
    running: usize,
    running_most: usize,
    broken_rule: Option<String>,
}

/// The driver. Clones share everything.
#[derive(Clone, Default)]
pub(crate) struct Script {
    world: Arc<(Mutex<World>, Condvar)>,
}

impl Script {
    pub(crate) const NAME: &'static str = "script";

    fn with<T>(&self, run: impl FnOnce(&mut World) -> T) -> T {
        let result = run(&mut self.world.0.lock().unwrap());
        self.world.1.notify_all();
        result
    }

    pub(crate) fn disk(&self, vm: VmId) -> Disk {
        self.with(|world| world.disks.entry(vm).or_default().clone())
    }

    /// Every step from now on fails so, until `heal`.
    pub(crate) fn fail(&self, step: &'static str, kind: DriverErrorKind) {
        self.with(|world| world.failing.push((step, kind)));
    }

    pub(crate) fn panic_in(&self, step: &'static str) {
        self.with(|world| world.panicking = Some(step));
    }

    pub(crate) fn heal(&self) {
        self.with(|world| {
            world.failing.clear();
            world.panicking = None;
        });
    }

    /// The step waits at its start until `open`, or until it is cancelled.
    pub(crate) fn close(&self, step: &'static str) {
        self.with(|world| world.closed.push(step));
    }

    pub(crate) fn open(&self, step: &'static str) {
        self.with(|world| world.closed.retain(|closed| *closed != step));
    }

    pub(crate) fn refuse(&self, refusal: Option<ProbeRefusal>) {
        self.with(|world| world.refusal = refusal);
    }

    /// What the rounds estimate to be left, in order; 0 afterwards.
    pub(crate) fn leave(&self, left: &[u64]) {
        self.with(|world| world.left = left.iter().rev().copied().collect());
    }

    pub(crate) fn add_point(&self, vm: VmId, id: PointId) {
        self.with(|world| world.points.push(point(vm, id)));
    }

    /// Names of the steps that ran on a virtual machine.
    pub(crate) fn steps(&self, vm_name: &str) -> Vec<&'static str> {
        self.with(|world| world.steps.iter().filter(|(vm, _)| vm == vm_name).map(|(_, step)| *step).collect())
    }

    pub(crate) fn all_steps(&self) -> Vec<(String, &'static str)> {
        self.with(|world| world.steps.clone())
    }

    pub(crate) fn running_most(&self) -> usize {
        self.with(|world| world.running_most)
    }

    /// Waits until a step has begun this many times, over all virtual machines.
    pub(crate) async fn await_step(&self, step: &'static str, times: usize) {
        let script = self.clone();
        let wait = move || {
            let world = script.world.0.lock().unwrap();
            let too_few = |world: &mut World| world.steps.iter().filter(|(_, found)| *found == step).count() < times;
            let waited = script.world.1.wait_timeout_while(world, Duration::from_secs(20), too_few).unwrap();
            assert!(!waited.1.timed_out(), "the step '{step}' did not come");
        };
        tokio::task::spawn_blocking(wait).await.unwrap();
    }

    pub(crate) fn check_rule(&self) {
        self.with(|world| assert_eq!(world.broken_rule, None));
    }

    /// What happens outside: home is turned off and fenced, the peer is started.
    pub(crate) fn fail_over(&self, vm: VmId) {
        self.change(vm, |disk| (disk.home_runs, disk.peer_runs) = (false, true));
    }

    fn begin(&self, order: &Order, step: &'static str, ctx: &dyn Context) -> Result<(), DriverError> {
        let mut world = self.world.0.lock().unwrap();
        world.steps.push((order.vm_name.clone(), step));
        let disk = world.disks.entry(order.vm).or_default();
        if order.epoch < disk.epoch {
            return Err(DriverError::new(DriverErrorKind::Stale, "an older order", ""));
        }
        disk.epoch = order.epoch;
        world.running += 1;
        world.running_most = world.running_most.max(world.running);
        self.world.1.notify_all();
        while world.closed.contains(&step) && !ctx.cancelled() {
            world = self.world.1.wait_timeout(world, Duration::from_millis(2)).unwrap().0;
        }
        world.running -= 1;
        if ctx.cancelled() {
            return Err(DriverError::cancelled());
        }
        if world.panicking == Some(step) {
            drop(world);
            panic!("told to panic in {step}");
        }
        match world.failing.iter().find(|(failing, _)| *failing == step) {
            Some((_, kind)) => Err(DriverError::new(*kind, format!("told to fail in {step}"), "do something")),
            None => Ok(()),
        }
    }

    fn change(&self, vm: VmId, change: impl FnOnce(&mut Disk)) {
        self.with(|world| {
            let disk = world.disks.entry(vm).or_default();
            change(disk);
            if disk.home_runs && disk.peer_runs {
                world.broken_rule = Some(format!("both copies of {vm} run: {disk:?}"));
            }
        });
    }
}

fn point(vm: VmId, id: PointId) -> RecoveryPoint {
    let taken = failbackd::job::Timestamp(0);
    RecoveryPoint { id, vm, kind: PointKind::ApplicationConsistent, taken, site: Site::Peer, name: "point".into() }
}

impl Driver for Script {
    fn describe(&self) -> Capabilities {
        Capabilities { name: Self::NAME, description: "test", failback: true, recovery_points: true, reverse: true }
    }

    fn recovery_points(&self, vm: VmId) -> Result<Vec<RecoveryPoint>, DriverError> {
        Ok(self.with(|world| world.points.iter().filter(|point| point.vm == vm).cloned().collect()))
    }

    fn probe(&self, _vm: VmId, _point: Option<PointId>) -> Result<Probe, ProbeRefusal> {
        let mut world = self.world.0.lock().unwrap();
        while world.closed.contains(&"probe") {
            world = self.world.1.wait(world).unwrap();
        }
        world.refusal.clone().map_or(Ok(Probe { disk_octets: 4096 }), Err)
    }

    fn prepare(&self, order: &Order, ctx: &dyn Context) -> Result<Plan, DriverError> {
        self.begin(order, "prepare", ctx)?;
        Ok(Plan { octets_total: 4096, disks: 1 })
    }

    fn sync_round(&self, order: &Order, _round: u32, ctx: &dyn Context) -> Result<Round, DriverError> {
        self.begin(order, "sync", ctx)?;
        ctx.progress(1, 2);
        ctx.throttle(1);
        let mut octets_moved = 0;
        self.change(order.vm, |disk| {
            let source = if order.point.is_some() { 50 } else { disk.peer };
            octets_moved = source.abs_diff(disk.home);
            disk.home = source;
            disk.peer += u64::from(disk.peer_runs);
        });
        let left = self.with(|world| world.left.pop().unwrap_or(0));
        Ok(Round { blocks_compared: 1, octets_compared: 4096, octets_moved, octets_left_estimate: left })
    }

    fn quiesce(&self, order: &Order, ctx: &dyn Context) -> Result<(), DriverError> {
        self.begin(order, "quiesce", ctx)?;
        self.change(order.vm, |disk| disk.peer_runs = false);
        Ok(())
    }

    fn verify(&self, order: &Order, ctx: &dyn Context) -> Result<Verified, DriverError> {
        self.begin(order, "verify", ctx)?;
        let disk = self.disk(order.vm);
        let source = if order.point.is_some() { 50 } else { disk.peer };
        if disk.peer_runs || disk.home != source {
            return Err(DriverError::new(DriverErrorKind::Mismatch, format!("{disk:?}"), ""));
        }
        Ok(Verified { method: "numbers".into(), octets: 4096, octets_left_behind: disk.peer - source })
    }

    fn finish(&self, order: &Order, ctx: &dyn Context) -> Result<(), DriverError> {
        self.begin(order, "finish", ctx)?;
        self.change(order.vm, |disk| disk.finished = true);
        Ok(())
    }

    fn undo(&self, order: &Order, ctx: &dyn Context) -> Result<(), DriverError> {
        self.begin(order, "undo", ctx)?;
        self.change(order.vm, |disk| disk.peer_runs = true);
        Ok(())
    }

    fn resume_peer(&self, vm: VmId, epoch: u64) -> Result<(), DriverError> {
        let failing = self.with(|world| world.failing.iter().any(|(step, _)| *step == "resume"));
        if failing || epoch < self.disk(vm).epoch {
            return Err(DriverError::new(DriverErrorKind::HookFailed, "told to fail in resume", "start it by hand"));
        }
        self.change(vm, |disk| disk.peer_runs = true);
        Ok(())
    }

    fn power_home(&self, vm: VmId, on: bool) -> Result<(), DriverError> {
        self.change(vm, |disk| disk.home_runs = on);
        Ok(())
    }

    fn replicate(&self, vm: VmId, new: NewPoint, _ctx: &dyn Context) -> Result<Replicated, DriverError> {
        self.change(vm, |disk| disk.peer = disk.home);
        self.add_point(vm, new.id);
        Ok(Replicated { round: Round::default(), point: point(vm, new.id) })
    }

    fn take_point(&self, vm: VmId, new: NewPoint, _ctx: &dyn Context) -> Result<RecoveryPoint, DriverError> {
        Ok(point(vm, new.id))
    }
}
