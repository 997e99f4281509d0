//! `CimError`: a CIM operation that failed, with its DSP0004/DSP0223 status. It becomes a SOAP fault in `wscim::error`.

use std::borrow::Cow;
use std::fmt;

/// A CIM status code (DSP0223, `CIM_Error.CIMStatusCode`); an open enumeration.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CimStatus(pub u32);

impl CimStatus {
    /// 1: a general error.
    pub const FAILED: Self = Self(1);
    /// 2: the principal may not do this.
    pub const ACCESS_DENIED: Self = Self(2);
    /// 3: no such namespace.
    pub const INVALID_NAMESPACE: Self = Self(3);
    /// 4: a parameter or key is wrong.
    pub const INVALID_PARAMETER: Self = Self(4);
    /// 5: no such class.
    pub const INVALID_CLASS: Self = Self(5);
    /// 6: no such instance.
    pub const NOT_FOUND: Self = Self(6);
    /// 7: the operation is not offered for this class.
    pub const NOT_SUPPORTED: Self = Self(7);
    /// 13: a value has another type than its declaration.
    pub const TYPE_MISMATCH: Self = Self(13);
    /// 15: the query is not one.
    pub const INVALID_QUERY: Self = Self(15);
    /// 16: the method is declared but this server does not carry it out.
    pub const METHOD_NOT_AVAILABLE: Self = Self(16);
    /// 17: the class declares no such method.
    pub const METHOD_NOT_FOUND: Self = Self(17);
}

impl fmt::Debug for CimStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::FAILED => "CIM_ERR_FAILED",
            Self::ACCESS_DENIED => "CIM_ERR_ACCESS_DENIED",
            Self::INVALID_NAMESPACE => "CIM_ERR_INVALID_NAMESPACE",
            Self::INVALID_PARAMETER => "CIM_ERR_INVALID_PARAMETER",
            Self::INVALID_CLASS => "CIM_ERR_INVALID_CLASS",
            Self::NOT_FOUND => "CIM_ERR_NOT_FOUND",
            Self::NOT_SUPPORTED => "CIM_ERR_NOT_SUPPORTED",
            Self::TYPE_MISMATCH => "CIM_ERR_TYPE_MISMATCH",
            Self::INVALID_QUERY => "CIM_ERR_INVALID_QUERY",
            Self::METHOD_NOT_AVAILABLE => "CIM_ERR_METHOD_NOT_AVAILABLE",
            Self::METHOD_NOT_FOUND => "CIM_ERR_METHOD_NOT_FOUND",
            Self(_) => "CIM_ERR",
        };
        write!(f, "{name}({})", self.0)
    }
}

/// What exactly was wrong, where one status needs several answers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nothing finer than the status.
    General,
    /// Key values are missing, so that no single instance is named.
    MissingKeys,
    /// The keys given match more than one instance.
    Ambiguous,
    /// A method parameter that the method does not declare, or one given twice.
    ParameterName,
    /// A method parameter whose content is not of the declared type.
    ParameterType,
    /// A required method parameter was not given.
    ParameterMissing,
}

/// A failed CIM operation: status and a text that says what was wrong with the value received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CimError {
    /// The status.
    pub status: CimStatus,
    /// What exactly was wrong.
    pub blame: Blame,
    /// One fragment, sent to the peer.
    pub message: Cow<'static, str>,
    /// What is only logged.
    pub internal: Option<String>,
}

impl CimError {
    /// An error of `status` with nothing finer to say.
    pub fn new(status: CimStatus, message: impl Into<Cow<'static, str>>) -> Self {
        Self::blaming(status, Blame::General, message)
    }

    fn blaming(status: CimStatus, blame: Blame, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, blame, message: message.into(), internal: None }
    }

    /// The caller may not do this; what was missing is only logged.
    pub fn access_denied(message: impl Into<Cow<'static, str>>, missing: String) -> Self {
        Self { internal: Some(missing), ..Self::new(CimStatus::ACCESS_DENIED, message) }
    }

    /// No such instance.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(CimStatus::NOT_FOUND, message)
    }

    /// The keys given do not name one instance, since some are missing.
    pub fn missing_keys(message: impl Into<Cow<'static, str>>) -> Self {
        Self::blaming(CimStatus::INVALID_PARAMETER, Blame::MissingKeys, message)
    }

    /// The keys given match more than one instance.
    pub fn ambiguous(message: impl Into<Cow<'static, str>>) -> Self {
        Self::blaming(CimStatus::INVALID_PARAMETER, Blame::Ambiguous, message)
    }

    /// A method parameter that is not declared, or was given twice.
    pub fn parameter_name(message: impl Into<Cow<'static, str>>) -> Self {
        Self::blaming(CimStatus::INVALID_PARAMETER, Blame::ParameterName, message)
    }

    /// A method parameter whose content is not of the declared type.
    pub fn parameter_type(message: impl Into<Cow<'static, str>>) -> Self {
        Self::blaming(CimStatus::TYPE_MISMATCH, Blame::ParameterType, message)
    }

    /// A required method parameter is missing.
    pub fn parameter_missing(message: impl Into<Cow<'static, str>>) -> Self {
        Self::blaming(CimStatus::INVALID_PARAMETER, Blame::ParameterMissing, message)
    }
}

impl fmt::Display for CimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CimError {}
