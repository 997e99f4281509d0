//! Methods of CIM classes: an action of their own each, `<class URI>/<method>`. //= INV-02

use super::uri;
use crate::soap::Envelope;
use crate::xml::Element;
use std::borrow::Cow;

/// A method call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoke<'d> {
    /// The action up to the last slash.
    pub class_uri: Cow<'d, str>,
    /// The action after the last slash, in the client's spelling.
    pub method: Cow<'d, str>,
    /// `<Method>_INPUT`. Its namespace and name are not checked: Microsoft's own samples get them wrong. An empty body
    /// is a call without parameters. //= INV-04 INV-10
    pub input: Option<Element<'d>>,
}

/// Read an action as that of a method; `None` when it is not one of a CIM class.
pub(super) fn parse<'d>(action: &Cow<'d, str>, envelope: &Envelope<'d>) -> Option<Invoke<'d>> {
    let of_class = uri::CLASS_PREFIXES
        .iter()
        .any(|prefix| action.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)));
    if !of_class {
        return None;
    }
    let (class_uri, method) = match action {
        Cow::Borrowed(action) => {
            let (class_uri, method) = action.rsplit_once('/')?;
            (Cow::Borrowed(class_uri), Cow::Borrowed(method))
        }
        Cow::Owned(action) => {
            let (class_uri, method) = action.rsplit_once('/')?;
            (Cow::Owned(class_uri.to_owned()), Cow::Owned(method.to_owned()))
        }
    };
    (!method.is_empty()).then(|| Invoke { class_uri, method, input: envelope.payload() })
}
