//! The grammar of times: RFC 9557's, which is RFC 3339 with annotations, and ISO 8601's forms without
//! separators. Which moment the parts make together is not known in here.

use chrono::{NaiveDate, NaiveTime, TimeDelta};

/// What is not read yet. Each method takes its part from the front, and gives none where that part is
/// not as it must be.
pub(super) struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self(text.as_bytes())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte, if it is one of these.
    pub(super) fn takes(&mut self, one_of: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        one_of.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    /// As many bytes at the front as `is_part` holds for.
    fn run(&mut self, is_part: impl Fn(&u8) -> bool) -> &[u8] {
        let length = self.0.iter().take_while(|byte| is_part(byte)).count();
        let (run, rest) = self.0.split_at(length);
        self.0 = rest;
        run
    }

    /// A number of exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<u32> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        number.iter().try_fold(0, |number, byte| {
            let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
            Some(number * 10 + digit)
        })
    }

    /// Two digits below `end`.
    fn two_digits(&mut self, end: u32) -> Option<u32> {
        self.number(2).filter(|number| *number < end)
    }

    /// Whether another part of a time or an offset follows: a colon where the first was one, else digits.
    fn another_part(&mut self, has_colons: bool) -> bool {
        if has_colons {
            self.takes(b":").is_some()
        } else {
            matches!(self.0, [a, b, ..] if a.is_ascii_digit() && b.is_ascii_digit())
        }
    }

    pub(super) fn date(&mut self) -> Option<NaiveDate> {
        let year = match self.takes(b"+-") {
            None => self.number(4)? as i32,
            Some(sign) => {
                let year = self.number(6).filter(|year| *year <= 9999)? as i32;
                match sign {
                    b'-' if year == 0 => return None,
                    b'-' => -year,
                    _ => year,
                }
            }
        };
        let has_dashes = self.takes(b"-").is_some();
        let month = self.number(2)?;
        if has_dashes {
            self.takes(b"-")?;
        }
        let day = self.number(2)?;
        NaiveDate::from_ymd_opt(year, month, day)
    }

    pub(super) fn time(&mut self) -> Option<NaiveTime> {
        let hour = self.two_digits(24)?;
        let (mut minute, mut second, mut nanos) = (0, 0, 0);
        let has_colons = self.0.starts_with(b":");
        if self.another_part(has_colons) {
            minute = self.two_digits(60)?;
            if self.another_part(has_colons) {
                // A leap second is the second before it, as in POSIX.
                second = self.two_digits(61)?.min(59);
                nanos = self.fraction()?;
            }
        }
        NaiveTime::from_hms_nano_opt(hour, minute, second, nanos)
    }

    /// The nanoseconds after a point or comma, of nine digits at most; 0 if there is neither.
    fn fraction(&mut self) -> Option<u32> {
        if self.takes(b".,").is_none() {
            return Some(0);
        }
        let digits = self.run(u8::is_ascii_digit);
        let missing = 9_usize.checked_sub(digits.len()).filter(|m| *m < 9)?;
        let nanos = digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'));
        Some(nanos * 10_u32.pow(missing as u32))
    }

    /// How far ahead of UTC the time is. A naive one is not.
    pub(super) fn offset(&mut self) -> Option<TimeDelta> {
        if self.takes(b"Zz").is_some() || !matches!(self.0.first(), Some(b'+' | b'-')) {
            return Some(TimeDelta::zero());
        }
        self.numeric_offset(true)
    }

    /// Under 26 hours either way, rounded to seconds.
    fn numeric_offset(&mut self, has_seconds: bool) -> Option<TimeDelta> {
        let is_behind = self.takes(b"+-")? == b'-';
        let mut seconds = self.two_digits(26)? * 3600;
        let has_colons = self.0.starts_with(b":");
        if self.another_part(has_colons) {
            seconds += self.two_digits(60)? * 60;
            if has_seconds && self.another_part(has_colons) {
                seconds += self.two_digits(60)?;
                seconds += u32::from(self.fraction()? >= 500_000_000);
            }
        }
        let seconds = i64::from(seconds);
        (seconds < 26 * 3600)
            .then(|| TimeDelta::seconds(if is_behind { -seconds } else { seconds }))
    }

    /// `[Europe/Berlin]` and `[key=value]`: they say nothing about the moment, but have a grammar.
    pub(super) fn annotations(&mut self) -> Option<()> {
        let mut may_be_zone = true;
        while self.takes(b"[").is_some() {
            let is_critical = self.takes(b"!").is_some();
            if may_be_zone && matches!(self.0.first(), Some(b'+' | b'-')) {
                self.numeric_offset(false)?;
            } else if !(may_be_zone && self.zone_name()) {
                self.key_and_value()?;
                // Whoever wrote that meant it to be understood.
                if is_critical {
                    return None;
                }
            }
            self.takes(b"]")?;
            may_be_zone = false;
        }
        Some(())
    }

    /// Whether a zone's name, up to the bracket, is next; else nothing is taken.
    fn zone_name(&mut self) -> bool {
        let is_lead = |b: &u8| b.is_ascii_alphabetic() || b"_.".contains(b);
        let is_part = |b: &u8| is_lead(b) || b.is_ascii_digit() || b"+-".contains(b);
        let whole = self.0;
        loop {
            let part = self.run(is_part);
            if !part.first().is_some_and(is_lead) || self.0.starts_with(b"=") {
                self.0 = whole;
                return false;
            }
            if self.takes(b"/").is_none() {
                return true;
            }
        }
    }

    fn key_and_value(&mut self) -> Option<()> {
        let key = self.run(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(b));
        let lead = key.first()?;
        if !(lead.is_ascii_lowercase() || *lead == b'_') {
            return None;
        }
        self.takes(b"=")?;
        loop {
            if self.run(u8::is_ascii_alphanumeric).is_empty() {
                return None;
            }
            if self.takes(b"-").is_none() {
                return Some(());
            }
        }
    }
}
