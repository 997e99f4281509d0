//! The resources of the quirks' server: a replication service and three machines, as a Hyper-V host shows them.

use std::fmt::Write as _;

use super::table::Quirks;
use crate::xml::escape;

/// The prefix of WMI's URIs, the only namespace there is in it, and the prefix of the DMTF's URIs.
pub(super) const WINDOWS: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/";
/// The namespace of all classes.
pub(super) const NAMESPACE: &str = "root/virtualization/v2";
/// The prefix of the DMTF's URIs.
pub(super) const DMTF: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/";

/// A property's value, as CIM types it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Text, or a number.
    Text(&'static str),
    /// A truth value.
    Truth(bool),
    /// A date in XML Schema's form.
    Date(&'static str),
    /// None.
    Null,
}

/// An instance: its class, its properties, and how many of these are keys.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    /// The class's name.
    pub class: &'static str,
    /// Keys first.
    pub properties: &'static [(&'static str, Value)],
    /// How many of the properties are keys.
    pub keys: usize,
}

const SERVICE: &[(&str, Value)] = &[
    ("SystemCreationClassName", Value::Text("Msvm_ComputerSystem")),
    ("SystemName", Value::Text("HV01")),
    ("CreationClassName", Value::Text("Msvm_ReplicationService")),
    ("Name", Value::Text("replicasvc")),
    ("ElementName", Value::Text("Replication Service")),
    ("Started", Value::Truth(true)),
    ("InstallDate", Value::Date("2026-01-02T03:04:05.000000Z")),
    ("Description", Value::Null),
];

macro_rules! machine {
    ($name:literal, $title:literal) => {
        &[
            ("CreationClassName", Value::Text("Msvm_ComputerSystem")),
            ("Name", Value::Text($name)),
            ("ElementName", Value::Text($title)),
            ("EnabledState", Value::Text("2")),
            ("ReplicationMode", Value::Text("1")),
            ("ReplicationState", Value::Text("4")),
            ("InstallDate", Value::Date("2026-01-02T03:04:05.000000Z")),
            ("Caption", Value::Null),
        ]
    };
}

/// Everything that there is.
pub(super) const INSTANCES: &[Instance] = &[
    Instance { class: "Msvm_ReplicationService", properties: SERVICE, keys: 4 },
    Instance {
        class: "Msvm_ComputerSystem",
        properties: machine!("A1111111-0000-4000-8000-000000000001", "one"),
        keys: 2,
    },
    Instance {
        class: "Msvm_ComputerSystem",
        properties: machine!("A1111111-0000-4000-8000-000000000002", "two"),
        keys: 2,
    },
    Instance {
        class: "Msvm_ComputerSystem",
        properties: machine!("A1111111-0000-4000-8000-000000000003", "<&>"),
        keys: 2,
    },
];

/// The methods of classes.
pub(super) const METHODS: &[(&str, &str)] = &[
    ("Msvm_ReplicationService", "InitiateFailback"),
    ("Msvm_ReplicationService", "StopService"),
    ("Msvm_ComputerSystem", "RequestStateChange"),
];

