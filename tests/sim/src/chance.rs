//! Decisions by a seed: mostly what the system wants, in any order; now and then a fault, as often as
//! the plan says.

use std::time::Duration;

use conch_ports::ErrorKind;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::board::Stage;
use crate::moves::{Chooser, Lost, Move, View};
use crate::plan::{LEASE, Loss, ODDS_OF, Odds, Plan};

pub(crate) struct Chance {
    rng: Xoshiro256PlusPlus,
    odds: Odds,
    loss: Loss,
    losses: u32,
    kills: u32,
    silent_loss: bool,
}

impl Chance {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(plan.seed),
            odds: plan.odds.clone(),
            loss: plan.loss,
            losses: plan.losses,
            kills: plan.kills,
            silent_loss: plan.silent_loss,
        }
    }

    fn happens(&mut self, odds: u32) -> bool {
        odds > 0 && self.rng.random_range(0..ODDS_OF) < odds
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.rng.random_range(0..of.len())].clone())
    }

    fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(least..=most))
    }

    fn kind(&mut self) -> ErrorKind {
        let kinds = [
            ErrorKind::Unavailable,
            ErrorKind::Unavailable,
            ErrorKind::Timeout,
            ErrorKind::OutOfSpace,
        ];
        kinds[self.rng.random_range(0..kinds.len())]
    }

    /// What happens to the system as a whole.
    fn disaster(&mut self, view: &View) -> Option<Move> {
        let odds = self.odds.clone();
        if self.kills > 0
            && self.happens(odds.crash)
            && let Some(role) = self.one(&view.up)
        {
            self.kills -= 1;
            return Some(Move::Crash(role));
        }
        if self.kills > 0
            && self.happens(odds.drain)
            && let Some(role) = self.one(&view.up)
        {
            self.kills -= 1;
            return Some(Move::Drain(role));
        }
        if self.happens(odds.cut)
            && let Some(client) = self.one(&view.connected)
        {
            return Some(Move::Cut(client));
        }
        if self.happens(odds.interrupt)
            && let Some(line) = self.one(&view.lines)
        {
            let long = self.millis(0, 3000);
            return Some(Move::Interrupt(line.id, long));
        }
        if self.happens(odds.unreachable) {
            let whole = self.rng.random_ratio(1, 3);
            let role = if whole { None } else { self.one(&view.up) };
            let long = self.millis(200, 9000);
            return Some(Move::Unreachable(role, long));
        }
        if self.happens(odds.restart_store) {
            return Some(Move::RestartStore);
        }
        if self.happens(odds.wait) {
            let most = if self.rng.random_ratio(1, 10) {
                LEASE.as_millis() as u64
            } else {
                300
            };
            let long = self.millis(1, most);
            return Some(Move::Wait(long));
        }
        self.lose_data(view)
    }

    fn lose_data(&mut self, view: &View) -> Option<Move> {
        let odds = self.odds.lose_data;
        if self.losses == 0 || self.loss == Loss::Nothing || !self.happens(odds) {
            return None;
        }
        let lost = match self.loss {
            Loss::Nothing => return None,
            Loss::All => Lost::Everything,
            Loss::SinceBackup if view.has_backup => Lost::SinceBackup,
            Loss::SinceBackup => return Some(Move::BackUp),
            Loss::Tail => {
                let (job, most) = self.one(&view.losable)?;
                Lost::Tail(job, self.rng.random_range(1..=most))
            }
        };
        self.losses -= 1;
        Some(Move::Lose(lost))
    }

    /// What becomes of one call.
    fn decide(&mut self, view: &View, index: usize) -> Move {
        let call = &view.calls[index];
        let id = call.id;
        if view.unreachable.contains(&id) {
            let kind = if self.rng.random_ratio(1, 2) {
                ErrorKind::Unavailable
            } else {
                ErrorKind::Timeout
            };
            return match (call.awaited, self.rng.random_range(0..4)) {
                (false, _) | (_, 0) => Move::Hold(id, self.millis(50, 800)),
                (true, _) => Move::Fail(id, kind),
            };
        }
        if !call.awaited {
            // Late, or never.
            return match self.rng.random_range(0..3) {
                0 => Move::Discard(id),
                1 => Move::CarryOut(id),
                _ => Move::Hold(id, self.millis(100, 7000)),
            };
        }
        if !view.healed {
            let odds = self.odds.clone();
            let failed = match call.stage {
                Stage::Asked => odds.refuse,
                Stage::Answered => odds.lose_answer,
            };
            if self.happens(failed) {
                return Move::Fail(id, self.kind());
            }
            if self.happens(odds.give_up) {
                return Move::GiveUp(id);
            }
            if self.happens(odds.hold) {
                let most = if self.rng.random_ratio(1, 4) {
                    2900
                } else {
                    200
                };
                return Move::Hold(id, self.millis(5, most));
            }
        }
        match call.stage {
            Stage::Asked => Move::CarryOut(id),
            Stage::Answered => Move::Deliver(id),
        }
    }

    fn hear(&mut self, view: &View, index: usize) -> Move {
        let line = &view.lines[index];
        let to = line.id;
        if line.lapsed && (line.waiting == 0 || self.rng.random_ratio(1, 2)) {
            return Move::Lapse(to);
        }
        let odds = self.odds.clone();
        let healed = view.healed;
        // What has no number keeps its place among its like.
        let first = line.numbered.iter().position(|numbered| !numbered);
        let mut index = 0;
        if !healed && self.happens(odds.reorder) {
            let any = self.rng.random_range(0..line.waiting);
            index = if line.numbered[any] {
                any
            } else {
                first.unwrap_or(any)
            };
        }
        if !healed && self.happens(odds.lose_announcement) {
            let told = self.millis(0, 3000);
            let told_after = (!self.silent_loss).then_some(told);
            return Move::LoseAnnouncement {
                to,
                index,
                told_after,
            };
        }
        let again = !healed && self.happens(odds.repeat);
        Move::Announce { to, index, again }
    }
}

impl Chooser for Chance {
    fn choose(&mut self, view: &View) -> Move {
        if !view.healed {
            if let Some(disaster) = self.disaster(view) {
                return disaster;
            }
            // Whoever is gone comes back some time.
            if self.happens(15)
                && let Some(role) = self.one(&view.down)
            {
                return Move::Start(role);
            }
        }
        let lines: Vec<usize> = (0..view.lines.len())
            .filter(|n| view.lines[*n].waiting > 0 || view.lines[*n].lapsed)
            .collect();
        let choices = view.calls.len() + lines.len();
        if choices == 0 {
            return Move::Wait(Duration::from_millis(100));
        }
        let pick = self.rng.random_range(0..choices);
        if pick < view.calls.len() {
            self.decide(view, pick)
        } else {
            self.hear(view, lines[pick - view.calls.len()])
        }
    }
}
