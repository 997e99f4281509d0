//! The way to sinks: which addresses may be sent to, connections that are used again, and what an answer means.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::header::HeaderValue;
use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::client::{SinkAnswer, SinkConnection, SinkTarget};
use crate::config::{EventingConfig, Network};
use crate::endpoint::{Finished, Outgoing, Record};
use crate::job::Message;
use crate::wsman::client::Reply;
use crate::wsman::eventing::Credentials;
use crate::wsman::uri;
use crate::xml::text::decode;
use crate::xml::{Document, Limits};

use super::tls::{Kind, SinkTls, SinkTlsError, Unsettled};
use super::witness::Witness;

/// Connections to one sink at the same time. A sink that stalls holds these and no others.
const CONNECTIONS_MAX: usize = 8;
/// Names looked up at the same time.
const LOOKUPS_MAX: usize = 16;
/// Ends of subscriptions that are being told at the same time; more are not told.
const ENDS_MAX: usize = 256;
/// How often it is told that sinks cannot be shown a certificate.
const WARNED: Duration = Duration::from_mins(1);
/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(30);

/// What addresses a name stands for, with a port. Blocks.
type Names = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Everything that is needed to send.
pub(super) struct Sinks {
    networks: Vec<Network>,
    allow_unencrypted: bool,
    tls: SinkTls,
    /// When it was last told that a sink cannot be shown what its subscriber wants.
    warned: Mutex<Option<Instant>>,
    timeout: Duration,
    names: Arc<Names>,
    lookups: Arc<Semaphore>,
    ends: Semaphore,
    routes: Mutex<HashMap<(bool, String, u16), Arc<Route>>>,
}

/// The connections to one host and port.
struct Route {
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

/// A connection that nobody uses, since when, and of which kind it is: none over clear text.
struct Idle {
    since: Instant,
    kind: Option<Kind>,
    connection: SinkConnection,
}

/// Why a message was not sent.
enum Unsent {
    /// The sink cannot be shown what its subscriber wants. Nothing was sent.
    Unready(String),
    /// The way to the sink, or the sink.
    Failed(String),
}

impl Unsent {
    /// What becomes of the message.
    const fn finished(&self) -> Finished {
        match self {
            Self::Unready(_) => Finished::Unready,
            Self::Failed(_) => Finished::Failed,
        }
    }
}

/// The right to send one message to a sink.
pub(super) struct Turn {
    target: SinkTarget,
    route: Arc<Route>,
    _permit: OwnedSemaphorePermit,
}

impl Sinks {
    pub(super) fn new(config: &EventingConfig) -> Result<Self, SinkTlsError> {
        Ok(Self {
            networks: config.networks(),
            allow_unencrypted: config.allow_unencrypted,
            tls: SinkTls::open(config)?,
            warned: Mutex::default(),
            timeout: Duration::from_millis(config.delivery_timeout_ms),
            names: Arc::new(|host, port| Ok((host, port).to_socket_addrs()?.collect())),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            ends: Semaphore::new(ENDS_MAX),
            routes: Mutex::default(),
        })
    }

    /// Who this server is to sinks.
    pub(super) fn tls(&self) -> &SinkTls {
        &self.tls
    }

    /// Whether a subscription's sinks may be sent to, as their names are now.
    //= EVT-04, EVT-05
    pub(super) async fn may_reach(&self, record: &Record) -> bool {
        for sink in record.delivery.notify_to.iter().chain(&record.end_to) {
            let Some(target) = SinkTarget::parse(&sink.address) else { return false };
            if self.resolve(&target).await.is_none() {
                return false;
            }
        }
        true
    }

