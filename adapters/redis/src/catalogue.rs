//! The catalogue: a hash per record and sorted sets that list them. A list reads its indexes and its
//! page in one script, so no page repeats or leaves out a record; it never walks over all keys. Each
//! combination of filters that is not bounded by itself has an index of its own, so that a page costs
//! what is on it, however many records there are.
//!
//! Clients, their value propositions and jobs have quotas. Templates need none of their own: only
//! the holder of a job's lease stores any, and at most one per place of the job's plan.

use async_trait::async_trait;
use conch_domain::{
    Audience, Category, Client, ClientId, Job, JobId, Template, TemplateId, Timestamp,
    ValueProposition, ValuePropositionId,
};
use conch_ports::{
    Catalogue, ClientFilter, Error, ErrorKind, JobFilter, Lease, Page, Paging, PutTemplate, Quota,
    Result, TemplateFilter,
};
use conch_wire::{Invalid, record};
use redis::Value;

use crate::log::{Redis, bytes, unexpected};
use crate::records::{Record, micros};

/// How often a record that others change at the same time is read and written again.
const TRIES: usize = 8;

/// Which records, in which order.
struct Query {
    index: String,
    prefix: String,
    changed_since: Option<Timestamp>,
    offset: u64,
    size: usize,
}

/// What became of a record.
#[derive(PartialEq)]
enum Put {
    Stored,
    Absent,
    Changed,
    Full,
}

impl Redis {
    pub(crate) async fn body(&self, operation: &'static str, key: &str) -> Result<Option<Vec<u8>>> {
        let mut command = redis::cmd("HGET");
        command.arg(key).arg("body");
        self.connections.ask_shared(operation, &command).await
    }

    async fn record<T>(
        &self,
        operation: &'static str,
        key: &str,
        decode: impl Fn(&[u8]) -> Result<T, Invalid>,
    ) -> Result<Option<T>> {
        self.body(operation, key)
            .await?
            .map(|body| decoded(operation, &body, &decode))
            .transpose()
    }

    /// `needs` must be there; `replaces` is the body that this one takes the place of; of its kind
    /// there may be `most`.
    async fn put(
        &self,
        operation: &'static str,
        record: &Record,
        needs: Option<&str>,
        replaces: &[u8],
        most: usize,
    ) -> Result<Put> {
        let mut call = self.scripts.put.prepare_invoke();
        call.key(&record.key)
            .key(self.keys.retention())
            .key(needs.unwrap_or(&record.key))
            .arg(u8::from(needs.is_some()))
            .arg(replaces)
            .arg(most);
        record.append_to(&mut call, self.settings.retention);
        // Once more does no harm: who is told that the record changed meanwhile looks at it again.
        let answer: String = self.connections.script_shared(operation, &call).await?;
        match answer.as_str() {
            "stored" => Ok(Put::Stored),
            "absent" => Ok(Put::Absent),
            "changed" => Ok(Put::Changed),
            "full" => Ok(Put::Full),
            _ => Err(unexpected(operation)),
        }
    }

    async fn list<T>(
        &self,
        operation: &'static str,
        query: Query,
        decode: impl Fn(&[u8]) -> Result<T, Invalid>,
    ) -> Result<Page<T>> {
        let mut call = self.scripts.list.prepare_invoke();
        call.key(self.keys.retention())
            .key(self.keys.jobs_by_update())
            .key(&query.index);
        let since = query
            .changed_since
            .map(|since| since.as_micros().to_string());
        call.arg(query.offset)
            .arg(query.size)
            .arg(&query.prefix)
            .arg(self.settings.retention.map_or(0, micros))
            .arg(since.unwrap_or_default())
            .arg(JobFilter::NEWEST_CHANGES);
        let answer = self.connections.script(operation, &call).await?;
        listed(operation, answer, &decode)
    }
}

