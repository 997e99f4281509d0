//! Every fault that this service can send, as one constructor each: a search here lists every refusal.
//!
//! A constructor takes the text that says what was wrong with the value received. The table says the rest: SOAP code,
//! subcode, action, detail URI and the number that clients act on. `faults.csv` holds the same table as data; a test
//! compares the two row by row.

use crate::soap::{DetailItem, Fault, FaultCode, Subcode, clipped, fault_action};
use crate::xml::{XmlError, name};
use std::borrow::Cow;

/// One form of a fault, without its text.
//= FLT-03
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name of its constructor in this module.
    pub constructor: &'static str,
    /// Family of the subcode.
    pub family: Family,
    /// Local name of the subcode.
    pub local: &'static str,
    /// SOAP code.
    pub code: FaultCode,
    /// URI of the `wsman:FaultDetail`; empty when there is none.
    pub detail_uri: &'static str,
    /// `WSManFault/@Code`.
    pub number: u32,
}

/// The specification that a subcode belongs to; it gives the namespace, the prefix and the fault's action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// WS-Management.
    Wsman,
    /// WS-Addressing.
    Addressing,
    /// WS-Transfer.
    Transfer,
    /// WS-Enumeration.
    Enumeration,
    /// WS-Eventing.
    Eventing,
    /// The CIM binding, DSP0227.
    CimBinding,
}

impl Family {
    /// Prefix, namespace and action of faults.
    const fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Wsman => ("w", name::WSMAN, fault_action::WSMAN),
            Self::Addressing => ("a", name::ADDRESSING, fault_action::ADDRESSING),
            Self::Transfer => ("x", name::TRANSFER, fault_action::TRANSFER),
            Self::Enumeration => ("n", name::ENUMERATION, fault_action::ENUMERATION),
            Self::Eventing => ("e", name::EVENTING, fault_action::EVENTING),
            Self::CimBinding => ("b", name::CIM_BINDING, fault_action::CIM_BINDING),
        }
    }
}

impl Row {
    fn fault(&self, reason: Cow<'static, str>) -> Fault {
        let (prefix, namespace, action) = self.family.parts();
        Fault {
            code: self.code,
            subcode: Some(Subcode { prefix, namespace, local: self.local }),
            action,
            detail_uri: (!self.detail_uri.is_empty()).then_some(self.detail_uri),
            number: self.number,
            reason: Fault::bounded(reason),
            internal: None,
            not_understood: Vec::new(),
            detail: Vec::new(),
            cim_status: None,
            detail_markup: String::new(),
        }
    }
}