    /// An address of the target that may be sent to. A name server that does not answer holds a few threads and no
    /// more: a lookup that nobody waits for any more keeps its permit until it ends.
    async fn resolve(&self, target: &SinkTarget) -> Option<SocketAddr> {
        let found = match target.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, target.port)],
            Err(_) => tokio::time::timeout(self.timeout, self.look_up(target)).await.ok()??,
        };
        let allowed = |address: &SocketAddr| {
            let clear = target.secure || self.allow_unencrypted || address.ip().to_canonical().is_loopback();
            clear && self.networks.iter().any(|network| network.holds(*address))
        };
        found.into_iter().find(allowed)
    }

    async fn look_up(&self, target: &SinkTarget) -> Option<Vec<SocketAddr>> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await.ok()?;
        let (host, port) = (target.host.clone(), target.port);
        let names = Arc::clone(&self.names);
        let lookup = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            names(&host, port)
        });
        lookup.await.ok()?.ok()
    }

    /// Waits until a message may go to a subscription's sink; none when there is nowhere to send to. The wait does not
    /// count against the time of the message: others to the same sink are before it.
    pub(super) async fn turn(&self, record: &Record) -> Option<Turn> {
        self.turn_at(&record.delivery.notify_to.as_ref()?.address).await
    }

    async fn turn_at(&self, address: &str) -> Option<Turn> {
        let target = SinkTarget::parse(address)?;
        let route = self.route(&target);
        let permit = Arc::clone(&route.turns).acquire_owned().await.ok()?;
        Some(Turn { target, route, _permit: permit })
    }

    /// The right to tell an end, unless too many wait to be told.
    pub(super) fn may_tell(&self) -> Option<SemaphorePermit<'_>> {
        self.ends.try_acquire().ok()
    }

    /// Sends a message, and says what became of it.
    pub(super) async fn deliver(&self, outgoing: &mut Outgoing, turn: Option<Turn>) -> Finished {
        let message = Bytes::from(std::mem::take(&mut outgoing.octets));
        let record = &outgoing.record;
        let Some(turn) = turn else { return Finished::Refused };
        match self.send(&turn, record, message).await {
            Ok(answer) => judge(&answer, outgoing.acknowledged.then_some(outgoing.message_id)),
            Err(unsent) => {
                let finished = unsent.finished();
                self.log(record, unsent);
                finished
            }
        }
    }

    /// Sends a message once, without caring what is answered.
    pub(super) async fn tell(&self, address: &str, record: &Record, message: Vec<u8>) {
        let Some(turn) = self.turn_at(address).await else { return };
        if let Err(unsent) = self.send(&turn, record, message.into()).await {
            self.log(record, unsent);
        }
    }

    /// What an administrator has to put right is told once a minute, though every subscription tries again and again.
    fn log(&self, record: &Record, unsent: Unsent) {
        let problem = match unsent {
            Unsent::Failed(problem) => {
                tracing::debug!(subscription = %record.id, problem, "a delivery failed");
                return;
            }
            Unsent::Unready(problem) => problem,
        };
        if self.may_warn() {
            let (message_id, owner) = (Message::SINK_CERTIFICATE_MISSING.id, &record.owner.name);
            tracing::warn!(message_id, subscription = %record.id, owner, problem, "events are not delivered");
        } else {
            tracing::debug!(subscription = %record.id, problem, "events are not delivered");
        }
    }

    fn may_warn(&self) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = warned.is_none_or(|at| WARNED <= at.elapsed());
        if due {
            *warned = Some(Instant::now());
        }
        due
    }

    async fn send(&self, turn: &Turn, record: &Record, message: Bytes) -> Result<SinkAnswer, Unsent> {
        let exchange = self.exchange(&turn.route, &turn.target, record, message);
        let late = || Unsent::Failed("the sink did not answer in time".to_owned());
        tokio::time::timeout(self.timeout, exchange).await.map_err(|_| late())?
    }

    async fn exchange(
        &self,
        route: &Route,
        target: &SinkTarget,
        record: &Record,
        message: Bytes,
    ) -> Result<SinkAnswer, Unsent> {
        let tls = self.security(target, record).await?;
        let kind = tls.as_ref().map(|(kind, _)| *kind);
        let authorization = authorization(record);
        let content_type = if record.delivery.utf16 {
            "application/soap+xml;charset=UTF-16"
        } else {
            "application/soap+xml;charset=UTF-8"
        };
        let mut kept = route.take(kind);
        if let Some(connection) = &mut kept
            && !connection.ready().await
        {
            kept = None;
        }
        let reused = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open(target, tls.clone()).await?,
        };
        let mut answer = connection.post(target, authorization.clone(), content_type, message.clone()).await;
        if answer.is_err() && reused {
            // It may have been closed while nobody used it. A message that did arrive comes twice then, under the same
            // MessageID.
            connection = self.open(target, tls).await?;
            answer = connection.post(target, authorization, content_type, message).await;
        }
        let answer = answer.map_err(|error| Unsent::Failed(error.to_string()))?;
        route.keep(kind, connection);
        Ok(answer)
    }

    /// How a sink is spoken to over TLS; none over clear text, where no certificate can be shown.
    async fn security(
        &self,
        target: &SinkTarget,
        record: &Record,
    ) -> Result<Option<(Kind, Arc<ClientConfig>)>, Unsent> {
        let wanted = record.delivery.certificate.as_ref();
        if !target.secure {
            let unready = || Unsent::Unready("a certificate cannot be shown over clear text".to_owned());
            return wanted.map_or(Ok(None), |_| Err(unready()));
        }
        let settings = self.tls.settings(wanted).await.map_err(|unsettled| match unsettled {
            Unsettled::Unmet(unmet) => Unsent::Unready(unmet.to_string()),
            Unsettled::Untrusting(problem) => Unsent::Failed(problem),
        })?;
        Ok(Some(settings))
    }

    async fn open(
        &self,
        target: &SinkTarget,
        tls: Option<(Kind, Arc<ClientConfig>)>,
    ) -> Result<SinkConnection, Unsent> {
        let unreachable = || Unsent::Failed("the sink is none that may be sent to".to_owned());
        let address = self.resolve(target).await.ok_or_else(unreachable)?;
        let (config, witness) = match tls {
            Some((kind, config)) if kind.shows => {
                let (config, witness) = Witness::of(&config);
                (Some(config), Some(witness))
            }
            tls => (tls.map(|(_, config)| config), None),
        };
        let opened = SinkConnection::open(target, address, config).await;
        let opened = opened.map_err(|error| Unsent::Failed(error.to_string()))?;
        match witness.map_or(Ok(()), |witness| witness.check()) {
            Ok(()) => Ok(opened),
            Err(problem) => Err(Unsent::Unready(problem.to_owned())),
        }
    }

    fn route(&self, target: &SinkTarget) -> Arc<Route> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (target.secure, target.host.clone(), target.port);
        let route = routes.entry(key).or_insert_with(|| {
            Arc::new(Route { turns: Arc::new(Semaphore::new(CONNECTIONS_MAX)), idle: Mutex::default() })
        });
        Arc::clone(route)
    }

    /// Closes connections that nobody has used for a while, and forgets routes that have none.
    pub(super) fn sweep(&self) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|_, route| {
            let mut idle = route.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|idle| idle.since.elapsed() < IDLE && !idle.connection.is_closed());
            !idle.is_empty() || 1 < Arc::strong_count(route)
        });
    }
}

