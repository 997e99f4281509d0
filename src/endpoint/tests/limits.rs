//! What access rules leave of the small world: whatever is asked, and however, nothing of what is kept is told.

use std::sync::Arc;

use uuid::Uuid;

use super::world::{NOW, endpoint, view};
use crate::auth::{Principal, Role};
use crate::cim::Schema;
use crate::endpoint::{Answer, Call, Endpoint, Outcome, Pace, Step};
use crate::job::JobId;
use crate::provider::{Patterns, Permissions, Rule, Rules};
use crate::replication::{Change, View, VmId};

const WMI: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/";
const DMTF: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/";
const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/";
const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/";

/// What would tell of `db01`: its name, its GUID, its job's and its recovery point's.
const TRACES: [&str; 4] = [
    "db01",
    "00000000-0000-0000-0000-0000000000A2",
    "00000000-0000-0000-0000-000000000001",
    "00000000-0000-0000-0000-0000000000B3",
];

fn guid(number: u128) -> String {
    Uuid::from_u128(number).hyphenated().to_string().to_uppercase()
}

fn patterns(texts: &[&str]) -> Patterns {
    Patterns::new(texts.iter().copied())
}

fn operator(rule: Rule) -> Permissions {
    Rules::new([Rule { number: 1, ..rule }]).permissions(&Principal::for_tests("otto", Role::Operator))
}

fn only_web() -> Permissions {
    operator(Rule { vms: Some(patterns(&["WEB*"])), ..Rule::default() })
}

struct World {
    endpoint: Endpoint,
    view: Arc<View>,
    permissions: Permissions,
}

impl World {
    fn new(permissions: Permissions) -> Self {
        Self { endpoint: endpoint(), view: Arc::new(view()), permissions }
    }

    fn step(&self, request: &str) -> Step {
        let principal = &Principal::for_tests("otto", Role::Operator);
        let ids = || Uuid::from_u128(0xA001);
        let (view, permissions, request) = (&self.view, &self.permissions, request.as_bytes());
        let pace = Pace::Until(&|_| false);
        let (ids, charset, targets) = (&ids, None, false);
        self.endpoint.handle(&Call {
            now: NOW,
            ids,
            principal,
            permissions,
            view,
            targets,
            request,
            charset,
            soap_action: None,
            pace,
        })
    }

    /// An answer that tells nothing of `db01`.
    fn ask(&self, request: &str) -> (String, Answer) {
        let Step::Respond(answer) = self.step(request) else { panic!("no answer to {request}") };
        let text = String::from_utf8(answer.octets.clone()).unwrap();
        // What the client itself said may come back in a refusal.
        for trace in TRACES.iter().filter(|trace| !request.to_uppercase().contains(&trace.to_uppercase())) {
            assert!(!text.to_uppercase().contains(&trace.to_uppercase()), "{trace} in {text}\nto {request}");
        }
        (text, answer)
    }

    /// A refusal, and what its log says was missing.
    #[track_caller]
    fn refused(&self, request: &str) -> (String, String) {
        let (text, answer) = self.ask(request);
        assert!(text.contains("<s:Value>w:AccessDenied</s:Value>"), "{text}\nto {request}");
        assert!(text.contains("access limits of this user"), "{text}");
        assert!(!text.contains("rule"), "{text}");
        let missing = answer.journal.outcome.missing().expect("what was missing").to_owned();
        (text, missing)
    }

    #[track_caller]
    fn allowed(&self, request: &str) -> String {
        let (text, answer) = self.ask(request);
        assert!(!answer.is_fault, "{text}\nto {request}");
        text
    }
}

