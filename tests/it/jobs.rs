//! The engine from end to end over a scripted driver: every answer, every end, cancels, failures, retention, order.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

pub(crate) mod script;

use std::sync::Arc;
use std::time::Duration;

use failbackd::backend::{Driver, DriverErrorKind, ProbeRefusal};
use failbackd::job::{Job, JobId, JobState, Timestamp};
use failbackd::replication::{
    Command, Denied, EnabledState, Operation, PointId, ReplicationSettings, ReplicationState, Site, Vm, VmId,
};
use failbackd::service::{Engine, EngineSettings, ManualClock, NewVm, Submitted};
use failbackd::store::{Fault, FaultStore, MemoryStore, Op, Store, Txn};
use script::Script;
use uuid::Uuid;

/// An engine over a memory store and a scripted driver, with everything within reach.
pub(crate) struct Bench {
    pub(crate) engine: Arc<Engine>,
    pub(crate) script: Script,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) settings: EngineSettings,
    generation: u64,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(EngineSettings::default(), Arc::new(MemoryStore::new())).await
    }

    pub(crate) async fn with(settings: EngineSettings, store: Arc<dyn Store>) -> Self {
        let (script, clock) = (Script::default(), Arc::new(ManualClock::new(Timestamp(1_000_000_000), 1)));
        let engine = open(&store, &script, &settings, &clock).await;
        Self { engine, script, clock, store, settings, generation: 1 }
    }

    /// Stops the engine and opens another one on `store`, over the same disks.
    pub(crate) async fn reopen(&mut self, store: Arc<dyn Store>) {
        self.engine.shutdown().await;
        self.generation += 1;
        self.clock = Arc::new(ManualClock::new(Timestamp(1_000_000_000), self.generation));
        self.store = store;
        self.engine = open(&self.store, &self.script, &self.settings, &self.clock).await;
    }

    pub(crate) async fn failed_over(&self, name: &str) -> VmId {
        self.engine.import_vm(NewVm::failed_over(name, Script::NAME)).await.unwrap()
    }

    pub(crate) async fn submit(&self, vm: VmId, operation: Operation) -> Result<Submitted, Denied> {
        let command = Command { vm, operation, principal: "admin".into(), idempotency_key: None };
        self.engine.submit(command).await
    }

    pub(crate) async fn start(&self, vm: VmId, operation: Operation) -> JobId {
        let answer = self.submit(vm, operation).await.unwrap();
        assert_eq!(answer.return_value, 4096);
        let id = answer.job.unwrap();
        assert!(self.engine.view().job(id).is_some(), "the first Get after the answer finds the job");
        id
    }

    /// Waits for the end of a job, and returns it.
    pub(crate) async fn end(&self, id: JobId) -> Job {
        let ended = self.engine.changed(|view| {
            let job = &view.job(id).expect("jobs stay readable").job;
            job.state.is_terminal().then(|| job.clone())
        });
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the job ends")
    }

    pub(crate) async fn run(&self, vm: VmId, operation: Operation) -> Job {
        let id = self.start(vm, operation).await;
        self.end(id).await
    }

    pub(crate) fn vm(&self, id: VmId) -> Arc<Vm> {
        Arc::clone(self.engine.view().vm(id).unwrap())
    }

    fn standing(&self, id: VmId) -> (u16, u16, u16, Site) {
        let vm = self.vm(id);
        (vm.mode.0, vm.state.0, vm.health.0, vm.authority)
    }
}

async fn open(
    store: &Arc<dyn Store>,
    script: &Script,
    settings: &EngineSettings,
    clock: &Arc<ManualClock>,
) -> Arc<Engine> {
    let driver: Arc<dyn Driver> = Arc::new(script.clone());
    let (store, clock) = (Arc::clone(store), Arc::clone(clock));
    Engine::open(store, vec![driver], settings.clone(), "HOME".into(), clock).await.unwrap()
}

pub(crate) fn failback() -> Operation {
    Operation::InitiateFailback { point: None, settings: None }
}

fn power(state: u16) -> Operation {
    Operation::RequestStateChange(EnabledState(state))
}

