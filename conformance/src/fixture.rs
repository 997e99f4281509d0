//! What a target has to offer, found by harmless probes: which classes exist, which have several instances, which
//! features answer. Cases name what they need; what was not found makes them not-run, never silently skipped.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::check::Received;
use crate::discover;
use crate::model::{Http, Step};
use crate::path::{self, Variables};
use crate::session::Session;
use crate::xml::{Document, escape};

const WINDOWS: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi";
const DMTF: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2";
const DELL: &str = "http://schemas.dell.com/wbem/wscim/1/cim-schema/2";
const INTEL: &str = "http://intel.com/wbem/wscim/1/amt-schema/1";
/// All classes by the DMTF's binding, whose vendors have no such URI of their own.
const ALL_CLASSES: &str = "http://schemas.dmtf.org/wbem/wscim/1/*";
const MSVM: &str = "root/virtualization/v2";
const ADDRESSING: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
const WSMAN: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";

/// The classes to look for: URI prefix, namespace (in the URI for Windows, else as a selector; empty: none), class.
const CANDIDATES: &[(&str, &str, &str)] = &[
    (WINDOWS, MSVM, "Msvm_ReplicationService"),
    (WINDOWS, MSVM, "Msvm_ComputerSystem"),
    (WINDOWS, MSVM, "Msvm_ReplicationRelationship"),
    (WINDOWS, "root/cimv2", "Win32_OperatingSystem"),
    (WINDOWS, "root/cimv2", "Win32_Service"),
    (DMTF, MSVM, "Msvm_ReplicationService"),
    (DMTF, "root/cimv2", "CIM_ComputerSystem"),
    (DMTF, "root/omi", "OMI_Identify"),
    (DMTF, "root/interop", "CIM_Namespace"),
    (DMTF, "", "CIM_ComputerSystem"),
    (DELL, "root/dcim", "DCIM_SystemView"),
    (INTEL, "", "AMT_GeneralSettings"),
];

/// A virtual machine to look for.
struct Machine {
    /// The fixture's name.
    name: &'static str,
    /// The condition of the query that finds it.
    condition: &'static str,
    /// The states of replication that it may have.
    states: &'static [&'static str],
    /// What it is, for the report.
    told: &'static str,
}

/// A replica that is off and may be failed back, and a primary whose replication can be suspended and resumed.
const MACHINES: &[Machine] = &[
    Machine {
        name: "vm",
        condition: "ReplicationMode = 2 AND EnabledState = 3",
        states: &["2", "3", "7", "8", "9"],
        told: "that is ready for a failback",
    },
    Machine { name: "primary", condition: "ReplicationMode = 1", states: &["3"], told: "that replicates" },
];

/// The class URI, selectors and namespace of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address {
    /// The resource URI of the class.
    pub uri: String,
    /// All selectors, `__cimnamespace` among them where the URI family wants it.
    pub selectors: Vec<(String, String)>,
    /// The value of `__cimnamespace`, where it is needed.
    pub namespace: Option<String>,
}

impl Address {
    /// The same class without an instance.
    pub(crate) fn class_scope(&self) -> Self {
        let selectors = self.namespace.iter().map(|value| ("__cimnamespace".to_owned(), value.clone())).collect();
        Self { selectors, ..self.clone() }
    }

    /// The keys without `__cimnamespace`.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &(String, String)> {
        self.selectors.iter().filter(|(name, _)| name != "__cimnamespace")
    }

    /// The URI of all classes in the address's family.
    pub(crate) fn all_classes(&self) -> String {
        match self.uri.rsplit_once('/') {
            Some((family, _)) if self.uri.starts_with(WINDOWS) => format!("{family}/*"),
            _ => ALL_CLASSES.to_owned(),
        }
    }

    /// The last segment of the URI.
    pub(crate) fn class(&self) -> &str {
        self.uri.rsplit('/').next().unwrap_or("")
    }
}

/// What a target says of itself in its answer to Identify. All of it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Product {
    /// ProductVendor.
    pub vendor: String,
    /// ProductVersion.
    pub version: String,
}

impl Product {
    /// Reads the answer to Identify.
    fn of(received: &Received) -> Self {
        let Ok(document) = &received.document else { return Self::default() };
        let read = |name: &str| {
            let expression = format!("normalize-space(/s:Envelope/s:Body/*/*[local-name()='{name}'])");
            path::text(document, &Variables::new(), &expression).unwrap_or_default()
        };
        Self { vendor: read("ProductVendor"), version: read("ProductVersion") }
    }
}

