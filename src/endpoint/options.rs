//! Options of a request that demand to be obeyed.

use crate::soap::{Fault, clipped};
use crate::wsman::{Operation, Profile, Request, fault};

/// What the names of options begin with that Windows' clients send with every request, MustComply or not: a service
/// that does not know one of them leaves it alone.
const ALWAYS_TAKEN: [&str; 4] = ["wmi:", "wmiarray:", "msftwinrm:", "__MI_"];

/// Refuses an option that must be complied with and is not known. Options of a Pull or a Release are left alone: those
/// of their Enumerate hold.
//= CTL-18, CTL-19, CTL-21, CTL-23
pub(super) fn check(request: &Request<'_>, profile: &Profile) -> Result<(), Fault> {
    if !profile.enforces_must_comply || matches!(request.operation, Operation::Pull(_) | Operation::Release(_)) {
        return Ok(());
    }
    let taken = |name: &str| {
        let starts = |prefix: &&str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        ALWAYS_TAKEN.iter().any(starts)
    };
    match request.options.0.iter().find(|option| option.must_comply && !taken(&option.name)) {
        None => Ok(()),
        Some(option) => Err(fault::invalid_options_not_supported(format!(
            "the option {:?} says MustComply, and this service does not know it",
            clipped(&option.name)
        ))),
    }
}
