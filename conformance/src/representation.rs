//! The suite's own decoder of CIM instances in XML (DSP0230): from an instance's element to the values that it says,
//! with datetimes in the form of DSP0004, so that they can be held against what was written without the writer's help.

use super::xml::Document;

const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
const COMMON: &str = "http://schemas.dmtf.org/wbem/wscim/1/common";
const WSA: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
const WSMAN: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";

/// An instance as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    /// The namespace of its element: the class's resource URI.
    pub class_uri: String,
    /// The element's local name: the class.
    pub class: String,
    /// The class in `xsi:type`, without `_Type`.
    pub said_type: Option<String>,
    /// Each property with its items in order: one of a scalar, any number of an array.
    pub properties: Vec<(String, Vec<Item>)>,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// `xsi:nil`.
    Nil,
    /// Text, as it stands there.
    Text(String),
    /// A datetime, in the 25 characters of DSP0004.
    Datetime(String),
    /// A reference.
    Reference(Reference),
    /// An instance of the class that `xsi:type` names.
    Embedded(Box<Instance>),
}

/// An endpoint reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The resource URI.
    pub uri: String,
    /// Its selectors.
    pub selectors: Vec<(String, Item)>,
}

/// Reads the instance at an element. The error says what is not as DSP0230 has it.
pub(crate) fn decode(document: &Document, index: usize) -> Result<Instance, String> {
    let node = document.nodes.get(index).ok_or("there is no such element")?;
    let said = node.attributes.iter().find(|(name, _)| name.namespace == XSI && name.local == "type");
    let said_type = said.map(|(_, qname)| {
        let (namespace, class) = typed(document, index, qname)?;
        if namespace != node.name.namespace {
            return Err(format!("the type {qname:?} is in another namespace than the element"));
        }
        Ok(class)
    });
    Ok(Instance {
        class_uri: node.name.namespace.clone(),
        class: node.name.local.clone(),
        said_type: said_type.transpose()?,
        properties: properties(document, index, &node.name.namespace)?,
    })
}

/// The namespace and the class that the value of an `xsi:type` names.
fn typed(document: &Document, index: usize, qname: &str) -> Result<(String, String), String> {
    let name = document.resolve(index, qname).ok_or_else(|| format!("the type {qname:?} is not declared"))?;
    let class = name.local.strip_suffix("_Type").ok_or_else(|| format!("the type {qname:?} lacks _Type"))?;
    Ok((name.namespace, class.to_owned()))
}

/// The properties inside of an element, which are in the namespace of their class.
fn properties(document: &Document, index: usize, namespace: &str) -> Result<Vec<(String, Vec<Item>)>, String> {
    let mut properties: Vec<(String, Vec<Item>)> = Vec::new();
    for child in document.elements(index) {
        let Some(property) = document.nodes.get(child) else { continue };
        let name = &property.name.local;
        if property.name.namespace != namespace {
            return Err(format!("the property {name} is in another namespace than its class"));
        }
        let value = item(document, child).map_err(|error| format!("{name}: {error}"))?;
        if properties.iter().rev().skip(1).any(|(known, _)| known == name) {
            return Err(format!("the items of {name} are not side by side"));
        }
        match properties.last_mut() {
            Some((last, items)) if last == name => items.push(value),
            _ => properties.push((name.clone(), vec![value])),
        }
    }
    Ok(properties)
}

fn item(document: &Document, index: usize) -> Result<Item, String> {
    let node = document.nodes.get(index).ok_or("there is no such element")?;
    let nil = node.attributes.iter().find(|(name, _)| name.namespace == XSI && name.local == "nil");
    let inner = document.elements(index).next();
    match nil.map(|(_, value)| value.as_str()) {
        Some("true" | "1") if inner.is_none() && document.text(index).is_empty() => return Ok(Item::Nil),
        Some("true" | "1") => return Err("nil, and not empty".to_owned()),
        _ => {}
    }
    let Some(first) = inner else { return Ok(Item::Text(document.text(index))) };
    let name = document.nodes.get(first).map(|node| (node.name.namespace.as_str(), node.name.local.as_str()));
    match name {
        Some((COMMON, kind)) => datetime(kind, document.text(first).trim()).map(Item::Datetime),
        Some((WSA, _)) => reference(document, index).map(Item::Reference),
        _ => embedded(document, index).map(|instance| Item::Embedded(Box::new(instance))),
    }
}

