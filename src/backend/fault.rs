//! A driver that moves nothing and fails as told: for our own tests, and for makers of disaster recovery tools who want
//! to see every answer and every job error of an endpoint without breaking real disks.
//!
//! What it does is a [`Script`], one for all VMs and optionally one for a VM. Its VMs have no disks, so that tens of
//! thousands of them cost nothing. It keeps the order of steps, epochs and repetitions as the real drivers do, and is
//! held to the same contract suite.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{
    Capabilities, Context, Driver, DriverError, DriverErrorKind, NewPoint, Order, Plan, Probe, ProbeRefusal,
    Replicated, Round, Verified,
};
use crate::job::JobId;
use crate::replication::{PointId, RecoveryPoint, Site, VmId};

/// The name under which this driver is loaded and VM records name it.
pub const NAME: &str = "fault";

/// What the admission check answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// The work can start (4096).
    #[default]
    Accept,
    /// The work is done at once (0).
    Finished,
    /// An answer that nobody knows (32771).
    Unknown(u32),
    /// No answer until [`FaultDriver::release`] (32772).
    Hang,
    /// The peer cannot be reached (32777).
    Unreachable,
    /// Something may not be opened (32769).
    NotPermitted,
    /// An image is missing (32779).
    Missing,
    /// This VM's backend cannot do it (32770).
    NotSupported,
}

/// How a step of a running job goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// It succeeds at once.
    #[default]
    Succeed,
    /// It succeeds after so many milliseconds.
    Slow(u64),
    /// It does not end until [`FaultDriver::release`] or a cancel.
    Hang,
    /// The target's file system is full.
    OutOfSpace,
    /// An image is gone.
    Missing,
    /// An image is smaller than it was.
    Shrunk,
    /// An image may not be opened any more.
    NotPermitted,
    /// The peer's disk changed although its VM was stopped.
    ChangedAfterQuiesce,
    /// The peer cannot be reached any more.
    Unreachable,
    /// A hook failed.
    HookFailed,
    /// The copies differ.
    Mismatch,
    /// Reading or writing failed.
    Io,
    /// The backend answered something unknown.
    Unknown,
}

/// What happens to a VM's jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// The admission check's answer.
    pub admission: Admission,
    /// The step that claims home's copy.
    pub prepare: Behaviour,
    /// Every round of compare and copy.
    pub sync_round: Behaviour,
    /// The stop of the peer.
    pub quiesce: Behaviour,
    /// The verification.
    pub verify: Behaviour,
    /// The step after the end transaction.
    pub finish: Behaviour,
    /// The step back.
    pub undo: Behaviour,
    /// Size of the disks that the VM does not have, in octets.
    pub disk_octets: u64,
    /// What the first round claims to have moved; each further one claims a quarter of the one before.
    pub octets_moved: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            admission: Admission::Accept,
            prepare: Behaviour::Succeed,
            sync_round: Behaviour::Succeed,
            quiesce: Behaviour::Succeed,
            verify: Behaviour::Succeed,
            finish: Behaviour::Succeed,
            undo: Behaviour::Succeed,
            disk_octets: 1 << 30,
            octets_moved: 1 << 20,
        }
    }
}

/// Where a VM's job is; the same order of steps as the file driver's marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Claimed,
    Quiesced,
    Finished,
}

/// What is known of a VM.
struct VmState {
    job: JobId,
    epoch: u64,
    phase: Phase,
}

/// Everything that changes.
#[derive(Default)]
struct State {
    common: Script,
    scripts: HashMap<VmId, Script>,
    vms: HashMap<VmId, VmState>,
    points: HashMap<VmId, Vec<RecoveryPoint>>,
    held: bool,
    /// Counts releases: what hangs waits for it to change.
    releases: u64,
}

/// The fault-injecting driver. See the module's comment.
#[derive(Default)]
pub struct FaultDriver {
    state: Mutex<State>,
    changed: Condvar,
}

