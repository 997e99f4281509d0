//! Where a server is: a URL of a WS-Management endpoint, or a local socket.

use super::error::ClientError;
use std::path::PathBuf;
use std::str::FromStr;

/// The endpoint to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// How to reach it.
    pub(crate) route: Route,
    /// The path on the server, `/wsman` unless the URL says otherwise.
    pub(crate) path: String,
}

/// The way to the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Http { host: String, port: u16 },
    Https { host: String, port: u16 },
    Unix(PathBuf),
}

impl Target {
    /// The socket of a server on this machine; it knows its caller by the caller's user id, so no password is needed.
    pub fn socket(path: PathBuf) -> Self {
        Self { route: Route::Unix(path), path: "/wsman".to_owned() }
    }

    /// Where the same server answers Identify to anybody (MS-WSMV: `/wsman-anon/identify`).
    #[must_use]
    pub fn anonymous(&self) -> Self {
        let path = if self.path.trim_end_matches('/') == "/wsman" { "/wsman-anon/identify" } else { &self.path };
        Self { route: self.route.clone(), path: path.to_owned() }
    }

    /// True when the target is a socket of this machine and needs no credentials.
    pub fn is_local_socket(&self) -> bool {
        matches!(self.route, Route::Unix(_))
    }

    /// Host and port for messages and the `Host` header.
    pub(crate) fn authority(&self) -> String {
        match &self.route {
            Route::Http { host, port } | Route::Https { host, port } if host.contains(':') => {
                format!("[{host}]:{port}")
            }
            Route::Http { host, port } | Route::Https { host, port } => format!("{host}:{port}"),
            Route::Unix(_) => "localhost".to_owned(),
        }
    }

    /// What to call the target in a message.
    pub(crate) fn label(&self) -> String {
        match &self.route {
            Route::Unix(path) => path.display().to_string(),
            Route::Http { .. } | Route::Https { .. } => self.authority(),
        }
    }

    /// The address for `a:To`.
    pub(crate) fn address(&self) -> String {
        let scheme = if matches!(self.route, Route::Https { .. }) { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }
}

impl FromStr for Target {
    type Err = ClientError;

    /// `http://HOST[:5985][/wsman]`, `https://HOST[:5986][/wsman]` or `unix:PATH`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::socket(PathBuf::from(path)));
        }
        let wrong = |why: &str| {
            ClientError::Target(format!("'{text}' {why}; write http://HOST:5985/wsman or https://HOST:5986/wsman"))
        };
        let uri: hyper::Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("carries credentials, which belong into WSMAN_USER and WSMAN_PASSWORD"));
        }
        let route = match uri.scheme_str() {
            Some("http") => Route::Http { host, port: uri.port_u16().unwrap_or(5985) },
            Some("https") => Route::Https { host, port: uri.port_u16().unwrap_or(5986) },
            Some(_) => return Err(wrong("has a scheme that this client does not speak")),
            None => return Err(wrong("has no scheme")),
        };
        let path = match uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str) {
            "/" => "/wsman".to_owned(),
            path => path.to_owned(),
        };
        Ok(Self { route, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_get_the_ports_and_the_path_of_winrm() {
        for (text, address) in [
            ("http://host", "http://host:5985/wsman"),
            ("http://host/", "http://host:5985/wsman"),
            ("https://host", "https://host:5986/wsman"),
            ("http://[::1]:80/wsman/", "http://[::1]:80/wsman/"),
            ("https://a.example:1/x?PSVersion=5.1", "https://a.example:1/x?PSVersion=5.1"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().address(), address, "{text}");
        }
        let anonymous = "http://host".parse::<Target>().unwrap().anonymous();
        assert_eq!(anonymous.address(), "http://host:5985/wsman-anon/identify");
        assert!("unix:/run/a.sock".parse::<Target>().unwrap().is_local_socket());
    }

    #[test]
    fn what_is_no_target_says_what_to_write() {
        for text in ["", "host", "host:5985", "ftp://host", "http://", "http://u:p@host/", "::", "http:///wsman"] {
            let problem = text.parse::<Target>().unwrap_err().to_string();
            assert!(problem.contains("http://HOST:5985/wsman"), "{text}: {problem}");
        }
    }
}
