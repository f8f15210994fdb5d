//! A job that ended without a list of its templates: it gets one from Triton's templates.
//!
//! Never in here: a job that still runs, or more than a bounded number of pages.

use conch_domain::{Job, JobId, JobStatus, TemplateId};
use conch_ports::{Paging, Result};
use tokio::time::Instant;

use super::{Gateway, is, paged};
use crate::protocol::List;
use crate::transport::{Answer, Call};

/// Templates that are asked for at once when a job doesn't list its own.
const TEMPLATE_PAGE: u32 = 100;
/// Most pages of them.
const TEMPLATE_PAGES: u32 = 10;

/// A page of templates makes its job's ids; these are what puts them in the plan's order.
struct Made {
    place: (u64, i64),
    id: TemplateId,
}

impl Gateway {
    /// A job that ended without a list of its templates gets it from Triton's templates.
    pub(super) async fn complete(
        &self,
        operation: &'static str,
        mut job: Job,
        answer: &Answer<'_>,
        deadline: Instant,
    ) -> Result<Job> {
        let listed = answer.item()?.fields.has_list("template_ids");
        let asks = match job.status {
            JobStatus::Completed => job.template_ids.is_empty(),
            JobStatus::Cancelled => !listed,
            JobStatus::Pending | JobStatus::Running | JobStatus::Failed => false,
        };
        if asks {
            let ids = self.templates_made_by(operation, &job.id, deadline).await?;
            let mut record = (*job).clone();
            record.template_count = record.template_count.max(ids.len() as u64);
            record.template_ids = ids;
            job = Job::restore(record);
        }
        if job.status == JobStatus::Completed && job.template_count == 0 {
            return Err(answer.context.garbage("a completed job without templates"));
        }
        Ok(job)
    }

    async fn templates_made_by(
        &self,
        operation: &'static str,
        job_id: &JobId,
        deadline: Instant,
    ) -> Result<Vec<TemplateId>> {
        let mut made: Vec<Made> = Vec::new();
        for page in 1..=TEMPLATE_PAGES {
            let paging = Paging {
                page,
                page_size: TEMPLATE_PAGE,
            };
            let mut call = Call::get(operation, &["templates", ""]);
            call.query.push(("job_id", job_id.to_string()));
            let call = paged(call, paging);
            let answer = self
                .transport
                .read(&call, deadline)
                .await?
                .expect_success()?;
            let list = answer.list("templates")?;
            let whole = matches!(list, List::Bare(_));
            let all = Paging {
                page: 1,
                page_size: u32::MAX,
            };
            let page = list.page(all, |t| is(t, "job_id", Some(job_id.as_str())));
            let before = made.len();
            for item in &page.items {
                let id = TemplateId::parse(item.id())
                    .map_err(|e| answer.context.garbage(&e.to_string()))?;
                if !made.iter().any(|m| m.id == id) {
                    let index = item.fields.number("template_index").unwrap_or(u64::MAX);
                    let place = (index, item.fields.moment("created_at"));
                    made.push(Made { place, id });
                }
            }
            // A page that brings nothing new is the last, whatever `total` says.
            if whole || made.len() as u64 >= page.total || made.len() == before {
                break;
            }
        }
        made.sort_by_key(|m| m.place);
        Ok(made.into_iter().map(|m| m.id).collect())
    }
}
