//! Where a job stands in the queue, worked out from the turns of the clients and the jobs of each.
//!
//! Never in here: how a store finds these numbers.

/// How many jobs are asked about at once, at most.
pub const MAX_PLACES_ASKED: usize = 100;

/// How many places from the front are always exact; a store need count no more clients' jobs than that.
pub const EXACT_PLACES: usize = 100;

/// By how many claims a job is reached, if nothing else changes: 1 is the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueuePlace {
    /// Exactly that one.
    Exact(u64),
    /// About that one: beyond the places that are always exact.
    About(u64),
}

impl QueuePlace {
    /// The number, exact or not.
    pub fn number(self) -> u64 {
        match self {
            Self::Exact(number) | Self::About(number) => number,
        }
    }
}

/// The clients that have a due job, each of which is given one per round.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'a> {
    /// How many due jobs each of them has, in the order of their turns; empty where there are more clients
    /// than [`EXACT_PLACES`].
    pub jobs: &'a [u64],
    /// How many clients there are.
    pub clients: u64,
    /// How many jobs wait, whether they are due or not.
    pub waiting: u64,
}

impl Rotation<'_> {
    /// The place of the job with `ahead` jobs of its own client before it, whose client has its turn after
    /// `turn` others.
    ///
    /// Beyond [`EXACT_PLACES`] clients, all but the first job of each are at a greater place than that: the
    /// second one comes after a whole round.
    pub fn place(&self, turn: u64, ahead: u64) -> QueuePlace {
        if ahead == 0 {
            return QueuePlace::Exact(turn + 1);
        }
        if self.jobs.is_empty() {
            let rounds = ahead.saturating_mul(self.clients).saturating_add(turn);
            return QueuePlace::About(rounds.saturating_add(1).min(self.waiting));
        }
        // Until then each other client had a turn per round, as long as it had jobs.
        let others = (0_u64..).zip(self.jobs).filter(|(other, _)| *other != turn);
        let theirs = others.map(|(other, jobs)| (*jobs).min(ahead + u64::from(other < turn)));
        QueuePlace::Exact(theirs.sum::<u64>() + ahead + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// The place of each job, by turn and rank, as claims find it.
    fn claimed(jobs: &[u64]) -> Vec<(u64, u64, u64)> {
        let mut turns: VecDeque<(u64, u64, u64)> = (0..)
            .zip(jobs)
            .map(|(turn, jobs)| (turn, 0, *jobs))
            .collect();
        let mut claimed = Vec::new();
        while let Some((turn, rank, jobs)) = turns.pop_front() {
            claimed.push((turn, rank, claimed.len() as u64 + 1));
            if rank + 1 < jobs {
                turns.push_back((turn, rank + 1, jobs));
            }
        }
        claimed
    }

    #[test]
    fn a_place_is_the_number_of_the_claim() {
        for jobs in [
            &[1][..],
            &[3],
            &[1, 1, 1],
            &[5, 1, 3],
            &[1, 5, 3, 2],
            &[40, 1, 7, 40, 2],
        ] {
            let rotation = Rotation {
                jobs,
                clients: jobs.len() as u64,
                waiting: jobs.iter().sum(),
            };
            for (turn, rank, place) in claimed(jobs) {
                let found = rotation.place(turn, rank);
                assert_eq!(found, QueuePlace::Exact(place), "{jobs:?}: {turn} {rank}");
            }
        }
    }

    #[test]
    fn of_many_clients_the_first_jobs_are_exact_and_the_others_estimated() {
        let jobs: Vec<u64> = (0..500).map(|n| 1 + n % 40).collect();
        let waiting = jobs.iter().sum();
        let rotation = Rotation {
            jobs: &[],
            clients: 500,
            waiting,
        };
        for (turn, rank, place) in claimed(&jobs) {
            let found = rotation.place(turn, rank);
            if rank == 0 {
                assert_eq!(found, QueuePlace::Exact(place));
            } else {
                assert!(matches!(found, QueuePlace::About(_)), "{found:?}");
                assert!(place > EXACT_PLACES as u64, "it could have been exact");
                // No job is reached later than in full rounds.
                assert!((place..=waiting).contains(&found.number()), "{found:?}");
            }
        }
    }
}
