//! What each caller takes of the hub: streams, jobs that these name, and questions about jobs without a
//! log. Counted from before a stream begins until it is gone, however it ends, so that no race lets one
//! more in. A caller without streams is forgotten once its questions are earned again.
//!
//! A caller goes by the name that it was vouched for, or else by the address that it comes from. Where
//! neither is known nothing is counted.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use conch_domain::{Caller, Identity, JobId};
use parking_lot::Mutex;

use super::questions::Questions;

/// How much of the hub one caller may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    /// Streams, where callers say who they are; none: any number.
    pub(super) streams: Option<usize>,
    /// Jobs that its streams name; none: any number.
    pub(super) jobs: Option<usize>,
    /// Callers at once.
    pub(super) callers: usize,
}

/// All callers.
pub(super) struct Callers {
    known: Mutex<HashMap<Who, Taken>>,
    most: Most,
}

/// One caller, as it is told from others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Named(Arc<Identity>),
    From(IpAddr),
}

impl Who {
    fn of(caller: &Caller) -> Option<Self> {
        let named = caller.identity().cloned().map(Self::Named);
        named.or_else(|| caller.peer().map(|peer| Self::From(network(peer))))
    }
}

/// What one subscriber of a provider has: of IPv6 that is a network of 64 bits at least.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(peer) => {
            let [a, b, c, d, ..] = peer.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        peer @ IpAddr::V4(_) => peer,
    }
}

/// What one caller has.
struct Taken {
    streams: usize,
    /// How many of its streams name each job.
    jobs: BTreeMap<JobId, usize>,
    questions: Arc<Questions>,
}

/// The caller has as much as it may have; the setting that says so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany(pub(super) &'static str);

/// One stream's place; given back when dropped.
pub(super) struct Place {
    callers: Arc<Callers>,
    who: Who,
    jobs: Box<[JobId]>,
    questions: Arc<Questions>,
}

impl Place {
    /// The caller's budget of questions.
    pub(super) fn questions(&self) -> &Arc<Questions> {
        &self.questions
    }
}

impl Callers {
    pub(super) fn new(most: Most) -> Self {
        Self {
            known: Mutex::default(),
            most,
        }
    }

    /// A place for one more stream of the caller, which names these jobs; none where nothing is counted.
    pub(super) fn place(
        self: &Arc<Self>,
        caller: &Caller,
        jobs: &[JobId],
    ) -> Result<Option<Place>, TooMany> {
        let Some(who) = Who::of(caller) else {
            return Ok(None);
        };
        let most_streams = match who {
            Who::Named(_) => self.most.streams,
            // Many may come from there; how many connections there are is bounded elsewhere.
            Who::From(_) => None,
        };
        let mut known = self.known.lock();
        if !known.contains_key(&who) {
            // Where the map would grow, or mustn't: those whose questions are earned again go first.
            if known.len() >= known.capacity().min(self.most.callers) {
                known.retain(|_, taken| !taken.is_nothing());
            }
            if known.len() >= self.most.callers {
                return Err(TooMany("max_streams_per_caller"));
            }
        }
        let taken = known.entry(who.clone()).or_insert_with(Taken::nothing);
        if most_streams.is_some_and(|most| taken.streams >= most) {
            return Err(TooMany("max_streams_per_caller"));
        }
        taken.streams += 1;
        for job in jobs {
            *taken.jobs.entry(job.clone()).or_default() += 1;
        }
        // Taken first and given back where it is too much: a job that is named twice counts once.
        let is_too_much = self.most.jobs.is_some_and(|most| taken.jobs.len() > most);
        let questions = Arc::clone(&taken.questions);
        drop(known);
        let place = Place {
            callers: Arc::clone(self),
            who,
            jobs: jobs.into(),
            questions,
        };
        if is_too_much {
            return Err(TooMany("max_watched_jobs_per_caller"));
        }
        Ok(Some(place))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let mut known = self.known.lock();
        known.retain(|_, taken| !taken.is_nothing());
        known.len()
    }
}

