//! The suite's own reader of XML: a small owned tree with namespaces resolved. It shares nothing with any server,
//! so that a server's misreading cannot hide itself here.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// The namespace of `xml:lang` and its kin.
pub(crate) const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// A name as the document resolves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    /// The namespace's URI, empty for none.
    pub namespace: String,
    /// The part after the colon.
    pub local: String,
}

/// An element's child.
#[derive(Clone, Debug)]
pub(crate) enum Child {
    /// An element, by its index in the document.
    Element(usize),
    /// Character data, references resolved.
    Text(String),
}

/// One element of a document.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The element's name.
    pub name: Name,
    /// Its attributes, without namespace declarations.
    pub attributes: Vec<(Name, String)>,
    /// Its children in the document's order.
    pub children: Vec<Child>,
    /// The element that holds it; none for the root.
    pub parent: Option<usize>,
    /// The prefixes in scope here ("" is the default namespace).
    scope: Rc<HashMap<String, String>>,
    /// Octet offsets of the element's markup in the source.
    pub span: (usize, usize),
}

/// A parsed document. Element 0 is the root.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// All elements in document order.
    pub nodes: Vec<Node>,
    source: String,
}

impl Document {
    /// Reads a whole document. The error is a sentence for a person.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut builder = Builder::default();
        let mut reader = Reader::from_str(text);
        let mut before = 0;
        loop {
            let event = reader.read_event().map_err(|error| format!("not well-formed: {error}"))?;
            let after = usize::try_from(reader.buffer_position()).map_err(|error| error.to_string())?;
            if builder.take(event, before, after)? {
                break;
            }
            before = after;
        }
        if builder.nodes.is_empty() {
            return Err("no root element".to_owned());
        }
        if !builder.open.is_empty() {
            return Err("an element is not closed".to_owned());
        }
        Ok(Self { nodes: builder.nodes, source: text.to_owned() })
    }

    /// The text of the element and of everything below it.
    pub(crate) fn text(&self, index: usize) -> String {
        let mut out = String::new();
        self.collect_text(index, &mut out);
        out
    }

    fn collect_text(&self, index: usize, out: &mut String) {
        for child in self.nodes.get(index).map_or(&[][..], |node| &node.children) {
            match child {
                Child::Text(text) => out.push_str(text),
                Child::Element(element) => self.collect_text(*element, out),
            }
        }
    }

    /// The element's source text, from `<` to `>`.
    pub(crate) fn markup(&self, index: usize) -> &str {
        self.nodes.get(index).and_then(|node| self.source.get(node.span.0..node.span.1)).unwrap_or("")
    }

    /// The element's source text with every prefix in scope declared in it, so that it can be moved elsewhere.
    pub(crate) fn standalone(&self, index: usize) -> String {
        let markup = self.markup(index);
        let tag = markup.get(..end_of_tag(markup).unwrap_or(0)).unwrap_or("");
        let name = self.tag_name(index);
        let Some(node) = self.nodes.get(index) else { return String::new() };
        let mut prefixes: Vec<(&String, &String)> = node.scope.iter().filter(|(prefix, _)| *prefix != "xml").collect();
        prefixes.sort();
        let mut declarations = String::new();
        for (prefix, uri) in prefixes {
            let declared = if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
            let is_there = [" ", "\t", "\n", "\r"]
                .iter()
                .any(|space| ["=", " "].iter().any(|after| tag.contains(&format!("{space}{declared}{after}"))));
            if !is_there {
                _ = write!(declarations, " {declared}=\"{}\"", escape(uri));
            }
        }
        let rest = markup.get(1 + name.len()..).unwrap_or("");
        format!("<{name}{declarations}{rest}")
    }

    /// The element's name as the source spells it.
    pub(crate) fn tag_name(&self, index: usize) -> &str {
        let inner = self.markup(index).strip_prefix('<').unwrap_or("");
        inner.split(|c: char| c.is_whitespace() || c == '/' || c == '>').next().unwrap_or("")
    }

    /// The source text between the element's tags.
    pub(crate) fn inner_markup(&self, index: usize) -> &str {
        let markup = self.markup(index);
        let Some(open) = end_of_tag(markup) else { return "" };
        let close = markup.rfind("</").unwrap_or(open);
        markup.get(open..close).unwrap_or("")
    }

    /// Resolves a QName in content (`w:InvalidSelectors`) with the prefixes in scope at the element. Without a prefix,
    /// the default namespace applies.
    pub(crate) fn resolve(&self, index: usize, qname: &str) -> Option<Name> {
        let (prefix, local) = qname.trim().split_once(':').unwrap_or(("", qname.trim()));
        let scope = &self.nodes.get(index)?.scope;
        let namespace = match scope.get(prefix) {
            Some(uri) => uri.clone(),
            None if prefix.is_empty() => String::new(),
            None => return None,
        };
        Some(Name { namespace, local: local.to_owned() })
    }

    /// The element children of an element.
    pub(crate) fn elements(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let children = self.nodes.get(index).map_or(&[][..], |node| &node.children);
        children.iter().filter_map(|child| match child {
            Child::Element(element) => Some(*element),
            Child::Text(_) => None,
        })
    }

    /// The first child element of this name.
    pub(crate) fn child(&self, index: usize, namespace: &str, local: &str) -> Option<usize> {
        self.elements(index).find(|child| {
            self.nodes.get(*child).is_some_and(|node| node.name.namespace == namespace && node.name.local == local)
        })
    }
}

