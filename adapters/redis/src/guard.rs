//! What the guard counts the instructions of: the arguments of a commit's script, as they are made for each
//! append, without a connection.
//!
//! Never in here: a way of its own. It calls what the log calls.

use conch_bus_kit::InvalidSettings;
use conch_ports::{BusId, Commit, Result};

use crate::connection::Connections;
use crate::keys::Keys;
use crate::log::Redis;
use crate::run::Run;
use crate::settings::Settings;
use crate::stores::client;

/// Makes arguments.
pub struct Arguments(Redis);

impl Arguments {
    /// With these settings; nothing is connected.
    ///
    /// # Errors
    /// When a setting can't work.
    pub fn new(settings: Settings) -> Result<Self, InvalidSettings> {
        let client = client("url", &settings.url, &settings.tls)?;
        let connections = Connections::new(client, &settings, true);
        let keys = Keys::new(&settings.prefix);
        Ok(Self(Redis::new(connections, keys, settings, BusId::new())))
    }

    /// Makes those of a commit.
    ///
    /// # Errors
    /// When the log would refuse it.
    pub fn of(&self, commit: &Commit) -> Result<()> {
        let events = commit.events("guard")?;
        let script = self.0.appending(&commit.job);
        std::hint::black_box(self.0.commit(script, commit, events, &[], &Run::default()));
        Ok(())
    }
}