/// What a script answers that lists: how many there are, and the bodies of a page.
pub(crate) fn listed<T>(
    operation: &'static str,
    answer: Vec<Value>,
    decode: &impl Fn(&[u8]) -> Result<T, Invalid>,
) -> Result<Page<T>> {
    let mut parts = answer.into_iter();
    let Some(Value::Int(total)) = parts.next() else {
        return Err(unexpected(operation));
    };
    let bodies: Vec<_> = parts
        .map(|body| bytes(operation, body))
        .collect::<Result<_>>()?;
    let items = readable(operation, bodies.iter().map(|body| &body[..]), decode);
    Ok(Page {
        total: u64::try_from(total).unwrap_or(0),
        items,
    })
}

/// Those that can be read: one that can't must not take all the others with it.
fn readable<'a, T>(
    operation: &'static str,
    bodies: impl Iterator<Item = &'a [u8]>,
    decode: &impl Fn(&[u8]) -> Result<T, Invalid>,
) -> Vec<T> {
    let mut items = Vec::new();
    for body in bodies {
        match decode(body) {
            Ok(item) => items.push(item),
            Err(error) => {
                tracing::warn!(operation, %error, "a record can't be read: left out of a list");
                metrics::counter!("conch_records_unreadable_total").increment(1);
            }
        }
    }
    items
}

pub(crate) fn decoded<T>(
    operation: &'static str,
    body: &[u8],
    decode: &impl Fn(&[u8]) -> Result<T, Invalid>,
) -> Result<T> {
    decode(body).map_err(|error| unexpected(operation).with_source(error))
}

fn page(index: String, prefix: String, paging: Paging) -> Query {
    Query {
        index,
        prefix,
        changed_since: None,
        offset: paging.offset(),
        size: paging.page_size as usize,
    }
}

