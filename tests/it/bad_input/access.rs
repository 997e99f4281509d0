//! Who may do what: every operation of the server with every role, and none without.

use std::collections::BTreeSet;

use failbackd::cim::{NamespaceId, Schema};
use failbackd::config::{AccessRule, Limits};
use failbackd::wsman::{self, Operation};
use failbackd::xml::{self, Document};

use super::lab::{ENUMERATION, Lab, ROLES, Reply, Request, SOAP, TRANSFER, post, selectors};

/// The methods that are carried out, and the least role that may call them.
const METHODS: [(&str, &str, &str); 15] = [
    ("Msvm_ReplicationService", "InitiateFailback", "operator"),
    ("Msvm_ReplicationService", "CommitFailover", "operator"),
    ("Msvm_ReplicationService", "RevertFailover", "operator"),
    ("Msvm_ReplicationService", "ReverseReplicationRelationship", "operator"),
    ("Msvm_ReplicationService", "ModifyReplicationSettings", "operator"),
    ("Msvm_ReplicationService", "ModifyServiceSettings", "administrator"),
    ("Msvm_ReplicationService", "AddAuthorizationEntry", "administrator"),
    ("Msvm_ReplicationService", "ModifyAuthorizationEntry", "administrator"),
    ("Msvm_ReplicationService", "RemoveAuthorizationEntry", "administrator"),
    ("Msvm_ComputerSystem", "RequestStateChange", "operator"),
    ("Msvm_ComputerSystem", "RequestReplicationStateChange", "operator"),
    ("Msvm_ComputerSystem", "RequestReplicationStateChangeEx", "operator"),
    ("Msvm_ConcreteJob", "RequestStateChange", "operator"),
    ("Msvm_ConcreteJob", "GetError", "viewer"),
    ("Msvm_ConcreteJob", "GetErrorEx", "viewer"),
];

const CLASS: &str = "Msvm_ComputerSystem";
const EVENTING: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing";

/// Every operation but Invoke, with the subcode that each role gets for it; none for an answer, or for a refusal that
/// has nothing to do with the role.
fn operations(lab: &Lab) -> Vec<(&'static str, String, [&'static str; 3])> {
    let transfer = |operation: &str| Request::new(&format!("{TRANSFER}{operation}"), CLASS);
    let enumeration = |operation: &str| Request::new(&format!("{ENUMERATION}{operation}"), CLASS);
    let changes = ["w:AccessDenied", "a:ActionNotSupported", "a:ActionNotSupported"];
    let reads = [""; 3];
    let context = "<n:EnumerationContext>uuid:0</n:EnumerationContext>";
    let unknown = ["n:InvalidEnumerationContext"; 3];
    let eventing = |operation: &str, inner: &str| {
        let body = format!("<e:{operation} xmlns:e=\"{EVENTING}\">{inner}</e:{operation}>");
        Request::new(&format!("{EVENTING}/{operation}"), CLASS).body(&body)
    };
    let pulls = "<e:Delivery Mode=\"http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull\"/>\
                 <e:Expires>PT1S</e:Expires>";
    let identify = "<i:Identify xmlns:i=\"http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd\"/>";
    vec![
        ("Identify", transfer("x").body(identify).envelope(), reads),
        ("Get", lab.get_vm("uuid:1"), reads),
        ("Put", transfer("Put").body("<x/>").envelope(), changes),
        ("Create", transfer("Create").body("<x/>").envelope(), changes),
        ("Delete", transfer("Delete").envelope(), changes),
        ("Enumerate", enumeration("Enumerate").body("<n:Enumerate/>").envelope(), reads),
        ("Pull", enumeration("Pull").body(&format!("<n:Pull>{context}</n:Pull>")).envelope(), unknown),
        ("Release", enumeration("Release").body(&format!("<n:Release>{context}</n:Release>")).envelope(), unknown),
        // Those who only pull need not be operators; those who have something sent do (`eventing.rs`).
        ("Subscribe", eventing("Subscribe", pulls).envelope(), reads),
        ("Renew of a subscription", eventing("Renew", "").envelope(), ["e:UnableToRenew"; 3]),
        ("GetStatus of a subscription", eventing("GetStatus", "").envelope(), ["e:InvalidMessage"; 3]),
        ("Unsubscribe of a subscription", eventing("Unsubscribe", "").envelope(), ["e:InvalidMessage"; 3]),
        ("Renew", enumeration("Renew").body(&format!("<n:Renew>{context}</n:Renew>")).envelope(), unknown),
        (
            "GetStatus",
            enumeration("GetStatus").body(&format!("<n:GetStatus>{context}</n:GetStatus>")).envelope(),
            unknown,
        ),
    ]
}

