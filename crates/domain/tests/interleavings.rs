//! For any interleaving of two workers, a canceller and an unreliable network: the log has no gaps (I1),
//! has at most one end and it is the last event (I2), and accepts nothing of an attempt that is over (I7).

use conch_domain::{
    Applied, Epoch, Event, EventId, EventKind, Illegal, Job, JobId, Position, RetryReason,
    TemplateId, Timestamp,
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// A worker appends the event that follows in its own view of the job.
    Work { worker: usize, kind: EventKind },
    /// A worker begins the attempt that is due, even if another worker is running it.
    Claim { worker: usize },
    /// A client requests the cancellation.
    RequestCancel,
    /// A watcher receives an event of the log: repeated, too early or in order.
    Deliver { which: prop::sample::Index },
}

/// A store with compare-and-set but without fencing, so that the state machine itself is tested.
struct World {
    log: Vec<(Position, Event)>,
    job: Job,
    workers: [(Job, u32); 2],
    watcher: Job,
    initial: Job,
}

impl World {
    fn new() -> Self {
        let id: JobId = "j".parse().expect("an id");
        let initial = Job::initial(id, Epoch::from_random([7; 4]), true);
        let mut world = Self {
            log: Vec::new(),
            job: initial.clone(),
            workers: [(initial.clone(), 1), (initial.clone(), 1)],
            watcher: initial.clone(),
            initial,
        };
        let queued = EventKind::Queued {
            queued_at: Timestamp::from_micros(0),
            value_proposition_id: None,
            schedule: conch_domain::Schedule::default(),
        };
        world
            .append(world.job.clone(), queued, None)
            .expect("a job is born queued");
        world
    }

    /// The store's answer to an event appended after `fold`: the new state, its own state, or the refusal.
    fn append(&mut self, fold: Job, kind: EventKind, attempt: Option<u32>) -> Result<Job, Illegal> {
        let event = Event {
            job_id: fold.id.clone(),
            client_id: None,
            timestamp: Timestamp::from_micros(self.log.len() as i64),
            attempt,
            event_id: EventId::parse(&format!("e{}", self.log.len())).expect("an id"),
            making: None,
            derived: false,
            kind,
        };
        let mut next = fold;
        let position = next.position.next();
        let before = next.clone();
        match next.apply(position, &event) {
            Ok(applied) => assert_eq!(applied, Applied::Applied),
            Err(illegal) => {
                assert_eq!(next, before, "a refused event changes nothing");
                return Err(illegal);
            }
        }
        if position == self.job.position.next() {
            self.log.push((position, event));
            self.job = next;
        }
        Ok(self.job.clone())
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Work { worker, kind } => {
                let (fold, attempt) = self.workers[worker].clone();
                // After a refusal or a lost race, it reads the log and may try again later, as the same attempt.
                let job = self.append(fold, kind, Some(attempt));
                self.workers[worker].0 = job.unwrap_or_else(|_| self.job.clone());
            }
            Step::Claim { worker } => {
                let attempt = self.job.least_attempt.max(1);
                self.workers[worker] = (self.job.clone(), attempt);
            }
            Step::RequestCancel => {
                let asked = EventKind::CancelRequested { reason: None };
                // Refused: it was requested before, or it is too late.
                drop(self.append(self.job.clone(), asked, None));
            }
            Step::Deliver { which } => {
                let (position, event) = &self.log[which.index(self.log.len())];
                let before = self.watcher.clone();
                let answer = self
                    .watcher
                    .apply(*position, event)
                    .expect("the log is legal");
                let in_turn = *position == before.position.next();
                assert_eq!(answer == Applied::Applied, in_turn);
                assert!(
                    in_turn || self.watcher == before,
                    "out of turn changes nothing"
                );
            }
        }
    }

    fn check(mut self) {
        let mut over = 0;
        let mut begun = 0;
        let mut running = false;
        let last = self.log.len() as u64;
        for ((position, event), sequence) in self.log.iter().zip(1..) {
            assert_eq!(position.sequence, sequence, "I1");
            assert!(!event.kind.is_terminal() || sequence == last, "I2");
            if let Some(attempt) = event.attempt {
                assert!(attempt > over && attempt >= begun, "I7: {event:?}");
                begun = attempt;
                if let EventKind::Retrying { reason, .. } = event.kind {
                    // A claim that had not begun doesn't count if it ends in silence.
                    let counts = match reason {
                        RetryReason::Error => true,
                        RetryReason::LeaseExpired => running,
                        RetryReason::Shutdown => false,
                    };
                    if counts {
                        over = attempt;
                    }
                }
            }
            match event.kind {
                EventKind::Retrying { .. } => running = false,
                EventKind::Started { .. }
                | EventKind::Progress { .. }
                | EventKind::TemplateCompleted { .. }
                | EventKind::TemplateFailed { .. } => running = true,
                _ => {}
            }
        }
        for (position, event) in &self.log {
            self.watcher
                .apply(*position, event)
                .expect("the log is legal");
        }
        assert_eq!(
            self.watcher, self.job,
            "a watcher that reads the log sees what there is"
        );
        let mut again = self.initial;
        for (position, event) in &self.log {
            assert_eq!(again.apply(*position, event), Ok(Applied::Applied));
        }
        assert_eq!(again, self.job, "the state is the fold of the log");
    }
}

fn kind() -> impl Strategy<Value = EventKind> {
    let now = Timestamp::from_micros(0);
    let template_id = |n: u32| TemplateId::parse(&format!("t{n}")).expect("an id");
    let retrying = move |reason| EventKind::Retrying {
        max_attempts: 3,
        retry_at: now,
        reason,
        error_message: None,
    };
    prop_oneof![
        4 => Just(EventKind::Started { started_at: now }),
        8 => (0_u8..=200).prop_map(|progress| EventKind::Progress {
            progress,
            completed_templates: 0,
            total_templates: 7,
            message: None,
        }),
        8 => (1_u32..=7).prop_map(move |n| EventKind::TemplateCompleted {
            template_id: template_id(n),
            template_index: n,
            total_templates: 7,
            name: String::new(),
            category: String::new(),
            target_audience: String::new(),
        }),
        2 => Just(retrying(RetryReason::Error)),
        2 => Just(retrying(RetryReason::LeaseExpired)),
        2 => Just(retrying(RetryReason::Shutdown)),
        1 => Just(EventKind::Completed {
            template_ids: vec![template_id(1)],
            template_count: 1,
            generation_duration_ms: None,
            completed_at: now,
            failed_templates: Vec::new(),
            error_message: None,
        }),
        1 => Just(EventKind::Failed {
            error_message: "no".to_owned(),
            generation_duration_ms: None,
            completed_at: now,
        }),
        1 => Just(EventKind::Cancelled { template_ids: Vec::new(), completed_at: now }),
        1 => Just(EventKind::Other { event_type: "data:generated".to_owned() }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0_usize..2, kind()).prop_map(|(worker, kind)| Step::Work { worker, kind }),
        4 => (0_usize..2).prop_map(|worker| Step::Claim { worker }),
        1 => Just(Step::RequestCancel),
        6 => any::<prop::sample::Index>().prop_map(|which| Step::Deliver { which }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_keeps_the_log_whole(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.check();
    }
}