#[tokio::test]
async fn the_whole_path_from_failback_to_a_running_primary() {
    let bench = Bench::new().await;
    let vm = bench.failed_over("web01").await;
    assert_eq!(bench.standing(vm), (2, 2, 1, Site::Peer));
    let job = bench.run(vm, failback()).await;
    assert_eq!((job.state, job.percent_complete, job.job_type.0), (JobState::COMPLETED, 100, 124));
    let report = job.report.unwrap();
    assert_eq!((report.rounds, report.verified.as_str(), report.octets_left_behind), (2, "numbers", 0));
    assert_eq!(bench.standing(vm), (2, 14, 1, Site::Home));
    assert_eq!(bench.vm(vm).disk_octets, 4096);
    bench.script.await_step("finish", 1).await;
    assert_eq!(bench.script.steps("web01"), ["prepare", "sync", "quiesce", "sync", "verify", "finish"]);
    let disk = bench.script.disk(vm);
    assert!(disk.home == disk.peer && !disk.peer_runs);
    assert_eq!(bench.submit(vm, power(2)).await.unwrap_err().return_value(), 32775);
    assert_eq!(bench.run(vm, Operation::CommitFailover).await.state, JobState::COMPLETED);
    assert_eq!(bench.standing(vm), (2, 6, 1, Site::Home));
    assert_eq!(bench.submit(vm, Operation::RevertFailover).await.unwrap_err().return_value(), 32775);
    let reverse = Operation::ReverseReplicationRelationship { settings: None };
    assert_eq!(bench.run(vm, reverse).await.job_type.0, 104);
    assert_eq!(bench.standing(vm), (1, 3, 1, Site::Home));
    assert_eq!(bench.run(vm, power(2)).await.state, JobState::COMPLETED);
    assert!(bench.script.disk(vm).home_runs);
    assert_eq!(bench.vm(vm).enabled_state, EnabledState::ENABLED);
    bench.script.check_rule();
}

#[tokio::test]
async fn a_failover_is_recorded_and_the_old_primary_becomes_a_replica() {
    let bench = Bench::new().await;
    let vm = bench.engine.import_vm(NewVm::protected("web01", Script::NAME)).await.unwrap();
    let replica = || Operation::RequestReplicationStateChange(ReplicationState(2));
    assert_eq!(bench.submit(vm, replica()).await.unwrap_err().return_value(), 32775, "home is the only copy");
    assert_eq!(bench.vm(vm).primary_host, "home");
    bench.engine.record_failover(vm).await.unwrap();
    assert_eq!(bench.vm(vm).primary_host, "peer");
    assert_eq!(bench.run(vm, replica()).await.job_type.0, 96);
    assert_eq!(bench.standing(vm), (2, 2, 1, Site::Peer));
    assert_eq!(bench.run(vm, failback()).await.state, JobState::COMPLETED);
}

#[tokio::test]
async fn a_recovery_point_is_taken_from_the_backend_even_when_it_is_new() {
    let bench = Bench::new().await;
    let vm = bench.failed_over("db01").await;
    let point = PointId(Uuid::from_u128(7));
    let to_point = || Operation::InitiateFailback { point: Some(point), settings: None };
    assert_eq!(bench.submit(vm, to_point()).await.unwrap_err().return_value(), 32773);
    bench.script.add_point(vm, point);
    let job = bench.run(vm, to_point()).await;
    assert_eq!(job.report.unwrap().octets_left_behind, 51, "the peer wrote once more while the round ran");
    assert_eq!((bench.script.disk(vm).home, bench.vm(vm).failed_over_type.0), (50, 2));
    assert!(job.job_status.contains("51 octets"), "{}", job.job_status);
}

#[tokio::test]
async fn new_settings_are_checked_first_and_taken_over_at_the_end() {
    let bench = Bench::new().await;
    let vm = bench.failed_over("web01").await;
    let with = |interval| {
        let settings = ReplicationSettings { replication_interval: interval, ..ReplicationSettings::default() };
        Operation::InitiateFailback { point: None, settings: Some(Box::new(settings)) }
    };
    let denied = bench.submit(vm, with(31)).await.unwrap_err();
    assert_eq!(denied.return_value(), 32773);
    assert!(denied.to_string().contains("ReplicationInterval"), "{denied}");
    bench.script.close("verify");
    let id = bench.start(vm, with(30)).await;
    bench.script.await_step("verify", 1).await;
    assert_eq!(bench.vm(vm).settings.replication_interval, 300);
    bench.script.open("verify");
    bench.end(id).await;
    assert_eq!(bench.vm(vm).settings.replication_interval, 30);
}

