//! The built-in generator: composes dashboards from the client's industry and value proposition.
//!
//! The same client, text and place in the plan always give the same dashboard, byte for byte. Never in
//! here: a model, the network, a clock (except for the pace), or external randomness.

mod compose;
mod dice;
mod figure;
mod layout;
mod library;
mod reading;
mod sample;
mod text;
mod widget;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conch_domain::{TemplateDraft, WrittenDraft};
use conch_ports::{Brief, Error, ErrorKind, Result, TemplateGenerator};
use conch_wire::draft;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use reading::Reading;

/// Most cached readings of value propositions: each is a few KiB, and a job needs one.
const READINGS: usize = 256;

/// How the built-in generator works.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How long each template takes, so that progress can be watched; 0 by default.
    pub pace: Duration,
}

impl Settings {
    /// Builds the generator.
    pub fn build(self) -> Arc<dyn TemplateGenerator> {
        Arc::new(Builtin {
            pace: self.pace,
            readings: Cache::new(READINGS),
        })
    }
}

struct Builtin {
    pace: Duration,
    /// By the digest of the text: with a weak digest, a collision could show one client's text to another.
    readings: Cache<[u8; 32], Arc<Reading>>,
}

impl Builtin {
    fn compose(&self, brief: &Brief) -> TemplateDraft {
        let industry = brief.client.industry.as_deref().unwrap_or_default();
        let content = &brief.value_proposition.content;
        let mut digest = Sha256::new();
        digest.update((industry.len() as u64).to_le_bytes());
        digest.update(industry);
        digest.update(content);
        let digest: [u8; 32] = digest.finalize().into();
        let reading = self.readings.get(&digest).unwrap_or_else(|| {
            let reading = Arc::new(Reading::of(content, industry));
            self.readings.insert(digest, Arc::clone(&reading));
            reading
        });
        compose::compose(brief, &reading, &digest)
    }
}

#[async_trait]
impl TemplateGenerator for Builtin {
    async fn generate(&self, brief: &Brief) -> Result<WrittenDraft> {
        if !self.pace.is_zero() {
            tokio::time::sleep(self.pace).await;
        }
        let draft = self.compose(brief);
        draft.check().map_err(|e| {
            let what = format!("the built-in generator composed an invalid template: {e}");
            Error::new(ErrorKind::Internal, "template_generator.generate", what)
        })?;
        Ok(draft::written(draft))
    }
}