/// The offset just behind the first tag's `>`, quotes respected.
fn end_of_tag(markup: &str) -> Option<usize> {
    let mut quote = None;
    for (at, character) in markup.char_indices() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, '>') => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The state of a parse.
#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    open: Vec<usize>,
}

impl Builder {
    /// Takes one event; true at the end of the input.
    fn take(&mut self, event: Event<'_>, before: usize, after: usize) -> Result<bool, String> {
        match event {
            Event::Start(start) => {
                let index = self.add(&start, (before, after))?;
                self.open.push(index);
            }
            Event::Empty(start) => {
                self.add(&start, (before, after))?;
            }
            Event::End(_) => {
                let index = self.open.pop().ok_or("a closing tag too many")?;
                if let Some(node) = self.nodes.get_mut(index) {
                    node.span.1 = after;
                }
            }
            Event::Text(text) => self.text(&text.xml10_content())?,
            Event::CData(text) => self.text(&text.xml10_content())?,
            Event::GeneralRef(reference) => {
                let resolved = match reference.resolve_char_ref().map_err(|error| error.to_string())? {
                    Some(character) => character.to_string(),
                    None => resolve_predefined_entity(&reference)
                        .ok_or_else(|| format!("undeclared entity &{};", &*reference))?
                        .to_owned(),
                };
                self.text(&resolved)?;
            }
            Event::DocType(_) => return Err("the answer holds a DOCTYPE".to_owned()),
            Event::Eof => return Ok(true),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
        Ok(false)
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        if let Some(illegal) = text.chars().find(|character| !is_xml_character(*character)) {
            return Err(format!("U+{:04X} is no character of XML", u32::from(illegal)));
        }
        let Some(index) = self.open.last() else {
            return if text.trim().is_empty() { Ok(()) } else { Err("text outside of the root".to_owned()) };
        };
        if let Some(node) = self.nodes.get_mut(*index) {
            match node.children.last_mut() {
                Some(Child::Text(last)) => last.push_str(text),
                _ => node.children.push(Child::Text(text.to_owned())),
            }
        }
        Ok(())
    }

    fn add(&mut self, start: &BytesStart<'_>, span: (usize, usize)) -> Result<usize, String> {
        let parent = self.open.last().copied();
        if parent.is_none() && !self.nodes.is_empty() {
            return Err("more than one root element".to_owned());
        }
        let inherited = parent.and_then(|index| self.nodes.get(index)).map(|node| Rc::clone(&node.scope));
        let (scope, raw) = read_attributes(start, inherited.unwrap_or_else(outermost_scope))?;
        let mut attributes = Vec::with_capacity(raw.len());
        for (qname, value) in raw {
            attributes.push((resolve_name(&scope, &qname, false)?, value));
        }
        let name = resolve_name(&scope, start.name().as_ref(), true)?;
        let index = self.nodes.len();
        self.nodes.push(Node { name, attributes, children: Vec::new(), parent, scope, span });
        if let Some(node) = parent.and_then(|parent| self.nodes.get_mut(parent)) {
            node.children.push(Child::Element(index));
        }
        Ok(index)
    }
}

/// Whether a character may occur in XML 1.0, literally or by reference.
fn is_xml_character(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
}

fn outermost_scope() -> Rc<HashMap<String, String>> {
    Rc::new(HashMap::from([("xml".to_owned(), XML.to_owned())]))
}

/// The scope of an element and its plain attributes, still with their prefixes.
type Attributes = (Rc<HashMap<String, String>>, Vec<(String, String)>);

fn read_attributes(start: &BytesStart<'_>, mut scope: Rc<HashMap<String, String>>) -> Result<Attributes, String> {
    let mut plain = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| format!("attribute: {error}"))?;
        let value =
            attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| format!("attribute: {error}"))?;
        let key: &str = attribute.key.as_ref();
        match (key, key.strip_prefix("xmlns:")) {
            ("xmlns", _) => _ = Rc::make_mut(&mut scope).insert(String::new(), value.into_owned()),
            (_, Some(prefix)) => _ = Rc::make_mut(&mut scope).insert(prefix.to_owned(), value.into_owned()),
            _ => plain.push((key.to_owned(), value.into_owned())),
        }
    }
    Ok((scope, plain))
}