/// An embedded instance: the property's element has its type and holds its properties.
fn embedded(document: &Document, index: usize) -> Result<Instance, String> {
    let node = document.nodes.get(index).ok_or("there is no such element")?;
    let said = node.attributes.iter().find(|(name, _)| name.namespace == XSI && name.local == "type");
    let (_, qname) = said.ok_or("neither text, a datetime, a reference nor an instance with its type")?;
    let (class_uri, class) = typed(document, index, qname)?;
    let properties = properties(document, index, &class_uri)?;
    Ok(Instance { class_uri, said_type: Some(class.clone()), class, properties })
}

/// The content of an endpoint reference, whose parts stand directly in the element at `index`.
fn reference(document: &Document, index: usize) -> Result<Reference, String> {
    document.child(index, WSA, "Address").ok_or("a reference without an address")?;
    let parameters = document.child(index, WSA, "ReferenceParameters").ok_or("a reference without parameters")?;
    let uri = document.child(parameters, WSMAN, "ResourceURI").ok_or("a reference without a resource URI")?;
    let mut selectors = Vec::new();
    for selector in document.child(parameters, WSMAN, "SelectorSet").into_iter().flat_map(|set| document.elements(set))
    {
        let node = document.nodes.get(selector).ok_or("there is no such element")?;
        let name = node.attributes.iter().find(|(name, _)| name.namespace.is_empty() && name.local == "Name");
        let name = name.ok_or("a selector without a name")?.1.clone();
        let value = match document.child(selector, WSA, "EndpointReference") {
            Some(inner) => Item::Reference(reference(document, inner)?),
            None => Item::Text(document.text(selector)),
        };
        selectors.push((name, value));
    }
    Ok(Reference { uri: document.text(uri).trim().to_owned(), selectors })
}

fn datetime(kind: &str, text: &str) -> Result<String, String> {
    let read = match kind {
        "Datetime" => timestamp(text),
        "Interval" => interval(text),
        "CIM_DateTime" => Some(text.to_owned()).filter(|text| text.len() == 25),
        _ => None,
    };
    read.ok_or_else(|| format!("cim:{kind} holds {text:?}"))
}

/// `2026-01-02T03:04:05.000006+01:00` as `20260102030405.000006+060`.
fn timestamp(text: &str) -> Option<String> {
    let (date, rest) = text.split_once('T')?;
    let zone_at = rest.find(['Z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let date: Vec<&str> = date.split('-').collect();
    let clock: Vec<&str> = seconds.split(':').collect();
    let ([year, month, day], [hour, minute, second]) = (date.as_slice(), clock.as_slice()) else { return None };
    let minutes = match zone.split_at_checked(1)? {
        ("Z", "") => "+000".to_owned(),
        (sign @ ("+" | "-"), offset) => {
            let (hours, minutes) = offset.split_once(':')?;
            let minutes = hours.parse::<u32>().ok()? * 60 + minutes.parse::<u32>().ok()?;
            format!("{sign}{minutes:03}")
        }
        _ => return None,
    };
    let parts = [(*year, 4), (*month, 2), (*day, 2), (*hour, 2), (*minute, 2), (*second, 2)];
    let digits = |(part, length): &(&str, usize)| part.len() == *length && part.bytes().all(|o| o.is_ascii_digit());
    if !parts.iter().all(digits) {
        return None;
    }
    let digits: String = parts.iter().map(|(part, _)| *part).collect();
    Some(format!("{digits}.{}{minutes}", micros(fraction)?))
}

/// `P3DT4H5M6.000007S` as `00000003040506.000007:000`.
fn interval(text: &str) -> Option<String> {
    let rest = text.strip_prefix('P')?;
    let (days, clock) = rest.split_once('T').unwrap_or((rest, ""));
    let days: u64 = if days.is_empty() { 0 } else { days.strip_suffix('D')?.parse().ok()? };
    let mut clock = clock;
    let mut take = |unit: char| -> Option<&str> {
        let Some((value, rest)) = clock.split_once(unit) else { return Some("0") };
        clock = rest;
        Some(value)
    };
    let (hours, minutes, seconds) = (take('H')?, take('M')?, take('S')?);
    if !clock.is_empty() {
        return None;
    }
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let (hours, minutes, seconds): (u64, u64, u64) =
        (hours.parse().ok()?, minutes.parse().ok()?, seconds.parse().ok()?);
    let all = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
    let (minutes, seconds) = (all / 60, all % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    Some(format!("{:08}{:02}{minutes:02}{seconds:02}.{}:000", hours / 24, hours % 24, micros(fraction)?))
}

/// Six digits of a fraction that has at most six.
fn micros(fraction: &str) -> Option<String> {
    (fraction.len() <= 6 && fraction.bytes().all(|octet| octet.is_ascii_digit())).then(|| format!("{fraction:0<6}"))
}
