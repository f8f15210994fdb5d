//! The port's methods, each a call or two, and what their answers mean.
//!
//! Never in here: retries and addresses (`transport`), or the shape of lists (`protocol`).

mod answer;
mod complete;

use std::sync::Arc;

use async_trait::async_trait;
use conch_domain::{ClientId, Job, JobId, JobStatus, Priority, Schedule, TemplateId, Timestamp};
use conch_ports::{
    Cancelled, ClientFilter, Document, Error, ErrorKind, JobFilter, NewJob, Page, Paging,
    Requested, Result, TemplateFilter, TritonGateway,
};
use conch_wire::request;
use reqwest::Method;
use reqwest::header::HeaderValue;

use crate::protocol::{self, Fields, Item, List};
use crate::settings::{Invalid, Settings};
use crate::transport::{Answer, Call, Transport};

/// What a submission names records by.
const SUBMITTED_IDS: [&str; 2] = ["client_id", "value_proposition_id"];

struct Gateway {
    transport: Transport,
}

impl Settings {
    /// The gateway. Connects to nothing yet.
    ///
    /// # Errors
    /// When a number is 0 where it must not be, a bearer and credentials in an address contradict
    /// each other, or the system has no root certificates for an `https` address.
    ///
    /// # Panics
    /// When no crypto provider is installed for the process.
    pub fn build(self) -> Result<Arc<dyn TritonGateway>, Invalid> {
        Ok(Arc::new(Gateway {
            transport: Transport::new(self)?,
        }))
    }
}

fn paged(mut call: Call<'_>, paging: Paging) -> Call<'_> {
    call.query.push(("page", paging.page.to_string()));
    call.query.push(("page_size", paging.page_size.to_string()));
    call
}

fn documents(page: Page<Item>) -> Page<Document> {
    Page {
        total: page.total,
        items: page.items.into_iter().map(Item::into_document).collect(),
    }
}

fn nothing<T>() -> Page<T> {
    Page {
        total: 0,
        items: Vec::new(),
    }
}

/// Whether a field has that value; nothing wanted means that any will do.
fn is(fields: &Fields, name: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| fields.text(name) == Some(wanted))
}

impl Gateway {
    async fn read(&self, call: &Call<'_>) -> Result<Answer<'_>> {
        self.transport.read(call, self.transport.deadline()).await
    }

    /// Which field of the schedule the job service would ignore. The Python service ignores what it doesn't
    /// know; it is told from ours by its list of clients, which is bare.
    async fn would_be_ignored(&self, schedule: Schedule) -> Result<Option<&'static str>> {
        let field = if schedule.run_at.is_some() {
            "run_at"
        } else if schedule.priority != Priority::default() {
            "priority"
        } else {
            return Ok(None);
        };
        let one = Paging {
            page: 1,
            page_size: 1,
        };
        let call = paged(Call::get("triton_gateway.submit", &["clients", ""]), one);
        let list = self.read(&call).await?.list("clients")?;
        Ok(matches!(list, List::Bare(_)).then_some(field))
    }
}

#[async_trait]
impl TritonGateway for Gateway {
    async fn health(&self) -> Result<()> {
        let call = Call::get("triton_gateway.health", &["health"]);
        let answer = self.read(&call).await?.expect_success()?;
        protocol::object(&answer.body).map_err(|wrong| answer.context.garbage(&wrong))
    }

