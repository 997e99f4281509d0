//! Endpoint references of WS-Addressing 2004/08, and the two sets that WS-Management puts into them and into headers.

use super::envelope::{clipped, trimmed};
use crate::xml::{Element, Writer, name};
use std::fmt;

/// The address that means: answer on this connection.
pub const ANONYMOUS: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous";

/// Selectors of one set.
const SELECTORS_MAX: usize = 64;
/// Options of one set.
const OPTIONS_MAX: usize = 128;
/// Characters of a name of a selector or an option (DSP0226 R13.1, the least that a service must take). //= ENV-21
const NAME_CHARACTERS_MAX: usize = 2_048;
/// Endpoint references inside each other, through selectors.
const NESTING_MAX: u8 = 4;

/// Whether an address is the anonymous one. MS-WSMV prints it once with a slash at the end.
pub fn is_anonymous(address: &str) -> bool {
    address.strip_suffix('/').unwrap_or(address) == ANONYMOUS
}

/// A reference to a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointReference {
    /// Address of the service; the anonymous one when the sender left it out.
    pub address: String,
    /// ResourceURI among the reference parameters.
    pub resource_uri: Option<String>,
    /// Selectors among the reference parameters.
    pub selectors: SelectorSet,
}

/// Selectors in the order received or to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectorSet(pub Vec<Selector>);

/// One selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Name as written; names compare without regard to case.
    pub name: String,
    /// Value.
    pub value: SelectorValue,
}

/// The value of a selector: a simple value or a reference (for keys that are references). //= RES-11
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorValue {
    /// Text without white space around it.
    Text(String),
    /// A nested endpoint reference.
    Reference(Box<EndpointReference>),
}

/// Options of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionSet(pub Vec<WsOption>);

/// One option. The same name may come more than once. //= CTL-22
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WsOption {
    /// Name, with the prefix that some clients give it (`wmi:`, `wmiarray:`, `msftwinrm:`).
    pub name: String,
    /// Value; `None` when it is nil.
    pub value: Option<String>,
    /// `MustComply`.
    pub must_comply: bool,
    /// `Type`, a qualified name whose prefix is often not declared and never resolved.
    pub type_name: Option<String>,
}

/// Why a set of selectors or options is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorError {
    /// Two selectors of the same name.
    Duplicate(String),
    /// More than the bound.
    TooMany(usize),
    /// A name beyond the bound; what it is the name of.
    TooLong(String),
    /// Anything else; says what.
    Malformed(String),
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate(name) => write!(f, "the selector {:?} is given twice", clipped(name)),
            Self::TooMany(max) => write!(f, "there are more than {max} of them in one set"),
            Self::TooLong(what) => write!(f, "the Name of a {what} is longer than {NAME_CHARACTERS_MAX} characters"),
            Self::Malformed(what) => f.write_str(what),
        }
    }
}

impl SelectorSet {
    /// Read a `w:SelectorSet`.
    pub fn parse(set: Element<'_>) -> Result<Self, SelectorError> {
        Self::parse_nested(set, 0)
    }

    fn parse_nested(set: Element<'_>, depth: u8) -> Result<Self, SelectorError> {
        let mut selectors: Vec<Selector> = Vec::new();
        for element in set.children().filter(|child| child.is(name::WSMAN, "Selector")) {
            if selectors.len() >= SELECTORS_MAX {
                return Err(SelectorError::TooMany(SELECTORS_MAX));
            }
            let name = attribute_name(element)?;
            if selectors.iter().any(|other| other.name.eq_ignore_ascii_case(&name)) {
                return Err(SelectorError::Duplicate(name));
            }
            let mut children = element.children();
            let value = match (children.next(), children.next()) {
                (None, _) => SelectorValue::Text(trimmed(element).into_owned()),
                (Some(only), None) if only.is(name::ADDRESSING, "EndpointReference") => {
                    let nested = EndpointReference::parse_nested(only, depth + 1)?;
                    SelectorValue::Reference(Box::new(nested))
                }
                _ => {
                    let what =
                        format!("the selector {:?} holds neither text nor one endpoint reference", clipped(&name));
                    return Err(SelectorError::Malformed(what));
                }
            };
            selectors.push(Selector { name, value });
        }
        Ok(Self(selectors))
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a selector, found without regard to case.
    pub fn get(&self, name: &str) -> Option<&SelectorValue> {
        self.0.iter().find(|selector| selector.name.eq_ignore_ascii_case(name)).map(|selector| &selector.value)
    }

    /// The same set with one more selector that has text.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push(Selector { name: name.into(), value: SelectorValue::Text(value.into()) });
        self
    }

    /// Write the set, declaring `w` on it: clients cut references out of answers. //= RES-20
    pub fn write(&self, w: &mut Writer<'_>) {
        w.open("w:SelectorSet");
        w.attribute("xmlns:w", name::WSMAN);
        w.close();
        for selector in &self.0 {
            w.open("w:Selector");
            w.attribute("Name", &selector.name);
            w.close();
            match &selector.value {
                SelectorValue::Text(text) => w.text(text),
                SelectorValue::Reference(reference) => reference.write_element(w),
            }
            w.end("w:Selector");
        }
        w.end("w:SelectorSet");
    }
}

