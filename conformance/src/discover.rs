//! One harmless probe for each feature that a target may offer or refuse. A probe asks for nothing that could change
//! anything: what would write is sent with content that no service accepts, so that the kind of refusal tells.

use std::collections::BTreeMap;

use crate::check::{Came, Received};
use crate::fixture::{Address, Fixtures, Refusal, addresses, wql};
use crate::model::Step;
use crate::path::{self, Variables};
use crate::session::Session;
use crate::xml::escape;

const WQL: &str = "http://schemas.microsoft.com/wbem/wsman/1/WQL";
const PUSH_MODE: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing/DeliveryModes/Push";
const ASSOCIATION: &str = "http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter";
const SELECTOR_FILTER: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter";
const XPATH: &str = "http://www.w3.org/TR/1999/REC-xpath-19991116";

/// The subcodes of a clean refusal of an operation, of a filter and of a subscription.
const NO_OPERATION: &[&str] = &["a:ActionNotSupported"];
const NO_FILTER: &[&str] = &["n:FilterDialectRequestedUnavailable", "n:FilteringNotSupported", "w:UnsupportedFeature"];
const NO_FRAGMENT: &[&str] = &["w:UnsupportedFeature"];
const NO_DELIVERY: &[&str] = &["a:ActionNotSupported", "e:DeliveryModeRequestedUnavailable"];

/// Properties that labs may write: class, property (a number, so that text is a bad value), two values of which one
/// differs from what is there, and a property beside it that is fixed.
const WRITABLE: &[(&str, &str, [&str; 2], &str)] = &[
    ("Msvm_ReplicationSettingData", "RecoveryHistory", ["2", "3"], "Caption"),
    ("Msvm_ReplicationServiceSettingData", "MonitoringInterval", ["43200", "86400"], "Caption"),
];
/// No number.
const BAD_VALUE: &str = "many";
/// Classes of which labs may create instances, and the properties of one.
const CREATABLE: &[(&str, &[(&str, &str)])] = &[(
    "Msvm_ReplicationAuthorizationSettingData",
    &[
        ("AllowedPrimaryHostSystem", "conformance.example"),
        ("TrustGroup", "conformance"),
        ("ReplicaStorageLocation", "C:\\conformance"),
    ],
)];

/// What a probe found.
enum Found {
    Offered,
    Refused(Refusal),
}

/// Probes every feature and keeps what it found in the fixtures.
pub(crate) fn features(session: &mut Session, fixtures: &mut Fixtures) -> Result<(), String> {
    if fixtures.addresses.contains_key("main") {
        filters(session, fixtures)?;
        fragments(session, fixtures)?;
        writable(session, fixtures)?;
        creatable(session, fixtures)?;
        deletable(session, fixtures)?;
        subscriptions(session, fixtures)?;
    }
    Ok(())
}

fn keep(fixtures: &mut Fixtures, feature: &str, found: Found) {
    let told = match found {
        Found::Offered => {
            fixtures.features.insert(feature.to_owned());
            "answers".to_owned()
        }
        Found::Refused(refusal) => {
            let told = format!("{}: {}", if refusal.is_clean { "refused" } else { "refused wrongly" }, refusal.told);
            fixtures.refusals.insert(feature.to_owned(), refusal);
            told
        }
    };
    fixtures.notes.push(format!("{feature}: {told}"));
}

/// Whether a question that has to be answered plainly was; else whether the refusal is one of the clean ones.
fn plainly(came: &Came, clean: &[&str]) -> Found {
    match came.answers.first() {
        Some(received) if received.is_plain() => Found::Offered,
        _ => Found::Refused(refusal(came, clean)),
    }
}

/// Whether nonsense was refused for what it is, so that the operation itself is there.
fn by_content(came: &Came, clean: &[&str]) -> Found {
    let fault = came.answers.first().and_then(|received| received.fault.as_ref());
    let is_known = fault.is_some_and(|fault| fault.code == "s:Sender" && !clean.contains(&fault.subcode.as_str()));
    let is_taken = came.answers.first().is_some_and(Received::is_plain);
    if is_known || is_taken { Found::Offered } else { Found::Refused(refusal(came, clean)) }
}

fn refusal(came: &Came, clean: &[&str]) -> Refusal {
    let fault = came.answers.first().and_then(|received| received.fault.as_ref());
    let is_clean = fault.is_some_and(|fault| fault.code == "s:Sender" && clean.contains(&fault.subcode.as_str()));
    Refusal { is_clean, told: came.summary() }
}

