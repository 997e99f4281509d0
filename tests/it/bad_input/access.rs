//! Who may do what: every operation of the server with every role, and none without.

use std::collections::BTreeSet;

use failbackd::cim::Schema;

use super::lab::{ENUMERATION, Lab, ROLES, Request, SOAP, TRANSFER, post};

/// The methods that are carried out, and whether a viewer may call them.
const METHODS: [(&str, &str, bool); 10] = [
    ("Msvm_ReplicationService", "InitiateFailback", false),
    ("Msvm_ReplicationService", "CommitFailover", false),
    ("Msvm_ReplicationService", "RevertFailover", false),
    ("Msvm_ReplicationService", "ReverseReplicationRelationship", false),
    ("Msvm_ComputerSystem", "RequestStateChange", false),
    ("Msvm_ComputerSystem", "RequestReplicationStateChange", false),
    ("Msvm_ComputerSystem", "RequestReplicationStateChangeEx", false),
    ("Msvm_ConcreteJob", "RequestStateChange", false),
    ("Msvm_ConcreteJob", "GetError", true),
    ("Msvm_ConcreteJob", "GetErrorEx", true),
];

const CLASS: &str = "Msvm_ComputerSystem";

/// Every operation but Invoke, with the subcode that each role gets for it; none for an answer, or for a refusal that
/// has nothing to do with the role.
fn operations(lab: &Lab) -> Vec<(&'static str, String, [&'static str; 3])> {
    let transfer = |operation: &str| Request::new(&format!("{TRANSFER}{operation}"), CLASS);
    let enumeration = |operation: &str| Request::new(&format!("{ENUMERATION}{operation}"), CLASS);
    let changes = ["w:AccessDenied", "w:AccessDenied", "a:ActionNotSupported"];
    let reads = [""; 3];
    let context = "<n:EnumerationContext>uuid:0</n:EnumerationContext>";
    let unknown = ["n:InvalidEnumerationContext"; 3];
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
    ]
}

/// A call that goes no further than the check of its parameters.
fn call(class: &str, method: &str) -> String {
    Request::invoke(class, method, "<p:NoSuchParameter/>").envelope()
}

#[test]
fn every_operation_asks_for_its_role() {
    let lab = Lab::shared();
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
    for class in Schema::builtin().classes() {
        for method in &class.methods {
            let envelope = call(&class.name, &method.name);
            let told = ROLES.map(|role| lab.send(role, &envelope).fault());
            let subcodes = told.each_ref().map(|told| told.subcode.as_str());
            let what = format!("{}.{}: {told:?}", class.name, method.name);
            if subcodes == ["w:InvalidParameter"; 3] {
                offered.insert((&*class.name, &*method.name, true));
            } else if subcodes == ["w:AccessDenied", "w:InvalidParameter", "w:InvalidParameter"] {
                assert!(told[0].text.contains(&*method.name) && told[0].text.contains("operator"), "{what}");
                offered.insert((&*class.name, &*method.name, false));
            } else {
                assert_eq!(subcodes, ["a:ActionNotSupported"; 3], "{what}");
            }
        }
    }
    // A base class's URI reaches the same methods, and asks for the same roles.
    let own: BTreeSet<_> = offered.iter().copied().filter(|(class, ..)| class.starts_with("Msvm_")).collect();
    assert_eq!(own, BTreeSet::from(METHODS));
    for (class, method, viewer) in offered.difference(&own) {
        assert!(METHODS.iter().any(|(_, known, reads)| known == method && reads == viewer), "{class}.{method}");
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
        assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"WSMAN\""), "{what}");
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
