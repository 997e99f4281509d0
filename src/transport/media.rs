//! The media type of a request: SOAP in clear, or a sealed message.

use std::borrow::Cow;

use hyper::header::{self, HeaderMap};

use crate::auth::seal::{Declared, split_parameters};

/// What a body is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A message, with the charset that its media type names.
    Clear(Option<Cow<'static, str>>),
    /// A sealed message.
    Sealed(Declared),
}

/// The form that the headers tell, or why they cannot be read. No media type at all is accepted: some clients send
/// none.
//= HTTP-07
pub(super) fn form(headers: &HeaderMap) -> Result<Form, String> {
    if let Some(coding) = headers.get(header::CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err("Compressed requests are not taken: send no Content-Encoding.".to_owned());
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Form::Clear(None)) };
    let value = String::from_utf8_lossy(value.as_bytes());
    match Declared::parse(&value) {
        None => charset(&value).map(Form::Clear),
        Some(Ok(declared)) => Ok(Form::Sealed(declared)),
        Some(Err(error)) => Err(format!("The sealed message of the type {value:?} cannot be taken: {error}.")),
    }
}

/// The charset that a media type names. One that nobody knows is the handler's to refuse, in a fault. //= ENV-09
pub(super) fn charset(value: &str) -> Result<Option<Cow<'static, str>>, String> {
    let mut parts = split_parameters(value);
    let essence = parts.next().unwrap_or_default();
    let xml = ["application/soap+xml", "text/xml", "application/xml", ""];
    if !xml.iter().any(|accepted| essence.eq_ignore_ascii_case(accepted)) {
        return Err(format!("Media type {essence:?} is not served: send application/soap+xml;charset=UTF-8."));
    }
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if !name.trim().eq_ignore_ascii_case("charset") {
            continue;
        }
        let name = value.trim().trim_matches(['"', '\'']);
        // US-ASCII is a part of UTF-8.
        let known = [
            ("utf-8", "utf-8"),
            ("utf8", "utf-8"),
            ("us-ascii", "utf-8"),
            ("utf-16", "utf-16"),
            ("utf16", "utf-16"),
            ("utf-16le", "utf-16le"),
            ("utf-16be", "utf-16be"),
        ];
        let found = known.iter().find(|(spelling, _)| name.eq_ignore_ascii_case(spelling));
        return Ok(Some(found.map_or_else(|| Cow::Owned(name.to_owned()), |(_, charset)| Cow::Borrowed(*charset))));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_media_type_is_taken() {
        for (value, known) in [
            ("application/soap+xml;charset=UTF-8", Some("utf-8")),
            ("application/soap+xml; charset=utf-8", Some("utf-8")),
            ("Application/SOAP+XML ; CharSet = \"utf-16\"", Some("utf-16")),
            ("application/soap+xml;action=\"a;charset=latin1\";charset=UTF-16LE", Some("utf-16le")),
            ("text/xml", None),
            ("", None),
            ("application/soap+xml;charset='us-ascii'", Some("utf-8")),
            ("application/soap+xml;", None),
        ] {
            assert_eq!(charset(value), Ok(known.map(Cow::Borrowed)), "{value}");
        }
    }

    #[test]
    fn other_media_types_are_refused_by_name() {
        let told = charset("application/json").unwrap_err();
        assert!(told.contains("application/json"), "{told}");
        let other = charset("application/soap+xml;charset=iso-8859-1");
        assert_eq!(other, Ok(Some(Cow::Borrowed("iso-8859-1"))), "left to the handler");
    }

    #[test]
    fn a_sealed_message_is_told_apart_and_must_name_its_protocol() {
        let headers = |value: &str| [(header::CONTENT_TYPE, value.parse().unwrap())].into_iter().collect::<HeaderMap>();
        let good = "multipart/encrypted;protocol=\"application/HTTP-SPNEGO-session-encrypted\";boundary=\"x\"";
        assert!(matches!(form(&headers(good)), Ok(Form::Sealed(_))));
        let told = form(&headers("multipart/encrypted;protocol=\"x\"")).unwrap_err();
        assert!(told.contains("protocol"), "{told}");
    }
}
