//! The bus: the two public channels, on which each append is announced by its script. What is heard comes
//! from `subscribe`.

use async_trait::async_trait;
use conch_ports::{Announcement, BusId, Carries, EventBus, Result, Signals};

use crate::log::Redis;
use crate::subscribe;

#[async_trait]
impl EventBus for Redis {
    fn id(&self) -> BusId {
        self.bus_id
    }

    fn carries(&self) -> Carries {
        Carries { shared: true }
    }

    async fn announce(&self, announcement: &Announcement) -> Result<()> {
        let mut call = self.scripts.announce.prepare_invoke();
        call.arg(self.keys.every_job())
            .arg(self.keys.one_job(&announcement.job_id))
            .arg(&announcement.line[..]);
        // Once more does no harm: an announcement may be repeated.
        self.connections
            .script_shared("event_bus.announce", &call)
            .await
    }

    fn subscribe(&self) -> Signals {
        subscribe::signals(self.connections.clone(), &self.keys, &self.settings)
    }

    async fn ping(&self) -> Result<()> {
        self.connections.ping("event_bus.ping").await
    }
}