/// The place of an operation in the list above. An operation that has none does not compile.
fn place(operation: &Operation<'_>) -> usize {
    match operation {
        Operation::Identify(_) => 0,
        Operation::Get => 1,
        Operation::Put(_) => 2,
        Operation::Create(_) => 3,
        Operation::Delete => 4,
        Operation::Enumerate(_) => 5,
        Operation::Pull(_) => 6,
        Operation::Release(_) => 7,
        Operation::Subscribe(_) => 8,
        Operation::RenewSubscription(_) => 9,
        Operation::SubscriptionStatus(_) => 10,
        Operation::Unsubscribe(_) => 11,
        Operation::RenewEnumeration(_) => 12,
        Operation::EnumerationStatus(_) => 13,
        // By its methods, below.
        Operation::Invoke(_) => 14,
    }
}

/// The place of the operation that an envelope asks for.
fn place_of(envelope: &str) -> usize {
    let document = Document::parse(envelope, &xml::Limits::default()).unwrap();
    place(&wsman::decode(&document, &wsman::Profile::MS).1.unwrap().operation)
}

/// A call that goes no further than the check of its parameters.
fn call(class: &str, method: &str) -> String {
    Request::invoke(class, method, "<p:NoSuchParameter/>").envelope()
}

#[test]
fn every_operation_asks_for_its_role() {
    let lab = Lab::shared();
    let mut places: Vec<usize> = operations(&lab).iter().map(|(_, envelope, _)| place_of(envelope)).collect();
    places.push(place_of(&call("Msvm_ReplicationService", "InitiateFailback")));
    assert_eq!(places, (0..=14).collect::<Vec<_>>(), "every operation is walked");
    for (operation, envelope, expected) in operations(&lab) {
        for (role, subcode) in ROLES.iter().zip(expected) {
            let reply = lab.send(role, &envelope);
            let told = reply.fault_if_any();
            assert_eq!(told.subcode, subcode, "{operation} as {role}: {told:?}");
            if subcode == "w:AccessDenied" {
                assert_eq!((reply.status, told.number), (500, 5), "{operation} as {role}: {told:?}");
                assert!(told.text.contains(operation) && told.text.contains(role), "{told:?}");
            }
        }
    }
    lab.still_answers("every operation");
}

#[test]
fn every_method_asks_for_its_role() {
    let lab = Lab::shared();
    let mut offered = BTreeSet::new();
    for class in Schema::builtin().classes_of(NamespaceId::DEFAULT) {
        for method in &class.methods {
            let envelope = call(&class.name, &method.name);
            let told = ROLES.map(|role| lab.send(role, &envelope).fault());
            let subcodes = told.each_ref().map(|told| told.subcode.as_str());
            let what = format!("{}.{}: {told:?}", class.name, method.name);
            let denied = subcodes.iter().take_while(|subcode| **subcode == "w:AccessDenied").count();
            if subcodes[denied..].iter().all(|subcode| *subcode == "w:InvalidParameter") {
                for told in &told[..denied] {
                    assert!(told.text.contains(&*method.name) && told.text.contains(ROLES[denied]), "{what}");
                }
                offered.insert((&*class.name, &*method.name, ROLES[denied]));
            } else {
                assert_eq!(subcodes, ["a:ActionNotSupported"; 3], "{what}");
            }
        }
    }
    // A base class's URI reaches the same methods, and asks for the same roles.
    let own: BTreeSet<_> = offered.iter().copied().filter(|(class, ..)| class.starts_with("Msvm_")).collect();
    assert_eq!(own, BTreeSet::from(METHODS));
    for (class, method, role) in offered.difference(&own) {
        assert!(METHODS.iter().any(|(_, known, least)| known == method && least == role), "{class}.{method}");
    }
    lab.still_answers("every method");
}

