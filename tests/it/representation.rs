//! Whatever instance our encoder writes, the conformance suite's own decoder reads back equal. The decoder knows
//! nothing of the encoder; what it must find is told here from the values themselves.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "numbers of any value, cut to the size of their type"
)]

#[path = "../../conformance/src/representation.rs"]
#[allow(unreachable_pub, dead_code, reason = "a file of the conformance suite, which uses all of it")]
mod decoder;
#[path = "../../conformance/src/xml.rs"]
#[allow(unreachable_pub, dead_code, reason = "a file of the conformance suite, which uses all of it")]
mod xml;

use decoder::{Instance, Item};
use failbackd::cim::{CimDatetime, CimInstance, CimType, Class, ObjectPath, Schema, Value};
use failbackd::wscim::{Codec, Family, write_instance};
use failbackd::xml::Writer;
use proptest::prelude::*;

const FAMILIES: [(Family, &str); 3] = [
    (Family::Wmi, "http://schemas.microsoft.com/wbem/wsman/1/wmi/"),
    (Family::Dmtf, "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"),
    (Family::Microsoft, "http://schemas.microsoft.com/wbem/wscim/1/cim-schema/2/"),
];

/// Numbers for one instance, from one seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        // Ends of ranges are where mistakes are.
        match mixed % 5 {
            0 => u64::MAX,
            1 => 0,
            2 => 1 << 63,
            _ => mixed ^ (mixed >> 31),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn text(&mut self) -> String {
        const PIECES: &[&str] =
            &["a", " ", "\t", "\r", "\n", "<", ">", "&", "'", "\"", "]]>", "é", "\u{1F600}", "\u{FFFD}", "&amp;", "%"];
        (0..self.below(6)).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }

    fn micros(&mut self) -> i64 {
        // The years 1 to 9999.
        (self.next() % 315_537_897_599_999_999) as i64 - 62_135_596_800_000_000
    }

    fn value(&mut self, cim_type: CimType, schema: &Schema) -> Value {
        let n = self.next();
        match cim_type {
            CimType::Boolean => Value::Boolean(n.is_multiple_of(2)),
            CimType::Uint8 => Value::Uint8(n as u8),
            CimType::Sint8 => Value::Sint8((n >> 56) as i8),
            CimType::Uint16 => Value::Uint16(n as u16),
            CimType::Sint16 => Value::Sint16((n >> 48) as i16),
            CimType::Uint32 => Value::Uint32(n as u32),
            CimType::Sint32 => Value::Sint32((n >> 32) as i32),
            CimType::Uint64 => Value::Uint64(n),
            CimType::Sint64 => Value::Sint64(n as i64),
            CimType::Real32 => {
                Value::Real32([f32::INFINITY, f32::MIN_POSITIVE, -0.1, f32::MAX, n as f32][n as usize % 5])
            }
            CimType::Real64 => Value::Real64([f64::NEG_INFINITY, f64::NAN, 1e-300, f64::MAX, n as f64][n as usize % 5]),
            CimType::Char16 => Value::Char16([0x41, 0xE9, 0x20AC, 0x3C][n as usize % 4]),
            CimType::String => Value::from(self.text()),
            CimType::Datetime if n.is_multiple_of(3) => {
                Value::Datetime(CimDatetime::interval_from_micros(n % 8_639_999_999_999_999_999))
            }
            CimType::Datetime => {
                let at = CimDatetime::from_unix_micros(self.micros());
                let CimDatetime::Timestamp { micros, digits, .. } = at else { unreachable!() };
                let utc_offset_minutes = [0, 60, -330, 840, -840][self.below(5)];
                // Far ends of the calendar have no room for an offset.
                let near = (-60_000_000_000_000_000..250_000_000_000_000_000).contains(&micros);
                Value::Datetime(if near { CimDatetime::Timestamp { micros, utc_offset_minutes, digits } } else { at })
            }
            CimType::Reference => {
                let classes = ["Msvm_ComputerSystem", "Msvm_ConcreteJob", "Msvm_ReplicationSettingData"];
                let class = schema.class_by_name(classes[self.below(3)]).unwrap();
                let keys = class
                    .keys
                    .iter()
                    .map(|slot| (*slot, self.value(class.properties[usize::from(*slot)].cim_type, schema)));
                Value::Reference(Box::new(ObjectPath { namespace: None, class: class.id, keys: keys.collect() }))
            }
        }
    }

    fn instance(&mut self, class: &Class, schema: &Schema) -> CimInstance {
        let mut instance = CimInstance::empty(class);
        for (slot, property) in class.slots() {
            let value = match self.below(4) {
                0 => Value::Null,
                _ if property.is_array => {
                    // An empty array has no form of its own in XML: it is told apart by an option only.
                    Value::Array((0..=self.below(3)).map(|_| self.value(property.cim_type, schema)).collect())
                }
                _ => self.value(property.cim_type, schema),
            };
            instance.set(slot, value);
        }
        instance
    }
}

