//! Listening sockets, and the life of a server that serves several of them.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::server::TlsStream;

use super::activity::Activity;
use super::connection;
use super::http::{Connection, Site};
use super::limits::TransportLimits;
use super::newcomers::{Newcomer, Newcomers};
use super::tls::Tls;
use super::{Handler, Peer};
use crate::auth::{Channel, Mechanisms, Principal, Session, local_administrator};

/// Connections that the kernel holds ready for us; it may cut this to its own limit.
const BACKLOG: i32 = 4096;
/// How long accepting rests when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there already.
    #[error(
        "cannot listen on {address} ({kind}): the port is taken, perhaps by another server; choose another \
         address with --{kind} ADDR, or --{kind} off"
    )]
    Taken {
        /// `http` or `https`.
        kind: &'static str,
        /// As it was asked for.
        address: String,
    },
    /// The address is not one, or cannot be used.
    #[error("cannot listen on {address} ({kind}): {source}")]
    Address {
        /// `http` or `https`.
        kind: &'static str,
        /// As it was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The administration socket.
    #[error("cannot listen on {path}: {source}")]
    Local {
        /// The socket's path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A live server answers on the administration socket.
    #[error("another server is running on this data directory: it answers on {0}")]
    Running(PathBuf),
}

/// A bound socket: clients can connect, and wait until [`serve`] takes it.
pub struct Listener {
    socket: Bound,
}

enum Bound {
    Http(TcpListener),
    Https(TcpListener, Arc<Tls>),
    Local(UnixListener, PathBuf),
}

impl Listener {
    /// Clear text on `address` (`127.0.0.1:5985`, `[::1]:5985`, `localhost:5985`; port 0 takes a free one).
    pub fn http(address: &str) -> Result<Self, BindError> {
        Ok(Self { socket: Bound::Http(bind("http", address)?) })
    }

    /// TLS on `address`.
    pub fn https(address: &str, tls: Arc<Tls>) -> Result<Self, BindError> {
        Ok(Self { socket: Bound::Https(bind("https", address)?, tls) })
    }

    /// The administration socket at `path`, for the user that the server runs as and for root. A socket that a dead
    /// server left behind is taken over.
    pub fn local(path: &Path) -> Result<Self, BindError> {
        let failed = |source| BindError::Local { path: path.to_owned(), source };
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(BindError::Running(path.to_owned()));
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let open = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&SockAddr::unix(path)?)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            UnixListener::from_std(socket.into())
        };
        Ok(Self { socket: Bound::Local(open().map_err(failed)?, path.to_owned()) })
    }

    /// The address that a TCP listener is bound to.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Bound::Http(socket) | Bound::Https(socket, _) => socket.local_addr().ok(),
            Bound::Local(..) => None,
        }
    }
}

/// One line for the person who started the server.
impl fmt::Display for Listener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address().map(|address| address.to_string()).unwrap_or_default();
        match &self.socket {
            Bound::Http(_) => write!(out, "listening on http://{address}/wsman"),
            Bound::Https(_, tls) => {
                write!(out, "listening on https://{address}/wsman (certificate SHA-256 {})", tls.fingerprint())
            }
            Bound::Local(_, path) => write!(out, "listening on {}", path.display()),
        }
    }
}