#[tokio::test]
async fn every_refusal_of_the_backend_has_its_answer_and_changes_nothing() {
    let bench = Bench::new().await;
    let vm = bench.failed_over("web01").await;
    let before = bench.vm(vm);
    let refusals = [
        (ProbeRefusal::NotPermitted("/x".into()), 32769, "FBD1001"),
        (ProbeRefusal::NotSupported, 32770, "FBD1002"),
        (ProbeRefusal::Unknown(77), 32771, "FBD1003"),
        (ProbeRefusal::UnknownPoint, 32773, "FBD1006"),
        (ProbeRefusal::PeerUnreachable("x".into()), 32777, "FBD1012"),
        (ProbeRefusal::Missing("/x".into()), 32779, "FBD1014"),
    ];
    for (refusal, return_value, message_id) in refusals {
        bench.script.refuse(Some(refusal));
        let denied = bench.submit(vm, failback()).await.unwrap_err();
        assert_eq!((denied.return_value(), denied.message_id()), (return_value, message_id), "{denied}");
    }
    assert_eq!((bench.vm(vm), bench.engine.view().jobs_len()), (before, 0));
    bench.script.refuse(Some(ProbeRefusal::Finished));
    assert_eq!(bench.submit(vm, failback()).await, Ok(Submitted { return_value: 0, job: None }));
    assert_eq!(bench.standing(vm), (2, 14, 1, Site::Home));
}

#[tokio::test]
async fn a_check_that_hangs_runs_out_of_time_and_holds_up_nobody_else() {
    let settings = EngineSettings { admission_limit_ms: 30, ..EngineSettings::default() };
    let bench = Bench::with(settings, Arc::new(MemoryStore::new())).await;
    let vm = bench.failed_over("web01").await;
    bench.script.close("probe");
    assert_eq!(bench.submit(vm, failback()).await.unwrap_err().return_value(), 32772);
    bench.script.open("probe");
    assert_eq!(bench.run(vm, failback()).await.state, JobState::COMPLETED);
}

#[tokio::test]
async fn a_second_operation_on_a_busy_vm_is_refused() {
    let bench =
        Bench::with(EngineSettings { transfers_held: true, ..EngineSettings::default() }, Arc::new(MemoryStore::new()))
            .await;
    let vm = bench.failed_over("web01").await;
    let id = bench.start(vm, failback()).await;
    assert_eq!(bench.standing(vm), (2, 13, 1, Site::Peer), "shown also while queued");
    for operation in [failback(), Operation::CommitFailover, power(2)] {
        let denied = bench.submit(vm, operation).await.unwrap_err();
        assert!(matches!(&denied, Denied::InUse { job, .. } if *job == id), "{denied}");
        assert_eq!(denied.return_value(), 32774);
    }
}

