//! Resource URIs to and from (namespace, class). Every spelling that real clients use for one class is accepted; the
//! answer keeps the family of the request (DSP0227 5.1, MS-WSMV 2.2.4).

use crate::cim::ClassId;
use crate::cim::Schema;
use crate::soap::{Fault, SelectorSet, SelectorValue};
use crate::wsman::fault;

/// The one CIM namespace that is served.
pub const NAMESPACE: &str = "root/virtualization/v2";

/// The selector that names the CIM namespace (DSP0227 6.3).
pub const CLASS_SELECTOR: &str = "__cimnamespace";

const WMI: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/";
const DMTF_SCHEMA: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/";
const MICROSOFT_SCHEMA: &str = "http://schemas.microsoft.com/wbem/wscim/1/cim-schema/2/";
const DMTF_ALL: [&str; 2] =
    ["http://schemas.dmtf.org/wbem/wscim/1/*", "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/*"];

/// How a client spells class URIs. Answers use the family of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `…/wbem/wsman/1/wmi/<namespace>/<Class>`.
    Wmi,
    /// `http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/<Class>`, the namespace in a selector.
    Dmtf,
    /// The same under `schemas.microsoft.com`.
    Microsoft,
}

impl Family {
    /// What stands before the class name in a URI of this family.
    pub fn base(self) -> &'static str {
        match self {
            Self::Wmi => "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/",
            Self::Dmtf => DMTF_SCHEMA,
            Self::Microsoft => MICROSOFT_SCHEMA,
        }
    }

    /// Whether references of this family carry the `__cimnamespace` selector.
    //= RES-19
    pub fn names_namespace(self) -> bool {
        !matches!(self, Self::Wmi)
    }

    /// The resource URI of a class.
    pub fn class_uri(self, class: &str) -> String {
        let mut uri = String::with_capacity(self.base().len() + class.len());
        uri.push_str(self.base());
        uri.push_str(class);
        uri
    }
}

/// What a resource URI names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One class.
    Class(ClassId),
    /// Every class of the namespace: queries only.
    All,
}

/// A resource URI, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The family of its spelling.
    pub family: Family,
    /// What it names.
    pub target: Target,
}

impl Resource {
    /// Resolves a resource URI with the `__cimnamespace` selector of its set.
    ///
    /// Fails with `InvalidResourceURI` for an unknown scheme, namespace or class, and with `InvalidSelectors` when the
    /// selector names another namespace.
    pub fn resolve(uri: &str, selectors: &SelectorSet, schema: &Schema) -> Result<Self, Fault> {
        let uri = uri.trim();
        if uri.is_empty() {
            return Err(fault::invalid_resource_uri("the request has no ResourceURI"));
        }
        check_namespace_selector(selectors)?;
        if let Some(path) = strip_prefix_ignore_case(uri, WMI) {
            return resolve_wmi(uri, path, schema);
        }
        if DMTF_ALL.iter().any(|all| all.eq_ignore_ascii_case(uri)) {
            return Ok(Self { family: Family::Dmtf, target: Target::All });
        }
        for (prefix, family) in [(DMTF_SCHEMA, Family::Dmtf), (MICROSOFT_SCHEMA, Family::Microsoft)] {
            if let Some(class) = strip_prefix_ignore_case(uri, prefix) {
                return Ok(Self { family, target: find_class(uri, class, schema)? });
            }
        }
        Err(fault::invalid_resource_uri(format!(
            "'{uri}' is not a resource URI of this server; classes are under {WMI}{NAMESPACE}/"
        )))
    }

    /// The class, for operations that need one.
    pub fn class(&self) -> Result<ClassId, Fault> {
        match self.target {
            Target::Class(class) => Ok(class),
            Target::All => Err(fault::action_mismatch(
                "the resource URI names all classes; this operation needs the URI of one class",
            )),
        }
    }
}

fn check_namespace_selector(selectors: &SelectorSet) -> Result<(), Fault> {
    let named = selectors.0.iter().find(|selector| selector.name.eq_ignore_ascii_case(CLASS_SELECTOR));
    match named.map(|selector| &selector.value) {
        None => Ok(()),
        Some(SelectorValue::Text(text)) if same_namespace(text) => Ok(()),
        Some(SelectorValue::Text(text)) => Err(fault::invalid_selectors_invalid_value(format!(
            "{CLASS_SELECTOR} is '{text}', but this server serves the namespace {NAMESPACE} only"
        ))),
        Some(SelectorValue::Reference(_)) => Err(fault::invalid_selectors_type_mismatch(format!(
            "{CLASS_SELECTOR} is a reference, not a namespace name"
        ))),
    }
}

/// Whether a spelling of a namespace means ours: case, slash and backslash do not matter.
//= RES-18
fn same_namespace(text: &str) -> bool {
    let text = text.trim().trim_matches(['/', '\\']);
    text.len() == NAMESPACE.len()
        && text.bytes().zip(NAMESPACE.bytes()).all(|(a, b)| a.eq_ignore_ascii_case(&b) || (a == b'\\' && b == b'/'))
}

fn resolve_wmi(uri: &str, path: &str, schema: &Schema) -> Result<Resource, Fault> {
    let family = Family::Wmi;
    if same_namespace(path) {
        return Ok(Resource { family, target: Target::All });
    }
    let Some((namespace, class)) = path.rsplit_once('/') else {
        return Err(fault::invalid_resource_uri(format!("'{uri}' names no class")));
    };
    if !same_namespace(namespace) {
        return Err(fault::invalid_resource_uri(format!(
            "'{uri}': the namespace '{namespace}' does not exist here; this server serves {NAMESPACE}"
        )));
    }
    if class == "*" {
        return Ok(Resource { family, target: Target::All });
    }
    Ok(Resource { family, target: find_class(uri, class, schema)? })
}

fn find_class(uri: &str, class: &str, schema: &Schema) -> Result<Target, Fault> {
    match schema.find(class) {
        Some(id) => Ok(Target::Class(id)),
        None => Err(fault::invalid_resource_uri(format!(
            "'{uri}': the namespace {NAMESPACE} has no class '{class}'; class names are found whatever their case"
        ))),
    }
}

fn strip_prefix_ignore_case<'u>(text: &'u str, prefix: &str) -> Option<&'u str> {
    let head = text.get(..prefix.len())?;
    if head.eq_ignore_ascii_case(prefix) { text.get(prefix.len()..) } else { None }
}
