//! Distinguished names, in the one form in which they are compared.

use std::str::FromStr as _;

use der::asn1::{Any, BmpString, Ia5StringRef, ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use der::{Encode as _, Tag, Tagged as _};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::Name;

/// The most octets of a name in the configuration.
const NAME_OCTETS_MAX: usize = 4096;

/// A distinguished name: for each part, from the root on, the types with their values, in order.
///
/// Two names are the same when their parts are the same in the same order. Neither the string type of a value counts
/// (the same words as PrintableString and as UTF8String) nor the order within a part of several values. The case of a
/// value does count, and so does every space: RFC 5280 would fold both, and two holders may differ in nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DistinguishedName(Vec<Vec<(ObjectIdentifier, Value)>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    /// DER.
    Other(Vec<u8>),
}

impl DistinguishedName {
    /// The name in a certificate.
    pub(super) fn of(name: &Name) -> Self {
        let parts = name.0.iter().map(|part| {
            let mut values: Vec<_> = part.0.iter().map(|it| (it.oid, value(&it.value))).collect();
            values.sort();
            values
        });
        Self(parts.collect())
    }

    /// A name as RFC 4514 writes it, the holder first: `CN=otto,OU=Operators,O=Example` (what `openssl x509 -subject
    /// -nameopt RFC2253` prints). Spaces beside separators do not count. The error says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > NAME_OCTETS_MAX {
            return Err(format!("it is longer than {NAME_OCTETS_MAX} octets"));
        }
        let mut parts = Vec::new();
        for part in split(text, ',') {
            let mut values = Vec::new();
            for attribute in split(part, '+') {
                values.push(attribute_of(attribute)?);
            }
            values.sort();
            parts.push(values);
        }
        parts.reverse();
        Ok(Self(parts))
    }
}

fn attribute_of(text: &str) -> Result<(ObjectIdentifier, Value), String> {
    let text = trim(text);
    let (key, content) = text.split_once('=').ok_or_else(|| format!("{text:?} has no ="))?;
    if escapes(text) % 2 == 1 {
        return Err(format!("{text:?} ends in the middle of an escape"));
    }
    let text = format!("{}={}", key.trim(), content.trim_start());
    let parsed = AttributeTypeAndValue::from_str(&text)
        .map_err(|_| format!("{text:?} is not TYPE=VALUE as in CN=otto (RFC 4514)"))?;
    Ok((parsed.oid, value(&parsed.value)))
}

/// The parts between separators that are not escaped.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c| {
        let ends = c == separator && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })
}

/// Without the spaces around it; one at the end that is escaped stays.
fn trim(text: &str) -> &str {
    let text = text.trim_start();
    let trimmed = text.trim_end_matches(' ');
    let keep = trimmed.len() + usize::from(escapes(trimmed) % 2 == 1 && trimmed.len() < text.len());
    text.get(..keep).unwrap_or(trimmed)
}

/// How many backslashes end the text.
fn escapes(text: &str) -> usize {
    text.len() - text.trim_end_matches('\\').len()
}

fn value(value: &Any) -> Value {
    let text = match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        Tag::PrintableString => value.decode_as::<PrintableStringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        Tag::Ia5String => value.decode_as::<Ia5StringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        Tag::TeletexString => value.decode_as::<TeletexStringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        Tag::BmpString => value.decode_as::<BmpString>().ok().map(|text| text.to_string()),
        _ => None,
    };
    text.map_or_else(|| Value::Other(value.to_der().unwrap_or_default()), Value::Text)
}

#[cfg(test)]
mod tests {
    use der::Decode as _;

    use super::*;

    fn same(one: &str, other: &str) -> bool {
        DistinguishedName::parse(one).unwrap() == DistinguishedName::parse(other).unwrap()
    }

    #[test]
    fn spelling_does_not_count_and_words_do() {
        assert!(same("CN=otto,OU=Ops,O=Example", "cn=otto, ou = Ops ,o=Example"));
        assert!(same("CN=otto+UID=7,O=x", "UID=7 + CN=otto,O=x"));
        assert!(same("CN=otto", "2.5.4.3=otto"));
        assert!(same("CN=otto", "CN=#0c046f74746f"), "UTF8String");
        assert!(same("CN=otto", "CN=#13046f74746f"), "PrintableString");
        assert!(same("CN=otto", "CN=#1e08006f00740074006f"), "BMPString");
        assert!(same("CN=a\\,b", "CN=a\\2cb"));
        assert!(same("CN=a\\ ", "CN=a\\20"));
        assert!(same("CN=j\u{f6}rg", "CN=j\\c3\\b6rg"));
        for (one, other) in [
            ("CN=otto,O=x", "O=x,CN=otto"),
            ("CN=otto", "CN=Otto"),
            ("CN=otto", "OU=otto"),
            ("CN=otto", "CN=otto,O=x"),
            ("CN=a\\,O=b", "CN=a,O=b"),
            ("CN=a\\ ", "CN=a"),
            ("CN=a  b", "CN=a b"),
            ("CN=otto+UID=7", "CN=otto,UID=7"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_name_is_told() {
        for text in ["", "otto", "CN=a,,O=b", "nonsense=x", "CN=#zz", "CN=a\\", &"CN=a,".repeat(2000)] {
            assert!(DistinguishedName::parse(text).is_err(), "{text:.20}");
        }
    }

    #[test]
    fn a_name_in_a_certificate_is_the_one_that_is_written() {
        for text in ["CN=otto,OU=Ops,O=Example", "CN=a\\,b\\+c\\\\,O=\\#x", "CN=\\ a\\ ,DC=example,DC=com", "C=DE"] {
            let name = Name::from_str(text).unwrap();
            assert_eq!(DistinguishedName::of(&name), DistinguishedName::parse(&name.to_string()).unwrap(), "{text}");
        }
        // A value of a type that is no text: compared octet by octet.
        let odd = Name::from_der(b"\x30\x0e\x31\x0c\x30\x0a\x06\x03\x55\x04\x03\x02\x03\x01\x00\x01").unwrap();
        assert_eq!(DistinguishedName::of(&odd), DistinguishedName::parse("CN=#0203010001").unwrap());
    }
}