impl Route {
    /// A connection of this kind, and of no other. Where there is none, one of another kind makes room for a new one,
    /// if there would be too many otherwise.
    fn take(&self, kind: Option<Kind>) -> Option<SinkConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| !idle.connection.is_closed());
        if let Some(at) = idle.iter().rposition(|idle| idle.kind == kind) {
            return Some(idle.remove(at).connection);
        }
        let busy = CONNECTIONS_MAX.saturating_sub(self.turns.available_permits());
        if CONNECTIONS_MAX < idle.len() + busy {
            idle.remove(0);
        }
        None
    }

    fn keep(&self, kind: Option<Kind>, connection: SinkConnection) {
        if !connection.is_closed() {
            let idle = Idle { since: Instant::now(), kind, connection };
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
        }
    }
}

/// What a sink is told of who sends: Basic where its subscriber issued a password; else, beside a certificate, the
/// scheme by which servers of WS-Management know that it counts (DSP0226's profile https/mutual).
fn authorization(record: &Record) -> Option<HeaderValue> {
    let mutual = || record.delivery.certificate.as_ref().map(|_| HeaderValue::from_static(uri::PROFILE_HTTPS_MUTUAL));
    record.credentials.as_ref().map(basic).or_else(mutual)
}

/// The header of Basic; marked so that nobody prints it.
fn basic(credentials: &Credentials) -> HeaderValue {
    let pair = Zeroizing::new(format!("{}:{}", credentials.user, credentials.password.reveal()));
    let text = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// What an answer means. Any success will do for a message that asks for nothing; one that asks for an acknowledgement
/// needs just that.
//= EVT-23, EVT-24
fn judge(answer: &SinkAnswer, acknowledges: Option<Uuid>) -> Finished {
    let success = (200..300).contains(&answer.status);
    if acknowledges.is_none() && success {
        return Finished::Delivered;
    }
    let Ok((text, _)) = decode(&answer.octets, answer.charset.as_deref()) else { return Finished::Failed };
    let limits = Limits { octets_max: 64 * 1024, ..Limits::default() };
    let Ok(document) = Document::parse(&text, &limits) else { return Finished::Failed };
    match Reply::parse(&document) {
        Err(fault) if fault.subcode.as_deref() == Some("DeliveryRefused") => Finished::Refused,
        Err(_) => Finished::Failed,
        Ok(reply) => {
            let own = reply.relates_to.as_deref().and_then(|id| id.rsplit(':').next()).and_then(|id| id.parse().ok());
            let acked = success && reply.action.as_deref() == Some(uri::ACK) && own == acknowledges;
            if acked { Finished::Delivered } else { Finished::Failed }
        }
    }
}

#[cfg(test)]
mod tests;