#[async_trait]
impl Catalogue for Redis {
    async fn create_client(&self, client: &Client) -> Result<()> {
        const OPERATION: &str = "catalogue.create_client";
        let quotas = self.settings.quotas;
        let record = Record::of_client(&self.keys, client);
        let put = self.put(OPERATION, &record, None, b"", quotas.clients);
        match put.await? {
            Put::Full => Err(quotas.refusal(Quota::Clients, OPERATION)),
            _ => Ok(()),
        }
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Client>> {
        let key = self.keys.client(id);
        self.record("catalogue.client", &key, record::decode_client)
            .await
    }

    async fn clients(&self, filter: &ClientFilter, paging: Paging) -> Result<Page<Client>> {
        let index = match &filter.industry {
            Some(industry) => self.keys.clients_in(industry),
            None => self.keys.clients(),
        };
        let query = page(index, self.keys.client_of(""), paging);
        self.list("catalogue.clients", query, record::decode_client)
            .await
    }

    async fn add_value_proposition(&self, value_proposition: &ValueProposition) -> Result<bool> {
        const OPERATION: &str = "catalogue.add_value_proposition";
        let quotas = self.settings.quotas;
        let record = Record::of_value_proposition(&self.keys, value_proposition);
        let client = self.keys.client(&value_proposition.client_id);
        let most = quotas.value_propositions;
        match self
            .put(OPERATION, &record, Some(&client), b"", most)
            .await?
        {
            Put::Full => Err(quotas.refusal(Quota::ValuePropositions, OPERATION)),
            put => Ok(put == Put::Stored),
        }
    }

    async fn value_proposition(&self, id: &ValuePropositionId) -> Result<Option<ValueProposition>> {
        let key = self.keys.value_proposition(id);
        self.record(
            "catalogue.value_proposition",
            &key,
            record::decode_value_proposition,
        )
        .await
    }

    async fn value_propositions(
        &self,
        client_id: &ClientId,
    ) -> Result<Option<Vec<ValueProposition>>> {
        const OPERATION: &str = "catalogue.value_propositions";
        let query = Query {
            index: self.keys.value_propositions(client_id),
            prefix: self.keys.value_proposition_of(""),
            changed_since: None,
            offset: 0,
            size: self.settings.quotas.value_propositions,
        };
        let found = self
            .list(OPERATION, query, record::decode_value_proposition)
            .await?;
        // Only an empty list leaves open whether the client is there.
        if found.items.is_empty() {
            let client = self.keys.client(client_id);
            if self.body(OPERATION, &client).await?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(found.items))
    }

    async fn set_value_proposition_active(
        &self,
        client_id: &ClientId,
        id: &ValuePropositionId,
        is_active: bool,
        now: Timestamp,
    ) -> Result<Option<ValueProposition>> {
        const OPERATION: &str = "catalogue.set_value_proposition_active";
        let key = self.keys.value_proposition(id);
        for _ in 0..TRIES {
            let Some(before) = self.body(OPERATION, &key).await? else {
                return Ok(None);
            };
            let mut value = decoded(OPERATION, &before, &record::decode_value_proposition)?;
            if value.client_id != *client_id {
                return Ok(None);
            }
            value.is_active = is_active;
            value.updated_at = value.updated_at.max(now);
            let record = Record::of_value_proposition(&self.keys, &value);
            let most = self.settings.quotas.value_propositions;
            let put = self.put(OPERATION, &record, None, &before, most);
            if put.await? == Put::Stored {
                return Ok(Some(value));
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            OPERATION,
            "the value proposition is changed by too many at once: try again",
        ))
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>> {
        let key = self.keys.job(id);
        self.record("catalogue.job", &key, record::decode_job).await
    }

    async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>> {
        let index = self.keys.jobs(filter.client_id.as_ref(), filter.status);
        let query = Query {
            changed_since: filter.updated_since,
            ..page(index, self.keys.job_of(""), paging)
        };
        self.list("catalogue.jobs", query, record::decode_job).await
    }

    async fn put_template(&self, template: &Template, lease: &Lease) -> Result<PutTemplate> {
        self.put_template_again(template, lease).await
    }

    async fn template(&self, id: &TemplateId) -> Result<Option<Template>> {
        const OPERATION: &str = "catalogue.template";
        let body = self.template_body(OPERATION, id).await?;
        body.map(|body| decoded(OPERATION, &body, &record::decode_template))
            .transpose()
    }

    async fn templates_of(&self, job_id: &JobId) -> Result<Vec<Template>> {
        const OPERATION: &str = "catalogue.templates_of";
        let mut call = self.scripts.plan.prepare_invoke();
        call.key(self.keys.places(job_id))
            .arg(self.keys.template_of(""));
        let bodies: Vec<Vec<u8>> = self.connections.script(OPERATION, &call).await?;
        let bodies = bodies.iter().map(Vec::as_slice);
        Ok(readable(OPERATION, bodies, &record::decode_template))
    }

    async fn templates(&self, filter: &TemplateFilter, paging: Paging) -> Result<Page<Template>> {
        if let Some(job_id) = &filter.job_id {
            // As few as its plan has places.
            let mut found = self.templates_of(job_id).await?;
            found.retain(|template| meets(template, filter));
            found.sort_by(|a, b| (b.created_at, &a.id).cmp(&(a.created_at, &b.id)));
            let total = found.len() as u64;
            let offset = usize::try_from(paging.offset()).unwrap_or(usize::MAX);
            let page = found.into_iter().skip(offset);
            return Ok(Page {
                total,
                items: page.take(paging.page_size as usize).collect(),
            });
        }
        let client = filter.client_id.as_ref();
        // One index for each of the few ways in which the filter leaves category and audience open.
        let categories = Category::ALL.iter().copied();
        let categories =
            categories.filter(|category| filter.category.is_none_or(|asked| asked == *category));
        let indexes = categories.flat_map(|category| {
            let audiences = Audience::ALL.iter().copied();
            let asked = filter.target_audience;
            let audiences = audiences.filter(move |audience| asked.is_none_or(|a| a == *audience));
            audiences.map(move |audience| self.keys.templates(client, category, audience))
        });
        self.list_templates("catalogue.templates", indexes, paging)
            .await
    }
}

/// Whether a template of the job meets the filter's other parts.
fn meets(template: &Template, filter: &TemplateFilter) -> bool {
    let client = filter.client_id.as_ref();
    client.is_none_or(|id| template.client_id == *id)
        && filter
            .category
            .is_none_or(|category| template.category == category)
        && filter
            .target_audience
            .is_none_or(|audience| template.target_audience == audience)
}