impl Taken {
    fn nothing() -> Self {
        Self {
            streams: 0,
            jobs: BTreeMap::new(),
            questions: Arc::new(Questions::new()),
        }
    }

    /// Whether it is as good as a caller who was never seen.
    fn is_nothing(&self) -> bool {
        self.streams == 0 && self.questions.are_unspent()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.callers.known.lock();
        let Some(taken) = known.get_mut(&self.who) else {
            return;
        };
        taken.streams -= 1;
        for job in &self.jobs {
            if let Some(count) = taken.jobs.get_mut(job) {
                *count -= 1;
                if *count == 0 {
                    taken.jobs.remove(job);
                }
            }
        }
        if taken.is_nothing() {
            known.remove(&self.who);
            // A crowd that has gone leaves no memory behind.
            if known.is_empty() {
                *known = HashMap::new();
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

    fn from(address: &str) -> Caller {
        Caller::unrestricted().from_peer(address.parse().expect("an address"))
    }

    fn ids(names: &str) -> Vec<JobId> {
        let ids = names.split_whitespace().map(JobId::parse);
        ids.map(|id| id.expect("an id")).collect()
    }

    fn callers(streams: Option<usize>, jobs: Option<usize>, callers: usize) -> Arc<Callers> {
        let most = Most {
            streams,
            jobs,
            callers,
        };
        Arc::new(Callers::new(most))
    }

    #[tokio::test]
    async fn each_caller_has_so_many_places_and_who_has_none_is_forgotten() {
        let callers = callers(Some(2), None, 3);
        let enter = |issuer: &str, subject: &str| callers.place(&caller(issuer, subject), &[]);
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

    #[tokio::test]
    async fn each_caller_names_so_many_jobs() {
        let callers = callers(None, Some(3), 10);
        let mut held = Vec::new();
        for (caller, jobs, is_let_in) in [
            (caller("i", "a"), "x y", true),
            // A job that several streams name is one.
            (caller("i", "a"), "y z z", true),
            (caller("i", "a"), "w", false),
            (caller("i", "a"), "x y", true),
            (caller("i", "a"), "", true),
            (from("10.0.0.1"), "x y z", true),
            (from("::ffff:10.0.0.1"), "w", false),
            (from("10.0.0.2"), "w", true),
            (from("2001:db8:0:1::1"), "x y z", true),
            (from("2001:db8:0:1:ffff::2"), "w", false),
            (from("2001:db8:0:2::1"), "w", true),
            (from("10.0.0.3"), "w x y z", false),
        ] {
            let place = callers.place(&caller, &ids(jobs));
            let refused = TooMany("max_watched_jobs_per_caller");
            let expected = (!is_let_in).then_some(&refused);
            assert_eq!(place.as_ref().err(), expected, "{jobs}");
            held.extend(place.ok().flatten());
        }
        held.remove(0);
        // Another stream still names them.
        assert!(callers.place(&caller("i", "a"), &ids("w")).is_err());
        held.remove(0);
        assert!(callers.place(&caller("i", "a"), &ids("w")).is_ok());
        drop(held);
        assert_eq!(callers.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_comes_back_has_not_earned_new_questions() {
        let callers = callers(None, None, 10);
        let spend = async || {
            let place = callers.place(&from("10.0.0.1"), &[]);
            let place = place.ok().flatten().expect("it is counted");
            let begun = tokio::time::Instant::now();
            for _ in 0..100 {
                place.questions().turn().await;
            }
            begun.elapsed()
        };
        tokio::time::sleep(std::time::Duration::from_mins(1)).await;
        assert!(spend().await.is_zero());
        assert!(!spend().await.is_zero());
        tokio::time::sleep(std::time::Duration::from_mins(1)).await;
        assert_eq!(callers.len(), 0);
        assert!(spend().await.is_zero());
    }

    #[test]
    fn who_need_not_say_who_they_are_is_not_counted() {
        let callers = callers(Some(0), Some(0), 0);
        let place = callers.place(&Caller::unrestricted(), &ids("x"));
        assert!(place.is_ok_and(|place| place.is_none()));
        assert!(callers.place(&caller("i", "a"), &[]).is_err());
    }
}
