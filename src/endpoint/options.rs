//! Options of a request that demand to be obeyed.

use crate::soap::{Fault, OptionSet, clipped};
use crate::wsman::{Operation, Profile, Request, fault};

/// What the names of options begin with that Windows' clients send with every request, MustComply or not: a service
/// that does not know one of them leaves it alone.
const ALWAYS_TAKEN: [&str; 4] = ["wmi:", "wmiarray:", "msftwinrm:", "__MI_"];

/// `DERIVATION` of a class in CIM-XML.
pub(super) const INHERITANCE_HIERARCHY: &str = "IncludeInheritanceHierarchy";
/// Inherited properties and methods of a class in CIM-XML.
pub(super) const INHERITED_ELEMENTS: &str = "IncludeInheritedElements";
/// Qualifiers of a class in CIM-XML.
pub(super) const QUALIFIERS: &str = "IncludeQualifiers";
/// `CLASSORIGIN` of a class in CIM-XML.
pub(super) const CLASS_ORIGIN: &str = "IncludeClassOrigin";
/// Null and empty arrays are told apart (MS-WSMV clients).
pub(super) const PRECISE_ARRAYS: &str = "UsePreciseArrays";

/// The options that are obeyed here.
const OBEYED: [&str; 5] = [INHERITANCE_HIERARCHY, INHERITED_ELEMENTS, QUALIFIERS, CLASS_ORIGIN, PRECISE_ARRAYS];

/// Whether an option is there and true. Clients write a prefix before some names, which is not part of them.
pub(super) fn is_set(options: &OptionSet, name: &str) -> bool {
    let is_true = |value: &str| value.eq_ignore_ascii_case("true") || value == "1";
    let found = options.0.iter().find(|option| bare(&option.name).eq_ignore_ascii_case(name));
    found.is_some_and(|option| option.value.as_deref().map(str::trim).is_some_and(is_true))
}

fn bare(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, bare)| bare).trim()
}

/// Refuses an option that must be complied with and is not known. Options of a Pull or a Release are left alone: those
/// of their Enumerate hold.
//= CTL-18, CTL-19, CTL-21, CTL-23
pub(super) fn check(request: &Request<'_>, profile: &Profile) -> Result<(), Fault> {
    if !profile.enforces_must_comply || matches!(request.operation, Operation::Pull(_) | Operation::Release(_)) {
        return Ok(());
    }
    let taken = |name: &str| {
        let starts = |prefix: &&str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        ALWAYS_TAKEN.iter().any(starts) || OBEYED.iter().any(|known| known.eq_ignore_ascii_case(bare(name)))
    };
    match request.options.0.iter().find(|option| option.must_comply && !taken(&option.name)) {
        None => Ok(()),
        Some(option) => Err(fault::invalid_options_not_supported(format!(
            "the option {:?} says MustComply, and this service does not know it",
            clipped(&option.name)
        ))),
    }
}
