//! Fragment-level access (DSP0226 7.7): a part of a representation, named by a path in level 1 of XPath 1.0
//! (annex D.1): child steps with a place, `text()` and attributes at the end.

use super::{fault, uri};
use crate::soap::{DetailItem, Fault, clipped, trimmed};
use crate::xml::{Element, Writer, name};
use std::borrow::Cow;

/// Characters of an expression, and steps in it.
const CHARACTERS_MAX: usize = 2_048;
const STEPS_MAX: usize = 32;

/// The header `wsman:FragmentTransfer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment<'d> {
    /// The dialect as written.
    pub dialect: Option<Cow<'d, str>>,
    /// The expression, trimmed.
    pub expression: Cow<'d, str>,
    /// What it says.
    pub path: FragmentPath,
}

/// A path to a part of a representation, from its outermost element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentPath {
    steps: Vec<Step>,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// Local name; a prefix is not looked at, since properties are named apart by their local names.
    local: String,
    /// Which of several, from 1.
    place: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Element,
    Text,
    Attribute(String),
}

/// The property that a Put of a fragment changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'p> {
    /// Its name as written.
    pub property: &'p str,
    /// Which of an array's values, from 1; none for the whole.
    pub place: Option<usize>,
    /// The new value stands in the fragment as text; otherwise as an element of the property's name.
    pub is_text: bool,
}

impl<'d> Fragment<'d> {
    /// Reads the header. //= FRG-07, FRG-08, FRG-09
    pub(super) fn parse(header: Element<'d>) -> Result<Self, Box<Fault>> {
        let dialect = header.attribute("", "Dialect");
        if let Some(dialect) = dialect.as_deref().map(str::trim)
            && dialect != uri::DIALECT_XPATH
        {
            return Err(Box::new(unknown_dialect(dialect)));
        }
        let expression = trimmed(header);
        let path = FragmentPath::parse(&expression)?;
        Ok(Self { dialect, expression, path })
    }

    /// Writes the header as an answer repeats it. //= FRG-02
    pub fn write_header(&self, w: &mut Writer<'_>) {
        w.open("w:FragmentTransfer");
        w.attribute("s:mustUnderstand", "true");
        if let Some(dialect) = &self.dialect {
            w.attribute("Dialect", dialect);
        }
        w.close();
        w.text(&self.expression);
        w.end("w:FragmentTransfer");
    }
}

/// The fault of a dialect that is not known, with what is. //= FRG-09
fn unknown_dialect(dialect: &str) -> Fault {
    let what = format!("the fragment dialect {:?} is not offered", clipped(dialect));
    fault::fragment_dialect_not_supported(what).with_item(DetailItem {
        prefix: "w",
        namespace: name::WSMAN,
        local: "FragmentDialect",
        text: uri::DIALECT_XPATH.to_owned(),
    })
}

impl FragmentPath {
    /// Reads an expression; one beyond level 1 is refused with what is wrong with it.
    pub fn parse(expression: &str) -> Result<Self, Box<Fault>> {
        let wrong = |what: &str| {
            let expression = clipped(expression);
            Box::new(fault::fragment_cannot_process_filter(format!("the fragment expression {expression:?} {what}")))
        };
        if expression.is_empty() {
            return Err(wrong("is empty"));
        }
        if expression.chars().nth(CHARACTERS_MAX).is_some() {
            return Err(wrong("is too long"));
        }
        if expression.starts_with('/') {
            return Err(wrong("begins with a slash; it begins at the children of the representation"));
        }
        let mut path = Self { steps: Vec::new(), end: End::Element };
        let mut parts = expression.split('/').map(str::trim).peekable();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            if part == "." && is_last && path.steps.is_empty() {
                return Ok(path);
            }
            if is_last && part == "text()" {
                path.end = End::Text;
            } else if let Some(attribute) = part.strip_prefix('@').filter(|_| is_last) {
                let local = local_name(attribute).ok_or_else(|| wrong("names no attribute after the @"))?;
                path.end = End::Attribute(local.to_owned());
            } else {
                let step = Step::parse(part).ok_or_else(|| {
                    wrong("is not of level 1 of XPath: names with a place in brackets, text(), @name")
                })?;
                path.steps.push(step);
            }
        }
        if STEPS_MAX < path.steps.len() {
            return Err(wrong("has too many steps"));
        }
        Ok(path)
    }

    /// The property that the first step names; none for the whole.
    pub fn property(&self) -> Option<&str> {
        self.steps.first().map(|step| step.local.as_str())
    }

    /// What a Put of this fragment changes; none where it is not one property or one value of it.
    pub fn target(&self) -> Option<Target<'_>> {
        let [step] = self.steps.as_slice() else { return None };
        let is_text = match self.end {
            End::Element => false,
            End::Text => true,
            End::Attribute(_) => return None,
        };
        Some(Target { property: &step.local, place: step.place, is_text })
    }

    /// Writes `wsman:XmlFragment` with what the path finds in a representation; nothing found is nil. //= FRG-05
    pub fn write(&self, w: &mut Writer<'_>, representation: Element<'_>) {
        let mut found = vec![representation];
        for step in &self.steps {
            found = found.into_iter().flat_map(|element| step.children(element)).collect();
        }
        let texts: Option<Vec<Cow<'_, str>>> = match &self.end {
            End::Element => None,
            End::Text => Some(found.iter().filter(|found| !found.is_nil()).map(|found| found.text()).collect()),
            End::Attribute(local) => {
                let attributes = found.iter().filter_map(|found| found.attributes().find(|it| it.local == *local));
                Some(attributes.map(|attribute| attribute.value).collect())
            }
        };
        w.open("w:XmlFragment");
        if texts.as_ref().map_or(found.is_empty(), Vec::is_empty) {
            w.attribute("xmlns:xsi", name::XSI);
            w.attribute("xsi:nil", "true");
            w.close_empty();
            return;
        }
        w.close();
        match texts {
            Some(texts) => texts.iter().for_each(|text| w.text(text)),
            None => found.iter().for_each(|element| element.write_self_contained(w)),
        }
        w.end("w:XmlFragment");
    }
}

