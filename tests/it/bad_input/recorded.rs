//! A whole server in the profile `dmtf` that records: Put, Create and Delete over the wire, the statuses of their
//! refusals, and what of it all is written down.

use std::fs;

use failbackd::config::{Config, Limits, ProfileName};

use super::lab::{Lab, Request, SOAP, TRANSFER, WMI, post, selectors};

const ENTRY: &str = "Msvm_ReplicationAuthorizationSettingData";

fn entry(properties: &str) -> String {
    format!("<p:{ENTRY} xmlns:p=\"{WMI}{ENTRY}\">{properties}</p:{ENTRY}>")
}

fn transfer(operation: &str) -> Request {
    Request::new(&format!("{TRANSFER}{operation}"), ENTRY)
}

#[test]
fn what_is_written_over_the_wire_is_recorded_without_its_secrets() {
    let place = tempfile::tempdir().unwrap();
    let record = place.path().join("record");
    let lab = Lab::configured(&Limits::default(), |config| Config {
        profile: ProfileName::Dmtf,
        record: record.clone(),
        ..config
    });
    let host = "<p:AllowedPrimaryHostSystem>hv01.example.com</p:AllowedPrimaryHostSystem>";
    let create = transfer("Create").body(&entry(host)).envelope();
    let created = lab.send("administrator", &create);
    assert_eq!(created.status, 200, "{}", created.text());
    let set = created.between("<w:SelectorSet", "</w:SelectorSet>").unwrap();
    let set = format!("<w:SelectorSet{set}</w:SelectorSet>");
    let get = transfer("Get").header(&set).envelope();
    assert_eq!(lab.send("viewer", &get).status, 200, "the reference that was given finds it");
    let put = |properties: &str| transfer("Put").header(&set).body(&entry(properties)).envelope();
    let changed = lab.send("administrator", put("<p:TrustGroup>lab</p:TrustGroup>"));
    assert!(changed.text().contains("<p:TrustGroup>lab</p:TrustGroup>"), "{}", changed.text());
    // A refusal of the sender's is 400 by the standard.
    //= HTTP-04
    for (user, envelope, subcode) in [
        ("administrator", &create, "w:AlreadyExists"),
        ("administrator", &put("<p:Nope/>"), "x:InvalidRepresentation"),
        ("operator", &put("<p:TrustGroup>mine</p:TrustGroup>"), "w:AccessDenied"),
    ] {
        let reply = lab.send(user, envelope);
        assert_eq!((reply.status, reply.fault().subcode.as_str()), (400, subcode), "{}", reply.text());
    }
    assert_eq!(lab.send("administrator", transfer("Delete").header(&set).envelope()).status, 200);
    let gone = lab.send("viewer", &get);
    assert_eq!((gone.status, gone.fault().number), (400, 2_150_858_752), "{}", gone.text());
    // What never gets as far as a message is recorded too.
    assert_eq!(lab.connect().exchange(&post("", SOAP, b"<x/>")).status, 401);
    assert_eq!(lab.connect().exchange(&post("viewer", "application/bogus", b"<x/>")).status, 415);
    let secret = selectors(&[("InstanceID", "x")]) + "<z:Password xmlns:z=\"urn:z\">geheim</z:Password>";
    assert_ne!(lab.send("viewer", transfer("Get").header(&secret).envelope()).status, 200);
    let mut files: Vec<_> = fs::read_dir(&record).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts: Vec<String> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(texts.len(), 2 * 11, "{texts:#?}");
    assert!(texts[0].starts_with("POST /wsman HTTP/1.1\r\n") && texts[0].ends_with(&create), "{}", texts[0]);
    assert!(texts[1].starts_with("HTTP/1.1 200\r\n") && texts[1].contains("<x:ResourceCreated>"), "{}", texts[1]);
    let statuses: Vec<&str> = texts.iter().skip(1).step_by(2).map(|text| &text[9..12]).collect();
    assert_eq!(statuses, ["200", "200", "200", "400", "400", "400", "200", "400", "401", "415", "400"]);
    let all = texts.concat();
    assert!(all.contains("authorization: Basic (redacted, ") && !all.contains("geheim"), "{all}");
    for role in ["viewer", "operator", "administrator"] {
        assert!(!all.contains(&crate::transport::basic(role, role).trim_end()[21..]), "{role}");
    }
}
