//! Tests of the whole layer: what is read, what is refused, and that written text reads back.

use super::text::{Encoding, TextError, decode, encode};
use super::{Document, LimitKind, Limits, Writer, XmlErrorKind};
use proptest::prelude::*;

fn parse(text: &str) -> Document<'_> {
    Document::parse(text, &Limits::default()).unwrap()
}

fn refused(text: &str) -> XmlErrorKind {
    match Document::parse(text, &Limits::default()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.kind,
    }
}

fn is_malformed(text: &str) {
    let kind = refused(text);
    assert!(matches!(kind, XmlErrorKind::Malformed(_)), "{text}: {kind:?}");
}

#[test]
fn reads_names_text_and_attributes() {
    let text = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!-- c --><a:r xmlns:a='urn:a' xmlns='urn:d' k=' v\t1&amp;2 ' \
                a:k=\"&#x41;\"><b>x<!-- y -->&lt;<![CDATA[<&]]>z\r\n</b><c xmlns=''/></a:r> <!-- end -->\n";
    let document = parse(text);
    let root = document.root();
    assert!(root.is("urn:a", "r"));
    assert_eq!((root.prefix(), root.local(), root.namespace()), ("a", "r", "urn:a"));
    assert_eq!(root.attribute("", "k").unwrap(), " v 1&2 ");
    assert_eq!(root.attribute("urn:a", "k").unwrap(), "A");
    assert_eq!(root.attribute("urn:d", "k"), None);
    assert_eq!(root.attributes().map(|a| (a.prefix, a.local)).collect::<Vec<_>>(), [("", "k"), ("a", "k")]);
    let b = root.child("urn:d", "b").unwrap();
    assert_eq!(b.text(), "x<<&z\n");
    assert_eq!(b.markup(), "<b>x<!-- y -->&lt;<![CDATA[<&]]>z\r\n</b>");
    let c = root.child("", "c").unwrap();
    assert_eq!((c.markup(), c.text().as_ref()), ("<c xmlns=''/>", ""));
    assert_eq!(root.children().count(), 2);
    assert!(root.markup().starts_with("<a:r ") && root.markup().ends_with("</a:r>"));
    assert_eq!((b.position().line, b.position().column), (2, 75));
}

#[test]
fn resolves_redeclared_and_undeclared_namespaces() {
    let document = parse(
        "<p:a xmlns:p='urn:1' xmlns='urn:d'><p:b xmlns:p='urn:2'><p:c/><d xmlns=''><e/></d><f/></p:b><p:g/></p:a>",
    );
    let a = document.root();
    let b = a.child("urn:2", "b").unwrap();
    assert!(b.child("urn:2", "c").is_some());
    let d = b.child("", "d").unwrap();
    assert!(d.child("", "e").is_some());
    assert!(b.child("urn:d", "f").is_some());
    assert!(a.child("urn:1", "g").is_some());
    assert_eq!(d.resolve_prefix("p"), Some("urn:2"));
    assert_eq!(d.resolve_prefix(""), Some(""));
    assert_eq!(d.resolve_prefix("q"), None);
    assert_eq!(a.resolve_prefix("p"), Some("urn:1"));
    assert_eq!(d.declarations_in_scope().collect::<Vec<_>>(), [("", ""), ("p", "urn:2")]);
    assert_eq!(parse("<a xml:lang='de'/>").root().attribute(super::name::XML, "lang").unwrap(), "de");
}

#[test]
fn values_with_prefixes_are_never_resolved() {
    let document = parse("<a xmlns:xsi='http://www.w3.org/2001/XMLSchema' xsi:type='cim:cimString' Type='xs:int'/>");
    assert_eq!(document.root().attribute("http://www.w3.org/2001/XMLSchema", "type").unwrap(), "cim:cimString");
}

#[test]
fn refuses_what_soap_forbids() {
    assert_eq!(refused("<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>"), XmlErrorKind::Doctype);
    assert_eq!(refused("<!DOCTYPE x [<!ENTITY a 'b'"), XmlErrorKind::Doctype);
    assert_eq!(refused("<x><!DOCTYPE y></x>"), XmlErrorKind::Doctype);
    assert_eq!(refused("<x><?foo bar?></x>"), XmlErrorKind::ProcessingInstruction);
    assert_eq!(refused("<?foo?><x/>"), XmlErrorKind::ProcessingInstruction);
    assert_eq!(refused("<x>&nbsp;</x>"), XmlErrorKind::Entity(String::from("nbsp")));
    assert_eq!(refused("<x a='&nbsp;'/>"), XmlErrorKind::Entity(String::from("nbsp")));
}

