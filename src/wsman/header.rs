//! The header of a request: which blocks are known, which must be there, and what the answer repeats of them.

use super::duration::{DurationError, parse_duration};
use super::fault;
use super::fragment::Fragment;
use super::profile::Profile;
use crate::soap::{
    Envelope, Fault, OptionSet, SelectorError, SelectorSet, clipped, is_anonymous, is_mandatory, trimmed,
};
use crate::xml::{Element, Writer, name};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// The least MaxEnvelopeSize that may be asked for (DSP0226 R6.2-4). //= CTL-10
const ENVELOPE_OCTETS_MIN: u32 = 8_192;
/// Reference parameters of ReplyTo or FaultTo that an answer repeats, in number and in octets.
const REPEATED_MAX: usize = 32;
const REPEATED_OCTETS_MAX: usize = 32_768;
/// Characters of a URI (DSP0226 R13.1). //= ENV-21
const URI_CHARACTERS_MAX: usize = 2_048;

/// What every answer, also a fault, needs of its request; filled as far as the envelope could be read.
#[derive(Clone, Debug, Default)]
pub struct Correlation<'d> {
    /// MessageID of the request, for `wsa:RelatesTo`; absent when it could not be read. //= ADR-09 FLT-07
    pub relates_to: Option<Cow<'d, str>>,
    /// Children of the reference parameters and properties of ReplyTo; header blocks of the answer. //= ADR-05
    pub reply_parameters: Vec<Element<'d>>,
    /// The same of FaultTo, for faults; absent when there is no FaultTo, and ReplyTo counts. //= ADR-07 ADR-08
    pub fault_parameters: Option<Vec<Element<'d>>>,
    /// `p:OperationID`, echoed.
    pub operation_id: Option<Cow<'d, str>>,
    /// `p:SequenceId`, echoed.
    pub sequence_id: Option<Cow<'d, str>>,
    /// `p:ActivityId`, echoed.
    pub activity_id: Option<Cow<'d, str>>,
    /// `xml:lang` of `wsman:Locale`: a hint; answers are in English. //= CTL-13
    pub locale: Option<Cow<'d, str>>,
    /// Reference parameters as ready markup, of a request that is gone: see [`Correlation::kept`].
    pub kept_parameters: String,
    /// MaxEnvelopeSize of the request, when it can be obeyed: a fault keeps to it too. //= CTL-07
    pub envelope_octets_max: Option<u32>,
    /// Whether the request is one of a CIM client, who reads of a fault the CIM error in its detail.
    pub cim_errors: bool,
    /// Name of this machine for `WSManFault/@Machine`, which the caller fills in; `localhost` when it does not.
    pub machine: Option<Arc<str>>,
}

impl Correlation<'_> {
    /// The same for a fault that is written when the request is gone.
    #[must_use]
    pub fn kept(&self) -> Correlation<'static> {
        let owned = |text: &Option<Cow<'_, str>>| text.as_ref().map(|text| Cow::Owned(text.clone().into_owned()));
        let mut octets = Vec::new();
        let mut w = Writer::new(&mut octets);
        for parameter in self.fault_parameters.as_ref().unwrap_or(&self.reply_parameters) {
            parameter.write_self_contained(&mut w);
        }
        Correlation {
            relates_to: owned(&self.relates_to),
            reply_parameters: Vec::new(),
            fault_parameters: None,
            operation_id: owned(&self.operation_id),
            sequence_id: owned(&self.sequence_id),
            activity_id: owned(&self.activity_id),
            locale: owned(&self.locale),
            kept_parameters: String::from_utf8(octets).unwrap_or_default(),
            envelope_octets_max: self.envelope_octets_max,
            cim_errors: self.cim_errors,
            machine: self.machine.clone(),
        }
    }
}

/// Header blocks that are understood, by local name: those of WS-Addressing and of WS-Management, and Microsoft's.
const ADDRESSING: [&str; 7] = ["To", "From", "ReplyTo", "FaultTo", "Action", "MessageID", "RelatesTo"];
const WSMAN: [&str; 9] = [
    "RequestTotalItemsCountEstimate",
    "ResourceURI",
    "SelectorSet",
    "OptionSet",
    "OperationTimeout",
    "MaxEnvelopeSize",
    "Locale",
    "FragmentTransfer",
    "RequestEPR",
];
const WSMAN_MS: [&str; 5] = ["DataLocale", "SessionId", "OperationID", "SequenceId", "ActivityId"];

