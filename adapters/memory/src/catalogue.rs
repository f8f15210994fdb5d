//! [`Catalogue`]: records of clients, value propositions, jobs and templates, each on its shelf.

use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{
    Client, ClientId, Job, JobId, Template, TemplateId, Timestamp, ValueProposition,
    ValuePropositionId,
};
use conch_ports::{
    Catalogue, ClientFilter, JobFilter, Lease, Page, Paging, PutTemplate, Quota, Result,
    TemplateFilter,
};
use conch_wire::record;
use tokio::time::Instant;

use crate::Memory;
use crate::errors::corrupt;
use crate::shelf::Shelf;
use crate::store::{JobRow, Store, TemplateRow};

/// Whether what a filter asks for, if it asks, is what the record has.
fn meets<T: PartialEq>(asked: Option<&T>, has: Option<&T>) -> bool {
    asked.is_none_or(|asked| has == Some(asked))
}

/// The jobs that changed since, as far back as a list looks.
fn changed_since(jobs: &Shelf<JobId, JobRow>, since: Timestamp, now: Instant) -> HashSet<&JobId> {
    let mut changed: Vec<_> = jobs
        .rows(now)
        .filter_map(|(id, row)| Some((row.updated_at?, id)))
        .filter(|(at, _)| *at >= since)
        .collect();
    if changed.len() > JobFilter::NEWEST_CHANGES {
        changed.select_nth_unstable_by(JobFilter::NEWEST_CHANGES, |a, b| b.cmp(a));
        changed.truncate(JobFilter::NEWEST_CHANGES);
    }
    changed.into_iter().map(|(_, id)| id).collect()
}

impl Store {
    fn put_value_proposition(&mut self, value_proposition: &ValueProposition, now: Instant) {
        self.data.value_propositions.put(
            value_proposition.id.clone(),
            value_proposition.created_at,
            value_proposition.client_id.clone(),
            record::encode_value_proposition(value_proposition),
            now,
        );
    }

    fn put_template(
        &mut self,
        template: &Template,
        lease: &Lease,
        now: Instant,
    ) -> Result<PutTemplate> {
        const OPERATION: &str = "catalogue.put_template";
        self.sweep(now);
        let data = &self.data;
        let holds = data.queue.holds(&lease.job_id, &lease.token, now);
        if template.job_id != lease.job_id || !holds {
            return Ok(PutTemplate::Fenced);
        }
        if let Some(bytes) = self.rival(template, now) {
            let first = record::decode_template(bytes).map_err(corrupt(OPERATION))?;
            return Ok(PutTemplate::Taken(Box::new(first)));
        }
        self.keep_template(template, now);
        Ok(PutTemplate::Stored)
    }

    /// Another template that has this one's place.
    pub(crate) fn rival(&self, template: &Template, now: Instant) -> Option<&Bytes> {
        let places = self.data.places.get(&template.job_id);
        let holder = places.and_then(|places| places.get(&template.index));
        let rival = holder.filter(|id| **id != template.id);
        rival.and_then(|id| self.data.templates.bytes(id, now))
    }

    /// Writes the record of a template, at its place.
    pub(crate) fn keep_template(&mut self, template: &Template, now: Instant) {
        let data = &mut self.data;
        let row = TemplateRow {
            client_id: template.client_id.clone(),
            job_id: template.job_id.clone(),
            index: template.index,
            category: template.category,
            target_audience: template.target_audience,
        };
        let bytes = record::encode_template(template);
        data.templates
            .put(template.id.clone(), template.created_at, row, bytes, now);
        let places = data.places.entry(template.job_id.clone()).or_default();
        places.insert(template.index, template.id.clone());
    }
}

