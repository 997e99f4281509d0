//! The quirks' server: reads a request, checks its header as the rules want it, and carries it out on canned resources.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::{Fault, Reply, fault, identify, success};
use super::canned::{DMTF, INSTANCES, Instance, METHODS, NAMESPACE, WINDOWS, query};
use super::header::{Asked, Read, value};
use super::table::Quirks;
use crate::envelope::ANONYMOUS;
use crate::path::display;
use crate::serve::{Incoming, Reaction};
use crate::session::Identifiers;
use crate::xml::{Document, escape};

const WSMAN: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";
const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";
const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer";
const EVENTING: &str = "http://schemas.xmlsoap.org/ws/2004/08/eventing";
/// Longer requests are refused.
const REQUEST_OCTETS_MAX: usize = 1 << 20;
/// Contexts kept; the oldest give way.
const CONTEXTS_MAX: usize = 256;

/// What a request leaves behind.
#[derive(Default)]
struct State {
    /// Enumerations: what is still to come, as markup.
    contexts: BTreeMap<String, Vec<String>>,
    /// How many contexts there have been.
    given: u64,
    /// Subscriptions, by their identifiers; their contexts are the same.
    subscriptions: BTreeMap<String, String>,
}

/// A server with its quirks.
pub(crate) struct Server {
    pub(super) quirks: Quirks,
    login: Option<(String, String)>,
    state: Mutex<State>,
    identifiers: Mutex<Identifiers>,
}

type Outcome = Result<(String, String), Box<Fault>>;

impl Server {
    /// A server; with a login it wants Basic authentication.
    pub(crate) fn new(quirks: Quirks, login: Option<(String, String)>) -> Self {
        let (state, identifiers) = (Mutex::default(), Mutex::new(Identifiers::new(1)));
        Self { quirks, login, state, identifiers }
    }

    /// Answers one request.
    pub(crate) fn handle(&self, request: &Incoming) -> Reaction {
        let plain =
            |status: u16, headers: Vec<(String, String)>| Reaction::Answer { status, headers, body: Vec::new() };
        if request.method != "POST" {
            return plain(405, vec![("Allow".to_owned(), "POST".to_owned())]);
        }
        if request.body.len() > REQUEST_OCTETS_MAX {
            return if self.quirks.has("oversize-closed") { Reaction::Close } else { plain(413, Vec::new()) };
        }
        if let Some((user, password)) = &self.login {
            let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            if request.header("authorization") != Some(expected.as_str()) {
                let scheme = ("WWW-Authenticate".to_owned(), "Basic realm=\"quirks\"".to_owned());
                let is_silent = self.quirks.has("unauthorized-without-scheme");
                return plain(401, if is_silent { Vec::new() } else { vec![scheme] });
            }
        }
        let content_type = request.header("content-type").unwrap_or("").to_lowercase();
        let is_missing = content_type.is_empty() && !self.quirks.has("content-type-required");
        if !is_missing && !content_type.starts_with("application/soap+xml") {
            return plain(415, Vec::new());
        }
        let mut reply = Reply { message_id: self.message_id(), ..Reply::default() };
        let read = crate::text::decode(&request.body, &content_type);
        let read = read.and_then(|(text, encoding)| Document::parse(&text).map(|document| (document, text, encoding)));
        let (document, source, encoding) = match read {
            Ok(read) => read,
            Err(_) if self.quirks.has("empty-500") => return plain(500, Vec::new()),
            Err(told) => {
                return fault(
                    &Fault::sender("w:SchemaValidationError", "", 2_150_858_817, &told),
                    &reply,
                    &self.quirks,
                );
            }
        };
        reply.encoding = encoding;
        let is_default = source.contains("<Envelope") && self.quirks.has("prefix-assumed");
        let is_soap =
            display(&document.nodes.first().map(|node| node.name.clone()).unwrap_or_default()) == "s:Envelope";
        if !is_soap || is_default {
            let version = Fault { code: "s:VersionMismatch", ..Fault::sender("", "", 2_150_858_818, "no SOAP 1.2") };
            return fault(&version, &reply, &self.quirks);
        }
        match self.read(document, reply.clone()) {
            Err(refusal) => {
                let (refusal, reply) = *refusal;
                fault(&refusal, &reply, &self.quirks)
            }
            Ok(Read::Identify(namespace)) => identify(namespace, &reply, &self.quirks),
            Ok(Read::Asked(asked)) => match self.carry_out(&asked) {
                Ok((action, body)) => success(&action, &body, &asked.reply, &self.quirks),
                Err(refusal) => fault(&refusal, &asked.reply, &self.quirks),
            },
        }
    }

