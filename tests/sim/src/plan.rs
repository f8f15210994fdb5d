//! What a seed stands for: how many of whom, how fast, which faults and how often. Times are much shorter
//! than in production, and in the same proportions.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

pub(crate) const LEASE: Duration = Duration::from_secs(6);
pub(crate) const POSITION_CHECK: Duration = Duration::from_secs(4);
pub(crate) const BACKOFF: Duration = Duration::from_millis(500);
pub(crate) const BACKOFF_CAP: Duration = Duration::from_secs(4);
pub(crate) const RECORD_LOST: Duration = Duration::from_secs(6);
pub(crate) const POLL: Duration = Duration::from_secs(2);
pub(crate) const RETRY: Duration = Duration::from_secs(1);
pub(crate) const MAX_ATTEMPTS: u32 = 3;
pub(crate) const TEMPLATE_TRIES: u32 = 2;
/// A call that isn't answered by then has failed: every adapter bounds its calls.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(3);

/// What the store may lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing: it persists, and only processes die.
    Nothing,
    /// Everything: it has no persistence.
    All,
    /// What came after a backup, noticed.
    SinceBackup,
    /// The end of one log, noticed.
    Tail,
}

/// How often what is decided, out of so many decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Odds {
    pub(crate) refuse: u32,
    pub(crate) lose_answer: u32,
    pub(crate) give_up: u32,
    pub(crate) hold: u32,
    pub(crate) crash: u32,
    pub(crate) drain: u32,
    pub(crate) cut: u32,
    pub(crate) lose_announcement: u32,
    pub(crate) repeat: u32,
    pub(crate) reorder: u32,
    pub(crate) interrupt: u32,
    pub(crate) unreachable: u32,
    pub(crate) restart_store: u32,
    pub(crate) lose_data: u32,
    pub(crate) wait: u32,
}

/// Out of how many decisions.
pub(crate) const ODDS_OF: u32 = 10_000;

impl Odds {
    /// Only the order of things is left to chance.
    pub(crate) const QUIET: Self = Self {
        refuse: 0,
        lose_answer: 0,
        give_up: 0,
        hold: 0,
        crash: 0,
        drain: 0,
        cut: 0,
        lose_announcement: 0,
        repeat: 0,
        reorder: 0,
        interrupt: 0,
        unreachable: 0,
        restart_store: 0,
        lose_data: 0,
        wait: 0,
    };
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) workers: usize,
    pub(crate) apis: usize,
    pub(crate) jobs: usize,
    /// Submissions come within this time.
    pub(crate) spread: Duration,
    pub(crate) pace: Duration,
    /// Of a thousand templates so many can't be made.
    pub(crate) templates_fail: u32,
    pub(crate) watchers_per_job: usize,
    pub(crate) named_watchers: usize,
    pub(crate) open_watchers: usize,
    pub(crate) pollers: usize,
    pub(crate) cancellers: usize,
    pub(crate) foreign_jobs: usize,
    /// Whether the job service knows the foreign jobs.
    pub(crate) foreign_known: bool,
    pub(crate) forger: bool,
    /// Lost announcements are owed no `Gap`: a subscription that is silently dead.
    pub(crate) silent_loss: bool,
    pub(crate) loss: Loss,
    /// How often data may be lost.
    pub(crate) losses: u32,
    /// Crashes and drains, at most.
    pub(crate) kills: u32,
    pub(crate) history_limit: usize,
    /// Clocks of processes are wrong by up to so many minutes.
    pub(crate) skew_minutes: i64,
    pub(crate) odds: Odds,
    /// Whether the store announces nothing by itself, and each process does after its appends.
    pub(crate) announces_beside: bool,
    /// When the faults end.
    pub(crate) chaos: Duration,
    /// Clients lose no time, and all do the same in each run.
    pub(crate) hurry: bool,
}

impl Plan {
    /// Whether nothing goes wrong in it.
    pub(crate) fn is_quiet(&self) -> bool {
        self.odds == Odds::QUIET && !self.hurry
    }

    /// What `seed` stands for.
    pub(crate) fn from_seed(seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x5eed_0f91);
        let rng = &mut rng;
        let foreign_jobs = usize::from(rng.random_ratio(1, 3));
        let quiet = rng.random_ratio(1, 8);
        let loss = match rng.random_range(0..10) {
            _ if quiet => Loss::Nothing,
            0 => Loss::All,
            1 | 2 => Loss::SinceBackup,
            3 => Loss::Tail,
            _ => Loss::Nothing,
        };
        let mut rare = |of_ten: u32, most: u32| {
            if rng.random_ratio(of_ten, 10) {
                rng.random_range(1..=most)
            } else {
                0
            }
        };
        let odds = Odds {
            refuse: rare(7, 300),
            lose_answer: rare(7, 300),
            give_up: rare(6, 100),
            hold: rare(7, 200),
            crash: rare(7, 60),
            drain: rare(3, 15),
            cut: rare(6, 60),
            lose_announcement: rare(7, 3000),
            repeat: rare(5, 1000),
            reorder: rare(5, 5000),
            interrupt: rare(5, 60),
            unreachable: rare(4, 15),
            restart_store: rare(4, 15),
            lose_data: rare(10, 40),
            wait: rare(8, 300),
        };
        Self {
            seed,
            workers: 2,
            apis: 2,
            jobs: rng.random_range(1..=3),
            spread: Duration::from_millis(rng.random_range(0..6000)),
            pace: Duration::from_millis([5, 50, 200, 600][rng.random_range(0..4)]),
            templates_fail: [0, 0, 0, 150, 1000][rng.random_range(0..5)],
            watchers_per_job: rng.random_range(1..=2),
            named_watchers: usize::from(rng.random_ratio(1, 2)),
            open_watchers: usize::from(rng.random_ratio(1, 2)),
            pollers: usize::from(rng.random_ratio(2, 3)),
            cancellers: usize::from(rng.random_ratio(1, 3)),
            foreign_jobs,
            foreign_known: rng.random_ratio(2, 3),
            forger: rng.random_ratio(1, 3),
            silent_loss: rng.random_ratio(1, 4),
            loss,
            losses: if loss == Loss::Nothing {
                0
            } else {
                rng.random_range(1..=2)
            },
            kills: rng.random_range(1..=6),
            history_limit: if rng.random_ratio(1, 6) { 6 } else { 100 },
            skew_minutes: if rng.random_ratio(1, 2) { 60 } else { 0 },
            // Not by chance, which would make another run of each seed.
            announces_beside: seed.is_multiple_of(3),
            odds: if quiet { Odds::QUIET } else { odds },
            hurry: false,
            chaos: if quiet {
                Duration::ZERO
            } else {
                Duration::from_millis(rng.random_range(2_000..20_000))
            },
        }
    }
}
