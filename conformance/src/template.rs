//! The named requests: action, address and body of each before a step edits them.

use std::collections::BTreeMap;

use crate::envelope::{Surroundings, fill};
use crate::fixture::Address;
use crate::instance;
use crate::model::Step;
use crate::path::{Variables, display, text};
use crate::xml::{Document, escape};

const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer";
const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";
const EVENTING: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing";
const ADDRESSING: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
/// Pull delivery.
const PULL_MODE: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull";

/// All templates that a step may name.
pub(crate) const TEMPLATES: &[&str] = &[
    "none",
    "wait",
    "identify",
    "get",
    "put",
    "create",
    "delete",
    "enumerate",
    "pull",
    "release",
    "enum-renew",
    "enum-getstatus",
    "invoke",
    "subscribe",
    "renew",
    "getstatus",
    "unsubscribe",
];

/// A subscription manager's EPR, as the answer to a Subscribe gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manager {
    /// Its address.
    pub address: String,
    /// Its reference parameters as header blocks: name with a fixed prefix, and markup that stands alone.
    pub parameters: Vec<(String, String)>,
}

/// The managers of a case, by the names that its steps give them.
pub(crate) type Managers = BTreeMap<String, Manager>;

impl Manager {
    /// Reads the EPR out of a SubscribeResponse.
    pub(crate) fn read(document: &Document) -> Option<Self> {
        let is = |index: usize, namespace: &str, local: &str| {
            document.nodes.get(index).is_some_and(|node| node.name.namespace == namespace && node.name.local == local)
        };
        let manager = (0..document.nodes.len()).find(|index| is(*index, EVENTING, "SubscriptionManager"))?;
        let address = text(document, &Variables::new(), "normalize-space(//e:SubscriptionManager/a:Address)").ok()?;
        let kinds = ["ReferenceProperties", "ReferenceParameters"];
        let groups = kinds.iter().filter_map(|kind| document.child(manager, ADDRESSING, kind));
        let blocks = groups.flat_map(|group| document.elements(group).collect::<Vec<_>>());
        let parameters = blocks
            .filter_map(|block| Some((display(&document.nodes.get(block)?.name), document.standalone(block))))
            .collect();
        Some(Self { address, parameters })
    }
}

/// A template before the step's edits.
pub(crate) struct Template {
    /// The action.
    pub action: String,
    /// The address: URI and selectors; none for eventing's manager.
    pub address: Option<Address>,
    /// The manager that is addressed instead.
    pub manager: Option<Manager>,
    /// The body's content.
    pub body: String,
}

/// The template that a step names.
pub(crate) fn template(step: &Step, around: &Surroundings<'_>) -> Result<Template, String> {
    let made = |action: String, address: Address, body: String| {
        Ok(Template { action, address: Some(address), manager: None, body })
    };
    let whole = || around.fixtures.address(&step.of);
    let scoped = || whole().map(|address| address.class_scope());
    let with_context = |operation: &str| match step.body {
        Some(_) => Ok(String::new()),
        None => fill(
            &format!("<n:{operation}><n:EnumerationContext>${{context}}</n:EnumerationContext></n:{operation}>"),
            around.variables,
            true,
        ),
    };
    let of_enumeration = |operation: &str| -> Result<Template, String> {
        if !step.manager.is_empty() {
            // The events of a subscription are pulled from its manager.
            return of_manager(ENUMERATION, operation, &with_context(operation)?, step, around);
        }
        made(format!("{ENUMERATION}/{operation}"), scoped()?, with_context(operation)?)
    };
    match step.template.as_str() {
        "get" => made(format!("{TRANSFER}/Get"), whole()?, String::new()),
        "delete" => made(format!("{TRANSFER}/Delete"), whole()?, String::new()),
        "put" => made(format!("{TRANSFER}/Put"), whole()?, changed_instance(step, around)?),
        "create" => made(format!("{TRANSFER}/Create"), scoped()?, changed_instance(step, around)?),
        "enumerate" => {
            let body = "<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>20</w:MaxElements></n:Enumerate>";
            made(format!("{ENUMERATION}/Enumerate"), scoped()?, body.to_owned())
        }
        "pull" => of_enumeration("Pull"),
        "release" => of_enumeration("Release"),
        "enum-renew" => of_enumeration("Renew"),
        "enum-getstatus" => of_enumeration("GetStatus"),
        "invoke" => {
            let address = whole()?;
            let method = step.invoke.as_deref().unwrap_or("ConformanceNoSuchMethod");
            let (uri, action) = (escape(&address.uri), format!("{}/{method}", address.uri));
            made(action, address, format!("<q:{method}_INPUT xmlns:q=\"{uri}\"/>"))
        }
        "subscribe" => {
            let filter = around.variables.get("events.filter").map_or("", String::as_str);
            let body = format!("<e:Subscribe><e:Delivery Mode=\"{PULL_MODE}\"/>{filter}</e:Subscribe>");
            let address = if step.of.is_empty() { around.fixtures.address("events") } else { scoped() };
            made(format!("{EVENTING}/Subscribe"), address?, body)
        }
        "renew" => of_manager(EVENTING, "Renew", "<e:Renew><e:Expires>PT10M</e:Expires></e:Renew>", step, around),
        "getstatus" => of_manager(EVENTING, "GetStatus", "<e:GetStatus/>", step, around),
        "unsubscribe" => of_manager(EVENTING, "Unsubscribe", "<e:Unsubscribe/>", step, around),
        other => Err(format!("the template {other:?} has no header")),
    }
}

