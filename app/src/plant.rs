//! Where a harness may put something of its own between the parts of a process.
//!
//! Never in here: what is put there. The programs put nothing.

use std::sync::Arc;

use conch_http::serve::Router;
use conch_ports::TemplateGenerator;
use conch_services::Clock;

use crate::Stores;
use crate::config::Settings;

/// What stands between the parts of a process while it is wired. Whatever isn't said stays as it is, so
/// `()` is the program as it should be.
pub trait Plant {
    /// Changes the settings once they are read: to what no variable can say.
    fn settings(&self, _settings: &mut Settings) {}

    /// What makes the templates of a worker.
    fn generator(&self, generator: Arc<dyn TemplateGenerator>) -> Arc<dyn TemplateGenerator> {
        generator
    }

    /// The stores, before anything uses them.
    fn stores(&self, stores: Stores) -> Stores {
        stores
    }

    /// The clock of the part that serves watchers.
    fn clock(&self, clock: Clock) -> Clock {
        clock
    }

    /// Mare's routes, before they are served.
    fn router(&self, router: Router) -> Router {
        router
    }
}

impl Plant for () {}
