//! An external job that continues after its end. Publishers on Celery retry by themselves: `job:failed`,
//! and then `job:started` and `job:completed` of the same job. For a job that isn't our own, such an event
//! begins a new epoch of its log.
//!
//! Never in here: a job of our own, or an event after `job:completed` or `job:cancelled`. The events of an
//! epoch never change; the next one only remembers where it ended.

use crate::{
    Attempts, ClientId, Epoch, Event, EventKind, Job, JobRecord, JobStatus, Position, Timestamp,
    ValuePropositionId,
};

/// Most epochs of a job that continues after its end, the first one included.
pub const MAX_EPOCHS: usize = 16;

/// How far the clocks of a publisher's workers may differ, in milliseconds. An event that is older than
/// the end by more than that belongs to the run that failed.
const CLOCK_SKEW_MS: i64 = 1000;

/// Where a job comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The client that it belongs to.
    pub client_id: Option<ClientId>,
    /// The value proposition that its templates are generated from.
    pub value_proposition_id: Option<ValuePropositionId>,
    /// When it was accepted.
    pub created_at: Option<Timestamp>,
}

impl Origin {
    /// The origin of a job, as far as it is known.
    pub fn of(job: &JobRecord) -> Self {
        Self {
            client_id: job.client_id.clone(),
            value_proposition_id: job.value_proposition_id.clone(),
            created_at: job.created_at,
        }
    }
}

fn fill<T: Clone>(known: &mut Option<T>, told: Option<&T>) {
    if known.is_none() {
        *known = told.cloned();
    }
}

impl Job {
    /// The job as it continues with this event, in the new epoch that the event begins; none if the event
    /// doesn't begin one.
    ///
    /// The job's origin (client, value proposition, creation time) is kept. The results of the run start
    /// from nothing, but an end without a start closes the known run.
    #[must_use]
    pub fn reopen(&self, event: &Event, epoch: Epoch) -> Option<Self> {
        let restarts = matches!(event.kind, EventKind::Started { .. });
        let goes_on = restarts || matches!(event.kind, EventKind::Completed { .. });
        let is_late = self.completed_at.is_some_and(|ended| {
            event.timestamp.as_micros() < ended.as_micros() - CLOCK_SKEW_MS * 1000
        });
        if !self.may_go_on() || !goes_on || is_late {
            return None;
        }
        if self.past.len() + 1 >= MAX_EPOCHS || self.position.epoch == epoch {
            return None;
        }
        let mut past = self.past.clone();
        past.push(self.position);
        Some(Self::restore(JobRecord {
            position: Position { epoch, sequence: 0 },
            secret: None,
            past,
            reopened_at: Some(event.timestamp),
            status: JobStatus::Pending,
            progress: 0,
            attempt: 0,
            least_attempt: 0,
            attempts: Attempts::default(),
            cancel_requested: false,
            error_message: None,
            started_at: self.started_at.filter(|_| !restarts),
            completed_at: None,
            generation_duration_ms: None,
            template_ids: Vec::new(),
            template_count: 0,
            ..(**self).clone()
        }))
    }

    /// Fills in what Triton knows about an external job and its publisher's events didn't contain: client,
    /// value proposition, creation time. Known values are not overwritten.
    pub fn learn(&mut self, origin: &Origin) {
        if !self.own {
            self.fill_origin(origin);
        }
    }

    /// The same for any job: what another program kept of one of our own has few fields, too.
    pub fn fill_origin(&mut self, origin: &Origin) {
        let has_all = self.client_id.is_some()
            && self.value_proposition_id.is_some()
            && self.created_at.is_some();
        if has_all || *origin == Origin::of(self) {
            return;
        }
        let mut record = (**self).clone();
        fill(&mut record.client_id, origin.client_id.as_ref());
        let value_proposition_id = origin.value_proposition_id.as_ref();
        fill(&mut record.value_proposition_id, value_proposition_id);
        fill(&mut record.created_at, origin.created_at.as_ref());
        *self = Self::restore(record);
    }

    /// Whether it is a failed external job, which its publisher may continue.
    pub fn may_go_on(&self) -> bool {
        !self.own && self.status == JobStatus::Failed
    }

