//! How the suite authenticates: Basic on every request, a certificate in TLS, or a login of the connection by NTLM or
//! Kerberos, whose messages are then sealed over plain HTTP.

mod kerberos;
mod ntlm;
mod ntlm_keys;
mod sealing;

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use serde::Deserialize;

pub(crate) use self::sealing::{is_sealed, seal, unseal};

/// What Windows wants to see when the certificate says who it is.
const BY_CERTIFICATE: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual";

/// A way to authenticate.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scheme {
    /// Not at all
    #[default]
    None,
    /// User and password on every request
    Basic,
    /// NTLMv2 on every connection, sealed over http
    Ntlm,
    /// The ticket that kinit got, on every connection, sealed over http
    Kerberos,
    /// A client's certificate
    Certificate,
}

/// As whom a request is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AsWhom {
    /// As the user.
    #[default]
    User,
    /// With a wrong password.
    Wrong,
    /// As nobody.
    Nobody,
    /// As a second user, who may only read.
    Reader,
    /// As the user, with the password on the request itself, whatever the scheme.
    Basic,
}

impl AsWhom {
    /// What a case means by its word.
    pub(crate) fn of_word(word: &str) -> Result<Self, String> {
        match word {
            "" | "good" => Ok(Self::User),
            "wrong" => Ok(Self::Wrong),
            "none" => Ok(Self::Nobody),
            "reader" => Ok(Self::Reader),
            "basic" => Ok(Self::Basic),
            other => Err(format!("unknown auth {other:?}")),
        }
    }
}

/// The credentials of a run.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    /// The way to authenticate.
    pub scheme: Scheme,
    /// The user: `NAME`, `DOMAIN\NAME` or `NAME@REALM`.
    pub user: String,
    /// The password; Kerberos takes tickets instead.
    pub password: String,
    /// A second user, who may only read, and the password.
    pub reader: Option<(String, String)>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("scheme", &self.scheme).field("user", &self.user).finish_non_exhaustive()
    }
}

/// A login of one connection, and then the protection of its messages.
pub(crate) trait Mechanism: Send {
    /// The scheme of the Authorization header.
    fn scheme(&self) -> &'static str;
    /// The protocol that sealed messages name.
    fn protocol(&self) -> &'static str;
    /// The next token for the server, from its last one. None: the login is complete.
    fn step(&mut self, token: Option<&[u8]>) -> Result<Option<Vec<u8>>, String>;
    /// Signature and ciphertext of a message.
    fn seal(&mut self, message: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String>;
    /// The message of a signature and a ciphertext.
    fn unseal(&mut self, signature: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, String>;
}

impl Credentials {
    /// Credentials for Basic.
    #[cfg(test)]
    pub(crate) fn basic(user: &str, password: &str) -> Self {
        Self { scheme: Scheme::Basic, user: user.to_owned(), password: password.to_owned(), reader: None }
    }

    /// The name and the password by which to come.
    fn pair(&self, whom: AsWhom) -> (String, String) {
        match (whom, &self.reader) {
            (AsWhom::Wrong, _) => (self.user.clone(), format!("{}-not", self.password)),
            (AsWhom::Reader, Some(reader)) => reader.clone(),
            _ => (self.user.clone(), self.password.clone()),
        }
    }

    /// The value of the Authorization header of a single request; none when there is none.
    pub(crate) fn header(&self, whom: AsWhom) -> Option<String> {
        match (self.scheme, whom) {
            (_, AsWhom::Nobody) => None,
            (Scheme::Basic, _) | (_, AsWhom::Basic) => {
                let (user, password) = self.pair(whom);
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            (Scheme::Certificate, AsWhom::User) => Some(BY_CERTIFICATE.to_owned()),
            _ => None,
        }
    }

    /// The login of a connection to a host; none when single requests authenticate. `certificate` is the server's, over
    /// TLS: the login is bound to it.
    pub(crate) fn mechanism(
        &self,
        whom: AsWhom,
        host: &str,
        certificate: Option<&[u8]>,
    ) -> Result<Option<Box<dyn Mechanism>>, String> {
        match (self.scheme, whom) {
            (_, AsWhom::Nobody | AsWhom::Basic) => Ok(None),
            (Scheme::Ntlm, _) => {
                let (user, password) = self.pair(whom);
                let client = ntlm::Client::new(&user, &password, host, certificate)?;
                Ok(Some(Box::new(client)))
            }
            // There is no wrong ticket to be had: the request goes out as nobody.
            (Scheme::Kerberos, AsWhom::User) => Ok(Some(Box::new(kerberos::Client::new(host, certificate)?))),
            _ => Ok(None),
        }
    }

    /// Secrets that no report may show.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let user = Some(AsWhom::Basic).filter(|_| !self.user.is_empty());
        let others = self.reader.iter().map(|_| AsWhom::Reader);
        let headers = user.into_iter().chain(others).filter_map(|whom| self.header(whom));
        let basic = headers.filter_map(|value| value.strip_prefix("Basic ").map(str::to_owned));
        let reader = self.reader.iter().map(|(_, password)| password.clone());
        let passwords = std::iter::once(self.password.clone()).chain(reader).filter(|password| !password.is_empty());
        passwords.chain(basic).collect()
    }
}

/// Reads lines `user=…` (or `username=…`) and `password=…`; others are passed over, as git's helpers do.
pub(crate) fn read_lines(text: &str) -> (Option<String>, Option<String>) {
    let value = |names: &[&str]| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| names.contains(&name.trim()))
            .map(|(_, value)| value.trim_end_matches('\r').to_owned())
    };
    (value(&["user", "username"]), value(&["password"]))
}

