//! One event as one line of JSON, written straight into the line's buffer.
//!
//! The shape is that of tracing-subscriber's flattened JSON: `timestamp`, `level`, the event's fields, `target`. One
//! event a request is written this way, so it allocates nothing and formats a second's date once.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent};
use tracing_subscriber::registry::LookupSpan;

/// Octets of `2026-01-01T00:00:00`.
const SECOND_OCTETS: usize = 19;

thread_local! {
    /// The second that was written last on this thread, with its text.
    static SECOND: Cell<(u64, [u8; SECOND_OCTETS])> = const { Cell::new((u64::MAX, [b'0'; SECOND_OCTETS])) };
}

/// Writes events as lines of JSON.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "an event happens when it is written; nothing is decided by it")]
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        out.write_str("{\"timestamp\":\"")?;
        write_time(&mut out, SystemTime::now())?;
        out.write_str("\",\"level\":\"")?;
        out.write_str(event.metadata().level().as_str())?;
        out.write_char('"')?;
        let mut fields = Fields { out: &mut out, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        out.write_str(",\"target\":\"")?;
        Escaped(&mut out).write_str(event.metadata().target())?;
        out.write_str("\"}\n")
    }
}

/// `2026-01-01T00:00:00.000000Z`.
fn write_time(out: &mut impl fmt::Write, now: SystemTime) -> fmt::Result {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (mut second, mut text) = SECOND.get();
    if second != since.as_secs() {
        second = since.as_secs();
        text = second_text(second);
        SECOND.set((second, text));
    }
    out.write_str(str::from_utf8(&text).unwrap_or_default())?;
    let mut fraction = *b".000000Z";
    let mut micros = since.subsec_micros();
    for place in fraction.iter_mut().take(7).skip(1).rev() {
        *place = digit(micros);
        micros /= 10;
    }
    out.write_str(str::from_utf8(&fraction).unwrap_or_default())
}

fn second_text(second: u64) -> [u8; SECOND_OCTETS] {
    let mut text = *b"0000-00-00T00:00:00";
    let at = i64::try_from(second).ok().and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok());
    let Some(at) = at else { return text };
    let mut number = |places: std::ops::Range<usize>, mut value: u32| {
        for place in text.get_mut(places).into_iter().flatten().rev() {
            *place = digit(value);
            value /= 10;
        }
    };
    number(0..4, u32::try_from(at.year()).unwrap_or(0));
    number(5..7, u32::from(u8::from(at.month())));
    number(8..10, u32::from(at.day()));
    number(11..13, u32::from(at.hour()));
    number(14..16, u32::from(at.minute()));
    number(17..19, u32::from(at.second()));
    text
}

/// The last decimal digit of a number.
fn digit(value: u32) -> u8 {
    b'0' + u8::try_from(value % 10).unwrap_or(0)
}

/// Writes fields as members of an object that has some already.
struct Fields<'f, 'w> {
    out: &'f mut Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let Fields { out, result } = self;
        let name = field.name();
        *result = result.and_then(|()| {
            out.write_str(",\"")?;
            // Names are identifiers, perhaps with dots; a raw one carries a mark that is no part of it.
            out.write_str(name.strip_prefix("r#").unwrap_or(name))?;
            out.write_str("\":")?;
            value(out)
        });
    }

    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.member(field, |out| {
            out.write_char('"')?;
            Escaped(&mut *out).write_fmt(value)?;
            out.write_char('"')
        });
    }
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, |out| {
            out.write_char('"')?;
            Escaped(&mut *out).write_str(value)?;
            out.write_char('"')
        });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinities and no not-a-number.
        self.member(field, |out| if value.is_finite() { write!(out, "{value}") } else { out.write_str("null") });
    }
}

/// What is written to it goes on as the inside of a JSON string.
struct Escaped<W>(W);

impl<W: fmt::Write> fmt::Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|octet| octet < 0x20 || matches!(octet, b'"' | b'\\')) {
            // The octet found is a character of its own.
            let (plain, special) = rest.split_at(at);
            self.0.write_str(plain)?;
            let octet = special.bytes().next().unwrap_or_default();
            match octet {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                b'\r' => self.0.write_str("\\r")?,
                b'\t' => self.0.write_str("\\t")?,
                _ => write!(self.0, "\\u{octet:04x}")?,
            }
            rest = special.get(1..).unwrap_or_default();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_escaped_that_json_wants_escaped() {
        for text in ["", "plain", "\"\\", "a\nb\r\t\u{1}\u{1f}z", "Zürich \u{7f}\u{10ffff}", "\\\"\\\""] {
            let mut out = String::from("\"");
            Escaped(&mut out).write_str(text).unwrap();
            out.push('"');
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text, "{out}");
        }
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (since, expected) in [
            (Duration::ZERO, "1970-01-01T00:00:00.000000Z"),
            (Duration::new(1_709_251_199, 999_999_999), "2024-02-29T23:59:59.999999Z"),
            (Duration::new(1_709_251_199, 1_000), "2024-02-29T23:59:59.000001Z"),
            (Duration::new(1_709_251_200, 0), "2024-03-01T00:00:00.000000Z"),
        ] {
            let mut out = String::new();
            write_time(&mut out, SystemTime::UNIX_EPOCH + since).unwrap();
            assert_eq!(out, expected);
        }
    }
}
