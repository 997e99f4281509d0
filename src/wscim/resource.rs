//! Resource URIs to and from (namespace, class). Every spelling that real clients use for one class is accepted; the
//! answer keeps the family of the request (DSP0227 5.1, MS-WSMV 2.2.4).

use crate::cim::{CimError, CimStatus, ClassId, DEFAULT_NAMESPACE, NamespaceId, Schema};
use crate::soap::{Fault, SelectorSet, SelectorValue};
use crate::wsman::fault;

use super::error::fault_of;

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
    /// Whether references of this family carry the `__cimnamespace` selector.
    //= RES-19
    pub fn names_namespace(self) -> bool {
        !matches!(self, Self::Wmi)
    }

    /// The resource URI of a class.
    //= CIM-01
    pub fn class_uri(self, class: ClassId, schema: &Schema) -> String {
        let name = &schema.class(class).name;
        match self {
            Self::Wmi => [WMI, schema.namespace_of(class), "/", name].concat(),
            Self::Dmtf => [DMTF_SCHEMA, name].concat(),
            Self::Microsoft => [MICROSOFT_SCHEMA, name].concat(),
        }
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
    /// The namespace that it is in.
    pub namespace: NamespaceId,
    /// What it names.
    pub target: Target,
}

impl Resource {
    /// Resolves a resource URI with the `__cimnamespace` selector of its set. A URI of the DMTF means the default
    /// namespace when no selector names another.
    ///
    /// Fails with `InvalidResourceURI` for an unknown scheme, namespace or class, with `InvalidSelectors` when the
    /// selector names no namespace, and when URI and selector name two that differ.
    //= RES-01, RES-02, RES-14, RES-15, RES-17
    pub fn resolve(uri: &str, selectors: &SelectorSet, schema: &Schema) -> Result<Self, Fault> {
        let uri = uri.trim();
        if uri.is_empty() {
            return Err(fault::invalid_resource_uri("the request has no ResourceURI"));
        }
        let selected = selected_namespace(selectors, schema)?;
        if let Some(path) = strip_prefix_ignore_case(uri, WMI) {
            return resolve_wmi(uri, path, selected, schema);
        }
        let namespace = selected.unwrap_or(NamespaceId::DEFAULT);
        if DMTF_ALL.iter().any(|all| all.eq_ignore_ascii_case(uri)) {
            return Ok(Self { family: Family::Dmtf, namespace, target: Target::All });
        }
        for (prefix, family) in [(DMTF_SCHEMA, Family::Dmtf), (MICROSOFT_SCHEMA, Family::Microsoft)] {
            if let Some(class) = strip_prefix_ignore_case(uri, prefix) {
                return Ok(Self { family, namespace, target: find_class(uri, namespace, class, schema)? });
            }
        }
        Err(fault::invalid_resource_uri(format!(
            "'{uri}' is not a resource URI of this server; classes are under {WMI}{DEFAULT_NAMESPACE}/"
        )))
    }

    /// The class, for operations that need one.
    //= CIM-03, RES-16
    pub fn class(&self) -> Result<ClassId, Fault> {
        match self.target {
            Target::Class(class) => Ok(class),
            Target::All => Err(fault::action_mismatch(
                "the resource URI names all classes; this operation needs the URI of one class",
            )),
        }
    }
}

/// The namespace that the `__cimnamespace` selector names, if there is one.
pub fn selected_namespace(selectors: &SelectorSet, schema: &Schema) -> Result<Option<NamespaceId>, Fault> {
    let named = selectors.0.iter().find(|selector| selector.name.eq_ignore_ascii_case(CLASS_SELECTOR));
    match named.map(|selector| &selector.value) {
        None => Ok(None),
        Some(SelectorValue::Text(text)) => match schema.find_namespace(text) {
            Some(namespace) => Ok(Some(namespace)),
            None => Err(Fault {
                cim_status: Some(CimStatus::INVALID_NAMESPACE.0),
                ..fault::invalid_selectors_invalid_value(format!(
                    "{CLASS_SELECTOR} is '{text}', which is no namespace here; this server has {}",
                    namespace_names(schema)
                ))
            }),
        },
        Some(SelectorValue::Reference(_)) => Err(fault::invalid_selectors_type_mismatch(format!(
            "{CLASS_SELECTOR} is a reference, not a namespace name"
        ))),
    }
}

fn namespace_names(schema: &Schema) -> String {
    let names: Vec<&str> = schema.namespaces().iter().map(|namespace| &*namespace.name).collect();
    names.join(", ")
}

fn resolve_wmi(uri: &str, path: &str, selected: Option<NamespaceId>, schema: &Schema) -> Result<Resource, Fault> {
    let family = Family::Wmi;
    let (namespace, class) = match (schema.find_namespace(path), path.rsplit_once('/')) {
        (Some(namespace), _) => (namespace, "*"),
        (None, None) => return Err(fault::invalid_resource_uri(format!("'{uri}' names no class"))),
        (None, Some((named, class))) => {
            let unknown = || {
                let all = namespace_names(schema);
                let text = format!("'{uri}': the namespace '{named}' does not exist here; this server has {all}");
                fault_of(CimError::new(CimStatus::INVALID_NAMESPACE, text))
            };
            (schema.find_namespace(named).ok_or_else(unknown)?, class)
        }
    };
    check_agreement(namespace, selected, schema)?;
    let target = if class == "*" { Target::All } else { find_class(uri, namespace, class, schema)? };
    Ok(Resource { family, namespace, target })
}

/// A URI that names a namespace may come with the selector, as long as both mean the same: Windows takes that too, and
/// of two that differ it reports an internal error.
//= RES-18
fn check_agreement(in_uri: NamespaceId, selected: Option<NamespaceId>, schema: &Schema) -> Result<(), Fault> {
    match selected {
        Some(selected) if selected != in_uri => Err(fault::internal_error(format!(
            "the resource URI is in the namespace {}, but {CLASS_SELECTOR} says {}",
            schema.namespace(in_uri).name,
            schema.namespace(selected).name
        ))),
        _ => Ok(()),
    }
}

fn find_class(uri: &str, namespace: NamespaceId, class: &str, schema: &Schema) -> Result<Target, Fault> {
    let unknown = || {
        let text = format!(
            "'{uri}': the namespace {} has no class '{class}'; class names are found whatever their case",
            schema.namespace(namespace).name
        );
        fault_of(CimError::new(CimStatus::INVALID_CLASS, text))
    };
    schema.find_in(namespace, class).map(Target::Class).ok_or_else(unknown)
}

fn strip_prefix_ignore_case<'u>(text: &'u str, prefix: &str) -> Option<&'u str> {
    let head = text.get(..prefix.len())?;
    if head.eq_ignore_ascii_case(prefix) { text.get(prefix.len()..) } else { None }
}