/// What the resource URIs of CIM begin with, in the form of the DMTF.
const CIM_URIS: [&str; 2] = ["http://schemas.dmtf.org/wbem/wscim/", "http://schemas.dmtf.org/wbem/cim-xml/"];
/// What the names of options begin with that only Windows' CIM clients send.
const CIM_OPTIONS: [&str; 4] = ["msftwinrm:", "wmi:__MI_", "wmiarray:__MI_", "__MI_"];

/// Whether a header block is understood here.
pub(super) fn is_known(namespace: &str, local: &str) -> bool {
    match namespace {
        name::ADDRESSING => ADDRESSING.contains(&local),
        name::WSMAN => WSMAN.contains(&local),
        name::WSMAN_MS => WSMAN_MS.contains(&local),
        name::EVENTING => local == "Identifier",
        trust if name::TRUST.contains(&trust) => local == "IssuedTokens",
        _ => false,
    }
}

/// The text of a block that holds nothing else: of another there is no text that an answer could repeat.
fn text(block: Element<'_>) -> Option<Cow<'_, str>> {
    block.is_leaf().then(|| trimmed(block))
}

/// The known header blocks of a message, sorted by name.
#[derive(Debug, Default)]
pub(super) struct Headers<'d> {
    to: Option<Element<'d>>,
    reply_to: Option<Element<'d>>,
    fault_to: Option<Element<'d>>,
    action: Option<Element<'d>>,
    message_id: Option<Element<'d>>,
    resource_uri: Option<Element<'d>>,
    selector_set: Option<Element<'d>>,
    option_set: Option<Element<'d>>,
    operation_timeout: Option<Element<'d>>,
    max_envelope_size: Option<Element<'d>>,
    locale: Option<Element<'d>>,
    fragment_transfer: Option<Element<'d>>,
    total_estimate: Option<Element<'d>>,
    request_epr: Option<Element<'d>>,
    data_locale: Option<Element<'d>>,
    /// The first block that came twice.
    duplicate: Option<Element<'d>>,
    /// The reference parameters of ReplyTo or FaultTo are more than an answer repeats.
    too_much_to_repeat: bool,
}

impl<'d> Headers<'d> {
    /// Sort the blocks of an envelope, and gather what the answer will need. Nothing is refused yet.
    pub(super) fn collect(envelope: &Envelope<'d>) -> (Self, Correlation<'d>) {
        let mut headers = Self::default();
        let mut correlation = Correlation::default();
        for block in envelope.blocks() {
            if block.namespace() == name::WSMAN_MS {
                match block.local() {
                    "OperationID" => correlation.operation_id = text(block),
                    "SequenceId" => correlation.sequence_id = text(block),
                    "ActivityId" => correlation.activity_id = text(block),
                    _ => {}
                }
            }
            let Some(slot) = headers.slot(block) else { continue };
            if slot.is_some() {
                headers.duplicate.get_or_insert(block);
            } else {
                *slot = Some(block);
            }
        }
        correlation.relates_to = headers.message_id.and_then(text).filter(|id| !id.is_empty());
        correlation.reply_parameters = headers.repeated(headers.reply_to).unwrap_or_default();
        correlation.fault_parameters = headers.repeated(headers.fault_to);
        correlation.envelope_octets_max = headers.envelope_octets_max().ok().flatten();
        correlation.locale = headers.locale.and_then(|locale| locale.attribute(name::XML, "lang"));
        (headers, correlation)
    }

