//! Cancelling through the edge: Triton is asked to, and then what became of the job. Where it says nothing
//! on the bus (the Python service publishes nothing on a cancel), the end that it tells is appended here. If
//! it tells none in time, the position check asks again if the job is watched, else its next lookup or
//! stream does.

use std::sync::Arc;
use std::time::Duration;

use conch_domain::{Clients, JobId};
use conch_ports::{Cancelled, Error, TritonGateway};

use crate::mare::hub::Hub;
use crate::mare::lookup::Lookup;
use crate::mare::reconcile::{Asked, Reconcile};

/// How long whoever cancelled waits for word of what became of the job.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks for a job's end; a cheap handle.
#[derive(Clone)]
pub struct EdgeCancel {
    gateway: Arc<dyn TritonGateway>,
    lookup: Lookup,
    reconcile: Reconcile,
    hub: Hub,
}

impl EdgeCancel {
    /// Asks `lookup` whose the job is and `gateway` for its end, derives what is missing, tells `hub`.
    pub fn new(
        gateway: Arc<dyn TritonGateway>,
        lookup: Lookup,
        reconcile: Reconcile,
        hub: Hub,
    ) -> Self {
        Self {
            gateway,
            lookup,
            reconcile,
            hub,
        }
    }

    /// Asks for the job's end, for who may see these clients' jobs: another's is as absent. The first
    /// terminal event that is appended wins.
    ///
    /// # Errors
    /// When Triton is out of reach or answers wrongly; nothing is known of the request then.
    pub async fn cancel(&self, clients: &Clients, job_id: &JobId) -> Result<Cancelled, Arc<Error>> {
        // Triton would cancel anybody's.
        if !clients.are_all() && self.lookup.job_seen_by(clients, job_id).await?.is_none() {
            return Ok(Cancelled::NotFound);
        }
        let answer = self.gateway.cancel(job_id).await?;
        if answer == Cancelled::Requested {
            // Not the caller's concern: the request was taken. See the module for who asks again.
            match tokio::time::timeout(PATIENCE, self.reconcile.ask(job_id)).await {
                Ok(Ok(Asked::Appended)) => self.hub.hint(job_id, None),
                Ok(Ok(Asked::Nothing | Asked::Unknown | Asked::NoRoom(_))) => {}
                Ok(Err(error)) => {
                    tracing::warn!(job.id = %job_id, %error, "what became of a cancelled job is asked again later");
                }
                Err(_) => {
                    tracing::warn!(job.id = %job_id, "Triton took too long to tell what became of a cancelled job: asked again later");
                }
            }
        }
        Ok(answer)
    }
}
