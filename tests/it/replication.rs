//! What must hold whatever happens: crashes at every commit, and random operations, cancels, faults and restarts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use failbackd::backend::DriverErrorKind;
use failbackd::job::{JobId, JobState};
use failbackd::replication::{EnabledState, Operation, ReplicationState, Site, VmId};
use failbackd::service::{EngineSettings, NewVm};
use failbackd::store::{Fault, FaultStore, MemoryStore, Store};
use proptest::prelude::{Just, ProptestConfig, Strategy, prop, prop_oneof, proptest};

use crate::jobs::script::Script;
use crate::jobs::{Bench, failback};

/// Runs one operation with a crash at the nth commit, opens again, and tells whether the crash came.
async fn crash_at(fault: Fault, number: u64, prepare: &[Operation], operation: Operation) -> (Bench, VmId, bool) {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut bench = Bench::with(EngineSettings::default(), Arc::clone(&memory)).await;
    let vm = bench.failed_over("web01").await;
    for operation in prepare {
        assert_eq!(bench.run(vm, operation.clone()).await.state, JobState::COMPLETED);
    }
    let fragile = Arc::new(FaultStore::new(Arc::clone(&memory), fault, number));
    bench.reopen(Arc::clone(&fragile) as Arc<dyn Store>).await;
    // The answer is lost when the crash comes first; then nobody was told that there is a job.
    if let Ok(answer) = bench.submit(vm, operation).await {
        let id = answer.job.unwrap();
        let settled = bench.engine.changed(|view| {
            let ended = view.job(id).is_none_or(|entry| entry.job.state.is_terminal());
            ended.then_some(())
        });
        tokio::select! {
            () = settled => {}
            () = broken(&fragile) => {}
        }
    }
    bench.engine.shutdown().await;
    let crashed = fragile.is_broken();
    bench.reopen(memory).await;
    (bench, vm, crashed)
}

async fn broken(store: &FaultStore) {
    while !store.is_broken() {
        tokio::task::yield_now().await;
    }
}

/// Waits until no job is live.
async fn settle(bench: &Bench) {
    let settled = bench.engine.changed(|view| (view.jobs_live() == 0).then_some(()));
    tokio::time::timeout(std::time::Duration::from_secs(20), settled).await.expect("every job ends");
}

