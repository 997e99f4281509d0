//! What an answer of a WS-Management endpoint is made of, whatever was asked: text, an envelope, perhaps a fault. It is
//! read by an XML library that no server here uses. The fuzz target of the whole server includes this file, which
//! therefore uses nothing of the suite.

use roxmltree::Document;

const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
const ADDRESSING: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";

/// The text of an answer: an octet order in its media type does without a mark.
pub(crate) fn answer_text(head: &str, body: &[u8]) -> Option<String> {
    let head = head.to_ascii_lowercase();
    if head.contains("charset=utf-16le") {
        return utf16(body, u16::from_le_bytes);
    }
    if head.contains("charset=utf-16be") {
        return utf16(body, u16::from_be_bytes);
    }
    text_of(body)
}

/// The text of a body in UTF-8 or, by its mark or else by its first character, UTF-16.
pub(crate) fn text_of(octets: &[u8]) -> Option<String> {
    match octets {
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [b'<', 0, ..] => utf16(octets, u16::from_le_bytes),
        [0, b'<', ..] => utf16(octets, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] | rest => std::str::from_utf8(rest).ok().map(str::to_owned),
    }
}

fn utf16(octets: &[u8], read: fn([u8; 2]) -> u16) -> Option<String> {
    let pairs = octets.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let units: Vec<u16> = pairs.filter_map(|pair| pair.try_into().ok()).map(read).collect();
    String::from_utf16(&units).ok()
}

/// What is wrong with an answer that is well-formed: it is an envelope, a success has no fault, and an error has one
/// with a reason.
pub(crate) fn shape(status: u16, answer: &Document<'_>) -> Result<(), &'static str> {
    if !answer.root_element().has_tag_name((SOAP, "Envelope")) {
        return Err("the answer is no envelope");
    }
    let has_fault = answer.descendants().any(|node| node.has_tag_name((SOAP, "Fault")));
    match (status, has_fault) {
        (200, true) => Err("200 with a fault"),
        (200, false) => Ok(()),
        (_, false) => Err("an error without a fault"),
        (_, true) if reason(answer).is_none_or(str::is_empty) => Err("a fault without a reason"),
        (_, true) => Ok(()),
    }
}

/// The reason of an answer's fault.
pub(crate) fn reason<'d>(answer: &'d Document<'_>) -> Option<&'d str> {
    let fault = answer.descendants().find(|node| node.has_tag_name((SOAP, "Fault")))?;
    fault.descendants().find(|node| node.has_tag_name((SOAP, "Text")))?.text()
}

/// The text of an addressing header; none when it is empty.
pub(crate) fn header(document: &Document<'_>, name: &str) -> Option<String> {
    let header = document.root_element().children().find(|node| node.has_tag_name((SOAP, "Header")))?;
    let block = header.children().find(|node| node.has_tag_name((ADDRESSING, name)))?;
    let text: String = block.descendants().filter(roxmltree::Node::is_text).filter_map(|node| node.text()).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