impl Step {
    fn parse(text: &str) -> Option<Self> {
        let (qname, place) = match text.strip_suffix(']') {
            None => (text, None),
            Some(rest) => {
                let (qname, place) = rest.split_once('[')?;
                let place = place.trim();
                let digits = !place.is_empty() && place.bytes().all(|octet| octet.is_ascii_digit());
                let place = place.parse().ok().filter(|place: &usize| digits && 0 < *place)?;
                (qname.trim_end(), Some(place))
            }
        };
        Some(Self { local: local_name(qname)?.to_owned(), place })
    }

    fn children<'d>(&self, parent: Element<'d>) -> Vec<Element<'d>> {
        let named = parent.children().filter(|child| child.local().eq_ignore_ascii_case(&self.local));
        match self.place {
            None => named.collect(),
            Some(place) => named.skip(place - 1).take(1).collect(),
        }
    }
}

/// The local part of a name with or without a prefix.
fn local_name(qname: &str) -> Option<&str> {
    let is_name = |text: &str| {
        let mut characters = text.chars();
        characters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
            && characters.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    match qname.split_once(':') {
        None => is_name(qname).then_some(qname),
        Some((prefix, local)) => (is_name(prefix) && is_name(local)).then_some(local),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::{Document, Limits};
    use proptest::prelude::*;

    const TEXT: &str = "<p:C xmlns:p='urn:c' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' \
        xmlns:cim='urn:cim'><p:A k='v'>1&amp;2</p:A><p:L>x</p:L><p:L>y</p:L><p:N xsi:nil='true'/>\
        <p:D><cim:Datetime>t</cim:Datetime></p:D></p:C>";

    fn found(expression: &str) -> String {
        let document = Document::parse(TEXT, &Limits::default()).unwrap();
        let mut octets = Vec::new();
        FragmentPath::parse(expression).unwrap().write(&mut Writer::new(&mut octets), document.root());
        let text = String::from_utf8(octets).unwrap();
        let rest = text.strip_prefix("<w:XmlFragment").unwrap();
        if rest.ends_with("xsi:nil=\"true\"/>") {
            return "nil".to_owned();
        }
        rest.strip_prefix('>').and_then(|rest| rest.strip_suffix("</w:XmlFragment>")).unwrap().to_owned()
    }

    #[test]
    fn each_form_of_level_1_finds_its_part() {
        //= FRG-05, FRG-07
        for (expression, expected) in [
            ("A/text()", "1&amp;2"),
            ("a/text()", "1&amp;2"),
            ("p:A/@k", "v"),
            ("A/@none", "nil"),
            ("L[2]/text()", "y"),
            ("L/text()", "xy"),
            ("L[ 3 ]", "nil"),
            ("D/Datetime/text()", "t"),
            ("D/cim:Datetime/text()", "t"),
            ("N/text()", "nil"),
            ("Nope", "nil"),
        ] {
            assert_eq!(found(expression), expected, "{expression}");
        }
        assert!(found("L").contains(">x</p:L>") && found("L").contains(">y</p:L>"), "{}", found("L"));
        assert!(found("L[1]").contains(">x</p:L>") && !found("L[1]").contains(">y<"), "{}", found("L[1]"));
        assert!(found("N").contains("nil=\"true\""), "{}", found("N"));
        assert!(found(".").starts_with("<p:C "), "{}", found("."));
    }

    #[test]
    fn what_is_beyond_level_1_is_refused() {
        let long = "a".repeat(2_049);
        let deep = ["a"; 33].join("/");
        //= FRG-08
        for expression in [
            "", "/A", "//A", "A//B", "A/", "A[0]", "A[-1]", "A[x]", "A[1", "text()/A", "@k/A", "A/@", "..", "A|B",
            "a b", "*", "count(A)", ":A", "p:", &long, &deep,
        ] {
            let fault = FragmentPath::parse(expression).unwrap_err();
            assert_eq!(fault.number, 2_150_859_042, "{expression}");
        }
        assert!(FragmentPath::parse(&["a"; 32].join("/")).is_ok());
    }

    proptest! {
        #[test]
        fn no_expression_panics(expression in "\\PC{0,40}|[a-zA-Z@/.:()\\[\\]0-9 ]{0,24}") {
            if let Ok(path) = FragmentPath::parse(&expression) {
                let document = Document::parse(TEXT, &Limits::default()).unwrap();
                let mut octets = Vec::new();
                path.write(&mut Writer::new(&mut octets), document.root());
                let written = format!("<r xmlns:w='urn:w'>{}</r>", String::from_utf8(octets).unwrap());
                prop_assert!(Document::parse(&written, &Limits::default()).is_ok(), "{}", written);
            }
        }
    }
}
