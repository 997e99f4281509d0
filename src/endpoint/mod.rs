//! One WS-Management exchange without I/O: octets, a principal and a view in; an answer or a command out.
//!
//! ```text
//! octets -> Document -> Request -> (access) -> Resource, ObjectPath, Query, MethodInput -> Provider -> octets
//!                                                                                      \-> Step::Submit(Command)
//! ```
//! A `Submit`, `Amend` or `Cancel` is carried out by the caller; the `Continuation` then encodes the answer from its
//! result, so that nothing is answered before it is durable.

mod access;
mod config;
mod continuation;
mod cursor;
mod enumeration;
mod eventing;
mod exchange;
mod filter;
mod invoke;
mod journal;
mod metadata;
mod operations;
mod options;
mod roll;
mod scan;
mod transfer;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::auth::Principal;
use crate::cim::Schema;
use crate::job::{JobId, Timestamp};
use crate::provider::{Permissions, Registry};
use crate::replication::{Amendment, Command, View};
use crate::soap::{Fault, FaultCode, SelectorSet, SelectorValue, clipped};
use crate::wscim::{self, Arrays, Codec};
use crate::wsman::{self, Correlation, Operation, Profile, Request, WinrmConfig, fault};
use crate::xml::text::{Encoding, decode, encode};
use crate::xml::{Document, Limits};

#[cfg(test)]
mod tests;

pub use continuation::Continuation;
pub use cursor::CursorLimits;
pub use eventing::{
    Durable, Ended, EventLimits, Finished, Next, NoPosition, Outgoing, Owner, Position, Progress, Record, Standing,
    SubscriptionChange, Wakes,
};
pub use journal::{Journal, Outcome};

/// What an endpoint is allowed and what it tells of itself.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    /// Limits of a request document.
    pub limits: Limits,
    /// The largest answer, in octets, when a client sets no `MaxEnvelopeSize` or a larger one.
    pub envelope_octets_max: u32,
    /// The most items in one page, whatever `MaxElements` says.
    pub items_max: u32,
    /// Limits of enumeration contexts.
    pub cursors: CursorLimits,
    /// Limits of subscriptions.
    pub events: EventLimits,
    /// The product's version, told to authenticated clients.
    pub version: String,
    /// The security profiles that are offered, told to authenticated clients.
    pub profiles: Vec<&'static str>,
    /// The configuration as WinRM shows it.
    pub winrm: WinrmConfig,
    /// The name of this host in faults.
    pub machine: Arc<str>,
    /// What holds where the standards and WinRM differ.
    pub profile: &'static Profile,
}

/// The sans-IO endpoint: schema, providers and enumeration contexts.
#[derive(Debug)]
pub struct Endpoint {
    schema: &'static Schema,
    codec: Codec,
    /// For clients that want to tell arrays apart.
    precise_codec: Codec,
    registry: Registry,
    cursors: cursor::Cursors,
    events: eventing::Events,
    settings: EndpointSettings,
}

/// One request with everything its handling needs: the core has no clock, no randomness and no identity of its own.
pub struct Call<'c> {
    /// Now.
    pub now: Timestamp,
    /// A source of random ids.
    pub ids: &'c dyn Fn() -> Uuid,
    /// Who asks.
    pub principal: &'c Principal,
    /// What the access limits leave to whoever asks.
    pub permissions: &'c Permissions,
    /// The world as it is.
    pub view: &'c Arc<View>,
    /// Whether the journal is to name the target of what only reads and succeeds.
    pub targets: bool,
    /// The body of the request.
    pub request: &'c [u8],
    /// The `charset` of its Content-Type.
    pub charset: Option<&'c str>,
    /// The action that HTTP names, if it does.
    pub soap_action: Option<&'c str>,
    /// How long it may take.
    pub pace: Pace<'c>,
}

