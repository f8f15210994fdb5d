//! The faults of the bus.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use conch_domain::Timestamp;
use conch_ports::{
    Announcement, BusId, Carries, Error, ErrorKind, EventBus, Message, Result, Signal, Signals,
};
use futures::StreamExt as _;

use super::Broken;
use crate::Fault;

#[async_trait]
impl EventBus for Broken {
    fn id(&self) -> BusId {
        self.bus.id()
    }

    fn carries(&self) -> Carries {
        Carries {
            shared: self.is(Fault::ClaimsToBeShared),
            ..self.bus.carries()
        }
    }

    async fn announce(&self, announcement: &Announcement) -> Result<()> {
        let (is_away, hangs) = {
            let seen = self.seen();
            (seen.away, seen.frozen)
        };
        match self.fault {
            Fault::WaitForTheServer if hangs => std::future::pending().await,
            _ if hangs => Err(away("event_bus.announce")),
            Fault::OutageInSilence if is_away => Ok(()),
            _ if is_away => Err(away("event_bus.announce")),
            Fault::AnnounceNothing => Ok(()),
            Fault::DropLongLines if announcement.line.len() > self.carries().max_bytes => Ok(()),
            Fault::EphemeralOnPublic if announcement.position.is_none() => {
                self.announce_line(announcement.line.clone());
                Ok(())
            }
            Fault::AnnounceCut => {
                let half = announcement.line.len() / 2;
                let mut cut = announcement.clone();
                cut.line.truncate(half);
                self.bus.announce(&cut).await
            }
            Fault::AnnounceOutOfTurn => {
                // Every other announcement of a job waits for the next one, and comes after it.
                let earlier = self.seen().held.remove(&announcement.job_id);
                if let Some(earlier) = earlier {
                    self.bus.announce(announcement).await?;
                    self.announce_line(earlier);
                } else {
                    let line = announcement.line.clone();
                    self.seen().held.insert(announcement.job_id.clone(), line);
                }
                Ok(())
            }
            _ => self.bus.announce(announcement).await,
        }
    }

    fn subscribe(&self) -> Signals {
        let signals = self.bus.subscribe();
        match self.fault {
            Fault::BeginInSilence => signals.skip(1).boxed(),
            // What looks like ours is said to be.
            Fault::OwnFromPublic => signals.map(as_it_looks).boxed(),
            // The first is told, later ones are swallowed.
            Fault::LapseInSilence => {
                let mut first = true;
                let told = move |signal: &Signal| {
                    let tell = *signal != Signal::Gap || first;
                    first = false;
                    std::future::ready(tell)
                };
                signals.filter(told).boxed()
            }
            // Only what follows an interruption is told.
            Fault::OverflowInSilence => {
                let interruptions = Arc::clone(&self.interruptions);
                let mut first = true;
                let mut told_of = interruptions.load(Ordering::Relaxed);
                let told = move |signal: &Signal| {
                    let mut tell = true;
                    if *signal == Signal::Gap {
                        let seen = interruptions.load(Ordering::Relaxed);
                        tell = first || seen > told_of;
                        told_of = seen;
                    }
                    first = false;
                    std::future::ready(tell)
                };
                signals.filter(told).boxed()
            }
            _ => signals,
        }
    }

    async fn ping(&self) -> Result<()> {
        let (is_away, hangs) = {
            let seen = self.seen();
            (seen.away, seen.frozen)
        };
        match self.fault {
            Fault::AnswersFromNowhere if is_away => self.bus.ping().await,
            Fault::AnswersForWhatHangs if hangs => self.bus.ping().await,
            _ if is_away || hangs => Err(away("event_bus.ping")),
            _ => self.bus.ping().await,
        }
    }
}

fn away(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "there is no server")
}

fn as_it_looks(signal: Signal) -> Signal {
    let looks = |message: &Message| {
        let incoming = conch_wire::event::decode(&message.bytes, Timestamp::from_micros(0));
        incoming.is_ok_and(|incoming| incoming.is_numbered())
    };
    match signal {
        Signal::Message(message) if looks(&message) => Signal::Message(Message::own(message.bytes)),
        signal => signal,
    }
}
