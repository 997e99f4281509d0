//! What a sink asks of whoever sends to it: a user name and a password, or a certificate of which the thumbprint is
//! named, issued by the subscriber in the header of its Subscribe (DSP0226 10.2.1.3, WS-Trust's `IssuedTokens`).

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::certificate::Thumbprint;
use crate::soap::{Envelope, Fault, trimmed};
use crate::wsman::fault;
use crate::xml::{Element, name};

/// The longest name or password, in octets.
const OCTETS_MAX: usize = 1_024;
/// How deep the token may stand in the header block.
const DEPTH_MAX: u8 = 8;
/// The tokens that are taken, by the local names of their elements.
const USER_NAME: &str = "UsernameToken";
const CERTIFICATE: &str = "CertificateThumbprint";

/// A text that nobody is shown: its debug form is a word, and it is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text: for the header of a delivery, and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A user of a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// What a subscriber issued for its sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Issued {
    /// A user of the sink.
    pub(super) credentials: Option<Credentials>,
    /// The certificate that the sink is to be shown.
    pub(super) thumbprint: Option<Thumbprint>,
}

/// The tokens in the header, if there are any.
pub(super) fn parse(envelope: &Envelope<'_>) -> Result<Issued, Box<Fault>> {
    let issued = name::TRUST.iter().find_map(|namespace| envelope.header(namespace, "IssuedTokens"));
    let Some(issued) = issued else { return Ok(Issued::default()) };
    let tokens = tokens(issued);
    // A response of WS-Trust holds one token. One that holds neither kind would be overlooked.
    let mut responses = issued.children().filter(|child| child.local() == "RequestSecurityTokenResponse");
    if tokens.is_empty() || responses.any(|response| self::tokens(response).is_empty()) {
        return Err(refused("only user name tokens and thumbprints of certificates are taken"));
    }
    let mut issued = Issued::default();
    // Each token may stand for another address, but one user and one certificate are all that a subscription has room
    // for: of each kind all must say the same.
    for token in tokens {
        if token.local() == USER_NAME {
            let user = credentials(token)?;
            if issued.credentials.replace(user.clone()).is_some_and(|other| other != user) {
                return Err(refused("two users are named, and all messages of a subscription carry the same"));
            }
        } else {
            let certificate = named(token)?;
            if issued.thumbprint.replace(certificate).is_some_and(|other| other != certificate) {
                return Err(refused("two certificates are named, and this server shows its sinks one"));
            }
        }
    }
    Ok(issued)
}

fn refused(what: &'static str) -> Box<Fault> {
    Box::new(fault::unsupported_feature_format_security_token(what))
}

fn credentials(token: Element<'_>) -> Result<Credentials, Box<Fault>> {
    let part = |local: &str| token.children().find(|child| child.local() == local).map(trimmed);
    match (part("Username"), part("Password")) {
        (Some(user), Some(password)) => {
            if user.is_empty() || user.contains(':') || OCTETS_MAX < user.len() || OCTETS_MAX < password.len() {
                return Err(refused("the user name token cannot be used for Basic"));
            }
            Ok(Credentials { user: user.into_owned(), password: Secret::new(password.into_owned()) })
        }
        _ => Err(refused("the user name token lacks the name or the password")),
    }
}

/// `wsman:CertificateThumbprint`: the certificate that the event source is to show (DSP0226 10.2.1.3).
fn named(token: Element<'_>) -> Result<Thumbprint, Box<Fault>> {
    let bad = "the thumbprint of a certificate is not forty hexadecimal digits, its SHA-1";
    Thumbprint::parse(&trimmed(token)).ok_or_else(|| refused(bad))
}

/// The tokens below an element, in order. The namespace of one kind differs between the editions of WS-Security.
fn tokens(element: Element<'_>) -> Vec<Element<'_>> {
    fn add<'d>(element: Element<'d>, depth: u8, found: &mut Vec<Element<'d>>) {
        for child in element.children() {
            if [USER_NAME, CERTIFICATE].contains(&child.local()) {
                found.push(child);
            } else if depth < DEPTH_MAX {
                add(child, depth + 1, found);
            }
        }
    }
    let mut found = Vec::new();
    add(element, 0, &mut found);
    found
}