    /// Whether this is an earlier epoch of the job, before it continued after its end.
    pub fn has_gone_on_from(&self, epoch: Epoch) -> bool {
        self.past.iter().any(|end| end.epoch == epoch)
    }

    /// Whether a failure at that time may belong to an epoch before the present one. One without a known
    /// time may.
    pub fn may_have_gone_on_from_failure(&self, failed_at: Option<Timestamp>) -> bool {
        self.reopened_at.is_some_and(|began| {
            let latest = began.plus_millis(CLOCK_SKEW_MS);
            failed_at.is_none_or(|at| at < latest)
        })
    }

    /// The number of events in all its epochs.
    pub fn events_in_all(&self) -> u64 {
        let past: u64 = self.past.iter().map(|end| end.sequence).sum();
        past.saturating_add(self.position.sequence)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Applied, EventCap, EventId, Illegal, JobId};

    use super::*;

    const AT: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn epoch(number: u8) -> Epoch {
        Epoch::from_random([0, 0, 0, number])
    }

    fn event(at: Timestamp, kind: EventKind) -> Event {
        Event {
            job_id: JobId::parse("j").unwrap(),
            client_id: Some(ClientId::parse("c").unwrap()),
            timestamp: at,
            attempt: None,
            event_id: EventId::parse("e").unwrap(),
            derived: false,
            making: None,
            kind,
        }
    }

    fn started() -> EventKind {
        EventKind::Started { started_at: AT }
    }

    fn failed() -> EventKind {
        EventKind::Failed {
            error_message: "no answer".to_owned(),
            generation_duration_ms: None,
            completed_at: AT,
        }
    }

    fn completed() -> EventKind {
        EventKind::Completed {
            template_ids: Vec::new(),
            template_count: 2,
            failed_templates: Vec::new(),
            error_message: None,
            generation_duration_ms: None,
            completed_at: AT.plus_millis(500),
        }
    }

    fn cancelled() -> EventKind {
        EventKind::Cancelled {
            template_ids: Vec::new(),
            completed_at: AT,
        }
    }

    fn other() -> EventKind {
        EventKind::Other {
            event_type: "data:generated".to_owned(),
        }
    }

    fn progress() -> EventKind {
        EventKind::Progress {
            progress: 50,
            completed_templates: 1,
            total_templates: 2,
            message: None,
        }
    }

    fn job(own: bool, kinds: &[EventKind]) -> Job {
        let mut job = Job::initial(JobId::parse("j").unwrap(), epoch(0), own);
        for kind in kinds {
            let next = job.position.next();
            let applied = job.apply(next, &event(AT, kind.clone()));
            assert_eq!(applied, Ok(Applied::Applied));
        }
        job
    }

    #[test]
    fn which_event_begins_a_new_epoch_after_which_state() {
        let queued = EventKind::Queued {
            queued_at: AT,
            value_proposition_id: None,
            schedule: crate::Schedule::default(),
        };
        let states: [(&str, &[EventKind]); 6] = [
            ("nothing", &[]),
            ("pending", std::slice::from_ref(&queued)),
            ("running", &[started()]),
            ("failed", &[started(), failed()]),
            ("completed", &[started(), completed()]),
            ("cancelled", &[started(), cancelled()]),
        ];
        let events = [
            queued.clone(),
            started(),
            progress(),
            completed(),
            failed(),
            cancelled(),
            EventKind::CancelRequested { reason: None },
            other(),
        ];
        for (state, kinds) in states {
            for kind in &events {
                let what = format!("{} after {state}", kind.event_type());
                let goes_on = matches!(kind.event_type(), "job:started" | "job:completed");
                let reopened = job(false, kinds).reopen(&event(AT, kind.clone()), epoch(1));
                assert_eq!(reopened.is_some(), goes_on && state == "failed", "{what}");
                if let Some(mut reopened) = reopened {
                    let next = reopened.position.next();
                    let applied = reopened.apply(next, &event(AT, kind.clone()));
                    assert_eq!(applied, Ok(Applied::Applied), "{what}");
                }
                let own = job(true, kinds).reopen(&event(AT, kind.clone()), epoch(1));
                assert_eq!(own, None, "{what}, of our own");
            }
        }
    }

