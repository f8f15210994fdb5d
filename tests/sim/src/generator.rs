//! A generator that takes its time and sometimes has no idea.

use std::time::Duration;

use async_trait::async_trait;
use conch_conformance::build;
use conch_domain::WrittenDraft;
use conch_ports::{Brief, Error, ErrorKind, Result, TemplateGenerator};
use conch_wire::draft;
use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

pub(crate) struct Composer {
    pub(crate) pace: Duration,
    /// Of a thousand.
    pub(crate) fails: u32,
    pub(crate) rng: Mutex<Xoshiro256PlusPlus>,
}

#[async_trait]
impl TemplateGenerator for Composer {
    async fn generate(&self, brief: &Brief) -> Result<WrittenDraft> {
        let (pace, fails) = {
            let mut rng = self.rng.lock();
            let pace = self.pace.mul_f64(rng.random_range(0.5..=1.0));
            (pace, rng.random_range(0..1000) < self.fails)
        };
        tokio::time::sleep(pace).await;
        if fails {
            return Err(Error::new(
                ErrorKind::BadResponse,
                "template_generator.generate",
                format!("no idea for template {}", brief.index),
            ));
        }
        Ok(draft::written(build::draft(
            brief.item.category,
            brief.item.audience,
        )))
    }
}
