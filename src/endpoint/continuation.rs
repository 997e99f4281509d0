//! The rest of an exchange that changes something: its answer waits until the change is durable.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::cim::{CimInstance, ClassId, MethodResult, ObjectPath, Value};
use crate::job::{JobId, Timestamp};
use crate::provider::{Permissions, ReadContext};
use crate::replication::{Denied, View};
use crate::soap::Fault;
use crate::wscim::{self, Arrays, Family};
use crate::wsman::{Correlation, FragmentPath, fault};
use crate::xml::text::{Encoding, encode};
use crate::xml::{Document, Limits, Writer};

use super::exchange::Exchange;
use super::transfer::fault_of_denied;
use super::{Answer, Endpoint, Journal, OPERATION_TIMEOUT, Outcome};

/// The rest of an exchange whose effect is being made durable: the envelope but for what depends on the effect.
#[derive(Debug)]
pub struct Continuation {
    /// The envelope up to where the body goes, and what follows it.
    head: Vec<u8>,
    tail: Vec<u8>,
    rest: Rest,
    encoding: Encoding,
    octets_max: usize,
    journal: Journal,
    /// What a fault needs of the request, should it come to that.
    correlation: Correlation<'static>,
    fault_id: Uuid,
    /// How long the client is willing to wait.
    pub timeout: Duration,
}

/// What goes into the body.
#[derive(Debug)]
pub(super) enum Rest {
    /// The result of a method.
    Output {
        class: ClassId,
        /// The method as an index into the class's methods, and as the client spelled it.
        method: usize,
        spelling: String,
        class_uri: String,
        family: Family,
    },
    /// The instance as it is by then, or a part of it.
    Instance {
        path: ObjectPath,
        family: Family,
        arrays: Arrays,
        permissions: Permissions,
        fragment: Option<FragmentPath>,
    },
    /// This, whatever the result.
    Ready(Vec<u8>),
}

impl Continuation {
    /// What the log says of the exchange so far.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// `header` is markup that follows the usual header blocks.
    pub(super) fn new(exchange: &Exchange<'_>, journal: &Journal, rest: Rest, header: &[u8]) -> Self {
        let mut split = 0;
        let mut head = exchange.encode_with(0, |w| w.raw_octets(header), |w| split = w.len());
        let tail = head.split_off(split);
        Self {
            head,
            tail,
            rest,
            encoding: exchange.encoding,
            octets_max: exchange.octets_max,
            journal: journal.clone(),
            correlation: exchange.correlation.kept(),
            fault_id: (exchange.call.ids)(),
            timeout: exchange.request.operation_timeout.unwrap_or(OPERATION_TIMEOUT),
        }
    }

