//! `xs:duration` as timeouts use it.

use std::time::Duration;

/// Why a text is not a duration that can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not the lexical form of `xs:duration`; `P` and `PT` alone are not either.
    #[error("it is not a duration like PT60.000S")]
    Malformed,
    /// Below zero.
    #[error("it is negative")]
    Negative,
}

/// Designators before the `T`, with their seconds.
const DATE: [(char, u64); 3] = [('Y', 31_536_000), ('M', 2_592_000), ('D', 86_400)];
/// Designators after it.
const TIME: [(char, u64); 3] = [('H', 3_600), ('M', 60), ('S', 1)];

/// Read an `xs:duration`, such as `PT60.000S`, `P0DT0H0M20S` or `PT3960732748.184S`. White space around it is no harm.
/// A year counts 365 days and a month 30. What is too long for a [`Duration`] becomes the longest one; digits past the
/// nanosecond are dropped.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let rest = text.strip_prefix('P').ok_or(DurationError::Malformed)?;
    let (date, time) = match rest.split_once('T') {
        Some((date, time)) if !time.is_empty() => (date, time),
        Some(_) => return Err(DurationError::Malformed),
        None => (rest, ""),
    };
    if date.is_empty() && time.is_empty() {
        return Err(DurationError::Malformed);
    }
    let total = part(date, &DATE, false)?.saturating_add(part(time, &TIME, true)?);
    if negative && !total.is_zero() { Err(DurationError::Negative) } else { Ok(total) }
}

/// Add up one half: numbers, each followed by its designator, in the order of the table.
fn part(mut rest: &str, designators: &[(char, u64)], fraction_allowed: bool) -> Result<Duration, DurationError> {
    let mut total = Duration::ZERO;
    let mut designators = designators.iter();
    while !rest.is_empty() {
        let at = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or(DurationError::Malformed)?;
        let (number, tail) = rest.split_at(at);
        let letter = tail.chars().next().ok_or(DurationError::Malformed)?;
        let (_, seconds) = designators.find(|(found, _)| *found == letter).ok_or(DurationError::Malformed)?;
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) if letter == 'S' && fraction_allowed => (whole, Some(fraction)),
            Some(_) => return Err(DurationError::Malformed),
            None => (number, None),
        };
        let count = saturating_number(whole)?;
        total = total.saturating_add(Duration::from_secs(count.saturating_mul(*seconds)));
        if let Some(fraction) = fraction {
            total = total.saturating_add(Duration::from_nanos(nanoseconds(fraction)?));
        }
        rest = tail.get(1..).unwrap_or_default();
    }
    Ok(total)
}

fn saturating_number(digits: &str) -> Result<u64, DurationError> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DurationError::Malformed);
    }
    // The only error left is one too large.
    Ok(digits.parse().unwrap_or(u64::MAX))
}

fn nanoseconds(digits: &str) -> Result<u64, DurationError> {
    saturating_number(digits)?;
    let padded = digits.bytes().chain(std::iter::repeat(b'0')).take(9);
    Ok(padded.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Write a duration in seconds, with as many places as it needs: `PT60S`, `PT0.5S`.
pub fn format_duration(duration: Duration) -> String {
    let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
    if nanoseconds == 0 {
        return format!("PT{seconds}S");
    }
    let fraction = format!("{nanoseconds:09}");
    format!("PT{seconds}.{}S", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::{Duration, DurationError, format_duration, parse_duration};
    use proptest::prelude::*;

    #[test]
    fn reads_what_clients_send() {
        for (text, ms) in [
            ("PT20S", 20_000),
            ("PT60.000S", 60_000),
            ("PT30.0S", 30_000),
            ("PT1M", 60_000),
            ("PT1M30S", 90_000),
            ("PT600.000000S", 600_000),
            ("P0DT0H0M20S", 20_000),
            ("PT0.5S", 500),
            ("PT3960732748.184S", 3_960_732_748_184),
            ("P1D", 86_400_000),
            ("P1Y2M3DT4H5M6S", (31_536_000 + 2 * 2_592_000 + 3 * 86_400 + 4 * 3_600 + 5 * 60 + 6) * 1_000),
            (" PT1S\n", 1_000),
            ("-PT0S", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse_duration("PT99999999999999999999999S"), Ok(Duration::from_secs(u64::MAX)));
        assert!(parse_duration("P99999999999999999Y").is_ok());
        assert_eq!(parse_duration("PT0.0000000019S"), Ok(Duration::from_nanos(1)));
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "P",
            "PT",
            "-P",
            "abc",
            "60",
            "T1S",
            "P1S",
            "PT1D",
            "PT1",
            "PTS",
            "PT1.S",
            "PT.5S",
            "PT1.5M",
            "P1.5D",
            "PT1S1M",
            "PT1S1S",
            "P1DT",
            "PT-1S",
            "PT+1S",
            "pt1s",
            "2024-01-01T00:00:00Z",
            "P1D1Y",
            "PT1S ; x",
            "PT١S",
        ] {
            assert_eq!(parse_duration(text), Err(DurationError::Malformed), "{text}");
        }
        assert_eq!(parse_duration("-PT1S"), Err(DurationError::Negative));
    }

    proptest! {
        #[test]
        fn written_durations_read_back(seconds: u64, nanoseconds in 0_u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanoseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn never_panics(text in "[-PTYMDHS0-9.]{0,20}|\\PC{0,20}") {
            let _ = parse_duration(&text);
        }
    }
}
