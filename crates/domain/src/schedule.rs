//! When a job may run, and how urgently: what its submission asked for.
//!
//! Never in here: which job is next. That is decided by the queue, which knows the others.

use std::fmt;

use crate::Timestamp;

/// Which of its client's waiting jobs is run first: 0–9, 9 first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

/// A number that is no priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a priority is a whole number from 0 to {}", Priority::HIGHEST)]
pub struct InvalidPriority;

impl Priority {
    /// The priority of what runs first.
    pub const HIGHEST: Self = Self(9);
    /// The priority of what runs last.
    pub const LOWEST: Self = Self(0);

    /// The priority with this number.
    ///
    /// # Errors
    /// When it is more than 9.
    pub fn new(number: u64) -> Result<Self, InvalidPriority> {
        match u8::try_from(number) {
            Ok(number) if number <= Self::HIGHEST.0 => Ok(Self(number)),
            _ => Err(InvalidPriority),
        }
    }

    /// Its number, 0–9.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// That of a submission that asks for none: 5.
impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a job may run, and how urgently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Schedule {
    /// Which of its client's jobs runs first.
    pub priority: Priority,
    /// Not before then; none: as soon as a worker is free.
    pub run_at: Option<Timestamp>,
}

impl Schedule {
    /// How far ahead a job may be put: seven days.
    pub const FARTHEST_MS: i64 = 7 * 24 * 3600 * 1000;

    /// How long after `moment` the job may run, in milliseconds: by so much longer lives what the store keeps
    /// of it. 0: it may run by then.
    pub fn wait_after(self, moment: Timestamp) -> u64 {
        self.run_at.map_or(0, |run_at| run_at.millis_since(moment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_waits_until_its_time() {
        let at = Timestamp::from_micros;
        let schedule = Schedule {
            run_at: Some(at(5_000_000)),
            ..Schedule::default()
        };
        assert_eq!(schedule.wait_after(at(3_000_000)), 2_000);
        assert_eq!(schedule.wait_after(at(5_000_000)), 0);
        assert_eq!(schedule.wait_after(at(9_000_000)), 0);
        assert_eq!(Schedule::default().wait_after(at(0)), 0);
    }

    #[test]
    fn there_are_ten_priorities_and_five_is_the_default() {
        assert_eq!(Priority::new(0), Ok(Priority::LOWEST));
        assert_eq!(Priority::new(5), Ok(Priority::default()));
        assert_eq!(Priority::new(9), Ok(Priority::HIGHEST));
        for number in [10, 256, u64::MAX] {
            assert_eq!(Priority::new(number), Err(InvalidPriority), "{number}");
        }
        assert!(Priority::HIGHEST > Priority::LOWEST);
        assert_eq!(
            InvalidPriority.to_string(),
            "a priority is a whole number from 0 to 9"
        );
    }
}
