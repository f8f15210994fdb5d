//! Which jobs a stream over many jobs is about, and which of them it begins with.

use std::collections::HashSet;
use std::sync::Arc;

use conch_domain::{ClientId, JobId, JobStatus, Timestamp};
use conch_ports::{Error, JobFilter, Paging};

use super::topic::Phase;
use super::{Interest, Shared};

/// Jobs that a stream begins with at most, newest first.
const MAX_SNAPSHOTS: usize = 1000;
/// How far a resume reaches back behind its cursor.
const OVERLAP_MILLIS: i64 = 10_000;
/// Jobs asked of Triton at a time.
const PAGE_SIZE: u32 = 100;

/// Which jobs a stream is about: those named, of those clients; an empty list doesn't restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these jobs; at most 1,000 count.
    pub job_ids: Vec<JobId>,
    /// Only jobs of these clients.
    pub client_ids: Vec<ClientId>,
}

impl Selection {
    pub(super) fn includes(&self, job_id: &JobId, client_id: Option<&ClientId>) -> bool {
        (self.job_ids.is_empty() || self.job_ids.contains(job_id))
            && (self.client_ids.is_empty()
                || client_id.is_some_and(|client| self.client_ids.contains(client)))
    }

    pub(super) fn names_jobs(&self) -> bool {
        !self.job_ids.is_empty()
    }
}

/// The job can't be watched now: too many are already, or what followed it broke off.
pub(super) struct NoRoom;

/// The job's topic as soon as something is known of it; none when there is no such job.
pub(super) async fn settle(
    shared: &Arc<Shared>,
    job_id: JobId,
) -> Result<Option<Interest>, NoRoom> {
    let interest = shared.interest(&job_id, false).ok_or(NoRoom)?;
    loop {
        let settled = interest.topic().settled.notified();
        tokio::pin!(settled);
        settled.as_mut().enable();
        if interest.topic().is_broken_off() {
            return Err(NoRoom);
        }
        match interest.topic().state().phase {
            Phase::Loading => {}
            Phase::Lost => return Ok(None),
            Phase::Live | Phase::Ended(_) => break,
        }
        settled.await;
    }
    Ok(Some(interest))
}

/// The jobs that a stream begins with, newest first.
pub(super) async fn selected(
    shared: &Shared,
    selection: &Selection,
    since: Option<i64>,
) -> Result<Vec<JobId>, Error> {
    if selection.names_jobs() {
        let mut seen = HashSet::new();
        return Ok(selection
            .job_ids
            .iter()
            .filter(|id| seen.insert(*id))
            .take(MAX_SNAPSHOTS)
            .cloned()
            .collect());
    }
    let clients: Vec<Option<&ClientId>> = if selection.client_ids.is_empty() {
        vec![None]
    } else {
        selection.client_ids.iter().map(Some).collect()
    };
    let mut found: Vec<(Option<Timestamp>, JobId)> = Vec::new();
    for client in clients {
        for status in [JobStatus::Running, JobStatus::Pending] {
            let filter = JobFilter {
                client_id: client.cloned(),
                status: Some(status),
                updated_since: None,
            };
            collect(shared, filter, &mut found).await?;
        }
        if let Some(since) = since {
            let from = since.saturating_sub(OVERLAP_MILLIS);
            let filter = JobFilter {
                client_id: client.cloned(),
                status: None,
                updated_since: Some(Timestamp::from_micros(from.saturating_mul(1000))),
            };
            collect(shared, filter, &mut found).await?;
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    let mut seen = HashSet::new();
    Ok(found
        .into_iter()
        .map(|(_, id)| id)
        .filter(|id| seen.insert(id.clone()))
        .take(MAX_SNAPSHOTS)
        .collect())
}

async fn collect(
    shared: &Shared,
    filter: JobFilter,
    found: &mut Vec<(Option<Timestamp>, JobId)>,
) -> Result<(), Error> {
    let limit = found.len() + MAX_SNAPSHOTS;
    for page in 1.. {
        let paging = Paging {
            page,
            page_size: PAGE_SIZE,
        };
        let jobs = shared.gateway.jobs(&filter, paging).await?;
        let count = jobs.items.len();
        found.extend(
            jobs.items
                .into_iter()
                .map(|job| (job.created_at, job.id.clone())),
        );
        let done = u64::from(page) * u64::from(PAGE_SIZE) >= jobs.total;
        if count == 0 || done || found.len() >= limit {
            break;
        }
    }
    Ok(())
}
