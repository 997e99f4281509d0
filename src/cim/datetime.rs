//! Points in time and intervals (DSP0004 section 5.2.4), and their XML Schema forms (DSP0230).
//!
//! A CIM datetime has 25 characters: `yyyymmddHHMMSS.mmmmmmsutc` is a timestamp (`s` is `+` or `-`, `utc` are minutes),
//! `ddddddddHHMMSS.mmmmmm:000` an interval. Digits that are not known are asterisks, from the least significant up.

use std::cmp::Ordering;
use std::fmt;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// The largest offset from UTC that `xs:dateTime` has a form for; no place on earth has a larger one.
const OFFSET_MINUTES_MAX: i16 = 14 * 60;
/// The first interval that is too long to be written.
const INTERVAL_MICROS_MAX: u64 = 100_000_000 * 86_400 * 1_000_000;
/// Digits of either form, the dot and the suffix not counted.
const DIGITS: u8 = 20;

/// A point in time or an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CimDatetime {
    /// A point in time.
    Timestamp {
        /// Microseconds since the Unix epoch, UTC.
        micros: i64,
        /// The offset in minutes in which it was given and is written.
        utc_offset_minutes: i16,
        /// Digits that are known, 20 for all; the others are written as asterisks.
        digits: u8,
    },
    /// A length of time.
    Interval {
        /// Microseconds.
        micros: u64,
        /// Digits that are known, 20 for all; the others are written as asterisks.
        digits: u8,
    },
}

impl CimDatetime {
    /// A timestamp in UTC from microseconds since the Unix epoch.
    pub fn from_unix_micros(micros: i64) -> Self {
        CimDatetime::Timestamp { micros, utc_offset_minutes: 0, digits: DIGITS }
    }

    /// An interval from microseconds.
    pub fn interval_from_micros(micros: u64) -> Self {
        CimDatetime::Interval { micros, digits: DIGITS }
    }

    /// Whether this is an interval.
    pub fn is_interval(self) -> bool {
        matches!(self, CimDatetime::Interval { .. })
    }

    /// Reads the 25 character form; nothing else. WMI's unknown offset (`+***`) is taken as UTC.
    pub fn parse_dsp0004(text: &str) -> Option<Self> {
        let octets: &[u8; 25] = text.as_bytes().try_into().ok()?;
        let kind = octets[21];
        if octets[14] != b'.' || !matches!(kind, b'+' | b'-' | b':') {
            return None;
        }
        let known = known_digits(octets)?;
        let field = |from: usize, to: usize| number(&octets[from..to]);
        let (hour, minute, second) = (field(8, 10), field(10, 12), field(12, 14));
        if hour > 23 || minute > 59 || second > 59 || !ends_at_a_field(known, kind == b':') {
            return None;
        }
        let of_day = ((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + field(15, 21);
        if kind == b':' {
            let micros = u64::try_from(field(0, 8) * MICROS_PER_DAY + of_day).ok()?;
            return octets.ends_with(b"000").then_some(CimDatetime::Interval { micros, digits: known });
        }
        let offset = if octets.ends_with(b"***") { 0 } else { three_digits([octets[22], octets[23], octets[24]])? };
        if OFFSET_MINUTES_MAX < offset {
            return None;
        }
        let offset = if kind == b'-' { -offset } else { offset };
        // Unknown month and day stand for the first, so that the value has a place in the order of time.
        let month = if known < 6 { 1 } else { field(4, 6) };
        let day = if known < 8 { 1 } else { field(6, 8) };
        let days = days_from_civil(field(0, 4), month, day)?;
        let micros = days * MICROS_PER_DAY + of_day - i64::from(offset) * MICROS_PER_MINUTE;
        Some(CimDatetime::Timestamp { micros, utc_offset_minutes: offset, digits: known })
    }

    /// Reads any form that clients send: the 25 character form, `xs:dateTime`, `xs:date` or `xs:duration`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        Self::parse_dsp0004(text).or_else(|| parse_xs_datetime(text)).or_else(|| parse_xs_duration(text))
    }

    /// Timestamps by the point in time, whatever their offset; intervals by length. The two kinds have no order.
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (CimDatetime::Timestamp { micros: a, .. }, CimDatetime::Timestamp { micros: b, .. }) => Some(a.cmp(&b)),
            (CimDatetime::Interval { micros: a, .. }, CimDatetime::Interval { micros: b, .. }) => Some(a.cmp(&b)),
            _ => None,
        }
    }

    /// The 25 character form of DSP0004.
    pub fn to_dsp0004(self) -> String {
        let mut out = String::with_capacity(25);
        let known = match self {
            CimDatetime::Interval { micros, digits } => {
                let (days, hour, minute, second, fraction) = split_interval(micros);
                push_number(&mut out, days.min(99_999_999), 8);
                for field in [hour, minute, second] {
                    push_number(&mut out, field, 2);
                }
                out.push('.');
                push_number(&mut out, fraction, 6);
                out.push_str(":000");
                digits
            }
            CimDatetime::Timestamp { micros, utc_offset_minutes, digits } => {
                let local = Civil::new(micros, utc_offset_minutes);
                push_number(&mut out, local.year, 4);
                for field in [local.month, local.day, local.hour, local.minute, local.second] {
                    push_number(&mut out, field, 2);
                }
                out.push('.');
                push_number(&mut out, local.fraction, 6);
                out.push(if utc_offset_minutes < 0 { '-' } else { '+' });
                push_number(&mut out, utc_offset_minutes.unsigned_abs(), 3);
                digits
            }
        };
        if known < DIGITS { hide_unknown(&out, usize::from(known)) } else { out }
    }

    /// The XML Schema form: `xs:dateTime` of a timestamp, `xs:duration` of an interval (`P0DT0H30M0S`, as Windows
    /// writes it). A value with unknown digits has none; its 25 character form is given (DSP0230 `CIM_DateTime`).
    pub fn to_xs(self) -> String {
        let mut out = String::with_capacity(32);
        match self {
            CimDatetime::Interval { micros, digits: DIGITS } => {
                let (days, hour, minute, second, fraction) = split_interval(micros);
                for (mark, field) in [("P", days), ("DT", hour), ("H", minute), ("M", second)] {
                    out.push_str(mark);
                    push_number(&mut out, field, 1);
                }
                push_fraction(&mut out, fraction);
                out.push('S');
                out
            }
            CimDatetime::Timestamp { micros, utc_offset_minutes, digits: DIGITS } => {
                let local = Civil::new(micros, utc_offset_minutes);
                push_number(&mut out, local.year, 4);
                let fields =
                    [('-', local.month), ('-', local.day), ('T', local.hour), (':', local.minute), (':', local.second)];
                for (mark, field) in fields {
                    out.push(mark);
                    push_number(&mut out, field, 2);
                }
                push_fraction(&mut out, local.fraction);
                if utc_offset_minutes == 0 {
                    out.push('Z');
                } else {
                    let minutes = u64::from(utc_offset_minutes.unsigned_abs());
                    out.push(if utc_offset_minutes < 0 { '-' } else { '+' });
                    push_number(&mut out, minutes / 60, 2);
                    out.push(':');
                    push_number(&mut out, minutes % 60, 2);
                }
                out
            }
            other => other.to_dsp0004(),
        }
    }
}

