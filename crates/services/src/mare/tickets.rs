//! Tickets for those who can send no header: given out to a caller, and looked at when one comes back.
//!
//! A ticket opens streams of its kind for a minute. The first of them it may open again after that, so that
//! its holder can reconnect, for at most a day. Never more than the credentials that it was given out for.
//!
//! Never in here: a ticket in a log, an error or a `Debug`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::{Caller, Grant, Opens, StreamDigest, Timestamp};
use conch_ports::{Result, TicketHash, TicketStore};
use sha2::{Digest, Sha256};

use crate::Clock;

/// How long a ticket is good for, if its holder's credentials are.
const LIFETIME_MS: i64 = 60_000;
/// How long one that opened a stream may open that stream again, if its holder's credentials are.
const BOUND_LIFETIME_MS: i64 = 24 * 60 * 60_000;
/// How long it may once its job has ended: time enough to be told of the end after another reconnect.
const AFTER_THE_END: Duration = Duration::from_mins(1);
/// Random bytes in one; written as twice as many hexadecimal digits.
const BYTES: usize = 32;

/// A ticket that was given out.
pub struct Ticket {
    /// What its holder sends.
    pub text: String,
    /// From when on it opens nothing.
    pub ends_at: Timestamp,
}

/// A ticket that was brought and counts.
#[derive(Debug, Clone)]
pub struct Held {
    hash: TicketHash,
    grant: Grant,
    stream: StreamDigest,
}

impl Held {
    /// Whom it stands for.
    pub fn caller(&self) -> &Caller {
        &self.grant.caller
    }
}

/// Gives tickets out and looks at them; a cheap handle.
#[derive(Clone)]
pub struct Tickets {
    store: Arc<dyn TicketStore>,
    clock: Clock,
}

impl Tickets {
    /// Keeps them in `store`.
    pub fn new(store: Arc<dyn TicketStore>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Gives one out. Says nothing about whether what it opens is there: who uses it learns that.
    ///
    /// A caller without an identity needs none, and gets one that nobody will ask for.
    ///
    /// # Errors
    /// When the store is out of reach or has no room, or there are too many tickets already.
    pub async fn give_out(&self, caller: &Caller, opens: Opens) -> Result<Ticket> {
        let random: [u8; BYTES] = rand::random();
        let mut text = String::with_capacity(2 * BYTES);
        for byte in random {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        }
        let now = (self.clock)();
        let full = now.plus_millis(LIFETIME_MS);
        let ends_at = caller.ends_at().map_or(full, |end| end.min(full));
        if caller.identity().is_some() {
            let lifetime = Duration::from_millis(ends_at.millis_since(now).max(1));
            let grant = Grant {
                caller: caller.clone(),
                opens,
                fresh_until: ends_at,
                bound_to: None,
            };
            self.store.put(hash(&text), &grant, lifetime).await?;
        }
        Ok(Ticket { text, ends_at })
    }

    /// Whom a ticket stands for, if it is one, still good, and opens that stream. `query` is what the stream
    /// is asked for with, cursors and the ticket left out.
    ///
    /// # Errors
    /// When the store is out of reach: nothing is known of the ticket then.
    pub async fn holder<'a>(
        &self,
        text: &str,
        opens: &Opens,
        query: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Held>> {
        // Nothing else can be one: no stranger's text is worth a question.
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 2 * BYTES || !text.bytes().all(digit) {
            return Ok(None);
        }
        let (hash, stream) = (hash(text), digest(opens, query));
        let Some(grant) = self.store.get(hash).await? else {
            return Ok(None);
        };
        let now = (self.clock)();
        let counts = grant.opens == *opens
            && grant.caller.counts_at(now)
            && (now < grant.fresh_until || grant.bound_to == Some(stream));
        Ok(counts.then_some(Held {
            hash,
            grant,
            stream,
        }))
    }

    /// The ticket opened its stream: it may again, after its minute. Not if there are too many such tickets,
    /// or the store is out of reach, which is only logged: the stream itself is there.
    pub async fn opened(&self, held: &Held) {
        if held.grant.bound_to.is_some() {
            return;
        }
        let now = (self.clock)();
        let most = now.plus_millis(BOUND_LIFETIME_MS);
        let ends_at = held.caller().ends_at().map_or(most, |end| end.min(most));
        let lifetime = Duration::from_millis(ends_at.millis_since(now).max(1));
        let grant = Grant {
            bound_to: Some(held.stream),
            // What an earlier version wrote doesn't say.
            fresh_until: held.grant.fresh_until.min(now.plus_millis(LIFETIME_MS)),
            ..held.grant.clone()
        };
        match self.store.bind(held.hash, &grant, lifetime).await {
            // By another stream already, or there is no room.
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a ticket could not be kept for reconnects: it is good for a minute");
            }
        }
    }

    /// The job of the ticket's stream has ended: soon it opens nothing any more.
    pub async fn ended(&self, held: &Held) {
        // In its first minute it opens others, whose ends are not that of the one that it is bound to.
        if held
            .grant
            .bound_to
            .is_some_and(|bound| bound != held.stream)
        {
            return;
        }
        let shortened = self.store.shorten(held.hash, &held.grant, AFTER_THE_END);
        if let Err(error) = shortened.await {
            tracing::warn!(%error, "a ticket of a job that has ended lasts longer than it should");
        }
    }
}

/// Which stream it is. Each part is preceded by its length, so that no two streams are one.
fn digest<'a>(opens: &Opens, query: impl Iterator<Item = (&'a str, &'a str)>) -> StreamDigest {
    let mut sha = Sha256::new();
    let mut part = |text: &str| {
        sha.update((text.len() as u64).to_be_bytes());
        sha.update(text);
    };
    part(match opens {
        Opens::Job(id) => id.as_str(),
        Opens::ManyJobs => "",
    });
    for (name, value) in query {
        part(name);
        part(value);
    }
    StreamDigest(sha.finalize().into())
}

fn hash(ticket: &str) -> TicketHash {
    TicketHash::new(Sha256::digest(ticket.as_bytes()).into())
}
