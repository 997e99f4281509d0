//! What a sink asks of whoever sends to it: a user name and a password, issued by the subscriber in the header of its
//! Subscribe (DSP0226 10.2.1.3, WS-Trust's `IssuedTokens`).

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::soap::{Envelope, Fault, trimmed};
use crate::wsman::fault;
use crate::xml::{Element, name};

/// The longest name or password, in octets.
const OCTETS_MAX: usize = 1_024;
/// How deep the token may stand in the header block.
const DEPTH_MAX: u8 = 8;

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

/// The credentials in the header, if there are any.
pub(super) fn parse(envelope: &Envelope<'_>) -> Result<Option<Credentials>, Box<Fault>> {
    let issued = name::TRUST.iter().find_map(|namespace| envelope.header(namespace, "IssuedTokens"));
    let Some(issued) = issued else { return Ok(None) };
    let refused = |what: &'static str| Box::new(fault::unsupported_feature_format_security_token(what));
    let token = find(issued, "UsernameToken", 0).ok_or_else(|| refused("only user name tokens are taken"))?;
    let part = |local: &str| token.children().find(|child| child.local() == local).map(trimmed);
    match (part("Username"), part("Password")) {
        (Some(user), Some(password)) => {
            if user.is_empty() || user.contains(':') || OCTETS_MAX < user.len() || OCTETS_MAX < password.len() {
                return Err(refused("the user name token cannot be used for Basic"));
            }
            Ok(Some(Credentials { user: user.into_owned(), password: Secret::new(password.into_owned()) }))
        }
        _ => Err(refused("the user name token lacks the name or the password")),
    }
}

/// The first element of this name below another. Its namespace differs between the editions of WS-Security.
fn find<'d>(element: Element<'d>, local: &str, depth: u8) -> Option<Element<'d>> {
    if DEPTH_MAX < depth {
        return None;
    }
    element
        .children()
        .find_map(|child| if child.local() == local { Some(child) } else { find(child, local, depth + 1) })
}
