//! External jobs that say nothing: whether Triton knows more of them than their logs. Many of them are
//! compared with its list of unfinished jobs, which all topics share; only what the list doesn't answer is
//! asked about singly, by the job's own topic.
//!
//! Never in here: a change of what is known of a job. A list is read while it changes, so it may only say
//! that there is nothing to ask.

use std::sync::{Arc, Weak};
use std::time::Duration;

use conch_domain::{Job, JobStatus};
use conch_ports::{Error, JobFilter, Paging};
use tokio::time::{Instant, MissedTickBehavior};

use super::Shared;
use super::batched_check::Among;
use super::calls::Reason;
use super::topic::Topic;

/// So many silent jobs are asked about singly, whatever else there is.
const FEW: usize = 20;
/// Jobs on a page of Triton's list.
const PAGE_SIZE: u32 = 100;
/// Between two pages.
const PAGE_PAUSE: Duration = Duration::from_millis(500);
/// Jobs asked about singly at once, and the time between two such groups.
const AT_ONCE: usize = 16;
const PAUSE: Duration = Duration::from_millis(100);
/// Of the jobs that Triton said that it doesn't know, so many are asked about again in each look.
const UNKNOWN: usize = 50;

/// Looks for silent jobs twice per position check, until the shutdown.
pub(super) async fn keep_comparing(shared: Arc<Shared>) {
    let period = (shared.settings.position_check / 2).max(Duration::from_millis(1));
    let mut looks = tokio::time::interval(period);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let compare = async {
        let mut left = Vec::new();
        loop {
            looks.tick().await;
            left = look(&shared, left).await;
        }
    };
    tokio::select! {
        biased;
        () = shared.shutdown.cancelled() => {}
        () = compare => {}
    }
}

/// Has the silent jobs compared and asked about. Takes those that the last look `left`, and answers those that
/// this one leaves because the list is out of reach: all others are silent for a shorter time, so they aren't
/// looked for before so few are left.
async fn look(shared: &Shared, left: Vec<Weak<Topic>>) -> Vec<Weak<Topic>> {
    let silent = if left.len() > FEW {
        left
    } else if shared.checks.may_have(Among::Beyond) {
        silent(shared)
    } else {
        return Vec::new();
    };
    let mut most = silent.len();
    if silent.len() > FEW
        && let Err(error) = compare_with_list(shared, silent.len()).await
    {
        tracing::debug!(%error, "Triton's list of unfinished jobs could not be looked through");
        // It isn't asked for each job whether it is out of reach.
        if error.is_retryable() {
            most = FEW;
        }
    }
    let mut unknown = 0;
    let mut silent = silent.into_iter();
    let mut asked = Vec::new();
    while asked.len() < most
        && let Some(topic) = silent.next()
    {
        // Those that are on the list count as silent no more.
        let Some((topic, silence)) = topic.upgrade().and_then(|topic| {
            let silence = topic.silence()?;
            Some((topic, silence))
        }) else {
            continue;
        };
        unknown += usize::from(silence.is_unknown);
        if !silence.is_unknown || unknown <= UNKNOWN {
            asked.push(topic);
        }
    }
    for (n, topics) in asked.chunks(AT_ONCE).enumerate() {
        if n > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        for topic in topics {
            topic.call(Reason::Silence);
        }
    }
    silent.collect()
}

/// The jobs that are silent, the longest first.
fn silent(shared: &Shared) -> Vec<Weak<Topic>> {
    let topics: Vec<_> = shared.topics.lock().values().cloned().collect();
    let mut silent: Vec<_> = topics
        .into_iter()
        .filter_map(|topic| Some((topic.silence()?.since, topic)))
        .collect();
    silent.sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.job_id.cmp(&y.job_id)));
    silent
        .iter()
        .map(|(_, topic)| Arc::downgrade(topic))
        .collect()
}

/// Goes through Triton's list of unfinished jobs, if that takes fewer questions than asking about `most` jobs
/// singly.
async fn compare_with_list(shared: &Shared, most: usize) -> Result<(), Error> {
    let mut pauses = tokio::time::interval(PAGE_PAUSE);
    pauses.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pages = 0;
    // In the order of a job's life: one that begins to run meanwhile is on the second list.
    for status in [JobStatus::Pending, JobStatus::Running] {
        let filter = JobFilter {
            client_id: None,
            status: Some(status),
            updated_since: None,
        };
        for page in 1.. {
            pauses.tick().await;
            let paging = Paging {
                page,
                page_size: PAGE_SIZE,
            };
            let listed = {
                let permit = shared.lists.acquire().await;
                let _permit = permit.expect("it is never closed");
                shared.gateway.jobs(&filter, paging).await?
            };
            for job in &listed.items {
                let topic = shared.topics.lock().get(&job.id).cloned();
                if let Some(topic) = topic {
                    topic.is_listed(job, shared.settings.position_check);
                }
            }
            let all = listed.total.div_ceil(u64::from(PAGE_SIZE));
            if page == 1 {
                pages += all;
            }
            if pages >= most as u64 {
                return Ok(());
            }
            if listed.items.is_empty() || u64::from(page) >= all {
                break;
            }
        }
    }
    Ok(())
}

/// That a job is silent.
pub(super) struct Silence {
    since: Instant,
    /// Triton's last answer was that it knows of no such job.
    is_unknown: bool,
}

impl Topic {
    /// Whether the job is silent, and Triton may know more of it than its log.
    fn silence(&self) -> Option<Silence> {
        if !self.is_at_rest() || self.is_over() || !self.may_know_less_than_triton() {
            return None;
        }
        let state = self.state();
        let is_silent = state.silent_from <= Instant::now();
        is_silent.then_some(Silence {
            since: state.silent_from,
            is_unknown: state.is_unknown_to_triton,
        })
    }

    /// The pump has looked at the job, for whatever reason.
    pub(super) fn was_looked_at(&self, position_check: Duration) {
        let from = Instant::now() + position_check / 2;
        let mut state = self.state();
        state.silent_from = state.silent_from.max(from);
    }

    /// Triton was asked about the job; `is_unknown`: it knows of no such job.
    pub(super) fn was_asked_about(&self, is_unknown: bool, position_check: Duration) {
        let mut state = self.state();
        state.is_unknown_to_triton = is_unknown;
        // The second look from now, whenever that is.
        state.silent_from = Instant::now() + position_check * 3 / 4;
    }

    /// Triton's list has the job among the unfinished ones. If it says nothing that the log doesn't say, that is
    /// an answer.
    fn is_listed(&self, listed: &Job, position_check: Duration) {
        let has_begun = listed.started_at.is_some() || listed.status == JobStatus::Running;
        let is_answer = {
            let state = self.state();
            let says_more = |known: &Job| {
                has_begun && known.started_at.is_none()
                    || state.is_owner_open
                    || known.client_id.is_none() && listed.client_id.is_some()
            };
            let known = state.job.as_ref().filter(|_| state.is_followed());
            known.is_some_and(|known| !says_more(known))
        };
        if is_answer {
            self.was_asked_about(false, position_check);
        }
    }
}
