//! RFC 3339 in and out. We write UTC with `Z` and six digits; we read any offset, any precision up to
//! nanoseconds, the shorter forms of ISO 8601, and Python's naive times, which are UTC (contract §1).
//! Never in here: what time it is.

mod grammar;

use chrono::{DateTime, Datelike, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use conch_domain::Timestamp;
use serde::ser::{Serialize, Serializer};

use grammar::Text;

/// The moments that can be written: any of them can also be written in any offset without leaving the
/// years -9999 to 9999, so that every reader of ISO 8601 takes them.
const FIRST: i64 = -377_705_023_201_000_000;
const LAST: i64 = 253_402_207_200_999_999;

/// As `2025-12-01T08:55:49.123456Z`. A moment outside the years -9999 to 9999 is written as the
/// nearest one inside.
pub fn format(moment: Timestamp) -> String {
    written(moment).as_str().to_owned()
}

/// As [`format`], without an allocation.
pub(crate) fn written(moment: Timestamp) -> Written {
    let moment = DateTime::from_timestamp_micros(moment.as_micros().clamp(FIRST, LAST))
        .expect("chrono has a quarter of a million years")
        .naive_utc();
    let mut written = Written {
        text: [0; LONGEST],
        length: 0,
    };
    let year = moment.year();
    if year < 0 {
        written.put(b'-');
    }
    written.digits(year.unsigned_abs(), if year < 0 { 6 } else { 4 });
    for (before, number, digits) in [
        (b'-', moment.month(), 2),
        (b'-', moment.day(), 2),
        (b'T', moment.hour(), 2),
        (b':', moment.minute(), 2),
        (b':', moment.second(), 2),
        (b'.', moment.nanosecond() / 1000, 6),
    ] {
        written.put(before);
        written.digits(number, digits);
    }
    written.put(b'Z');
    written
}

/// A written time.
#[derive(Clone, Copy)]
pub(crate) struct Written {
    text: [u8; LONGEST],
    length: usize,
}

/// Characters of `-009999-01-02T01:59:59.000000Z`.
const LONGEST: usize = 30;

impl Written {
    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..self.length]).expect("digits and marks are ASCII")
    }

    fn put(&mut self, byte: u8) {
        self.text[self.length] = byte;
        self.length += 1;
    }

    /// The last `count` digits of a number.
    fn digits(&mut self, mut number: u32, count: usize) {
        for digit in self.text[self.length..][..count].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.length += count;
    }
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The moment that the text names, or none when it names none.
pub fn parse(text: &str) -> Option<Timestamp> {
    let mut text = Text::new(text);
    let date = text.date()?;
    let (time, offset) = if text.takes(b"Tt ").is_some() {
        (text.time()?, text.offset()?)
    } else {
        (NaiveTime::MIN, TimeDelta::zero())
    };
    text.annotations()?;
    if !text.is_empty() {
        return None;
    }
    let utc = NaiveDateTime::new(date, time).checked_sub_signed(offset)?;
    let since = utc.and_utc().signed_duration_since(DateTime::UNIX_EPOCH);
    // Cut off towards 1970: the whole duration is, not its parts.
    let micros = since.num_microseconds()?;
    let first = DateTime::from_timestamp_micros(FIRST)?;
    (utc.and_utc() >= first && micros <= LAST).then(|| Timestamp::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2025-12-01T08:55:49.123456Z.
    const MOMENT: i64 = 1_764_579_349_123_456;

    #[test]
    fn every_spelling_of_one_moment() {
        for text in [
            "2025-12-01T08:55:49.123456Z",
            "2025-12-01T08:55:49.123456",
            "2025-12-01 08:55:49.123456",
            "2025-12-01t08:55:49.123456z",
            "2025-12-01T08:55:49,123456Z",
            "2025-12-01T08:55:49.123456+00:00",
            "2025-12-01T08:55:49.123456-00:00",
            "2025-12-01T10:55:49.123456+02:00",
            "2025-12-01T10:55:49.123456+0200",
            "2025-12-01T10:55:49.123456+02",
            "2025-12-01 10:55:49.123456+02",
            "2025-12-01T10:55:50.123456+02:00:01",
            "2025-12-01T10:55:50.123456+020001",
            "2025-12-01T10:55:50.123456+02:00:00.5",
            "2025-11-30T06:56:49.123456-25:59",
            "2025-12-01T08:55:49.123456789Z",
            "20251201T085549.123456Z",
            "2025-12-01T085549.123456Z",
            "+002025-12-01T08:55:49.123456Z",
            "2025-12-01T08:55:49.123456Z[UTC]",
            "2025-12-01T09:55:49.123456+01:00[Europe/Berlin]",
            "2025-12-01T09:55:49.123456+01:00[!+01:00][u-ca=iso8601]",
            // The place alone is no offset: the time is UTC.
            "2025-12-01T08:55:49.123456[Europe/Berlin][u-ca=iso8601-x]",
        ] {
            assert_eq!(parse(text), Some(Timestamp::from_micros(MOMENT)), "{text}");
        }
        assert_eq!(
            format(Timestamp::from_micros(MOMENT)),
            "2025-12-01T08:55:49.123456Z"
        );
    }

    /// Each with how it is written by us.
    #[test]
    fn every_form_that_is_read() {
        for (text, written) in [
            ("2025-12-01", "2025-12-01T00:00:00.000000Z"),
            ("20251201", "2025-12-01T00:00:00.000000Z"),
            ("2025-12-01[UTC]", "2025-12-01T00:00:00.000000Z"),
            ("2025-12-01T08", "2025-12-01T08:00:00.000000Z"),
            ("2025-12-01T08Z", "2025-12-01T08:00:00.000000Z"),
            ("2025-12-01T08:55", "2025-12-01T08:55:00.000000Z"),
            ("2025-12-01T0855-0130", "2025-12-01T10:25:00.000000Z"),
            ("2025-12-01T08:55:49.1", "2025-12-01T08:55:49.100000Z"),
            ("2025-12-01T08:55:49Z", "2025-12-01T08:55:49.000000Z"),
            // A leap second is the second before it, as in POSIX.
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000000Z"),
            ("2016-12-31T23:59:60.5", "2016-12-31T23:59:59.500000Z"),
            ("2025-12-01T08:55:60Z", "2025-12-01T08:55:59.000000Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000000Z"),
            ("0001-01-01T00:00:00", "0001-01-01T00:00:00.000000Z"),
            ("-000001-01-01T00:00Z", "-000001-01-01T00:00:00.000000Z"),
            // What is finer than a microsecond is cut off, towards 1970.
            (
                "1969-12-31T23:59:59.9999999Z",
                "1970-01-01T00:00:00.000000Z",
            ),
            (
                "1969-12-31T23:59:59.9999989Z",
                "1969-12-31T23:59:59.999999Z",
            ),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            (
                "9999-12-30T22:00:00.999999999Z",
                "9999-12-30T22:00:00.999999Z",
            ),
            ("9999-12-31T00:00:00.5+02:00", "9999-12-30T22:00:00.500000Z"),
            ("-009999-01-02T01:59:59Z", "-009999-01-02T01:59:59.000000Z"),
            (
                "-009999-01-02T01:59:59.1Z",
                "-009999-01-02T01:59:59.100000Z",
            ),
        ] {
            let moment = parse(text).unwrap_or_else(|| panic!("{text} is a time"));
            assert_eq!(format(moment), written, "{text}");
            assert_eq!(parse(written), Some(moment), "{written}");
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            " ",
            "yesterday",
            "1764579349",
            "1764579349.5",
            "2025",
            "2025-12",
            "2025-12-1",
            "25-12-01",
            "2025-13-01T00:00:00",
            "2025-00-01T00:00:00",
            "2025-02-29T00:00:00Z",
            "2025-12-32",
            "2025-12-00",
            "2025-1201",
            "202512-01",
            "2025/12/01",
            "2025-W49-1",
            "2025-335",
            "12025-12-01",
            "+2025-12-01",
            "-000000-01-01",
            "+010000-01-01",
            "2025-12-01T",
            "2025-12-01T8:55",
            "2025-12-01T24:00:00",
            "2025-12-01T08:60:00",
            "2025-12-01T08:55:61",
            "2025-12-01T08:5549",
            "2025-12-01T0855:49",
            "2025-12-01T08:55:49.",
            "2025-12-01T08:55:49.Z",
            "2025-12-01T08.5",
            "2025-12-01T08:55.5",
            "2025-12-01T08:55:49.1234567890Z",
            "2025-12-01T08:55:49.12345678901234567890",
            "2025-12-01T08:55:49.999999999999999999999999999999999Z",
            "2025-12-01T08:55:49+02:00:00.999999999999999999999999999999999",
            "2025-12-01T08:55:49ZZ",
            "2025-12-01T08:55:49 Z",
            "2025-12-01T08:55:49Z ",
            " 2025-12-01T08:55:49Z",
            "2025-12-01  08:55:49Z",
            "2025-12-01_08:55:49Z",
            "2025-12-01Z",
            "2025-12-01+02:00",
            "2025-12-01T08:55:49 +02:00",
            "2025-12-01T08:55:49+",
            "2025-12-01T08:55:49+2",
            "2025-12-01T08:55:49+2:00",
            "2025-12-01T08:55:49+02:",
            "2025-12-01T08:55:49+26:00",
            "2025-12-01T08:55:49+02:60",
            "2025-12-01T08:55:49+02:00:60",
            "2025-12-01T08:55:49+02:0000",
            "2025-12-01T08:55:49+0200:00",
            "2025-12-01T08:55:49\u{2212}02:00",
            "2025-12-01T08:55:49UTC",
            "2025-12-01T08:55:49 GMT",
            "2025-12-01T08:55:49Z[",
            "2025-12-01T08:55:49Z[]",
            "2025-12-01T08:55:49Z[1]",
            "2025-12-01T08:55:49Z[UTC",
            "2025-12-01T08:55:49Z[UTC]x",
            "2025-12-01T08:55:49Z[UTC][UTC]",
            "2025-12-01T08:55:49Z[Europe/]",
            "2025-12-01T08:55:49Z[!u-ca=iso8601]",
            "2025-12-01T08:55:49Z[u-ca=]",
            "2025-12-01T08:55:49Z[U=x]",
            "2025-12-01T08:55:49Z[+02:00:00]",
            "\u{662}025-12-01T08:55:49Z",
            "2025-12-01T08:55:49\u{2028}",
            // A second more than there are.
            "9999-12-30T22:00:01Z",
            "9999-12-30T22:00:01",
            "9999-12-31T23:59:59.999999",
            "-009999-01-02T01:59:58Z",
            "-009999-01-02T01:59:58.9Z",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_lies_outside_is_written_as_the_nearest_inside() {
        for (micros, written) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (i64::MAX, "9999-12-30T22:00:00.999999Z"),
            (253_402_207_200_999_999, "9999-12-30T22:00:00.999999Z"),
            (253_402_207_201_000_000, "9999-12-30T22:00:00.999999Z"),
            (i64::MIN, "-009999-01-02T01:59:59.000000Z"),
            (-377_705_023_201_000_000, "-009999-01-02T01:59:59.000000Z"),
            (-377_705_023_201_000_001, "-009999-01-02T01:59:59.000000Z"),
        ] {
            assert_eq!(format(Timestamp::from_micros(micros)), written, "{micros}");
        }
    }
}
