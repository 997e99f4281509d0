//! The way to sinks: which addresses may be sent to, connections that are used again, and what an answer means.

use std::collections::HashMap;
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

use crate::client::{SinkAnswer, SinkConnection, SinkTarget, Trust};
use crate::config::{EventingConfig, Network};
use crate::endpoint::{Finished, Outgoing, Record};
use crate::wsman::client::Reply;
use crate::wsman::eventing::Credentials;
use crate::wsman::uri;
use crate::xml::text::decode;
use crate::xml::{Document, Limits};

/// Connections to one sink at the same time. A sink that stalls holds these and no others.
const CONNECTIONS_MAX: usize = 8;
/// Names looked up at the same time.
const LOOKUPS_MAX: usize = 16;
/// Ends of subscriptions that are being told at the same time; more are not told.
const ENDS_MAX: usize = 256;
/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(30);

/// Everything that is needed to send.
pub(super) struct Sinks {
    networks: Vec<Network>,
    allow_unencrypted: bool,
    trust: Trust,
    tls: Mutex<Option<Arc<ClientConfig>>>,
    timeout: Duration,
    lookups: Arc<Semaphore>,
    ends: Semaphore,
    routes: Mutex<HashMap<(bool, String, u16), Arc<Route>>>,
}

/// The connections to one host and port.
struct Route {
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<(Instant, SinkConnection)>>,
}

/// The right to send one message to a sink.
pub(super) struct Turn {
    target: SinkTarget,
    route: Arc<Route>,
    _permit: OwnedSemaphorePermit,
}

impl Sinks {
    pub(super) fn new(config: &EventingConfig) -> Self {
        let given = !config.authorities.as_os_str().is_empty();
        Self {
            networks: config.networks(),
            allow_unencrypted: config.allow_unencrypted,
            trust: if given { Trust::Authority(config.authorities.clone()) } else { Trust::System },
            tls: Mutex::default(),
            timeout: Duration::from_millis(config.delivery_timeout_ms),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            ends: Semaphore::new(ENDS_MAX),
            routes: Mutex::default(),
        }
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
        let lookup = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
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
            Err(problem) => {
                tracing::debug!(subscription = %record.id, problem, "a delivery failed");
                Finished::Failed
            }
        }
    }

    /// Sends a message once, without caring what is answered.
    pub(super) async fn tell(&self, address: &str, record: &Record, message: Vec<u8>) {
        let Some(turn) = self.turn_at(address).await else { return };
        if let Err(problem) = self.send(&turn, record, message.into()).await {
            tracing::debug!(subscription = %record.id, problem, "the end of a subscription could not be told");
        }
    }

    async fn send(&self, turn: &Turn, record: &Record, message: Bytes) -> Result<SinkAnswer, String> {
        let exchange = self.exchange(&turn.route, &turn.target, record, message);
        tokio::time::timeout(self.timeout, exchange).await.map_err(|_| "the sink did not answer in time")?
    }

    async fn exchange(
        &self,
        route: &Route,
        target: &SinkTarget,
        record: &Record,
        message: Bytes,
    ) -> Result<SinkAnswer, String> {
        let authorization = record.credentials.as_ref().map(basic);
        let content_type = if record.delivery.utf16 {
            "application/soap+xml;charset=UTF-16"
        } else {
            "application/soap+xml;charset=UTF-8"
        };
        let mut kept = route.take();
        if let Some(connection) = &mut kept
            && !connection.ready().await
        {
            kept = None;
        }
        let reused = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open(target).await?,
        };
        let mut answer = connection.post(target, authorization.clone(), content_type, message.clone()).await;
        if answer.is_err() && reused {
            // It may have been closed while nobody used it. A message that did arrive comes twice then, under the same
            // MessageID.
            connection = self.open(target).await?;
            answer = connection.post(target, authorization, content_type, message).await;
        }
        let answer = answer.map_err(|error| error.to_string())?;
        route.keep(connection);
        Ok(answer)
    }

    async fn open(&self, target: &SinkTarget) -> Result<SinkConnection, String> {
        let address = self.resolve(target).await.ok_or("the sink is none that may be sent to")?;
        let tls = if target.secure { Some(self.tls()?) } else { None };
        SinkConnection::open(target, address, tls).await.map_err(|error| error.to_string())
    }

    /// The settings of TLS, read at first use.
    fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let mut tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = &*tls {
            return Ok(Arc::clone(config));
        }
        let config = self.trust.config().map_err(|error| error.to_string())?;
        Ok(Arc::clone(tls.insert(config)))
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
            idle.retain(|(since, connection)| since.elapsed() < IDLE && !connection.is_closed());
            !idle.is_empty() || 1 < Arc::strong_count(route)
        });
    }
}

impl Route {
    fn take(&self) -> Option<SinkConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, connection)) = idle.pop() {
            if !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: SinkConnection) {
        if !connection.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), connection));
        }
    }
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
