//! Tests of the codec as a whole: every sample and every client's own octets decode, every sample fault can be written,
//! and each way to be wrong gets its fault.

mod decoding;
mod encoding;

use super::client::{ReceivedFault, Reply};
use super::{Correlation, Profile, Request, encode_fault};
use crate::soap::Fault;
use crate::xml::{Document, Limits};
use uuid::Uuid;

/// As WinRM reads it; what the profile changes says which it is about.
fn decode<'d>(document: &'d Document<'d>) -> (Correlation<'d>, Result<Request<'d>, Box<Fault>>) {
    super::decode(document, &Profile::MS)
}

macro_rules! vectors {
    ($name:ident: $($file:literal,)*) => {
        const $name: &[(&str, &str)] = &[$(($file, include_str!(concat!("../vectors/", $file)))),*];
    };
}

vectors! { REQUESTS:
    "create-request.xml",
    "delete-request.xml",
    "enumerate-associated-request.xml",
    "enumerate-epr-request.xml",
    "enumerate-optimized-request.xml",
    "enumerate-references-request.xml",
    "enumerate-request.xml",
    "enumerate-selectorfilter-request.xml",
    "enumerate-wql-request.xml",
    "get-fragment-request.xml",
    "get-job-request.xml",
    "get-request.xml",
    "identify-request-alt-ns.xml",
    "identify-request-with-foreign-header.xml",
    "identify-request.xml",
    "invoke-initiatefailback-request-dmtf-uri.xml",
    "invoke-initiatefailback-request-wscim-embedded.xml",
    "invoke-initiatefailback-request.xml",
    "pull-request.xml",
    "put-request.xml",
    "release-request.xml",
}
vectors! { FAULTS:
    "fault-accessdenied.xml",
    "fault-actionmismatch.xml",
    "fault-actionnotsupported.xml",
    "fault-alreadyexists.xml",
    "fault-cannotprocessfilter.xml",
    "fault-concurrency.xml",
    "fault-deliverymoderequestedunavailable.xml",
    "fault-destinationunreachable-notfound.xml",
    "fault-destinationunreachable-uri.xml",
    "fault-encodinglimit-characterset.xml",
    "fault-encodinglimit-maxenvelopesizeexceeded.xml",
    "fault-encodinglimit-minimumenvelopelimit.xml",
    "fault-encodinglimit-serviceenvelopelimit.xml",
    "fault-encodinglimit-unreportablesuccess.xml",
    "fault-encodinglimit-urilimit.xml",
    "fault-endpointunavailable.xml",
    "fault-eventsourceunabletoprocess.xml",
    "fault-filterdialectrequestedunavailable.xml",
    "fault-filteringrequestedunavailable.xml",
    "fault-fragmentdialectnotsupported.xml",
    "fault-internalerror.xml",
    "fault-invalidbookmark.xml",
    "fault-invalidenumerationcontext.xml",
    "fault-invalidexpirationtime-enum.xml",
    "fault-invalidmessageinformationheader.xml",
    "fault-invalidoptions.xml",
    "fault-invalidparameter-type.xml",
    "fault-invalidparameter.xml",
    "fault-invalidrepresentation-missing.xml",
    "fault-invalidrepresentation-namespace.xml",
    "fault-invalidrepresentation-values.xml",
    "fault-invalidselectors-duplicate.xml",
    "fault-invalidselectors-insufficient.xml",
    "fault-invalidselectors-typemismatch.xml",
    "fault-invalidselectors-unexpected.xml",
    "fault-messageinformationheaderrequired.xml",
    "fault-no-relatesto.xml",
    "fault-notunderstood.xml",
    "fault-polymorphismmodenotsupported.xml",
    "fault-quotalimit.xml",
    "fault-schemavalidationerror.xml",
    "fault-timedout.xml",
    "fault-unabletorenew.xml",
    "fault-unsupportedexpirationtype-enum.xml",
    "fault-unsupportedfeature-addressingmode.xml",
    "fault-unsupportedfeature-bookmarks.xml",
    "fault-unsupportedfeature-enumerationmode.xml",
    "fault-unsupportedfeature-fragment.xml",
    "fault-unsupportedfeature-heartbeats.xml",
    "fault-unsupportedfeature-locale.xml",
    "fault-versionmismatch.xml",
}
vectors! { CLIENTS:
    "clients/wsl-invoke.xml",
    "clients/wsl-enumerate.xml",
    "clients/wsl-identify.xml",
    "clients/wsmancli-invoke.xml",
    "clients/wsmancli-pull.xml",
    "clients/omicli-invoke.xml",
    "clients/omicli-enumerate.xml",
    "clients/omicli-wql.xml",
    "clients/dracclient-invoke.xml",
    "clients/dracclient-enumerate.xml",
    "clients/pypsrp-invoke.xml",
    "clients/pypsrp-get.xml",
    "clients/pypsrp-enumerate.xml",
    "clients/ruby-enumerate.xml",
    "clients/ruby-pull.xml",
    "clients/ruby-get-config.xml",
    "clients/winrm-rs-create.xml",
    "clients/pywinrm-create.xml",
    "clients/pywinrm-delete.xml",
    "clients/pywinrm-identify.xml",
    "clients/go-create.xml",
    "clients/npm-create.xml",
    "clients/curl-identify.xml",
}

const ID: Uuid = Uuid::from_u128(0x60CA_08A8_5C00_4EB7_98AA_292F_58B9_E634);

fn parse(text: &str) -> Document<'_> {
    Document::parse(text, &Limits::default()).unwrap()
}

fn sample(name: &str) -> &'static str {
    REQUESTS.iter().chain(CLIENTS).find(|(file, _)| *file == name).unwrap().1
}

/// The fault that a request gets, after a way through the encoder and the client's reader.
fn refused(text: &str) -> ReceivedFault {
    let document = parse(text);
    let (correlation, request) = decode(&document);
    let fault = request.err().unwrap_or_else(|| panic!("accepted: {text}"));
    received(&correlation, &fault)
}

fn received(correlation: &Correlation<'_>, fault: &Fault) -> ReceivedFault {
    let mut out = Vec::new();
    encode_fault(&mut out, correlation, ID, fault);
    let text = String::from_utf8(out).unwrap();
    let document = parse(&text);
    Reply::parse(&document).unwrap_err()
}

fn subcode(text: &str) -> (String, u32) {
    let fault = refused(text);
    let detail = fault.detail.unwrap_or_default();
    let detail = detail.rsplit('/').next().unwrap();
    let name = fault.subcode.unwrap_or(fault.code);
    (if detail.is_empty() { name } else { format!("{name}/{detail}") }, fault.number.unwrap())
}

fn is_refused(text: &str, name: &str, number: u32) {
    assert_eq!(subcode(text), (name.to_owned(), number), "{text}");
}

/// A plain Get with one thing changed.
fn get(from: &str, to: &str) -> String {
    let text = sample("get-request.xml");
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}