#[test]
fn refuses_illegal_characters() {
    assert_eq!(refused("<x>\u{1}</x>"), XmlErrorKind::IllegalCharacter(1));
    assert_eq!(refused("<x>\u{FFFE}</x>"), XmlErrorKind::IllegalCharacter(0xFFFE));
    assert_eq!(refused("<x>&#0;</x>"), XmlErrorKind::IllegalCharacter(0));
    assert_eq!(refused("<x>&#xD800;</x>"), XmlErrorKind::IllegalCharacter(0xD800));
    assert_eq!(refused("<x>&#x110000;</x>"), XmlErrorKind::IllegalCharacter(0x0011_0000));
    assert_eq!(refused("<x>&#99999999999999999999;</x>"), XmlErrorKind::IllegalCharacter(u32::MAX));
    assert_eq!(
        parse("<x>\u{1F600}\u{FF21}&#x1F600;&#000000000000065;</x>").root().text(),
        "\u{1F600}\u{FF21}\u{1F600}A"
    );
}

#[test]
fn refuses_what_is_not_well_formed() {
    for text in [
        "",
        " ",
        "x",
        "<x",
        "<x>",
        "<x></y>",
        "<x/",
        "</x>",
        "<x a/>",
        "<x a=1/>",
        "<x a='1'b='2'/>",
        "<x a='<'/>",
        "<x a='1/>",
        "<x>&amp</x>",
        "<x>&</x>",
        "<x>]]></x>",
        "<1/>",
        "<x:/>",
        "<:x/>",
        "<a:b:c/>",
        "<x><![CDATA[</x>",
        "<x><!-- a -- b --></x>",
        "<x>&#;</x>",
        "<x>&#-5;</x>",
        "<x>&#x;</x>",
        "<x>&#a;</x>",
        "<x a\"='1'/>",
        " <?xml version='1.0'?><x/>",
        "<x><?xml version='1.0'?></x>",
        "<?xml version='2.0'?><x/>",
        "text<x/>",
        "<x xmlns:xml='urn:other'/>",
        "<x xmlns:xmlns='urn:a'/>",
        "<x xmlns:p=''/>",
        "<x xmlns:p='http://www.w3.org/2000/xmlns/'/>",
        "<x xmlns='http://www.w3.org/XML/1998/namespace'/>",
        "<![CDATA[x]]><x/>",
        "<x/ >",
        "< x/>",
        "<x></x a='b'>",
    ] {
        is_malformed(text);
    }
    for text in ["<x/><y/>", "<x/>z", "<x/>&amp;", "<x/><![CDATA[]]>", "<x></x><y>"] {
        assert_eq!(refused(text), XmlErrorKind::TrailingContent, "{text}");
    }
    assert_eq!(refused("<p:x/>"), XmlErrorKind::UnboundPrefix(String::from("p")));
    assert_eq!(refused("<x p:a=''/>"), XmlErrorKind::UnboundPrefix(String::from("p")));
    assert_eq!(refused("<xmlns:x/>"), XmlErrorKind::UnboundPrefix(String::from("xmlns")));
}

#[test]
fn refuses_duplicate_attributes() {
    let twice = |text: &str, name: &str| {
        assert_eq!(refused(text), XmlErrorKind::DuplicateAttribute(String::from(name)));
    };
    twice("<x a='1' a='2'/>", "a");
    twice("<x xmlns:p='urn:a' xmlns:q='urn:a' p:a='1' q:a='2'/>", "q:a");
    twice("<x xmlns:p='urn:a' xmlns:p='urn:b'/>", "xmlns:p");
    twice("<x xmlns='urn:a' xmlns='urn:b'/>", "xmlns");
    parse("<x xmlns:p='urn:a' xmlns='urn:a' p:a='1' a='2'/>");
}