/// How long a waiting step sleeps before it looks at its cancel flag again.
const LOOK: Duration = Duration::from_millis(20);

impl FaultDriver {
    /// A driver that does `script` for every VM without a script of its own.
    pub fn new(script: Script) -> Self {
        Self { state: Mutex::new(State { common: script, ..State::default() }), changed: Condvar::new() }
    }

    /// Sets what happens to one VM.
    pub fn set_script(&self, vm: VmId, script: Script) {
        self.lock().scripts.insert(vm, script);
    }

    /// Sets what happens to VMs without a script of their own.
    pub fn set_common_script(&self, script: Script) {
        self.lock().common = script;
    }

    /// From now on every round waits until [`Self::release`], as transfers over a link that is down would.
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Lets go of all that is held or hangs at this moment, and holds no more.
    pub fn release(&self) {
        let mut state = self.lock();
        state.held = false;
        state.releases += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Adds a recovery point that can then be named.
    pub fn add_point(&self, point: RecoveryPoint) {
        let mut state = self.lock();
        let points = state.points.entry(point.vm).or_default();
        points.retain(|known| known.id != point.id);
        points.push(point);
        points.sort_by_key(|point| point.taken);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn script(&self, vm: VmId) -> Script {
        let state = self.lock();
        state.scripts.get(&vm).unwrap_or(&state.common).clone()
    }

    /// Waits until released (or, with `while_held`, until nothing is held), or cancelled.
    fn wait(&self, cancelled: &dyn Fn() -> bool, while_held: bool) -> Result<(), DriverError> {
        let mut state = self.lock();
        let releases = state.releases;
        while if while_held { state.held } else { state.releases == releases } {
            if cancelled() {
                return Err(DriverError::cancelled());
            }
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn behave(&self, behaviour: &Behaviour, vm_name: &str, cancelled: &dyn Fn() -> bool) -> Result<(), DriverError> {
        if cancelled() {
            return Err(DriverError::cancelled());
        }
        let kind = match behaviour {
            Behaviour::Succeed => return Ok(()),
            Behaviour::Slow(milliseconds) => return slow(*milliseconds, cancelled),
            Behaviour::Hang => return self.wait(cancelled, false),
            Behaviour::OutOfSpace => DriverErrorKind::OutOfSpace,
            Behaviour::Missing => DriverErrorKind::Missing,
            Behaviour::Shrunk => DriverErrorKind::Shrunk,
            Behaviour::NotPermitted => DriverErrorKind::NotPermitted,
            Behaviour::ChangedAfterQuiesce => DriverErrorKind::ChangedAfterQuiesce,
            Behaviour::Unreachable => DriverErrorKind::PeerUnreachable,
            Behaviour::HookFailed => DriverErrorKind::HookFailed,
            Behaviour::Mismatch => DriverErrorKind::Mismatch,
            Behaviour::Io => DriverErrorKind::Io,
            Behaviour::Unknown => DriverErrorKind::Unknown,
        };
        let message = format!("the script of {vm_name} asked for this failure ({kind:?})");
        Err(DriverError::new(kind, message, "change the script of the fault-injecting backend"))
    }

    /// Checks that the order is the live job's, and hands its state to `change`.
    fn of_job(
        &self,
        order: &Order,
        change: impl FnOnce(&mut VmState) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        match self.lock().vms.get_mut(&order.vm) {
            Some(vm) if vm.job == order.job && vm.epoch <= order.epoch && vm.phase != Phase::Idle => change(vm),
            Some(vm) => Err(stale(order, vm.epoch)),
            None => Err(DriverError::new(
                DriverErrorKind::Missing,
                format!("no job has claimed {}", order.vm_name),
                "start the failback again",
            )),
        }
    }
}

fn slow(milliseconds: u64, cancelled: &dyn Fn() -> bool) -> Result<(), DriverError> {
    let end = Instant::now() + Duration::from_millis(milliseconds);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        if cancelled() {
            return Err(DriverError::cancelled());
        }
        std::thread::sleep(left.min(LOOK));
    }
}

fn stale(order: &Order, epoch: u64) -> DriverError {
    let message = format!(
        "an order of job {} (epoch {}) for {} came too late: epoch {epoch} is known",
        order.job.0, order.epoch, order.vm_name
    );
    DriverError::new(DriverErrorKind::Stale, message, "nothing: the newer owner of the VM goes on")
}

fn not_quiesced(order: &Order) -> DriverError {
    let message = format!("{} has not been stopped at the peer", order.vm_name);
    DriverError::new(DriverErrorKind::InUse, message, "stop it there first")
}

impl Driver for FaultDriver {
    fn describe(&self) -> Capabilities {
        Capabilities {
            name: NAME,
            description: "Moves nothing and fails as its script says; for tests",
            failback: true,
            recovery_points: true,
            reverse: true,
        }
    }

    fn recovery_points(&self, vm: VmId) -> Result<Vec<RecoveryPoint>, DriverError> {
        Ok(self.lock().points.get(&vm).cloned().unwrap_or_default())
    }

    fn probe(&self, vm: VmId, point: Option<PointId>) -> Result<Probe, ProbeRefusal> {
        let script = self.script(vm);
        let what = || format!("the disk that the script of VM {} names", vm.0);
        match script.admission {
            Admission::Accept => {}
            Admission::Finished => return Err(ProbeRefusal::Finished),
            Admission::Unknown(code) => return Err(ProbeRefusal::Unknown(code)),
            // Nobody can cancel an admission check: it ends with a release.
            Admission::Hang => drop(self.wait(&|| false, false)),
            Admission::Unreachable => return Err(ProbeRefusal::PeerUnreachable("the script says so".to_owned())),
            Admission::NotPermitted => return Err(ProbeRefusal::NotPermitted(what())),
            Admission::Missing => return Err(ProbeRefusal::Missing(what())),
            Admission::NotSupported => return Err(ProbeRefusal::NotSupported),
        }
        let known = |id| self.lock().points.get(&vm).is_some_and(|points| points.iter().any(|point| point.id == id));
        if point.is_some_and(|id| !known(id)) {
            return Err(ProbeRefusal::UnknownPoint);
        }
        Ok(Probe { disk_octets: script.disk_octets })
    }

    fn prepare(&self, order: &Order, ctx: &dyn Context) -> Result<Plan, DriverError> {
        let script = self.script(order.vm);
        if let Some(newer) = self.lock().vms.get(&order.vm).filter(|vm| vm.epoch > order.epoch) {
            return Err(stale(order, newer.epoch));
        }
        self.behave(&script.prepare, &order.vm_name, &|| ctx.cancelled())?;
        let mut state = self.lock();
        let vm = state.vms.entry(order.vm).or_insert(VmState { job: order.job, epoch: 0, phase: Phase::Idle });
        if vm.job != order.job || vm.phase == Phase::Idle {
            vm.phase = Phase::Claimed;
        }
        vm.job = order.job;
        vm.epoch = order.epoch;
        Ok(Plan { octets_total: script.disk_octets, disks: 1 })
    }

    fn sync_round(&self, order: &Order, round: u32, ctx: &dyn Context) -> Result<Round, DriverError> {
        let script = self.script(order.vm);
        self.of_job(order, |_| Ok(()))?;
        ctx.progress(0, script.disk_octets);
        self.wait(&|| ctx.cancelled(), true)?;
        self.behave(&script.sync_round, &order.vm_name, &|| ctx.cancelled())?;
        let moved = |round: u32| script.octets_moved.checked_shr(round.saturating_mul(2)).unwrap_or(0);
        ctx.throttle(moved(round));
        ctx.progress(script.disk_octets, script.disk_octets);
        Ok(Round {
            blocks_compared: script.disk_octets / 65_536,
            octets_compared: script.disk_octets,
            octets_moved: moved(round),
            octets_left_estimate: moved(round.saturating_add(1)),
        })
    }

    fn quiesce(&self, order: &Order, ctx: &dyn Context) -> Result<(), DriverError> {
        self.of_job(order, |_| Ok(()))?;
        self.behave(&self.script(order.vm).quiesce, &order.vm_name, &|| ctx.cancelled())?;
        self.of_job(order, |vm| {
            if vm.phase == Phase::Claimed {
                vm.phase = Phase::Quiesced;
            }
            Ok(())
        })
    }

    fn verify(&self, order: &Order, ctx: &dyn Context) -> Result<Verified, DriverError> {
        let script = self.script(order.vm);
        self.of_job(order, |vm| if vm.phase == Phase::Claimed { Err(not_quiesced(order)) } else { Ok(()) })?;
        self.behave(&script.verify, &order.vm_name, &|| ctx.cancelled())?;
        let octets_left_behind = if order.point.is_some() { script.octets_moved } else { 0 };
        let method = "nothing: this backend has no disks".to_owned();
        Ok(Verified { method, octets: script.disk_octets, octets_left_behind })
    }

    fn finish(&self, order: &Order, _ctx: &dyn Context) -> Result<(), DriverError> {
        self.of_job(order, |vm| if vm.phase == Phase::Claimed { Err(not_quiesced(order)) } else { Ok(()) })?;
        self.behave(&self.script(order.vm).finish, &order.vm_name, &|| false)?;
        self.of_job(order, |vm| {
            vm.phase = Phase::Finished;
            Ok(())
        })
    }

    fn undo(&self, order: &Order, _ctx: &dyn Context) -> Result<(), DriverError> {
        match self.lock().vms.get(&order.vm) {
            Some(vm) if vm.job != order.job || vm.phase == Phase::Idle => return Ok(()),
            Some(vm) if vm.epoch > order.epoch || vm.phase == Phase::Finished => return Err(stale(order, vm.epoch)),
            Some(_) => {}
            None => return Ok(()),
        }
        self.behave(&self.script(order.vm).undo, &order.vm_name, &|| false)?;
        self.of_job(order, |vm| {
            vm.phase = Phase::Idle;
            Ok(())
        })
    }

    fn resume_peer(&self, vm: VmId, epoch: u64) -> Result<(), DriverError> {
        match self.lock().vms.get_mut(&vm) {
            Some(known) if matches!(known.phase, Phase::Claimed | Phase::Quiesced) => Err(live(vm)),
            Some(known) => {
                known.phase = Phase::Idle;
                known.epoch = known.epoch.max(epoch);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn power_home(&self, vm: VmId, _on: bool) -> Result<(), DriverError> {
        match self.lock().vms.get(&vm) {
            Some(known) if matches!(known.phase, Phase::Claimed | Phase::Quiesced) => Err(live(vm)),
            _ => Ok(()),
        }
    }

    fn replicate(&self, vm: VmId, point: NewPoint, ctx: &dyn Context) -> Result<Replicated, DriverError> {
        self.power_home(vm, true)?;
        let point = self.take_point(vm, point, ctx)?;
        let octets_moved = self.script(vm).octets_moved;
        Ok(Replicated { round: Round { octets_moved, ..Round::default() }, point })
    }

    fn take_point(&self, vm: VmId, new: NewPoint, _ctx: &dyn Context) -> Result<RecoveryPoint, DriverError> {
        let name = format!("recovery point {}", new.id.0);
        let point = RecoveryPoint { id: new.id, vm, kind: new.kind, taken: new.taken, site: Site::Peer, name };
        self.add_point(point.clone());
        if let Some(points) = self.lock().points.get_mut(&vm) {
            let surplus = points.len().saturating_sub(new.points_max.max(1));
            points.drain(..surplus);
        }
        Ok(point)
    }
}

fn live(vm: VmId) -> DriverError {
    let message = format!("a failback job has the copy of VM {}", vm.0);
    DriverError::new(DriverErrorKind::InUse, message, "wait for the job's end or cancel it")
}