fn attribute_name(element: Element<'_>) -> Result<String, SelectorError> {
    let name = element.attribute("", "Name").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        return Err(SelectorError::Malformed(format!("a {} has no Name", element.local())));
    }
    if name.chars().count() > NAME_CHARACTERS_MAX {
        return Err(SelectorError::TooLong(element.local().to_owned()));
    }
    Ok(name.to_owned())
}

impl OptionSet {
    /// Read a `w:OptionSet`.
    pub fn parse(set: Element<'_>) -> Result<Self, SelectorError> {
        let mut options = Vec::new();
        for element in set.children().filter(|child| child.is(name::WSMAN, "Option")) {
            if options.len() >= OPTIONS_MAX {
                return Err(SelectorError::TooMany(OPTIONS_MAX));
            }
            let must_comply = element.attribute("", "MustComply");
            let must_comply = match must_comply.as_deref().map(str::trim) {
                None | Some("") => false,
                Some(text) if text == "1" || text.eq_ignore_ascii_case("true") => true,
                Some(text) if text == "0" || text.eq_ignore_ascii_case("false") => false,
                Some(text) => {
                    let what = format!("MustComply of an Option is {:?}, neither true nor false", clipped(text));
                    return Err(SelectorError::Malformed(what));
                }
            };
            options.push(WsOption {
                name: attribute_name(element)?,
                value: (!element.is_nil()).then(|| trimmed(element).into_owned()),
                must_comply,
                type_name: element.attribute("", "Type").map(std::borrow::Cow::into_owned),
            });
        }
        Ok(Self(options))
    }

    /// The first option of this name, without regard to case.
    pub fn get(&self, name: &str) -> Option<&WsOption> {
        self.0.iter().find(|option| option.name.eq_ignore_ascii_case(name))
    }
}

impl EndpointReference {
    /// A reference to a resource behind the anonymous address.
    pub fn anonymous(resource_uri: impl Into<String>, selectors: SelectorSet) -> Self {
        Self { address: ANONYMOUS.to_owned(), resource_uri: Some(resource_uri.into()), selectors }
    }

    /// Read a reference. The element is one that holds the reference's children (an `a:EndpointReference`, or a
    /// parameter with the bare children), or one that holds an `a:EndpointReference`. The text of the error says what
    /// is wrong.
    pub fn parse(parent: Element<'_>) -> Result<Self, String> {
        Self::parse_nested(parent, 0).map_err(|error| error.to_string())
    }

    fn parse_nested(parent: Element<'_>, depth: u8) -> Result<Self, SelectorError> {
        if depth > NESTING_MAX {
            return Err(malformed("endpoint references are nested too deeply"));
        }
        let children = match parent.child(name::ADDRESSING, "EndpointReference") {
            Some(wrapped) => wrapped,
            None => parent,
        };
        let mut address = None;
        let mut resource_uri = None;
        let mut selectors = None;
        let mut found = false;
        for child in children.children().filter(|child| child.namespace() == name::ADDRESSING) {
            match child.local() {
                "Address" => once(&mut address, trimmed(child).into_owned(), "wsa:Address")?,
                "ReferenceParameters" | "ReferenceProperties" => {
                    for parameter in child.children() {
                        if parameter.is(name::WSMAN, "ResourceURI") {
                            once(&mut resource_uri, trimmed(parameter).into_owned(), "wsman:ResourceURI")?;
                        } else if parameter.is(name::WSMAN, "SelectorSet") {
                            let set = SelectorSet::parse_nested(parameter, depth)?;
                            once(&mut selectors, set, "wsman:SelectorSet")?;
                        }
                    }
                }
                _ => continue,
            }
            found = true;
        }
        if !found {
            return Err(malformed("an endpoint reference needs wsa:Address or wsa:ReferenceParameters"));
        }
        Ok(Self {
            address: address.unwrap_or_else(|| ANONYMOUS.to_owned()),
            resource_uri,
            selectors: selectors.unwrap_or_default(),
        })
    }

    /// Write the bare children, each with the namespaces that it needs declared on itself, so that a client can cut
    /// them out of an answer and put them into its next request.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.open("a:Address");
        w.attribute("xmlns:a", name::ADDRESSING);
        w.close();
        w.text(&self.address);
        w.end("a:Address");
        w.open("a:ReferenceParameters");
        w.attribute("xmlns:a", name::ADDRESSING);
        w.close();
        if let Some(uri) = &self.resource_uri {
            w.open("w:ResourceURI");
            w.attribute("xmlns:w", name::WSMAN);
            w.close();
            w.text(uri);
            w.end("w:ResourceURI");
        }
        if !self.selectors.is_empty() {
            self.selectors.write(w);
        }
        w.end("a:ReferenceParameters");
    }

    /// Write the reference as an `a:EndpointReference`.
    pub fn write_element(&self, w: &mut Writer<'_>) {
        w.open("a:EndpointReference");
        w.attribute("xmlns:a", name::ADDRESSING);
        w.close();
        self.write(w);
        w.end("a:EndpointReference");
    }
}

fn malformed(what: &str) -> SelectorError {
    SelectorError::Malformed(what.to_owned())
}

fn once<T>(slot: &mut Option<T>, value: T, what: &str) -> Result<(), SelectorError> {
    if slot.replace(value).is_some() {
        return Err(SelectorError::Malformed(format!("{what} is given twice in an endpoint reference")));
    }
    Ok(())
}
