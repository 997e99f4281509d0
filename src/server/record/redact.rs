//! Taking secrets out of a message before it is written down. What cannot be judged is left out altogether.

use std::ops::Range;

use crate::xml::text::{Encoding, decode, encode};
use crate::xml::{Document, Element, Limits};

/// What stands in the place of a secret.
const REDACTED: &str = "(redacted)";

/// Words in the names of elements and attributes, and in texts of requests, that tell of a secret.
const TELLING: [&str; 6] = ["password", "passphrase", "secret", "privatekey", "token", "credential"];

/// Elements that name a sink of events: what its subscriber put into their parameters, or behind the path of their
/// address, may be what lets messages in there.
const SINKS: [&str; 2] = ["NotifyTo", "EndTo"];
const PARAMETERS: [&str; 2] = ["ReferenceParameters", "ReferenceProperties"];

/// A part of the text, and what stands in its place.
type Replaced = (Range<usize>, String);

/// Headers of HTTP that prove who somebody is.
const HEADERS: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "www-authenticate", "authentication-info"];

/// Which of the two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// What a client sent: texts that only speak of a secret may hold it.
    Request,
    /// What it was answered.
    Answer,
}

/// Head and body without what is secret in them.
pub(super) fn message(head: &str, body: &[u8], charset: Option<&str>, side: Side) -> Vec<u8> {
    let mut octets = redact_head(head).into_bytes();
    octets.extend_from_slice(&redact_body(body, charset, side));
    octets
}

/// The head with the proofs of its logins cut down to their scheme and length.
pub(super) fn redact_head(head: &str) -> String {
    let line = |line: &str| match line.split_once(':') {
        Some((name, value)) if HEADERS.iter().any(|known| name.trim().eq_ignore_ascii_case(known)) => {
            let value = value.trim();
            match value.split_once(' ') {
                Some((scheme, proof)) => format!("{name}: {scheme} (redacted, {} characters)", proof.chars().count()),
                // A scheme alone proves nothing.
                None if value.chars().count() <= 20 && value.bytes().all(|b| b.is_ascii_alphabetic()) => {
                    format!("{name}: {value}")
                }
                None => format!("{name}: {REDACTED}"),
            }
        }
        _ => without_userinfo(line),
    };
    head.split("\r\n").map(line).collect::<Vec<String>>().join("\r\n")
}

fn redact_body(body: &[u8], charset: Option<&str>, side: Side) -> Vec<u8> {
    if body.is_empty() {
        return Vec::new();
    }
    let left_out = |why: &str| format!("({} octets left out: {why})", body.len()).into_bytes();
    let Ok((text, encoding)) = decode(body, charset) else { return left_out("they are in no known encoding") };
    let limits = Limits { octets_max: text.len(), ..Limits::default() };
    let redacted = match Document::parse(&text, &limits) {
        Ok(document) => {
            let mut found = Vec::new();
            find_secrets(document.root(), (side, false), 0, &mut found);
            let mut replaced = text.clone().into_owned();
            // From the end, so that the places before stay what they are.
            for (range, by) in found.into_iter().rev() {
                replaced.replace_range(range, &by);
            }
            without_userinfo(&replaced)
        }
        Err(_) if tells(&text) => return left_out("they are no XML and speak of a secret"),
        Err(_) => without_userinfo(&text),
    };
    match encoding {
        Encoding::Utf8 => redacted.into_bytes(),
        other => encode(redacted.into_bytes(), other),
    }
}

/// Elements with secrets in them: their markup, and what stands in its place.
fn find_secrets(element: Element<'_>, (side, of_sink): (Side, bool), depth: usize, found: &mut Vec<Replaced>) {
    let named = |name: &str| tells(name);
    let by_name = named(element.local());
    let by_attribute = element.attributes().any(|it| named(it.local) || (it.local == "Name" && named(&it.value)));
    // An embedded instance, a script or an environment: text that speaks of a secret may hold it.
    let by_text = side == Side::Request && element.is_leaf() && tells(&element.text());
    let by_place = of_sink && PARAMETERS.contains(&element.local());
    let address = of_sink && element.is_leaf() && element.local() == "Address";
    let text = element.text();
    let path = if address { text.split_once(['?', '#']).map(|(path, _)| path) } else { None };
    if by_name || by_attribute || by_text || by_place || path.is_some() {
        if element.is_leaf() && text.is_empty() && !by_attribute {
            return;
        }
        let qname = match element.prefix() {
            "" => element.local().to_owned(),
            prefix => format!("{prefix}:{}", element.local()),
        };
        let path = path.filter(|_| !by_name && !by_attribute && !by_text).map(escaped).unwrap_or_default();
        let by = format!("<{qname}>{path}{REDACTED}</{qname}>");
        found.push((element.range(), by));
        return;
    }
    // The parser's own limit of depth holds; this one keeps the stack small whatever it is.
    if depth < DEPTH_MAX {
        for child in element.children() {
            find_secrets(child, (side, of_sink || SINKS.contains(&element.local())), depth + 1, found);
        }
    } else {
        found.push((element.range(), format!("<!-- {REDACTED}: too deep to be looked at -->")));
    }
}

