//! Enumeration contexts that are not open: stale, released, someone else's, made up.

use super::lab::{ENUMERATION, Expected, Lab, Request, refused};

const UNKNOWN: Expected =
    ("s:Receiver", "n:InvalidEnumerationContext", "", 2_150_858_779, "the enumeration context is not open");

fn open(lab: &Lab, user: &str) -> String {
    let request = Request::new(&format!("{ENUMERATION}Enumerate"), "Msvm_ComputerSystem").body("<n:Enumerate/>");
    let reply = lab.send(user, request.envelope());
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.between("<n:EnumerationContext>", "</n:EnumerationContext>").unwrap()
}

fn pull(context: &str, max_elements: u32) -> String {
    let context = format!("<n:EnumerationContext>{context}</n:EnumerationContext>");
    let body = format!("<n:Pull>{context}<n:MaxElements>{max_elements}</n:MaxElements></n:Pull>");
    Request::new(&format!("{ENUMERATION}Pull"), "Msvm_ComputerSystem").body(&body).envelope()
}

fn release(context: &str) -> String {
    let body = format!("<n:Release><n:EnumerationContext>{context}</n:EnumerationContext></n:Release>");
    Request::new(&format!("{ENUMERATION}Release"), "Msvm_ComputerSystem").body(&body).envelope()
}

#[test]
fn a_context_is_its_users_alone() {
    let lab = Lab::shared();
    let context = open(&lab, "viewer");
    // The role makes no difference: it is not the administrator's either.
    refused(&lab, "a foreign pull", &lab.send("administrator", pull(&context, 1)), UNKNOWN);
    refused(&lab, "a foreign release", &lab.send("operator", release(&context)), UNKNOWN);
    // Nothing was lost by it: the host and two virtual machines are there to be pulled, over connections of their own.
    let mut names = Vec::new();
    for _ in 0..3 {
        let reply = lab.send("viewer", pull(&context, 1));
        assert_eq!(reply.status, 200, "{}", reply.text());
        names.push(reply.between("<p:ElementName>", "</p:ElementName>").unwrap());
    }
    names.sort();
    assert_eq!(names, ["HOME", "db01", "web01"]);
}

#[test]
fn a_context_that_ended_is_gone() {
    let lab = Lab::shared();
    let context = open(&lab, "viewer");
    assert_eq!(lab.send("viewer", release(&context)).status, 200);
    refused(&lab, "a pull after release", &lab.send("viewer", pull(&context, 1)), UNKNOWN);
    refused(&lab, "a second release", &lab.send("viewer", release(&context)), UNKNOWN);
    let context = open(&lab, "viewer");
    let reply = lab.send("viewer", pull(&context, 100));
    assert!(reply.text().contains("<n:EndOfSequence/>"), "{}", reply.text());
    refused(&lab, "a pull after the end", &lab.send("viewer", pull(&context, 1)), UNKNOWN);
}

#[test]
fn a_context_that_never_was_is_unknown() {
    let lab = Lab::shared();
    let context = open(&lab, "viewer");
    // One up from one that exists.
    let last = context.chars().last().unwrap().to_digit(16).unwrap();
    let next = format!("{}{:X}", &context[..context.len() - 1], (last + 1) % 16);
    for made_up in [next.as_str(), "", "uuid:", "0", "uuid:00000000-0000-0000-0000-000000000000", "../../x"] {
        refused(&lab, made_up, &lab.send("viewer", pull(made_up, 1)), UNKNOWN);
    }
    let none = Request::new(&format!("{ENUMERATION}Pull"), "Msvm_ComputerSystem").body("<n:Pull/>").envelope();
    let expected = ("s:Sender", "w:SchemaValidationError", "", 2_150_858_817, "EnumerationContext");
    refused(&lab, "no context", &lab.send("viewer", none), expected);
    assert_eq!(lab.send("viewer", pull(&context, 1)).status, 200);
}