    fn message_id(&self) -> String {
        if self.quirks.has("message-ids-repeat") {
            return "uuid:00000000-0000-4000-8000-000000000000".to_owned();
        }
        let mut identifiers = self.identifiers.lock().unwrap_or_else(PoisonError::into_inner);
        format!("uuid:{}", identifiers.uuid())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(&self, asked: &Asked) -> Outcome {
        let answered = |body: String| Ok((format!("{}Response", asked.action), body));
        let (family, local) = asked.action.rsplit_once('/').unwrap_or(("", &asked.action));
        match (family, local) {
            (TRANSFER, "Get") => self.get(asked).and_then(answered),
            (ENUMERATION, "Enumerate") => self.enumerate(asked).and_then(answered),
            (ENUMERATION, "Pull") => self.pull(asked).and_then(answered),
            (ENUMERATION, "Release") => self.release(asked).and_then(answered),
            (EVENTING, "Subscribe") => self.subscribe(asked).and_then(answered),
            (EVENTING, "Renew" | "GetStatus" | "Unsubscribe") => {
                let body = self.manage(asked, local)?;
                let misspelt = local == "GetStatus" && self.quirks.has("misspelt-actions");
                let action = if misspelt { format!("{EVENTING}/GetStaus") } else { asked.action.clone() };
                Ok((format!("{action}Response"), body))
            }
            _ => self.invoke(asked, local).and_then(answered),
        }
    }

    /// The class and the family of URIs that a request means.
    fn class<'a>(&self, asked: &'a Asked) -> Result<(&'static str, &'a str), Box<Fault>> {
        let unknown = || {
            let told = format!("nothing is at {}", asked.uri);
            Box::new(Fault::sender("a:DestinationUnreachable", "InvalidResourceURI", 2_150_858_811, &told))
        };
        let families = [WINDOWS, DMTF];
        let strip = |family: &'static str| asked.uri.strip_prefix(family).map(|class| (family, class));
        let (family, class) = families.into_iter().find_map(strip).ok_or_else(unknown)?;
        let named = asked.selectors.iter().find(|(name, _)| name == "__cimnamespace").map(|(_, value)| value);
        let is_refused = family == WINDOWS && named.is_some() && self.quirks.has("cimnamespace-refused");
        let is_wrong = named.is_some_and(|named| !named.eq_ignore_ascii_case(NAMESPACE));
        if is_refused || is_wrong {
            let told = "the namespace of the selectors is another";
            return Err(Box::new(Fault::sender("w:InvalidSelectors", "InvalidValue", 2_150_858_845, told)));
        }
        Ok((family, class))
    }

    fn names_equal(&self, one: &str, other: &str) -> bool {
        one == other || (!self.quirks.has("case-sensitive-names") && one.eq_ignore_ascii_case(other))
    }

    fn get(&self, asked: &Asked) -> Result<String, Box<Fault>> {
        let (family, class) = self.class(asked)?;
        let instance = self.instance(asked, class)?;
        Ok(instance.markup(family, &self.quirks))
    }