/// What a file of credentials says.
pub(crate) fn read_file(path: &Path) -> Result<(Option<String>, Option<String>), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(read_lines(&text))
}

/// What a helper program says. Its errors go to the terminal; what it prints is never shown.
pub(crate) fn run_helper(command: &str) -> Result<(Option<String>, Option<String>), String> {
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", command])
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("the helper program: {error}"))?;
    if !output.status.success() {
        return Err(format!("the helper program ended with {}", output.status));
    }
    Ok(read_lines(&String::from_utf8_lossy(&output.stdout)))
}

/// The application data of a channel binding to a server's certificate (RFC 5929, with SHA-256).
fn end_point(certificate: &[u8]) -> Vec<u8> {
    let hash = ring::digest::digest(&ring::digest::SHA256, certificate);
    [b"tls-server-end-point:".as_slice(), hash.as_ref()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_helpers_are_read() {
        let (user, password) = read_lines("protocol=http\nusername=a\r\npassword=b=c \n");
        assert_eq!((user.as_deref(), password.as_deref()), (Some("a"), Some("b=c ")));
        assert_eq!(run_helper("echo user=x; echo password=y").unwrap(), (Some("x".to_owned()), Some("y".to_owned())));
        assert!(run_helper("exit 3").is_err());
    }

    #[test]
    fn headers_fit_the_scheme_and_the_person() {
        let credentials = Credentials::basic("u", "p");
        assert_eq!(credentials.header(AsWhom::User).as_deref(), Some("Basic dTpw"));
        assert_ne!(credentials.header(AsWhom::Wrong), credentials.header(AsWhom::User));
        assert_eq!(credentials.header(AsWhom::Nobody), None);
        let reader = Some(("r".to_owned(), "q".to_owned()));
        let both = Credentials { scheme: Scheme::Ntlm, reader, ..credentials.clone() };
        assert_eq!(both.header(AsWhom::User), None);
        assert_eq!(both.header(AsWhom::Basic), credentials.header(AsWhom::User));
        assert!(both.mechanism(AsWhom::Basic, "h", None).unwrap().is_none());
        assert_eq!(both.pair(AsWhom::Reader), ("r".to_owned(), "q".to_owned()));
        assert!(both.secrets().contains(&"q".to_owned()));
        assert_eq!(credentials.secrets(), ["p", "dTpw"]);
        assert!(!format!("{credentials:?}").contains("\"p\""));
        let certificate = Credentials { scheme: Scheme::Certificate, ..Credentials::default() };
        assert_eq!(certificate.header(AsWhom::User).as_deref(), Some(BY_CERTIFICATE));
        let ntlm = Credentials { scheme: Scheme::Ntlm, ..Credentials::basic("u", "p") };
        assert_eq!(ntlm.header(AsWhom::User), None);
        assert!(ntlm.mechanism(AsWhom::User, "h", None).unwrap().is_some());
        assert!(ntlm.mechanism(AsWhom::Nobody, "h", None).unwrap().is_none());
    }
}