#[tokio::test]
async fn the_same_key_gets_the_same_answer_while_the_job_is_readable() {
    let mut bench = Bench::new().await;
    let vm = bench.failed_over("web01").await;
    let command =
        |key: u8| Command { vm, operation: failback(), principal: "admin".into(), idempotency_key: Some([key; 32]) };
    let both = tokio::join!(bench.engine.submit(command(1)), bench.engine.submit(command(1)));
    assert_eq!(both.0, both.1, "sent twice at once");
    let first = both.0.unwrap();
    bench.end(first.job.unwrap()).await;
    assert_eq!(bench.engine.submit(command(1)).await, Ok(first));
    assert_eq!(bench.engine.submit(command(2)).await.unwrap_err().return_value(), 32775);
    bench.reopen(Arc::clone(&bench.store)).await;
    assert_eq!(bench.engine.submit(command(1)).await, Ok(first), "after a restart");
    bench.clock.advance_ms(300_001);
    bench.engine.expire_due().await;
    assert!(bench.engine.view().job(first.job.unwrap()).is_none());
    assert_eq!(bench.engine.submit(command(1)).await.unwrap_err().return_value(), 32775);
    let left: Vec<String> = bench.store.list("/", None, 100).unwrap().into_iter().map(|(key, _)| key).collect();
    assert!(left.iter().all(|key| key.starts_with("/vm/") || key.starts_with("/name/")), "{left:?}");
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_at_once_and_a_running_one_is_undone() {
    let bench =
        Bench::with(EngineSettings { transfers_held: true, ..EngineSettings::default() }, Arc::new(MemoryStore::new()))
            .await;
    let vm = bench.failed_over("web01").await;
    let waiting = bench.start(vm, failback()).await;
    bench.engine.cancel(waiting).await.unwrap();
    assert_eq!(bench.end(waiting).await.state, JobState::TERMINATED);
    assert_eq!((bench.standing(vm), bench.vm(vm).needs_resync), ((2, 2, 2, Site::Peer), true));
    assert_eq!(bench.engine.cancel(waiting).await.unwrap_err().return_value(), 4097);
    bench.engine.release_transfers();
    for step in ["prepare", "sync", "quiesce", "verify"] {
        let seen = bench.script.all_steps().iter().filter(|(_, found)| *found == step).count();
        bench.script.close(step);
        let running = bench.start(vm, failback()).await;
        bench.script.await_step(step, seen + 1).await;
        bench.engine.cancel(running).await.unwrap();
        bench.engine.cancel(running).await.map_or_else(|denied| assert_eq!(denied.return_value(), 4097), |()| ());
        let job = bench.end(running).await;
        bench.script.open(step);
        assert_eq!((job.state, job.error), (JobState::TERMINATED, None), "{step}");
        assert_eq!(bench.standing(vm), (2, 2, 2, Site::Peer), "{step}");
        assert!(bench.script.disk(vm).peer_runs && bench.vm(vm).live_job.is_none(), "{step}");
    }
    let done = bench.run(vm, failback()).await;
    assert_eq!(bench.engine.cancel(done.id).await.unwrap_err().return_value(), 4097);
    assert_eq!(bench.engine.cancel(JobId(Uuid::nil())).await.unwrap_err().return_value(), 5);
}

#[tokio::test]
async fn a_failure_in_any_step_is_undone_and_told() {
    let bench = Bench::new().await;
    let vm = bench.failed_over("web01").await;
    for step in ["prepare", "sync", "quiesce", "verify"] {
        bench.script.fail(step, DriverErrorKind::OutOfSpace);
        let job = bench.run(vm, failback()).await;
        bench.script.heal();
        assert_eq!(job.state, JobState::EXCEPTION, "{step}");
        let error = job.error.unwrap();
        assert_eq!((error.code, error.message_id.as_str()), (32768, "FBD2001"));
        assert!(error.description.contains(&format!("told to fail in {step}")), "{}", error.description);
        assert!(error.description.contains(&vm.to_string()) && error.summary.contains("web01"));
        assert_eq!(error.recommended_actions[0], "do something");
        assert_eq!(bench.standing(vm), (2, 2, 3, Site::Peer), "{step}");
        assert!(bench.script.disk(vm).peer_runs && bench.vm(vm).needs_resync, "{step}");
    }
    assert_eq!(bench.run(vm, failback()).await.state, JobState::COMPLETED);
}

#[tokio::test]
async fn a_panic_of_the_backend_fails_the_job_and_not_the_server() {
    let bench = Bench::new().await;
    let vm = bench.failed_over("web01").await;
    bench.script.panic_in("sync");
    let job = bench.run(vm, failback()).await;
    bench.script.heal();
    assert_eq!(job.error.unwrap().message_id, "FBD2010");
    assert_eq!(bench.run(vm, failback()).await.state, JobState::COMPLETED);
}

#[tokio::test]
async fn a_peer_that_cannot_be_resumed_is_told_with_the_cause() {
    let bench = Bench::new().await;
    let vm = bench.failed_over("web01").await;
    bench.script.fail("verify", DriverErrorKind::Io);
    bench.script.fail("undo", DriverErrorKind::HookFailed);
    let error = bench.run(vm, failback()).await.error.unwrap();
    bench.script.heal();
    assert_eq!((error.message_id.as_str(), error.details[0].message_id.as_str()), ("FBD2008", "FBD2012"));
    assert_eq!(bench.standing(vm), (2, 2, 3, Site::Peer));
}

#[tokio::test]
async fn a_revert_gives_the_peer_back() {
    let bench = Bench::new().await;
    let vm = bench.failed_over("web01").await;
    bench.run(vm, failback()).await;
    assert_eq!(bench.run(vm, Operation::RevertFailover).await.state, JobState::COMPLETED);
    assert_eq!((bench.standing(vm), bench.vm(vm).needs_resync), ((2, 2, 2, Site::Peer), true));
    assert!(bench.script.disk(vm).peer_runs);
    bench.run(vm, failback()).await;
    bench.script.fail("resume", DriverErrorKind::HookFailed);
    let error = bench.run(vm, Operation::RevertFailover).await.error.unwrap();
    assert_eq!((error.message_id.as_str(), error.details[0].message_id.as_str()), ("FBD2012", "FBD2007"));
    assert_eq!(bench.standing(vm), (2, 2, 3, Site::Peer), "home has lost the authority before the peer was tried");
}

#[tokio::test]
async fn rounds_end_when_little_is_left_or_they_stop_shrinking() {
    let bench = Bench::with(
        EngineSettings { final_round_octets: 10, rounds_max: 5, ..EngineSettings::default() },
        Arc::new(MemoryStore::new()),
    )
    .await;
    for (name, left, rounds) in [("little", vec![100, 5], 3), ("at once", vec![10], 2)] {
        let vm = bench.failed_over(name).await;
        bench.script.leave(&left);
        assert_eq!(bench.run(vm, failback()).await.report.unwrap().rounds, rounds, "{name}");
    }
    let vm = bench.failed_over("busy").await;
    bench.script.leave(&[1000; 20]);
    let rounds = bench.run(vm, failback()).await.report.unwrap().rounds;
    assert_eq!(rounds, 4, "the first moves 100, the second 1, the third no less: the end");
}

#[tokio::test]
async fn transfers_run_in_order_and_at_most_so_many_at_once() {
    let settings = EngineSettings { transfers_held: true, max_active_transfers: 2, ..EngineSettings::default() };
    let bench = Bench::with(settings, Arc::new(MemoryStore::new())).await;
    let mut jobs = Vec::new();
    for number in 0..8 {
        let vm = bench.failed_over(&format!("vm{number}")).await;
        jobs.push(bench.start(vm, failback()).await);
    }
    let view = bench.engine.view();
    assert!(jobs.iter().all(|id| view.job(*id).unwrap().job.state == JobState::NEW));
    bench.engine.release_transfers();
    for id in jobs {
        assert_eq!(bench.end(id).await.state, JobState::COMPLETED);
    }
    assert!(bench.script.running_most() <= 2, "{}", bench.script.running_most());
    let prepared: Vec<String> =
        bench.script.all_steps().into_iter().filter(|(_, step)| *step == "prepare").map(|(vm, _)| vm).collect();
    for (place, vm) in prepared.iter().enumerate() {
        let number: usize = vm.trim_start_matches("vm").parse().unwrap();
        assert!(number.abs_diff(place) <= 1, "{prepared:?}");
    }
}

#[tokio::test]
async fn a_full_job_table_refuses_until_finished_jobs_are_removed() {
    let bench =
        Bench::with(EngineSettings { jobs_max: 2, ..EngineSettings::default() }, Arc::new(MemoryStore::new())).await;
    let mut vms = Vec::new();
    for name in ["a", "b", "c"] {
        vms.push(bench.failed_over(name).await);
    }
    bench.run(vms[0], failback()).await;
    bench.run(vms[1], failback()).await;
    let denied = bench.submit(vms[2], failback()).await.unwrap_err();
    assert_eq!((denied.return_value(), denied.message_id()), (32778, "FBD1013"));
    bench.clock.advance_ms(299_999);
    bench.engine.expire_due().await;
    assert_eq!(bench.engine.view().jobs_len(), 2, "not a moment early");
    bench.clock.advance_ms(1);
    bench.engine.expire_due().await;
    assert_eq!(bench.engine.view().jobs_len(), 0);
    bench.run(vms[2], failback()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_of_the_view_is_lost_under_load() {
    let settings = EngineSettings { transfers_held: true, ..EngineSettings::default() };
    let bench = Bench::with(settings, Arc::new(MemoryStore::new())).await;
    let new = (0..1000).map(|number| NewVm::failed_over(&format!("vm{number}"), Script::NAME)).collect();
    let vms = bench.engine.import_vms(new).await.unwrap();
    let submits: Vec<_> = vms
        .iter()
        .map(|vm| {
            let command = Command { vm: *vm, operation: failback(), principal: "admin".into(), idempotency_key: None };
            let engine = Arc::clone(&bench.engine);
            tokio::spawn(async move {
                let id = engine.submit(command).await.unwrap().job.unwrap();
                assert!(engine.view().job(id).is_some());
                id
            })
        })
        .collect();
    for submit in submits {
        submit.await.unwrap();
    }
    let view = bench.engine.view();
    assert_eq!((view.jobs_len(), view.jobs_live()), (1000, 1000));
    assert!(view.vms_after(None).all(|vm| vm.state.0 == 13 && vm.live_job.is_some_and(|id| view.job(id).is_some())));
}

#[tokio::test]
async fn a_store_that_cannot_commit_refuses_and_changes_nothing() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut bench = Bench::with(EngineSettings::default(), Arc::clone(&memory)).await;
    let vm = bench.failed_over("web01").await;
    let full = Arc::new(FaultStore::new(memory, Fault::Full, 0));
    bench.reopen(Arc::clone(&full) as Arc<dyn Store>).await;
    let before = bench.vm(vm);
    let denied = bench.submit(vm, failback()).await.unwrap_err();
    assert_eq!((denied.return_value(), denied.message_id()), (32768, "FBD1000"));
    assert_eq!((bench.vm(vm), bench.engine.view().jobs_len()), (before, 0));
    full.mend();
    bench.script.close("quiesce");
    let id = bench.start(vm, failback()).await;
    bench.script.await_step("quiesce", 1).await;
    full.break_now();
    bench.script.open("quiesce");
    assert!(bench.engine.cancel(id).await.is_err(), "a cancel that is not durable is not accepted");
    full.mend();
    assert_eq!(bench.end(id).await.state, JobState::COMPLETED, "a full store is waited for");
}

#[tokio::test]
async fn an_unreadable_record_is_named() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    for octets in [&b"{}"[..], b"not json", br#"{"version":2,"record":{}}"#, br#"{"version":1,"record":{}}"#] {
        let then = vec![Op::Put("/vm/DAMAGED".into(), octets.to_vec())];
        store.commit(Txn { when: vec![], then }).await.unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(0), 1));
        let opened = Engine::open(Arc::clone(&store), vec![], EngineSettings::default(), "HOME".into(), clock).await;
        let error = opened.err().expect("a damaged record is no reason to forget it").to_string();
        assert!(error.contains("/vm/DAMAGED"), "{error}");
    }
}

#[tokio::test]
async fn an_import_needs_a_fresh_name_and_a_loaded_backend() {
    let bench = Bench::new().await;
    bench.failed_over("Web01").await;
    for (name, backend) in [("wEB01", Script::NAME), ("", Script::NAME), ("a\nb", Script::NAME), ("b", "other")] {
        assert!(bench.engine.import_vm(NewVm::protected(name, backend)).await.is_err(), "{name:?} {backend}");
    }
    let id = bench.engine.view().vm_by_name("web01").unwrap().id;
    for (name, told) in [("wEB01", "the name 'wEB01'".to_owned()), ("b", format!("the GUID {id}"))] {
        let new = NewVm { id: (name == "b").then_some(id), ..NewVm::protected(name, Script::NAME) };
        let refusal = bench.engine.import_vm(new).await.unwrap_err().to_string();
        assert!(refusal.ends_with(&told), "{refusal}");
    }
    assert_eq!(bench.engine.view().vms_len(), 1);
}
