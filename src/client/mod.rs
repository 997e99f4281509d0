//! A small WS-Management client over the same codec: Identify, Get, Enumerate with its Pulls, Invoke.
//!
//! It knows no classes: instances are read as names and values, so that it works against any server of the protocol.

mod error;
mod http;
mod instance;
mod sink;
mod target;
#[cfg(test)]
mod tests;
mod tls;

pub use crate::wsman::client::ReceivedFault;
pub use error::ClientError;
pub use instance::{Instance, Item, Value};
pub use sink::{SinkAnswer, SinkConnection, SinkTarget};
pub use target::Target;
pub use tls::Trust;

use crate::soap::{EndpointReference, SelectorSet};
use crate::wsman::client::{Reply, RequestHead, encode_identify_request, encode_request};
use crate::wsman::uri;
use crate::xml::text::decode;
use crate::xml::{Document, Element, Limits, Writer, name};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Connection;
use hyper::header::HeaderValue;
use std::time::Duration;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The largest envelope that the client asks for, in octets.
const ENVELOPE_OCTETS_MAX: u32 = 512_000;
/// How many instances a page may hold.
const PAGE_ITEMS_MAX: u32 = 250;

/// A user and a password for Basic.
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The password, wiped from memory when dropped.
    pub password: Zeroizing<String>,
}

/// How to talk to a server.
pub struct Settings {
    /// Basic credentials; none for Identify of the anonymous and for a local socket.
    pub credentials: Option<Credentials>,
    /// Whose certificate is good, for https.
    pub trust: Trust,
    /// How long to wait for one answer; also sent as the OperationTimeout.
    pub timeout: Duration,
    /// Where message ids come from.
    pub ids: fn() -> Uuid,
}

/// What an enumeration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Instances.
    #[default]
    Object,
    /// References.
    Epr,
    /// Both.
    ObjectAndEpr,
}

/// An enumeration: all instances of a resource, or those that a filter takes.
#[derive(Clone, Debug, Default)]
pub struct Enumeration {
    /// The resource URI.
    pub resource_uri: String,
    /// Selectors, where a server wants some (`__cimnamespace`).
    pub selectors: SelectorSet,
    /// A WQL query.
    pub wql: Option<String>,
    /// What to answer with.
    pub mode: Mode,
    /// Items a page; the client's own choice when absent.
    pub page_items_max: Option<u32>,
}

/// One in-parameter of a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// `xsi:nil`.
    Null,
    /// Text; the server gives it the parameter's type.
    Text(String),
    /// A reference, written as bare children.
    Reference(EndpointReference),
}

/// Sees the text of every answer.
type Observer = Box<dyn FnMut(&str) + Send>;

/// A client of one endpoint, over one kept connection.
pub struct Client {
    connection: Connection,
    timeout: Duration,
    ids: fn() -> Uuid,
    observer: Option<Observer>,
}

impl Client {
    /// A client that connects on first use.
    pub fn new(target: Target, settings: &Settings) -> Result<Self, ClientError> {
        let authorization = settings.credentials.as_ref().map(basic).transpose()?;
        let connection = Connection::new(target, authorization, &settings.trust, settings.timeout)?;
        Ok(Self { connection, timeout: settings.timeout, ids: settings.ids, observer: None })
    }