fn resolve_name(scope: &HashMap<String, String>, qname: &str, default_applies: bool) -> Result<Name, String> {
    let (prefix, local) = qname.split_once(':').unwrap_or(("", qname));
    let namespace = match scope.get(prefix) {
        Some(_) if prefix.is_empty() && !default_applies => String::new(),
        Some(uri) => uri.clone(),
        None if prefix.is_empty() => String::new(),
        None => return Err(format!("the prefix {prefix:?} of {qname:?} is not declared")),
    };
    Ok(Name { namespace, local: local.to_owned() })
}

/// Escapes text for an element or a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_and_text_are_resolved() {
        let document =
            Document::parse("<a xmlns='u:1' xmlns:b='u:2' b:x='1'>t&amp;<b:c y='&lt;'><![CDATA[<z>]]></b:c>&#x41;</a>")
                .unwrap();
        assert_eq!(document.nodes.len(), 2);
        assert_eq!(document.text(0), "t&<z>A");
        assert_eq!(document.nodes[0].name.namespace, "u:1");
        assert_eq!(document.nodes[0].attributes[0].0, Name { namespace: "u:2".to_owned(), local: "x".to_owned() });
        assert_eq!(document.nodes[1].attributes[0].0.namespace, "");
        assert_eq!(document.markup(1), "<b:c y='&lt;'><![CDATA[<z>]]></b:c>");
        assert_eq!(document.inner_markup(1), "<![CDATA[<z>]]>");
        assert_eq!(document.resolve(1, "b:q").unwrap().namespace, "u:2");
        assert!(document.resolve(1, "nope:q").is_none());
    }

    #[test]
    fn an_element_can_stand_alone() {
        let document = Document::parse("<a xmlns='u:1' xmlns:b='u:2'><b:c xmlns:b='u:3'/><d>x</d></a>").unwrap();
        assert_eq!(document.standalone(1), "<b:c xmlns=\"u:1\" xmlns:b='u:3'/>");
        assert_eq!(document.standalone(2), "<d xmlns=\"u:1\" xmlns:b=\"u:2\">x</d>");
    }

    #[test]
    fn broken_documents_are_refused() {
        for text in ["", "<a>", "<a/><b/>", "<p:a/>", "<a>&x;</a>", "<!DOCTYPE a><a/>", "<a></b>", "<a/>tail"] {
            assert!(Document::parse(text).is_err(), "{text}");
        }
    }
}
