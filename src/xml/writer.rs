//! Writing XML: escaping, and nothing else.
//!
//! Characters that XML 1.0 cannot carry (controls below U+0020 other than tab, line feed and carriage return, and
//! U+FFFE, U+FFFF) are written as U+FFFD, so that no value that a backend holds can make an answer malformed.

/// Appends markup to a buffer. Callers write balanced tags; only text and attribute values are looked at.
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

/// What an octet needs in character data or in an attribute value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Escaped everywhere.
    Everywhere,
    /// Escaped in attribute values only.
    InAttributes,
    /// Never allowed.
    Replace,
    /// The first octet of U+F000..=U+FFFF: may begin one of the two noncharacters.
    Look,
}

const NEEDS: [Need; 256] = {
    let mut needs = [Need::Nothing; 256];
    let mut control = 0;
    while control < 0x20 {
        needs[control] = Need::Replace;
        control += 1;
    }
    needs[0x09] = Need::InAttributes;
    needs[0x0A] = Need::InAttributes;
    needs[0x0D] = Need::Everywhere;
    needs[0x22] = Need::InAttributes;
    needs[0x26] = Need::Everywhere;
    needs[0x3C] = Need::Everywhere;
    needs[0x3E] = Need::Everywhere;
    needs[0xEF] = Need::Look;
    needs
};

impl<'o> Writer<'o> {
    /// Write to the end of a buffer.
    pub const fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    /// How many octets the buffer holds.
    pub const fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether the buffer is empty.
    pub const fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Markup as it is.
    pub fn raw(&mut self, markup: &str) {
        self.out.extend_from_slice(markup.as_bytes());
    }

    /// Markup that was written before, as octets.
    pub fn raw_octets(&mut self, markup: &[u8]) {
        self.out.extend_from_slice(markup);
    }

    /// Character data, escaped.
    pub fn text(&mut self, text: &str) {
        self.escaped(text, false);
    }

    /// A number in decimal digits.
    pub fn number(&mut self, number: i64) {
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        let mut rest = number.unsigned_abs();
        for (at, place) in digits.iter_mut().enumerate().rev() {
            *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            first = at;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            self.out.push(b'-');
        }
        self.out.extend_from_slice(digits.get(first..).unwrap_or_default());
    }

    /// `<qname`: attributes may follow, then [`Writer::close`] or [`Writer::close_empty`].
    pub fn open(&mut self, qname: &str) {
        self.out.push(b'<');
        self.raw(qname);
    }

    /// ` qname="value"`, the value escaped; between [`Writer::open`] and the closing of the tag.
    pub fn attribute(&mut self, qname: &str, value: &str) {
        self.out.push(b' ');
        self.raw(qname);
        self.raw("=\"");
        self.escaped(value, true);
        self.out.push(b'"');
    }

    /// `>`: ends a start tag that [`Writer::open`] began.
    pub fn close(&mut self) {
        self.out.push(b'>');
    }

    /// `/>`: ends a tag that [`Writer::open`] began, as an empty element.
    pub fn close_empty(&mut self) {
        self.raw("/>");
    }

    /// `<qname>`.
    pub fn start(&mut self, qname: &str) {
        self.open(qname);
        self.close();
    }

    /// `</qname>`.
    pub fn end(&mut self, qname: &str) {
        self.raw("</");
        self.raw(qname);
        self.out.push(b'>');
    }

    /// `<qname>text</qname>`.
    pub fn leaf(&mut self, qname: &str, text: &str) {
        self.start(qname);
        self.text(text);
        self.end(qname);
    }

    /// `<qname/>`.
    pub fn empty(&mut self, qname: &str) {
        self.open(qname);
        self.close_empty();
    }

    fn escaped(&mut self, text: &str, in_attribute: bool) {
        let bytes = text.as_bytes();
        let mut done = 0;
        for (at, &octet) in bytes.iter().enumerate() {
            let need = NEEDS[usize::from(octet)];
            if need == Need::Nothing || (need == Need::InAttributes && !in_attribute) {
                continue;
            }
            if need == Need::Look && !bytes.get(at + 1..at + 3).is_some_and(is_noncharacter_tail) {
                continue;
            }
            self.out.extend_from_slice(bytes.get(done..at).unwrap_or_default());
            self.raw(match octet {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                b'\t' => "&#9;",
                b'\n' => "&#10;",
                b'\r' => "&#13;",
                _ => "\u{FFFD}",
            });
            done = at + if need == Need::Look { 3 } else { 1 };
        }
        self.out.extend_from_slice(bytes.get(done..).unwrap_or_default());
    }
}

/// The last two octets of U+FFFE or U+FFFF.
const fn is_noncharacter_tail(tail: &[u8]) -> bool {
    matches!(tail, [0xBF, 0xBE | 0xBF])
}
