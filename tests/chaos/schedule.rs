//! What happens in a storm, and when: a function of the seed and the form alone, printed and written down
//! before it begins. What the processes make of it is theirs.

use std::fmt;
use std::time::Duration;

use super::cluster::Shape;
use super::{Dice, Kind};
use crate::{Persistence, Weather};

/// How much of everything.
#[derive(Debug, Clone)]
pub struct Form {
    /// How long faults come.
    pub lasting: Duration,
    /// Between two faults, on average.
    pub every: Duration,
    /// Jobs, spread over the time.
    pub jobs: usize,
    /// Jobs when it is over.
    pub afterwards: usize,
    /// Watchers of each.
    pub watchers: usize,
    /// Jobs of an external publisher.
    pub external: usize,
    /// The bug that is planted.
    pub sabotage: Option<String>,
    /// Which store; none: the seed decides.
    pub persistence: Option<Persistence>,
}

impl Form {
    /// Some seconds, for every test run.
    pub fn short() -> Self {
        Self {
            lasting: Duration::from_millis(3500),
            every: Duration::from_millis(300),
            jobs: 14,
            afterwards: 12,
            watchers: 4,
            external: 3,
            sabotage: None,
            persistence: None,
        }
    }

    /// Half a minute, with a kill or two a second.
    pub fn long() -> Self {
        Self {
            lasting: Duration::from_secs(30),
            every: Duration::from_millis(150),
            jobs: 60,
            afterwards: 20,
            watchers: 6,
            external: 8,
            sabotage: None,
            persistence: None,
        }
    }
}

/// Something that happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    KillRedis,
    StopRedis,
    CutSubscribers,
    Api(usize, Kind),
    Worker(usize, Kind),
}

/// When what happens, and for how long.
#[derive(Debug, Clone)]
pub struct Schedule {
    seed: u64,
    pub(super) shape: Shape,
    /// Announcements alone must do.
    pub(super) prompt: bool,
    pub(super) acts: Vec<(Duration, Act, Duration)>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = &self.shape;
        writeln!(
            f,
            "SEED={}: {} APIs, {} workers, Redis {}, lease {} s, position check {} s",
            self.seed,
            shape.apis,
            shape.workers,
            shape.class(),
            shape.lease,
            shape.position_check
        )?;
        for (at, act, lasting) in &self.acts {
            writeln!(
                f,
                "  {:>6} ms  {act:?} for {} ms",
                at.as_millis(),
                lasting.as_millis()
            )?;
        }
        Ok(())
    }
}

impl Schedule {
    /// The schedule of a seed.
    pub fn new(seed: u64, form: &Form) -> Self {
        let mut dice = Dice::new(seed);
        let persistence = match dice.place(4) {
            0 => Persistence::None,
            1 => Persistence::Always,
            _ => Persistence::EverySec,
        };
        let persistence = form.persistence.unwrap_or(persistence);
        // Every other seed does without the position check: announcements alone must do. Not where a
        // record may be lost, which is found out by position checks.
        let prompt = seed.is_multiple_of(2) && persistence != Persistence::None;
        let shape = Shape {
            persistence,
            apis: 2,
            workers: 2 + dice.place(2),
            pace: 40 + dice.number(0..=120) as u32,
            position_check: if prompt { 60.0 } else { 1.0 },
            sabotage: form.sabotage.clone(),
            ..Shape::default()
        };
        let mut acts = Vec::new();
        let mut at = Duration::from_millis(300);
        let mean = form.every.as_millis() as u64;
        while at < form.lasting {
            let act = throw(&mut dice, &shape, prompt);
            let lasting = match act {
                Act::KillRedis => dice.millis(0..=400),
                Act::CutSubscribers => Duration::ZERO,
                // Beyond the lease: what was on its way arrives when it is another's.
                Act::Worker(_, Kind::Stop) => dice.millis(1700..=2600),
                Act::Worker(_, Kind::Redis(_)) => dice.millis(1200..=2600),
                Act::Worker(_, Kind::Kill) | Act::Api(_, Kind::Kill) => dice.millis(0..=300),
                _ => dice.millis(100..=1200),
            };
            acts.push((at, act, lasting));
            at += dice.millis(mean / 2..=mean * 3 / 2);
        }
        Self {
            seed,
            shape,
            prompt,
            acts,
        }
    }
}

fn throw(dice: &mut Dice, shape: &Shape, prompt: bool) -> Act {
    let api = dice.place(shape.apis);
    let worker = dice.place(shape.workers);
    let weathers = [
        Weather::Stall,
        Weather::CutToServer,
        Weather::CutToClient,
        Weather::Delay(Duration::from_millis(80)),
        Weather::Drip(40, Duration::from_millis(2)),
        Weather::Refuse,
    ];
    let weather = weathers[dice.place(weathers.len())];
    // Kills above all, and what the announcements go through.
    match dice.place(24) {
        0..=4 => Act::Worker(worker, Kind::Kill),
        5..=6 => Act::Api(api, Kind::Kill),
        7..=8 => Act::KillRedis,
        9 => Act::Api(api, Kind::Restart),
        10 => Act::Worker(worker, Kind::Restart),
        11 if !prompt => Act::StopRedis,
        // One that forgets is there to forget, while somebody is away.
        12..=13 if shape.persistence == Persistence::None => Act::KillRedis,
        11..=13 => Act::CutSubscribers,
        14 => Act::Worker(worker, Kind::Stop),
        15..=16 => Act::Api(api, Kind::Redis(weather)),
        17..=18 => Act::Worker(worker, Kind::Redis(weather)),
        19 => Act::Api(api, Kind::RedisReset),
        20..=21 => Act::Api(api, Kind::RedisStrand),
        22 => Act::Api(api, Kind::FrontReset),
        _ => Act::Worker(worker, Kind::Front(weather)),
    }
}