#[test]
fn nothing_is_done_for_nobody() {
    let lab = Lab::shared();
    let mut all: Vec<(String, String)> =
        operations(&lab).into_iter().map(|(operation, envelope, _)| (operation.to_owned(), envelope)).collect();
    all.extend(METHODS.map(|(class, method, _)| (format!("{class}.{method}"), call(class, method))));
    for (what, envelope) in &all {
        let reply = lab.connect().exchange(&post("", SOAP, envelope.as_bytes()));
        assert_eq!(reply.status, 401, "{what}");
        assert_eq!(reply.header("www-authenticate"), Some("Negotiate"), "{what}");
        assert!(reply.body.is_empty(), "{what}: {}", reply.text());
        // The doors that are open to everybody lead to Identify alone.
        let request = String::from_utf8(post("", SOAP, envelope.as_bytes())).unwrap();
        for door in [
            request.replacen("POST /wsman ", "POST /wsman-anon/identify ", 1),
            request.replacen("Host: x\r\n", "Host: x\r\nWSMANIDENTIFY: unauthenticated\r\n", 1),
        ] {
            let reply = lab.connect().exchange(door.as_bytes());
            if what == "Identify" {
                assert_eq!(reply.status, 200, "{}", reply.text());
                for secret in [env!("CARGO_PKG_VERSION"), "HOME", "SecurityProfile"] {
                    assert!(!reply.text().contains(secret), "{secret}: {}", reply.text());
                }
            } else {
                assert_eq!((reply.status, reply.body.len()), (401, 0), "{what}: {}", reply.text());
            }
        }
    }
    let wrong = "POST /wsman HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dmlld2VyOndyb25n\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(lab.connect().exchange(wrong.as_bytes()).status, 401);
    lab.still_answers("nobody");
}

/// What an enumeration of a class answers, with the context that is left open.
fn opened(reply: &Reply) -> String {
    reply.between("<n:EnumerationContext>", "</n:EnumerationContext>").unwrap_or_else(|| panic!("{}", reply.text()))
}

#[test]
fn every_role_reads_to_the_end_and_nobody_reads_on_for_another() {
    let lab = Lab::shared();
    let on = |operation: &str, context: &str| {
        let body = format!("<n:{operation}><n:EnumerationContext>{context}</n:EnumerationContext></n:{operation}>");
        Request::new(&format!("{ENUMERATION}{operation}"), CLASS).body(&body).envelope()
    };
    let open = Request::new(&format!("{ENUMERATION}Enumerate"), CLASS).body("<n:Enumerate/>").envelope();
    for role in ROLES {
        let context = opened(&lab.send(role, &open));
        for other in ROLES.iter().filter(|other| **other != role) {
            for operation in ["Pull", "Release"] {
                let told = lab.send(other, on(operation, &context)).fault();
                assert_eq!(told.subcode, "n:InvalidEnumerationContext", "{operation} as {other} for {role}");
            }
        }
        assert_eq!(lab.send(role, on("Pull", &context)).status, 200);
        assert_eq!(lab.send(role, on("Release", &context)).status, 200);
        assert_eq!(lab.send(role, on("Pull", &context)).fault().subcode, "n:InvalidEnumerationContext");
    }
}

const DENIED: &str = "w:AccessDenied";
const CLOSED: &str = "n:InvalidEnumerationContext";
const ABSENT: &str = "a:ActionNotSupported";