fn plain_step(template: &str, of: &str, body: Option<String>) -> Step {
    Step { template: template.to_owned(), of: of.to_owned(), body, ..Step::default() }
}

fn filtered(dialect: &str, filter: &str) -> String {
    format!(
        "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>4</w:MaxElements>\
         <w:Filter Dialect=\"{dialect}\">{filter}</w:Filter></n:Enumerate>"
    )
}

fn filters(session: &mut Session, fixtures: &mut Fixtures) -> Result<(), String> {
    let main = fixtures.address("main")?;
    let class = main.class();
    let everything = Address { uri: main.all_classes(), ..main.class_scope() };
    let came = session.ask(&everything, "enumerate", &wql(&format!("SELECT * FROM {class}"), "", 4))?;
    keep(fixtures, "wql", plainly(&came, NO_FILTER));
    let came = session.ask(&main.class_scope(), "enumerate", &filtered(XPATH, "*"))?;
    keep(fixtures, "xpath", plainly(&came, NO_FILTER));
    if let Some((name, value)) = main.keys().next() {
        let (name, value) = (escape(name), escape(value));
        let set = format!("<w:SelectorSet><w:Selector Name=\"{name}\">{value}</w:Selector></w:SelectorSet>");
        let came = session.ask(&main.class_scope(), "enumerate", &filtered(SELECTOR_FILTER, &set))?;
        keep(fixtures, "selector-filter", plainly(&came, NO_FILTER));
    }
    let mut last = None;
    for name in ["vm", "many", "main", "service"] {
        let Some(object) = fixtures.addresses.get(name).cloned() else { continue };
        let filter =
            format!("<b:AssociatedInstances><b:Object>{}</b:Object></b:AssociatedInstances>", crate::run::epr(&object));
        let came = session.ask(&everything, "enumerate", &filtered(ASSOCIATION, &filter))?;
        let has_some = came.answers.first().and_then(|received| received.document.as_ref().ok()).is_some_and(|tree| {
            path::holds(tree, &Variables::new(), "boolean(//w:Items/*) or string-length(//n:EnumerationContext) > 0")
                .unwrap_or(false)
        });
        let found = plainly(&came, NO_FILTER);
        if has_some && matches!(found, Found::Offered) {
            fixtures.addresses.insert("associated".to_owned(), object);
            fixtures.features.insert("associated".to_owned());
            last = Some(found);
            break;
        }
        last = last.filter(|found| matches!(found, Found::Offered)).or(Some(found));
    }
    if let Some(found) = last {
        keep(fixtures, "association", found);
    }
    Ok(())
}

fn fragments(session: &mut Session, fixtures: &mut Fixtures) -> Result<(), String> {
    let main = fixtures.address("main")?;
    let Some((key, _)) = main.keys().next() else { return Ok(()) };
    let header = format!("<w:FragmentTransfer s:mustUnderstand=\"true\">{}</w:FragmentTransfer>", escape(key));
    let step = Step { add_header: header, ..plain_step("get", "main", None) };
    let came = session.exchange(&step, fixtures)?;
    keep(fixtures, "fragment", plainly(&came, NO_FRAGMENT));
    Ok(())
}

/// The first instance of a class beside the main one; none when there is none.
fn instance_of(session: &mut Session, fixtures: &Fixtures, class: &str) -> Result<Option<Address>, String> {
    let main = fixtures.address("main")?;
    let family = main.uri.rsplit_once('/').map_or("", |(family, _)| family);
    let scope = Address { uri: format!("{family}/{class}"), ..main.class_scope() };
    let body = "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>1</w:MaxElements>\
        <w:EnumerationMode>EnumerateEPR</w:EnumerationMode></n:Enumerate>";
    let came = session.ask(&scope, "enumerate", body)?;
    let document = came.answers.first().filter(|received| received.is_plain());
    let document = document.and_then(|received| received.document.as_ref().ok());
    Ok(document.and_then(|document| addresses(document, &scope).into_iter().next()))
}