    /// Calls `observer` with the text of every answer, also of faults, before it is read.
    pub fn observe(&mut self, observer: impl FnMut(&str) + Send + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// Asks who the server is (DSP0226, Identify).
    pub async fn identify(&mut self) -> Result<Instance, ClientError> {
        let mut envelope = Vec::with_capacity(512);
        encode_identify_request(&mut envelope);
        self.exchange(envelope, |body| Ok(Instance::parse(body))).await
    }

    /// Gets one instance (WS-Transfer Get).
    pub async fn get(&mut self, resource_uri: &str, selectors: &SelectorSet) -> Result<Instance, ClientError> {
        let envelope = self.request(uri::GET, resource_uri, selectors, |_| ());
        self.exchange(envelope, |body| Ok(Instance::parse(body))).await
    }

    /// Gets the instance that a reference names.
    pub async fn get_reference(&mut self, reference: &EndpointReference) -> Result<Instance, ClientError> {
        let resource_uri = reference.resource_uri.clone().unwrap_or_default();
        self.get(&resource_uri, &reference.selectors).await
    }

    /// Enumerates and pulls to the end, handing each page to `page`.
    pub async fn enumerate(
        &mut self,
        enumeration: &Enumeration,
        mut page: impl FnMut(Vec<Item>),
    ) -> Result<(), ClientError> {
        let items_max = enumeration.page_items_max.unwrap_or(PAGE_ITEMS_MAX).max(1);
        let (resource_uri, selectors) = (&enumeration.resource_uri, &enumeration.selectors);
        let envelope = self.request(uri::ENUMERATE, resource_uri, selectors, |writer| {
            write_enumerate(writer, enumeration, items_max);
        });
        let mut answer = self.exchange(envelope, read_page).await?;
        loop {
            page(answer.items);
            let Some(context) = answer.context.filter(|_| !answer.end) else { return Ok(()) };
            let envelope = self.request(uri::PULL, resource_uri, selectors, |writer| {
                writer.start("n:Pull");
                writer.leaf("n:EnumerationContext", &context);
                writer.leaf("n:MaxElements", &items_max.to_string());
                writer.end("n:Pull");
            });
            answer = self.exchange(envelope, read_page).await?;
            // A server that forgets to repeat the context means the one it gave before.
            if answer.context.is_none() {
                answer.context = Some(context);
            }
        }
    }

    /// Calls a method. The output's `ReturnValue` is the caller's to judge.
    pub async fn invoke(
        &mut self,
        resource_uri: &str,
        selectors: &SelectorSet,
        method: &str,
        arguments: &[(String, Argument)],
    ) -> Result<Instance, ClientError> {
        let action = format!("{resource_uri}/{method}");
        let envelope = self.request(&action, resource_uri, selectors, |writer| {
            write_input(writer, resource_uri, method, arguments);
        });
        self.exchange(envelope, |body| Ok(Instance::parse(body))).await
    }

    fn request(
        &self,
        action: &str,
        resource_uri: &str,
        selectors: &SelectorSet,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        let mut envelope = Vec::with_capacity(2048);
        let to = self.connection.target().address();
        let head = RequestHead {
            action,
            to: &to,
            resource_uri,
            selectors,
            message_id: (self.ids)(),
            timeout: Some(self.timeout),
            max_envelope: ENVELOPE_OCTETS_MAX,
        };
        encode_request(&mut envelope, &head, body);
        envelope
    }

    async fn exchange<T>(
        &mut self,
        envelope: Vec<u8>,
        read: impl FnOnce(Element<'_>) -> Result<T, String>,
    ) -> Result<T, ClientError> {
        let answer = self.connection.post(envelope).await?;
        let (text, _) = decode(&answer.octets, answer.charset.as_deref())
            .map_err(|error| ClientError::Answer(error.to_string()))?;
        if let Some(observer) = &mut self.observer {
            observer(&text);
        }
        let limits = Limits { octets_max: text.len(), elements_max: 1 << 20, ..Limits::default() };
        let document = Document::parse(&text, &limits).map_err(|error| ClientError::Answer(error.to_string()))?;
        match Reply::parse(&document) {
            Ok(Reply { payload: Some(payload), .. }) => read(payload).map_err(ClientError::Answer),
            Ok(Reply { payload: None, .. }) => Err(ClientError::Answer("its body is empty".to_owned())),
            Err(other) if other.code.is_empty() => Err(ClientError::Answer(other.text)),
            Err(fault) => Err(ClientError::Fault(Box::new(fault))),
        }
    }
}

/// One page of an enumeration.
struct Page {
    items: Vec<Item>,
    context: Option<String>,
    end: bool,
}

/// Reads an EnumerateResponse or a PullResponse; an optimized one brings its items in WS-Man's namespace.
fn read_page(body: Element<'_>) -> Result<Page, String> {
    let anywhere = |local: &str| body.children().find(|child| child.local() == local);
    let items = anywhere("Items").map_or_else(|| Ok(Vec::new()), Item::parse_all)?;
    let context = anywhere("EnumerationContext")
        .map(|context| context.text().trim().to_owned())
        .filter(|context| !context.is_empty());
    Ok(Page { items, context, end: anywhere("EndOfSequence").is_some() })
}

fn write_enumerate(writer: &mut Writer<'_>, enumeration: &Enumeration, items_max: u32) {
    writer.start("n:Enumerate");
    writer.empty("w:OptimizeEnumeration");
    writer.leaf("w:MaxElements", &items_max.to_string());
    if let Some(wql) = &enumeration.wql {
        writer.open("w:Filter");
        writer.attribute("Dialect", uri::DIALECT_WQL);
        writer.close();
        writer.text(wql);
        writer.end("w:Filter");
    }
    match enumeration.mode {
        Mode::Object => {}
        Mode::Epr => writer.leaf("w:EnumerationMode", "EnumerateEPR"),
        Mode::ObjectAndEpr => writer.leaf("w:EnumerationMode", "EnumerateObjectAndEPR"),
    }
    writer.end("n:Enumerate");
}

fn write_input(writer: &mut Writer<'_>, class_uri: &str, method: &str, arguments: &[(String, Argument)]) {
    let element = format!("p:{method}_INPUT");
    writer.open(&element);
    writer.attribute("xmlns:p", class_uri);
    writer.close();
    for (parameter, argument) in arguments {
        let element = format!("p:{parameter}");
        match argument {
            Argument::Null => {
                writer.open(&element);
                writer.attribute("xmlns:xsi", name::XSI);
                writer.attribute("xsi:nil", "true");
                writer.close();
                writer.end(&element);
            }
            Argument::Text(text) => writer.leaf(&element, text),
            Argument::Reference(reference) => {
                writer.start(&element);
                reference.write(writer);
                writer.end(&element);
            }
        }
    }
    writer.end(&element);
}

/// The Authorization header of Basic (RFC 7617, in UTF-8).
fn basic(credentials: &Credentials) -> Result<HeaderValue, ClientError> {
    if credentials.user.contains(':') {
        return Err(ClientError::Unauthorized("a user's name may not hold a colon".to_owned()));
    }
    let pair = Zeroizing::new(format!("{}:{}", credentials.user, credentials.password.as_str()));
    let encoded = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&encoded).map_err(|error| ClientError::Unauthorized(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}