fn request(action: &str, uri: &str, selectors: &[(&str, &str)], body: &str) -> String {
    let selector = |(name, value): &(&str, &str)| format!(r#"<w:Selector Name="{name}">{value}</w:Selector>"#);
    let selectors = selectors.iter().map(selector).collect::<Vec<_>>().concat();
    format!(
        r#"<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
        xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"
        xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
        xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration"><s:Header><a:To>x</a:To>
        <a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>
        <a:MessageID>1</a:MessageID><a:Action>{action}</a:Action><w:ResourceURI>{uri}</w:ResourceURI>
        <w:SelectorSet>{selectors}</w:SelectorSet></s:Header><s:Body>{body}</s:Body></s:Envelope>"#
    )
}

fn get(class: &str, selectors: &[(&str, &str)]) -> String {
    request(&format!("{TRANSFER}Get"), &format!("{WMI}{class}"), selectors, "")
}

fn enumerate(uri: &str, filter: &str) -> String {
    let all = "<w:OptimizeEnumeration/><w:MaxElements>1000</w:MaxElements>";
    let mode = "<w:EnumerationMode>EnumerateObjectAndEPR</w:EnumerationMode>";
    request(&format!("{ENUMERATION}Enumerate"), uri, &[], &format!("<n:Enumerate>{all}{mode}{filter}</n:Enumerate>"))
}

fn query(text: &str) -> String {
    enumerate(
        &format!("{WMI}*"),
        &format!("<w:Filter Dialect='http://schemas.microsoft.com/wbem/wsman/1/WQL'>{text}</w:Filter>"),
    )
}

fn invoke(class: &str, selectors: &[(&str, &str)], method: &str, parameters: &str) -> String {
    let uri = format!("{WMI}{class}");
    let body = format!("<p:{method}_INPUT xmlns:p=\"{uri}\">{parameters}</p:{method}_INPUT>");
    request(&format!("{uri}/{method}"), &uri, selectors, &body)
}

fn failback(system: &str) -> String {
    let service = [("CreationClassName", "Msvm_ReplicationService")];
    let parameter = format!("<p:ComputerSystem>{system}</p:ComputerSystem>");
    invoke("Msvm_ReplicationService", &service, "InitiateFailback", &parameter)
}

fn reference(name: &str) -> String {
    format!(
        "<a:Address>x</a:Address><a:ReferenceParameters><w:ResourceURI>{WMI}Msvm_ComputerSystem</w:ResourceURI>\
         <w:SelectorSet><w:Selector Name='CreationClassName'>Msvm_ComputerSystem</w:Selector>\
         <w:Selector Name='Name'>{name}</w:Selector></w:SelectorSet></a:ReferenceParameters>"
    )
}

#[test]
fn no_enumeration_tells_of_what_is_kept() {
    let world = World::new(only_web());
    let mut seen = 0;
    for class in Schema::builtin().classes() {
        for base in [WMI, DMTF] {
            let (text, _) = world.ask(&enumerate(&format!("{base}{}", class.name), ""));
            seen += usize::from(text.contains("web01"));
        }
        world.ask(&query(&format!("SELECT * FROM {}", class.name)));
    }
    assert!(5 < seen, "the machine that is left is in {seen} answers");
    let vms = world.allowed(&enumerate(&format!("{WMI}Msvm_ComputerSystem"), ""));
    assert!(vms.contains("web01") && vms.contains("<p:Name>HOST</p:Name>") && !vms.contains("app"), "{vms}");
    let jobs = world.allowed(&enumerate(&format!("{WMI}Msvm_ConcreteJob"), ""));
    assert!(jobs.contains(&guid(2)), "{jobs}");
    for text in [
        "SELECT * FROM Msvm_ComputerSystem WHERE ElementName = 'db01'".to_owned(),
        format!("SELECT * FROM Msvm_ComputerSystem WHERE Name = '{}'", guid(0xA2)),
        format!("SELECT * FROM Msvm_ConcreteJob WHERE InstanceID = '{}'", guid(1)),
        format!("SELECT * FROM Msvm_VirtualSystemSettingData WHERE InstanceID = 'Microsoft:{}'", guid(0xB3)),
        format!("SELECT * FROM Msvm_VirtualSystemSettingData WHERE VirtualSystemIdentifier = '{}'", guid(0xA2)),
        "SELECT * FROM Msvm_ReplicationRelationship WHERE ElementName = 'db01'".to_owned(),
        "SELECT * FROM Msvm_ReplicationSettingData WHERE ElementName = 'db01'".to_owned(),
    ] {
        let text = world.allowed(&query(&text));
        assert!(!text.contains("<w:Item>") || text.contains("HOST"), "{text}");
    }
}

#[test]
fn an_instance_that_is_kept_and_one_that_is_not_there_are_refused_alike() {
    let world = World::new(only_web());
    let system = |name: &str| get("Msvm_ComputerSystem", &[("Name", name)]);
    let job = |id: &str| get("Msvm_ConcreteJob", &[("InstanceID", id)]);
    let point = |id: &str| get("Msvm_VirtualSystemSettingData", &[("InstanceID", &format!("Microsoft:{id}"))]);
    let relation =
        |id: &str| get("Msvm_ReplicationRelationship", &[("InstanceID", &format!("Microsoft:{id}\\HVR\\0"))]);
    let settings = |id: &str| get("Msvm_ReplicationSettingData", &[("InstanceID", &format!("Microsoft:{id}\\HVR"))]);
    let base = |name: &str| get("CIM_System", &[("Name", name)]);
    let asks: [&dyn Fn(&str) -> String; 6] = [&system, &job, &point, &relation, &settings, &base];
    let (vms, jobs, points) = ((0xA2, 0xA1), (1, 2), (0xB3, 0xB1));
    for (ask, (kept, left)) in asks.into_iter().zip([vms, jobs, points, vms, vms, vms]) {
        world.allowed(&ask(&guid(left)));
        let (kept_text, kept_missing) = world.refused(&ask(&guid(kept)));
        let (absent_text, absent_missing) = world.refused(&ask(&guid(0xFFFF)));
        assert_eq!(kept_text.replace(&guid(kept), "X"), absent_text.replace(&guid(0xFFFF), "X"));
        assert_eq!(kept_missing, "vms of access rule 1");
        assert_eq!(absent_missing, "nothing: it does not exist");
    }
    world.allowed(&system("HOST"));
    // What belongs to no machine is not there for everybody alike.
    let (text, answer) = world.ask(&get("Msvm_ReplicationService", &[("Name", "other")]));
    assert!(answer.is_fault && !text.contains("AccessDenied"), "{text}");
}

#[test]
fn no_method_reaches_what_is_kept() {
    let world = World::new(only_web());
    for system in ["web01", &guid(0xA1), &reference(&guid(0xA1))] {
        let Step::Submit(command, _) = world.step(&failback(system)) else { panic!("{system} is refused") };
        assert_eq!(command.vm, VmId(Uuid::from_u128(0xA1)));
    }
    for system in ["db01", "DB01", &guid(0xA2), &reference(&guid(0xA2))] {
        let (_, missing) = world.refused(&failback(system));
        assert_eq!(missing, "vms of access rule 1", "{system}");
    }
    for system in ["none", &guid(0xFFFF), &reference(&guid(0xFFFF))] {
        let (_, missing) = world.refused(&failback(system));
        assert_eq!(missing, "nothing: it does not exist", "{system}");
    }
    let state = "<p:RequestedState>4</p:RequestedState>";
    let cancel = |job: u128| invoke("Msvm_ConcreteJob", &[("InstanceID", &guid(job))], "RequestStateChange", state);
    world.refused(&cancel(1));
    assert!(matches!(world.step(&cancel(2)), Step::Cancel(JobId(id), _) if id == Uuid::from_u128(2)));
    for method in ["GetError", "GetErrorEx"] {
        world.refused(&invoke("Msvm_ConcreteJob", &[("InstanceID", &guid(1))], method, ""));
        world.allowed(&invoke("Msvm_ConcreteJob", &[("InstanceID", &guid(2))], method, ""));
    }
    world.refused(&invoke("Msvm_ComputerSystem", &[("Name", &guid(0xA2))], "RequestStateChange", state));
}

#[test]
fn a_machine_goes_by_its_present_name_and_its_jobs_with_it() {
    let mut world = World::new(only_web());
    let mut changed = View::clone(&world.view);
    let mut vm = changed.vm(VmId(Uuid::from_u128(0xA1))).unwrap().as_ref().clone();
    (vm.name, vm.revision) = ("old-web".to_owned(), 2);
    changed.apply(Change::Vm(Arc::new(vm)));
    world.view = Arc::new(changed);
    let job = get("Msvm_ConcreteJob", &[("InstanceID", &guid(2))]);
    world.refused(&job);
    world.refused(&get("Msvm_ComputerSystem", &[("Name", &guid(0xA1))]));
    // A machine that is gone left its name in its jobs.
    let mut changed = View::clone(&world.view);
    changed.apply(Change::VmRemoved(VmId(Uuid::from_u128(0xA1))));
    world.view = Arc::new(changed);
    world.allowed(&job);
}

#[test]
fn classes_are_reached_by_their_own_names_and_by_those_above() {
    let world = World::new(operator(Rule { classes: Some(patterns(&["Msvm_ConcreteJob"])), ..Rule::default() }));
    for class in ["Msvm_ConcreteJob", "CIM_ConcreteJob", "CIM_Job", "CIM_ManagedElement"] {
        let (text, answer) = world.step_text(&enumerate(&format!("{WMI}{class}"), ""));
        assert!(!answer.is_fault && text.contains(&guid(1)) && !text.contains("web01</p:ElementName>"), "{text}");
        assert!(!text.contains("Msvm_ComputerSystem\">") && !text.contains("<p:Name>HOST"), "{text}");
    }
    for class in ["Msvm_ComputerSystem", "CIM_ComputerSystem", "Msvm_ReplicationService"] {
        let (text, missing) = world.refused(&enumerate(&format!("{WMI}{class}"), ""));
        assert!(text.contains(class), "{text}");
        assert_eq!(missing, "classes of access rule 1");
        world.refused(&query(&format!("SELECT * FROM {class}")));
        world.refused(&get(class, &[]));
    }
    let (_, missing) = world.refused(&failback("web01"));
    assert_eq!(missing, "classes of access rule 1");
    // By the name of a class above, an instance of a class that is kept is not there: the only service is not found,
    // and of the jobs there are several.
    let (text, answer) = world.ask(&get("CIM_LogicalElement", &[]));
    assert!(answer.is_fault && text.contains("more than one") && !text.contains("replicasvc"), "{text}");
    // What describes a class is told of that class alone.
    let definition = |name: &str| {
        let uri = "http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/*";
        request(&format!("{TRANSFER}Get"), uri, &[("ClassName", name)], "")
    };
    world.allowed(&get("Msvm_ConcreteJob.xsd", &[]));
    world.refused(&get("CIM_ConcreteJob.xsd", &[]));
    world.allowed(&definition("Msvm_ConcreteJob"));
    world.refused(&definition("CIM_ConcreteJob"));
    let world = World::new(operator(Rule { classes: Some(patterns(&["Msvm_ReplicationService"])), ..Rule::default() }));
    let (text, _) = world.step_text(&get("CIM_EnabledLogicalElement", &[]));
    assert!(text.contains("replicasvc"), "{text}");
}

#[test]
fn methods_and_namespaces_are_kept() {
    let world = World::new(operator(Rule { methods: Some(patterns(&["Get*"])), ..Rule::default() }));
    let (text, missing) = world.refused(&failback("web01"));
    assert!(text.contains("InitiateFailback"), "{text}");
    assert_eq!(missing, "methods of access rule 1");
    world.step_text(&invoke("Msvm_ConcreteJob", &[("InstanceID", &guid(2))], "GetError", ""));
    let mut world = World::new(Permissions::unlimited());
    let open = request(&format!("{ENUMERATION}Enumerate"), &format!("{WMI}CIM_ManagedElement"), &[], "<n:Enumerate/>");
    assert!(!world.step_text(&open).1.is_fault);
    world.permissions = operator(Rule { namespaces: Some(patterns(&["root/*op"])), ..Rule::default() });
    let pull =
        "<n:Pull><n:EnumerationContext>uuid:00000000-0000-0000-0000-00000000A001</n:EnumerationContext></n:Pull>";
    for request in [
        get("Msvm_ComputerSystem", &[("Name", "HOST")]),
        enumerate(&format!("{WMI}Msvm_ComputerSystem"), ""),
        query("SELECT * FROM Msvm_ComputerSystem"),
        failback("web01"),
        request(&format!("{ENUMERATION}Pull"), &format!("{WMI}*"), &[], pull),
    ] {
        let (_, missing) = world.refused(&request);
        assert_eq!(missing, "namespaces of access rule 1");
    }
    // What is left can be reached, and tells of nothing else.
    let interop = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/interop/CIM_Namespace";
    let text = world.allowed(&enumerate(interop, ""));
    assert!(text.contains("<p:Name>root/interop</p:Name>") && !text.contains("virtualization"), "{text}");
}

#[test]
fn the_configuration_is_kept_from_whom_no_namespace_is_left() {
    let config = "http://schemas.microsoft.com/wbem/wsman/1/config";
    let get = request(&format!("{TRANSFER}Get"), config, &[], "");
    let enumerate = enumerate(&format!("{config}/listener"), "").replace("EnumerateObjectAndEPR", "EnumerateObject");
    let none = World::new(operator(Rule { namespaces: Some(patterns(&["none"])), ..Rule::default() }));
    for request in [&get, &enumerate] {
        assert_eq!(none.refused(request).1, "namespaces of access rule 1");
    }
    let some = World::new(operator(Rule { namespaces: Some(patterns(&["root/*op"])), ..Rule::default() }));
    some.allowed(&get);
    some.allowed(&enumerate);
}

#[test]
fn an_enumeration_that_was_opened_before_is_held_to_the_limits_of_its_pulls() {
    let mut world = World::new(Permissions::unlimited());
    let open = request(&format!("{ENUMERATION}Enumerate"), &format!("{WMI}CIM_ManagedElement"), &[], "<n:Enumerate/>");
    assert!(!world.step_text(&open).1.is_fault);
    world.permissions = operator(Rule {
        vms: Some(patterns(&["web*"])),
        classes: Some(patterns(&["Msvm_ComputerSystem"])),
        ..Rule::default()
    });
    let pull = request(
        &format!("{ENUMERATION}Pull"),
        &format!("{WMI}*"),
        &[],
        "<n:Pull><n:EnumerationContext>uuid:00000000-0000-0000-0000-00000000A001</n:EnumerationContext>\
         <n:MaxElements>1000</n:MaxElements></n:Pull>",
    );
    let text = world.allowed(&pull);
    assert!(text.contains("<n:EndOfSequence/>") && text.contains("web01") && !text.contains("ConcreteJob"), "{text}");
}

#[test]
fn what_is_passed_over_does_not_hold_others_up() {
    let mut world = World::new(only_web());
    let mut large = View::clone(&world.view);
    let hidden = large.vm(VmId(Uuid::from_u128(0xA2))).unwrap().as_ref().clone();
    for number in 0..10_000_u128 {
        let vm = crate::replication::Vm { id: VmId(Uuid::from_u128(0x10_0000 + number)), ..hidden.clone() };
        large.apply(Change::Vm(Arc::new(crate::replication::Vm { name: format!("other{number}"), ..vm })));
    }
    world.view = Arc::new(large);
    let principal = &Principal::for_tests("otto", Role::Operator);
    let ids = || Uuid::from_u128(0xA001);
    let request = enumerate(&format!("{WMI}Msvm_ComputerSystem"), "");
    let (view, permissions, request) = (&world.view, &world.permissions, request.as_bytes());
    let (ids, pace, charset, targets) = (&ids, Pace::Brief, None, false);
    let call = Call { now: NOW, ids, principal, permissions, view, targets, request, charset, soap_action: None, pace };
    assert!(matches!(world.endpoint.handle(&call), Step::Elsewhere));
}

impl World {
    /// An answer that may tell of every machine.
    fn step_text(&self, request: &str) -> (String, Answer) {
        let Step::Respond(answer) = self.step(request) else { panic!("no answer to {request}") };
        assert!(!matches!(answer.journal.outcome, Outcome::Fault { .. }), "{:?}", answer.journal);
        (String::from_utf8(answer.octets.clone()).unwrap(), answer)
    }
}
