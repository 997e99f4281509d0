//! Building the tape: events of quick-xml's reader, checked against the limits and the namespaces recommendation.
//!
//! quick-xml finds the ends of tags, comments, CDATA sections and the prolog, and matches end tags with start tags.
//! What it leaves to its users is done here: names, attributes, prefixes, references, characters, and what may stand
//! outside the root.

use super::attribute::{RawAttribute, RawAttributes, split_name};
use super::document::{AttributeNode, Binding, Document, Kind, NO_NAMESPACE, Node, XML_NAMESPACE, index, lookup};
use super::error::{LimitKind, Limits, XmlError, XmlErrorKind};
use super::{declaration, name, reference};
use quick_xml::Reader;
use quick_xml::events::{BytesDecl, Event};
use std::borrow::Cow;

type Checked<T> = Result<T, XmlError>;

/// Read a whole text.
//= ENV-03, ENV-23
pub(super) fn parse<'a>(text: &'a str, limits: &Limits) -> Checked<Document<'a>> {
    // The tape holds offsets as u32.
    if text.len() > limits.octets_max || u32::try_from(text.len()).is_err() {
        return Err(XmlError::at(text, limits.octets_max, XmlErrorKind::Limit(LimitKind::Octets)));
    }
    if let Some((at, code)) = reference::find_illegal(text) {
        return Err(XmlError::at(text, at, XmlErrorKind::IllegalCharacter(code)));
    }
    let mut builder = Builder::new(text, limits);
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_comments = true;
    let mut first = true;
    loop {
        let start = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(error) => {
                let at = usize::try_from(reader.error_position()).unwrap_or(usize::MAX);
                return Err(builder.syntax_error(at, &error));
            }
        };
        match event {
            Event::Start(tag) => {
                builder.start_tag(builder.offset_of(&tag), &tag, tag.name().as_ref().len())?;
            }
            Event::Empty(tag) => {
                builder.start_tag(builder.offset_of(&tag), &tag, tag.name().as_ref().len())?;
                builder.end_tag(reader.buffer_position());
            }
            Event::End(_) => builder.end_tag(reader.buffer_position()),
            Event::Text(content) => builder.text(builder.offset_of(&content), &content, false)?,
            Event::GeneralRef(content) => builder.reference(builder.offset_of(&content), &content)?,
            Event::CData(content) => builder.cdata(builder.offset_of(&content), content.len())?,
            Event::Comment(_) => {}
            Event::Decl(declaration) => builder.declaration(start, first, &declaration)?,
            Event::PI(_) => return Err(builder.error(start, XmlErrorKind::ProcessingInstruction)),
            Event::DocType(_) => return Err(builder.error(start, XmlErrorKind::Doctype)),
            Event::Eof => return builder.finish(),
        }
        first = false;
    }
}

/// The tape while it grows.
struct Builder<'a, 'l> {
    document: Document<'a>,
    limits: &'l Limits,
    /// Indexes of the open elements.
    open: Vec<u32>,
    elements: u32,
    /// Newest binding in scope at this place.
    scope: u32,
}

