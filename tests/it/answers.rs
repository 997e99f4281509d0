//! Every answer that a call of InitiateFailback can get, each caused once through a listening server.

use std::path::Path;
use std::sync::Arc;

use failbackd::backend::fault::{Admission, Behaviour, NAME, Script};
use failbackd::config::Config;
use failbackd::replication::{PointId, PointKind, RecoveryPoint, Site, VmId};
use failbackd::service::NewVm;
use uuid::Uuid;

use super::live::{Live, OPERATOR, VIEWER};
use super::process::{Wire, failback, field, job_of, number, returned};

const POINT: Uuid = Uuid::from_u128(0xB2);

/// A server, and a way to call it.
struct Bench {
    live: Live,
    calls: u32,
}

impl Bench {
    fn start(data_dir: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let live = Live::start(data_dir, |config| {
            config.limits.admission_timeout_ms = 100;
            change(config);
        });
        Self { live, calls: 0 }
    }

    fn vm(&self, new: NewVm) -> VmId {
        self.live.vm(new)
    }

    /// A virtual machine that a failback is admitted of, unless its script says otherwise.
    fn ready(&self, name: &str, script: Script) -> VmId {
        let vm = self.vm(NewVm::failed_over(name, NAME));
        self.live.server.world().faults().unwrap().set_script(vm, script);
        vm
    }

    fn wire(&self, user: &str) -> Wire {
        self.live.wire(user)
    }

    fn call(&mut self, vm: &str, parameters: &str) -> (u16, String) {
        self.calls += 1;
        self.wire(OPERATOR).post(&failback(&format!("uuid:{}", self.calls), vm, parameters)).unwrap()
    }

    /// The method's return value; the answer names a job only when one was started.
    fn answer(&mut self, vm: &str, parameters: &str) -> u64 {
        let (status, body) = self.call(vm, parameters);
        assert_eq!(status, 200, "{body}");
        assert_eq!(job_of(&body).is_some(), returned(&body) == 4096, "{body}");
        returned(&body)
    }

    fn stop(self) {
        self.live.stop();
    }
}

fn admission(admission: Admission) -> Script {
    Script { admission, ..Script::default() }
}

fn point_named(text: &str) -> String {
    format!("<p:RecoveryPointIdentifier>{text}</p:RecoveryPointIdentifier>")
}

/// ReplicationSettingData with one property, in CIM-XML.
fn setting(property: &str, kind: &str, value: &str) -> String {
    format!(
        "<p:ReplicationSettingData>&lt;INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\"&gt;\
         &lt;PROPERTY NAME=\"{property}\" TYPE=\"{kind}\"&gt;&lt;VALUE&gt;{value}&lt;/VALUE&gt;&lt;/PROPERTY&gt;\
         &lt;/INSTANCE&gt;</p:ReplicationSettingData>"
    )
}

#[test]
fn what_only_the_backend_knows() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(directory.path(), |_| ());
    let rows = [
        ("accepted", Admission::Accept, 4096),
        ("finished", Admission::Finished, 0),
        ("closed", Admission::NotPermitted, 32769),
        ("unable", Admission::NotSupported, 32770),
        ("strange", Admission::Unknown(77), 32771),
        ("hanging", Admission::Hang, 32772),
        ("unreachable", Admission::Unreachable, 32777),
        ("missing", Admission::Missing, 32779),
    ];
    for (name, script, expected) in rows {
        let vm = bench.ready(name, admission(script));
        assert_eq!(bench.answer(name, ""), expected, "{name}");
        // A refusal changes nothing; a backend that finished at once leaves what a job would have left.
        let shown = number(&bench.wire(VIEWER).vm(&vm.to_string()), "ReplicationState");
        let allowed: &[u64] = if expected == 4096 || expected == 0 { &[13, 14] } else { &[2] };
        assert!(allowed.contains(&shown), "{name} is in state {shown}");
    }
    bench.live.server.world().faults().unwrap().release();
    bench.stop();
}

#[test]
fn what_the_engine_knows() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(directory.path(), |_| ());
    let vm = bench.ready("web01", Script { sync_round: Behaviour::Hang, ..Script::default() });
    bench.vm(NewVm::protected("db01", NAME));
    assert_eq!(bench.answer("nobody", ""), 32773);
    assert_eq!(bench.answer("00000000-0000-0000-0000-00000000dead", ""), 32773);
    assert_eq!(bench.answer("web01", &point_named("not a GUID")), 32773);
    assert_eq!(bench.answer("web01", &point_named(&POINT.to_string())), 32773);
    assert_eq!(bench.answer("web01", &setting("RecoveryHistory", "uint16", "999")), 32773);
    assert_eq!(bench.answer("web01", &setting("RecoveryHistory", "string", "4")), 32776);
    assert_eq!(bench.answer("db01", ""), 32775);
    bench.live.server.world().faults().unwrap().add_point(RecoveryPoint {
        id: PointId(POINT),
        vm,
        kind: PointKind::Standard,
        taken: failbackd::job::Timestamp(0),
        site: Site::Peer,
        name: "point".to_owned(),
    });
    assert_eq!(bench.answer("web01", &point_named(&POINT.to_string())), 4096);
    assert_eq!(bench.answer("web01", ""), 32774);
    bench.stop();
}