const DEPTH_MAX: usize = 128;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Whether a text names a secret.
fn tells(text: &str) -> bool {
    let lower: String = text.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect();
    TELLING.iter().any(|word| lower.contains(word))
}

/// A text without the user and password that URLs in it may carry.
fn without_userinfo(text: &str) -> String {
    let mut parts = text.split("://");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("://");
        let end = part.find(['/', '<', '"', '\'', ' ', '\r', '\n', '?', '#', '&']).unwrap_or(part.len());
        let (authority, rest) = part.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => out.extend([REDACTED, "@", host, rest]),
            None => out.push_str(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(text: &str) -> String {
        String::from_utf8(redact_body(text.as_bytes(), None, Side::Request)).unwrap()
    }

    #[test]
    fn proofs_of_logins_are_cut_down_to_their_scheme() {
        let head = "POST /wsman HTTP/1.1\r\nAuthorization: Negotiate TlRMTVNTUAAB\r\nCookie: a=b\r\n\
                    WWW-Authenticate: Negotiate\r\nHost: x\r\n\r\n";
        let expected = "POST /wsman HTTP/1.1\r\nAuthorization: Negotiate (redacted, 12 characters)\r\n\
                        Cookie: (redacted)\r\nWWW-Authenticate: Negotiate\r\nHost: x\r\n\r\n";
        assert_eq!(redact_head(head), expected);
    }

    #[test]
    fn secrets_in_bodies_are_taken_out_wherever_they_stand() {
        for secret in [
            "<c:Password xmlns:c='urn:c'>geheim</c:Password>",
            "<q:BinarySecurityToken xmlns:q='u'>geheim</q:BinarySecurityToken>",
            "<e:Token xmlns:e='u'><e:User>otto</e:User><e:Password Type='x'>geheim</e:Password></e:Token>",
            "<r:Variable xmlns:r='u' Name='DB_PASSWORD'>geheim</r:Variable>",
            "<w:Option xmlns:w='u' Name='private-key'>geheim</w:Option>",
            "<a password='geheim'/>",
            "<p:X xmlns:p='u'>&lt;INSTANCE&gt;&lt;PROPERTY NAME=\"Password\"&gt;geheim&lt;/PROPERTY&gt;</p:X>",
            "<p:X xmlns:p='u'><![CDATA[instance of C { PassPhrase = \"geheim\"; };]]></p:X>",
            "<a:Address xmlns:a='u'>http://otto:geheim@sink.example:80/x</a:Address>",
            "<Credentials><User>otto</User><Value>geheim</Value></Credentials>",
            "<k:Token xmlns:k='u'>geheim</k:Token>",
            "<NotifyTo><Address>http://x/a?k=geheim</Address></NotifyTo>",
            "<EndTo><ReferenceParameters><k>geheim</k></ReferenceParameters></EndTo>",
            "<NotifyTo><ReferenceProperties><k><l>geheim</l></k></ReferenceProperties></NotifyTo>",
        ] {
            let redacted = body(&format!("<s><t>stays</t>{secret}</s>"));
            assert!(!redacted.contains("geheim") && redacted.contains("<t>stays</t>"), "{redacted}");
            assert!(redacted.contains(REDACTED), "{redacted}");
        }
        let plain = "<s a=\"1\"><t>http://x/y?z=a@b</t><Password/></s>";
        assert_eq!(body(plain), plain);
    }

    #[test]
    fn other_encodings_stay_and_what_cannot_be_judged_is_left_out() {
        let utf16 = encode(b"<a><Password>geheim</Password></a>".to_vec(), Encoding::Utf16Le { bom: true });
        let redacted = redact_body(&utf16, None, Side::Request);
        let (text, encoding) = decode(&redacted, None).unwrap();
        assert_eq!((&*text, encoding), ("<a><Password>(redacted)</Password></a>", Encoding::Utf16Le { bom: true }));
        assert!(body("<a><Password>geheim").starts_with("(19 octets left out"));
        assert_eq!(body("<a>broken"), "<a>broken");
        assert!(redact_body(b"\xff\x00\x01geheim", None, Side::Request).starts_with(b"("));
        let fault = "<t>the password is wrong</t>";
        assert_eq!(redact_body(fault.as_bytes(), None, Side::Answer), fault.as_bytes());
    }

    proptest! {
        #[test]
        fn no_secret_of_an_element_survives(
            before in "[a-z<>/&;]{0,20}", secret in "[A-Z]{12}", after in "\\PC{0,20}",
        ) {
            let text = format!("<s>{before}<Password>{secret}</Password>{after}</s>");
            prop_assert!(!body(&text).contains(&secret), "{}", body(&text));
        }
    }
}