/// Appends a number with leading zeros up to `width` digits; a negative one, which no field of a date is that can be
/// shown, as zero. A job's instance has half a dozen datetimes and is read all the time: this is what formatting costs.
fn push_number(out: &mut String, value: impl TryInto<u64>, width: usize) {
    let mut value: u64 = value.try_into().unwrap_or(0);
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    for (at, place) in digits.iter_mut().enumerate().rev() {
        if value == 0 && 20 - at > width.max(1) {
            break;
        }
        *place = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        first = at;
    }
    out.push_str(digits.get(first..).and_then(|digits| str::from_utf8(digits).ok()).unwrap_or_default());
}

fn push_fraction<N: TryInto<u64> + PartialEq + Default>(out: &mut String, micros: N) {
    if micros != N::default() {
        out.push('.');
        push_number(out, micros, 6);
    }
}

/// The 25 character form with asterisks in the place of the digits that are not known.
fn hide_unknown(text: &str, known: usize) -> String {
    let hidden = |at: usize| at != 14 && at < 21 && known <= if at < 14 { at } else { at - 1 };
    text.chars().enumerate().map(|(at, digit)| if hidden(at) { '*' } else { digit }).collect()
}

impl fmt::Display for CimDatetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_dsp0004())
    }
}

/// How many of the digits are known: all before the first asterisk, after which only asterisks may stand.
fn known_digits(octets: &[u8; 25]) -> Option<u8> {
    let mut known = 0_u8;
    let mut ended = false;
    for octet in octets[..14].iter().chain(&octets[15..21]) {
        match octet {
            b'*' => ended = true,
            b'0'..=b'9' if !ended => known += 1,
            _ => return None,
        }
    }
    Some(known)
}

/// Asterisks replace whole fields; only the fraction may be unknown in part.
fn ends_at_a_field(known: u8, interval: bool) -> bool {
    known >= 14 || (if interval { &[0, 8, 10, 12][..] } else { &[0, 4, 6, 8, 10, 12][..] }).contains(&known)
}

/// A number of ASCII digits; an asterisk counts as zero.
fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit.wrapping_sub(b'0').min(10) % 10))
}