#[tokio::test]
async fn a_failback_survives_a_crash_at_every_commit() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for number in 0.. {
            let (mut bench, vm, crashed) = crash_at(fault, number, &[], failback()).await;
            settle(&bench).await;
            let submitted = bench.engine.view().jobs_len() == 1;
            assert!(submitted || (number == 0 && fault == Fault::CrashBefore), "{fault:?} {number}");
            let record = bench.vm(vm);
            let expected = if submitted { (14, Site::Home) } else { (2, Site::Peer) };
            assert_eq!((record.state.0, record.authority), expected, "{fault:?} {number}");
            // Whatever was not cleaned up is, at the latest after the next start.
            let memory = Arc::clone(&bench.store);
            bench.reopen(memory).await;
            bench.engine.shutdown().await;
            let disk = bench.script.disk(vm);
            assert_eq!((disk.finished, disk.peer_runs), (submitted, !submitted), "{fault:?} {number}");
            assert!(!submitted || disk.home == disk.peer, "{fault:?} {number} {disk:?}");
            assert_eq!(bench.store.list("/finish/", None, 9).unwrap(), [], "{fault:?} {number}");
            bench.script.check_rule();
            if !crashed {
                assert!(number > 6, "the crashes have to hit every phase: {number}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn every_other_operation_survives_a_crash_at_every_commit() {
    let reverse = || Operation::ReverseReplicationRelationship { settings: None };
    let cases: &[(&[Operation], Operation, (u16, u16))] = &[
        (&[failback()], Operation::CommitFailover, (2, 6)),
        (&[failback()], Operation::RevertFailover, (2, 2)),
        (&[failback(), Operation::CommitFailover], reverse(), (1, 3)),
        (&[failback(), Operation::CommitFailover], Operation::RequestStateChange(EnabledState(2)), (2, 6)),
        (&[], Operation::RequestReplicationStateChange(ReplicationState(7)), (2, 7)),
    ];
    for (prepare, operation, expected) in cases {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            for number in 0..8 {
                let (bench, vm, crashed) = crash_at(fault, number, prepare, operation.clone()).await;
                settle(&bench).await;
                let jobs = bench.engine.view().jobs_len();
                let record = bench.vm(vm);
                let told = format!("{operation:?} {fault:?} {number}");
                if jobs > prepare.len() {
                    assert_eq!((record.mode.0, record.state.0), *expected, "{told}");
                } else {
                    assert_eq!((number, fault), (0, Fault::CrashBefore), "{told}");
                }
                assert_eq!(record.live_job, None, "{told}");
                let disk = bench.script.disk(vm);
                assert!(disk.peer_runs == (record.authority == Site::Peer), "{told} {disk:?}");
                bench.script.check_rule();
                if !crashed {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_cancel_survives_a_crash() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for number in 0..4 {
            let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let mut bench = Bench::with(EngineSettings::default(), Arc::clone(&memory)).await;
            let vm = bench.failed_over("web01").await;
            bench.script.close("quiesce");
            let id = bench.start(vm, failback()).await;
            bench.script.await_step("quiesce", 1).await;
            bench.engine.shutdown().await;
            let fragile = Arc::new(FaultStore::new(Arc::clone(&memory), fault, number));
            bench.reopen(Arc::clone(&fragile) as Arc<dyn Store>).await;
            let accepted = bench.engine.cancel(id).await.is_ok();
            tokio::select! {
                _ = bench.end(id) => {}
                () = broken(&fragile) => {}
            }
            bench.script.open("quiesce");
            bench.reopen(memory).await;
            settle(&bench).await;
            let state = bench.engine.view().job(id).unwrap().job.state;
            let record = bench.vm(vm);
            if accepted {
                assert_eq!(state, JobState::TERMINATED, "an accepted cancel is carried out: {fault:?} {number}");
            }
            let cancelled = state == JobState::TERMINATED;
            assert_eq!(record.state.0, if cancelled { 2 } else { 14 }, "{fault:?} {number}");
            assert_eq!(bench.script.disk(vm).peer_runs, cancelled, "{fault:?} {number}");
            bench.script.check_rule();
        }
    }
}

#[tokio::test]
async fn a_shutdown_keeps_jobs_for_the_next_start_without_undoing_them() {
    for step in ["prepare", "sync", "quiesce", "verify"] {
        let mut bench = Bench::new().await;
        let vm = bench.failed_over("web01").await;
        bench.script.close(step);
        let id = bench.start(vm, failback()).await;
        bench.script.await_step(step, 1).await;
        let percent = bench.engine.view().job(id).unwrap().percent_complete();
        bench.engine.shutdown().await;
        assert!(bench.submit(vm, failback()).await.is_err(), "a stopping server takes nothing on");
        assert!(!bench.script.steps("web01").contains(&"undo"), "{step}");
        bench.script.open(step);
        let store = Arc::clone(&bench.store);
        bench.reopen(store).await;
        let resumed = bench.engine.view().job(id).unwrap().percent_complete();
        assert!(resumed <= 100 && percent <= 100);
        assert_eq!(bench.end(id).await.state, JobState::COMPLETED, "{step}");
    }
}

/// One thing that happens in a random history.
#[derive(Clone, Debug)]
enum Happening {
    Operate(usize, Operation),
    Cancel(usize),
    Fail(&'static str, DriverErrorKind),
    Heal,
    Failover(usize),
    Settle,
    Restart,
    Crash(u64),
}

const VMS: usize = 2;

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => Just(failback()),
        2 => Just(Operation::CommitFailover),
        2 => Just(Operation::RevertFailover),
        2 => Just(Operation::ReverseReplicationRelationship { settings: None }),
        2 => (2_u16..4).prop_map(|state| Operation::RequestStateChange(EnabledState(state))),
        2 => (1_u16..10).prop_map(|state| Operation::RequestReplicationStateChange(ReplicationState(state))),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    let step =
        prop_oneof![Just("prepare"), Just("sync"), Just("quiesce"), Just("verify"), Just("undo"), Just("resume")];
    prop_oneof![
        8 => (0..VMS, operation()).prop_map(|(vm, operation)| Happening::Operate(vm, operation)),
        2 => any_job().prop_map(Happening::Cancel),
        1 => step.prop_map(|step| Happening::Fail(step, DriverErrorKind::Io)),
        2 => Just(Happening::Heal),
        1 => (0..VMS).prop_map(Happening::Failover),
        6 => Just(Happening::Settle),
        1 => Just(Happening::Restart),
        1 => (0_u64..6).prop_map(Happening::Crash),
    ]
}

fn any_job() -> impl Strategy<Value = usize> {
    0_usize..3
}

async fn live_through(history: Vec<Happening>) {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut bench = Bench::with(EngineSettings::default(), Arc::clone(&memory)).await;
    let names = (0..VMS).map(|number| NewVm::failed_over(&format!("vm{number}"), Script::NAME));
    let vms = bench.engine.import_vms(names.collect()).await.unwrap();
    let mut jobs: Vec<JobId> = Vec::new();
    for happening in history {
        match happening {
            Happening::Operate(vm, operation) => {
                jobs.extend(bench.submit(vms[vm], operation).await.ok().and_then(|answer| answer.job));
            }
            Happening::Cancel(back) => {
                if let Some(id) = jobs.iter().rev().nth(back) {
                    let _refused = bench.engine.cancel(*id).await;
                }
            }
            Happening::Fail(step, kind) => bench.script.fail(step, kind),
            Happening::Heal => bench.script.heal(),
            Happening::Failover(vm) => {
                // The administrator turns home's copy off before the peer's is started.
                if bench.engine.record_failover(vms[vm]).await.is_ok() {
                    bench.script.fail_over(vms[vm]);
                }
            }
            Happening::Settle => settle(&bench).await,
            Happening::Restart => bench.reopen(Arc::clone(&memory)).await,
            Happening::Crash(number) => {
                let fragile = Arc::new(FaultStore::new(Arc::clone(&memory), Fault::CrashAfter, number));
                bench.reopen(Arc::clone(&fragile) as Arc<dyn Store>).await;
                let live = bench.engine.changed(|view| (view.jobs_live() == 0).then_some(()));
                tokio::select! {
                    () = live => {}
                    () = broken(&fragile) => {}
                }
                bench.reopen(Arc::clone(&memory)).await;
            }
        }
        bench.script.check_rule();
    }
    settle(&bench).await;
    bench.script.check_rule();
    for id in jobs {
        let view = bench.engine.view();
        assert!(view.job(id).expect("an acknowledged job is never lost").job.state.is_terminal());
    }
    for vm in vms {
        let record = bench.vm(vm);
        assert!(record.live_job.is_none() && record.state != ReplicationState::FAILBACK_IN_PROGRESS, "{record:?}");
        let disk = bench.script.disk(vm);
        assert!(!disk.home_runs || record.authority == Site::Home, "home runs only with the authority");
        assert!(!disk.peer_runs || record.authority == Site::Peer, "the peer runs only with the authority");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// The seed of a failing history is printed by proptest with the shortest history that fails.
    #[test]
    fn no_history_leaves_two_running_copies_or_a_stuck_vm(history in prop::collection::vec(happening(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(live_through(history));
    }
}
