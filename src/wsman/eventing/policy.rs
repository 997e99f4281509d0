//! The policy in a sink's endpoint reference: how Windows' collectors of events say that the source is to show a
//! certificate (MS-WSMV 3.1.4.1.30.3 and 3.1.4.1.22).
//!
//! What is read is the normal form, `Policy/ExactlyOne/All`, with one `Authentication` in each `All`:
//!
//! ```xml
//! <c:Policy><c:ExactlyOne><c:All>
//!   <auth:Authentication Profile="http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual">
//!     <auth:ClientCertificate><auth:Thumbprint Role="issuer">…</auth:Thumbprint></auth:ClientCertificate>
//!   </auth:Authentication>
//! </c:All></c:ExactlyOne></c:Policy>
//! ```

use super::Decoded;
use super::certificate::{Constraint, Thumbprint};
use crate::soap::{Fault, clipped, trimmed};
use crate::wsman::{fault, uri};
use crate::xml::{Element, name};

/// The most alternatives of a policy, and the most constraints of all of them.
const ALTERNATIVES_MAX: usize = 8;
const CONSTRAINTS_MAX: usize = 16;

/// What one alternative of a policy asks for.
enum Alternative {
    /// Nothing.
    Nothing,
    /// A certificate that fits one of these, or any where there are none.
    Certificate(Vec<Constraint>),
    /// A profile that is not offered.
    Other(String),
}

/// The constraints on the certificate that a reference's policy asks for, if it asks for one. `what` is the reference's
/// name for faults. The first policy that says anything counts, and further ones do not.
pub(super) fn wanted(reference: Element<'_>, what: &str) -> Decoded<Option<Vec<Constraint>>> {
    let policies = reference.children().filter(|child| is_policy(*child, "Policy") && !child.is_leaf());
    for policy in policies {
        if let Some(constraints) = chosen(alternatives(policy)?, what)? {
            return Ok(Some(constraints));
        }
    }
    Ok(None)
}

/// What is done of the alternatives: the first that can be; of those that ask for a certificate all, for which of them
/// holds depends on the certificate.
fn chosen(alternatives: Vec<Alternative>, what: &str) -> Decoded<Option<Vec<Constraint>>> {
    let mut found: Option<Vec<Constraint>> = None;
    let mut refused: Option<String> = None;
    let mut free = false;
    for alternative in alternatives {
        match alternative {
            Alternative::Nothing if found.is_none() => return Ok(None),
            Alternative::Nothing => {}
            Alternative::Other(profile) => refused = refused.or(Some(profile)),
            Alternative::Certificate(constraints) => {
                free |= constraints.is_empty();
                found.get_or_insert_default().extend(constraints);
            }
        }
    }
    match (found, refused) {
        (Some(_), _) if free => Ok(Some(Vec::new())),
        (Some(constraints), _) if CONSTRAINTS_MAX < constraints.len() => Err(too_complex("it names too many")),
        (Some(constraints), _) => Ok(Some(constraints)),
        (None, None) => Ok(None),
        (None, Some(profile)) => {
            let profile = clipped(&profile);
            let text = format!("the policy of {what} asks for {profile:?}; https/mutual alone is offered there");
            Err(Box::new(fault::event_deliver_to_policy(text)))
        }
    }
}

fn alternatives(policy: Element<'_>) -> Decoded<Vec<Alternative>> {
    let mut found = Vec::new();
    for choice in policy.children() {
        if !is_policy(choice, "ExactlyOne") {
            return Err(unknown(choice));
        }
        for all in choice.children() {
            if !is_policy(all, "All") {
                return Err(unknown(all));
            }
            if ALTERNATIVES_MAX <= found.len() {
                return Err(too_complex("it has too many alternatives"));
            }
            found.push(alternative(all)?);
        }
    }
    if 1 < policy.children().count() {
        return Err(too_complex("it has more than one choice"));
    }
    Ok(found)
}

fn alternative(all: Element<'_>) -> Decoded<Alternative> {
    let mut assertions = all.children();
    let Some(assertion) = assertions.next() else { return Ok(Alternative::Nothing) };
    if !is_ours(assertion, "Authentication") {
        return Err(unknown(assertion));
    }
    if assertions.next().is_some() {
        return Err(too_complex("an alternative has more than one assertion"));
    }
    only_attributes(assertion, &["Profile"])?;
    let profile = assertion.attribute("", "Profile").unwrap_or_default();
    if profile.trim() != uri::PROFILE_HTTPS_MUTUAL {
        return Ok(Alternative::Other(profile.trim().to_owned()));
    }
    let constraints = assertion
        .children()
        .map(|child| if is_ours(child, "ClientCertificate") { constraint(child) } else { Err(unknown(child)) });
    constraints.collect::<Decoded<_>>().map(Alternative::Certificate)
}

/// `ClientCertificate`, with its one `Thumbprint`. Without a role it is the certificate's own.
fn constraint(element: Element<'_>) -> Decoded<Constraint> {
    only_attributes(element, &[])?;
    let mut children = element.children();
    let (Some(child), None) = (children.next(), children.next()) else {
        return Err(too_complex("a ClientCertificate does not hold one Thumbprint"));
    };
    if !is_ours(child, "Thumbprint") || !child.is_leaf() {
        return Err(unknown(child));
    }
    only_attributes(child, &["Role"])?;
    let text = trimmed(child);
    let Some(thumbprint) = Thumbprint::parse(&text) else {
        let text = format!("{:?} in the policy is no SHA-1 thumbprint of a certificate", clipped(&text));
        return Err(Box::new(fault::event_deliver_to_policy(text)));
    };
    match child.attribute("", "Role").as_deref().map(str::trim) {
        None | Some("" | "certificate") => Ok(Constraint::Certificate(thumbprint)),
        Some("issuer") => Ok(Constraint::Issuer(thumbprint)),
        Some(role) => Err(too_complex(&format!("the role {:?} of a thumbprint is not known", clipped(role)))),
    }
}

/// WS-Policy's own elements; MS-WSMV prints `all` where WS-Policy has `All`.
fn is_policy(element: Element<'_>, local: &str) -> bool {
    name::POLICY.contains(&element.namespace()) && element.local().eq_ignore_ascii_case(local)
}

fn is_ours(element: Element<'_>, local: &str) -> bool {
    element.local() == local && [name::AUTHENTICATION, name::WSMAN].contains(&element.namespace())
}

/// An attribute that is not known may be a demand: it is not overlooked.
fn only_attributes(element: Element<'_>, known: &[&str]) -> Decoded<()> {
    match element.attributes().find(|attribute| !attribute.namespace.is_empty() || !known.contains(&attribute.local)) {
        None => Ok(()),
        Some(attribute) => Err(too_complex(&format!("the attribute {} is not known", clipped(attribute.local)))),
    }
}

fn unknown(element: Element<'_>) -> Box<Fault> {
    too_complex(&format!("{} is not known at its place", clipped(element.local())))
}

fn too_complex(problem: &str) -> Box<Fault> {
    Box::new(fault::event_deliver_to_unusable(format!("the policy of the sink is not understood: {problem}")))
}