fn three_digits(digits: [u8; 3]) -> Option<i16> {
    digits.iter().all(u8::is_ascii_digit).then(|| i16::try_from(number(&digits)).unwrap_or_default())
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last of its year.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A timestamp by calendar and clock at an offset from UTC.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    fraction: i64,
}

impl Civil {
    fn new(micros: i64, utc_offset_minutes: i16) -> Self {
        let local = micros.saturating_add(i64::from(utc_offset_minutes) * MICROS_PER_MINUTE);
        let of_day = local.rem_euclid(MICROS_PER_DAY);
        let days = local.div_euclid(MICROS_PER_DAY) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        let seconds = of_day / MICROS_PER_SECOND;
        Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            hour: seconds / 3_600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            fraction: of_day % MICROS_PER_SECOND,
        }
    }
}

/// Days, hours, minutes, seconds, microseconds.
fn split_interval(micros: u64) -> (u64, u64, u64, u64, u64) {
    let seconds = micros / 1_000_000;
    (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60, micros % 1_000_000)
}

/// Reads from the front of a text.
struct Cursor<'t>(&'t str);

impl<'t> Cursor<'t> {
    fn eat(&mut self, c: char) -> bool {
        let rest = self.0.strip_prefix(c);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// As many digits as follow.
    fn digits(&mut self) -> &'t str {
        let end = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        digits
    }

    /// Exactly so many digits.
    fn fixed(&mut self, count: usize) -> Option<i64> {
        let digits = self.0.get(..count)?;
        if !digits.bytes().all(|octet| octet.is_ascii_digit()) {
            return None;
        }
        self.0 = self.0.get(count..)?;
        Some(number(digits.as_bytes()))
    }

    /// A fraction after its dot, as microseconds; further digits are cut off.
    fn fraction(&mut self) -> Option<i64> {
        if !self.eat('.') {
            return Some(0);
        }
        let digits = self.digits();
        let padded: Vec<u8> = digits.bytes().chain(std::iter::repeat(b'0')).take(6).collect();
        (!digits.is_empty()).then(|| number(&padded))
    }
}

