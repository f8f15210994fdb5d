//! Templates in Redis: each a string, put there by the commit that names it (`staging`, `lua/templates.lua`), or
//! here, by itself. Never in here: a template that is staged and not kept.

use conch_domain::{Template, TemplateId};
use conch_ports::{Lease, Page, Paging, PutTemplate, Result};
use conch_wire::record;
use redis::{RedisResult, Value};

use crate::catalogue::{decoded, listed};
use crate::errors::failed;
use crate::log::{Redis, bytes, unexpected};
use crate::records::{self, micros};

impl Redis {
    /// None for one that is there and not kept: its commit has not been taken.
    pub(crate) async fn template_body(
        &self,
        operation: &'static str,
        id: &TemplateId,
    ) -> Result<Option<Vec<u8>>> {
        let key = &self.keys.template(id);
        let mut both = redis::pipe();
        both.ignore_errors();
        both.cmd("GET").arg(key).cmd("PTTL").arg(key);
        let answers = self.connections.all_shared::<Value>(operation, &both);
        let [body, lives] = <[RedisResult<Value>; 2]>::try_from(answers.await?)
            .map_err(|_| unexpected(operation))?;
        match body {
            Ok(Value::Nil) => Ok(None),
            Ok(body) => {
                let lives = lives.map_err(|error| failed(operation, error))?;
                let body = bytes(operation, body)?;
                // No time to live.
                Ok((lives == Value::Int(-1)).then_some(body))
            }
            // An earlier build's.
            Err(error) if error.code() == Some("WRONGTYPE") => self.body(operation, key).await,
            Err(error) => Err(failed(operation, error)),
        }
    }

    /// Stores one that its store has lost, or whose event can't be appended.
    pub(crate) async fn put_template_again(
        &self,
        template: &Template,
        lease: &Lease,
    ) -> Result<PutTemplate> {
        const OPERATION: &str = "catalogue.put_template";
        if template.job_id != lease.job_id {
            return Ok(PutTemplate::Fenced);
        }
        let (indexes, score) = records::indexes_of_template(&self.keys, template);
        let retention = self.settings.retention;
        let mut call = self.scripts.put_template.prepare_invoke();
        call.key(self.keys.template(&template.id))
            .key(self.keys.retention())
            .key(self.keys.places(&lease.job_id))
            .key(self.keys.entry(&lease.job_id))
            .key(self.keys.leases())
            .key(&indexes)
            .arg(lease.job_id.as_str())
            .arg(lease.token.as_str())
            .arg(template.index)
            .arg(self.keys.template_of(""))
            .arg(records::places_lifetime(retention))
            .arg(template.id.as_str())
            .arg(template.object.as_json())
            .arg(retention.map_or(0, micros))
            .arg(score)
            .arg(self.keys.job(&lease.job_id));
        let answer: Vec<Vec<u8>> = self.connections.script_shared(OPERATION, &call).await?;
        let words: Vec<&[u8]> = answer.iter().map(Vec::as_slice).collect();
        match words[..] {
            [b"stored"] => Ok(PutTemplate::Stored),
            [b"fenced"] => Ok(PutTemplate::Fenced),
            [b"taken", body] => decoded(OPERATION, body, &record::decode_template)
                .map(|template| PutTemplate::Taken(Box::new(template))),
            _ => Err(unexpected(OPERATION)),
        }
    }

    /// As [`Redis::list`], of what several indexes list.
    pub(crate) async fn list_templates(
        &self,
        operation: &'static str,
        indexes: impl Iterator<Item = String>,
        paging: Paging,
    ) -> Result<Page<Template>> {
        let mut call = self.scripts.list_templates.prepare_invoke();
        call.key(self.keys.retention());
        for index in indexes {
            call.key(index);
        }
        call.arg(paging.offset())
            .arg(paging.page_size)
            .arg(self.keys.template_of(""))
            .arg(self.settings.retention.map_or(0, micros));
        let answer = self.connections.script(operation, &call).await?;
        listed(operation, answer, &record::decode_template)
    }
}