/// What the probes found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fixtures {
    /// Who the target says it is.
    pub product: Product,
    /// The addresses by the names that steps give them: main (an instance of the first class that exists), many
    /// (an instance of a class with at least two), dmtf (an instance in the DMTF family of URIs), service (the
    /// replication service), vm (a virtual machine that is ready for a failback), associated, writable, creatable,
    /// events.
    pub addresses: BTreeMap<String, Address>,
    /// The features that answered.
    pub features: BTreeSet<String>,
    /// The features that were refused, and how.
    pub refusals: BTreeMap<String, Refusal>,
    /// The features that the target's file promises: a refusal does not excuse these.
    pub claims: BTreeSet<String>,
    /// More variables for cases, such as a filter for events.
    pub variables: Variables,
    /// What each probe found, for the report.
    pub notes: Vec<String>,
}

/// How a target refuses a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Whether by the fault that the rules want.
    pub is_clean: bool,
    /// What came.
    pub told: String,
}

impl Fixtures {
    /// The fixtures with nothing but a main address.
    pub(crate) fn of(main: Address) -> Self {
        Self { addresses: BTreeMap::from([("main".to_owned(), main)]), ..Self::default() }
    }

    /// The address that a step's `of` names.
    pub(crate) fn address(&self, of: &str) -> Result<Address, String> {
        let name = if of.is_empty() { "main" } else { of };
        let instead = if name == "service" { "main" } else { name };
        let found = self.addresses.get(name).or_else(|| self.addresses.get(instead));
        found.cloned().ok_or_else(|| format!("there is no fixture {name:?}"))
    }

    /// Whether a need of a case is met.
    pub(crate) fn has(&self, need: &str) -> bool {
        self.features.contains(need)
    }
}

/// One class as a probe saw it.
struct Found {
    address: Address,
    instances: usize,
}

/// What is told of a target that refuses the way to log in.
fn forbidden(body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).trim().chars().take(300).collect();
    format!("the target refuses this way to log in (HTTP 403: {text}); --auth ntlm and https are others")
}

/// Whether the second user gets in: every case about that user would else tell of the password alone.
pub(crate) fn probe_reader(session: &mut Session, fixtures: &Fixtures) -> Result<(), String> {
    let http = Http { auth: Some("reader".to_owned()), ..Http::default() };
    let step = Step { template: "identify".to_owned(), http, ..Step::default() };
    let came = session.exchange(&step, fixtures)?;
    match came.answers.first().map(|received| received.answer.status) {
        Some(401) => Err("the target refuses the credentials of the second user (HTTP 401)".to_owned()),
        Some(_) => Ok(()),
        None => Err(format!("the target does not answer the second user: {}", came.summary())),
    }
}

/// Probes the target, of which some is known before. The error means that nothing can be tested at all.
pub(crate) fn probe(session: &mut Session, known: Fixtures, many_uri: &str) -> Result<Fixtures, String> {
    let mut fixtures = known;
    let step = Step { template: "identify".to_owned(), ..Step::default() };
    let came = session.exchange(&step, &fixtures)?;
    let received = came.answers.first().ok_or_else(|| format!("the target does not answer: {}", came.summary()))?;
    match received.answer.status {
        200 => _ = fixtures.features.insert("identify".to_owned()),
        401 => return Err("the target refuses the credentials (HTTP 401)".to_owned()),
        // Who does not take passwords over clear text says so in words, and to every request.
        403 if received.document.is_err() => return Err(forbidden(&received.answer.body)),
        404 => return Err("there is no WS-Management at this path (HTTP 404)".to_owned()),
        _ => {}
    }
    fixtures.product = Product::of(received);
    fixtures.notes.push(format!("Identify: {}", received.summary()));
    if !many_uri.is_empty() {
        let namespace = fixtures.addresses.get("main").and_then(|main| main.namespace.clone());
        let scope = Address { uri: many_uri.to_owned(), selectors: Vec::new(), namespace };
        match probe_class(session, &scope)? {
            Ok(found) => {
                fixtures.notes.push(format!("{}: {} instances seen", scope.uri, found.instances));
                keep(&mut fixtures, &found);
            }
            Err(why) => fixtures.notes.push(format!("{}: {why}", scope.uri)),
        }
    }
    for (prefix, namespace, class) in CANDIDATES {
        let scope = Address {
            uri: if *prefix == WINDOWS { format!("{prefix}/{namespace}/{class}") } else { format!("{prefix}/{class}") },
            selectors: Vec::new(),
            namespace: (*prefix != WINDOWS && !namespace.is_empty()).then(|| (*namespace).to_owned()),
        };
        match probe_class(session, &scope)? {
            Ok(found) => {
                fixtures.notes.push(format!("{}: {} instances seen", scope.uri, found.instances));
                keep(&mut fixtures, &found);
            }
            Err(why) => fixtures.notes.push(format!("{}: {why}", scope.uri)),
        }
    }
    if fixtures.addresses.contains_key("service") {
        for machine in MACHINES {
            let Some(found) = probe_machine(session, machine)? else {
                fixtures.notes.push(format!("no virtual machine {}", machine.told));
                continue;
            };
            fixtures.notes.push(format!("a virtual machine {}: {:?}", machine.told, found.selectors));
            fixtures.addresses.insert(machine.name.to_owned(), found);
            fixtures.features.insert(machine.name.to_owned());
        }
    }
    discover::features(session, &mut fixtures)?;
    Ok(fixtures)
}

