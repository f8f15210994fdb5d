//! Bugs of what a process hears. Never in here: a bug of another port.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::JobId;
use conch_ports::{
    Announcement, BusId, Carries, Channel, EventBus, JobLog, Message, Result, Signal, Signals,
};
use conch_wire::envelope::{Sealed, seal};
use futures::StreamExt as _;

use super::log::job_of;
use super::{Broken, panics};

#[async_trait]
impl EventBus for Broken {
    fn id(&self) -> BusId {
        self.bus.id()
    }

    fn carries(&self) -> Carries {
        self.bus.carries()
    }

    async fn announce(&self, announcement: &Announcement) -> Result<()> {
        self.bus.announce(announcement).await
    }

    fn subscribe(&self) -> Signals {
        let signals = self.bus.subscribe();
        let mut seen = 0_u64;
        match self.bug.as_str() {
            "lag-swallowed" => signals
                .filter(move |signal| {
                    seen += u64::from(matches!(signal, Signal::Message(_)));
                    // An overflow takes many in a row.
                    let lost = matches!(signal, Signal::Message(_)) && seen % 64 > 48;
                    futures::future::ready(!lost)
                })
                .boxed(),
            "lapsed-dropped" => signals
                .filter(move |signal| {
                    seen += u64::from(*signal == Signal::Gap);
                    futures::future::ready(*signal != Signal::Gap || seen == 1)
                })
                .boxed(),
            "no-buffering" => {
                let reads = Arc::clone(&self.reads);
                signals
                    .filter(move |signal| {
                        let reads = reads.lock();
                        let deaf = |id: &JobId| {
                            let read = reads.get(id);
                            read.is_some_and(|at| at.elapsed() < Duration::from_secs(1))
                        };
                        let lost = match signal {
                            Signal::Message(message) => {
                                job_of(&message.bytes).is_some_and(|id| deaf(&id))
                            }
                            Signal::Gap => false,
                        };
                        futures::future::ready(!lost)
                    })
                    .boxed()
            }
            "seal-unread" => {
                let log = Arc::clone(&self.log);
                signals
                    .then(move |signal| {
                        let log = Arc::clone(&log);
                        async move {
                            let resealed = resealed(&*log, &signal).await;
                            resealed.map_or(signal, |bytes| Signal::Message(Message::own(bytes)))
                        }
                    })
                    .boxed()
            }
            "panics" => signals.inspect(panics::hear).boxed(),
            _ => signals,
        }
    }

    async fn ping(&self) -> Result<()> {
        self.bus.ping().await
    }
}

/// The seal with the right digest, whatever it came with.
async fn resealed(log: &dyn JobLog, signal: &Signal) -> Option<Bytes> {
    let Signal::Message(message) = signal else {
        return None;
    };
    let sealed = Sealed::read(&message.bytes).filter(|_| message.channel == Channel::Own)?;
    let secret = log.read(&sealed.job_id, 0, 0).await.ok()??.job.secret?;
    let Sealed {
        job_id,
        last,
        lines,
        ..
    } = &sealed;
    Some(seal(&secret, job_id, *last, lines))
}