/// How long an enumeration may look for items at a stretch, and a Pull of events wait for some.
#[derive(Clone, Copy)]
pub enum Pace<'c> {
    /// A moment, as on a thread that serves others too. What takes longer is [`Step::Elsewhere`].
    Brief,
    /// As long as this says that so much time has not passed yet since the request came.
    Until(&'c dyn Fn(Duration) -> bool),
    /// No longer: a Pull of events that waits gives way to a newer one, and takes nothing.
    Over,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Send this.
    Respond(Answer),
    /// Make this durable, then let the continuation answer.
    Submit(Box<Command>, Continuation),
    /// Make this change of settings durable, then let the continuation answer from the view that shows it.
    Amend(Box<Amendment>, Continuation),
    /// Ask for the end of this job, then let the continuation answer.
    Cancel(JobId, Continuation),
    /// Make this change of a subscription durable, then send the answer that comes with it.
    Durable(Box<Durable>),
    /// Nothing has happened yet that a Pull could tell: make the same call again when there is news for the
    /// subscription or when so much time has passed since the request came.
    Wait {
        /// The subscription.
        subscription: Uuid,
        /// How long the client is willing to wait.
        timeout: Duration,
    },
    /// It takes longer than a moment: nothing was done yet; make the same call on a thread that may take its time.
    Elsewhere,
}

/// An answer, ready to be sent.
#[derive(Debug)]
pub struct Answer {
    /// The envelope in the encoding of the request.
    pub octets: Vec<u8>,
    /// That encoding.
    pub encoding: Encoding,
    /// Whether the envelope holds a fault.
    pub is_fault: bool,
    /// The HTTP status: 200, or that of the fault.
    pub status: u16,
    /// What the log says of the exchange.
    pub journal: Journal,
}

/// How far a request got: the answer's body as written into an envelope, or what to do first.
enum Reply {
    Body(Vec<u8>),
    Step(Box<Step>),
}

impl Endpoint {
    /// An endpoint over a schema and its providers.
    pub fn new(schema: &'static Schema, registry: Registry, settings: EndpointSettings) -> Self {
        let codec = Codec::new(schema);
        let precise_codec = Codec::with(schema, Arrays::Precise);
        let cursors = cursor::Cursors::new(settings.cursors.clone());
        let events = eventing::Events::new(settings.events.clone());
        Self { schema, codec, precise_codec, registry, cursors, events, settings }
    }

    /// Handles one request of an authenticated principal.
    pub fn handle(&self, call: &Call<'_>) -> Step {
        let mut journal = Journal::default();
        let (text, encoding) = match decode(call.request, call.charset) {
            Ok(decoded) => decoded,
            Err(error) => {
                let fault = fault::encoding_limit_character_set(error.to_string());
                let encoding = error.answer_in();
                return Step::Respond(self.refuse(&Correlation::default(), call.ids, encoding, journal, &fault));
            }
        };
        let document = match Document::parse(&text, &self.settings.limits) {
            Ok(document) => document,
            Err(error) => {
                let fault = fault::not_xml(&error);
                return Step::Respond(self.refuse(&Correlation::default(), call.ids, encoding, journal, &fault));
            }
        };
        let (mut correlation, request) = wsman::decode(&document, self.settings.profile);
        correlation.machine = Some(Arc::clone(&self.settings.machine));
        journal.message_id = correlation.relates_to.as_deref().map(|id| clipped(id).to_owned());
        let reply = request.map_err(|fault| *fault).and_then(|request| {
            check_soap_action(call.soap_action, &request)?;
            let reply = self.dispatch(call, &request, &correlation, encoding, &mut journal);
            if journal.keys.is_none() && (call.targets || reply.is_err()) {
                journal.keys = keys(&request.selectors);
            }
            reply
        });
        match reply {
            Ok(Reply::Body(octets)) => Step::Respond(Answer {
                octets: encode(octets, encoding),
                encoding,
                is_fault: false,
                status: 200,
                journal: journal.with(Outcome::Ok),
            }),
            Ok(Reply::Step(step)) => *step,
            Err(fault) => Step::Respond(self.refuse(&correlation, call.ids, encoding, journal, &fault)),
        }
    }