#[test]
fn a_full_job_table_and_a_backend_that_is_not_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(directory.path(), |config| config.limits.jobs_max = 1);
    bench.ready("web01", Script { sync_round: Behaviour::Hang, ..Script::default() });
    bench.ready("db01", Script::default());
    assert_eq!(bench.answer("web01", ""), 4096);
    assert_eq!(bench.answer("db01", ""), 32778);
    bench.stop();
    let mut bench = Bench::start(directory.path(), |config| config.fault_backend = false);
    assert_eq!(bench.answer("db01", ""), 32777);
    bench.stop();
}

#[test]
fn a_server_that_stops_admits_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(directory.path(), |_| ());
    let vm = bench.ready("web01", Script::default());
    bench.live.runtime.block_on(Arc::clone(bench.live.server.world().engine()).shutdown());
    assert_eq!(bench.answer("web01", ""), 32768);
    assert_eq!(number(&bench.wire(VIEWER).vm(&vm.to_string()), "ReplicationState"), 2);
    bench.stop();
}

#[test]
fn a_repeated_call_gets_its_answer_again() {
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(directory.path(), |_| ());
    bench.ready("web01", Script { sync_round: Behaviour::Hang, ..Script::default() });
    bench.ready("db01", admission(Admission::Finished));
    bench.ready("app01", Script::default());
    let wire = bench.wire(OPERATOR);
    let ask = |message: &str, vm: &str| {
        let answer = wire.ask(&failback(message, vm, ""));
        (returned(&answer), job_of(&answer))
    };
    let first = ask("uuid:1", "web01");
    assert_eq!(first.0, 4096);
    assert_eq!(ask("uuid:1", "web01"), first);
    assert_eq!(ask("uuid:2", "web01").0, 32774);
    assert_eq!(ask("uuid:3", "db01"), (0, None));
    assert_eq!(ask("uuid:3", "db01"), (0, None));
    assert_eq!(ask("uuid:4", "db01").0, 32775);
    // Some clients number their messages 0, 1, 2: the same number with other content is another request.
    let other = ask("uuid:1", "app01");
    assert!(other.0 == 4096 && other.1 != first.1, "{other:?}");
    bench.stop();
}

#[test]
fn what_is_a_fault() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(directory.path(), |_| ());
    bench.ready("web01", Script::default());
    let reference = "<a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address>\
        <a:ReferenceParameters><w:ResourceURI>http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/\
        CLASS</w:ResourceURI><w:SelectorSet><w:Selector Name=\"CreationClassName\">Msvm_ComputerSystem</w:Selector>\
        <w:Selector Name=\"Name\">00000000-0000-0000-0000-00000000DEAD</w:Selector></w:SelectorSet>\
        </a:ReferenceParameters>";
    let rows = [
        // The reference's instance, then its class, are not there.
        (reference.replace("CLASS", "Msvm_ComputerSystem"), ""),
        (reference.replace("CLASS", "Msvm_Nothing"), ""),
        ("web01".to_owned(), "<p:Nonsense>1</p:Nonsense>"),
        ("web01".to_owned(), "<p:ComputerSystem>web01</p:ComputerSystem>"),
        ("web01".to_owned(), "<p:RecoveryPointIdentifier><p:Deep/></p:RecoveryPointIdentifier>"),
        ("web01".to_owned(), "<p:ReplicationSettingData>&lt;INSTANCE</p:ReplicationSettingData>"),
    ];
    for (vm, parameters) in &rows {
        let (status, body) = bench.call(vm, parameters);
        assert!(status == 500 && body.contains("Fault>"), "{vm} {parameters}: {body}");
    }
    let (status, body) = bench.wire(VIEWER).post(&failback("uuid:v", "web01", "")).unwrap();
    assert!(status == 500 && body.contains("AccessDenied"), "{body}");
    assert_eq!(field(&body, "ReturnValue"), None);
    // None of them has started anything.
    assert_eq!(bench.answer("web01", ""), 4096);
    bench.stop();
}
