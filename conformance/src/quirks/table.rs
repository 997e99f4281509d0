//! The quirks that are known, each with the peer that has it and the rules whose cases catch it.

use std::collections::BTreeSet;

/// One way in which a peer differs.
pub(crate) struct Quirk {
    /// Its switch.
    pub name: &'static str,
    /// Who has it; several peers: "several".
    pub peer: &'static str,
    /// What it does.
    pub text: &'static str,
    /// The rules whose cases catch it; none where the rules allow it, so that only clients can mind.
    pub rules: &'static [&'static str],
}

const fn quirk(name: &'static str, peer: &'static str, text: &'static str, rules: &'static [&'static str]) -> Quirk {
    Quirk { name, peer, text, rules }
}

/// All of them.
pub(crate) const QUIRKS: &[Quirk] = &[
    quirk("missing-to-unreachable", "openwsman", "a missing To or ReplyTo gets DestinationUnreachable", &["ADR-01"]),
    quirk("must-understand-true-only", "omi", "mustUnderstand=\"1\" is not honoured, only \"true\"", &["ENV-18"]),
    quirk("not-understood-bare", "omi", "NotUnderstood/@qname is a bare local name", &["ADR-15", "FLT-06"]),
    quirk("header-order", "omi", "a SelectorSet before the ResourceURI is an error", &["ENV-15"]),
    quirk("reply-parameters-dropped", "omi", "ReplyTo's reference parameters are not echoed", &["ADR-05"]),
    quirk("reply-to-unread", "omi", "ReplyTo's address is accepted unread", &["ADR-03"]),
    quirk("message-id-uuid-only", "several", "a MessageID that is no uuid is refused", &["ADR-09"]),
    quirk("to-absolute-only", "several", "a To that is a path only is refused", &["HTTP-15"]),
    quirk("prefix-assumed", "several", "SOAP as the default namespace is not understood", &["ENV-14"]),
    quirk("max-envelope-size-ignored", "openwsman", "MaxEnvelopeSize is not obeyed", &["CTL-10"]),
    quirk("operation-timeout-refused", "openwsman", "OperationTimeout with mustUnderstand is refused", &["CTL-05"]),
    quirk("duration-whole-seconds", "several", "a duration with a fraction is refused", &["CTL-01"]),
    quirk("cimnamespace-refused", "omi", "__cimnamespace beside a WMI URI is refused", &["RES-18"]),
    quirk(
        "case-sensitive-names",
        "several",
        "names of classes and selectors count letter for letter",
        &["RES-13", "RES-15"],
    ),
    quirk("unknown-selector-ignored", "several", "a selector that the class does not have is ignored", &["RES-04"]),
    quirk("unknown-selector-not-found", "several", "such a selector is told as not found", &["RES-04"]),
    quirk("class-ignored-with-filter", "openwsman", "the class in the URI is ignored beside a filter", &[]),
    quirk("misspelt-details", "openwsman", "AmbigousSelectors, UnexpectedSelector and other details", &["FLT-04"]),
    quirk(
        "misspelt-actions",
        "openwsman",
        "a GetStatus of a subscription is answered as GetStaus",
        &["ADR-20", "EVT-01"],
    ),
    quirk("fault-without-reason", "openpegasus", "faults have no Reason", &["FLT-02"]),
    quirk("reason-before-code", "metro", "Reason stands before Code", &["FLT-01"]),
    quirk("subcode-prefix-undeclared", "several", "the subcode's prefix is not declared", &["ENV-17"]),
    quirk("no-wsmanfault", "openwsman", "faults have no WSManFault with its number", &["FLT-05"]),
    quirk("sender-and-receiver-swapped", "omi", "the sender's faults are the receiver's", &["ADR-01"]),
    quirk("method-not-found-internal", "openpegasus", "an unknown method is an internal error", &["INV-09"]),
    quirk("filter-dialect-accepted", "openwsman", "an unknown filter dialect is ignored", &["ENU-07"]),
    quirk(
        "second-envelope",
        "omi",
        "after a late error, a second envelope follows the beginning of a first",
        &["ENV-12", "ENV-20"],
    ),
    quirk("identify-foreign-header-fault", "openwsman", "Identify with a foreign header is a fault", &["IDN-02"]),
    quirk("identify-one-namespace", "openpegasus", "Identify is known in one of its namespaces only", &["IDN-01"]),
    quirk("status-chaos", "openwsman", "each fault has a status of its own", &["HTTP-04"]),
    quirk("empty-500", "several", "a request that is no XML gets an empty 500", &["HTTP-05"]),
    quirk("oversize-closed", "winrm", "a request that is too long gets its connection closed", &[]),
    quirk("content-type-required", "omi", "a request without Content-Type is refused", &["HTTP-08"]),
    quirk("utf-16-answered-in-utf-8", "several", "UTF-16 requests are answered in UTF-8", &["ENV-07"]),
    quirk("unauthorized-without-scheme", "several", "a 401 names no scheme (with --user)", &["HTTP-12"]),
    quirk("wsen-items", "several", "Items and EndOfSequence of Enumerate are in the wrong namespace", &["ENU-13"]),
    quirk("pull-returns-all", "several", "a Pull without MaxElements returns everything", &["ENU-16"]),
    quirk("max-elements-ignored", "several", "MaxElements is not obeyed", &["ENU-16"]),
    quirk("context-with-end", "several", "the last Pull has a context and an end", &["ENU-15"]),
    quirk("booleans-upper-case", "omi", "booleans are TRUE and FALSE", &["MAP-02"]),
    quirk("datetime-bare", "openpegasus", "dates are bare text, not wrapped", &["MAP-05"]),
    quirk("null-omitted", "several", "a property without a value is left out", &[]),
    quirk("eventing-address-namespace", "openpegasus", "the manager's EPR has its Address in eventing", &["EVT-01"]),
    quirk("slow-optimize", "several", "OptimizeEnumeration is ignored", &["ENU-13"]),
    quirk("byte-order-mark", "several", "answers begin with a byte order mark", &["ENV-10"]),
    quirk("locale-ignored", "several", "a Locale that must be understood is ignored", &["CTL-14"]),
    quirk("method-actions-dmtf-only", "omi", "methods are known by the DMTF's actions only", &["INV-02", "INV-12"]),
    quirk("sequential-contexts", "omi", "contexts are numbers that go up by one", &["ENU-32"]),
    quirk("prefixes-not-local", "several", "an EPR's prefixes are declared at the envelope only", &[]),
    quirk("message-ids-repeat", "several", "every answer has the same MessageID", &["ADR-12"]),
];

/// The quirks of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quirks(BTreeSet<&'static str>);

impl Quirks {
    /// Those of these names.
    pub(crate) fn of(names: &[String]) -> Result<Self, String> {
        let find = |name: &String| {
            let known = QUIRKS.iter().find(|quirk| quirk.name == name);
            known.map(|quirk| quirk.name).ok_or_else(|| format!("unknown quirk {name:?}; --list tells them all"))
        };
        names.iter().map(find).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the server has a quirk.
    pub(crate) fn has(&self, name: &'static str) -> bool {
        debug_assert!(QUIRKS.iter().any(|quirk| quirk.name == name), "the quirk {name} is not in the table");
        self.0.contains(name)
    }
}