macro_rules! faults {
    (@uri "") => { "" };
    (@uri $detail:literal) => { concat!("http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/", $detail) };
    ($($(#[$doc:meta])* $constructor:ident: $family:ident $local:literal $code:ident $detail:tt $number:literal;)*) => {
        $(
            $(#[$doc])*
            #[doc = concat!("\n\nSubcode `", $local, "`, number ", $number, ".")]
            pub fn $constructor(reason: impl Into<Cow<'static, str>>) -> Fault {
                const ROW: Row = Row {
                    constructor: stringify!($constructor),
                    family: Family::$family,
                    local: $local,
                    code: FaultCode::$code,
                    detail_uri: faults!(@uri $detail),
                    number: $number,
                };
                ROW.fault(reason.into())
            }
        )*
        /// Every constructor of this module with the text "x", for tests and for documentation.
        pub fn catalogue() -> Vec<(&'static str, Fault)> {
            vec![$((stringify!($constructor), $constructor("x"))),*]
        }
    };
}

faults! {
    /// The caller may not do this.
    access_denied: Wsman "AccessDenied" Sender "" 5;
    /// Action unknown.
    action_not_supported: Addressing "ActionNotSupported" Sender "" 2_150_858_771;
    /// Action known, not for this resource.
    action_mismatch: Addressing "ActionNotSupported" Sender "ActionMismatch" 2_150_858_801;
    /// The action is not a URI at all.
    invalid_action: Addressing "ActionNotSupported" Sender "" 2_150_858_753;
    /// Create twice.
    already_exists: Wsman "AlreadyExists" Sender "" 2_150_858_803;
    /// Bad filter text in Enumerate.
    cannot_process_filter: Enumeration "CannotProcessFilter" Sender "" 2_150_858_778;
    /// Bad fragment expression.
    fragment_cannot_process_filter: Wsman "CannotProcessFilter" Sender "" 2_150_859_042;
    /// Lock.
    concurrency: Wsman "Concurrency" Sender "" 2_150_858_802;
    /// Mode.
    delivery_mode_unavailable: Eventing "DeliveryModeRequestedUnavailable" Sender "" 2_150_858_782;
    /// Sink to source.
    delivery_refused: Wsman "DeliveryRefused" Receiver "" 2_150_858_804;
    /// The ResourceURI is absent, or names no class.
    invalid_resource_uri: Addressing "DestinationUnreachable" Sender "InvalidResourceURI" 2_150_858_811;
    /// No such instance.
    resource_not_found: Addressing "DestinationUnreachable" Sender "InvalidResourceURI" 2_150_858_752;
    /// Generic.
    destination_unreachable: Addressing "DestinationUnreachable" Sender "" 2_150_858_770;
    /// URI too long.
    encoding_limit_uri: Wsman "EncodingLimit" Sender "URILimitExceeded" 2_150_858_797;
    /// MaxEnvelopeSize < 8192.
    encoding_limit_minimum_envelope: Wsman "EncodingLimit" Sender "MinimumEnvelopeLimit" 2_150_858_878;
    /// Requested maximum too large for the service.
    encoding_limit_max_envelope_size: Wsman "EncodingLimit" Sender "MaxEnvelopeSize" 2_150_858_823;
    /// Response over client limit.
    encoding_limit_max_envelope_size_exceeded: Wsman "EncodingLimit" Sender "MaxEnvelopeSizeExceeded" 2_150_858_824;
    /// Response over own limit.
    encoding_limit_service_envelope_limit: Wsman "EncodingLimit" Sender "ServiceEnvelopeLimit" 2_150_858_825;
    /// Too many selectors.
    encoding_limit_selectors: Wsman "EncodingLimit" Sender "SelectorLimit" 2_150_858_826;
    /// Too many options.
    encoding_limit_options: Wsman "EncodingLimit" Sender "OptionLimit" 2_150_858_827;
    /// Encoding.
    encoding_limit_character_set: Wsman "EncodingLimit" Sender "CharacterSet" 2_150_858_828;
    /// Done, unreportable.
    encoding_limit_unreportable_success: Wsman "EncodingLimit" Sender "UnreportableSuccess" 2_150_858_829;
    /// Whitespace.
    encoding_limit_whitespace: Wsman "EncodingLimit" Sender "Whitespace" 2_150_858_830;
    /// MTOM etc. on non-HTTP.
    encoding_limit_encoding_type: Wsman "EncodingLimit" Sender "EncodingType" 2_150_859_033;
    /// Offline.
    endpoint_unavailable: Addressing "EndpointUnavailable" Receiver "" 2_150_858_772;
    /// A policy in a NotifyTo asks for what cannot be done (MS-WSMV 3.1.4.1.22).
    event_deliver_to_policy: Wsman "EventDeliverToUnusable" Sender "CannotComplyWithPolicy" 2_150_859_102;
    /// A policy in a NotifyTo is more than can be evaluated (MS-WSMV 3.1.4.1.22).
    event_deliver_to_unusable: Wsman "EventDeliverToUnusable" Sender "PolicyTooComplex" 2_150_859_101;
    /// Subscription cannot be processed (OMI says Receiver).
    event_source_unable_to_process: Eventing "EventSourceUnableToProcess" Sender "" 2_150_858_787;
    /// Dialect.
    filter_dialect_unavailable: Enumeration "FilterDialectRequestedUnavailable" Sender "" 2_150_858_777;
    /// No filters.
    eventing_filtering_not_supported: Eventing "FilteringNotSupported" Sender "" 2_150_858_785;
    /// No filters.
    filtering_not_supported: Enumeration "FilteringNotSupported" Sender "" 2_150_858_776;
    /// Dialect.
    eventing_filter_dialect_unavailable: Eventing "FilteringRequestedUnavailable" Sender "" 2_150_858_786;
    /// Fragment dialect.
    fragment_dialect_not_supported: Wsman "FragmentDialectNotSupported" Receiver "" 2_150_858_896;
    /// The service failed; what happened is only logged.
    internal_error: Wsman "InternalError" Receiver "" 1_359;
    /// Stale.
    bookmark_expired: Wsman "InvalidBookmark" Sender "Expired" 2_150_858_832;
    /// Bad.
    invalid_bookmark: Wsman "InvalidBookmark" Sender "Invalid" 2_150_858_808;
    /// An enumeration context that is unknown, ended, expired or somebody else's.
    invalid_enumeration_context: Enumeration "InvalidEnumerationContext" Receiver "" 2_150_858_779;
    /// Expiry.
    eventing_invalid_expiration_time: Eventing "InvalidExpirationTime" Sender "" 2_150_858_783;
    /// An Expires that is past or malformed.
    invalid_expiration_time: Enumeration "InvalidExpirationTime" Sender "" 2_150_858_774;
    /// Unknown content.
    eventing_invalid_message: Eventing "InvalidMessage" Sender "" 2_150_858_789;
    /// A header is malformed or given twice.
    invalid_message_information_header: Addressing "InvalidMessageInformationHeader" Sender "" 2_150_858_767;
    /// OperationTimeout or MaxTime cannot be met.
    invalid_timeout: Addressing "InvalidMessageInformationHeader" Sender "InvalidTimeout" 2_150_858_881;
    /// Options.
    invalid_options_not_supported: Wsman "InvalidOptions" Sender "NotSupported" 2_150_858_833;
    /// Option name.
    invalid_options_invalid_name: Wsman "InvalidOptions" Sender "InvalidName" 2_150_858_834;
    /// Option value.
    invalid_options_invalid_value: Wsman "InvalidOptions" Sender "InvalidValue" 2_150_858_835;
    /// Method parameter type.
    invalid_parameter_type_mismatch: Wsman "InvalidParameter" Sender "TypeMismatch" 2_150_858_836;
    /// Method parameter name.
    invalid_parameter_invalid_name: Wsman "InvalidParameter" Sender "InvalidName" 2_150_858_837;
    /// Generic.
    invalid_parameter: Wsman "InvalidParameter" Sender "" 2_150_858_810;
    /// Put/Create.
    invalid_representation_invalid_values: Transfer "InvalidRepresentation" Sender "InvalidValues" 2_150_858_838;
    /// Put/Create.
    invalid_representation_missing_values: Transfer "InvalidRepresentation" Sender "MissingValues" 2_150_858_839;
    /// Put/Create.
    invalid_representation_invalid_namespace: Transfer "InvalidRepresentation" Sender "InvalidNamespace" 2_150_858_840;
    /// Fragment.
    invalid_representation_invalid_fragment: Transfer "InvalidRepresentation" Sender "InvalidFragment" 2_150_858_841;
    /// Keys missing.
    invalid_selectors_insufficient: Wsman "InvalidSelectors" Sender "InsufficientSelectors" 2_150_858_842;
    /// Unknown name.
    invalid_selectors_unexpected: Wsman "InvalidSelectors" Sender "UnexpectedSelectors" 2_150_858_843;
    /// Wrong type.
    invalid_selectors_type_mismatch: Wsman "InvalidSelectors" Sender "TypeMismatch" 2_150_858_844;
    /// Value.
    invalid_selectors_invalid_value: Wsman "InvalidSelectors" Sender "InvalidValue" 2_150_858_845;
    /// More than one.
    invalid_selectors_ambiguous: Wsman "InvalidSelectors" Sender "AmbiguousSelectors" 2_150_858_846;
    /// Twice.
    invalid_selectors_duplicate: Wsman "InvalidSelectors" Sender "DuplicateSelectors" 2_150_858_847;
    /// A header is missing.
    message_information_header_required: Addressing "MessageInformationHeaderRequired" Sender "" 2_150_858_769;
    /// Sink did not ack.
    no_ack: Wsman "NoAck" Sender "" 2_150_858_800;
    /// A bound on open operations is reached.
    quota_limit: Wsman "QuotaLimit" Sender "" 2_150_858_815;
    /// XML parse or schema.
    schema_validation_error: Wsman "SchemaValidationError" Sender "" 2_150_858_817;
    /// Not used in WS-Man.
    enumeration_timed_out: Enumeration "TimedOut" Receiver "" 2_150_858_780;
    /// Timeouts, empty Receive/Pull.
    timed_out: Wsman "TimedOut" Receiver "" 2_150_858_793;
    /// Renew (OMI says Receiver).
    unable_to_renew: Eventing "UnableToRenew" Sender "" 2_150_858_788;
    /// DateTime vs duration.
    eventing_unsupported_expiration_type: Eventing "UnsupportedExpirationType" Sender "" 2_150_858_784;
    /// DateTime vs duration.
    unsupported_expiration_type: Enumeration "UnsupportedExpirationType" Sender "" 2_150_859_036;
    /// Ack is not offered.
    unsupported_feature_ack: Wsman "UnsupportedFeature" Sender "Ack" 2_150_858_853;
    /// AddressingMode is not offered.
    unsupported_feature_addressing_mode: Wsman "UnsupportedFeature" Sender "AddressingMode" 2_150_858_870;
    /// The operation cannot run asynchronously.
    unsupported_feature_asynchronous_request: Wsman "UnsupportedFeature" Sender "AsynchronousRequest" 2_150_858_818;
    /// AuthorizationMode is not offered.
    unsupported_feature_authorization_mode: Wsman "UnsupportedFeature" Sender "AuthorizationMode" 2_150_858_852;
    /// Bookmarks is not offered.
    unsupported_feature_bookmarks: Wsman "UnsupportedFeature" Sender "Bookmarks" 2_150_858_859;
    /// DeliveryRetries is not offered.
    unsupported_feature_delivery_retries: Wsman "UnsupportedFeature" Sender "DeliveryRetries" 2_150_858_857;
    /// EnumerationMode is not offered.
    unsupported_feature_enumeration_mode: Wsman "UnsupportedFeature" Sender "EnumerationMode" 2_150_858_886;
    /// ExpirationTime is not offered.
    unsupported_feature_expiration_time: Wsman "UnsupportedFeature" Sender "ExpirationTime" 2_150_858_856;
    /// FilteringRequired is not offered.
    unsupported_feature_filtering_required: Wsman "UnsupportedFeature" Sender "FilteringRequired" 2_150_858_864;
    /// FormatMismatch is not offered.
    unsupported_feature_format_mismatch: Wsman "UnsupportedFeature" Sender "FormatMismatch" 2_150_858_866;
    /// FormatSecurityToken is not offered.
    unsupported_feature_format_security_token: Wsman "UnsupportedFeature" Sender "FormatSecurityToken" 2_150_858_867;
    /// FragmentLevelAccess is not offered.
    unsupported_feature_fragment_level_access: Wsman "UnsupportedFeature" Sender "FragmentLevelAccess" 2_150_858_871;
    /// Heartbeats is not offered.
    unsupported_feature_heartbeats: Wsman "UnsupportedFeature" Sender "Heartbeats" 2_150_858_858;
    /// InsecureAddress is not offered.
    unsupported_feature_insecure_address: Wsman "UnsupportedFeature" Sender "InsecureAddress" 2_150_858_865;
    /// Locale is not offered.
    unsupported_feature_locale: Wsman "UnsupportedFeature" Sender "Locale" 2_150_858_887;
    /// MaxElements is not offered.
    unsupported_feature_max_elements: Wsman "UnsupportedFeature" Sender "MaxElements" 2_150_859_037;
    /// MaxEnvelopePolicy is not offered.
    unsupported_feature_max_envelope_policy: Wsman "UnsupportedFeature" Sender "MaxEnvelopePolicy" 2_150_858_863;
    /// MaxEnvelopeSize is not offered.
    unsupported_feature_max_envelope_size: Wsman "UnsupportedFeature" Sender "MaxEnvelopeSize" 2_150_858_862;
    /// MaxTime is not offered.
    unsupported_feature_max_time: Wsman "UnsupportedFeature" Sender "MaxTime" 2_150_858_861;
    /// OperationTimeout is not offered.
    unsupported_feature_operation_timeout: Wsman "UnsupportedFeature" Sender "OperationTimeout" 2_150_858_854;
    /// Schema lists it.
    unsupported_feature_option_set: Wsman "UnsupportedFeature" Sender "OptionSet" 2_150_858_918;
    /// A DataLocale that must be obeyed and cannot be.
    unsupported_feature_data_locale: Wsman "UnsupportedFeature" Sender "DataLocale" 2_150_858_855;
    /// DSP0227.
    polymorphism_mode_not_supported: CimBinding "PolymorphismModeNotSupported" Sender "" 2_150_859_063;
}

/// `s:VersionMismatch`: not a SOAP 1.2 envelope.
pub fn version_mismatch(reason: impl Into<Cow<'static, str>>) -> Fault {
    Fault::version_mismatch(reason)
}

/// `s:MustUnderstand`: these mandatory headers, as (namespace, local name), are not understood.
pub fn must_understand(headers: Vec<(String, String)>) -> Fault {
    Fault::must_understand(headers)
}

/// `wsa:ActionNotSupported` that names the action, in its text and in its detail. //= ADR-13
pub fn unsupported_action(action: &str) -> Fault {
    named_action(action_not_supported(format!("the action {:?} is not supported here", clipped(action))), action)
}

/// `wsa:ActionNotSupported` with ActionMismatch: the action is known, but not for this resource.
pub fn mismatched_action(action: &str, resource_uri: &str) -> Fault {
    let reason = format!("the action {:?} does not apply to the resource {:?}", clipped(action), clipped(resource_uri));
    named_action(action_mismatch(reason), action)
}

/// A fault of an action, with the action in its detail. //= ADR-13, INV-09
pub fn named_action(fault: Fault, action: &str) -> Fault {
    fault.with_item(DetailItem {
        prefix: "a",
        namespace: name::ADDRESSING,
        local: "Action",
        text: clipped(action).to_owned(),
    })
}

/// `wsen:FilterDialectRequestedUnavailable` that lists what is offered. //= ENU-07
pub fn unknown_filter_dialect(dialect: &str, offered: &[&str]) -> Fault {
    let fault = filter_dialect_unavailable(format!("the filter dialect {:?} is not offered", clipped(dialect)));
    offered.iter().fold(fault, |fault, uri| {
        let text = (*uri).to_owned();
        fault.with_item(DetailItem { prefix: "n", namespace: name::ENUMERATION, local: "SupportedDialect", text })
    })
}

/// `wse:FilteringRequestedUnavailable` that lists what is offered. //= EVT-07
pub fn unknown_event_dialect(dialect: &str, offered: &[&str]) -> Fault {
    let text = format!("the filter dialect {:?} is not offered for events", clipped(dialect));
    offered.iter().fold(eventing_filter_dialect_unavailable(text), |fault, uri| {
        let text = (*uri).to_owned();
        fault.with_item(DetailItem { prefix: "e", namespace: name::EVENTING, local: "SupportedDialect", text })
    })
}

/// `wsa:EndpointUnavailable` that says when to try again.
pub fn retry_after(reason: impl Into<Cow<'static, str>>, delay: std::time::Duration) -> Fault {
    let text = super::duration::format_duration(delay);
    let item = DetailItem { prefix: "a", namespace: name::ADDRESSING, local: "RetryAfter", text };
    endpoint_unavailable(reason).with_item(item)
}

/// `wse:EventSourceUnableToProcess` for an address that nothing can be sent to.
pub fn event_source_unusable_address(reason: impl Into<Cow<'static, str>>) -> Fault {
    let detail_uri = "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/UnusableAddress";
    Fault { detail_uri: Some(detail_uri), ..event_source_unable_to_process(reason) }
}

/// `wsman:QuotaLimit` for one user's open operations, with the number that Windows has for it.
pub fn quota_limit_user(reason: impl Into<Cow<'static, str>>) -> Fault {
    Fault { number: 2_150_859_174, ..quota_limit(reason) }
}

/// `wsman:SchemaValidationError` for a text that is no XML document; says what is wrong and where.
//= ENV-23
pub fn not_xml(error: &XmlError) -> Fault {
    schema_validation_error(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{catalogue, must_understand, version_mismatch};
    use crate::soap::Fault;
    use std::collections::BTreeMap;

    const TABLE: &str = include_str!("faults.csv");
    const PREFIXES: [(&str, &str); 6] =
        [("a", "wsa"), ("b", "wsmb"), ("e", "wse"), ("n", "wsen"), ("w", "wsman"), ("x", "wxf")];

    fn row(constructor: &str, fault: &Fault) -> String {
        let subcode = fault.subcode.map_or_else(String::new, |subcode| {
            let prefix = PREFIXES.iter().find(|(ours, _)| *ours == subcode.prefix).unwrap().1;
            format!("{prefix}:{}", subcode.local)
        });
        let detail = fault.detail_uri.unwrap_or("/").rsplit('/').next().unwrap();
        format!("{},{subcode},{detail},{},{constructor}", fault.code.name(), fault.number)
    }

    #[test]
    fn the_constructors_are_the_table() {
        let mut faults: BTreeMap<&str, Fault> = catalogue().into_iter().collect();
        faults.insert("version_mismatch", version_mismatch("x"));
        faults.insert("must_understand", must_understand(Vec::new()));
        let mut lines = TABLE.lines();
        assert_eq!(lines.next(), Some("code,subcode,detail,number,constructor"));
        for line in lines {
            let constructor = line.rsplit(',').next().unwrap();
            let fault = faults.remove(constructor).unwrap_or_else(|| panic!("no constructor {constructor}"));
            assert_eq!(row(constructor, &fault), line);
        }
        assert_eq!(faults.keys().collect::<Vec<_>>(), Vec::<&&str>::new(), "constructors that are not in the table");
    }

    #[test]
    fn the_soap_layer_and_the_table_agree() {
        assert_eq!(super::schema_validation_error("x"), Fault::schema_validation_error("x"));
    }

    #[test]
    fn every_action_follows_its_subcode() {
        for (constructor, fault) in catalogue() {
            let subcode = fault.subcode.unwrap();
            let family = subcode.namespace.rsplit('/').next().unwrap().trim_end_matches(".xsd");
            assert!(fault.action.contains(family), "{constructor}: {} for {}", fault.action, subcode.namespace);
        }
    }
}
