//! Measures questions about associations over 208,000 objects: 8,000 virtual machines with 24 recovery points and one
//! job each.
//!
//! `cargo bench --bench associations` prints, for each question, the time of a whole exchange without its connection:
//! octets in, the answer's octets out. The exit code is 1 when the median of one is above the bound, which a question
//! that looked at all objects would miss by far.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints what it measured")]

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use failbackd::auth::{Principal, local_administrator};
use failbackd::cim::Schema;
use failbackd::endpoint::{Call, CursorLimits, Endpoint, EndpointSettings, EventLimits, Pace, Step};
use failbackd::job::{Job, JobId, JobType, NewJob, Timestamp};
use failbackd::provider::{Permissions, Registry};
use failbackd::replication::{
    BackendInfo, Change, EnabledState, JobEntry, Operation, PointId, PointKind, RecoveryPoint, ReplicationHealth,
    ReplicationMode, ReplicationSettings, ReplicationState, ReplicationType, Site, View, Vm, VmId,
};
use failbackd::wsman::{Profile, WinrmConfig};
use failbackd::xml::Limits;
use uuid::Uuid;

/// What goes wrong in a bench ends it, with its text.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What one question may take.
const BOUND: Duration = Duration::from_millis(2);
const VMS: u128 = 8_000;
const POINTS: u128 = 24;
/// The virtual machine that is asked about.
const ASKED: u128 = 4_321;

