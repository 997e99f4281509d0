//! Enumerations that take long: a brief call does nothing of them, and a late one keeps what it has come to.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::world::{NOW, endpoint, view};
use crate::auth::{Principal, Role};
use crate::endpoint::{Answer, Call, Endpoint, Pace, Step};
use crate::provider::Permissions;
use crate::replication::{Change, PointId, PointKind, RecoveryPoint, Site, View, VmId};

const POINTS: u128 = 5_000;

fn large_view() -> Arc<View> {
    let mut view = view();
    let vm = VmId(Uuid::from_u128(0xA1));
    let point = |number: u128| RecoveryPoint {
        id: PointId(Uuid::from_u128(number)),
        vm,
        kind: PointKind::Standard,
        taken: NOW,
        site: Site::Peer,
        name: format!("point {number}"),
    };
    view.apply(Change::Points(vm, (1..=POINTS).map(point).collect()));
    Arc::new(view)
}

fn request(action: &str, header: &str, body: &str) -> String {
    format!(
        r#"<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
        xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"
        xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
        xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration"><s:Header><a:To>x</a:To>
        <a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>
        <a:MessageID>1</a:MessageID><a:Action>http://schemas.xmlsoap.org/ws/2004/09/enumeration/{action}</a:Action>
        <w:ResourceURI>http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/*</w:ResourceURI>
        {header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"#
    )
}

fn enumerate(optimize: &str) -> String {
    let query = "SELECT * FROM Msvm_VirtualSystemSettingData WHERE ElementName = 'point 4999'";
    let filter = format!("<w:Filter Dialect='http://schemas.microsoft.com/wbem/wsman/1/WQL'>{query}</w:Filter>");
    request("Enumerate", "", &format!("<n:Enumerate>{optimize}{filter}</n:Enumerate>"))
}

fn pull(context: &str) -> String {
    request("Pull", "", &format!("<n:Pull><n:EnumerationContext>{context}</n:EnumerationContext></n:Pull>"))
}

fn step(endpoint: &Endpoint, view: &Arc<View>, request: &str, pace: Pace<'_>) -> Step {
    let principal = Principal::for_tests("tester", Role::Viewer);
    let ids = || Uuid::from_u128(0xA001);
    let request = request.as_bytes();
    let (principal, permissions) = (&principal, &Permissions::unlimited());
    let (ids, charset, targets) = (&ids, None, false);
    endpoint.handle(&Call {
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

fn respond(step: Step) -> (String, Answer) {
    let Step::Respond(answer) = step else { panic!("no answer: {step:?}") };
    (String::from_utf8(answer.octets.clone()).unwrap(), answer)
}

#[test]
fn a_long_scan_is_done_elsewhere_and_found_there() {
    let (endpoint, view) = (endpoint(), large_view());
    let optimized = enumerate("<w:OptimizeEnumeration/>");
    assert!(matches!(step(&endpoint, &view, &optimized, Pace::Brief), Step::Elsewhere));
    let (text, answer) = respond(step(&endpoint, &view, &optimized, Pace::Until(&|_| false)));
    assert!(!answer.is_fault && text.contains("point 4999") && text.contains("<w:EndOfSequence/>"), "{text}");
    let (_, answer) = respond(step(&endpoint, &view, &enumerate(""), Pace::Brief));
    assert!(!answer.is_fault);
    let pull = pull("uuid:00000000-0000-0000-0000-00000000A001");
    assert!(matches!(step(&endpoint, &view, &pull, Pace::Brief), Step::Elsewhere));
    let (text, _) = respond(step(&endpoint, &view, &pull, Pace::Until(&|_| false)));
    assert!(text.contains("point 4999") && text.contains("<n:EndOfSequence/>"), "{text}");
}

#[test]
fn time_that_is_up_ends_a_page_but_not_the_enumeration() {
    let (endpoint, view) = (endpoint(), large_view());
    respond(step(&endpoint, &view, &enumerate(""), Pace::Brief));
    let pull = pull("uuid:00000000-0000-0000-0000-00000000A001");
    let mut late = 0;
    loop {
        let (text, answer) = respond(step(&endpoint, &view, &pull, Pace::Until(&|_| true)));
        if !answer.is_fault {
            assert!(text.contains("point 4999"), "{text}");
            break;
        }
        assert!(text.contains("w:TimedOut") && text.contains("2150858793"), "{text}");
        late += 1;
        // Each one comes further.
        assert!(late <= POINTS / 255 + 1);
    }
    assert!(1 < late);
    let optimized = enumerate("<w:OptimizeEnumeration/>");
    let (text, answer) = respond(step(&endpoint, &view, &optimized, Pace::Until(&|_| true)));
    assert!(!answer.is_fault && text.contains("<w:Items></w:Items>"), "{text}");
}

#[test]
fn the_requests_own_timeout_counts() {
    let (endpoint, view) = (endpoint(), large_view());
    let seen = std::cell::Cell::new(Duration::ZERO);
    let passed = |allowed| {
        seen.set(allowed);
        false
    };
    let with =
        |header: &str| enumerate("<w:OptimizeEnumeration/>").replace("</s:Header>", &format!("{header}</s:Header>"));
    respond(step(&endpoint, &view, &with(""), Pace::Until(&passed)));
    assert_eq!(seen.get(), Duration::from_mins(1));
    let short = with("<w:OperationTimeout>PT2.5S</w:OperationTimeout>");
    respond(step(&endpoint, &view, &short, Pace::Until(&passed)));
    assert_eq!(seen.get(), Duration::from_millis(2_500));
}

#[test]
fn a_costly_expression_is_asked_elsewhere_and_under_the_clock() {
    let (endpoint, view) = (endpoint(), large_view());
    let with =
        |action: &str, body: &str| request(action, "", body).replace("/v2/*<", "/v2/Msvm_VirtualSystemSettingData<");
    let filter =
        format!("<w:Filter>{} and ElementName = 'point 5'</w:Filter>", ["contains(/,'point')"; 16].join(" and "));
    let opened = with("Enumerate", &format!("<n:Enumerate>{filter}</n:Enumerate>"));
    let (text, answer) = respond(step(&endpoint, &view, &opened, Pace::Brief));
    assert!(!answer.is_fault, "{text}");
    let pull = with(
        "Pull",
        "<n:Pull><n:EnumerationContext>uuid:00000000-0000-0000-0000-00000000A001</n:EnumerationContext></n:Pull>",
    );
    assert!(matches!(step(&endpoint, &view, &pull, Pace::Brief), Step::Elsewhere));
    let looks = std::cell::Cell::new(0_u32);
    let passed = |_| {
        looks.set(looks.get() + 1);
        looks.get() == 2
    };
    // Two looks at the clock, so two instances: the next Pull goes on behind them.
    let (text, _) = respond(step(&endpoint, &view, &pull, Pace::Until(&passed)));
    assert!(text.contains("w:TimedOut") && looks.get() == 2, "{text}");
    let (text, _) = respond(step(&endpoint, &view, &pull, Pace::Until(&|_| false)));
    assert!(text.contains("point 5<"), "{text}");
}

#[test]
fn what_a_page_echoes_is_reckoned_before_it_is_filled() {
    let (endpoint, view) = (endpoint(), large_view());
    let with = |action: &str, body: &str| {
        let header = "<w:MaxEnvelopeSize>65536</w:MaxEnvelopeSize>";
        request(action, header, body).replace("/v2/*<", "/v2/Msvm_VirtualSystemSettingData<")
    };
    respond(step(&endpoint, &view, &with("Enumerate", "<n:Enumerate/>"), Pace::Brief));
    let quotes = "\"".repeat(4_000);
    let parameter = format!("<a:ReferenceParameters><v:p xmlns:v='urn:v' k='{quotes}'/></a:ReferenceParameters>");
    let pull = with(
        "Pull",
        "<n:Pull><n:EnumerationContext>uuid:00000000-0000-0000-0000-00000000A001</n:EnumerationContext>\
         <n:MaxElements>1000</n:MaxElements></n:Pull>",
    )
    .replace("</a:ReplyTo>", &format!("{parameter}</a:ReplyTo>"));
    let (text, answer) = respond(step(&endpoint, &view, &pull, Pace::Until(&|_| false)));
    assert!(!answer.is_fault && answer.octets.len() <= 65_536, "{text}");
    assert!(text.contains("&quot;&quot;") && text.contains("<n:EnumerationContext>"), "{text}");
}

#[test]
fn an_answer_that_does_not_fit_leaves_the_context_where_it_was() {
    let (endpoint, view) = (endpoint(), large_view());
    let context = "uuid:00000000-0000-0000-0000-00000000A001";
    let with_all = |body: &str| request("Enumerate", "", body).replace("/v2/*<", "/v2/Msvm_VirtualSystemSettingData<");
    // The header alone is larger than the client takes: what the answer relates to grows when it is written.
    let too_small = |request: &str| {
        let request = request.replace("<a:MessageID>1<", &format!("<a:MessageID>{}<", "&amp;".repeat(2_000)));
        request.replace("</s:Header>", "<w:MaxEnvelopeSize>8192</w:MaxEnvelopeSize></s:Header>")
    };
    let late = |request: &str| respond(step(&endpoint, &view, request, Pace::Until(&|_| false)));
    for (open, expected) in [
        (with_all("<n:Enumerate/>"), "<n:Items>"),
        // An empty page, and the last one: it would close the context.
        (enumerate("").replace("point 4999", "no such point"), "<n:EndOfSequence/>"),
    ] {
        assert!(!late(&open).1.is_fault);
        for _ in 0..2 {
            let (text, answer) = late(&too_small(&pull(context)));
            assert!(answer.is_fault && text.contains("MaxEnvelopeSize"), "{text}");
        }
        let (text, _) = late(&pull(context));
        assert!(text.contains(expected), "{text}");
        late(&request(
            "Release",
            "",
            &format!("<n:Release><n:EnumerationContext>{context}</n:EnumerationContext></n:Release>"),
        ));
    }
}

#[test]
fn the_value_of_a_selector_filter_is_bounded() {
    let (endpoint, view) = (endpoint(), large_view());
    let ask = |characters: usize| {
        let set = format!(
            "<w:SelectorSet><w:Selector Name=\"ElementName\">{}</w:Selector></w:SelectorSet>",
            "é".repeat(characters)
        );
        let filter = format!(
            "<n:Enumerate><w:Filter Dialect=\"http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter\">{set}\
             </w:Filter></n:Enumerate>"
        );
        let request = request("Enumerate", "", &filter).replace("/v2/*<", "/v2/Msvm_VirtualSystemSettingData<");
        respond(step(&endpoint, &view, &request, Pace::Until(&|_| false)))
    };
    assert!(!ask(2_048).1.is_fault, "{}", ask(2_048).0);
    let (text, _) = ask(2_049);
    assert!(text.contains("CannotProcessFilter") && text.contains("longer than 2048 characters"), "{text}");
}