/// Every request that the walk under rules makes, with the subcode of its answer: without a rule, and when the rules
/// leave no namespace, one class, no method, and one machine.
fn under_rules(lab: &Lab) -> Vec<(String, String, [&'static str; 5])> {
    let mut all: Vec<(String, String, [&'static str; 5])> = Vec::new();
    for (operation, envelope, _) in operations(lab) {
        let expected = match operation {
            "Identify" => [""; 5],
            "Get" | "Enumerate" | "Subscribe" => ["", DENIED, DENIED, "", ""],
            "Renew of a subscription" => {
                let unknown = "e:UnableToRenew";
                [unknown, DENIED, unknown, unknown, unknown]
            }
            "GetStatus of a subscription" | "Unsubscribe of a subscription" => {
                let unknown = "e:InvalidMessage";
                [unknown, DENIED, unknown, unknown, unknown]
            }
            "Put" | "Create" | "Delete" => [ABSENT, DENIED, DENIED, ABSENT, ABSENT],
            "Pull" | "Release" | "Renew" | "GetStatus" => [CLOSED, DENIED, CLOSED, CLOSED, CLOSED],
            other => panic!("{other} has no expectation"),
        };
        all.push((operation.to_owned(), envelope, expected));
    }
    let other = lab.get_vm("uuid:1").replace(&lab.vm, &lab.other_vm);
    all.push(("Get of the other machine".to_owned(), other, ["", DENIED, DENIED, "", DENIED]));
    let jobs = Request::new(&format!("{ENUMERATION}Enumerate"), "Msvm_ConcreteJob").body("<n:Enumerate/>").envelope();
    all.push(("Enumerate of jobs".to_owned(), jobs, ["", DENIED, "", "", ""]));
    for (class, method, _) in METHODS {
        let wrong = "w:InvalidParameter";
        let classes = if class == "Msvm_ConcreteJob" { wrong } else { DENIED };
        all.push((format!("{class}.{method}"), call(class, method), [wrong, DENIED, classes, DENIED, wrong]));
    }
    for (vm, vms) in [(&lab.vm, ""), (&lab.other_vm, DENIED)] {
        let service = selectors(&[("CreationClassName", "Msvm_ReplicationService")]);
        let parameters = format!("<p:ComputerSystem>{vm}</p:ComputerSystem>");
        let revert = Request::invoke("Msvm_ReplicationService", "RevertFailover", &parameters).header(&service);
        all.push((format!("RevertFailover of {vm}"), revert.envelope(), ["", DENIED, DENIED, DENIED, vms]));
        // A Put is under the rule about the method that does the same.
        let instance_id = selectors(&[("InstanceID", &format!("Microsoft:{vm}\\HVR"))]);
        let put =
            Request::new(&format!("{TRANSFER}Put"), "Msvm_ReplicationSettingData").header(&instance_id).body("<x/>");
        let (unread, vms) = ("x:InvalidRepresentation", if vms.is_empty() { "x:InvalidRepresentation" } else { vms });
        all.push((format!("Put of {vm}"), put.envelope(), [unread, DENIED, DENIED, DENIED, vms]));
    }
    all
}

#[test]
fn every_operation_is_under_every_kind_of_rule() {
    let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let rule = AccessRule { users: list(&["admin*"]), ..AccessRule::default() };
    let rules = [
        Vec::new(),
        vec![AccessRule { namespaces: list(&[]), ..rule.clone() }],
        vec![AccessRule { classes: list(&["Msvm_Concrete*"]), ..rule.clone() }],
        vec![AccessRule { methods: list(&[]), ..rule.clone() }],
        vec![AccessRule { vms: list(&["WEB??"]), ..rule }],
    ];
    for (dimension, rules) in rules.into_iter().enumerate() {
        let lab = Lab::limited(&Limits::default(), rules);
        for (what, envelope, expected) in under_rules(&lab) {
            let told = lab.send("administrator", &envelope).fault_if_any();
            assert_eq!(told.subcode, expected[dimension], "{what} under rules {dimension}: {told:?}");
            let limits = told.text.contains("access limits of this user");
            assert_eq!(limits, told.subcode == DENIED, "{what} under rules {dimension}: {told:?}");
            // Whom no rule names, and the local administrator, meet the role alone.
            for reply in [lab.send("operator", &envelope), lab.send_locally(&envelope)] {
                let told = reply.fault_if_any();
                assert!(!told.text.contains("access limits"), "{what} under rules {dimension}: {told:?}");
            }
            let locally = lab.send_locally(&envelope).fault_if_any();
            assert_eq!(locally.subcode, expected[0], "{what} under rules {dimension}: {locally:?}");
        }
        let seen = lab.send("administrator", enumerate_with(CLASS)).text();
        let both = [0, 3].contains(&dimension);
        assert_eq!(seen.contains(&lab.other_vm), both, "{dimension}: {seen}");
        assert_eq!(seen.contains(&lab.vm), both || dimension == 4, "{dimension}: {seen}");
    }
}

fn enumerate_with(class: &str) -> String {
    let body = "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>9</w:MaxElements></n:Enumerate>";
    Request::new(&format!("{ENUMERATION}Enumerate"), class).body(body).envelope()
}
