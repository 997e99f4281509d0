//! The transport's handler: runs the endpoint's step, carries out its commands, and writes one log event a request.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::auth::Principal;
use crate::endpoint::{Answer, Call, Continuation, Durable, Endpoint, Journal, Outcome, Pace, Step};
use crate::job::JobId;
use crate::provider::Rules;
use crate::replication::{Amendment, Command, Denied};
use crate::service::{CancelDenied, Engine};
use crate::transport::{
    self, AnswerFuture, CONTENT_TYPE_UTF8, CONTENT_TYPE_UTF16, Handler, Login, Peer, RequestContext,
};
use crate::xml::text::Encoding;

use super::audit::Audit;
use super::eventing::Eventing;
use super::random_id;
use super::record::Recorder;

/// Answers requests from the engine's view, and makes commands durable through the engine.
#[derive(Clone)]
pub struct WsmanHandler {
    shared: Arc<Shared>,
    recorder: Option<Arc<Recorder>>,
}

struct Shared {
    endpoint: Arc<Endpoint>,
    engine: Arc<Engine>,
    rules: Arc<Rules>,
    audit: Option<Arc<Audit>>,
    eventing: Arc<Eventing>,
    timeout_max: Duration,
    /// Long scans that may run at the same time.
    scans: Arc<Semaphore>,
}

impl WsmanHandler {
    /// `rules` limit what users may reach, and `audit` records what they do. `timeout_max` bounds how long an answer
    /// may be waited for, whatever the client's OperationTimeout says.
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        engine: Arc<Engine>,
        rules: Arc<Rules>,
        audit: Option<Arc<Audit>>,
        eventing: Arc<Eventing>,
        timeout_max: Duration,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let scans = Arc::new(Semaphore::new(cores));
        Self {
            recorder: None,
            shared: Arc::new(Shared { endpoint, engine, rules, audit, eventing, timeout_max, scans }),
        }
    }
}

impl WsmanHandler {
    /// The same, with every exchange recorded.
    pub(super) fn recording(self, recorder: Option<Recorder>) -> Self {
        Self { recorder: recorder.map(Arc::new), ..self }
    }
}

impl Handler for WsmanHandler {
    fn handle(&self, context: RequestContext, request: Bytes) -> AnswerFuture {
        let (shared, recorder) = (Arc::clone(&self.shared), self.recorder.clone());
        Box::pin(async move {
            let started = Instant::now();
            let (journal, answer) = match shared.answer(&context, &request, started).await {
                Ok(Answer { octets: body, encoding, status, journal, .. }) => {
                    (journal, transport::Answer { status, body, content_type: content_type(encoding) })
                }
                Err(journal) => {
                    (journal, transport::Answer { status: 401, body: Vec::new(), content_type: CONTENT_TYPE_UTF8 })
                }
            };
            shared.record(&context, &journal, started);
            if let Some(recorder) = &recorder {
                recorder.record(&context, &request, &answer);
            }
            answer
        })
    }

    fn records(&self) -> bool {
        self.recorder.is_some()
    }

    fn refused(&self, head: &str, answer: &str) {
        if let Some(recorder) = &self.recorder {
            recorder.record_refusal(head, answer);
        }
    }

    fn login(&self, peer: Peer, encrypted: bool, login: &Login<'_>) {
        if let Some(audit) = &self.shared.audit {
            audit.record_login(peer, encrypted, login);
        }
    }
}

impl Shared {
    /// Writes down what is about to be answered.
    fn record(&self, context: &RequestContext, journal: &Journal, started: Instant) {
        log(context, journal, started);
        if let Some(audit) = &self.audit {
            audit.record_request(context, journal);
        }
    }

    /// Whether a change may be carried out: not when it has to be recorded and cannot be.
    fn may_change(&self, context: &RequestContext, continuation: &Continuation) -> bool {
        self.audit.as_ref().is_none_or(|audit| audit.announce(context, continuation.journal()))
    }

