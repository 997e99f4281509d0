//! Resources that describe classes: the classes themselves as CIM-XML, which is what CIM cmdlets ask for, and their XML
//! Schema (DSP0227 on metadata, DSP0230).

use super::xsd::COMMON_XSD;

/// The selector that names a class.
pub const CLASS_NAME_SELECTOR: &str = "ClassName";

/// The prefix of classes in CIM-XML; the CIM cmdlets add `*` and name the class in a selector.
const CIM_XML: &str = "http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/";

/// A resource that describes classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata<'u> {
    /// Classes in CIM-XML: the one that the URI names, or whichever a selector does.
    Classes(Option<&'u str>),
    /// The XML Schema of the class with this resource URI.
    ClassXsd(&'u str),
    /// The XML Schema of what is common to all classes.
    CommonXsd,
}

impl<'u> Metadata<'u> {
    /// What a resource URI names, if it is one of these.
    pub fn of(uri: &'u str) -> Option<Self> {
        let uri = uri.trim();
        if uri.eq_ignore_ascii_case(COMMON_XSD) {
            return Some(Self::CommonXsd);
        }
        if let Some(head) = uri.get(..CIM_XML.len()).filter(|head| head.eq_ignore_ascii_case(CIM_XML)) {
            let class = uri.get(head.len()..).unwrap_or_default();
            return Some(Self::Classes((class != "*" && !class.is_empty()).then_some(class)));
        }
        let (class, extension) = uri.split_at_checked(uri.len().checked_sub(".xsd".len())?)?;
        extension.eq_ignore_ascii_case(".xsd").then_some(Self::ClassXsd(class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_their_own_uris_name_metadata() {
        for (uri, expected) in [
            ("http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/*", Some(Metadata::Classes(None))),
            (" http://schemas.dmtf.org/WBEM/cim-xml/2/cim-schema/2/ ", Some(Metadata::Classes(None))),
            ("http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/CIM_X", Some(Metadata::Classes(Some("CIM_X")))),
            (COMMON_XSD, Some(Metadata::CommonXsd)),
            ("http://x/CIM_X.XSD", Some(Metadata::ClassXsd("http://x/CIM_X"))),
            ("http://schemas.dmtf.org/wbem/wscim/1/*", None),
            ("xsd", None),
            ("", None),
            ("é.xs", None),
        ] {
            assert_eq!(Metadata::of(uri), expected, "{uri}");
        }
    }
}