    /// The reference parameters of an endpoint, all or, when they are too many, none.
    fn repeated(&mut self, endpoint: Option<Element<'d>>) -> Option<Vec<Element<'d>>> {
        let parameters = reference_parameters(endpoint?);
        if fits(&parameters) {
            return Some(parameters);
        }
        self.too_much_to_repeat = true;
        Some(Vec::new())
    }

    fn slot(&mut self, block: Element<'d>) -> Option<&mut Option<Element<'d>>> {
        match (block.namespace(), block.local()) {
            (name::ADDRESSING, "To") => Some(&mut self.to),
            (name::ADDRESSING, "ReplyTo") => Some(&mut self.reply_to),
            (name::ADDRESSING, "FaultTo") => Some(&mut self.fault_to),
            (name::ADDRESSING, "Action") => Some(&mut self.action),
            (name::ADDRESSING, "MessageID") => Some(&mut self.message_id),
            (name::WSMAN, "ResourceURI") => Some(&mut self.resource_uri),
            (name::WSMAN, "SelectorSet") => Some(&mut self.selector_set),
            (name::WSMAN, "OptionSet") => Some(&mut self.option_set),
            (name::WSMAN, "OperationTimeout") => Some(&mut self.operation_timeout),
            (name::WSMAN, "MaxEnvelopeSize") => Some(&mut self.max_envelope_size),
            (name::WSMAN, "Locale") => Some(&mut self.locale),
            (name::WSMAN_MS, "DataLocale") => Some(&mut self.data_locale),
            (name::WSMAN, "FragmentTransfer") => Some(&mut self.fragment_transfer),
            (name::WSMAN, "RequestTotalItemsCountEstimate") => Some(&mut self.total_estimate),
            (name::WSMAN, "RequestEPR") => Some(&mut self.request_epr),
            _ => None,
        }
    }

    /// The addressing headers that every request but Identify must have, in the form that is offered. The text of
    /// wsa:To is not looked at: pywinrm and others send a constant. //= ADR-01 ADR-02 ADR-03 ADR-06 ADR-11 ENV-13
    //= ADR-22
    pub(super) fn check_addressing(&self) -> Result<(), Box<Fault>> {
        if let Some(block) = self.duplicate {
            let what = format!("the header {} is given twice", block.local());
            return Err(Box::new(fault::invalid_message_information_header(what)));
        }
        if self.too_much_to_repeat {
            let what = "there are more reference parameters than an answer can repeat";
            return Err(Box::new(fault::invalid_message_information_header(what)));
        }
        let required = [
            (self.action, "wsa:Action"),
            (self.to, "wsa:To"),
            (self.message_id, "wsa:MessageID"),
            (self.reply_to, "wsa:ReplyTo"),
        ];
        if let Some((_, missing)) = required.iter().find(|(block, _)| block.is_none()) {
            let what = format!("the header {missing} is missing");
            return Err(Box::new(fault::message_information_header_required(what)));
        }
        self.check_texts()?;
        if self.to.is_some_and(|to| trimmed(to).is_empty()) {
            return Err(Box::new(fault::message_information_header_required("the header wsa:To is empty")));
        }
        if self.message_id.is_some_and(|id| trimmed(id).is_empty()) {
            return Err(Box::new(fault::invalid_message_information_header("the header wsa:MessageID is empty")));
        }
        for (block, name) in [(self.reply_to, "wsa:ReplyTo"), (self.fault_to, "wsa:FaultTo")] {
            let Some(block) = block else { continue };
            let Some(address) = block.child(name::ADDRESSING, "Address").map(trimmed) else {
                let what = format!("the header {name} has no wsa:Address");
                return Err(Box::new(fault::invalid_message_information_header(what)));
            };
            if !is_anonymous(&address) {
                let what = format!("{name} may only be the anonymous address, not {:?}", clipped(&address));
                return Err(Box::new(fault::unsupported_feature_addressing_mode(what)));
            }
        }
        Ok(())
    }

    /// What is a text holds no elements: to read around them would take one text for another. //= ADR-09 ADR-11
    fn check_texts(&self) -> Result<(), Box<Fault>> {
        let texts =
            [self.to, self.action, self.message_id, self.resource_uri, self.operation_timeout, self.max_envelope_size];
        for block in texts.into_iter().flatten() {
            if let Some(child) = block.children().next() {
                let (block, child) = (block.local(), clipped(child.local()));
                let what = format!("the header {block} holds the element {child} where a text belongs");
                return Err(Box::new(fault::invalid_message_information_header(what)));
            }
        }
        Ok(())
    }

    /// The ids that an answer repeats have the length of a URI at most. //= CTL-26 ENV-21
    pub(super) fn check_lengths(correlation: &Correlation<'_>) -> Result<(), Box<Fault>> {
        let Correlation { relates_to, operation_id, sequence_id, activity_id, .. } = correlation;
        let is_long =
            |id: &Option<Cow<'_, str>>| id.as_deref().is_some_and(|id| id.chars().nth(URI_CHARACTERS_MAX).is_some());
        let what = |name: &str| format!("the header {name} is longer than {URI_CHARACTERS_MAX} characters");
        if is_long(relates_to) {
            return Err(Box::new(fault::encoding_limit_uri(what("wsa:MessageID"))));
        }
        let ids = [(operation_id, "OperationID"), (sequence_id, "SequenceId"), (activity_id, "ActivityId")];
        match ids.iter().find(|(id, _)| is_long(id)) {
            None => Ok(()),
            Some((_, name)) => Err(Box::new(fault::invalid_message_information_header(what(name)))),
        }
    }

    /// The action; empty when there is none.
    pub(super) fn action(&self) -> Cow<'d, str> {
        self.action.map(trimmed).unwrap_or_default()
    }

    /// The resource; a request without one goes nowhere. //= RES-01
    pub(super) fn resource_uri(&self) -> Result<Cow<'d, str>, Box<Fault>> {
        let uri = self.resource_uri.map(trimmed).unwrap_or_default();
        if uri.is_empty() {
            return Err(Box::new(fault::invalid_resource_uri("there is no wsman:ResourceURI")));
        }
        if uri.chars().count() > URI_CHARACTERS_MAX {
            let what = format!("the ResourceURI is longer than {URI_CHARACTERS_MAX} characters");
            return Err(Box::new(fault::encoding_limit_uri(what)));
        }
        Ok(uri)
    }

