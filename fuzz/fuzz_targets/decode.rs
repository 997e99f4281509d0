//! Octets to a request or a fault. Oracles: the fault can be written, and reads back as that fault; markup that was cut
//! out of a document and made self-contained parses to the same names.
#![no_main]

use failbackd::wsman::client::Reply;
use failbackd::wsman::{Profile, decode, encode_fault};
use failbackd::xml::{Document, Limits, Writer, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Ok((text, _)) = text::decode(octets, None) else { return };
    let limits = Limits::default();
    let Ok(document) = Document::parse(&text, &limits) else { return };
    for element in document.root().children() {
        let mut out = Vec::new();
        element.write_self_contained(&mut Writer::new(&mut out));
        let alone = String::from_utf8(out).expect("markup is text");
        // The declarations in scope are attributes of the copy, which may make it break a limit of its own.
        let roomy = Limits { octets_max: usize::MAX, attributes_max: u16::MAX, ..limits };
        let copy = Document::parse(&alone, &roomy).expect("a copied element is a document");
        assert_eq!((copy.root().namespace(), copy.root().local()), (element.namespace(), element.local()));
        assert_eq!(copy.root().text(), element.text());
        assert_eq!(copy.root().attributes().count(), element.attributes().count());
    }
    let (correlation, request) = decode(&document, &Profile::DMTF);
    if let Err(fault) = request {
        let mut out = Vec::new();
        encode_fault(&mut out, &correlation, uuid::Uuid::nil(), &fault);
        let answer = String::from_utf8(out).expect("an answer is text");
        let document = Document::parse(&answer, &Limits { octets_max: usize::MAX, ..limits }).expect("well-formed");
        let received = Reply::parse(&document).expect_err("a fault");
        assert_eq!(received.number, Some(fault.number));
    }
});
