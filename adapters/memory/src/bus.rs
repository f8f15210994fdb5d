//! [`EventBus`]: announcements go into the feed that appends are announced in, too.

use async_trait::async_trait;
use conch_ports::{Announcement, BusId, Carries, EventBus, Result, Signals};

use crate::Memory;
use crate::feed::MAX_BYTES;

#[async_trait]
impl EventBus for Memory {
    fn id(&self) -> BusId {
        self.bus_id
    }

    fn carries(&self) -> Carries {
        Carries {
            lines: true,
            ephemeral: true,
            external: true,
            max_bytes: MAX_BYTES,
            shared: false,
        }
    }

    async fn announce(&self, announcement: &Announcement) -> Result<()> {
        self.step(|store, _| {
            store.feed.announce(announcement);
            Ok(())
        })
    }

    fn subscribe(&self) -> Signals {
        self.lock().feed.subscribe()
    }

    async fn ping(&self) -> Result<()> {
        self.step(|_, _| Ok(()))
    }
}
