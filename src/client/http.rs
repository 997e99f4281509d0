//! One HTTP/1.1 connection, kept alive over exchanges: plain, TLS, or a local socket.

use super::error::ClientError;
use super::target::{Route, Target};
use super::tls::Trust;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// The largest answer that is read: far above what the client asks for, so that only a broken server meets it.
const ANSWER_OCTETS_MAX: usize = 64 << 20;

/// An answer that may hold a SOAP envelope.
pub(crate) struct HttpAnswer {
    pub(crate) octets: Bytes,
    pub(crate) charset: Option<String>,
}

/// The connection to one target; opened on first use and again when the server closed it.
pub(crate) struct Connection {
    target: Target,
    authorization: Option<HeaderValue>,
    tls: Option<Arc<ClientConfig>>,
    sender: Option<SendRequest<Full<Bytes>>>,
    timeout: Duration,
}

impl Connection {
    pub(crate) fn new(
        target: Target,
        authorization: Option<HeaderValue>,
        trust: &Trust,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let tls = match target.route {
            Route::Https { .. } => Some(trust.config(None)?),
            Route::Http { .. } | Route::Unix(_) => None,
        };
        Ok(Self { target, authorization, tls, sender: None, timeout })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Posts one envelope and reads the whole answer.
    pub(crate) async fn post(&mut self, envelope: Vec<u8>) -> Result<HttpAnswer, ClientError> {
        let seconds = self.timeout.as_secs();
        // Out of time, the connection is dropped with the exchange: a late answer cannot be taken for the next one's.
        let target = self.target.label();
        tokio::time::timeout(self.timeout, self.exchange(envelope))
            .await
            .map_err(|_| ClientError::TimedOut { target, seconds })?
    }

    async fn exchange(&mut self, envelope: Vec<u8>) -> Result<HttpAnswer, ClientError> {
        let mut request = self.request(Bytes::from(envelope))?;
        let reused = self.sender.is_some();
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            Some(_) | None => self.connect().await?,
        };
        let mut retried = !reused;
        let response = loop {
            match sender.try_send_request(request).await {
                Ok(response) => break response,
                Err(mut failed) => match failed.take_message() {
                    // The server closed an idle connection before it took anything: nothing was asked twice.
                    Some(unsent) if !retried => {
                        retried = true;
                        request = unsent;
                        sender = self.connect().await?;
                    }
                    Some(_) | None => return Err(ClientError::connection(&self.target.label(), failed.error())),
                },
            }
        };
        let answer = self.read(response).await;
        if answer.is_ok() {
            self.sender = Some(sender);
        }
        answer
    }

    fn request(&self, envelope: Bytes) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut builder = Request::builder()
            .method(Method::POST)
            .uri(self.target.path.as_str())
            .header(HOST, self.target.authority())
            .header(USER_AGENT, concat!("failbackd/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/soap+xml;charset=UTF-8");
        if let Some(authorization) = &self.authorization {
            builder = builder.header(AUTHORIZATION, authorization.clone());
        }
        builder.body(Full::new(envelope)).map_err(|error| ClientError::Target(error.to_string()))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let label = self.target.label();
        match &self.target.route {
            Route::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| ClientError::io(&label, &error))?;
                handshake(stream, &label).await
            }
            Route::Http { host, port } => handshake(tcp(host, *port, &label).await?, &label).await,
            Route::Https { host, port } => {
                let Some(config) = &self.tls else {
                    return Err(ClientError::Trust("TLS without settings".to_owned()));
                };
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| ClientError::Target(format!("'{host}' is no host name")))?;
                let stream = tcp(host, *port, &label).await?;
                let stream = TlsConnector::from(Arc::clone(config))
                    .connect(name, stream)
                    .await
                    .map_err(|error| untrusted(&label, &error))?;
                handshake(stream, &label).await
            }
        }
    }

    async fn read(&self, response: Response<hyper::body::Incoming>) -> Result<HttpAnswer, ClientError> {
        let (head, body) = response.into_parts();
        let octets = Limited::new(body, ANSWER_OCTETS_MAX)
            .collect()
            .await
            .map_err(|error| ClientError::connection(&self.target.label(), &error))?
            .to_bytes();
        if head.status == StatusCode::UNAUTHORIZED {
            return Err(ClientError::Unauthorized(refusal(&head.headers, self.authorization.is_some())));
        }
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if content_type.to_ascii_lowercase().contains("xml") && !octets.is_empty() {
            return Ok(HttpAnswer { octets, charset: charset(content_type) });
        }
        let start: String = String::from_utf8_lossy(&octets).trim().chars().take(200).collect();
        let reason = head.status.canonical_reason().unwrap_or_default();
        let text = if start.is_empty() { reason.to_owned() } else { format!("{reason}: {start}") };
        Err(ClientError::Http { status: head.status.as_u16(), text })
    }
}

/// A failed TLS handshake; of a certificate that nobody vouches for, with what the user can do.
pub(super) fn untrusted(label: &str, error: &std::io::Error) -> ClientError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if matches!(inner, Some(rustls::Error::InvalidCertificate(_))) {
        let problem = format!("TLS: {error}; name its authority, or the certificate's fingerprint");
        return ClientError::connection(label, &problem);
    }
    ClientError::connection(label, &format!("TLS: {error}"))
}

async fn tcp(host: &str, port: u16, label: &str) -> Result<TcpStream, ClientError> {
    let stream = TcpStream::connect((host, port)).await.map_err(|error| ClientError::io(label, &error))?;
    stream.set_nodelay(true).map_err(|error| ClientError::io(label, &error))?;
    Ok(stream)
}

pub(super) async fn handshake<S>(stream: S, label: &str) -> Result<SendRequest<Full<Bytes>>, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| ClientError::connection(label, &error))?;
    // Errors of the connection reach the request that waits on it.
    tokio::spawn(connection);
    Ok(sender)
}

/// What a 401 means for the user: wrong credentials, or a server that does not take Basic.
fn refusal(headers: &HeaderMap, had_credentials: bool) -> String {
    let schemes: Vec<&str> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter_map(|value| value.split_whitespace().next())
        .collect();
    if !schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("Basic")) {
        let offered = if schemes.is_empty() { "nothing".to_owned() } else { schemes.join(", ") };
        return format!("the server offers {offered} here, not Basic (plain HTTP may not carry it: try https)");
    }
    let hint = if had_credentials { "wrong user or password" } else { "the server asks for a user and a password" };
    hint.to_owned()
}

/// The charset parameter of a content type.
pub(super) fn charset(content_type: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charset_is_read_with_and_without_space_and_quotes() {
        assert_eq!(charset("application/soap+xml;charset=UTF-8").as_deref(), Some("UTF-8"));
        assert_eq!(charset("text/xml; action=\"x\"; CharSet=\"utf-16\"").as_deref(), Some("utf-16"));
        assert_eq!(charset("application/soap+xml"), None);
    }

    #[test]
    fn a_401_says_what_to_do() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Negotiate"));
        assert!(refusal(&headers, true).contains("offers Negotiate"));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"WSMAN\""));
        assert_eq!(refusal(&headers, true), "wrong user or password");
        assert!(refusal(&headers, false).contains("asks for"));
    }
}