fn keep(fixtures: &mut Fixtures, found: &Found) {
    fixtures.features.insert("enumerate".to_owned());
    if found.address.keys().next().is_none() {
        return;
    }
    if found.address.uri.starts_with(DMTF) {
        fixtures.features.insert("dmtf".to_owned());
        fixtures.addresses.entry("dmtf".to_owned()).or_insert_with(|| found.address.clone());
    }
    fixtures.features.insert("get".to_owned());
    if found.address.class() == "Msvm_ReplicationService" {
        let is_windows = found.address.uri.starts_with(WINDOWS);
        fixtures.features.insert(if is_windows { "service" } else { "service-dmtf" }.to_owned());
        fixtures.addresses.entry("service".to_owned()).or_insert_with(|| found.address.clone());
    }
    if found.instances > 1 && !fixtures.addresses.contains_key("many") {
        fixtures.addresses.insert("many".to_owned(), found.address.clone());
        fixtures.features.insert("many".to_owned());
        if found.address.keys().count() > 1 {
            fixtures.features.insert("two-keys".to_owned());
        }
    }
    fixtures.addresses.entry("main".to_owned()).or_insert_with(|| found.address.clone());
}

/// Enumerates a class with EPRs; the inner error says why it is no fixture.
fn probe_class(session: &mut Session, scope: &Address) -> Result<Result<Found, String>, String> {
    let body = "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>4</w:MaxElements>\
        <w:EnumerationMode>EnumerateObjectAndEPR</w:EnumerationMode></n:Enumerate>";
    let came = session.ask(scope, "enumerate", body)?;
    let Some(received) = came.answers.first() else { return Ok(Err(came.summary())) };
    let Ok(document) = &received.document else { return Ok(Err(received.summary())) };
    if received.answer.status != 200 || received.fault.is_some() {
        return Ok(Err(received.summary()));
    }
    let mut found = addresses(document, scope);
    if found.is_empty() {
        // The server takes no hint: what there is comes with a Pull.
        let context = path::text(document, &Variables::new(), "string(//n:EnumerationContext)")?;
        let pull = format!(
            "<n:Pull><n:EnumerationContext>{}</n:EnumerationContext><n:MaxElements>4</n:MaxElements></n:Pull>",
            escape(&context)
        );
        let came = if context.is_empty() { None } else { Some(session.ask(scope, "pull", &pull)?) };
        let pulled = came.as_ref().and_then(|came| came.answers.first()).filter(|received| received.is_plain());
        found = match pulled.map(|received| &received.document) {
            Some(Ok(document)) => addresses(document, scope),
            _ => Vec::new(),
        };
    }
    let Some(address) = found.first().cloned() else { return Ok(Err("no instance".to_owned())) };
    Ok(Ok(Found { address, instances: found.len() }))
}

