//! What must be true of any answer, whatever was asked. XML is read by a library that no server here uses.

use roxmltree::Document;

use crate::damage::Damaged;
use crate::wire::{Answer, Failure};

const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
const ADDRESSING: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
const FAULT: &str = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault";
/// Statuses that a server may answer a POST with.
const STATUSES: [u16; 16] = [200, 202, 400, 401, 403, 404, 405, 408, 411, 413, 415, 417, 431, 500, 501, 503];
/// `WSManFault/@Code` of an error inside the server.
const INTERNAL_ERROR: &str = "1359";

/// Something that must not be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding(pub(crate) String);

/// Judges an answer, or that there is none.
pub(crate) fn judge(damaged: &Damaged, answer: Result<&Answer, &Failure>) -> Result<(), Finding> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(Failure::Closed) if damaged.breaks_framing => return Ok(()),
        Err(failure) => return Err(Finding(format!("no answer: {failure:?}"))),
    };
    if !STATUSES.contains(&answer.status) {
        return Err(Finding(format!("the status {}", answer.status)));
    }
    let text = answer_text(answer).ok_or_else(|| Finding("the answer is no text".to_owned()))?;
    if !text.starts_with('<') {
        return if answer.status == 200 { Err(Finding("200 without an envelope".to_owned())) } else { Ok(()) };
    }
    let document =
        Document::parse(&text).map_err(|error| Finding(format!("the answer is not well-formed: {error}")))?;
    shape(answer.status, &document)?;
    if answer.status == 200 && !damaged.breaks_framing { success(damaged, &document) } else { Ok(()) }
}

/// A fault has its code and its reason; a success has no fault.
fn shape(status: u16, answer: &Document<'_>) -> Result<(), Finding> {
    let find = |what: &str| Err(Finding(what.to_owned()));
    if !answer.root_element().has_tag_name((SOAP, "Envelope")) {
        return find("the answer is no envelope");
    }
    let named = |name: &str| answer.descendants().find(|node| node.has_tag_name((SOAP, name)));
    let Some(fault) = named("Fault") else {
        return if status == 200 { Ok(()) } else { find("an error without a fault") };
    };
    if status == 200 {
        return find("200 with a fault");
    }
    let reason = fault.descendants().find(|node| node.has_tag_name((SOAP, "Text")));
    let reason = reason.and_then(|reason| reason.text()).unwrap_or_default();
    if reason.is_empty() {
        return find("a fault without a reason");
    }
    let number = fault.descendants().find(|node| node.has_tag_name((FAULT, "WSManFault")));
    let is_internal = number.is_some_and(|node| node.attribute("Code") == Some(INTERNAL_ERROR));
    // Windows answers so when the resource URI and the selector name two namespaces, and who is like it does too.
    if is_internal && !reason.contains("__cimnamespace") {
        return find("an internal error");
    }
    Ok(())
}

/// Only a well-formed request succeeds, and the answer is the one to it.
fn success(damaged: &Damaged, answer: &Document<'_>) -> Result<(), Finding> {
    // Without a mark the encoding is what the media type says; only UTF-8 is judged then.
    let text = text_of(&damaged.body).ok_or_else(|| Finding("200 to what is no text".to_owned()))?;
    let request =
        Document::parse(&text).map_err(|error| Finding(format!("200 to what is not well-formed: {error}")))?;
    let (asked, told) = (header(&request, "MessageID"), header(answer, "RelatesTo"));
    if told.is_some() && told != asked {
        return Err(Finding(format!("the answer relates to {told:?}, the message is {asked:?}")));
    }
    let (asked, told) = (header(&request, "Action"), header(answer, "Action"));
    if let Some(told) = told
        && asked.as_ref().is_none_or(|asked| told != format!("{asked}Response"))
    {
        return Err(Finding(format!("the action {told:?} answers {asked:?}")));
    }
    Ok(())
}

fn header(document: &Document<'_>, name: &str) -> Option<String> {
    let header = document.root_element().children().find(|node| node.has_tag_name((SOAP, "Header")))?;
    let block = header.children().find(|node| node.has_tag_name((ADDRESSING, name)))?;
    let text: String = block.descendants().filter(roxmltree::Node::is_text).filter_map(|node| node.text()).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The text of an answer: an octet order in its media type does without a mark.
fn answer_text(answer: &Answer) -> Option<String> {
    let head = answer.head.to_ascii_lowercase();
    if head.contains("charset=utf-16le") {
        return utf16(&answer.body, u16::from_le_bytes);
    }
    if head.contains("charset=utf-16be") {
        return utf16(&answer.body, u16::from_be_bytes);
    }
    text_of(&answer.body)
}

fn utf16(octets: &[u8], read: fn([u8; 2]) -> u16) -> Option<String> {
    let pairs = octets.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let units: Vec<u16> = pairs.filter_map(|pair| pair.try_into().ok()).map(read).collect();
    String::from_utf16(&units).ok()
}

/// The text of a body in UTF-8 or, by its mark, UTF-16.
fn text_of(octets: &[u8]) -> Option<String> {
    match octets {
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] | rest => std::str::from_utf8(rest).ok().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::Dice;

    const REQUEST: &str = "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' \
        xmlns:a='http://schemas.xmlsoap.org/ws/2004/08/addressing'><s:Header><a:Action>urn:x</a:Action>\
        <a:MessageID>m</a:MessageID></s:Header><s:Body/></s:Envelope>";

    fn judged(request: &str, status: u16, body: &str) -> Result<(), Finding> {
        let mut damaged = Damaged::of(&[Vec::new()], &mut Dice::new(1));
        (damaged.body, damaged.breaks_framing) = (request.as_bytes().to_vec(), false);
        judge(&damaged, Ok(&Answer { status, head: String::new(), body: body.as_bytes().to_vec() }))
    }

    #[test]
    fn what_must_not_be_is_found() {
        let answer = REQUEST.replace("urn:x", "urn:xResponse").replace("a:MessageID", "a:RelatesTo");
        assert_eq!(judged(REQUEST, 200, &answer), Ok(()));
        for (request, status, body) in [
            (REQUEST, 200, answer.replace('m', "n")),
            (REQUEST, 200, answer.replace("urn:xResponse", "urn:yResponse")),
            ("<a>", 200, answer.clone()),
            (REQUEST, 200, answer.replace("</s:Envelope>", "")),
            (REQUEST, 500, answer.clone()),
            (REQUEST, 200, answer.replace("<s:Body/>", "<s:Body><s:Fault/></s:Body>")),
            (REQUEST, 500, answer.replace("<s:Body/>", "<s:Body><s:Fault/></s:Body>")),
            (REQUEST, 200, "fine".to_owned()),
            (REQUEST, 302, String::new()),
        ] {
            assert!(judged(request, status, &body).is_err(), "{status} {body}");
        }
        assert_eq!(judged("<a>", 415, ""), Ok(()));
    }
}
