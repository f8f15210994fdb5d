//! The built-in generator: composes dashboards from the client's industry and value proposition.
//!
//! The same client, text and place in the plan give the same dashboard, byte for byte. Never in here: a
//! model, the network, a clock (but for the pace), or randomness from outside.

mod compose;
mod library;
mod reading;
mod sample;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conch_domain::TemplateDraft;
use conch_ports::{Brief, Error, ErrorKind, Result, TemplateGenerator};

/// How the built-in generator works.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How long each template takes, so that progress can be watched; 0 by default.
    pub pace: Duration,
}

impl Settings {
    /// The generator.
    pub fn build(self) -> Arc<dyn TemplateGenerator> {
        Arc::new(Builtin { pace: self.pace })
    }
}

struct Builtin {
    pace: Duration,
}

#[async_trait]
impl TemplateGenerator for Builtin {
    async fn generate(&self, brief: &Brief) -> Result<TemplateDraft> {
        if !self.pace.is_zero() {
            tokio::time::sleep(self.pace).await;
        }
        let draft = compose::compose(brief);
        draft.check().map_err(|e| {
            let what = format!("the built-in generator composed an invalid template: {e}");
            Error::new(ErrorKind::Internal, "template_generator.generate", what)
        })?;
        Ok(draft)
    }
}