    async fn create_client(&self, body: Document) -> Result<Document> {
        let call = Call::post(
            "triton_gateway.create_client",
            &["clients", ""],
            body.as_json().clone(),
        );
        let answer = self.transport.write(&call).await?.expect_success()?;
        Ok(answer.item()?.into_document())
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Document>> {
        let call = Call::get("triton_gateway.client", &["clients", id.as_str()]);
        let answer = self.read(&call).await?.unless_not_found()?;
        answer.map(|a| a.document_of(id.as_str())).transpose()
    }

    async fn clients(&self, filter: &ClientFilter, paging: Paging) -> Result<Page<Document>> {
        let mut call = Call::get("triton_gateway.clients", &["clients", ""]);
        let industry = filter.industry.as_deref();
        call.query
            .extend(industry.map(|i| ("industry", i.to_owned())));
        let answer = self.read(&paged(call, paging)).await?.expect_success()?;
        let page = answer
            .list("clients")?
            .page(paging, |c| is(c, "industry", industry));
        Ok(documents(page))
    }

    async fn create_value_proposition(
        &self,
        client_id: &ClientId,
        body: Document,
    ) -> Result<Option<Document>> {
        let call = Call::post(
            "triton_gateway.create_value_proposition",
            &["clients", client_id.as_str(), "value-propositions"],
            body.as_json().clone(),
        );
        let answer = self.transport.write(&call).await?.unless_not_found()?;
        answer.map(|a| Ok(a.item()?.into_document())).transpose()
    }

    async fn value_propositions(&self, client_id: &ClientId) -> Result<Option<Vec<Document>>> {
        let call = Call::get(
            "triton_gateway.value_propositions",
            &["clients", client_id.as_str(), "value-propositions"],
        );
        let Some(answer) = self.read(&call).await?.unless_not_found()? else {
            return Ok(None);
        };
        let all = Paging {
            page: 1,
            page_size: u32::MAX,
        };
        let page = answer.list("value_propositions")?.page(all, |v| {
            v.text("client_id")
                .is_none_or(|id| id == client_id.as_str())
        });
        Ok(Some(documents(page).items))
    }

    async fn submit(&self, job: NewJob) -> Result<Requested> {
        const OPERATION: &str = "triton_gateway.submit";
        if let Some(path) = self.would_be_ignored(job.schedule).await? {
            return Ok(Requested::Invalid {
                path: path.to_owned(),
                detail: "is nothing that the job service behind this edge knows: leave it out"
                    .to_owned(),
            });
        }
        let body = request::NewJob {
            client_id: job.client_id.clone(),
            value_proposition_id: job.value_proposition_id,
            schedule: job.schedule,
        };
        let mut call = Call::post(OPERATION, &["jobs", ""], body.encode());
        if let Some(key) = &job.idempotency_key {
            let key = HeaderValue::from_str(key).map_err(|e| {
                let what = "the Idempotency-Key can't be sent on: use visible ASCII";
                Error::new(ErrorKind::Refused, OPERATION, what).with_source(e)
            })?;
            call.idempotency_key = Some(key);
        }
        let answer = self.transport.write(&call).await?;
        match answer.code() {
            200..=202 => {
                let accepted = conch_wire::job::decode_any(&answer.body)
                    .map_err(|e| answer.context.garbage(&e.to_string()))?;
                if accepted
                    .client_id
                    .as_ref()
                    .is_some_and(|id| *id != job.client_id)
                {
                    return Err(answer.context.garbage("a job of another client"));
                }
                let job = Box::new(accepted);
                Ok(if answer.replayed {
                    Requested::Repeated(job)
                } else {
                    Requested::Accepted(job)
                })
            }
            404 => {
                answer.check_not_found()?;
                let detail = protocol::detail(&answer.body);
                Ok(Requested::NotFound(detail.unwrap_or_else(|| {
                    "no such client, or it has no active value proposition".to_owned()
                })))
            }
            code if protocol::refuses_id(code, &answer.body, "body", &SUBMITTED_IDS) => {
                let what = "no such client, or no such value proposition";
                Ok(Requested::NotFound(what.to_owned()))
            }
            422 if let Some((path, detail)) = protocol::refused_schedule(&answer.body) => {
                Ok(Requested::Invalid { path, detail })
            }
            422 if protocol::problem_code(&answer.body).as_deref()
                == Some("idempotency-key-reused") =>
            {
                Ok(Requested::KeyReused)
            }
            _ => Err(answer.context.unexpected(answer.status, &answer.body)),
        }
    }

    async fn job(&self, id: &JobId) -> Result<Option<Job>> {
        const OPERATION: &str = "triton_gateway.job";
        let deadline = self.transport.deadline();
        let call = Call::get(OPERATION, &["jobs", id.as_str()]);
        let answer = self.transport.read(&call, deadline).await?;
        let Some(answer) = answer.unless_not_found()? else {
            return Ok(None);
        };
        let job = conch_wire::job::decode(&answer.body, id)
            .map_err(|e| answer.context.garbage(&e.to_string()))?;
        self.complete(OPERATION, job, &answer, deadline)
            .await
            .map(Some)
    }

    async fn jobs(&self, filter: &JobFilter, paging: Paging) -> Result<Page<Job>> {
        let mut call = Call::get("triton_gateway.jobs", &["jobs", ""]);
        let client_id = filter.client_id.as_ref().map(ClientId::as_str);
        let status = filter.status.map(JobStatus::as_str);
        let since = filter.updated_since;
        let query = &mut call.query;
        query.extend(client_id.map(|id| ("client_id", id.to_owned())));
        query.extend(status.map(|s| ("status", s.to_owned())));
        query.extend(since.map(|at| ("updated_since", conch_wire::time::format(at))));
        let answer = self.read(&paged(call, paging)).await?;
        let Some(answer) = answer.unless_none_match()? else {
            return Ok(nothing());
        };
        let page = answer.list("jobs")?.page(paging, |j| {
            // A job that doesn't say when it changed is not left out.
            let changed = j
                .text("updated_at")
                .map_or(i64::MAX, |_| j.moment("updated_at"));
            is(j, "client_id", client_id)
                && is(j, "status", status)
                && since.map_or(i64::MIN, Timestamp::as_micros) <= changed
        });
        let decode = |item: &Item| {
            conch_wire::job::decode_any(&item.text)
                .map_err(|e| answer.context.garbage(&e.to_string()))
        };
        Ok(Page {
            total: page.total,
            items: page.items.iter().map(decode).collect::<Result<_>>()?,
        })
    }

    async fn cancel(&self, id: &JobId) -> Result<Cancelled> {
        let call = Call {
            method: Method::DELETE,
            ..Call::get("triton_gateway.cancel", &["jobs", id.as_str()])
        };
        let answer = self.transport.write(&call).await?;
        match answer.code() {
            200 | 202 | 204 => Ok(Cancelled::Requested),
            _ if answer.refuses_id() => Ok(Cancelled::NotFound),
            // The Python service says 400 to a late cancel, ours 409.
            400 | 409 => Ok(Cancelled::AlreadyEnded),
            404 | 410 => answer.check_not_found().map(|()| Cancelled::NotFound),
            _ => Err(answer.context.unexpected(answer.status, &answer.body)),
        }
    }

    async fn template(&self, id: &TemplateId) -> Result<Option<Document>> {
        let call = Call::get("triton_gateway.template", &["templates", id.as_str()]);
        let answer = self.read(&call).await?.unless_not_found()?;
        answer.map(|a| a.document_of(id.as_str())).transpose()
    }

    async fn templates(&self, filter: &TemplateFilter, paging: Paging) -> Result<Page<Document>> {
        let mut call = Call::get("triton_gateway.templates", &["templates", ""]);
        let wanted = [
            ("client_id", filter.client_id.as_ref().map(ClientId::as_str)),
            ("job_id", filter.job_id.as_ref().map(JobId::as_str)),
            (
                "category",
                filter.category.map(conch_domain::Category::as_str),
            ),
            (
                "target_audience",
                filter.target_audience.map(conch_domain::Audience::as_str),
            ),
        ];
        for (name, value) in wanted {
            call.query.extend(value.map(|v| (name, v.to_owned())));
        }
        let answer = self.read(&paged(call, paging)).await?;
        let Some(answer) = answer.unless_none_match()? else {
            return Ok(nothing());
        };
        let page = answer.list("templates")?.page(paging, |t| {
            wanted.iter().all(|(name, value)| is(t, name, *value))
        });
        Ok(documents(page))
    }
}