    /// Octets of the answer besides its body.
    pub(super) fn envelope_octets(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// The whole answer, in UTF-8.
    fn with_body(self, body: impl FnOnce(&mut Writer<'_>, Rest)) -> (Vec<u8>, Encoding, Journal) {
        let Self { mut head, tail, rest, encoding, journal, .. } = self;
        body(&mut Writer::new(&mut head), rest);
        head.extend_from_slice(&tail);
        (head, encoding, journal)
    }
}

impl Endpoint {
    /// Answers with the result of a command: `4096` and the job, or `0` from a backend that finished at once.
    //= INV-07, INV-15
    pub fn submitted(&self, continuation: Continuation, return_value: u32, job: Option<JobId>) -> Answer {
        let out = job.and_then(|job| self.registry.job_path(job)).map(|path| ("Job", Value::Reference(Box::new(path))));
        let result = MethodResult { return_value, out: out.into_iter().collect() };
        self.returned(continuation, &result, job)
    }

    /// Answers with the end of a cancellation: 0, or why the job cannot be cancelled any more (DMTF job codes).
    pub fn cancelled(&self, continuation: Continuation, job: JobId, return_value: u32) -> Answer {
        self.returned(continuation, &MethodResult::code(return_value), Some(job))
    }

    /// Answers that a change of settings is made: a method's 0, or what the operation says. `view` shows the change.
    //= XFR-06
    pub fn amended(&self, continuation: Continuation, view: &Arc<View>, now: Timestamp) -> Answer {
        let body = match &continuation.rest {
            Rest::Output { .. } => return self.returned(continuation, &MethodResult::code(0), None),
            Rest::Ready(body) => body.clone(),
            Rest::Instance { path, family, arrays, permissions, fragment } => {
                let cx = ReadContext::new(view, permissions, self.schema, now);
                match self.registry.get(&cx, path) {
                    Ok(instance) => self.representation(&instance, *family, *arrays, fragment.as_ref()),
                    Err(error) => return self.refuse_kept(continuation, &wscim::fault_of(error)),
                }
            }
        };
        // Its room was reckoned before; what changed besides was somebody else's.
        //= CTL-08, XFR-13
        if continuation.octets_max < continuation.envelope_octets() + body.len() {
            let what = "the change is made, but its answer is larger than MaxEnvelopeSize allows";
            return self.refuse_kept(continuation, &fault::encoding_limit_unreportable_success(what));
        }
        let (octets, encoding, journal) = continuation.with_body(|w, _| w.raw_octets(&body));
        answer(octets, encoding, journal.with(Outcome::Ok))
    }

    /// Answers with a refusal of the domain: a method's return value, or a fault.
    pub fn denied(&self, continuation: Continuation, denied: &Denied) -> Answer {
        let told = Outcome::of_denied(denied);
        let mut answer = match &continuation.rest {
            Rest::Output { .. } => self.returned(continuation, &MethodResult::code(denied.return_value()), None),
            Rest::Instance { .. } | Rest::Ready(_) => {
                return self.refuse_kept(continuation, &fault_of_denied(denied));
            }
        };
        answer.journal.outcome = told;
        answer
    }

    /// Answers that the operation took longer than the client waits. What was begun goes on.
    //= CTL-02, CTL-05
    pub fn timed_out(&self, continuation: Continuation) -> Answer {
        let late = match &continuation.rest {
            Rest::Output { .. } => {
                "the operation was not finished in the time that the client allows; it goes on, and the same request \
                 again gets its result"
            }
            Rest::Instance { .. } | Rest::Ready(_) => {
                "the change was not finished in the time that the client allows; it goes on, and a Get shows its result"
            }
        };
        self.refuse_kept(continuation, &fault::timed_out(late))
    }

    fn refuse_kept(&self, continuation: Continuation, fault: &Fault) -> Answer {
        let Continuation { correlation, fault_id, encoding, journal, .. } = continuation;
        self.refuse(&correlation, &|| fault_id, encoding, journal, fault)
    }

    /// Answers with the result of a method.
    pub(super) fn returned(&self, continuation: Continuation, result: &MethodResult, job: Option<JobId>) -> Answer {
        let (octets, encoding, journal) = continuation.with_body(|w, rest| {
            let Rest::Output { class, method, spelling, class_uri, family } = rest else { return };
            if let Some(method) = self.schema.class(class).methods.get(method) {
                wscim::write_output(w, method, &spelling, &class_uri, family, self.schema, result);
            }
        });
        let journal = Journal { job: job.or(journal.job), ..journal };
        answer(octets, encoding, journal.with(Outcome::Returned(result.return_value)))
    }

    /// An instance, or a part of it, as it stands in a body.
    pub(super) fn representation(
        &self,
        instance: &CimInstance,
        family: Family,
        arrays: Arrays,
        fragment: Option<&FragmentPath>,
    ) -> Vec<u8> {
        let mut octets = Vec::with_capacity(4_096);
        wscim::write_instance(&mut Writer::new(&mut octets), self.codec(arrays), self.schema, family, instance);
        let Some(path) = fragment else { return octets };
        let whole = String::from_utf8(octets).unwrap_or_default();
        let mut part = Vec::new();
        let limits = Limits { octets_max: whole.len(), ..Limits::default() };
        if let Ok(document) = Document::parse(&whole, &limits) {
            path.write(&mut Writer::new(&mut part), document.root());
        }
        part
    }
}

fn answer(octets: Vec<u8>, encoding: Encoding, journal: Journal) -> Answer {
    Answer { octets: encode(octets, encoding), encoding, is_fault: false, status: 200, journal }
}

/// Refuses what could not be answered once it is done. //= CTL-07, CTL-08
pub(super) fn check_room(octets_max: usize, octets: usize) -> Result<(), Fault> {
    if octets <= octets_max {
        return Ok(());
    }
    Err(fault::encoding_limit_max_envelope_size_exceeded(format!(
        "the answer needs {octets} octets, more than MaxEnvelopeSize allows ({octets_max}); nothing was done"
    )))
}
