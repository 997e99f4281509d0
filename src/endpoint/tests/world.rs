//! The world that the exchanges see: three virtual machines, two recovery points, a running and a failed job.

use std::sync::Arc;

use uuid::Uuid;

use crate::cim::Schema;
use crate::endpoint::{CursorLimits, Endpoint, EndpointSettings, EventLimits};
use crate::job::{Job, JobError, JobEvent, JobId, JobType, Message, NewJob, Progress, Timestamp};
use crate::provider::Registry;
use crate::replication::{
    BackendInfo, Change, EnabledState, JobEntry, Operation, PointId, PointKind, RecoveryPoint, ReplicationHealth,
    ReplicationMode, ReplicationSettings, ReplicationState, ReplicationType, Site, View, Vm, VmId,
};
use crate::wsman::{CurrentText, Profile, WinrmConfig, WinrmListener, WinrmLogin};
use crate::xml::Limits;

/// 2026-01-02T03:04:05Z.
pub(super) const NOW: Timestamp = Timestamp(1_767_323_045_000_000);

pub(super) fn endpoint() -> Endpoint {
    endpoint_of(&Profile::MS)
}

pub(super) fn endpoint_of(profile: &'static Profile) -> Endpoint {
    endpoint_made(profile, EventLimits::default())
}

pub(super) fn endpoint_with(events: EventLimits) -> Endpoint {
    endpoint_made(&Profile::MS, events)
}

fn endpoint_made(profile: &'static Profile, events: EventLimits) -> Endpoint {
    let schema = Schema::builtin();
    let settings = EndpointSettings {
        limits: Limits::default(),
        envelope_octets_max: 512_000,
        items_max: 1_000,
        cursors: CursorLimits::default(),
        events,
        version: "OS: 0.0.0 SP: 0.0 Stack: 3.0".to_owned(),
        profiles: vec!["http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/basic"],
        winrm: WinrmConfig {
            envelope_octets_max: 512_000,
            timeout_ms: 60_000,
            items_max: 1_000,
            contexts_per_user_max: 2_048,
            context_timeout_ms: 600_000,
            connections_max: 4_096,
            login: WinrmLogin { basic: true, negotiate: true, channel_binding: "Relaxed", ..WinrmLogin::default() },
            listeners: vec![listener("HTTP", 5985), listener("HTTPS", 5986)],
            certificate: Some(CurrentText(Arc::new(|| "00FF".to_owned()))),
            ..WinrmConfig::default()
        },
        machine: "HOST".into(),
        profile,
    };
    Endpoint::new(schema, Registry::new(schema).unwrap(), settings)
}

fn listener(transport: &'static str, port: u16) -> WinrmListener {
    let listening_on = vec!["192.0.2.1".to_owned()];
    let host_name = if transport == "HTTPS" { "HOST".to_owned() } else { String::new() };
    WinrmListener { address: "*".to_owned(), transport, port, host_name, listening_on, is_local: false }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn vm(number: u128, name: &str, state: ReplicationState, enabled: EnabledState) -> Vm {
    Vm {
        id: VmId(id(number)),
        name: name.to_owned(),
        backend: "file".to_owned(),
        enabled_state: enabled,
        mode: if enabled == EnabledState::ENABLED { ReplicationMode::PRIMARY } else { ReplicationMode::REPLICA },
        state,
        health: ReplicationHealth::OK,
        failed_over_type: ReplicationType::REGULAR,
        last_type: ReplicationType::REGULAR,
        epoch: 1,
        authority: if enabled == EnabledState::ENABLED { Site::Home } else { Site::Peer },
        prior: None,
        needs_resync: false,
        live_job: None,
        settings: ReplicationSettings { recovery_history: 4, ..ReplicationSettings::default() },
        primary_host: "PEER".to_owned(),
        recovery_host: "HOST".to_owned(),
        last_replication: Some(Timestamp(NOW.0 - 60_000_000)),
        last_apply: Some(Timestamp(NOW.0 - 50_000_000)),
        last_app_consistent: None,
        created: Timestamp(NOW.0 - 3_600_000_000),
        changed: Timestamp(NOW.0 - 120_000_000),
        disk_octets: 1 << 30,
        revision: 1,
    }
}

fn job(number: u128, vm: &Vm, events: &[JobEvent]) -> JobEntry {
    let submitted = Timestamp(NOW.0 - 30_000_000);
    let mut job = Job::new(
        NewJob {
            id: JobId(id(number)),
            job_type: JobType::INITIATE_FAILBACK,
            subject: vm.id.to_string(),
            subject_name: vm.name.clone(),
            owner: "tester".to_owned(),
            cancellable: true,
            time_before_removal_ms: 300_000,
        },
        submitted,
    );
    for event in events {
        job.apply(event, Timestamp(submitted.0 + 1_500_000)).unwrap();
    }
    let progress = Arc::new(Progress::starting_at(42));
    let operation = Arc::new(Operation::InitiateFailback { point: None, settings: None });
    JobEntry { job, vm: vm.id, operation, idempotency_key: None, progress, revision: 1 }
}

/// `web01` (0xA1) can fail back, `db01` (0xA2) runs a failback (job 0x1), `app01` (0xA3) runs at home. Job 0x2 failed.
pub(super) fn view() -> View {
    let backend = BackendInfo {
        name: "file".to_owned(),
        description: "Raw image files".to_owned(),
        failback: true,
        recovery_points: true,
        reverse: true,
    };
    let mut view = View::new("HOST", [backend], 100);
    let web = vm(0xA1, "web01", ReplicationState::REPLICATING, EnabledState::DISABLED);
    let mut db = vm(0xA2, "db01", ReplicationState::FAILBACK_IN_PROGRESS, EnabledState::DISABLED);
    db.live_job = Some(JobId(id(1)));
    let app = vm(0xA3, "app <01> & co", ReplicationState::REPLICATING, EnabledState::ENABLED);
    let error = JobError::new(&Message::NOT_PERMITTED, "virtual machine 'web01'", &web.id.to_string(), "no reading");
    view.apply(Change::Job(Arc::new(job(1, &db, &[JobEvent::Start, JobEvent::Run]))));
    view.apply(Change::Job(Arc::new(job(2, &web, &[JobEvent::Start, JobEvent::Fail(Box::new(error))]))));
    let point = |number: u128, vm: &Vm, kind| RecoveryPoint {
        id: PointId(id(number)),
        vm: vm.id,
        kind,
        taken: Timestamp(NOW.0 - 600_000_000),
        site: Site::Peer,
        name: format!("point {number:X}"),
    };
    let points = vec![point(0xB1, &web, PointKind::Standard), point(0xB2, &web, PointKind::ApplicationConsistent)];
    view.apply(Change::Points(web.id, points));
    view.apply(Change::Points(db.id, vec![point(0xB3, &db, PointKind::Standard)]));
    for vm in [web, db, app] {
        view.apply(Change::Vm(Arc::new(vm)));
    }
    view
}
