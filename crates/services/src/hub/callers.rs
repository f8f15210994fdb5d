//! How many streams each caller has: counted from before one begins until it is gone, however it ends,
//! so that no race lets one more in. A caller without streams is forgotten.
//!
//! Where nobody has to say who they are everybody is one, and nothing is counted.

use std::collections::HashMap;
use std::sync::Arc;

use conch_domain::{Caller, Identity};
use parking_lot::Mutex;

/// The streams of all callers who said who they are.
pub(super) struct Callers {
    streams: Mutex<HashMap<Arc<Identity>, usize>>,
    /// Of one caller; none: any number.
    most: Option<usize>,
    /// Callers at once.
    room: usize,
}

/// The caller has as many streams as there may be.
pub(super) struct TooMany;

/// One stream's place; given back when dropped.
pub(super) struct Place {
    callers: Arc<Callers>,
    identity: Arc<Identity>,
}

impl Callers {
    pub(super) fn new(most: Option<usize>, room: usize) -> Self {
        Self {
            streams: Mutex::default(),
            most,
            room,
        }
    }

    /// A place for one more stream of the caller; none where they are not counted.
    pub(super) fn place(self: &Arc<Self>, caller: &Caller) -> Result<Option<Place>, TooMany> {
        let (Some(most), Some(identity)) = (self.most, caller.identity()) else {
            return Ok(None);
        };
        let mut streams = self.streams.lock();
        // Each of those who are in has a stream, so there is room for no more streams either.
        if !streams.contains_key(identity) && streams.len() >= self.room {
            return Err(TooMany);
        }
        let count = streams.entry(Arc::clone(identity)).or_default();
        if *count >= most {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Some(Place {
            callers: Arc::clone(self),
            identity: Arc::clone(identity),
        }))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.streams.lock().len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.callers.streams.lock();
        if let Some(count) = streams.get_mut(&self.identity) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.identity);
                // A crowd that has gone leaves no memory behind.
                if streams.is_empty() {
                    *streams = HashMap::new();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use conch_domain::{Clients, Scopes, Timestamp};

    use super::*;

    fn caller(issuer: &str, subject: &str) -> Caller {
        let identity = Identity {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        };
        Caller::new(
            identity,
            Clients::ALL,
            Scopes::all(),
            Timestamp::from_micros(0),
        )
    }

    #[test]
    fn each_caller_has_so_many_places_and_who_has_none_is_forgotten() {
        let callers = Arc::new(Callers::new(Some(2), 3));
        let enter = |issuer: &str, subject: &str| callers.place(&caller(issuer, subject));
        let mut held = Vec::new();
        for (issuer, subject, is_let_in) in [
            ("i", "a", true),
            ("i", "a", true),
            ("i", "a", false),
            ("i", "b", true),
            // Another issuer's of the same name is somebody else.
            ("j", "a", true),
            // There is no room for a fourth one, but for those who are in.
            ("j", "b", false),
            ("i", "b", true),
        ] {
            let place = enter(issuer, subject);
            assert_eq!(place.is_ok(), is_let_in, "{subject} of {issuer}");
            held.extend(place.ok().flatten());
        }
        assert_eq!(callers.len(), 3);
        held.remove(0);
        assert!(enter("i", "a").is_ok(), "what is given back is there again");
        drop(held);
        assert_eq!(callers.len(), 0);
    }

    #[test]
    fn who_need_not_say_who_they_are_is_not_counted() {
        for callers in [Callers::new(Some(0), 0), Callers::new(None, 0)] {
            let unlimited = callers.most.is_none();
            let callers = Arc::new(callers);
            assert!(callers.place(&Caller::anybody()).is_ok_and(|p| p.is_none()));
            assert_eq!(callers.place(&caller("i", "a")).is_ok(), unlimited);
        }
    }
}
