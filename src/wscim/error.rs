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
        (CimStatus(ALREADY_EXISTS), _) => fault::already_exists(message),
        (CimStatus(NO_SUCH_PROPERTY), _) => fault::invalid_representation_invalid_values(message),
        (CimStatus(QUERY_LANGUAGE_NOT_SUPPORTED), _) => fault::filter_dialect_unavailable(message),
        (CimStatus(INVALID_ENUMERATION_CONTEXT), _) => fault::invalid_enumeration_context(message),
        (CimStatus(INVALID_OPERATION_TIMEOUT), _) => fault::invalid_timeout(message),
        (CimStatus(SERVER_LIMITS_EXCEEDED), _) => fault::quota_limit(message),
        (CimStatus(SERVER_IS_SHUTTING_DOWN), _) => fault::endpoint_unavailable(message),
        _ => fault::internal_error(message),
    };
    Fault { internal, cim_status: Some(status.0), ..fault }
}

// Statuses of DSP0223 that nothing here has a name for.
const ALREADY_EXISTS: u32 = 11;
const NO_SUCH_PROPERTY: u32 = 12;
const QUERY_LANGUAGE_NOT_SUPPORTED: u32 = 14;
const INVALID_ENUMERATION_CONTEXT: u32 = 21;
const INVALID_OPERATION_TIMEOUT: u32 = 22;
const SERVER_LIMITS_EXCEEDED: u32 = 27;
const SERVER_IS_SHUTTING_DOWN: u32 = 28;
