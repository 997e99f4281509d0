//! Numbers with names: open enumerations over the value maps of the schema.
//!
//! A ValueMap may grow, and its vendor ranges are open, so a number from the wire is never forced into a closed set.

/// Declares a newtype over an unsigned integer with named constants:
/// `cim_enum! { /// … pub struct ReturnCode(u32) { /// … JOB_STARTED = 4096, } }`.
///
/// Debug prints `JOB_STARTED(4096)`, or `ReturnCode(32999)` for a number without a name. `DECLARED` lists names and
/// numbers, for the test that holds them against the schema files.
#[macro_export]
macro_rules! cim_enum {
    ($(#[$outer:meta])* $visibility:vis struct $name:ident($number:ty) {
        $($(#[$inner:meta])* $constant:ident = $value:literal),* $(,)?
    }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visibility struct $name(pub $number);

        impl $name {
            $($(#[$inner])* pub const $constant: $name = $name($value);)*

            /// The names and numbers that are declared.
            pub const DECLARED: &'static [(&'static str, u32)] = &[$((stringify!($constant), $value)),*];
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let name = match self.0 {
                    $($value => stringify!($constant),)*
                    _ => stringify!($name),
                };
                ::std::write!(f, "{name}({})", self.0)
            }
        }
    };
}

cim_enum! {
    /// What the methods of the replication service and of a virtual machine return.
    pub struct ReturnCode(u32) {
        /// Completed with No Error.
        COMPLETED = 0,
        /// Method Parameters Checked - Job Started.
        JOB_STARTED = 4096,
        /// Failed.
        FAILED = 32768,
        /// Access Denied.
        ACCESS_DENIED = 32769,
        /// Not Supported.
        NOT_SUPPORTED = 32770,
        /// Status is unknown.
        STATUS_UNKNOWN = 32771,
        /// Timeout.
        TIMEOUT = 32772,
        /// Invalid parameter.
        INVALID_PARAMETER = 32773,
        /// System is in use.
        IN_USE = 32774,
        /// Invalid state for this operation.
        INVALID_STATE = 32775,
        /// Incorrect data type.
        INCORRECT_DATA_TYPE = 32776,
        /// System is not available.
        NOT_AVAILABLE = 32777,
        /// Out of memory.
        OUT_OF_MEMORY = 32778,
        /// File not found.
        FILE_NOT_FOUND = 32779,
    }
}

cim_enum! {
    /// What `Msvm_ConcreteJob.RequestStateChange` returns; these are the numbers of the DMTF.
    pub struct JobReturnCode(u32) {
        /// Completed with No Error.
        COMPLETED = 0,
        /// Not Supported.
        NOT_SUPPORTED = 1,
        /// Unknown/Unspecified Error.
        UNKNOWN = 2,
        /// Cannot complete within Timeout Period.
        TIMEOUT = 3,
        /// Failed.
        FAILED = 4,
        /// Invalid Parameter.
        INVALID_PARAMETER = 5,
        /// In Use.
        IN_USE = 6,
        /// Method Parameters Checked - Transition Started.
        TRANSITION_STARTED = 4096,
        /// Invalid State Transition.
        INVALID_STATE_TRANSITION = 4097,
        /// Use of Timeout Parameter Not Supported.
        TIMEOUT_PARAMETER_NOT_SUPPORTED = 4098,
        /// Busy.
        BUSY = 4099,
    }
}

cim_enum! {
    /// The state that `Msvm_ConcreteJob.RequestStateChange` asks for.
    pub struct JobRequest(u16) {
        /// Start.
        START = 2,
        /// Suspend.
        SUSPEND = 3,
        /// Terminate: end in an orderly way.
        TERMINATE = 4,
        /// Kill: end at once.
        KILL = 5,
        /// Service.
        SERVICE = 6,
    }
}

cim_enum! {
    /// `CIM_Error.PerceivedSeverity`.
    pub struct PerceivedSeverity(u16) {
        /// Unknown.
        UNKNOWN = 0,
        /// Information.
        INFORMATION = 2,
        /// Degraded/Warning.
        WARNING = 3,
        /// Minor.
        MINOR = 4,
        /// Major.
        MAJOR = 5,
        /// Critical.
        CRITICAL = 6,
    }
}

cim_enum! {
    /// `CIM_Error.ErrorType`.
    pub struct ErrorType(u16) {
        /// Unknown.
        UNKNOWN = 0,
        /// Other.
        OTHER = 1,
        /// Communications Error.
        COMMUNICATIONS = 2,
        /// Quality of Service Error.
        QUALITY_OF_SERVICE = 3,
        /// Software Error.
        SOFTWARE = 4,
        /// Hardware Error.
        HARDWARE = 5,
        /// Environmental Error.
        ENVIRONMENTAL = 6,
        /// Security Error.
        SECURITY = 7,
        /// Oversubscription Error.
        OVERSUBSCRIPTION = 8,
        /// Unavailable Resource Error.
        UNAVAILABLE_RESOURCE = 9,
        /// Unsupported Operation Error.
        UNSUPPORTED_OPERATION = 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_has_the_name_and_the_number() {
        assert_eq!(format!("{:?}", ReturnCode::JOB_STARTED), "JOB_STARTED(4096)");
        assert_eq!(format!("{:?}", ReturnCode(32999)), "ReturnCode(32999)");
        assert_eq!(ReturnCode::DECLARED[1], ("JOB_STARTED", 4096));
    }
}