#[async_trait]
impl Catalogue for Memory {
    async fn create_client(&self, client: &Client) -> Result<()> {
        const OPERATION: &str = "catalogue.create_client";
        self.step(|store, now| {
            store.sweep(now);
            let clients = &mut store.data.clients;
            let quotas = store.settings.quotas;
            if clients.len() >= quotas.clients && !clients.contains(&client.id, now) {
                return Err(quotas.refusal(Quota::Clients, OPERATION));
            }
            let bytes = record::encode_client(client);
            let row = client.industry.clone();
            clients.put(client.id.clone(), client.created_at, row, bytes, now);
            Ok(())
        })
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Client>> {
        const OPERATION: &str = "catalogue.client";
        self.step(|store, now| {
            let bytes = store.data.clients.bytes(id, now);
            let client = bytes.map(|bytes| record::decode_client(bytes));
            client.transpose().map_err(corrupt(OPERATION))
        })
    }

    async fn clients(&self, filter: &ClientFilter, paging: Paging) -> Result<Page<Client>> {
        const OPERATION: &str = "catalogue.clients";
        self.step(|store, now| {
            store.data.clients.page(
                now,
                paging,
                |_, industry| meets(filter.industry.as_ref(), industry.as_ref()),
                |bytes| record::decode_client(bytes).map_err(corrupt(OPERATION)),
            )
        })
    }

    async fn add_value_proposition(&self, value_proposition: &ValueProposition) -> Result<bool> {
        const OPERATION: &str = "catalogue.add_value_proposition";
        self.step(|store, now| {
            store.sweep(now);
            let client_id = &value_proposition.client_id;
            let data = &store.data;
            if !data.clients.contains(client_id, now) {
                return Ok(false);
            }
            let held = data.value_propositions.select(now, |_, of| of == client_id);
            let quotas = store.settings.quotas;
            let is_full = held.count() >= quotas.value_propositions;
            if is_full && !data.value_propositions.contains(&value_proposition.id, now) {
                return Err(quotas.refusal(Quota::ValuePropositions, OPERATION));
            }
            store.put_value_proposition(value_proposition, now);
            Ok(true)
        })
    }

    async fn value_proposition(&self, id: &ValuePropositionId) -> Result<Option<ValueProposition>> {
        const OPERATION: &str = "catalogue.value_proposition";
        self.step(|store, now| {
            let bytes = store.data.value_propositions.bytes(id, now);
            let found = bytes.map(|bytes| record::decode_value_proposition(bytes));
            found.transpose().map_err(corrupt(OPERATION))
        })
    }

    async fn value_propositions(
        &self,
        client_id: &ClientId,
    ) -> Result<Option<Vec<ValueProposition>>> {
        const OPERATION: &str = "catalogue.value_propositions";
        self.step(|store, now| {
            if !store.data.clients.contains(client_id, now) {
                return Ok(None);
            }
            let held = store
                .data
                .value_propositions
                .select(now, |_, of| of == client_id);
            held.map(|bytes| record::decode_value_proposition(bytes))
                .collect::<Result<_, _>>()
                .map(Some)
                .map_err(corrupt(OPERATION))
        })
    }

    async fn set_value_proposition_active(
        &self,
        client_id: &ClientId,
        id: &ValuePropositionId,
        is_active: bool,
        updated_at: Timestamp,
    ) -> Result<Option<ValueProposition>> {
        const OPERATION: &str = "catalogue.set_value_proposition_active";
        self.step(|store, now| {
            store.sweep(now);
            let Some(bytes) = store.data.value_propositions.bytes(id, now) else {
                return Ok(None);
            };
            let mut found = record::decode_value_proposition(bytes).map_err(corrupt(OPERATION))?;
            if found.client_id != *client_id {
                return Ok(None);
            }
            found.is_active = is_active;
            found.updated_at = updated_at;
            store.put_value_proposition(&found, now);
            Ok(Some(found))
        })
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>> {
        const OPERATION: &str = "catalogue.job";
        self.step(|store, now| {
            let bytes = store.data.jobs.bytes(id, now);
            let job = bytes.map(|bytes| record::decode_job(bytes));
            job.transpose().map_err(corrupt(OPERATION))
        })
    }

    async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>> {
        const OPERATION: &str = "catalogue.jobs";
        self.step(|store, now| {
            let jobs = &store.data.jobs;
            let changed = filter
                .updated_since
                .map(|since| changed_since(jobs, since, now));
            jobs.page(
                now,
                paging,
                |id, row| {
                    meets(filter.client_id.as_ref(), row.client_id.as_ref())
                        && meets(filter.status.as_ref(), Some(&row.status))
                        && changed.as_ref().is_none_or(|changed| changed.contains(id))
                },
                |bytes| record::decode_job(bytes).map_err(corrupt(OPERATION)),
            )
        })
    }

    async fn put_template(&self, template: &Template, lease: &Lease) -> Result<PutTemplate> {
        self.step(|store, now| store.put_template(template, lease, now))
    }

    async fn template(&self, id: &TemplateId) -> Result<Option<Template>> {
        const OPERATION: &str = "catalogue.template";
        self.step(|store, now| {
            let bytes = store.data.templates.bytes(id, now);
            let template = bytes.map(|bytes| record::decode_template(bytes));
            template.transpose().map_err(corrupt(OPERATION))
        })
    }

    async fn templates_of(&self, job_id: &JobId) -> Result<Vec<Template>> {
        const OPERATION: &str = "catalogue.templates_of";
        self.step(|store, now| {
            let data = &store.data;
            let ids = data
                .places
                .get(job_id)
                .into_iter()
                .flat_map(|places| places.values());
            ids.filter_map(|id| data.templates.bytes(id, now))
                .map(|bytes| record::decode_template(bytes))
                .collect::<Result<_, _>>()
                .map_err(corrupt(OPERATION))
        })
    }

    async fn templates(&self, filter: &TemplateFilter, paging: Paging) -> Result<Page<Template>> {
        const OPERATION: &str = "catalogue.templates";
        self.step(|store, now| {
            store.data.templates.page(
                now,
                paging,
                |_, row| {
                    meets(filter.client_id.as_ref(), Some(&row.client_id))
                        && meets(filter.job_id.as_ref(), Some(&row.job_id))
                        && meets(filter.category.as_ref(), Some(&row.category))
                        && meets(filter.target_audience.as_ref(), Some(&row.target_audience))
                },
                |bytes| record::decode_template(bytes).map_err(corrupt(OPERATION)),
            )
        })
    }
}