    /// Answers `Identify` for someone who is not authenticated. `Err` when anything else is asked: that needs a user, and
    /// the journal is what to log.
    //= IDN-02, IDN-08
    pub fn identify_anonymous(
        &self,
        ids: &dyn Fn() -> Uuid,
        request: &[u8],
        charset: Option<&str>,
    ) -> Result<Answer, Journal> {
        let mut journal = Journal { operation: "Identify", ..Journal::default() };
        let unknown = Correlation::default();
        let (text, encoding) = match decode(request, charset) {
            Ok(decoded) => decoded,
            Err(error) => {
                let fault = fault::encoding_limit_character_set(error.to_string());
                return Ok(self.refuse(&unknown, ids, error.answer_in(), journal, &fault));
            }
        };
        let document = match Document::parse(&text, &self.settings.limits) {
            Ok(document) => document,
            Err(error) => return Ok(self.refuse(&unknown, ids, encoding, journal, &fault::not_xml(&error))),
        };
        let (correlation, request) = wsman::decode(&document, self.settings.profile);
        journal.message_id = correlation.relates_to.as_deref().map(|id| clipped(id).to_owned());
        match request.map(|request| request.operation) {
            Ok(Operation::Identify(namespace)) => {
                let mut octets = Vec::with_capacity(1_024);
                wsman::encode_identify_response(&mut octets, namespace, true, &self.settings.version, &[]);
                Ok(Answer {
                    octets: encode(octets, encoding),
                    encoding,
                    is_fault: false,
                    status: 200,
                    journal: journal.with(Outcome::Ok),
                })
            }
            Ok(other) => {
                let fault = fault::access_denied("only Identify is answered without authentication");
                Err(Journal { operation: other.name(), ..journal }.with(Outcome::of_fault(&fault)))
            }
            Err(fault) => Ok(self.refuse(&correlation, ids, encoding, journal, &fault)),
        }
    }

    /// The answer that a fault is. Never larger than the client takes.
    //= CTL-07, HTTP-04
    fn refuse(
        &self,
        correlation: &Correlation<'_>,
        ids: &dyn Fn() -> Uuid,
        encoding: Encoding,
        journal: Journal,
        fault: &Fault,
    ) -> Answer {
        let mut octets = Vec::with_capacity(1_536);
        let octets_max = envelope_octets_max(&self.settings, correlation.envelope_octets_max, encoding);
        let detailed = correlation.cim_errors.then(|| wscim::with_cim_error(fault));
        let sent = detailed.as_ref().unwrap_or(fault);
        wsman::encode_fault_within(&mut octets, correlation, ids(), sent, octets_max);
        let is_sender = fault.code == FaultCode::Sender;
        Answer {
            octets: encode(octets, encoding),
            encoding,
            is_fault: true,
            status: if is_sender { self.settings.profile.sender_fault_status } else { 500 },
            journal: journal.with(Outcome::of_fault(fault)),
        }
    }
}

/// HTTP and the envelope name one action: whoever stands between may have decided by either.
//= HTTP-06
fn check_soap_action(named: Option<&str>, request: &Request<'_>) -> Result<(), Fault> {
    match named {
        Some(named) if !request.action.is_empty() && named != request.action => {
            Err(fault::invalid_message_information_header(format!(
                "the header SOAPAction is '{}', wsa:Action is '{}'",
                clipped(named),
                clipped(&request.action)
            )))
        }
        _ => Ok(()),
    }
}

/// Selectors as the journal has them: `Name=value`, one after the other; none when there are none.
fn keys(selectors: &SelectorSet) -> Option<String> {
    let mut text = String::new();
    for selector in &selectors.0 {
        if KEYS_OCTETS_MAX < text.len() {
            break;
        }
        let separator = if text.is_empty() { "" } else { ", " };
        let value = match &selector.value {
            SelectorValue::Text(value) => clipped(value),
            SelectorValue::Reference(_) => "(a reference)",
        };
        text.extend([separator, clipped(&selector.name), "=", value]);
    }
    (!text.is_empty()).then_some(text)
}

/// Octets of selectors after which the journal takes no further one.
const KEYS_OCTETS_MAX: usize = 512;

/// The largest answer this request allows, in octets of UTF-8: an answer in UTF-16 takes twice the room, and a mark.
//= CTL-12
fn envelope_octets_max(settings: &EndpointSettings, asked: Option<u32>, encoding: Encoding) -> usize {
    let octets = asked.unwrap_or(settings.envelope_octets_max).min(settings.envelope_octets_max);
    let octets = usize::try_from(octets).unwrap_or(usize::MAX);
    if matches!(encoding, Encoding::Utf8) { octets } else { octets.saturating_sub(2) / 2 }
}

/// The time a client gives an operation when it says nothing (the default of WinRM).
//= CTL-06
pub const OPERATION_TIMEOUT: Duration = Duration::from_mins(1);
