//! Bugs in what is believed of a sealed announcement. Each is made of a seal that is right where it should be
//! wrong: what the services then deliver is what they would if they didn't look.
//!
//! Never in here: a change to what isn't sealed.

use std::collections::BTreeMap;

use bytes::Bytes;
use conch_domain::{JobId, Position};
use conch_ports::{Channel, Message, Signal};
use conch_wire::envelope::{Sealed, seal};

use super::Planted;
use crate::gate::Gate;
use crate::store::at_once;

/// What one subscription hears.
pub(super) struct Seals {
    gate: Gate,
    planted: Planted,
    /// Where each job was said to be last.
    heads: BTreeMap<JobId, Position>,
}

impl Seals {
    pub(super) fn new(gate: &Gate, planted: Planted) -> Self {
        Self {
            gate: gate.clone(),
            planted,
            heads: BTreeMap::new(),
        }
    }

    pub(super) fn forge(&mut self, signal: Signal) -> Signal {
        let Signal::Message(Message {
            channel: Channel::Own,
            bytes,
        }) = &signal
        else {
            return signal;
        };
        let forged = Sealed::read(bytes).and_then(|sealed| self.forged(&sealed));
        forged.map_or(signal, |bytes| Signal::Message(Message::own(bytes)))
    }

    fn forged(&mut self, sealed: &Sealed) -> Option<Bytes> {
        let log = at_once(self.gate.store.log.read(&sealed.job_id, 0, 0)).ok()??;
        let secret = log.job.secret?;
        match self.planted {
            Planted::SealUnread => Some(seal(&secret, &sealed.job_id, sealed.last, &sealed.lines)),
            Planted::GapJoined if sealed.is_made_with(&secret) => {
                let head = self
                    .heads
                    .entry(sealed.job_id.clone())
                    .or_insert(sealed.last);
                let has_gap = head.epoch == sealed.last.epoch
                    && head.sequence + 1 < sealed.first().sequence
                    && sealed.lines.len() == 1;
                *head = if has_gap { head.next() } else { sealed.last };
                let moved = *head;
                has_gap.then(|| {
                    let mut line: serde_json::Value =
                        serde_json::from_slice(&sealed.lines[0]).expect("a line of a log");
                    line["sequence"] = moved.sequence.into();
                    seal(&secret, &sealed.job_id, moved, &[line.to_string()])
                })
            }
            _ => None,
        }
    }
}
