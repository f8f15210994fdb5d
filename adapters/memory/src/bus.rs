//! [`EventBus`]: announcements go into the feed that appends are announced in, too.

use async_trait::async_trait;
use conch_ports::{Announcement, BusId, Carries, EventBus, Result, Signals};

use crate::Memory;

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
            max_bytes: usize::MAX,
            shared: false,
        }
    }

    async fn announce(&self, announcement: &Announcement) -> Result<()> {
        self.step("event_bus.announce", |store, _| {
            store.feed.announce(
                &announcement.job_id,
                announcement
                    .position
                    .map_or(0, |position| position.sequence),
                announcement.line.clone(),
            );
            Ok(())
        })
    }

    fn subscribe(&self) -> Signals {
        self.lock().feed.subscribe()
    }

    async fn ping(&self) -> Result<()> {
        self.step("event_bus.ping", |_, _| Ok(()))
    }
}