#[test]
fn holds_every_limit_at_the_limit_and_one_past_it() {
    let limits = Limits {
        octets_max: 200,
        depth_max: 3,
        elements_max: 4,
        attributes_max: 2,
        name_octets_max: 5,
        declarations_max: 2,
    };
    let check = |text: &str| Document::parse(text, &limits).map(|_| ()).map_err(|error| error.kind);
    let passed = |limit| Err(XmlErrorKind::Limit(limit));
    assert_eq!(check(&format!("<a>{}</a>", "x".repeat(193))), Ok(()));
    assert_eq!(check(&format!("<a>{}</a>", "x".repeat(194))), passed(LimitKind::Octets));
    assert_eq!(check("<a><a><a/></a></a>"), Ok(()));
    assert_eq!(check("<a><a><a><a/></a></a></a>"), passed(LimitKind::Depth));
    assert_eq!(check("<a><b/><b/><b/></a>"), Ok(()));
    assert_eq!(check("<a><b/><b/><b/><b/></a>"), passed(LimitKind::Elements));
    assert_eq!(check("<a b='' c=''/>"), Ok(()));
    assert_eq!(check("<a b='' c='' d=''/>"), passed(LimitKind::Attributes));
    assert_eq!(check("<abcde a='' /> "), Ok(()));
    assert_eq!(check("<abcdef/>"), passed(LimitKind::NameOctets));
    assert_eq!(check("<a abcdef=''/>"), passed(LimitKind::NameOctets));
    assert_eq!(check("<a xmlns='u'><b xmlns='v'/><b xmlns='w'/></a>"), Ok(()));
    assert_eq!(check("<a xmlns='u'><b xmlns='v'><c xmlns='w'/></b></a>"), passed(LimitKind::Declarations));
}

#[test]
fn ten_megabytes_of_nested_elements_are_refused_at_the_depth_limit() {
    let text = "<a>".repeat(3_500_000);
    assert_eq!(refused(&text), XmlErrorKind::Limit(LimitKind::Octets));
    let wide = Limits { octets_max: usize::MAX, ..Limits::default() };
    let error = Document::parse(&text, &wide).unwrap_err();
    assert_eq!(error.kind, XmlErrorKind::Limit(LimitKind::Depth));
    // And with no limit at all, nothing recurses: parsing, reading and dropping.
    let limits = Limits { depth_max: u16::MAX, ..wide };
    let depth = 60_000;
    let nested = format!("{}x{}", "<a>".repeat(depth), "</a>".repeat(depth));
    let document = Document::parse(&nested, &limits).unwrap();
    assert_eq!(document.root().markup().len(), nested.len());
    assert_eq!(document.root().text(), "");
}

#[test]
fn tells_where_it_is_wrong() {
    let error = Document::parse("<a>\n  <\u{e9}></b>\n</a>", &Limits::default()).unwrap_err();
    assert_eq!(error.to_string().rsplit(" (").next(), Some("line 2, column 6)"));
}

#[test]
fn numbers_are_written_in_digits() {
    for number in [0, 7, -1, 10, 1_234_567_890, i64::MIN, i64::MAX] {
        let mut out = Vec::new();
        Writer::new(&mut out).number(number);
        assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
    }
}

#[test]
fn writes_what_reads_back() {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.open("a");
    writer.attribute("k", "<\"&'\t\r\n\u{1}\u{FFFF}\u{FF21}>");
    writer.close();
    writer.text("<a>&\r\n\t\"'\u{0}\u{FFFE}\u{FEFF}\u{1F600}");
    writer.leaf("b", "x");
    writer.empty("c");
    writer.end("a");
    let text = String::from_utf8(out).unwrap();
    let document = parse(&text);
    assert_eq!(document.root().attribute("", "k").unwrap(), "<\"&'\t\r\n\u{FFFD}\u{FFFD}\u{FF21}>");
    assert_eq!(document.root().text(), "<a>&\r\n\t\"'\u{FFFD}\u{FFFD}\u{FEFF}\u{1F600}");
    assert_eq!(document.root().children().map(super::Element::local).collect::<Vec<_>>(), ["b", "c"]);
}

fn utf16(text: &str, little: bool, bom: bool) -> Vec<u8> {
    let encoding = if little { Encoding::Utf16Le { bom } } else { Encoding::Utf16Be { bom } };
    encode(Vec::from(text), encoding)
}

#[test]
fn decodes_every_encoding_and_answers_in_it() {
    let text = "<?xml version=\"1.0\" encoding=\"utf-16\"?><a>\u{e4}\u{1F600}</a>";
    for little in [true, false] {
        for bom in [true, false] {
            let octets = utf16(text, little, bom);
            for charset in [None, Some("utf-16"), Some("UTF-8"), Some(" \"UTF-16\"")] {
                let (decoded, encoding) = decode(&octets, charset).unwrap();
                assert_eq!(decoded, text);
                assert_eq!(encode(decoded.into_owned().into_bytes(), encoding), octets);
                parse(text);
            }
        }
    }
    assert_eq!(decode(text.as_bytes(), None).unwrap().1, Encoding::Utf8);
    assert_eq!(decode(b"\xEF\xBB\xBF<a/>", Some("bogus")).unwrap(), ("<a/>".into(), Encoding::Utf8));
    assert_eq!(decode(&utf16(" <a/>", false, false), Some("utf-16be")).unwrap().0, " <a/>");
    assert_eq!(decode(&utf16(" <a/>", true, false), Some("UTF-16LE")).unwrap().0, " <a/>");
    assert_eq!(decode(b"", None).unwrap().0, "");
    assert_eq!(decode(b"<a/>", Some("")).unwrap().0, "<a/>");
}