    /// `Err` when the request needs a user and has none.
    async fn answer(
        self: &Arc<Self>,
        context: &RequestContext,
        request: &Bytes,
        started: Instant,
    ) -> Result<Answer, Journal> {
        let Some(principal) = &context.principal else {
            return self.endpoint.identify_anonymous(&random_id, request, context.charset.as_deref());
        };
        let step = match self.step(principal, request, context, Pace::Brief) {
            Step::Elsewhere => {
                let principal = Arc::clone(principal);
                self.elsewhere(principal, request.clone(), context.clone(), started).await
            }
            Step::Wait { subscription, timeout } => {
                self.wait(principal, request, context, (subscription, timeout), started).await
            }
            step => step,
        };
        Ok(match step {
            Step::Respond(answer) => answer,
            Step::Submit(_, continuation) | Step::Amend(_, continuation)
                if !self.may_change(context, &continuation) =>
            {
                self.endpoint.denied(continuation, &Denied::EngineFailed { reason: UNRECORDED.to_owned() })
            }
            Step::Submit(command, continuation) => self.submit(*command, continuation).await,
            Step::Amend(amendment, continuation) => self.amend(*amendment, continuation).await,
            Step::Cancel(job, continuation) if !self.may_change(context, &continuation) => {
                let denied = CancelDenied::EngineFailed { reason: UNRECORDED.to_owned() };
                self.endpoint.cancelled(continuation, job, denied.return_value())
            }
            Step::Cancel(job, continuation) => self.cancel(job, continuation).await,
            Step::Durable(durable) if !self.may_subscribe(context, &durable) => durable.failed,
            Step::Durable(durable) => self.eventing.carry_out(*durable).await,
            Step::Wait { .. } | Step::Elsewhere => unreachable!("only a brief call is sent elsewhere or waits"),
        })
    }

    fn step(&self, principal: &Principal, request: &[u8], context: &RequestContext, pace: Pace<'_>) -> Step {
        let view = self.engine.view();
        let now = self.engine.now();
        let (ids, permissions, view) = (&random_id, &self.rules.permissions(principal), &view);
        let targets = self.audit.as_ref().is_some_and(|audit| audit.reads());
        let (charset, soap_action) = (context.charset.as_deref(), context.soap_action.as_deref());
        let call = Call { now, ids, principal, permissions, view, targets, request, charset, soap_action, pace };
        self.endpoint.handle(&call)
    }

    /// As [`Shared::may_change`], of a subscription.
    fn may_subscribe(&self, context: &RequestContext, durable: &Durable) -> bool {
        let journal = &durable.done.journal;
        journal.operation == "Renew" || self.audit.as_ref().is_none_or(|audit| audit.announce(context, journal))
    }

    /// A Pull of events that have not happened yet. No thread waits for them, and nothing is taken before there is an
    /// answer to put it into. A newer Pull of the subscription ends it: a client that went away and came back is not to
    /// lose a page to its own earlier self. One that has gone for good is not noticed here and loses that one page: who
    /// wants to miss nothing asks for bookmarks.
    async fn wait(
        &self,
        principal: &Principal,
        request: &[u8],
        context: &RequestContext,
        (subscription, mut timeout): (Uuid, Duration),
        started: Instant,
    ) -> Step {
        let passed = |allowed: Duration| allowed.min(self.timeout_max) <= started.elapsed();
        let waiter = self.eventing.waiter(subscription);
        loop {
            let left = timeout.min(self.timeout_max).saturating_sub(started.elapsed());
            let _in_time = tokio::time::timeout(left, waiter.news()).await;
            let pace = if waiter.is_displaced() { Pace::Over } else { Pace::Until(&passed) };
            match self.step(principal, request, context, pace) {
                Step::Wait { timeout: allowed, .. } => timeout = allowed,
                step => return step,
            }
            // What waits may turn out to be nothing for this caller a few times: others have their turn between.
            tokio::task::yield_now().await;
        }
    }