/// The name under which a step keeps or looks for a manager.
pub(crate) fn manager_name(step: &Step) -> &str {
    if step.manager.is_empty() { "manager" } else { &step.manager }
}

/// Whether a step speaks to the manager of a subscription.
pub(crate) fn is_to_manager(step: &Step) -> bool {
    matches!(step.template.as_str(), "renew" | "getstatus" | "unsubscribe")
        || !step.manager.is_empty() && matches!(step.template.as_str(), "pull" | "release")
}

fn of_manager(
    specification: &str,
    operation: &str,
    body: &str,
    step: &Step,
    around: &Surroundings<'_>,
) -> Result<Template, String> {
    let name = manager_name(step);
    let manager = around.managers.get(name).ok_or_else(|| format!("no step kept a subscription as {name:?}"))?.clone();
    let action = format!("{specification}/{operation}");
    Ok(Template { action, address: None, manager: Some(manager), body: body.to_owned() })
}

/// The instance that was got last, with the step's changes.
fn changed_instance(step: &Step, around: &Surroundings<'_>) -> Result<String, String> {
    if step.body.is_some() {
        return Ok(String::new());
    }
    let instance = around.variables.get("instance").ok_or("no step has got an instance before")?;
    let mut properties = Vec::new();
    for (name, value) in &step.properties {
        properties.push((fill(name, around.variables, false)?, fill(value, around.variables, false)?));
    }
    let set: Vec<(&str, String)> = properties.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let dropped: Result<Vec<String>, String> =
        step.drop_properties.iter().map(|name| fill(name, around.variables, false)).collect();
    instance::change(instance, &set, &dropped?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_managers_parameters_stand_alone() {
        let answer = Document::parse(
            "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' xmlns:q='urn:q' \
             xmlns:w='http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd' \
             xmlns:a='http://schemas.xmlsoap.org/ws/2004/08/addressing' \
             xmlns:e='http://schemas.xmlsoap.org/ws/2004/08/eventing'><s:Body><e:SubscribeResponse>\
             <e:SubscriptionManager><a:Address>http://h/m</a:Address><a:ReferenceParameters>\
             <w:ResourceURI>urn:r</w:ResourceURI><e:Identifier q:x='1'>7</e:Identifier>\
             </a:ReferenceParameters></e:SubscriptionManager></e:SubscribeResponse></s:Body></s:Envelope>",
        )
        .unwrap();
        let manager = Manager::read(&answer).unwrap();
        assert_eq!(manager.address, "http://h/m");
        let names: Vec<&str> = manager.parameters.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["w:ResourceURI", "e:Identifier"]);
        let block = Document::parse(&manager.parameters[1].1).unwrap();
        assert_eq!((block.text(0).as_str(), block.nodes[0].attributes[0].0.namespace.as_str()), ("7", "urn:q"));
    }
}