    #[test]
    fn what_was_known_of_the_job_stays_known_and_the_run_begins_anew() {
        let queued = EventKind::Queued {
            queued_at: AT,
            value_proposition_id: Some("v".parse().unwrap()),
            schedule: crate::Schedule::default(),
        };
        let before = job(false, &[queued, started(), progress(), failed()]);
        let later = AT.plus_millis(60_000);
        let restart = event(later, EventKind::Started { started_at: later });
        let mut after = before.reopen(&restart, epoch(1)).unwrap();
        assert_eq!(after.position.to_string(), "00000001-0");
        after.apply(after.position.next(), &restart).unwrap();
        assert_eq!(after.created_at, before.created_at);
        assert_eq!(after.value_proposition_id, before.value_proposition_id);
        assert_eq!(after.client_id, before.client_id);
        assert_eq!((after.progress, after.error_message.as_ref()), (0, None));
        assert_eq!(
            (after.status, after.started_at),
            (JobStatus::Running, Some(later))
        );
        assert!(after.has_gone_on_from(epoch(0)) && !after.has_gone_on_from(epoch(1)));
        assert_eq!(after.events_in_all(), 5);

        // An end without a start closes the known run.
        let end = event(AT.plus_millis(500), completed());
        let mut ended = before.reopen(&end, epoch(1)).unwrap();
        ended.apply(ended.position.next(), &end).unwrap();
        assert_eq!(ended.generation_duration_ms, Some(500));
    }

    #[test]
    fn what_triton_tells_fills_gaps_and_replaces_nothing() {
        let told = Origin {
            client_id: Some("other".parse().unwrap()),
            value_proposition_id: Some("other".parse().unwrap()),
            created_at: Some(AT.plus_millis(1)),
        };
        let queued = EventKind::Queued {
            queued_at: AT,
            value_proposition_id: Some("v".parse().unwrap()),
            schedule: crate::Schedule::default(),
        };
        for (known, own, expected) in [
            (&[queued][..], false, None),
            (&[], false, Some(&told)),
            (&[], true, None),
        ] {
            let mut job = job(own, known);
            let before = Origin::of(&job);
            job.learn(&told);
            assert_eq!(Origin::of(&job), *expected.unwrap_or(&before));
        }
    }

    #[test]
    fn what_is_older_than_the_end_belongs_to_the_run_that_failed() {
        let failed = job(false, &[started(), failed()]);
        for (ms, goes_on) in [(-1001, false), (-1000, true), (0, true), (60_000, true)] {
            let restart = event(AT.plus_millis(ms), started());
            let reopened = failed.reopen(&restart, epoch(1));
            assert_eq!(reopened.is_some(), goes_on, "{ms} ms after the end");
        }
        let later = AT.plus_millis(60_000);
        let restart = event(later, started());
        let mut reopened = failed.reopen(&restart, epoch(1)).unwrap();
        reopened.apply(reopened.position.next(), &restart).unwrap();
        let check = |at| reopened.check(&event(at, super::tests::failed()), EventCap::NONE);
        assert_eq!(check(AT), Err(Illegal::OfAnEarlierEpoch));
        assert_eq!(check(later), Ok(()));
    }

    #[test]
    fn epochs_and_their_events_are_bounded_together() {
        let mut job = job(false, &[started(), failed()]);
        for number in 1..MAX_EPOCHS as u8 {
            let restart = event(AT, started());
            job = job.reopen(&restart, epoch(number)).expect("another epoch");
            job.apply(job.position.next(), &restart).unwrap();
            let most = EventCap::new(job.events_in_all());
            let refused = job.check(&event(AT, progress()), most);
            assert!(
                matches!(refused, Err(Illegal::TooManyEvents { .. })),
                "{refused:?}"
            );
            job.apply(job.position.next(), &event(AT, failed()))
                .unwrap();
        }
        assert_eq!(job.past.len(), MAX_EPOCHS - 1);
        assert_eq!(job.reopen(&event(AT, started()), epoch(200)), None);
        assert_eq!(job.events_in_all(), 2 * MAX_EPOCHS as u64);
    }
}
