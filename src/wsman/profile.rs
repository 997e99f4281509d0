//! Where the base standards and the practice of WinRM differ: one table, one line a place.
//!
//! The standards are DSP0226 and DSP0227; the practice is MS-WSMV and what its clients send and expect. Nothing else
//! asks for a profile by its name: a place looks its line up.

/// Makes the places that differ a struct with two values, and all places a list.
macro_rules! profiles {
    (
        differ {
            $($(#[doc = $doc:literal])* $field:ident: $type:ty { ms: $ms:expr, dmtf: $dmtf:expr } $rules:literal;)*
        }
        agree { $($what:literal: $why:literal, $same:literal;)* }
    ) => {
        /// What holds at each place that differs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Profile {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl Profile {
            /// As WinRM does it: what Windows' clients, and those written against Windows, expect.
            pub const MS: Self = Self { $($field: $ms,)* };
            /// As the standards have it.
            pub const DMTF: Self = Self { $($field: $dmtf,)* };
        }

        /// All places: what is decided there, and the rules that it touches.
        pub const PLACES: &[Place] = &[
            $(Place { what: stringify!($field), agreed: None, rules: $rules },)*
            $(Place { what: $what, agreed: Some($why), rules: $same },)*
        ];
    };
}

/// One place of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What is decided there.
    pub what: &'static str,
    /// What both profiles do, where one answer suits both.
    pub agreed: Option<&'static str>,
    /// Rules of the catalogue.
    pub rules: &'static str,
}

profiles! {
    differ {
        /// HTTP status of a fault whose SOAP code is Sender; all others have 500.
        //= HTTP-04
        sender_fault_status: u16 { ms: 500, dmtf: 400 } "HTTP-04";
        /// A FragmentTransfer header without mustUnderstand is refused; otherwise it counts as one with it.
        //= FRG-03, ADR-16
        fragment_needs_must_understand: bool { ms: true, dmtf: false } "FRG-03 ADR-16";
        /// RequestEPR is answered by RequestedEPR; otherwise it is understood and left alone.
        //= CTL-24
        answers_request_epr: bool { ms: false, dmtf: true } "CTL-24";
        /// A PolymorphismMode that does not exist is refused; otherwise it counts as none.
        //= CIM-07, CIM-08
        refuses_unknown_polymorphism: bool { ms: false, dmtf: true } "CIM-07 CIM-08";
        /// An option with MustComply that is not obeyed is refused.
        //= CTL-19
        enforces_must_comply: bool { ms: false, dmtf: true } "CTL-19";
        /// A `__cimnamespace` that contradicts a resource URI which names the namespace itself is an internal error, as
        /// Windows has it; otherwise a selector with an invalid value.
        //= RES-18
        namespace_conflict_is_internal: bool { ms: true, dmtf: false } "RES-18";
        /// Pull, Release, Renew and GetStatus name the resource of the Enumerate that opened their context; otherwise
        /// the context alone counts, since libvirt sends a class where it enumerated all of them.
        //= ENU-20
        context_needs_its_resource: bool { ms: false, dmtf: true } "ENU-20";
        /// A quiet subscription in Pull mode gets its heartbeats as events; otherwise as empty pages, since WinRM's
        /// client unsubscribes at such an event.
        //= EVT-11
        pull_heartbeats_are_events: bool { ms: false, dmtf: true } "EVT-09 EVT-11";
        /// The `_INPUT` element of a method is in the namespace of its class or is refused; otherwise its namespace is
        /// not looked at, since Microsoft's own samples get it wrong.
        //= INV-04
        checks_input_namespace: bool { ms: false, dmtf: true } "INV-04";
    }
    agree {
        "the namespace selector in references":
            "with class URIs of the DMTF's forms, and not with WMI's, which name the namespace themselves and which \
            the standard does not know", "RES-19";
        "the reason of a fault": "always sent: optional in DSP0226, mandatory in SOAP 1.2", "FLT-02";
        "Items and EndOfSequence":
            "of the wsman namespace in EnumerateResponse, of wsen in PullResponse",
            "ENU-14 ENU-15";
        "validation by the DMTF's schema files": "never: they refuse messages that the text allows", "ENV-01";
    }
}

#[cfg(test)]
mod tests {
    use super::{PLACES, Profile};

    #[test]
    fn there_are_thirteen_places_and_the_profiles_differ_in_nine() {
        assert_eq!(PLACES.len(), 13);
        assert_eq!(PLACES.iter().filter(|place| place.agreed.is_none()).count(), 9);
        assert_ne!(Profile::MS, Profile::DMTF);
    }
}