/// The addresses in an answer's EPRs.
pub(crate) fn addresses(document: &Document, scope: &Address) -> Vec<Address> {
    let is = |index: usize, namespace: &str, local: &str| {
        document.nodes.get(index).is_some_and(|node| node.name.namespace == namespace && node.name.local == local)
    };
    let references = (0..document.nodes.len()).filter(|index| is(*index, ADDRESSING, "ReferenceParameters"));
    let in_items = references.filter(|index| {
        let parent = document.nodes.get(*index).and_then(|node| node.parent);
        parent.is_some_and(|parent| is(parent, ADDRESSING, "EndpointReference"))
    });
    in_items
        .map(|index| {
            let uri = document.child(index, WSMAN, "ResourceURI").map(|uri| document.text(uri).trim().to_owned());
            let selectors = document.child(index, WSMAN, "SelectorSet").map_or_else(Vec::new, |set| {
                document.elements(set).filter_map(|selector| read_selector(document, selector)).collect()
            });
            Address { uri: uri.unwrap_or_else(|| scope.uri.clone()), selectors, namespace: scope.namespace.clone() }
        })
        .collect()
}

fn read_selector(document: &Document, index: usize) -> Option<(String, String)> {
    let node = document.nodes.get(index)?;
    let (_, name) = node.attributes.iter().find(|(name, _)| name.local == "Name")?;
    Some((name.clone(), document.text(index)))
}

/// The body of an optimized enumeration with a WQL filter.
pub(crate) fn wql(query: &str, mode: &str, max_elements: u32) -> String {
    format!(
        "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>{max_elements}</w:MaxElements>{mode}\
         <w:Filter Dialect=\"http://schemas.microsoft.com/wbem/wsman/1/WQL\">{}</w:Filter></n:Enumerate>",
        escape(query)
    )
}

/// Looks for a machine in a role and in one of several states.
fn probe_machine(session: &mut Session, machine: &Machine) -> Result<Option<Address>, String> {
    let scope = Address { uri: format!("{WINDOWS}/{MSVM}/*"), ..Address::default() };
    let mode = "<w:EnumerationMode>EnumerateObjectAndEPR</w:EnumerationMode>";
    let query = format!("SELECT * FROM Msvm_ComputerSystem WHERE {}", machine.condition);
    let came = session.ask(&scope, "enumerate", &wql(&query, mode, 100))?;
    let Some(received) = came.answers.first() else { return Ok(None) };
    let Ok(document) = &received.document else { return Ok(None) };
    let machine_scope = Address { uri: format!("{WINDOWS}/{MSVM}/Msvm_ComputerSystem"), ..Address::default() };
    let state = |item: usize| {
        document.elements(item).find_map(|instance| {
            let is_state =
                |index: &usize| document.nodes.get(*index).is_some_and(|n| n.name.local == "ReplicationState");
            document.elements(instance).find(is_state).map(|index| document.text(index))
        })
    };
    let items = (0..document.nodes.len()).filter(|index| {
        document.nodes.get(*index).is_some_and(|node| node.name.namespace == WSMAN && node.name.local == "Item")
    });
    let ready: Vec<bool> =
        items.map(|item| state(item).is_some_and(|state| machine.states.contains(&state.trim()))).collect();
    Ok(addresses(document, &machine_scope).into_iter().zip(ready).find(|(_, is_ready)| *is_ready).map(|(vm, _)| vm))
}

/// A step that asks a class something, outside of any case.
pub(crate) fn question(template: &str, body: &str) -> Step {
    Step { template: template.to_owned(), body: Some(body.to_owned()), http: Http::default(), ..Step::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_classes_have_a_uri_in_each_family() {
        let of = |uri: &str| Address { uri: uri.to_owned(), ..Address::default() }.all_classes();
        assert_eq!(of(&format!("{WINDOWS}/root/cimv2/C")), format!("{WINDOWS}/root/cimv2/*"));
        assert_eq!(of(&format!("{DMTF}/C")), ALL_CLASSES);
        assert_eq!(of(&format!("{DELL}/C")), ALL_CLASSES);
    }

    #[test]
    fn addresses_are_read_from_items() {
        let document = Document::parse(
            "<r xmlns:a='http://schemas.xmlsoap.org/ws/2004/08/addressing' \
             xmlns:w='http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd'>\
             <w:Item><i/><a:EndpointReference><a:Address/><a:ReferenceParameters><w:ResourceURI>u:1</w:ResourceURI>\
             <w:SelectorSet>\
             <w:Selector Name='Name'>x</w:Selector><w:Selector Name='__cimnamespace'>n</w:Selector></w:SelectorSet>\
             </a:ReferenceParameters></a:EndpointReference></w:Item></r>",
        )
        .unwrap();
        let found = addresses(&document, &Address::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].uri, "u:1");
        assert_eq!(found[0].keys().count(), 1);
        assert_eq!(found[0].class_scope().selectors, Vec::new());
    }
}
