//! Which jobs a stream over many jobs is about, and which of them it begins with.

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::{ClientId, Clients, JobId, JobStatus, Timestamp};
use conch_ports::{Error, JobFilter, Paging};

use super::Shared;
use crate::entropy;

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
    fn includes(&self, job_id: &JobId, client_id: Option<&ClientId>) -> bool {
        (self.job_ids.is_empty() || self.job_ids.contains(job_id))
            && (self.client_ids.is_empty()
                || client_id.is_some_and(|client| self.client_ids.contains(client)))
    }

    pub(super) fn names_jobs(&self) -> bool {
        !self.job_ids.is_empty()
    }
}

/// A selection as one caller may see it: what is another client's is as absent.
#[derive(Debug, Clone)]
pub(super) struct VisibleSelection {
    selection: Selection,
    clients: Clients,
}

impl Deref for VisibleSelection {
    type Target = Selection;

    fn deref(&self) -> &Selection {
        &self.selection
    }
}

impl VisibleSelection {
    pub(super) fn new(selection: Selection, clients: Clients) -> Self {
        Self { selection, clients }
    }

    /// Every job there is, for the feed itself.
    pub(super) fn everything() -> Self {
        Self::new(Selection::default(), Clients::ALL)
    }

    pub(super) fn includes(&self, job_id: &JobId, client_id: Option<&ClientId>) -> bool {
        self.clients.see(client_id) && self.selection.includes(job_id, client_id)
    }

    /// Whose jobs may be seen.
    pub(super) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Whose jobs Triton is asked for; `None` stands for everybody's.
    fn owners(&self) -> Vec<Option<&ClientId>> {
        let chosen = &self.selection.client_ids;
        match self.clients.named() {
            None if chosen.is_empty() => vec![None],
            Some(named) if chosen.is_empty() => named.iter().map(Some).collect(),
            _ => chosen
                .iter()
                .filter(|client| self.clients.see(Some(client)))
                .map(Some)
                .collect(),
        }
    }
}

/// The jobs that a stream begins with.
pub(super) struct Listed {
    /// When they were asked for.
    pub(super) asked_at: i64,
    /// Newest first; those that are named as they were named.
    pub(super) job_ids: Vec<JobId>,
}

/// As [`selected`]. Tries again for as long as Triton doesn't answer.
pub(super) async fn list(
    shared: Arc<Shared>,
    selection: VisibleSelection,
    since: Option<i64>,
) -> Listed {
    let mut backoff = Duration::from_millis(100);
    loop {
        let asked_at = (shared.clock)().as_millis();
        match selected(&shared, &selection, since).await {
            Ok(job_ids) => return Listed { asked_at, job_ids },
            Err(error) => {
                tracing::debug!(%error, "a stream over many jobs waits for Triton's list");
                tokio::time::sleep(entropy::lengthened(backoff)).await;
                backoff = (backoff * 2).min(shared.settings.position_check);
            }
        }
    }
}

/// The jobs that a stream begins with, newest first.
pub(super) async fn selected(
    shared: &Shared,
    selection: &VisibleSelection,
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
    let mut found: Vec<(Option<Timestamp>, JobId)> = Vec::new();
    for client in selection.owners() {
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
        let jobs = {
            let permit = shared.lists.acquire().await;
            let _permit = permit.expect("nobody closes it");
            shared.gateway.jobs(&filter, paging).await?
        };
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