/// `2026-11-23T18:03:29.5+01:00`, with `Z` or no offset for UTC, or `2026-11-23` alone.
fn parse_xs_datetime(text: &str) -> Option<CimDatetime> {
    let mut rest = Cursor(text);
    let year = rest.fixed(4)?;
    let month = if rest.eat('-') { rest.fixed(2)? } else { return None };
    let day = if rest.eat('-') { rest.fixed(2)? } else { return None };
    let days = days_from_civil(year, month, day)?;
    let (mut of_day, mut digits) = (0, 8);
    if rest.eat('T') {
        let hour = rest.fixed(2)?;
        let minute = if rest.eat(':') { rest.fixed(2)? } else { return None };
        let second = if rest.eat(':') { rest.fixed(2)? } else { return None };
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        of_day = ((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + rest.fraction()?;
        digits = DIGITS;
    }
    let offset = parse_xs_offset(&mut rest)?;
    let micros = days * MICROS_PER_DAY + of_day - i64::from(offset) * MICROS_PER_MINUTE;
    rest.0.is_empty().then_some(CimDatetime::Timestamp { micros, utc_offset_minutes: offset, digits })
}

fn parse_xs_offset(rest: &mut Cursor<'_>) -> Option<i16> {
    if rest.eat('Z') || rest.0.is_empty() {
        return Some(0);
    }
    let west = rest.eat('-');
    if !west && !rest.eat('+') {
        return None;
    }
    let hours = rest.fixed(2)?;
    let minutes = if rest.eat(':') { rest.fixed(2)? } else { return None };
    let offset = i16::try_from(hours * 60 + minutes).ok().filter(|offset| *offset <= OFFSET_MINUTES_MAX)?;
    if minutes > 59 {
        return None;
    }
    Some(if west { -offset } else { offset })
}

/// `P1DT2H3M4.5S`; years and months are refused, since their length is not fixed.
fn parse_xs_duration(text: &str) -> Option<CimDatetime> {
    let mut rest = Cursor(text);
    if !rest.eat('P') || rest.0.is_empty() {
        return None;
    }
    let mut micros: u64 = 0;
    let mut in_time = false;
    // Each designator at most once, in this order.
    let mut units: &[(char, bool, u64)] = &[('D', false, 86_400), ('H', true, 3_600), ('M', true, 60), ('S', true, 1)];
    while !rest.0.is_empty() {
        if !in_time && rest.eat('T') {
            in_time = true;
        }
        let whole: u64 = rest.digits().parse().ok()?;
        let fraction = if rest.0.starts_with('.') { Some(u64::try_from(rest.fraction()?).ok()?) } else { None };
        let at = units.iter().position(|(designator, ..)| rest.0.starts_with(*designator))?;
        let &(designator, time, seconds) = units.get(at)?;
        if time != in_time || (fraction.is_some() && designator != 'S') {
            return None;
        }
        rest.eat(designator);
        units = units.get(at + 1..)?;
        let part = whole.checked_mul(seconds)?.checked_mul(1_000_000)?.checked_add(fraction.unwrap_or(0))?;
        micros = micros.checked_add(part)?;
    }
    // The 25 character form has eight digits for days; a longer interval is none of CIM's.
    (micros < INTERVAL_MICROS_MAX).then_some(CimDatetime::interval_from_micros(micros))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes_the_forms_of_the_standard() {
        for text in [
            "20261123180329.123456+000",
            "20261123180329.123456+060",
            "20261123180329.123456-480",
            "19991231235959.999999+000",
            "2026112318****.******+000",
            "202611********.******+000",
            "20261123180329.1234**-060",
            "00000000000500.000000:000",
            "00000000183000.000000:000",
            "00000007******.******:000",
        ] {
            assert_eq!(CimDatetime::parse_dsp0004(text).unwrap().to_dsp0004(), text);
        }
        let minutes_5 = CimDatetime::interval_from_micros(300_000_000);
        assert_eq!(minutes_5.to_dsp0004(), "00000000000500.000000:000");
        assert_eq!(minutes_5.to_xs(), "P0DT0H5M0S");
        assert_eq!(CimDatetime::interval_from_micros(5).to_xs(), "P0DT0H0M0.000005S");
        assert_eq!(CimDatetime::from_unix_micros(0).to_dsp0004(), "19700101000000.000000+000");
        let east = CimDatetime::parse("20261123180329.500000+090").unwrap();
        assert_eq!(east.to_xs(), "2026-11-23T18:03:29.500000+01:30");
        assert_eq!(east.compare(CimDatetime::parse("2026-11-23T16:33:29.5Z").unwrap()), Some(Ordering::Equal));
    }

    #[test]
    fn refuses_what_is_not_a_datetime() {
        for text in [
            "",
            "20261123180329.123456",
            "20261323180329.123456+000",
            "20260229000000.000000+000",
            "20261123240000.000000+000",
            "2026112318032*.123456+000",
            "202611231*****.******+000",
            "00000000000500.000000:001",
            "2026-11-23 18:03:29",
            "20261123180329.123456-841",
            "2026-11-23T18:03:29+14:01",
            "2026-11-23T18:03:29+13:60",
            "P",
            "PT",
            "P1Y",
            "P1H",
            "PT1D",
            "PT1S1S",
            "PT.5S",
            "P1DT1.5M",
            "P99999999999999999999D",
            "\u{e9}0000000000500.00000:000",
        ] {
            assert_eq!(CimDatetime::parse(text), None, "{text}");
        }
    }

    #[test]
    fn reads_the_schema_forms() {
        let read = |text: &str| CimDatetime::parse(text).unwrap();
        assert_eq!(read("P0DT0H30M0S"), CimDatetime::interval_from_micros(1_800_000_000));
        assert_eq!(read("PT60.5S"), CimDatetime::interval_from_micros(60_500_000));
        assert!(read("P99999999DT23H59M59.999999S").is_interval());
        assert_eq!(CimDatetime::parse("P100000000D"), None, "one day more than can be written");
        assert_eq!(read("P2D"), CimDatetime::interval_from_micros(2 * 86_400_000_000));
        assert_eq!(read("1970-01-01T00:00:01"), CimDatetime::from_unix_micros(1_000_000));
        assert_eq!(read("1970-01-01").to_dsp0004(), "19700101******.******+000");
    }

    proptest! {
        #[test]
        fn every_timestamp_round_trips(
            micros in -62_000_000_000_000_000_i64..250_000_000_000_000_000,
            offset in -840_i16..=840,
        ) {
            let value = CimDatetime::Timestamp { micros, utc_offset_minutes: offset, digits: DIGITS };
            prop_assert_eq!(CimDatetime::parse_dsp0004(&value.to_dsp0004()), Some(value));
            prop_assert_eq!(CimDatetime::parse(&value.to_xs()), Some(value));
        }

        #[test]
        fn every_interval_round_trips(micros in 0_u64..8_000_000_000_000_000_000) {
            let value = CimDatetime::interval_from_micros(micros);
            prop_assert_eq!(CimDatetime::parse_dsp0004(&value.to_dsp0004()), Some(value));
            prop_assert_eq!(CimDatetime::parse(&value.to_xs()), Some(value));
        }

        #[test]
        fn no_text_panics(text in "[0-9PTDHMSZ*:+.-]{0,30}") {
            let _ = CimDatetime::parse(&text);
        }
    }
}