    /// The instance that a request's selectors mean.
    fn instance(&self, asked: &Asked, class: &str) -> Result<&'static Instance, Box<Fault>> {
        let of_class: Vec<&Instance> =
            INSTANCES.iter().filter(|instance| self.names_equal(instance.class, class)).collect();
        let Some(first) = of_class.first() else { return Err(Box::new(no_class(class))) };
        let selectors: Vec<&(String, String)> =
            asked.selectors.iter().filter(|(name, _)| name != "__cimnamespace").collect();
        let wrong = |detail: &'static str, number: u32| {
            Box::new(Fault::sender("w:InvalidSelectors", detail, number, "the selectors are wrong"))
        };
        for (at, (name, _)) in selectors.iter().enumerate() {
            if selectors.iter().skip(at + 1).any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return Err(wrong("DuplicateSelectors", 2_150_858_847));
            }
            let is_key = first.keys().any(|(key, _)| self.names_equal(key, name));
            match is_key {
                false if self.quirks.has("unknown-selector-not-found") => {
                    let told = "no such instance";
                    return Err(Box::new(Fault::sender("a:DestinationUnreachable", "", 2_150_858_752, told)));
                }
                false if self.quirks.has("unknown-selector-ignored") => {}
                false => return Err(wrong("UnexpectedSelectors", 2_150_858_843)),
                true => {}
            }
        }
        let given = |key: &str| selectors.iter().find(|(name, _)| self.names_equal(name, key)).map(|(_, value)| value);
        if first.keys().any(|(key, _)| given(key).is_none()) {
            return Err(wrong("InsufficientSelectors", 2_150_858_842));
        }
        let is_meant = |instance: &&Instance| {
            instance.keys().all(|(key, own)| given(key).is_some_and(|value| value.eq_ignore_ascii_case(own)))
        };
        of_class.into_iter().find(is_meant).ok_or_else(|| {
            Box::new(Fault::sender("a:DestinationUnreachable", "", 2_150_858_752, "there is no such instance"))
        })
    }

    fn enumerate(&self, asked: &Asked) -> Result<String, Box<Fault>> {
        let (family, class) = self.class(asked)?;
        let Some(body) = asked.body else { return Err(Box::new(no_body())) };
        let document = &asked.document;
        let filter = [(WSMAN, "Filter"), (ENUMERATION, "Filter")]
            .iter()
            .find_map(|(namespace, local)| document.child(body, namespace, local));
        let found = if let Some(filter) = filter {
            self.filtered(document, filter, class)?
        } else {
            INSTANCES.iter().filter(|instance| self.names_equal(instance.class, class)).collect()
        };
        if found.is_empty() && filter.is_none() {
            return Err(Box::new(no_class(class)));
        }
        let mode = value_in(document, body, WSMAN, "EnumerationMode").unwrap_or_default();
        let item = |instance: &&Instance| match mode.as_str() {
            "" => Ok(instance.markup(family, &self.quirks)),
            "EnumerateEPR" => Ok(instance.epr(family, &self.quirks)),
            "EnumerateObjectAndEPR" => Ok(format!(
                "<w:Item>{}{}</w:Item>",
                instance.markup(family, &self.quirks),
                instance.epr(family, &self.quirks)
            )),
            _ => Err(Box::new(Fault::sender("w:UnsupportedFeature", "EnumerationMode", 2_150_858_869, "no such mode"))),
        };
        let mut items: Vec<String> = found.iter().map(item).collect::<Result<_, _>>()?;
        let is_optimized = document.child(body, WSMAN, "OptimizeEnumeration").is_some();
        if !is_optimized || self.quirks.has("slow-optimize") {
            let context = self.keep(items);
            return Ok(format!(
                "<n:EnumerateResponse><n:EnumerationContext>{context}</n:EnumerationContext></n:EnumerateResponse>"
            ));
        }
        let most =
            value_in(document, body, WSMAN, "MaxElements").and_then(|most| most.trim().parse().ok()).unwrap_or(1);
        let most = if self.quirks.has("max-elements-ignored") { usize::MAX } else { most };
        let rest = items.split_off(most.min(items.len()));
        let prefix = if self.quirks.has("wsen-items") { "n" } else { "w" };
        let (context, end) = if rest.is_empty() {
            (String::new(), format!("<{prefix}:EndOfSequence/>"))
        } else {
            (self.keep(rest), String::new())
        };
        Ok(format!(
            "<n:EnumerateResponse><n:EnumerationContext>{context}</n:EnumerationContext><{prefix}:Items>{}\
             </{prefix}:Items>{end}</n:EnumerateResponse>",
            items.concat()
        ))
    }

    fn filtered(&self, document: &Document, filter: usize, class: &str) -> Result<Vec<&'static Instance>, Box<Fault>> {
        let dialect = document.nodes.get(filter).and_then(|node| {
            node.attributes.iter().find(|(name, _)| name.local == "Dialect").map(|(_, value)| value.clone())
        });
        let of_class = || INSTANCES.iter().filter(|instance| self.names_equal(instance.class, class)).collect();
        if !dialect
            .as_ref()
            .is_some_and(|dialect| dialect.eq_ignore_ascii_case("http://schemas.microsoft.com/wbem/wsman/1/WQL"))
        {
            if self.quirks.has("filter-dialect-accepted") {
                return Ok(of_class());
            }
            let told = "WQL is the only dialect";
            return Err(Box::new(Fault::sender("n:FilterDialectRequestedUnavailable", "", 2_150_858_777, told)));
        }
        let unfit = |told: &str| Box::new(Fault::sender("n:CannotProcessFilter", "", 2_150_858_778, told));
        let found = query(&document.text(filter)).map_err(|told| unfit(&told))?;
        let is_foreign = class != "*" && found.iter().any(|instance| !self.names_equal(instance.class, class));
        if is_foreign && !self.quirks.has("class-ignored-with-filter") {
            return Err(unfit("the query is for another class than the URI's"));
        }
        Ok(found)
    }

    fn keep(&self, items: Vec<String>) -> String {
        let mut id = self.message_id();
        let mut state = self.state();
        if self.quirks.has("sequential-contexts") {
            state.given += 1;
            id = (1_164_378_112 + state.given).to_string();
        }
        if state.contexts.len() >= CONTEXTS_MAX {
            state.contexts.pop_first();
        }
        state.contexts.insert(id.clone(), items);
        id
    }

    fn pull(&self, asked: &Asked) -> Result<String, Box<Fault>> {
        let Some(body) = asked.body else { return Err(Box::new(no_body())) };
        let context = value_in(&asked.document, body, ENUMERATION, "EnumerationContext").unwrap_or_default();
        if self.state().subscriptions.contains_key(&context) {
            let told = "there was no event in time";
            return Err(Box::new(Fault::receiver("w:TimedOut", "", 2_150_858_793, told)));
        }
        let most =
            value_in(&asked.document, body, ENUMERATION, "MaxElements").and_then(|most| most.trim().parse().ok());
        let default = if self.quirks.has("pull-returns-all") { usize::MAX } else { 1 };
        let most: usize = if self.quirks.has("max-elements-ignored") { usize::MAX } else { most.unwrap_or(default) };
        let mut state = self.state();
        let mut items = state.contexts.remove(&context).ok_or_else(|| Box::new(stale()))?;
        let rest = items.split_off(most.min(items.len()));
        let is_over = rest.is_empty();
        if !is_over {
            state.contexts.insert(context.clone(), rest);
        }
        let mut out = String::from("<n:PullResponse>");
        if !is_over || self.quirks.has("context-with-end") {
            _ = write!(out, "<n:EnumerationContext>{context}</n:EnumerationContext>");
        }
        _ = write!(out, "<n:Items>{}</n:Items>", items.concat());
        out.push_str(if is_over { "<n:EndOfSequence/></n:PullResponse>" } else { "</n:PullResponse>" });
        Ok(out)
    }

    fn release(&self, asked: &Asked) -> Result<String, Box<Fault>> {
        let Some(body) = asked.body else { return Err(Box::new(no_body())) };
        let context = value_in(&asked.document, body, ENUMERATION, "EnumerationContext").unwrap_or_default();
        self.state().contexts.remove(&context).map(|_| String::new()).ok_or_else(|| Box::new(stale()))
    }

    fn invoke(&self, asked: &Asked, method: &str) -> Result<String, Box<Fault>> {
        let unknown = || {
            if self.quirks.has("method-not-found-internal") {
                return Box::new(Fault::receiver("w:InternalError", "", 2_150_858_784, "something went wrong"));
            }
            let told = format!("the action {} is not known", asked.action);
            Box::new(Fault::sender("a:ActionNotSupported", "", 2_150_858_771, &told))
        };
        let (family, class) = self.class(asked)?;
        if family == WINDOWS && self.quirks.has("method-actions-dmtf-only") {
            return Err(unknown());
        }
        let target = asked.action.strip_prefix(family).and_then(|rest| rest.split_once('/')).map(|(class, _)| class);
        let own = INSTANCES.iter().find(|instance| self.names_equal(instance.class, class));
        let Some(own) = own.filter(|_| target.is_some_and(|target| self.names_equal(target, class))) else {
            return Err(unknown());
        };
        if !METHODS.contains(&(own.class, method)) {
            return Err(unknown());
        }
        self.instance(asked, class)?;
        Ok(format!(
            "<p:{method}_OUTPUT xmlns:p=\"{}\"><p:ReturnValue>32775</p:ReturnValue></p:{method}_OUTPUT>",
            escape(&asked.uri)
        ))
    }

    fn subscribe(&self, asked: &Asked) -> Result<String, Box<Fault>> {
        let (_, class) = self.class(asked)?;
        let Some(body) = asked.body else { return Err(Box::new(no_body())) };
        let known = class == "*" || INSTANCES.iter().any(|instance| self.names_equal(instance.class, class));
        let mode =
            asked.document.child(body, EVENTING, "Delivery").and_then(|delivery| asked.document.nodes.get(delivery));
        let mode = mode.and_then(|node| node.attributes.iter().find(|(name, _)| name.local == "Mode"));
        if mode.is_none_or(|(_, mode)| mode != "http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull") || !known {
            let told = "only pull delivery is offered";
            return Err(Box::new(Fault::sender("e:DeliveryModeRequestedUnavailable", "", 2_150_858_776, told)));
        }
        let id = self.message_id();
        let mut state = self.state();
        if state.subscriptions.len() >= CONTEXTS_MAX {
            state.subscriptions.pop_first();
        }
        state.subscriptions.insert(id.clone(), asked.uri.clone());
        let prefix = if self.quirks.has("eventing-address-namespace") { "e" } else { "a" };
        let uri = escape(&asked.uri);
        Ok(format!(
            "<e:SubscribeResponse><e:SubscriptionManager><{prefix}:Address>{ANONYMOUS}</{prefix}:Address>\
             <a:ReferenceParameters><w:ResourceURI>{uri}</w:ResourceURI><e:Identifier>{id}</e:Identifier>\
             </a:ReferenceParameters></e:SubscriptionManager><e:Expires>PT10M</e:Expires>\
             <n:EnumerationContext>{id}</n:EnumerationContext></e:SubscribeResponse>"
        ))
    }

    fn manage(&self, asked: &Asked, operation: &str) -> Result<String, Box<Fault>> {
        let id = value(&asked.document, "e:Identifier").unwrap_or_default();
        let mut state = self.state();
        if !state.subscriptions.contains_key(&id) {
            let told = "there is no such subscription";
            return Err(Box::new(match operation {
                "Renew" => Fault::sender("e:UnableToRenew", "", 2_150_858_789, told),
                _ => Fault::sender("e:InvalidMessage", "", 2_150_858_788, told),
            }));
        }
        Ok(match operation {
            "Unsubscribe" => {
                state.subscriptions.remove(&id);
                String::new()
            }
            other => format!("<e:{other}Response><e:Expires>PT10M</e:Expires></e:{other}Response>"),
        })
    }
}

fn no_class(class: &str) -> Fault {
    let told = format!("there is no class {class}");
    Fault::sender("a:DestinationUnreachable", "InvalidResourceURI", 2_150_858_811, &told)
}

fn no_body() -> Fault {
    Fault::sender("w:SchemaValidationError", "", 2_150_858_817, "the body is empty")
}

fn stale() -> Fault {
    Fault::receiver("n:InvalidEnumerationContext", "", 2_150_858_779, "there is no such context")
}

fn value_in(document: &Document, parent: usize, namespace: &str, local: &str) -> Option<String> {
    document.child(parent, namespace, local).map(|child| document.text(child).trim().to_owned())
}