    /// A long scan, on a thread that serves nobody else meanwhile; a few at a time, so that they leave the machine to
    /// the short requests. A panic in there is the request's own.
    async fn elsewhere(
        self: &Arc<Self>,
        principal: Arc<Principal>,
        request: Bytes,
        context: RequestContext,
        started: Instant,
    ) -> Step {
        let shared = Arc::clone(self);
        let permit = Arc::clone(&self.scans).acquire_owned().await;
        let scan = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let passed = |allowed: Duration| allowed.min(shared.timeout_max) <= started.elapsed();
            shared.step(&principal, &request, &context, Pace::Until(&passed))
        });
        match scan.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(step) => step,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime ends, and this future with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }

    /// The engine carries a submission to its end even when nobody waits for it any more.
    async fn submit(&self, command: Command, continuation: Continuation) -> Answer {
        match self.in_time(&continuation, self.engine.submit(command)).await {
            None => self.endpoint.timed_out(continuation),
            Some(Ok(submitted)) => self.endpoint.submitted(continuation, submitted.return_value, submitted.job),
            Some(Err(denied)) => self.endpoint.denied(continuation, &denied),
        }
    }

    async fn amend(&self, amendment: Amendment, continuation: Continuation) -> Answer {
        match self.in_time(&continuation, self.engine.amend(amendment)).await {
            None => self.endpoint.timed_out(continuation),
            Some(Ok(())) => self.endpoint.amended(continuation, &self.engine.view(), self.engine.now()),
            Some(Err(denied)) => self.endpoint.denied(continuation, &denied),
        }
    }

    async fn cancel(&self, job: JobId, continuation: Continuation) -> Answer {
        let return_value = match self.in_time(&continuation, self.engine.cancel(job)).await {
            None => return self.endpoint.timed_out(continuation),
            Some(Ok(())) => 0,
            Some(Err(denied)) => {
                if let CancelDenied::EngineFailed { reason } = &denied {
                    tracing::error!(%job, reason, "a cancel could not be made durable");
                }
                denied.return_value()
            }
        };
        self.endpoint.cancelled(continuation, job, return_value)
    }

    async fn in_time<T>(&self, continuation: &Continuation, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(continuation.timeout.min(self.timeout_max), work).await.ok()
    }
}

/// Why nothing is changed when the audit log is required and full.
const UNRECORDED: &str = "it could not be recorded in the audit log, which the configuration requires";

fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Utf8 => CONTENT_TYPE_UTF8,
        Encoding::Utf16Le { bom: true } | Encoding::Utf16Be { bom: true } => CONTENT_TYPE_UTF16,
        Encoding::Utf16Le { bom: false } => "application/soap+xml;charset=UTF-16LE",
        Encoding::Utf16Be { bom: false } => "application/soap+xml;charset=UTF-16BE",
    }
}

/// One event a request: fields, not prose.
fn log(context: &RequestContext, journal: &Journal, started: Instant) {
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let principal = context.principal.as_deref();
    let missing = journal.outcome.missing();
    let (outcome, message_id, reason) = match &journal.outcome {
        Outcome::Ok => ("ok", None, None),
        Outcome::Returned(_) => ("returned", None, None),
        Outcome::Fault { name, reason, internal } => {
            if let Some(internal) = internal.as_ref().filter(|_| missing.is_none()) {
                tracing::error!(internal, "a request met an internal error");
            }
            (*name, None, Some(reason.as_str()))
        }
        Outcome::Denied { message_id, message, .. } => ("denied", Some(*message_id), Some(message.as_str())),
    };
    let return_value = match &journal.outcome {
        Outcome::Returned(value) | Outcome::Denied { return_value: value, .. } => Some(*value),
        _ => None,
    };
    tracing::info!(
        target: "failbackd::request",
        operation = journal.operation,
        class = journal.class.as_deref().map(cut),
        method = journal.method.as_deref().map(cut),
        principal = principal.map(Principal::name),
        mechanism = principal.map(Principal::mechanism),
        peer = %context.peer,
        message_id = journal.message_id.as_deref().map(cut),
        job = journal.job.map(tracing::field::display),
        outcome,
        return_value,
        refusal = message_id,
        missing,
        reason = reason.map(cut),
        micros,
    );
}

/// Octets of a text of the client's that the log takes: an id of a megabyte is not to fill the disk.
const LOGGED_OCTETS_MAX: usize = 512;

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LOGGED_OCTETS_MAX)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_client_are_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(512)).len(), 512);
        assert_eq!(cut(&"x".repeat(513)).len(), 512);
        assert_eq!(cut(&"\u{20ac}".repeat(200)).len(), 510);
    }
}
