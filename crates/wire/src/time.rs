//! RFC 3339 in and out. We write UTC with `Z` and six digits; we read any offset, any precision, and
//! Python's naive times, which are UTC (contract §1).

use conch_domain::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// As `2025-12-01T08:55:49.123456Z`. A moment outside the years -9999 to 9999 is written as the
/// nearest one inside.
pub fn format(moment: Timestamp) -> String {
    let (seconds, micros) = (
        moment.as_micros().div_euclid(1_000_000),
        moment.as_micros().rem_euclid(1_000_000),
    );
    // `from_microsecond` takes the last second of the year 9999 for one too many.
    let in_range = jiff::Timestamp::new(seconds, micros as i32 * 1000);
    let moment = in_range.unwrap_or_else(|_| {
        if moment.as_micros() < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        }
    });
    format!("{moment:.6}")
}

/// The moment that the text names, or none when it names none.
pub fn parse(text: &str) -> Option<Timestamp> {
    let moment = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let naive: DateTime = text.parse().ok()?;
        Some(naive.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(Timestamp::from_micros(moment.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_one_moment() {
        let expected = Timestamp::from_micros(1_764_579_349_123_456);
        for text in [
            "2025-12-01T08:55:49.123456Z",
            "2025-12-01T08:55:49.123456",
            "2025-12-01 08:55:49.123456",
            "2025-12-01T08:55:49.123456+00:00",
            "2025-12-01T10:55:49.123456+02:00",
            "2025-12-01T08:55:49.123456789Z",
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        assert_eq!(format(expected), "2025-12-01T08:55:49.123456Z");
        assert_eq!(
            format(Timestamp::from_micros(0)),
            "1970-01-01T00:00:00.000000Z"
        );
    }

    #[test]
    fn what_is_no_time() {
        for text in ["", "yesterday", "2025-13-01T00:00:00", "1764579349"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(
            format(Timestamp::from_micros(i64::MAX)),
            "9999-12-30T22:00:00.999999Z"
        );
        for text in [
            "9999-12-30T22:00:00.900000Z",
            "-009999-01-02T01:59:59.000000Z",
            "-009999-01-02T01:59:59.100000Z",
            "1969-12-31T23:59:59.999999Z",
        ] {
            let moment = parse(text).expect("it is one");
            assert_eq!(format(moment), text);
        }
    }
}
