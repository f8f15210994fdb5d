//! Query parameters: parsed by name, the last one wins where one is asked for, unknown ones are ignored.
//! What doesn't validate is 422 and names the parameter. An empty one counts as absent, as forms send it;
//! but an empty id is 422: an unset variable in a script must not turn "this job" into "every job".

use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use conch_domain::{Audience, Category, JobStatus, Timestamp};
use conch_ports::{ClientFilter, JobFilter, Paging, TemplateFilter};
use conch_wire::time;
use http::request::Parts;

use crate::path::{self, Identifier};
use crate::problem::Problem;

const PAGE_SIZE: u32 = 20;
const PAGE_SIZE_MAX: u32 = 100;

/// A request's query, percent-decoded. Bounded by the bound on the request's head.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// A number of digits alone: `from_str` takes a sign, too.
pub(crate) fn number<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        Self(
            form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(n, value)| n == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All parameters, in the order given.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The parameter as it stands; an empty one counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values(name).next_back()
    }

    /// The parameter as it stands, never an empty one.
    fn filled(&self, name: &str) -> Result<Option<&str>, Problem> {
        if self
            .0
            .iter()
            .any(|(n, value)| n == name && value.is_empty())
        {
            let words = "must not be empty: give it a value or leave it out";
            return Err(Problem::invalid_field(name, words));
        }
        Ok(self.text(name))
    }

    /// The parameter as `parse` reads it; `expected` finishes the sentence "<name> …".
    pub(crate) fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        self.text(name)
            .map(|text| parse(text).ok_or_else(|| Problem::invalid_field(name, expected)))
            .transpose()
    }

    /// The parameter as one of a set of names.
    fn one_of<T: Copy>(
        &self,
        name: &str,
        all: &[T],
        as_str: fn(T) -> &'static str,
    ) -> Result<Option<T>, Problem> {
        let names = || {
            let names: Vec<_> = all.iter().map(|v| as_str(*v)).collect();
            format!("must be one of: {}", names.join(", "))
        };
        self.text(name)
            .map(|text| {
                let found = all.iter().copied().find(|v| as_str(*v) == text);
                found.ok_or_else(|| Problem::invalid_field(name, names()))
            })
            .transpose()
    }

    /// The parameter as yes or no, in the spellings that FastAPI takes.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.parsed(name, "must be true or false", |text| {
            match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            }
        })
    }

    /// The parameter as a moment.
    fn moment(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        self.parsed(name, "must be an RFC 3339 time", time::parse)
    }

    /// The id of that kind.
    pub(crate) fn id<T: Identifier>(&self) -> Result<Option<T>, Problem> {
        self.filled(T::PARAMETER)?.map(path::parse).transpose()
    }

    /// All ids of that kind, in the order given, at most `max`.
    pub(crate) fn ids<T: Identifier>(&self, max: usize) -> Result<Vec<T>, Problem> {
        self.filled(T::PARAMETER)?;
        if self.values(T::PARAMETER).count() > max {
            let expected = format!("may be given at most {max} times");
            return Err(Problem::invalid_field(T::PARAMETER, expected));
        }
        self.values(T::PARAMETER).map(path::parse).collect()
    }

    /// Which clients.
    pub(crate) fn client_filter(&self) -> ClientFilter {
        ClientFilter {
            industry: self.text("industry").map(str::to_owned),
        }
    }

    /// Which jobs.
    pub(crate) fn job_filter(&self) -> Result<JobFilter, Problem> {
        Ok(JobFilter {
            client_id: self.id()?,
            status: self.one_of("status", &JobStatus::ALL, JobStatus::as_str)?,
            updated_since: self.moment("updated_since")?,
        })
    }

    /// Which templates.
    pub(crate) fn template_filter(&self) -> Result<TemplateFilter, Problem> {
        Ok(TemplateFilter {
            client_id: self.id()?,
            job_id: self.id()?,
            category: self.one_of("category", Category::ALL, Category::as_str)?,
            target_audience: self.one_of("target_audience", Audience::ALL, Audience::as_str)?,
        })
    }

    /// `page` and `page_size`.
    pub(crate) fn paging(&self) -> Result<Paging, Problem> {
        let page = self.parsed("page", "must be a number from 1 on", |text| {
            number(text).filter(|page| *page >= 1)
        })?;
        let page_size = self.parsed("page_size", "must be a number from 1 to 100", |text| {
            number(text).filter(|size| (1..=PAGE_SIZE_MAX).contains(size))
        })?;
        Ok(Paging {
            page: page.unwrap_or(1),
            page_size: page_size.unwrap_or(PAGE_SIZE),
        })
    }
}
