//! Bugs of the records. Never in here: a bug of another port.

use std::sync::Arc;

use async_trait::async_trait;
use conch_domain::{
    Client, ClientId, Job, JobId, Template, TemplateId, Timestamp, ValueProposition,
    ValuePropositionId,
};
use conch_ports::{
    Catalogue, ClientFilter, JobFilter, Lease, Page, Paging, PutTemplate, Result, TemplateFilter,
};

use super::Broken;

#[async_trait]
impl Catalogue for Broken {
    async fn put_template(&self, template: &Template, lease: &Lease) -> Result<PutTemplate> {
        match self.bug.as_str() {
            "no-fence" => {
                let (catalogue, template, lease) =
                    (Arc::clone(&self.catalogue), template.clone(), lease.clone());
                tokio::spawn(async move { drop(catalogue.put_template(&template, &lease).await) });
                Ok(PutTemplate::Stored)
            }
            _ => self.catalogue.put_template(template, lease).await,
        }
    }

    async fn create_client(&self, client: &Client) -> Result<()> {
        self.catalogue.create_client(client).await
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Client>> {
        self.catalogue.client(id).await
    }

    async fn clients(&self, filter: &ClientFilter, paging: Paging) -> Result<Page<Client>> {
        self.catalogue.clients(filter, paging).await
    }

    async fn add_value_proposition(&self, value_proposition: &ValueProposition) -> Result<bool> {
        self.catalogue
            .add_value_proposition(value_proposition)
            .await
    }

    async fn value_proposition(&self, id: &ValuePropositionId) -> Result<Option<ValueProposition>> {
        self.catalogue.value_proposition(id).await
    }

    async fn value_propositions(&self, id: &ClientId) -> Result<Option<Vec<ValueProposition>>> {
        self.catalogue.value_propositions(id).await
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
        self.catalogue.job(id).await
    }

    async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>> {
        let mut page = self.catalogue.jobs(filter, paging).await?;
        match self.bug.as_str() {
            "changes-without-ends" if filter.updated_since.is_some() => {
                page.items.retain(|job| !job.status.is_terminal());
            }
            _ => {}
        }
        Ok(page)
    }

    async fn template(&self, id: &TemplateId) -> Result<Option<Template>> {
        self.catalogue.template(id).await
    }

    async fn templates_of(&self, job_id: &JobId) -> Result<Vec<Template>> {
        self.catalogue.templates_of(job_id).await
    }

    async fn templates(&self, filter: &TemplateFilter, paging: Paging) -> Result<Page<Template>> {
        self.catalogue.templates(filter, paging).await
    }
}