fn bind(kind: &'static str, address: &str) -> Result<TcpListener, BindError> {
    let failed = |source: io::Error| {
        let address = address.to_owned();
        if source.kind() == io::ErrorKind::AddrInUse {
            BindError::Taken { kind, address }
        } else {
            BindError::Address { kind, address, source }
        }
    };
    let open = || {
        let unknown = || io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
        let resolved = address.to_socket_addrs()?.next().ok_or_else(unknown)?;
        let socket = Socket::new(Domain::for_address(resolved), Type::STREAM, Some(Protocol::TCP))?;
        // A restart need not wait until the last server's connections have timed out.
        socket.set_reuse_address(true)?;
        socket.bind(&resolved.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(failed)
}

/// Descriptors that are left to store, disks and hooks when connections have taken all that they may.
const FILES_FOR_OTHERS: u64 = 256;

/// How many connections may be held at the same time where the system allows `files` descriptors: `wanted`, or as many
/// as leave some to those who do the work. A job must not fail because clients connect.
pub fn connections_within(wanted: usize, files: Option<u64>) -> usize {
    let Some(files) = files else { return wanted };
    let left = files.saturating_sub(FILES_FOR_OTHERS).max(files / 2).max(1);
    wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
}

/// Let the process hold as many connections as the system allows it to: the usual soft limit of 1,024 descriptors is
/// less than `connections_max`. Returns the limit now in force, where there is one.
pub fn raise_open_files_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// A server at work; [`Running::shutdown`] ends it.
pub struct Running {
    stop: watch::Sender<bool>,
    connections: Places,
    local_connections: Places,
    local: Vec<PathBuf>,
}

/// Connections on the administration socket: places of its own, so that clients who took all others do not keep the
/// administrator out.
const LOCAL_CONNECTIONS_MAX: usize = 64;

/// Places for connections.
#[derive(Clone)]
struct Places {
    free: Arc<Semaphore>,
    all: u32,
}

impl Places {
    fn new(wanted: usize) -> Self {
        let all = u32::try_from(wanted).unwrap_or(u32::MAX).clamp(1, 1 << 20);
        Self { free: Arc::new(Semaphore::new(usize::try_from(all).unwrap_or(1))), all }
    }

    /// Wait until nobody has a place any more.
    async fn empty(&self) {
        // The semaphore is never closed.
        let _ = self.free.acquire_many(self.all).await;
    }

    fn taken(&self) -> usize {
        usize::try_from(self.all).unwrap_or(usize::MAX).saturating_sub(self.free.available_permits())
    }
}

/// Begin to accept on all `listeners`.
pub fn serve(
    listeners: Vec<Listener>,
    handler: Arc<dyn Handler>,
    mechanisms: Mechanisms,
    limits: TransportLimits,
) -> Running {
    let connections = Places::new(limits.connections_max);
    let local_connections = Places::new(LOCAL_CONNECTIONS_MAX);
    let (stop, _) = watch::channel(false);
    let newcomers = Arc::new(Newcomers::new(limits.newcomers_max));
    let site = Arc::new(Site { handler, mechanisms, limits, newcomers });
    let mut local = Vec::new();
    for listener in listeners {
        let places = if let Bound::Local(_, path) = &listener.socket {
            local.push(path.clone());
            &local_connections
        } else {
            &connections
        };
        let accept = Accept { site: Arc::clone(&site), places: Arc::clone(&places.free), stop: stop.subscribe() };
        tokio::spawn(accept.run(listener));
    }
    Running { stop, connections, local_connections, local }
}

impl Running {
    /// Stop accepting, let the requests in flight end, close the connections that rest. Returns how many connections
    /// were still at work when `patience` ran out; they end with the runtime.
    pub async fn shutdown(self, patience: Duration) -> usize {
        self.stop.send_replace(true);
        for path in &self.local {
            let _ = fs::remove_file(path);
        }
        let all_ended = async {
            self.connections.empty().await;
            self.local_connections.empty().await;
        };
        match tokio::time::timeout(patience, all_ended).await {
            Ok(()) => 0,
            Err(_) => self.connections.taken().saturating_add(self.local_connections.taken()),
        }
    }
}

/// What an accepting task needs.
struct Accept {
    site: Arc<Site>,
    places: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

enum Accepted {
    Tcp(TcpStream, SocketAddr, Option<Arc<Tls>>),
    Local(UnixStream),
}

impl Accept {
    async fn run(self, listener: Listener) {
        let mut stop = self.stop.clone();
        let mut failing = false;
        loop {
            let next = async {
                // The permit comes first: past the cap, clients wait in the kernel's queue.
                let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
                Some((permit, accept(&listener.socket).await))
            };
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = next => accepted,
            };
            match accepted {
                Some((permit, Ok(accepted))) => {
                    failing = false;
                    self.spawn(accepted, permit);
                }
                Some((permit, Err(error))) => {
                    drop(permit);
                    // The client of an aborted connection is gone; anything else (no descriptors) needs a rest.
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        if !failing {
                            tracing::warn!(
                                message_id = "FBD1103",
                                %error,
                                "no connection can be accepted; trying again without a word until one is"
                            );
                        }
                        failing = true;
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
                None => return,
            }
        }
    }

    fn spawn(&self, accepted: Accepted, permit: OwnedSemaphorePermit) {
        let (site, stop) = (Arc::clone(&self.site), self.stop.clone());
        let newcomer = if let Accepted::Tcp(_, address, _) = &accepted {
            let Some(newcomer) = site.newcomers.admit(address.ip()) else {
                tracing::debug!(peer = %address, "closed: too many connections wait for a login");
                return;
            };
            Some(newcomer)
        } else {
            None
        };
        match accepted {
            Accepted::Tcp(stream, address, None) => {
                let channel = Channel { peer: Some(address.ip()), ..Channel::default() };
                let connection = connection(site, Peer::Tcp(address), channel, None, newcomer);
                tokio::spawn(async move {
                    let _permit = permit;
                    connection::serve(stream, connection, stop).await;
                });
            }
            Accepted::Tcp(stream, address, Some(tls)) => {
                tokio::spawn(async move {
                    let _permit = permit;
                    let Some((stream, channel)) = handshake(stream, address, &tls, &site.limits, &stop).await else {
                        return;
                    };
                    let connection = connection(site, Peer::Tcp(address), channel, None, newcomer);
                    connection::serve(stream, connection, stop).await;
                });
            }
            Accepted::Local(stream) => match local_administrator(&stream) {
                Ok(principal) => {
                    let channel = Channel { encrypted: true, ..Channel::default() };
                    let connection = connection(site, Peer::Local, channel, Some(Arc::new(principal)), newcomer);
                    tokio::spawn(async move {
                        let _permit = permit;
                        connection::serve(stream, connection, stop).await;
                    });
                }
                Err(refusal) => {
                    tracing::warn!(message_id = "FBD1104", %refusal, "a local user may not administer this server");
                }
            },
        }
    }
}

/// Take a connection through its TLS handshake, with the certificate that is in use now: what it is bound to, and whom
/// the client's certificate names, stays as it is when the certificate is read again. None when it came to nothing.
async fn handshake(
    stream: TcpStream,
    address: SocketAddr,
    tls: &Tls,
    limits: &TransportLimits,
    stop: &watch::Receiver<bool>,
) -> Option<(TlsStream<TcpStream>, Channel)> {
    let loaded = tls.current();
    // On the heap for as long as it takes: the state of a handshake is large, and connections are many.
    let handshake = Box::pin(loaded.acceptor().accept(stream));
    let mut stopping = stop.clone();
    let handshake = tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => return None,
        handshake = tokio::time::timeout(limits.header_timeout, handshake) => handshake,
    };
    match handshake {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let channel = Channel {
                peer: Some(address.ip()),
                encrypted: true,
                binding: Some(Arc::clone(loaded.binding())),
                certificate: certificate.map(|certificate| certificate.as_ref().into()),
            };
            Some((stream, channel))
        }
        Ok(Err(error)) => {
            tracing::debug!(peer = %address, %error, "TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(peer = %address, "TLS handshake took too long");
            None
        }
    }
}

fn connection(
    site: Arc<Site>,
    peer: Peer,
    channel: Channel,
    local: Option<Arc<Principal>>,
    newcomer: Option<Newcomer>,
) -> Arc<Connection> {
    Arc::new(Connection {
        site,
        peer,
        channel,
        local,
        session: Mutex::new(Session::new()),
        activity: Arc::new(Activity::new()),
        newcomer: Mutex::new(newcomer),
    })
}

async fn accept(socket: &Bound) -> io::Result<Accepted> {
    let (listener, tls) = match socket {
        Bound::Http(listener) => (listener, None),
        Bound::Https(listener, tls) => (listener, Some(tls)),
        Bound::Local(listener, _) => return Ok(Accepted::Local(listener.accept().await?.0)),
    };
    let (stream, address) = listener.accept().await?;
    // An answer is one write; waiting for more to send with it costs 40 ms against delayed acknowledgements.
    stream.set_nodelay(true)?;
    Ok(Accepted::Tcp(stream, address, tls.cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_the_work() {
        for (wanted, files, left) in [
            (4096, None, 4096),
            (4096, Some(1 << 20), 4096),
            (4096, Some(4352), 4096),
            (4096, Some(4351), 4095),
            (4096, Some(1024), 768),
            (4096, Some(256), 128),
            (4096, Some(0), 1),
            (100, Some(1024), 100),
        ] {
            assert_eq!(connections_within(wanted, files), left, "{wanted} {files:?}");
        }
    }
}