fn writable(session: &mut Session, fixtures: &mut Fixtures) -> Result<(), String> {
    let nonsense = || Some("<z:NoInstance/>".to_owned());
    if !fixtures.addresses.contains_key("writable") {
        for (class, property, values, fixed) in WRITABLE {
            let Some(address) = instance_of(session, fixtures, class)? else { continue };
            fixtures.addresses.insert("writable".to_owned(), address);
            for (name, value) in [("property", *property), ("fixed", *fixed), ("bad", BAD_VALUE)] {
                fixtures.variables.insert(format!("writable.{name}"), value.to_owned());
            }
            let came = session.exchange(&plain_step("put", "writable", nonsense()), fixtures)?;
            if matches!(by_content(&came, NO_OPERATION), Found::Offered) && known_value(session, fixtures, values)? {
                break;
            }
            fixtures.addresses.remove("writable");
        }
    }
    let of = if fixtures.addresses.contains_key("writable") { "writable" } else { "main" };
    if of == "writable" {
        fixtures.features.insert("writable".to_owned());
        let address = fixtures.address("writable")?;
        fixtures.notes.push(format!("may be written: {}", address.uri));
    }
    let came = session.exchange(&plain_step("put", of, nonsense()), fixtures)?;
    keep(fixtures, "put", by_content(&came, NO_OPERATION));
    Ok(())
}

/// Reads the writable property and chooses another value for it.
fn known_value(session: &mut Session, fixtures: &mut Fixtures, values: &[&str]) -> Result<bool, String> {
    let came = session.exchange(&plain_step("get", "writable", None), fixtures)?;
    let property = fixtures.variables.get("writable.property").cloned().unwrap_or_default();
    let expression = format!("string(//s:Body/*/*[local-name()='{property}'])");
    let document = came.answers.first().filter(|received| received.is_plain());
    let Some(Ok(document)) = document.map(|received| received.document.as_ref()) else { return Ok(false) };
    let old = path::text(document, &Variables::new(), &expression)?;
    let Some(new) = values.iter().find(|value| **value != old) else { return Ok(false) };
    fixtures.variables.insert("writable.old".to_owned(), old);
    fixtures.variables.insert("writable.new".to_owned(), (*new).to_owned());
    Ok(true)
}

fn creatable(session: &mut Session, fixtures: &mut Fixtures) -> Result<(), String> {
    let nonsense = || Some("<z:NoInstance/>".to_owned());
    if !fixtures.addresses.contains_key("creatable") {
        let main = fixtures.address("main")?;
        let family = main.uri.rsplit_once('/').map_or("", |(family, _)| family).to_owned();
        for (class, properties) in CREATABLE {
            let uri = format!("{family}/{class}");
            let parts = properties.iter().map(|(name, value)| format!("<p:{name}>{}</p:{name}>", escape(value)));
            let content: String = parts.collect();
            let body = format!("<p:{class} xmlns:p=\"{}\">{content}</p:{class}>", escape(&uri));
            fixtures.addresses.insert("creatable".to_owned(), Address { uri, ..main.class_scope() });
            fixtures.variables.insert("creatable.body".to_owned(), body);
            let came = session.exchange(&plain_step("create", "creatable", nonsense()), fixtures)?;
            if matches!(by_content(&came, NO_OPERATION), Found::Offered) {
                break;
            }
            fixtures.addresses.remove("creatable");
        }
    }
    let of = if fixtures.addresses.contains_key("creatable") { "creatable" } else { "main" };
    if of == "creatable" {
        fixtures.features.insert("creatable".to_owned());
        let address = fixtures.address("creatable")?;
        fixtures.notes.push(format!("may be created: {}", address.uri));
    }
    let came = session.exchange(&plain_step("create", of, nonsense()), fixtures)?;
    keep(fixtures, "create", by_content(&came, NO_OPERATION));
    Ok(())
}

/// Delete is asked for with a selector that no class has, so that nothing can be meant.
fn deletable(session: &mut Session, fixtures: &mut Fixtures) -> Result<(), String> {
    let of = if fixtures.addresses.contains_key("creatable") { "creatable" } else { "main" };
    let selectors = vec![("ConformanceNoSuchKey".to_owned(), "x".to_owned())];
    let step = Step { more_selectors: selectors, ..plain_step("delete", of, None) };
    let came = session.exchange(&step, fixtures)?;
    keep(fixtures, "delete", by_content(&came, NO_OPERATION));
    Ok(())
}

