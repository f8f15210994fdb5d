//! Where randomness comes from: ids, epochs, the jitter of every wait.
//!
//! It is the system's, unless the thread was given a seed: then all that happens on that thread can be
//! repeated exactly. For that nothing in this crate may depend on chance elsewhere: every `select!` is
//! `biased`, and what is gone through in turn has an order.
//!
//! Never in here: a secret that outlives its log. `tickets` asks the system itself.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::time::Duration;

use conch_domain::{EPOCH_BYTES, Epoch, JobId, LogSecret, SECRET_BYTES, Timestamp};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt, SeedableRng};
use uuid::{Builder, Uuid};

thread_local! {
    static SEEDED: RefCell<Option<Xoshiro256PlusPlus>> = const { RefCell::new(None) };
}

/// Draws everything on this thread from `seed` until the answer is dropped. For a runtime that has
/// this thread alone.
#[must_use = "dropped at once it seeds nothing"]
pub fn seed_this_thread(seed: u64) -> Seeded {
    SEEDED.set(Some(Xoshiro256PlusPlus::seed_from_u64(seed)));
    Seeded(PhantomData)
}

/// While it lives its thread draws from a seed. Stays on its thread.
#[derive(Debug)]
pub struct Seeded(PhantomData<*const ()>);

impl Drop for Seeded {
    fn drop(&mut self) {
        SEEDED.set(None);
    }
}

fn draw<T>(draw: impl FnOnce(&mut dyn Rng) -> T) -> T {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(seeded) => draw(seeded),
        None => draw(&mut rand::rng()),
    })
}

/// A fresh incarnation for a log that is about to begin.
pub(crate) fn epoch() -> Epoch {
    Epoch::from_random(draw(|rng| rng.random::<[u8; EPOCH_BYTES]>()))
}

/// The secret of an epoch that is about to begin. Off a seeded thread from a cryptographic generator, which the
/// system seeds.
pub(crate) fn log_secret() -> LogSecret {
    LogSecret::from_random(draw(|rng| rng.random::<[u8; SECRET_BYTES]>()))
}

/// A UUID of version 7.
pub(crate) fn uuid(now: Timestamp) -> Uuid {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    let random = draw(|rng| rng.random::<[u8; 10]>());
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// A UUID that tells nothing, not even when it was made.
pub(crate) fn random_uuid() -> Uuid {
    Builder::from_random_bytes(draw(|rng| rng.random())).into_uuid()
}

/// A job id that no job has: as many random bits as any.
pub(crate) fn absent_job() -> JobId {
    JobId::from_uuid(random_uuid())
}

/// Between three quarters of `wait` and all of it, so that nothing goes in step.
pub(crate) fn shortened(wait: Duration) -> Duration {
    wait.mul_f64(factor(0.75..=1.0))
}

/// Between `wait` and twice as long: for what many wait for at once.
pub(crate) fn lengthened(wait: Duration) -> Duration {
    wait.mul_f64(factor(1.0..=2.0))
}

/// Between half of `wait` and twice as long, as often less as more: for what many are told to wait so that
/// they don't come at once.
pub(crate) fn spread(wait: Duration) -> Duration {
    wait.mul_f64(factor(-1.0..=1.0).exp2())
}

/// A number between 0 and `most`.
pub(crate) fn up_to(most: u64) -> u64 {
    draw(|rng| rng.random_range(0..=most))
}

/// A factor.
pub(crate) fn factor(range: RangeInclusive<f64>) -> f64 {
    draw(|rng| rng.random_range(range))
}

/// Any number: the seed of somebody else's generator.
pub(crate) fn seed() -> u64 {
    draw(|rng| rng.random())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn some() -> (Epoch, Uuid, u64, u64) {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        (epoch(), uuid(now), up_to(u64::MAX), seed())
    }

    #[test]
    fn a_seed_repeats_and_ends_with_its_guard() {
        let first = {
            let _seeded = seed_this_thread(7);
            some()
        };
        let again = {
            let _seeded = seed_this_thread(7);
            some()
        };
        assert_eq!(first, again);
        assert_ne!(some(), first);
        assert_ne!(some(), some());
    }

    /// Every source file of this crate but this one.
    fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).expect("the sources are there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                sources(&path, found);
            } else if !path.ends_with("src/entropy.rs") {
                let text = std::fs::read_to_string(&path).expect("it is text");
                found.push((path, text));
            }
        }
    }

    #[test]
    fn nothing_else_depends_on_chance() {
        let mut found = Vec::new();
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut found,
        );
        assert!(found.len() > 20, "{found:?}");
        for (path, text) in found {
            // What tickets are made of must not be known to whoever has a seed.
            let secret = path.ends_with("tickets.rs");
            // tokio's `watch` wakes its receivers in an order of chance.
            let sources = [
                "rand::",
                "now_v7",
                "new_v4",
                "RandomState",
                "SystemTime",
                "sync::watch",
            ];
            for source in sources {
                let free = secret || !text.contains(source);
                assert!(free, "{}: {source}", path.display());
            }
            for branches in text.split("select! {").skip(1) {
                let mut lines = branches.lines().map(str::trim);
                let first = lines.find(|line| !line.is_empty() && !line.starts_with("//"));
                assert_eq!(first, Some("biased;"), "a select! in {}", path.display());
            }
        }
    }

    #[test]
    fn an_id_is_of_version_7_and_tells_its_moment() {
        let id = uuid(Timestamp::from_micros(1_800_000_000_123_456));
        assert_eq!(id.get_version_num(), 7);
        let told = id.get_timestamp().expect("version 7 has one").to_unix();
        assert_eq!(told, (1_800_000_000, 123_000_000));
        assert_eq!(uuid(Timestamp::from_micros(-1)).get_version_num(), 7);
    }
}
