//! A parsed document: one flat tape of small nodes over the text that it was read from.
//!
//! An element's node is followed by the nodes of its content, and says where its subtree ends, so that walking over
//! siblings is a jump and nothing recurses. Names, values and text are slices of the source; references are only
//! resolved when somebody reads the text.

use super::error::{Limits, Position, XmlError, position};
use super::reference::{self, Space};
use super::writer::Writer;
use super::{build, name};
use std::borrow::Cow;

/// What a [`Node`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An element; the other fields of the node describe it.
    Element,
    /// Character data without anything to resolve.
    Text,
    /// Character data with references or carriage returns in it.
    EscapedText,
    /// The inside of a CDATA section.
    Cdata,
}

/// One entry of the tape. Offsets are octets of the source text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Octets of the prefix, without the colon; 0 when there is none.
    pub(super) prefix_octets: u16,
    /// Octets of the qualified name.
    pub(super) name_octets: u16,
    pub(super) attribute_count: u16,
    /// From `<` of the start tag (an element) or the first octet of the text.
    pub(super) start: u32,
    /// One past the last octet.
    pub(super) end: u32,
    /// The node after this one's subtree.
    pub(super) next: u32,
    /// Index of the binding that gives the element's namespace.
    pub(super) namespace: u32,
    /// Index of the newest binding in scope; bindings form a chain.
    pub(super) scope: u32,
    /// Index of the first attribute.
    pub(super) attributes: u32,
}

/// One namespace declaration in the chain of those in scope.
#[derive(Clone, Debug)]
pub(super) struct Binding<'a> {
    pub(super) prefix: &'a str,
    pub(super) uri: Cow<'a, str>,
    /// The next older binding in scope; binding 0 ends the chain.
    pub(super) parent: u32,
    /// How many bindings the chain has from here.
    pub(super) count: u16,
}

/// One attribute on the tape.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttributeNode {
    pub(super) name_at: u32,
    pub(super) name_octets: u16,
    pub(super) prefix_octets: u16,
    pub(super) value_at: u32,
    pub(super) value_end: u32,
    pub(super) namespace: u32,
}

/// Binding 0: no prefix, no namespace; also the namespace of every unqualified attribute.
pub(super) const NO_NAMESPACE: u32 = 0;
/// Binding 1: the `xml` prefix, bound in every document.
pub(super) const XML_NAMESPACE: u32 = 1;

/// A well-formed, namespace-resolved XML document that borrows its source text.
#[derive(Debug)]
pub struct Document<'a> {
    pub(super) text: &'a str,
    pub(super) nodes: Vec<Node>,
    pub(super) attributes: Vec<AttributeNode>,
    pub(super) bindings: Vec<Binding<'a>>,
}

/// A `u32` offset or index as `usize`; every supported target has at least 32 bits.
pub(super) fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl<'a> Document<'a> {
    /// Read a document. The text is checked completely: well-formedness, namespaces, every reference, and the bounds
    /// given. A document type declaration or a processing instruction is an error of its own kind.
    //= ENV-03, ENV-14, ENV-24
    pub fn parse(text: &'a str, limits: &Limits) -> Result<Self, XmlError> {
        build::parse(text, limits)
    }

    /// The root element.
    pub const fn root(&self) -> Element<'_> {
        Element { document: self, index: 0 }
    }

    /// The text that the document was read from.
    pub const fn source(&self) -> &'a str {
        self.text
    }

    fn slice(&self, start: u32, end: u32) -> &str {
        self.text.get(index(start)..index(end)).unwrap_or_default()
    }

    fn uri(&self, binding: u32) -> &str {
        self.bindings.get(index(binding)).map_or("", |binding| &binding.uri)
    }
}

/// One element of a [`Document`]; a cheap handle.
#[derive(Clone, Copy)]
pub struct Element<'d> {
    document: &'d Document<'d>,
    index: u32,
}

impl std::fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Element({{{}}}{} at {})", self.namespace(), self.local(), self.position())
    }
}

impl PartialEq for Element<'_> {
    /// The same element of the same document.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.document, other.document) && self.index == other.index
    }
}

impl Eq for Element<'_> {}

