//! Simple values: datetimes, durations, numbers. Oracle: what was read is written in a form that reads back as the same
//! value.
#![no_main]

use failbackd::cim::{CimDatetime, CimType, Value};
use failbackd::wsman::{format_duration, parse_duration};
use libfuzzer_sys::fuzz_target;

const TYPES: [CimType; 12] = [
    CimType::Boolean,
    CimType::Uint8,
    CimType::Sint8,
    CimType::Uint16,
    CimType::Sint16,
    CimType::Uint32,
    CimType::Sint32,
    CimType::Uint64,
    CimType::Sint64,
    CimType::Real32,
    CimType::Real64,
    CimType::Datetime,
];

fuzz_target!(|text: &str| {
    if let Ok(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }
    if let Some(datetime) = CimDatetime::parse(text) {
        let (short, long) = (datetime.to_dsp0004(), datetime.to_xs());
        assert_eq!(short.len(), 25, "{short}");
        assert_eq!(CimDatetime::parse_dsp0004(&short), Some(datetime), "{short}");
        assert_eq!(CimDatetime::parse(&long), Some(datetime), "{long}");
    }
    for cim_type in TYPES {
        let Ok(value) = Value::parse(cim_type, text) else { continue };
        assert_eq!(value.cim_type(), Some(cim_type));
        // The one value that does not equal itself.
        if matches!(&value, Value::Real32(n) if n.is_nan()) || matches!(&value, Value::Real64(n) if n.is_nan()) {
            continue;
        }
        let written = value.to_string();
        assert_eq!(Value::parse(cim_type, &written).as_ref(), Ok(&value), "{written}");
    }
});
