//! Triton's records as one caller may see them. What belongs to a client outside the caller's is
//! treated as what isn't there, after the same questions: whether another tenant's record exists shows
//! neither in an answer nor in what is asked for it. Its size may show in the time that it takes.
//!
//! Never in here: what a caller may do (a scope), which is checked where the request comes in.

mod listing;

use std::sync::Arc;
use std::time::Duration;

use conch_domain::{Caller, ClientId, Identity, Job, TemplateId};
use conch_ports::{
    ClientFilter, Document, Error, JobFilter, NewJob, Page, Paging, Requested, Result,
    TemplateFilter, TritonGateway,
};
use conch_wire::document;
use futures::{FutureExt, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use crate::mare::submissions::SubmissionRate;
use listing::{Listing, Rank, cut};

/// Questions to Triton under way at once for one list.
const CONCURRENCY: usize = 8;

/// Why there is no page.
#[derive(Debug)]
pub enum NoPage {
    /// The list is merged from several clients' and doesn't reach this far: name a client.
    TooDeep,
    /// Triton is out of reach or answers wrongly.
    Failed(Error),
}

impl From<Error> for NoPage {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads and writes through Triton for a caller; a cheap handle.
#[derive(Clone)]
pub struct Access {
    gateway: Arc<dyn TritonGateway>,
    rate: SubmissionRate,
}

impl Access {
    /// Asks `gateway`, and lets callers submit as often as `rate` says.
    pub fn new(gateway: Arc<dyn TritonGateway>, rate: SubmissionRate) -> Self {
        Self { gateway, rate }
    }

    /// Creates a client. None: only a caller that sees all clients may, for the new one is in no token's list.
    ///
    /// # Errors
    /// As for every method here: when Triton is out of reach or answers wrongly.
    pub async fn create_client(&self, caller: &Caller, body: Document) -> Result<Option<Document>> {
        if !caller.clients().are_all() {
            return Ok(None);
        }
        self.gateway.create_client(body).await.map(Some)
    }

    /// The client.
    pub async fn client(&self, caller: &Caller, id: &ClientId) -> Result<Option<Document>> {
        if !caller.clients().see(Some(id)) {
            return Ok(None);
        }
        self.gateway.client(id).await
    }

    /// Clients, newest first.
    pub async fn clients(
        &self,
        caller: &Caller,
        filter: &ClientFilter,
        paging: Paging,
    ) -> Result<Page<Document>> {
        let Some(ids) = caller.clients().named() else {
            return self.gateway.clients(filter, paging).await;
        };
        // At most as many as credentials may name.
        let found: Vec<Option<Document>> = futures::stream::iter(ids.to_vec())
            .map(|id| {
                let gateway = Arc::clone(&self.gateway);
                async move { gateway.client(&id).await }
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        let mut clients: Vec<(Rank, Document)> = found
            .into_iter()
            .flatten()
            .filter_map(|client| {
                let look = document::look(client.as_json());
                let wanted = filter.industry.is_none() || filter.industry == look.industry;
                wanted.then(|| (Rank::new(look.created_at, look.id), client))
            })
            .collect();
        clients.sort_by(|(a, _), (b, _)| b.cmp(a));
        Ok(Page {
            total: clients.len() as u64,
            items: cut(clients.into_iter().map(|(_, client)| client), paging),
        })
    }

    /// Adds a value proposition to a client; none when there is no such client.
    pub async fn create_value_proposition(
        &self,
        caller: &Caller,
        client_id: &ClientId,
        body: Document,
    ) -> Result<Option<Document>> {
        if !caller.clients().see(Some(client_id)) {
            return Ok(None);
        }
        self.gateway.create_value_proposition(client_id, body).await
    }

    /// All value propositions of a client; none when there is no such client.
    pub async fn value_propositions(
        &self,
        caller: &Caller,
        client_id: &ClientId,
    ) -> Result<Option<Vec<Document>>> {
        if !caller.clients().see(Some(client_id)) {
            return Ok(None);
        }
        self.gateway.value_propositions(client_id).await
    }

    /// Submits a job. Its idempotency key counts for this caller alone (contract §4). One that came before
    /// is a submission like any other to the caller's rate, and so is one for a client that isn't theirs:
    /// it must not be told from one that isn't there.
    pub async fn submit(&self, caller: &Caller, new: NewJob) -> Result<Submitted> {
        if let Err(retry_after) = self.rate.take(caller) {
            return Ok(Submitted::TooOften { retry_after });
        }
        let client_id = new.client_id.clone();
        if !caller.clients().see(Some(&client_id)) {
            return Ok(Submitted::NoClient);
        }
        let key = new.idempotency_key;
        let requested = self.gateway.submit(NewJob {
            idempotency_key: key.map(|key| own_key(caller.identity().map(Arc::as_ref), key)),
            ..new
        });
        Ok(match requested.await? {
            Requested::Accepted(job) => Submitted::Accepted(job),
            Requested::Repeated(job) => Submitted::Repeated(job),
            Requested::KeyReused => Submitted::KeyReused,
            Requested::Invalid { path, detail } => Submitted::Invalid { path, detail },
            Requested::NotFound(detail) => match self.gateway.client(&client_id).await? {
                Some(_) => Submitted::NothingToGenerateFrom(detail),
                None => Submitted::NoClient,
            },
        })
    }

    /// Jobs, newest first.
    ///
    /// # Errors
    /// Also when the page is too deep in a list that is merged.
    pub async fn jobs(
        &self,
        caller: &Caller,
        filter: &JobFilter,
        paging: Paging,
    ) -> Result<Page<Job>, NoPage> {
        let list = Listing {
            place: |job: &Job| Rank::new(job.created_at, job.id.to_string()),
            owner: |job: &Job| job.client_id.clone(),
            ask: |client_id, paging| {
                let gateway = Arc::clone(&self.gateway);
                let filter = JobFilter {
                    client_id,
                    ..filter.clone()
                };
                async move { gateway.jobs(&filter, paging).await }.boxed()
            },
        };
        list.page(caller, filter.client_id.as_ref(), paging).await
    }

    /// Templates, newest first.
    ///
    /// # Errors
    /// Also when the page is too deep in a list that is merged.
    pub async fn templates(
        &self,
        caller: &Caller,
        filter: &TemplateFilter,
        paging: Paging,
    ) -> Result<Page<Document>, NoPage> {
        let list = Listing {
            place: |template: &Document| {
                let look = document::look(template.as_json());
                Rank::new(look.created_at, look.id)
            },
            owner: |template: &Document| document::look(template.as_json()).client_id,
            ask: |client_id, paging| {
                let gateway = Arc::clone(&self.gateway);
                let filter = TemplateFilter {
                    client_id,
                    ..filter.clone()
                };
                async move { gateway.templates(&filter, paging).await }.boxed()
            },
        };
        list.page(caller, filter.client_id.as_ref(), paging).await
    }

    /// The template.
    pub async fn template(&self, caller: &Caller, id: &TemplateId) -> Result<Option<Document>> {
        let template = self.gateway.template(id).await?;
        Ok(template.filter(|template| {
            let clients = caller.clients();
            let is_theirs = || document::look(template.as_json()).client_id;
            clients.are_all() || clients.see(is_theirs().as_ref())
        }))
    }
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq)]
pub enum Submitted {
    /// The job.
    Accepted(Box<Job>),
    /// The job that was accepted before under this idempotency key, for the same submission.
    Repeated(Box<Job>),
    /// There is no such client.
    NoClient,
    /// It has no such value proposition, or no active one; in words.
    NothingToGenerateFrom(String),
    /// The caller's idempotency key came before with something else.
    KeyReused,
    /// A field asks for what can't be had; nothing was submitted.
    Invalid {
        /// The field's path.
        path: String,
        /// What is wrong with it, in words.
        detail: String,
    },
    /// The caller submits too often; nothing was asked of anybody.
    TooOften {
        /// After this there is room for another.
        retry_after: Duration,
    },
}

/// A key as Triton gets it: no caller can meet another's, whatever the two call theirs. As it came,
/// where callers have no names.
fn own_key(identity: Option<&Identity>, key: String) -> String {
    let Some(identity) = identity else {
        return key;
    };
    let mut hash = Sha256::new();
    for part in [&identity.issuer, &identity.subject, &key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    format!("{:x}", hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_caller_meets_another_s_keys() {
        let identity = |issuer: &str, subject: &str| Identity {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        };
        let own = |issuer: &str, subject: &str, key: &str| {
            own_key(Some(&identity(issuer, subject)), key.to_owned())
        };
        let key = own("i", "s", "k");
        assert_eq!(key, own("i", "s", "k"));
        for other in [
            own("i", "s", "K"),
            own("i", "t", "k"),
            own("j", "s", "k"),
            own("is", "", "k"),
            own("i", "", "sk"),
            own("i", "sk", ""),
        ] {
            assert_ne!(key, other);
        }
        // As long as a header takes, whatever it was made of.
        assert_eq!(own("i", "s", &"k".repeat(255)).len(), 64);
        assert_eq!(own_key(None, "k".to_owned()), "k");
    }
}