impl<'d> Element<'d> {
    fn node(self) -> &'d Node {
        // Handles are only made by walking the tape, which always holds the root.
        &self.document.nodes[index(self.index)]
    }

    /// The local part of the name.
    pub fn local(self) -> &'d str {
        let node = self.node();
        let skip = if node.prefix_octets == 0 { 1 } else { u32::from(node.prefix_octets) + 2 };
        self.document.slice(node.start + skip, node.start + 1 + u32::from(node.name_octets))
    }

    /// The prefix as written; empty when there is none. Only for echoing, never for meaning.
    pub fn prefix(self) -> &'d str {
        let node = self.node();
        self.document.slice(node.start + 1, node.start + 1 + u32::from(node.prefix_octets))
    }

    /// The namespace URI; empty when the element is in none.
    //= ENV-14
    pub fn namespace(self) -> &'d str {
        self.document.uri(self.node().namespace)
    }

    /// Whether the element has this expanded name.
    pub fn is(self, namespace: &str, local: &str) -> bool {
        self.local() == local && self.namespace() == namespace
    }

    /// The value of an attribute, references resolved; the empty namespace means an unqualified attribute.
    pub fn attribute(self, namespace: &str, local: &str) -> Option<Cow<'d, str>> {
        self.attributes().find(|a| a.local == local && a.namespace == namespace).map(|a| a.value)
    }

    /// All attributes in order. Namespace declarations are not listed.
    pub fn attributes(self) -> Attributes<'d> {
        let node = self.node();
        let start = index(node.attributes);
        let all = self.document.attributes.get(start..start + usize::from(node.attribute_count));
        Attributes { document: self.document, rest: all.unwrap_or_default().iter() }
    }

    /// The element children in order.
    pub fn children(self) -> Children<'d> {
        Children { document: self.document, at: self.index + 1, end: self.node().next }
    }

    /// The first child with this expanded name.
    pub fn child(self, namespace: &str, local: &str) -> Option<Self> {
        self.children().find(|child| child.is(namespace, local))
    }

    /// All character data directly in the element, joined: references and CDATA sections resolved, line ends
    /// normalised, not trimmed. Borrowed when it is one piece with nothing to resolve.
    pub fn text(self) -> Cow<'d, str> {
        let end = self.node().next;
        let mut joined: Cow<'d, str> = Cow::Borrowed("");
        let mut at = self.index + 1;
        while at < end {
            let Some(node) = self.document.nodes.get(index(at)) else { break };
            at = node.next;
            if node.kind == Kind::Element {
                continue;
            }
            let raw = self.document.slice(node.start, node.end);
            if node.kind == Kind::Text {
                if joined.is_empty() {
                    joined = Cow::Borrowed(raw);
                } else {
                    joined.to_mut().push_str(raw);
                }
            } else if node.kind == Kind::Cdata && joined.is_empty() && !raw.contains('\r') {
                joined = Cow::Borrowed(raw);
            } else {
                let references = node.kind == Kind::EscapedText;
                reference::unescape_into(joined.to_mut(), raw, Space::LineEnds, references);
            }
        }
        joined
    }

    /// The source text of the element, from `<` to `>`. Prefixes in it may be declared outside of it:
    /// [`Element::declarations_in_scope`] has them.
    pub fn markup(self) -> &'d str {
        let node = self.node();
        self.document.slice(node.start, node.end)
    }

    /// Where [`Element::markup`] stands in the source text.
    pub fn range(self) -> std::ops::Range<usize> {
        let node = self.node();
        index(node.start)..index(node.end)
    }

    /// The namespace declarations in scope, innermost first, each prefix once. `xml` is not listed; an undeclared
    /// default namespace is listed with an empty URI.
    pub fn declarations_in_scope(self) -> Declarations<'d> {
        Declarations { document: self.document, start: self.node().scope, at: self.node().scope }
    }

    /// The namespace URI that a prefix is bound to here; the empty prefix means the default namespace.
    pub fn resolve_prefix(self, prefix: &str) -> Option<&'d str> {
        lookup(&self.document.bindings, self.node().scope, prefix).map(|binding| self.document.uri(binding))
    }

    /// Where the element begins in the text.
    pub fn position(self) -> Position {
        position(self.document.text, index(self.node().start))
    }

    /// Whether the element says that it has no value. The prefix in front of `nil` is often bound to something else
    /// than the namespace of XML Schema instance (omicli), so only the local name counts.
    pub fn is_nil(self) -> bool {
        self.attributes().any(|a| a.local == "nil" && matches!(a.value.trim(), "true" | "1"))
    }

    /// Write the element so that it means the same anywhere: its start tag declares every namespace in scope.
    pub fn write_self_contained(self, w: &mut Writer<'_>) {
        let node = self.node();
        w.open(self.document.slice(node.start + 1, node.start + 1 + u32::from(node.name_octets)));
        for (prefix, uri) in self.declarations_in_scope() {
            if prefix.is_empty() {
                w.attribute("xmlns", uri);
            } else {
                w.attribute(&format!("xmlns:{prefix}"), uri);
            }
        }
        for attribute in self.attributes() {
            if attribute.prefix.is_empty() {
                w.attribute(attribute.local, &attribute.value);
            } else {
                w.attribute(&format!("{}:{}", attribute.prefix, attribute.local), &attribute.value);
            }
        }
        let mut quote = None;
        let end_of_tag = self.markup().bytes().position(|b| {
            match quote {
                None if b == b'>' => return true,
                None if b == b'"' || b == b'\'' => quote = Some(b),
                Some(open) if open == b => quote = None,
                _ => {}
            }
            false
        });
        let (tag, content) = end_of_tag.and_then(|at| self.markup().split_at_checked(at)).unwrap_or_default();
        if tag.ends_with('/') {
            w.close_empty();
        } else {
            w.raw(content);
        }
    }

    /// Whether the element holds neither elements nor text, white space aside.
    pub fn is_blank(self) -> bool {
        self.is_leaf() && self.text().trim().is_empty()
    }

    /// Whether the element has no element children.
    pub fn is_leaf(self) -> bool {
        self.children().next().is_none()
    }
}

