//! CIM errors as SOAP faults: the one table from DSP0004 statuses to WS-Management faults.

use crate::cim::{Blame, CimError, CimStatus};
use crate::soap::Fault;
use crate::wsman::fault;

/// The fault that tells a peer of a failed CIM operation.
//= FLT-10, CIM-14
pub fn fault_of(error: CimError) -> Fault {
    let CimError { status, blame, message, internal } = error;
    let fault = match (status, blame) {
        (_, Blame::MissingKeys) => fault::invalid_selectors_insufficient(message),
        (_, Blame::Ambiguous) => fault::invalid_selectors_ambiguous(message),
        (_, Blame::ParameterName) => fault::invalid_parameter_invalid_name(message),
        (_, Blame::ParameterType) => fault::invalid_parameter_type_mismatch(message),
        (_, Blame::ParameterMissing) | (CimStatus::INVALID_PARAMETER | CimStatus::TYPE_MISMATCH, Blame::General) => {
            fault::invalid_parameter(message)
        }
        (CimStatus::ACCESS_DENIED, _) => fault::access_denied(message),
        (CimStatus::INVALID_NAMESPACE | CimStatus::INVALID_CLASS, _) => fault::invalid_resource_uri(message),
        (CimStatus::NOT_FOUND, _) => fault::resource_not_found(message),
        (CimStatus::NOT_SUPPORTED | CimStatus::METHOD_NOT_AVAILABLE, _) => fault::action_mismatch(message),
        (CimStatus::METHOD_NOT_FOUND, _) => fault::action_not_supported(message),
        (CimStatus::INVALID_QUERY, _) => fault::cannot_process_filter(message),
        _ => fault::internal_error(message),
    };
    Fault { internal, cim_status: Some(status.0), ..fault }
}