#[test]
fn bad_octets_are_told_where() {
    assert_eq!(decode(b"<a>\xC3\x28</a>", None), Err(TextError::Malformed { charset: "UTF-8", offset: 3 }));
    assert_eq!(decode(b"\xEF\xBB\xBFa\xFF", None), Err(TextError::Malformed { charset: "UTF-8", offset: 4 }));
    let mut lone = utf16("<a>", true, true);
    lone.extend_from_slice(&[0x00, 0xD8, b'x', 0]);
    assert_eq!(decode(&lone, None), Err(TextError::Malformed { charset: "UTF-16LE", offset: 8 }));
    let mut odd = utf16("<a/>", false, true);
    odd.push(0);
    assert_eq!(decode(&odd, None), Err(TextError::Malformed { charset: "UTF-16BE", offset: 10 }));
    assert_eq!(decode(b"<a/>", Some("koi8-r")), Err(TextError::UnknownCharset(String::from("koi8-r"))));
    let latin = b"<?xml version='1.0' encoding='iso-8859-1'?><a/>";
    assert_eq!(decode(latin, None), Err(TextError::UnknownCharset(String::from("iso-8859-1"))));
    assert_eq!(TextError::Malformed { charset: "UTF-16BE", offset: 0 }.answer_in(), Encoding::Utf16Be { bom: true });
}

/// Walk over everything, so that a tape that is wrong anywhere shows.
fn visit(document: &Document<'_>) -> usize {
    let mut open = vec![document.root()];
    let mut seen = 0;
    while let Some(element) = open.pop() {
        seen += element.local().len() + element.text().len() + element.markup().len();
        seen += element.attributes().map(|a| a.value.len()).sum::<usize>();
        seen += element.declarations_in_scope().count();
        assert!(element.markup().starts_with('<') && element.markup().ends_with('>'));
        open.extend(element.children());
    }
    seen
}

proptest! {
    #[test]
    fn never_panics_on_octets(octets in proptest::collection::vec(any::<u8>(), 0..300), charset in "[a-z0-9-]{0,8}") {
        if let Ok((text, _)) = decode(&octets, Some(&charset))
            && let Ok(document) = Document::parse(&text, &Limits::default()) {
            visit(&document);
        }
    }

    #[test]
    fn never_panics_on_markup(pieces in proptest::collection::vec(prop::sample::select(vec![
        "<a>", "</a>", "<a/>", "<p:a xmlns:p='u'>", "</p:a>", "<!--", "-->", "<![CDATA[", "]]>", "&amp;", "&#x41;", "&", ";",
        "x", " ", "<", ">", "'", "\"", "=", "xmlns=", "a='1'", "<?xml version='1.0'?>", "<?", "?>", "<!DOCTYPE", "[", "]", "\r\n",
        "\u{FEFF}", "\u{e9}", "/", ":", "<a xmlns=''>",
    ]), 0..40)) {
        let text = pieces.concat();
        if let Ok(document) = Document::parse(&text, &Limits::default()) {
            visit(&document);
        }
    }

    #[test]
    fn written_text_reads_back(text in any::<String>(), value in any::<String>()) {
        let replaced = |s: &str| s.chars().map(|c| if super::reference::is_xml_char(c) { c } else { '\u{FFFD}' }).collect::<String>();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.open("a");
        writer.attribute("v", &value);
        writer.close();
        writer.text(&text);
        writer.end("a");
        let written = String::from_utf8(out).unwrap();
        let document = parse(&written);
        prop_assert_eq!(document.root().text(), replaced(&text));
        prop_assert_eq!(document.root().attribute("", "v").unwrap(), replaced(&value));
    }

    #[test]
    fn encodings_read_back(text in any::<String>(), little: bool) {
        let octets = utf16(&text, little, true);
        prop_assert_eq!(decode(&octets, None).unwrap().0, text);
    }
}
