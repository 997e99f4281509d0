//! When a subscription ends: a duration or a point in time, answered in kind.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::soap::{Fault, clipped};
use crate::wsman::{fault, parse_duration};

/// `wse:Expires` as asked for.
//= EVT-28
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    /// After this long.
    After(Duration),
    /// At this time, in microseconds since 1970.
    At(i64),
}

impl Expires {
    /// Reads an `xs:duration` or an `xs:dateTime`; a time without a zone is UTC. Both must lie in the future as far as
    /// can be seen without a clock.
    pub(super) fn parse(text: &str) -> Result<Self, Box<Fault>> {
        let bad = || {
            let what = format!("the expiration {:?} is not a time to come", clipped(text));
            Box::new(fault::eventing_invalid_expiration_time(what))
        };
        if text.starts_with(['P', '-']) {
            return match parse_duration(text) {
                Ok(duration) if !duration.is_zero() => Ok(Self::After(duration)),
                _ => Err(bad()),
            };
        }
        let parsed = OffsetDateTime::parse(text, &Rfc3339)
            .or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339))
            .map_err(|_| bad())?;
        i64::try_from(parsed.unix_timestamp_nanos() / 1_000).map(Self::At).map_err(|_| bad())
    }
}

/// Microseconds since 1970 as an `xs:dateTime` in UTC.
pub fn format_date_time(micros: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000);
    let text = at.ok().and_then(|at| at.format(&Rfc3339).ok());
    text.unwrap_or_else(|| "9999-12-31T23:59:59Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_kinds() {
        assert_eq!(Expires::parse("PT10M"), Ok(Expires::After(Duration::from_mins(10))));
        let far = Expires::parse("PT3960732748.184S");
        assert_eq!(far, Ok(Expires::After(Duration::from_millis(3_960_732_748_184))));
        assert_eq!(Expires::parse("1970-01-01T00:00:01.5Z"), Ok(Expires::At(1_500_000)));
        assert_eq!(Expires::parse("1970-01-01T00:00:01"), Ok(Expires::At(1_000_000)));
        assert_eq!(Expires::parse("1970-01-01T01:00:00+01:00"), Ok(Expires::At(0)));
        for bad in ["", "PT0S", "-PT1S", "P", "soon", "1970-01-01", "60"] {
            let fault = Expires::parse(bad).unwrap_err();
            assert_eq!(fault.number, 2_150_858_783, "{bad}");
        }
    }

    #[test]
    fn written_times_read_back() {
        let micros = 1_767_323_045_123_456;
        assert_eq!(format_date_time(micros), "2026-01-02T03:04:05.123456Z");
        assert_eq!(Expires::parse(&format_date_time(micros)), Ok(Expires::At(micros)));
    }
}
