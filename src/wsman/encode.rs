//! Answers on the wire: Windows' prefixes and header order, no prolog, no cosmetic white space.

use super::header::Correlation;
use crate::soap::{ANONYMOUS, Fault};
use crate::xml::{Element, Writer};
use uuid::Uuid;

/// The start tag of every envelope. Some clients look for these very prefixes on it.
const ENVELOPE: &str = concat!(
    "<s:Envelope xml:lang=\"en-US\"",
    " xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"",
    " xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\"",
    " xmlns:x=\"http://schemas.xmlsoap.org/ws/2004/09/transfer\"",
    " xmlns:e=\"http://schemas.xmlsoap.org/ws/2004/08/eventing\"",
    " xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\"",
    " xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\"",
    " xmlns:p=\"http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd\"",
    " xmlns:rsp=\"http://schemas.microsoft.com/wbem/wsman/1/windows/shell\">",
);

/// Write the start tag of an envelope with all our prefixes.
pub(super) fn open_envelope(w: &mut Writer<'_>) {
    w.raw(ENVELOPE);
}

/// Write a MessageID as Windows does.
//= ADR-12
pub(super) fn write_message_id(w: &mut Writer<'_>, message_id: Uuid) {
    let mut buffer = Uuid::encode_buffer();
    w.raw("<a:MessageID>uuid:");
    w.raw(message_id.hyphenated().encode_upper(&mut buffer));
    w.raw("</a:MessageID>");
}

/// The header blocks that every answer has, in Windows' order.
//= ADR-04
fn write_header(
    w: &mut Writer<'_>,
    action: &str,
    correlation: &Correlation<'_>,
    message_id: Uuid,
    parameters: &[Element<'_>],
) {
    w.leaf("a:Action", action);
    write_message_id(w, message_id);
    if let Some(id) = &correlation.operation_id {
        w.raw("<p:OperationID s:mustUnderstand=\"false\">");
        w.text(id);
        w.raw("</p:OperationID>");
    }
    if let Some(id) = &correlation.sequence_id {
        w.leaf("p:SequenceId", id);
    }
    if let Some(id) = &correlation.activity_id {
        w.leaf("p:ActivityId", id);
    }
    w.leaf("a:To", ANONYMOUS);
    if let Some(id) = &correlation.relates_to {
        w.leaf("a:RelatesTo", id);
    }
    for parameter in parameters {
        parameter.write_self_contained(w);
    }
    w.raw(&correlation.kept_parameters);
}

/// Append a whole answer; `body` writes what stands in `s:Body`.
pub fn encode_response(
    out: &mut Vec<u8>,
    action: &str,
    correlation: &Correlation<'_>,
    message_id: Uuid,
    body: impl FnOnce(&mut Writer<'_>),
) {
    encode_response_with(out, action, correlation, message_id, |_| {}, body);
}

/// As [`encode_response`]; `more` writes header blocks that only some answers have.
pub fn encode_response_with(
    out: &mut Vec<u8>,
    action: &str,
    correlation: &Correlation<'_>,
    message_id: Uuid,
    more: impl FnOnce(&mut Writer<'_>),
    body: impl FnOnce(&mut Writer<'_>),
) {
    let mut w = Writer::new(out);
    open_envelope(&mut w);
    w.raw("<s:Header>");
    write_header(&mut w, action, correlation, message_id, &correlation.reply_parameters);
    more(&mut w);
    w.raw("</s:Header><s:Body>");
    body(&mut w);
    w.raw("</s:Body></s:Envelope>");
}

/// Append a whole fault message. //= FLT-01 FLT-05 FLT-06
pub fn encode_fault(out: &mut Vec<u8>, correlation: &Correlation<'_>, message_id: Uuid, fault: &Fault) {
    let mut w = Writer::new(out);
    open_envelope(&mut w);
    w.raw("<s:Header>");
    fault.write_header_blocks(&mut w);
    let parameters = correlation.fault_parameters.as_ref().unwrap_or(&correlation.reply_parameters);
    write_header(&mut w, fault.action, correlation, message_id, parameters);
    w.raw("</s:Header><s:Body>");
    fault.write(&mut w, correlation.machine.as_deref().unwrap_or("localhost"));
    w.raw("</s:Body></s:Envelope>");
}

/// Append a whole fault message of at most so many octets. What does not fit is left out, the least needed first: the
/// end of the texts, reference parameters (which are a duty in answers, and a wish in faults), the ids that only group
/// requests, at last even what it relates to. //= CTL-07 ADR-05 ENV-21
pub fn encode_fault_within(
    out: &mut Vec<u8>,
    correlation: &Correlation<'_>,
    message_id: Uuid,
    fault: &Fault,
    octets_max: usize,
) {
    let start = out.len();
    encode_fault(out, correlation, message_id, fault);
    let fits = |out: &Vec<u8>| out.len() - start <= octets_max;
    if fits(out) {
        return;
    }
    let fault = fault.shortened();
    let mut left = correlation.clone();
    let less: [fn(&mut Correlation<'_>); 4] = [
        |_| {},
        |left| {
            (left.reply_parameters, left.fault_parameters) = (Vec::new(), None);
            left.kept_parameters.clear();
        },
        |left| (left.operation_id, left.sequence_id, left.activity_id) = (None, None, None),
        |left| left.relates_to = None,
    ];
    for leave_out in less {
        leave_out(&mut left);
        out.truncate(start);
        encode_fault(out, &left, message_id, &fault);
        if fits(out) {
            return;
        }
    }
}