/// A subscription that is pulled, and one that pushes to the built-in sink; both are taken back at once.
fn subscriptions(session: &mut Session, fixtures: &mut Fixtures) -> Result<(), String> {
    let main = fixtures.address("main")?;
    let class = main.class();
    let own_key = main.keys().next().map_or("Name", |(name, _)| name.as_str());
    let of_job = fixtures.addresses.contains_key("service");
    let (of, key) = if of_job { ("Msvm_ConcreteJob", "InstanceID") } else { (class, own_key) };
    let query = format!("SELECT * FROM __InstanceModificationEvent WITHIN 1 WHERE TargetInstance ISA '{}'", escape(of));
    let filter = format!("<w:Filter Dialect=\"{WQL}\">{query}</w:Filter>");
    // Events that never happen: nothing is called so.
    let never = format!("{query} AND TargetInstance.{} = 'conformance-nothing-is-called-so'", escape(key));
    let never = format!("<w:Filter Dialect=\"{WQL}\">{never}</w:Filter>");
    let everything = Address { uri: main.all_classes(), ..main.class_scope() };
    let mut sources = vec![(everything, filter), (main.class_scope(), String::new())];
    if let Some(own) = fixtures.addresses.get("events") {
        let filter = fixtures.variables.get("events.filter").cloned().unwrap_or_default();
        sources.insert(0, (own.clone(), filter));
    }
    fixtures.variables.insert("events.of".to_owned(), of.to_owned());
    fixtures.variables.insert("events.quiet".to_owned(), never);
    let mut first = None;
    for (address, filter) in sources {
        fixtures.addresses.insert("events".to_owned(), address);
        fixtures.variables.insert("events.filter".to_owned(), filter);
        session.begin(fixtures.variables.clone());
        let came = session.exchange(&plain_step("subscribe", "", None), fixtures)?;
        let found = plainly(&came, NO_DELIVERY);
        if matches!(found, Found::Offered) {
            take_back(session, fixtures)?;
            first = Some(found);
            break;
        }
        first = first.or(Some(found));
    }
    if let Some(found) = first {
        keep(fixtures, "eventing-pull", found);
    }
    if session.variables.contains_key("sink.url") {
        session.begin(fixtures.variables.clone());
        let step = plain_step("subscribe", "", Some(pushing(&fixtures.variables)));
        let came = session.exchange(&step, fixtures)?;
        let found = plainly(&came, NO_DELIVERY);
        if matches!(found, Found::Offered) {
            take_back(session, fixtures)?;
        }
        keep(fixtures, "eventing-push", found);
    }
    Ok(())
}

fn pushing(variables: &BTreeMap<String, String>) -> String {
    let filter = variables.get("events.filter").map_or("", String::as_str);
    format!(
        "<e:Subscribe><e:Delivery Mode=\"{PUSH_MODE}\"><e:NotifyTo><a:Address>${{sink.url}}</a:Address></e:NotifyTo>\
         </e:Delivery><e:Expires>PT1M</e:Expires>{filter}</e:Subscribe>"
    )
}

fn take_back(session: &mut Session, fixtures: &Fixtures) -> Result<(), String> {
    if session.managers.is_empty() {
        return Ok(());
    }
    session.exchange(&plain_step("unsubscribe", "", None), fixtures).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::End;
    use crate::http::Answer;

    fn came(code: &str, subcode: &str) -> Came {
        let body = format!(
            "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' \
             xmlns:a='http://schemas.xmlsoap.org/ws/2004/08/addressing' \
             xmlns:x='http://schemas.xmlsoap.org/ws/2004/09/transfer'><s:Body><s:Fault><s:Code><s:Value>{code}</s:Value>\
             <s:Subcode><s:Value>{subcode}</s:Value></s:Subcode></s:Code></s:Fault></s:Body></s:Envelope>"
        );
        let answer = Answer { status: 500, body: body.into_bytes(), ..Answer::default() };
        Came { answers: vec![Received::new(answer, 0)], end: End::Open }
    }

    fn told(found: &Found) -> &'static str {
        match found {
            Found::Offered => "offered",
            Found::Refused(refusal) if refusal.is_clean => "clean",
            Found::Refused(_) => "unclean",
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let found = |code: &str, subcode: &str| told(&by_content(&came(code, subcode), NO_OPERATION));
        assert_eq!(found("s:Sender", "a:ActionNotSupported"), "clean");
        assert_eq!(found("s:Receiver", "a:ActionNotSupported"), "unclean");
        assert_eq!(found("s:Sender", "x:InvalidRepresentation"), "offered");
        assert_eq!(told(&plainly(&came("s:Sender", "x:InvalidRepresentation"), NO_OPERATION)), "unclean");
        let closed = Came { answers: Vec::new(), end: End::Closed };
        assert_eq!(told(&by_content(&closed, NO_OPERATION)), "unclean");
    }
}
