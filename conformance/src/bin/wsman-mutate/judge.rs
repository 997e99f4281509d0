//! What must be true of any answer, whatever was asked.

use roxmltree::Document;

use crate::answer::{answer_text, header, reason, shape, text_of};
use crate::damage::Damaged;
use crate::wire::{Answer, Failure};

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
    let text = answer_text(&answer.head, &answer.body).ok_or_else(|| Finding("the answer is no text".to_owned()))?;
    if !text.starts_with('<') {
        return if answer.status == 200 { Err(Finding("200 without an envelope".to_owned())) } else { Ok(()) };
    }
    let document =
        Document::parse(&text).map_err(|error| Finding(format!("the answer is not well-formed: {error}")))?;
    shape(answer.status, &document).map_err(|wrong| Finding(wrong.to_owned()))?;
    internal_error(&document)?;
    if answer.status == 200 && !damaged.breaks_framing { success(damaged, &document) } else { Ok(()) }
}

/// No request makes the server fail inside.
fn internal_error(answer: &Document<'_>) -> Result<(), Finding> {
    let number = answer.descendants().find(|node| node.has_tag_name((FAULT, "WSManFault")));
    let is_internal = number.is_some_and(|node| node.attribute("Code") == Some(INTERNAL_ERROR));
    // Windows answers so when the resource URI and the selector name two namespaces, and who is like it does too.
    let is_meant = || reason(answer).is_some_and(|reason| reason.contains("__cimnamespace"));
    if is_internal && !is_meant() { Err(Finding("an internal error".to_owned())) } else { Ok(()) }
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