    /// What the request asks for and this service never does. //= CTL-14 CTL-25 FRG-03
    pub(super) fn check_features(&self, profile: &Profile) -> Result<(), Box<Fault>> {
        if let Some(block) = self.fragment_transfer
            && profile.fragment_needs_must_understand
            && !is_mandatory(block)
        {
            let what = "the header FragmentTransfer needs mustUnderstand=\"true\"";
            return Err(Box::new(fault::invalid_message_information_header(what)));
        }
        if let Some(lang) = foreign_language(self.locale) {
            let what = format!("answers are in English; the locale {:?} cannot be obeyed", clipped(&lang));
            return Err(Box::new(fault::unsupported_feature_locale(what)));
        }
        if let Some(lang) = foreign_language(self.data_locale) {
            let what = format!("data is in English; the locale {:?} cannot be obeyed", clipped(&lang));
            return Err(Box::new(fault::unsupported_feature_data_locale(what)));
        }
        Ok(())
    }

    /// Whether the answer is to tell how many items an enumeration has. //= ENU-12
    pub(super) fn wants_total_estimate(&self) -> bool {
        self.total_estimate.is_some()
    }

    /// The part of the representation that a Get or a Put is about. Of other operations a part is never taken for the
    /// whole. //= FRG-01
    pub(super) fn fragment(&self, takes_fragments: bool) -> Result<Option<Fragment<'d>>, Box<Fault>> {
        match self.fragment_transfer {
            None => Ok(None),
            Some(block) if takes_fragments => Fragment::parse(block).map(Some),
            Some(_) => {
                let what = "FragmentTransfer is offered with Get and Put, and not with this operation";
                Err(Box::new(fault::unsupported_feature_fragment_level_access(what)))
            }
        }
    }

    /// Whether the answer is to name the resource. //= CTL-24
    pub(super) const fn wants_epr(&self) -> bool {
        self.request_epr.is_some()
    }

    /// MaxEnvelopeSize. //= CTL-10 CTL-11
    pub(super) fn envelope_octets_max(&self) -> Result<Option<u32>, Box<Fault>> {
        let Some(text) = self.max_envelope_size.map(trimmed) else {
            return Ok(None);
        };
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            let what = format!("MaxEnvelopeSize is {:?}, not a number of octets", clipped(&text));
            return Err(Box::new(fault::invalid_message_information_header(what)));
        }
        // The only error left is a number too large, and those are obeyed anyhow.
        let octets = text.parse().unwrap_or(u32::MAX);
        if octets < ENVELOPE_OCTETS_MIN {
            let what = format!("MaxEnvelopeSize is {octets}; the least is {ENVELOPE_OCTETS_MIN}");
            return Err(Box::new(fault::encoding_limit_minimum_envelope(what)));
        }
        Ok(Some(octets))
    }

    /// OperationTimeout. A bad one gets the fault that Windows sends. //= CTL-01 CTL-03
    pub(super) fn operation_timeout(&self) -> Result<Option<Duration>, Box<Fault>> {
        let Some(text) = self.operation_timeout.map(trimmed) else {
            return Ok(None);
        };
        let bad = |error: DurationError| {
            Box::new(fault::invalid_message_information_header(format!(
                "OperationTimeout is {:?}: {error}",
                clipped(&text)
            )))
        };
        let timeout = parse_duration(&text).map_err(bad)?;
        if timeout.is_zero() {
            return Err(Box::new(fault::invalid_timeout("OperationTimeout leaves no time at all")));
        }
        Ok(Some(timeout))
    }

    /// Selectors of the resource. //= RES-09
    pub(super) fn selectors(&self) -> Result<SelectorSet, Box<Fault>> {
        let Some(set) = self.selector_set else {
            return Ok(SelectorSet::default());
        };
        SelectorSet::parse(set).map_err(|error| {
            let what = error.to_string();
            Box::new(match error {
                SelectorError::Duplicate(_) => fault::invalid_selectors_duplicate(what),
                SelectorError::TooMany(_) | SelectorError::TooLong(_) => fault::encoding_limit_selectors(what),
                SelectorError::Malformed(_) => fault::schema_validation_error(what),
            })
        })
    }

    /// Whether the request names a resource in the form of the DMTF, or has an option that only Windows' CIM clients
    /// send.
    pub(super) fn speaks_cim(&self) -> bool {
        let starts = |text: &str, heads: &[&str]| {
            heads.iter().any(|head| text.get(..head.len()).is_some_and(|start| start.eq_ignore_ascii_case(head)))
        };
        let options = self.option_set.iter().flat_map(|set| set.children());
        self.resource_uri.is_some_and(|uri| starts(uri.text().trim_start(), &CIM_URIS))
            || options
                .filter_map(|option| option.attribute("", "Name"))
                .any(|name| starts(name.trim_start(), &CIM_OPTIONS))
    }

    /// Options of the request. //= CTL-20 CTL-22
    pub(super) fn options(&self) -> Result<OptionSet, Box<Fault>> {
        let Some(set) = self.option_set else {
            return Ok(OptionSet::default());
        };
        OptionSet::parse(set).map_err(|error| {
            let what = error.to_string();
            Box::new(match error {
                SelectorError::TooMany(_) | SelectorError::TooLong(_) => fault::encoding_limit_options(what),
                SelectorError::Duplicate(_) | SelectorError::Malformed(_) => fault::invalid_options_invalid_name(what),
            })
        })
    }
}