/// Measure association queries.
#[derive(Parser)]
struct Options {
    /// Few repetitions, to see that nothing fails.
    #[arg(long)]
    short: bool,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("associations: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<bool, Failure> {
    let repetitions = if options.short { 20 } else { 2_000 };
    let view = Arc::new(world());
    println!("{} objects", view.vms_len() + view.points_len() + view.jobs_len());
    let endpoint = endpoint()?;
    let (ours, _theirs) = UnixStream::pair()?;
    let principal = local_administrator(&ours)?;
    println!("{:<52} {:>7} {:>10} {:>10}", "question", "items", "median us", "p99 us");
    let mut met = true;
    for (name, filter, expected) in questions() {
        let request = request(&filter);
        let mut times = Vec::with_capacity(repetitions);
        for _ in 0..repetitions {
            let began = Instant::now();
            let answer = ask(&endpoint, &view, &principal, &request)?;
            times.push(began.elapsed());
            let items = answer.matches("<a:EndpointReference>").count();
            if items != expected || !answer.contains("EndOfSequence") {
                return Err(format!("{name}: {items} items in place of {expected} in {answer}").into());
            }
        }
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
        println!("{name:<52} {expected:>7} {:>10.1} {:>10.1}", micros(at(50)), micros(at(99)));
        met &= at(50) < BOUND;
    }
    println!("bound: {} us at the median", BOUND.as_micros());
    Ok(met)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Questions as filters, each with the number of its results.
fn questions() -> Vec<(&'static str, String, usize)> {
    const WMI: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/";
    let object = |class: &str, key: &str, value: String| {
        format!(
            "<b:Object><a:Address>x</a:Address><a:ReferenceParameters><w:ResourceURI>{WMI}{class}</w:ResourceURI>\
             <w:SelectorSet><w:Selector Name=\"{key}\">{value}</w:Selector></w:SelectorSet></a:ReferenceParameters>\
             </b:Object>"
        )
    };
    let guid = |id: Uuid| id.hyphenated().to_string().to_uppercase();
    let vm = object("Msvm_ComputerSystem", "Name", guid(vm_id(ASKED).0));
    let job = object("Msvm_ConcreteJob", "InstanceID", guid(job_id(ASKED).0));
    let point =
        object("Msvm_VirtualSystemSettingData", "InstanceID", format!("Microsoft:{}", guid(point_id(ASKED, 7).0)));
    let association = |kind: &str, object: &str, more: &str| {
        format!(
            "<w:Filter Dialect=\"http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter\">\
             <b:{kind}>{object}{more}</b:{kind}></w:Filter>"
        )
    };
    let path = format!("Msvm_ComputerSystem.Name=\"{}\"", guid(vm_id(ASKED).0));
    let wql =
        |text: String| format!("<w:Filter Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/WQL\">{text}</w:Filter>");
    let settings = "<b:ResultClassName>Msvm_ReplicationSettingData</b:ResultClassName>";
    vec![
        ("from a machine to all", association("AssociatedInstances", &vm, ""), 28),
        ("from a machine to its replication settings", association("AssociatedInstances", &vm, settings), 1),
        ("from a job to its machine and the service", association("AssociatedInstances", &job, ""), 2),
        ("from a recovery point to its machine", association("AssociatedInstances", &point, ""), 1),
        ("all associations of a machine", association("AssociationInstances", &vm, ""), 29),
        ("ASSOCIATORS OF a machine, jobs", wql(format!("ASSOCIATORS OF {{{path}}} WHERE ResultClass = CIM_Job")), 1),
        (
            "SELECT from an association by a reference",
            wql(format!(
                "SELECT * FROM Msvm_SnapshotOfVirtualSystem WHERE Antecedent = \
                 'Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\",Name=\"{}\"'",
                guid(vm_id(ASKED).0)
            )),
            24,
        ),
    ]
}

fn request(filter: &str) -> String {
    format!(
        r#"<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
        xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"
        xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
        xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration"
        xmlns:b="http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd"><s:Header><a:To>x</a:To>
        <a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>
        <a:MessageID>uuid:1</a:MessageID>
        <a:Action>http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate</a:Action>
        <w:ResourceURI>http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/*</w:ResourceURI>
        </s:Header><s:Body><n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>1000</w:MaxElements>
        <w:EnumerationMode>EnumerateObjectAndEPR</w:EnumerationMode>{filter}</n:Enumerate></s:Body></s:Envelope>"#
    )
}

fn endpoint() -> Result<Endpoint, Failure> {
    let schema = Schema::builtin();
    let settings = EndpointSettings {
        limits: Limits::default(),
        envelope_octets_max: 512_000,
        items_max: 1_000,
        cursors: CursorLimits::default(),
        version: String::new(),
        profiles: Vec::new(),
        winrm: WinrmConfig::default(),
        machine: "HOST".into(),
        profile: &Profile::MS,
        events: EventLimits::default(),
    };
    Ok(Endpoint::new(schema, Registry::new(schema)?, settings))
}

fn ask(endpoint: &Endpoint, view: &Arc<View>, principal: &Principal, request: &str) -> Result<String, Failure> {
    let permissions = Permissions::unlimited();
    let ids = || Uuid::from_u128(1);
    let call = Call {
        now: Timestamp(0),
        ids: &ids,
        principal,
        permissions: &permissions,
        view,
        request: request.as_bytes(),
        charset: None,
        soap_action: None,
        targets: false,
        // A brief look has to be enough: no question may need a thread of its own.
        pace: Pace::Brief,
    };
    match endpoint.handle(&call) {
        Step::Respond(answer) => Ok(String::from_utf8(answer.octets)?),
        other => Err(format!("{other:?}").into()),
    }
}

fn vm_id(number: u128) -> VmId {
    VmId(Uuid::from_u128(0x1000_0000_0000 + number))
}

fn point_id(vm: u128, number: u128) -> PointId {
    PointId(Uuid::from_u128(0x2000_0000_0000 + vm * POINTS + number))
}

fn job_id(number: u128) -> JobId {
    JobId(Uuid::from_u128(0x3000_0000_0000 + number))
}

fn world() -> View {
    let backend = BackendInfo {
        name: "file".to_owned(),
        description: "Raw image files".to_owned(),
        failback: true,
        recovery_points: true,
        reverse: true,
    };
    let mut view = View::new("HOST", [backend], 10_000);
    for number in 0..VMS {
        let vm = vm_id(number);
        view.apply(Change::Vm(Arc::new(machine(number))));
        let point = |point| RecoveryPoint {
            id: point_id(number, point),
            vm,
            kind: PointKind::Standard,
            taken: Timestamp(i64::try_from(point).unwrap_or(0)),
            site: Site::Peer,
            name: "point".to_owned(),
        };
        view.apply(Change::Points(vm, (0..POINTS).map(point).collect()));
        let new = NewJob {
            id: job_id(number),
            job_type: JobType::INITIATE_FAILBACK,
            subject: vm.to_string(),
            subject_name: format!("vm{number}"),
            owner: "load".to_owned(),
            cancellable: true,
            time_before_removal_ms: 300_000,
        };
        view.apply(Change::Job(Arc::new(JobEntry {
            job: Job::new(new, Timestamp(0)),
            vm,
            operation: Arc::new(Operation::CommitFailover),
            idempotency_key: None,
            progress: Arc::default(),
            revision: 1,
        })));
    }
    view
}

fn machine(number: u128) -> Vm {
    Vm {
        id: vm_id(number),
        name: format!("vm{number}"),
        backend: "file".to_owned(),
        enabled_state: EnabledState::DISABLED,
        mode: ReplicationMode::REPLICA,
        state: ReplicationState::REPLICATING,
        health: ReplicationHealth::OK,
        failed_over_type: ReplicationType::NONE,
        last_type: ReplicationType::NONE,
        epoch: 0,
        authority: Site::Peer,
        prior: None,
        needs_resync: false,
        live_job: None,
        settings: ReplicationSettings::default(),
        primary_host: "PEER".to_owned(),
        recovery_host: "HOST".to_owned(),
        last_replication: None,
        last_apply: None,
        last_app_consistent: None,
        created: Timestamp(0),
        changed: Timestamp(0),
        disk_octets: 0,
        revision: 1,
    }
}
