//! Wires store, backends, engine, endpoint and transport into one server. The composition: no rules of its own.

mod audit;
mod eventing;
mod handler;
mod ids;
mod inventory;
mod logins;
mod record;
mod winrm;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::certificate::{CertificateRules, RuleError};
use crate::auth::{Users, UsersError};
use crate::cim::Schema;
use crate::config::Config;
use crate::endpoint::{CursorLimits, Endpoint, EndpointSettings};
use crate::job::Message;
use crate::provider::{Registry, SchemaMismatch};
use crate::service::SystemClock;
use crate::store::StoreError;
use crate::transport::{self, BindError, Listener, Running, Tls, TlsError, TransportLimits};
use crate::xml;

pub use audit::{Audit, AuditError};
pub use eventing::{SinkTlsError, check_sink_tls};
pub use handler::WsmanHandler;
pub use ids::random_id;
pub use inventory::{INVENTORY_PREFIX, InventoryRecord};
pub use record::RecordError;
pub use world::{OpenWorldError, World, host_name, read_view};

use record::{Bounds, Recorder};

/// The administration socket in the data directory.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The code and the schema files disagree: a broken build.
    #[error(transparent)]
    Schema(#[from] SchemaMismatch),
    /// The users file cannot be read.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// A rule for client certificates cannot be used.
    #[error(transparent)]
    Certificates(#[from] RuleError),
    /// A listener cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificate cannot be read or made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The stored subscriptions cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate for event sinks, or the authorities that vouch for them, cannot be used.
    #[error(transparent)]
    SinkTls(#[from] SinkTlsError),
    /// The audit log cannot be opened.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Exchanges cannot be recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A server that accepts connections.
pub struct Server {
    world: Arc<World>,
    running: Running,
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    tls: Option<Arc<Tls>>,
    users: Arc<Users>,
    audit: Option<Arc<Audit>>,
    eventing: Arc<eventing::Eventing>,
    lines: Vec<String>,
    patience: Duration,
}

impl Server {
    /// Starts to serve an opened data directory.
    pub fn start(config: &Config, world: Arc<World>) -> Result<Self, StartError> {
        let limits = transport_limits(config);
        let users = Arc::new(logins::users(config)?);
        let rules = Arc::new(config.access_rules());
        let audit = Audit::open(config, Arc::new(SystemClock))?.map(Arc::new);
        let Listening { clear, sealed, tls } = listen(config, world.host_name())?;
        let http = clear.as_ref().and_then(Listener::address);
        let https = sealed.as_ref().and_then(Listener::address);
        let bound = winrm::Bound { host_name: world.host_name(), http, https, tls: tls.as_ref() };
        let endpoint = Arc::new(endpoint(config, &bound)?);
        let eventing = eventing::Eventing::start(eventing::Parts {
            endpoint: Arc::clone(&endpoint),
            engine: Arc::clone(world.engine()),
            store: Arc::clone(world.store()),
            users: Arc::clone(&users),
            rules: Arc::clone(&rules),
            config: &config.eventing,
        })?;
        let timeout_max = config.limits.operation_timeout();
        let handler = WsmanHandler::new(
            endpoint,
            Arc::clone(world.engine()),
            rules,
            audit.clone(),
            Arc::clone(&eventing),
            timeout_max,
        );
        let place = Some(config.record.as_path()).filter(|place| !place.as_os_str().is_empty());
        let recorder = place.map(|place| Recorder::open(place, Bounds::default())).transpose()?;
        let handler = handler.recording(recorder);
        let mut listeners: Vec<Listener> = clear.into_iter().chain(sealed).collect();
        listeners.push(Listener::local(&config.data_dir.join(ADMIN_SOCKET))?);
        let lines = listeners.iter().map(ToString::to_string).collect();
        let certificates = CertificateRules::parse(&config.client_certificates.rules)?;
        let parts =
            logins::Parts { config, host_name: world.host_name(), users: &users, certificates, tls: tls.clone() };
        let mechanisms = logins::mechanisms(parts);
        let running = transport::serve(listeners, Arc::new(handler), mechanisms, limits);
        let patience = Duration::from_millis(config.limits.shutdown_timeout_ms);
        Ok(Self { world, running, http, https, tls, users, audit, eventing, lines, patience })
    }

    /// The bound address of the clear-text listener.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// The bound address of the TLS listener.
    pub fn https(&self) -> Option<SocketAddr> {
        self.https
    }

    /// One line a listener, for the person who started the server.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// What is served.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Reads the users again, at once; a change is noticed within `users_recheck_ms` in any case.
    pub fn reload_users(&self) {
        self.users.refresh();
    }

    /// Opens the audit log again, after its file was moved away.
    pub fn reopen_audit(&self) {
        if let Some(audit) = &self.audit {
            audit.reopen();
        }
    }

    /// Reads the certificate and its key again, and those for event sinks, for the connections from now on. One that
    /// cannot be used is told in the log, and the one in use stays.
    pub fn reload_certificate(&self) {
        self.eventing.reload_certificate();
        let Some(tls) = &self.tls else {
            tracing::info!("there is no certificate to read again: HTTPS is off");
            return;
        };
        let path = tls.certificate_file().display();
        match tls.reload() {
            Ok(()) => {
                let (message_id, sha256) = (Message::CERTIFICATE_RELOADED.id, tls.fingerprint());
                tracing::info!(message_id, %path, sha256, "the certificate was read again");
            }
            Err(error) => {
                let message_id = Message::CERTIFICATE_KEPT.id;
                tracing::error!(message_id, %path, %error, "the certificate in use stays");
            }
        }
    }

    /// Stops: no new connections, requests in flight end, running jobs stop at a checkpoint and go on at the next
    /// start. Both at once, so that one limit holds for the whole.
    pub async fn shutdown(self) {
        let (left, ()) = tokio::join!(self.running.shutdown(self.patience), self.world.engine().shutdown());
        self.eventing.stop().await;
        if 0 < left {
            tracing::warn!(connections = left, "connections were still at work when the server stopped");
        }
        if let Some(audit) = &self.audit {
            audit.end();
        }
    }
}

/// The listeners over TCP, and the certificate.
struct Listening {
    clear: Option<Listener>,
    sealed: Option<Listener>,
    tls: Option<Arc<Tls>>,
}

fn listen(config: &Config, host_name: &str) -> Result<Listening, StartError> {
    let clear = config.http_address().map(Listener::http).transpose()?;
    // CredSSP shows the certificate too, whether there is an HTTPS listener or not.
    let shown = config.https_address().is_some() || config.login.credssp;
    let tls = if shown { Some(Arc::new(tls(config, host_name)?)) } else { None };
    let sealed = match (config.https_address(), &tls) {
        (Some(address), Some(tls)) => Some(Listener::https(address, Arc::clone(tls))?),
        _ => None,
    };
    Ok(Listening { clear, sealed, tls })
}

fn endpoint(config: &Config, bound: &winrm::Bound<'_>) -> Result<Endpoint, SchemaMismatch> {
    let schema = Schema::builtin();
    let limits = &config.limits;
    let per_principal_max = usize::try_from(limits.contexts_per_principal_max).unwrap_or(usize::MAX);
    let settings = EndpointSettings {
        limits: xml::Limits {
            octets_max: limits.envelope_octets_max.saturating_mul(2),
            depth_max: limits.depth_max,
            elements_max: limits.elements_max,
            attributes_max: limits.attributes_max,
            name_octets_max: limits.name_octets_max,
            ..xml::Limits::default()
        },
        envelope_octets_max: u32::try_from(limits.envelope_octets_max).unwrap_or(u32::MAX),
        items_max: ITEMS_MAX,
        cursors: CursorLimits {
            per_principal_max,
            total_max: per_principal_max.saturating_mul(16),
            idle_ms: limits.context_timeout_ms,
        },
        events: config.eventing.limits(limits.envelope_octets_max),
        version: format!("OS: 0.0.0 SP: 0.0 Stack: 3.0 failbackd {}", env!("CARGO_PKG_VERSION")),
        profiles: logins::profiles(config),
        winrm: winrm::config(config, bound, ITEMS_MAX),
        machine: bound.host_name.into(),
        profile: config.profile.places(),
    };
    Ok(Endpoint::new(schema, Registry::new(schema)?, settings))
}

/// The configured limits, as far as the system lets the process open files.
fn transport_limits(config: &Config) -> TransportLimits {
    let mut limits = config.limits.transport();
    let wanted = limits.connections_max;
    limits.connections_max = transport::connections_within(wanted, transport::raise_open_files_limit());
    if limits.connections_max < wanted {
        tracing::warn!(
            message_id = "FBD1105",
            connections_max = limits.connections_max,
            wanted,
            "the system's limit of open files allows fewer connections than configured (ulimit -n, LimitNOFILE)"
        );
    }
    limits
}

/// The most items of one page (Windows' MaxBatchItems).
const ITEMS_MAX: u32 = 32_000;

fn tls(config: &Config, host_name: &str) -> Result<Tls, TlsError> {
    let tls = match config.certificate() {
        Some((certificate, key)) => Tls::from_files(certificate, key),
        None => Tls::self_made(&config.data_dir, host_name, time::OffsetDateTime::now_utc()),
    }?;
    match config.client_certificates.authorities() {
        Some(authorities) => tls.with_client_authorities(authorities),
        None => Ok(tls),
    }
}