/// Whether an item says this value.
fn says(item: &Item, value: &Value, family: (Family, &str), schema: &Schema) -> bool {
    let number = |wanted: i128, text: &str| text.parse() == Ok(wanted) && !text.starts_with('+');
    match (item, value) {
        (Item::Nil, Value::Null) => true,
        (Item::Datetime(text), Value::Datetime(datetime)) => *text == datetime.to_dsp0004(),
        (Item::Reference(reference), Value::Reference(path)) => {
            let class = schema.class(path.class);
            let is_dmtf = family.0 != Family::Wmi;
            let mut selectors: Vec<_> = reference.selectors.clone();
            if is_dmtf {
                let (name, namespace) = selectors.pop().unwrap();
                assert_eq!((name.as_str(), namespace), ("__cimnamespace", Item::Text("root/virtualization/v2".into())));
            }
            reference.uri.starts_with(family.1)
                && reference.uri.ends_with(&format!("/{}", class.name))
                && selectors.len() == path.keys.len()
                && path.keys.iter().all(|(slot, value)| {
                    let name = &*class.properties[usize::from(*slot)].name;
                    selectors.iter().any(|(known, item)| known == name && says(item, value, family, schema))
                })
        }
        (Item::Text(text), value) => match value {
            Value::Boolean(flag) => text == if *flag { "true" } else { "false" },
            Value::Uint8(n) => number((*n).into(), text),
            Value::Sint8(n) => number((*n).into(), text),
            Value::Uint16(n) => number((*n).into(), text),
            Value::Sint16(n) => number((*n).into(), text),
            Value::Uint32(n) => number((*n).into(), text),
            Value::Sint32(n) => number((*n).into(), text),
            Value::Uint64(n) => number((*n).into(), text),
            Value::Sint64(n) => number((*n).into(), text),
            Value::Real32(n) => real(text).is_some_and(|read| (read as f32).to_bits() == n.to_bits()),
            Value::Real64(n) => {
                real(text).is_some_and(|read| read.to_bits() == n.to_bits() || (read.is_nan() && n.is_nan()))
            }
            Value::Char16(unit) => text.encode_utf16().eq([*unit]),
            Value::String(wanted) => *text == **wanted,
            _ => false,
        },
        _ => false,
    }
}

/// A number as XML Schema spells it.
fn real(text: &str) -> Option<f64> {
    match text {
        "INF" => Some(f64::INFINITY),
        "-INF" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        text if text.bytes().all(|octet| octet.is_ascii_digit() || b"+-.eE".contains(&octet)) => text.parse().ok(),
        _ => None,
    }
}

fn written(instance: &CimInstance, codec: &Codec, schema: &Schema, family: Family) -> String {
    let mut octets = b"<a xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
        xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\">"
        .to_vec();
    write_instance(&mut Writer::new(&mut octets), codec, schema, family, instance);
    octets.extend_from_slice(b"</a>");
    String::from_utf8(octets).unwrap()
}

/// The items of a property; none when it is not there.
fn items<'i>(instance: &'i Instance, name: &str) -> &'i [Item] {
    instance.properties.iter().find(|(known, _)| known == name).map_or(&[], |(_, items)| items)
}

fn read(text: &str) -> Instance {
    let document = xml::Document::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    decoder::decode(&document, 1).unwrap_or_else(|error| panic!("{error}: {text}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    //= MAP-01, MAP-02, MAP-03, MAP-04, MAP-05, MAP-06, MAP-07, MAP-08, MAP-09, MAP-10, MAP-12, MAP-14, MAP-16
    #[test]
    fn an_independent_decoder_reads_back_what_was_written(seed: u64, class: prop::sample::Index, family in 0_usize..3) {
        let schema = Schema::builtin();
        let codec = Codec::new(schema);
        let class = &schema.classes()[class.index(schema.classes().len())];
        let family = FAMILIES[family];
        let instance = Dice(seed).instance(class, schema);
        let text = written(&instance, &codec, schema, family.0);
        let found = read(&text);
        prop_assert_eq!(&found.class, &*class.name);
        prop_assert_eq!(found.said_type.as_deref(), Some(&*class.name));
        let named = found.class_uri.rsplit_once('/').map(|(_, class)| class);
        prop_assert_eq!(named, Some(&*class.name));
        prop_assert!(found.class_uri.starts_with(family.1), "{}", found.class_uri);
        for (slot, property) in class.slots() {
            let items = items(&found, &property.name);
            let values = match instance.get(slot) {
                Value::Array(values) => values.as_slice(),
                single => std::slice::from_ref(single),
            };
            prop_assert_eq!(items.len(), values.len(), "{}: {}", &property.name, &text);
            for (item, value) in items.iter().zip(values) {
                prop_assert!(says(item, value, family, schema), "{}: {item:?} is not {value:?}", property.name);
            }
        }
        prop_assert_eq!(found.properties.len(), class.properties.len());
    }
}

#[test]
fn the_decoder_sees_what_is_wrong() {
    let good = "<p:C xmlns:p='u'><p:A>1</p:A><p:A>2</p:A><p:B/></p:C>";
    let decode = |text: &str| decoder::decode(&xml::Document::parse(text).unwrap(), 0);
    assert_eq!(items(&decode(good).unwrap(), "A").len(), 2);
    for bad in [
        "<p:C xmlns:p='u'><p:A>1</p:A><p:B/><p:A>2</p:A></p:C>",
        "<p:C xmlns:p='u'><A>1</A></p:C>",
        "<p:C xmlns:p='u' xmlns:x='http://www.w3.org/2001/XMLSchema-instance' x:type='p:C'/>",
        "<p:C xmlns:p='u' xmlns:x='http://www.w3.org/2001/XMLSchema-instance'><p:A x:nil='true'>1</p:A></p:C>",
        "<p:C xmlns:p='u' xmlns:c='http://schemas.dmtf.org/wbem/wscim/1/common'><p:A><c:Interval>P1Y</c:Interval></p:A>\
         </p:C>",
    ] {
        assert!(decode(bad).is_err(), "{bad}");
    }
}
