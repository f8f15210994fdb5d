//! The faults of the records.

use async_trait::async_trait;
use conch_domain::{
    Client, ClientId, Job, JobId, Metadata, Template, TemplateId, Timestamp, ValueProposition,
    ValuePropositionId,
};
use conch_ports::{
    Catalogue, ClientFilter, JobFilter, Lease, Page, Paging, PutTemplate, Result, TemplateFilter,
};

use super::Broken;
use crate::Fault;

#[async_trait]
impl Catalogue for Broken {
    async fn create_client(&self, client: &Client) -> Result<()> {
        self.catalogue.create_client(client).await
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Client>> {
        let mut client = self.catalogue.client(id).await?;
        if let Some(client) = client.as_mut()
            && self.is(Fault::LoseAField)
        {
            client.meta_data = Metadata::default();
        }
        Ok(client)
    }

    async fn clients(&self, filter: &ClientFilter, mut paging: Paging) -> Result<Page<Client>> {
        if self.is(Fault::PagesRepeat) {
            paging.page = paging.page.saturating_sub(1).max(1);
        }
        self.catalogue.clients(filter, paging).await
    }

    async fn add_value_proposition(&self, value_proposition: &ValueProposition) -> Result<bool> {
        let added = self
            .catalogue
            .add_value_proposition(value_proposition)
            .await?;
        Ok(added || self.is(Fault::AdoptOrphans))
    }

    async fn value_proposition(&self, id: &ValuePropositionId) -> Result<Option<ValueProposition>> {
        self.catalogue.value_proposition(id).await
    }

    async fn value_propositions(
        &self,
        client_id: &ClientId,
    ) -> Result<Option<Vec<ValueProposition>>> {
        self.catalogue.value_propositions(client_id).await
    }

    async fn set_value_proposition_active(
        &self,
        client_id: &ClientId,
        id: &ValuePropositionId,
        is_active: bool,
        now: Timestamp,
    ) -> Result<Option<ValueProposition>> {
        let catalogue = &self.catalogue;
        catalogue
            .set_value_proposition_active(client_id, id, is_active, now)
            .await
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>> {
        let record = self.catalogue.job(id).await?;
        if self.is(Fault::LoseCatalogueRecord) {
            // As if it were written only at the submission.
            let first = self.log.read(id, 0, 0).await?;
            return Ok(record.filter(|_| first.is_some()));
        }
        Ok(record)
    }

    async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>> {
        if self.is(Fault::IgnoreFilters) {
            return self.catalogue.jobs(&JobFilter::default(), paging).await;
        }
        self.catalogue.jobs(filter, paging).await
    }

    async fn put_template(&self, template: &Template, lease: &Lease) -> Result<PutTemplate> {
        let put = self.catalogue.put_template(template, lease).await?;
        Ok(match (self.fault, put) {
            (Fault::TemplatesUnfenced, PutTemplate::Fenced)
            | (Fault::ReplaceTemplates, PutTemplate::Taken(_)) => PutTemplate::Stored,
            (_, put) => put,
        })
    }

    async fn template(&self, id: &TemplateId) -> Result<Option<Template>> {
        let found = self.catalogue.template(id).await?;
        let seen = self.seen();
        let mut templates = seen.templates.iter();
        let early = templates.find(|template| template.id == *id);
        Ok(found.or_else(|| early.map(|early| Template::clone(early))))
    }

    async fn templates_of(&self, job_id: &JobId) -> Result<Vec<Template>> {
        self.catalogue.templates_of(job_id).await
    }

    async fn templates(&self, filter: &TemplateFilter, paging: Paging) -> Result<Page<Template>> {
        self.catalogue.templates(filter, paging).await
    }
}