impl Instance {
    /// The keys and their values.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.properties.iter().take(self.keys).filter_map(|(name, value)| match value {
            Value::Text(text) => Some((*name, *text)),
            _ => None,
        })
    }

    /// A property's text, whatever the case of its name.
    pub(super) fn text(&self, name: &str) -> Option<&'static str> {
        self.properties.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).and_then(|(_, value)| match value {
            Value::Text(text) | Value::Date(text) => Some(*text),
            Value::Truth(truth) => Some(if *truth { "true" } else { "false" }),
            Value::Null => None,
        })
    }

    /// The instance's markup, in the namespace of its class's URI.
    pub(super) fn markup(&self, family: &str, quirks: &Quirks) -> String {
        let class = self.class;
        let mut out = format!("<p:{class} xmlns:p=\"{family}{class}\" xmlns:cim=\"{CIM}\" xmlns:xsi=\"{XSI}\">");
        // The order of the properties is that of their names, as Windows has it.
        let mut sorted: Vec<&(&str, Value)> = self.properties.iter().collect();
        sorted.sort_by_key(|(name, _)| *name);
        for (name, value) in sorted {
            let upper = quirks.has("booleans-upper-case");
            _ = match value {
                Value::Text(text) => write!(out, "<p:{name}>{}</p:{name}>", escape(text)),
                Value::Truth(truth) => {
                    let word = if *truth { "true" } else { "false" };
                    let word = if upper { word.to_uppercase() } else { word.to_owned() };
                    write!(out, "<p:{name}>{word}</p:{name}>")
                }
                Value::Date(text) if quirks.has("datetime-bare") => write!(out, "<p:{name}>{text}</p:{name}>"),
                Value::Date(text) => write!(out, "<p:{name}><cim:Datetime>{text}</cim:Datetime></p:{name}>"),
                Value::Null if quirks.has("null-omitted") => Ok(()),
                Value::Null => write!(out, "<p:{name} xsi:nil=\"true\"/>"),
            };
        }
        _ = write!(out, "</p:{class}>");
        out
    }

    /// The instance's EPR.
    pub(super) fn epr(&self, family: &str, quirks: &Quirks) -> String {
        let keys =
            self.keys().map(|(name, value)| format!("<w:Selector Name=\"{name}\">{}</w:Selector>", escape(value)));
        let mut selectors: String = keys.collect();
        if family == DMTF {
            _ = write!(selectors, "<w:Selector Name=\"__cimnamespace\">{NAMESPACE}</w:Selector>");
        }
        // Clients cut EPRs out of answers, so each part declares what it needs, as Windows does.
        let is_far = quirks.has("prefixes-not-local");
        let (a, w) =
            if is_far { (String::new(), String::new()) } else { (declared("a", ADDRESSING), declared("w", WSMAN)) };
        format!(
            "<a:EndpointReference{a}><a:Address{a}>{ANONYMOUS}</a:Address><a:ReferenceParameters{a}>\
             <w:ResourceURI{w}>{family}{}</w:ResourceURI><w:SelectorSet{w}>{selectors}</w:SelectorSet>\
             </a:ReferenceParameters></a:EndpointReference>",
            self.class
        )
    }
}

fn declared(prefix: &str, namespace: &str) -> String {
    format!(" xmlns:{prefix}=\"{namespace}\"")
}

const ADDRESSING: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
const WSMAN: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";
const ANONYMOUS: &str = crate::envelope::ANONYMOUS;
const CIM: &str = "http://schemas.dmtf.org/wbem/wscim/1/common";
const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// The instances that a query in WQL means; the error is a sentence. Projections are not made.
pub(super) fn query(text: &str) -> Result<Vec<&'static Instance>, String> {
    let pattern = regex::Regex::new(r"(?is)^\s*select\s+[\w\s,*]+?\s+from\s+(\w+)\s*(?:where\s+(.+))?$");
    let condition = regex::Regex::new(r#"(?is)^\s*(\w+)\s*=\s*(?:'([^']*)'|"([^"]*)"|(\w+))\s*$"#);
    let (pattern, condition) = (pattern.map_err(|e| e.to_string())?, condition.map_err(|e| e.to_string())?);
    let parts = pattern.captures(text).ok_or("this is no SELECT … FROM …")?;
    let class = parts.get(1).map_or("", |class| class.as_str());
    let mut wanted: Vec<(String, String)> = Vec::new();
    if let Some(conditions) = parts.get(2) {
        let and = regex::Regex::new(r"(?i)\s+and\s+").map_err(|error| error.to_string())?;
        for one in and.split(conditions.as_str()) {
            let found = condition.captures(one).ok_or_else(|| format!("not understood: {one}"))?;
            let value = (2..=4).find_map(|at| found.get(at)).map_or("", |value| value.as_str());
            wanted.push((found.get(1).map_or("", |name| name.as_str()).to_owned(), value.to_owned()));
        }
    }
    let of_class: Vec<&Instance> = INSTANCES.iter().filter(|one| one.class.eq_ignore_ascii_case(class)).collect();
    if of_class.is_empty() {
        return Err(format!("there is no class {class}"));
    }
    let holds = |one: &&Instance| {
        wanted.iter().all(|(name, value)| one.text(name).is_some_and(|text| text.eq_ignore_ascii_case(value)))
    };
    Ok(of_class.into_iter().filter(holds).collect())
}
