//! Sending to a sink of events: one connection to an address that was checked before. Nothing that an answer says is
//! followed anywhere else.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::ClientError;
use super::http::{charset, handshake, untrusted};

/// The largest answer of a sink that is read: an acknowledgement or a fault.
const ANSWER_OCTETS_MAX: usize = 64 * 1024;

/// Where a sink is: its URL, read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SinkTarget {
    /// Whether over TLS.
    pub secure: bool,
    /// Host name or address.
    pub host: String,
    /// Port; that of the scheme when the URL has none.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl SinkTarget {
    /// Reads `http://HOST[:PORT][/PATH]` or `https://…`. Nothing else is one: no user in it, no other scheme.
    pub fn parse(url: &str) -> Option<Self> {
        let uri: hyper::Uri = url.parse().ok()?;
        let secure = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        if uri.authority()?.as_str().contains('@') {
            return None;
        }
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return None;
        }
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Some(Self { secure, host: host.to_owned(), port, path: path.to_owned() })
    }

    /// Host and port, as in the header `Host`.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A connection to a sink.
pub struct SinkConnection {
    sender: SendRequest<Full<Bytes>>,
}

/// What a sink answered.
pub struct SinkAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub octets: Bytes,
    /// The charset of its content type.
    pub charset: Option<String>,
}

impl SinkConnection {
    /// Connects to `address`, which is one that the target's host stands for. With `tls` the target's host must prove
    /// to be itself.
    pub async fn open(
        target: &SinkTarget,
        address: SocketAddr,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, ClientError> {
        let label = target.authority();
        let stream = TcpStream::connect(address).await.map_err(|error| ClientError::io(&label, &error))?;
        stream.set_nodelay(true).map_err(|error| ClientError::io(&label, &error))?;
        let sender = match tls {
            None => handshake(stream, &label).await?,
            Some(config) => {
                let name = ServerName::try_from(target.host.clone())
                    .map_err(|_| ClientError::Target(format!("'{}' is no host name", target.host)))?;
                let stream = TlsConnector::from(config)
                    .connect(name, stream)
                    .await
                    .map_err(|error| untrusted(&label, &error))?;
                handshake(stream, &label).await?
            }
        };
        Ok(Self { sender })
    }

    /// Whether the sink has closed it.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Posts one message and reads the whole answer, whatever its status.
    pub async fn post(
        &mut self,
        target: &SinkTarget,
        authorization: Option<HeaderValue>,
        content_type: &'static str,
        message: Bytes,
    ) -> Result<SinkAnswer, ClientError> {
        let label = target.authority();
        let mut request = Request::post(target.path.as_str())
            .header(HOST, label.as_str())
            .header(USER_AGENT, concat!("failbackd/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, content_type);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(message)).map_err(|error| ClientError::Target(error.to_string()))?;
        let sent = self.sender.send_request(request).await;
        let (head, body) = sent.map_err(|error| ClientError::connection(&label, &error))?.into_parts();
        let body = Limited::new(body, ANSWER_OCTETS_MAX).collect().await;
        let octets = body.map_err(|error| ClientError::connection(&label, &error))?.to_bytes();
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(SinkAnswer { status: head.status.as_u16(), octets, charset: charset(content_type) })
    }

    /// Waits until another message can be sent.
    pub async fn ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_urls_of_http_and_nothing_else() {
        let target = SinkTarget::parse("https://collector.lab.example:5986/wsman/1?x=y").unwrap();
        assert_eq!((target.secure, target.port, target.path.as_str()), (true, 5986, "/wsman/1?x=y"));
        assert_eq!(SinkTarget::parse("http://[::1]/").unwrap().authority(), "[::1]:80");
        for bad in ["", "/wsman", "ftp://a/", "http://user:secret@a/", "http:///x", "unix:/run/x", "file:///etc/passwd"]
        {
            assert_eq!(SinkTarget::parse(bad), None, "{bad}");
        }
    }
}