/// The language of a mandatory locale that is not English.
//= CTL-15
fn foreign_language(locale: Option<Element<'_>>) -> Option<String> {
    let locale = locale.filter(|locale| is_mandatory(*locale))?;
    let lang = locale.attribute(name::XML, "lang").unwrap_or_default();
    let primary = lang.split('-').next().unwrap_or_default();
    (!primary.trim().eq_ignore_ascii_case("en")).then(|| lang.into_owned())
}

/// Whether an answer can repeat these blocks: each is written with every namespace in scope, so that a small request
/// could ask for a very large answer.
fn fits(parameters: &[Element<'_>]) -> bool {
    let octets = |parameter: &Element<'_>| {
        let declared: usize = parameter.declarations_in_scope().map(|(prefix, uri)| prefix.len() + uri.len()).sum();
        parameter.markup().len() + declared
    };
    parameters.len() <= REPEATED_MAX && parameters.iter().map(octets).sum::<usize>() <= REPEATED_OCTETS_MAX
}

fn reference_parameters(endpoint: Element<'_>) -> Vec<Element<'_>> {
    let holders = ["ReferenceProperties", "ReferenceParameters"];
    holders.iter().filter_map(|local| endpoint.child(name::ADDRESSING, local)).flat_map(Element::children).collect()
}
