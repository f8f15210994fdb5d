//! Buckets of logs, for whoever follows many of them: a store notes the latest commit of each bucket, so
//! that one short question says of hundreds of logs that none has moved on.
//!
//! Never in here: which logs are followed, and what a log's position is.

use std::fmt;

use bytes::Bytes;
use conch_domain::{JobId, Position};

/// A share of all logs, by their jobs' ids. The same in every process, for stores note it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// How many there are.
    pub const COUNT: usize = 1024;

    /// The bucket of that job's log.
    #[must_use]
    pub fn of(job_id: &JobId) -> Self {
        // FNV-1a, of 32 bits.
        let hash = job_id.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        // The lowest bits of the product alone depend on few bits of the id.
        let folded = (hash >> 16) ^ hash;
        Self((folded as usize % Self::COUNT) as u16)
    }

    /// Its number, from 0 on.
    #[must_use]
    pub fn number(self) -> usize {
        self.0.into()
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which commit a bucket's latest is; see [`JobLog::latest`](crate::JobLog::latest). To be compared, not to be
/// read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(Bytes);

impl Stamp {
    /// That of a commit whose last event is there.
    #[must_use]
    pub fn of(job_id: &JobId, end: Position) -> Self {
        Self(format!("{job_id} {end}").into())
    }
}

impl From<Bytes> for Stamp {
    fn from(noted: Bytes) -> Self {
        Self(noted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(id: &str) -> usize {
        Bucket::of(&id.parse().expect("an id")).number()
    }

    #[test]
    fn a_jobs_bucket_never_changes() {
        let known = [
            ("a", 288),
            ("j-1", 446),
            ("0190a1b2-0000-7000-8000-00000000000f", 883),
        ];
        assert_eq!(known.map(|(id, _)| (id, bucket(id))), known);
    }

    #[test]
    fn jobs_are_spread_over_all_buckets() {
        for prefix in ["", "job-", "0190a1b2-0000-7000-8000-"] {
            let mut sizes = [0_usize; Bucket::COUNT];
            for n in 0..40 * Bucket::COUNT {
                sizes[bucket(&format!("{prefix}{n:05}"))] += 1;
            }
            let (least, most) = (sizes.iter().min(), sizes.iter().max());
            assert!(
                least >= Some(&10) && most <= Some(&90),
                "{least:?} {most:?}"
            );
        }
    }
}
