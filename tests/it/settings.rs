//! Settings that clients change: durable before answered, never lost to each other, the same after a restart.

#![allow(clippy::unnecessary_box_returns, reason = "what changes carry is boxed")]

use std::sync::Arc;

use failbackd::replication::{Amendment, Authorization, AuthorizationId, Denied, ReplicationSettings, ServiceSettings};
use failbackd::service::EngineSettings;
use failbackd::store::{Fault, FaultStore, MemoryStore, Store};

use crate::jobs::{Bench, failback};

fn entry(host: &str, trust_group: &str) -> Box<Authorization> {
    let (host, trust_group) = (host.to_owned(), trust_group.to_owned());
    Box::new(Authorization { host, trust_group, storage_location: "D:".to_owned(), revision: 0 })
}

fn history(recovery_history: u16) -> Box<ReplicationSettings> {
    Box::new(ReplicationSettings { recovery_history, ..ReplicationSettings::default() })
}

fn monitoring(monitoring_interval_s: u32) -> Box<ServiceSettings> {
    Box::new(ServiceSettings { monitoring_interval_s, ..ServiceSettings::default() })
}

#[tokio::test]
async fn every_change_is_in_the_view_at_once_and_after_a_restart() {
    let mut bench = Bench::new().await;
    let vm = bench.failed_over("web01").await;
    let from = Box::new(bench.vm(vm).settings.clone());
    let to = Box::new(ReplicationSettings { recovery_history: 7, ..(*from).clone() });
    let engine = &bench.engine;
    engine.amend(Amendment::Replication { vm, from, to: to.clone() }).await.unwrap();
    assert_eq!(bench.vm(vm).settings, *to);
    let service = Amendment::Service { from: Box::default(), to: monitoring(7_200) };
    engine.amend(service).await.unwrap();
    assert!(engine.view().service_settings().same(&monitoring(7_200)));
    for host in ["hv01", "hv02", "*.example.com"] {
        engine.amend(Amendment::AddAuthorization(entry(host, "lab"))).await.unwrap();
    }
    let change = Amendment::ChangeAuthorization { from: entry("hv02", "lab"), to: entry("hv02", "other") };
    engine.amend(change).await.unwrap();
    engine.amend(Amendment::RemoveAuthorization("HV01".to_owned())).await.unwrap();
    // What is as wanted already is no change, and needs no store.
    engine.amend(Amendment::Service { from: monitoring(9_999), to: monitoring(7_200) }).await.unwrap();
    let before = engine.view();
    let hosts = |view: &failbackd::replication::View| -> Vec<(String, String)> {
        view.authorizations_after(None).map(|it| (it.host.clone(), it.trust_group.clone())).collect()
    };
    assert_eq!(before.authorizations_len(), 2);
    let store = Arc::clone(&bench.store);
    bench.reopen(store).await;
    let after = bench.engine.view();
    assert_eq!(hosts(&before), hosts(&after));
    assert!(after.authorization(AuthorizationId::of("hv02")).is_some_and(|it| it.trust_group == "other"));
    assert!(after.service_settings().same(&monitoring(7_200)));
    assert_eq!(bench.vm(vm).settings, *to);
    // Whatever was read again can be changed again.
    let change = Amendment::ChangeAuthorization { from: entry("hv02", "other"), to: entry("hv02", "third") };
    bench.engine.amend(change).await.unwrap();
    bench.engine.amend(Amendment::Service { from: monitoring(7_200), to: monitoring(3_600) }).await.unwrap();
    assert!(bench.engine.view().service_settings().same(&monitoring(3_600)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_changes_made_from_the_same_settings_one_wins_and_the_others_are_told() {
    //= XFR-02, XFR-09
    let bench = Bench::new().await;
    let vm = bench.failed_over("web01").await;
    let base = bench.vm(vm).settings.clone();
    let mut tasks = Vec::new();
    for number in 1..=8_u16 {
        let engine = Arc::clone(&bench.engine);
        let (from, to) =
            (Box::new(base.clone()), Box::new(ReplicationSettings { recovery_history: number, ..base.clone() }));
        tasks.push(tokio::spawn(async move {
            let vm = engine.amend(Amendment::Replication { vm, from, to }).await;
            let to = monitoring(3_600 + u32::from(number));
            let service = engine.amend(Amendment::Service { from: Box::default(), to }).await;
            let added = engine.amend(Amendment::AddAuthorization(entry("hv01", &number.to_string()))).await;
            [vm, service, added]
        }));
    }
    let mut won = [0; 3];
    for task in tasks {
        for (place, outcome) in task.await.unwrap().into_iter().enumerate() {
            match outcome {
                Ok(()) => won[place] += 1,
                Err(Denied::Changed { .. } | Denied::EntryExists(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert_eq!(won, [1, 1, 1]);
    assert_eq!(bench.engine.view().authorizations_len(), 1);
}

#[tokio::test]
async fn what_may_not_change_stays() {
    let bench =
        Bench::with(EngineSettings { transfers_held: true, ..EngineSettings::default() }, Arc::new(MemoryStore::new()))
            .await;
    let vm = bench.failed_over("web01").await;
    let from = Box::new(bench.vm(vm).settings.clone());
    let denied = |denied: Result<(), Denied>| {
        let denied = denied.unwrap_err();
        (denied.return_value(), denied.message_id())
    };
    let engine = &bench.engine;
    let bad = Amendment::Replication { vm, from: from.clone(), to: history(25) };
    assert_eq!(denied(engine.amend(bad).await), (32773, "FBD1007"));
    let missing = Amendment::RemoveAuthorization("hv01".to_owned());
    assert_eq!(denied(engine.amend(missing).await), (32773, "FBD1017"));
    let stale = Amendment::Service { from: monitoring(4_000), to: monitoring(5_000) };
    assert_eq!(denied(engine.amend(stale).await), (32774, "FBD1015"));
    bench.start(vm, failback()).await;
    let busy = Amendment::Replication { vm, from, to: history(7) };
    assert_eq!(denied(engine.amend(busy).await), (32774, "FBD1008"));
}

#[tokio::test]
async fn a_store_that_cannot_commit_changes_nothing() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let full = Arc::new(FaultStore::new(memory, Fault::Full, 0));
    let bench = Bench::with(EngineSettings::default(), Arc::clone(&full) as Arc<dyn Store>).await;
    let add = || Amendment::AddAuthorization(entry("hv01", "lab"));
    assert_eq!(bench.engine.amend(add()).await.unwrap_err().return_value(), 32768);
    assert_eq!(bench.engine.view().authorizations_len(), 0);
    full.mend();
    bench.engine.amend(add()).await.unwrap();
    assert_eq!(bench.engine.view().authorizations_len(), 1);
}