/// A length or offset as the tape holds it; [`parse`] has checked that the whole text fits.
fn small(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn malformed(what: &str) -> XmlErrorKind {
    XmlErrorKind::Malformed(String::from(what))
}

impl<'a, 'l> Builder<'a, 'l> {
    fn new(text: &'a str, limits: &'l Limits) -> Self {
        let mut bindings = Vec::with_capacity(16);
        let root = Binding { prefix: "", uri: Cow::Borrowed(""), parent: NO_NAMESPACE, count: 0 };
        bindings.push(root);
        bindings.push(Binding { prefix: "xml", uri: Cow::Borrowed(name::XML), parent: NO_NAMESPACE, count: 0 });
        // A typical envelope has a node each 25 octets; a hostile one must not reserve more than it sends.
        let nodes = text.len() / 24 + 8;
        let document = Document {
            text,
            nodes: Vec::with_capacity(nodes.min(4096)),
            attributes: Vec::with_capacity((nodes / 3).min(1024)),
            bindings,
        };
        Self { document, limits, open: Vec::with_capacity(16), elements: 0, scope: XML_NAMESPACE }
    }

    /// Where a slice that quick-xml hands out lies in the text: it borrows from it.
    fn offset_of(&self, slice: &str) -> usize {
        slice.as_ptr().addr().wrapping_sub(self.document.text.as_ptr().addr())
    }

    #[cold]
    fn error(&self, at: usize, kind: XmlErrorKind) -> XmlError {
        XmlError::at(self.document.text, at, kind)
    }

    /// quick-xml gives up: name the two things that SOAP forbids as such even when they are broken besides.
    #[cold]
    fn syntax_error(&self, at: usize, error: &quick_xml::Error) -> XmlError {
        let rest = self.document.text.get(at..).unwrap_or_default();
        let forbidden = |start: &str| rest.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start));
        let kind = if forbidden("<!doctype") {
            XmlErrorKind::Doctype
        } else if forbidden("<!entity") {
            XmlErrorKind::Entity(String::new())
        } else {
            XmlErrorKind::Malformed(error.to_string())
        };
        self.error(at, kind)
    }

    fn declaration(&self, at: usize, first: bool, found: &BytesDecl<'_>) -> Checked<()> {
        if !first {
            return Err(self.error(at, malformed("an XML declaration is only allowed at the very beginning")));
        }
        let content = found.strip_prefix("xml").unwrap_or_default();
        declaration::check(content).map_err(|what| self.error(at, malformed(what)))
    }

    /// `at` is the offset of the name, one past `<`.
    //= ENV-24
    fn start_tag(&mut self, at: usize, content: &str, name_octets: usize) -> Checked<()> {
        let text = self.document.text;
        let start = at - 1;
        if self.open.is_empty() && self.elements > 0 {
            return Err(self.error(start, XmlErrorKind::TrailingContent));
        }
        if self.open.len() >= usize::from(self.limits.depth_max) {
            return Err(self.error(start, XmlErrorKind::Limit(LimitKind::Depth)));
        }
        if self.elements >= self.limits.elements_max {
            return Err(self.error(start, XmlErrorKind::Limit(LimitKind::Elements)));
        }
        self.elements += 1;
        let (prefix, name_octets) = self.check_name(at, text.get(at..at + name_octets).unwrap_or_default())?;
        let attributes = small(self.document.attributes.len());
        let attribute_count = if content.len() > usize::from(name_octets) {
            self.attributes(at, text.get(at..at + content.len()).unwrap_or_default(), name_octets)?
        } else {
            0
        };
        let namespace = self.resolve(prefix, start)?;
        let here = small(self.document.nodes.len());
        self.document.nodes.push(Node {
            kind: Kind::Element,
            prefix_octets: u16::try_from(prefix.len()).unwrap_or(u16::MAX),
            name_octets,
            attribute_count,
            start: small(start),
            end: small(start),
            next: here + 1,
            namespace,
            scope: self.scope,
            attributes,
        });
        self.open.push(here);
        Ok(())
    }

    /// Check a qualified name; returns its prefix and its length.
    fn check_name(&self, at: usize, name: &'a str) -> Checked<(&'a str, u16)> {
        let octets = u16::try_from(name.len()).ok().filter(|octets| *octets <= self.limits.name_octets_max);
        let Some(octets) = octets else {
            return Err(self.error(at, XmlErrorKind::Limit(LimitKind::NameOctets)));
        };
        match split_name(name) {
            Some((prefix, _)) => Ok((prefix, octets)),
            None => Err(self.error(at, malformed("this is not a name"))),
        }
    }

    /// The binding of an element's or attribute's prefix.
    fn resolve(&self, prefix: &str, at: usize) -> Checked<u32> {
        lookup(&self.document.bindings, self.scope, prefix)
            .ok_or_else(|| self.error(at, XmlErrorKind::UnboundPrefix(String::from(prefix))))
    }

    /// Read the attributes of a start tag whose content begins at `at`; declarations take effect on the tag itself.
    fn attributes(&mut self, at: usize, content: &'a str, name_octets: u16) -> Checked<u16> {
        let first = self.document.attributes.len();
        let outer_scope = self.scope;
        let mut raw_attributes = RawAttributes::new(content, usize::from(name_octets));
        let mut total: u16 = 0;
        loop {
            let raw = raw_attributes.next().map_err(|(offset, what)| self.error(at + offset, malformed(what)))?;
            let Some(raw) = raw else { break };
            total += 1;
            if total > self.limits.attributes_max {
                return Err(self.error(at + raw.name_at, XmlErrorKind::Limit(LimitKind::Attributes)));
            }
            if raw.value.bytes().any(|b| b == b'&') {
                reference::check(raw.value).map_err(|(o, kind)| self.error(at + raw.value_at + o, kind))?;
            }
            let (prefix, octets) = self.check_name(at + raw.name_at, raw.name)?;
            if prefix == "xmlns" || raw.name == "xmlns" {
                self.declare(at, &raw, outer_scope)?;
                continue;
            }
            self.document.attributes.push(AttributeNode {
                name_at: small(at + raw.name_at),
                name_octets: octets,
                prefix_octets: u16::try_from(prefix.len()).unwrap_or(u16::MAX),
                value_at: small(at + raw.value_at),
                value_end: small(at + raw.value_at + raw.value.len()),
                namespace: NO_NAMESPACE,
            });
        }
        self.resolve_attributes(first)?;
        u16::try_from(self.document.attributes.len() - first)
            .map_err(|_| self.error(at, XmlErrorKind::Limit(LimitKind::Attributes)))
    }

    /// Push one namespace declaration, `xmlns="…"` or `xmlns:p="…"`.
    fn declare(&mut self, at: usize, raw: &RawAttribute<'a>, outer_scope: u32) -> Checked<()> {
        let at = at + raw.name_at;
        let prefix = raw.name.strip_prefix("xmlns:").unwrap_or("");
        let uri = reference::attribute_value(raw.value);
        let mut here = self.scope;
        while here != outer_scope {
            let Some(binding) = self.document.bindings.get(index(here)) else { break };
            if binding.prefix == prefix {
                return Err(self.error(at, XmlErrorKind::DuplicateAttribute(String::from(raw.name))));
            }
            here = binding.parent;
        }
        let reserved = prefix == "xmlns" || (prefix == "xml") != (uri == name::XML) || uri == name::XMLNS;
        if reserved {
            return Err(self.error(at, malformed("this namespace declaration binds a reserved prefix or name")));
        }
        if uri.is_empty() && !prefix.is_empty() {
            return Err(self.error(at, malformed("a prefix cannot be bound to no namespace")));
        }
        let count = self.document.bindings.get(index(self.scope)).map_or(0, |binding| binding.count) + 1;
        if count > self.limits.declarations_max {
            return Err(self.error(at, XmlErrorKind::Limit(LimitKind::Declarations)));
        }
        let newest = small(self.document.bindings.len());
        self.document.bindings.push(Binding { prefix, uri, parent: self.scope, count });
        self.scope = newest;
        Ok(())
    }

    /// Resolve the prefixes of a tag's attributes, now that its declarations are known, and refuse duplicates.
    fn resolve_attributes(&mut self, first: usize) -> Checked<()> {
        let text = self.document.text;
        for here in first..self.document.attributes.len() {
            let mut attribute = self.document.attributes[here];
            let start = index(attribute.name_at);
            let name = text.get(start..start + usize::from(attribute.name_octets)).unwrap_or_default();
            let mut local = name;
            if attribute.prefix_octets > 0 {
                let (prefix, rest) = name.split_once(':').unwrap_or_default();
                attribute.namespace = self.resolve(prefix, start)?;
                self.document.attributes[here] = attribute;
                local = rest;
            }
            for other in &self.document.attributes[first..here] {
                let skip = if other.prefix_octets == 0 { 0 } else { usize::from(other.prefix_octets) + 1 };
                let other_start = index(other.name_at);
                let other_end = other_start + usize::from(other.name_octets);
                if text.get(other_start + skip..other_end) == Some(local)
                    && self.uri(other.namespace) == self.uri(attribute.namespace)
                {
                    return Err(self.error(start, XmlErrorKind::DuplicateAttribute(String::from(name))));
                }
            }
        }
        Ok(())
    }

    fn uri(&self, binding: u32) -> &str {
        self.document.bindings.get(index(binding)).map_or("", |binding| &binding.uri)
    }

    /// `end` is one past the `>`. quick-xml has compared the names.
    fn end_tag(&mut self, end: u64) {
        let next = small(self.document.nodes.len());
        if let Some(element) = self.open.pop()
            && let Some(node) = self.document.nodes.get_mut(index(element))
        {
            node.next = next;
            node.end = u32::try_from(end).unwrap_or(u32::MAX);
        }
        let parent = self.open.last().and_then(|parent| self.document.nodes.get(index(*parent)));
        self.scope = parent.map_or(XML_NAMESPACE, |node| node.scope);
    }

    fn text(&mut self, at: usize, content: &str, escaped: bool) -> Checked<()> {
        if self.open.is_empty() {
            if content.bytes().all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
                return Ok(());
            }
            return Err(self.error(at, self.outside()));
        }
        if content.bytes().any(|b| b == b'>') && content.contains("]]>") {
            return Err(self.error(at, malformed("']]>' is not allowed in character data")));
        }
        let escaped = escaped || content.bytes().any(|b| b == b'\r');
        self.push_text(at, at + content.len(), if escaped { Kind::EscapedText } else { Kind::Text });
        Ok(())
    }

    /// A reference in character data joins the text around it. `at` is one past the `&`.
    fn reference(&mut self, at: usize, content: &str) -> Checked<()> {
        if self.open.is_empty() {
            return Err(self.error(at - 1, self.outside()));
        }
        reference::resolve(content).map_err(|kind| self.error(at - 1, kind))?;
        self.push_text(at - 1, at + content.len() + 1, Kind::EscapedText);
        Ok(())
    }

    fn cdata(&mut self, at: usize, octets: usize) -> Checked<()> {
        if self.open.is_empty() {
            return Err(self.error(at, self.outside()));
        }
        self.push_text(at, at + octets, Kind::Cdata);
        Ok(())
    }

    /// Content outside the root is one of two mistakes.
    fn outside(&self) -> XmlErrorKind {
        if self.elements == 0 {
            malformed("there is text before the root element")
        } else {
            XmlErrorKind::TrailingContent
        }
    }

    /// Append character data, joined with the piece before it when nothing lies between them.
    fn push_text(&mut self, start: usize, end: usize, kind: Kind) {
        let (start, end) = (small(start), small(end));
        if kind != Kind::Cdata
            && let Some(last) = self.document.nodes.last_mut()
            && matches!(last.kind, Kind::Text | Kind::EscapedText)
            && last.end == start
        {
            last.end = end;
            if kind == Kind::EscapedText {
                last.kind = kind;
            }
            return;
        }
        let next = small(self.document.nodes.len()) + 1;
        self.document.nodes.push(Node {
            kind,
            prefix_octets: 0,
            name_octets: 0,
            attribute_count: 0,
            start,
            end,
            next,
            namespace: NO_NAMESPACE,
            scope: NO_NAMESPACE,
            attributes: 0,
        });
    }

    fn finish(self) -> Checked<Document<'a>> {
        let end = self.document.text.len();
        if !self.open.is_empty() {
            return Err(self.error(end, malformed("the text ends before the root element does")));
        }
        if self.elements == 0 {
            return Err(self.error(end, malformed("there is no root element")));
        }
        Ok(self.document)
    }
}