/// The innermost binding of a prefix in a chain. The empty prefix is always bound, at least to no namespace.
pub(super) fn lookup(bindings: &[Binding<'_>], scope: u32, prefix: &str) -> Option<u32> {
    let mut at = scope;
    loop {
        let binding = bindings.get(index(at))?;
        if binding.prefix == prefix {
            return Some(at);
        }
        if at == NO_NAMESPACE {
            return None;
        }
        at = binding.parent;
    }
}

/// An attribute of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute<'d> {
    /// Namespace URI; empty for an unqualified attribute.
    pub namespace: &'d str,
    /// Local part of the name.
    pub local: &'d str,
    /// Prefix as written.
    pub prefix: &'d str,
    /// Value with references resolved and white space normalised.
    pub value: Cow<'d, str>,
}

/// Iterator over the attributes of an element.
#[derive(Clone)]
pub struct Attributes<'d> {
    document: &'d Document<'d>,
    rest: std::slice::Iter<'d, AttributeNode>,
}

impl<'d> Iterator for Attributes<'d> {
    type Item = Attribute<'d>;

    fn next(&mut self) -> Option<Attribute<'d>> {
        let node = self.rest.next()?;
        let skip = if node.prefix_octets == 0 { 0 } else { u32::from(node.prefix_octets) + 1 };
        Some(Attribute {
            namespace: self.document.uri(node.namespace),
            local: self.document.slice(node.name_at + skip, node.name_at + u32::from(node.name_octets)),
            prefix: self.document.slice(node.name_at, node.name_at + u32::from(node.prefix_octets)),
            value: reference::attribute_value(self.document.slice(node.value_at, node.value_end)),
        })
    }
}

/// Iterator over the element children of an element.
#[derive(Clone)]
pub struct Children<'d> {
    document: &'d Document<'d>,
    at: u32,
    end: u32,
}

impl<'d> Iterator for Children<'d> {
    type Item = Element<'d>;

    fn next(&mut self) -> Option<Element<'d>> {
        while self.at < self.end {
            let here = self.at;
            let node = self.document.nodes.get(index(here))?;
            self.at = node.next;
            if node.kind == Kind::Element {
                return Some(Element { document: self.document, index: here });
            }
        }
        None
    }
}

/// Iterator over the namespace declarations in scope, as `(prefix, URI)`.
#[derive(Clone)]
pub struct Declarations<'d> {
    document: &'d Document<'d>,
    start: u32,
    at: u32,
}

impl<'d> Iterator for Declarations<'d> {
    type Item = (&'d str, &'d str);

    fn next(&mut self) -> Option<Self::Item> {
        while self.at != NO_NAMESPACE {
            let here = self.at;
            let binding = self.document.bindings.get(index(here))?;
            self.at = binding.parent;
            let hidden = lookup(&self.document.bindings, self.start, binding.prefix) != Some(here);
            if !hidden && binding.uri != name::XML {
                return Some((binding.prefix, &binding.uri));
            }
        }
        None
    }
}
