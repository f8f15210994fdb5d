//! One call to Triton: which address, how often, how long, how much.
//!
//! ```text
//!   read:   try 1 ─► address 1 ─► address 2 ─► pause ─► try 2 ─► address 1 … until the call's time is over
//!   write:  address 1 ─(no connection came about: nothing was sent)─► address 2
//! ```
//!
//! Never in here: what an answer means. A write is never sent again once a connection stood.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::{Bytes, BytesMut};
use conch_ports::{Error, ErrorKind};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use tokio::time::Instant;

use crate::breaker::{Admission, Breaker, Pass};
use crate::error::Context;
use crate::settings::{Invalid, Settings, label};

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    /// The path's segments; an empty last one makes the trailing slash without which the Python
    /// service redirects its lists.
    pub(crate) path: Vec<&'a str>,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Bytes>,
    pub(crate) idempotency_key: Option<HeaderValue>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(operation: &'static str, path: &[&'a str]) -> Self {
        Self {
            operation,
            method: Method::GET,
            path: path.to_vec(),
            query: Vec::new(),
            body: None,
            idempotency_key: None,
        }
    }

    pub(crate) fn post(operation: &'static str, path: &[&'a str], body: Bytes) -> Self {
        Self {
            method: Method::POST,
            body: Some(body),
            ..Self::get(operation, path)
        }
    }
}

/// What was answered, whole.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// Whether it says that it repeats an earlier answer, for an idempotency key.
    pub(crate) replayed: bool,
    pub(crate) context: Context<'a>,
}

impl Answer<'_> {
    /// The answer, unless it says that the service can't do it now. Any other is the call's to read.
    fn unless_down(self) -> Result<Self, Failure> {
        if !matches!(self.status.as_u16(), 502..=504) {
            return Ok(self);
        }
        let error = self.context.unexpected(self.status, &self.body);
        Err(Failure {
            // A full store is the word of a service that is well, and that goes on reading.
            alive: error.kind() == ErrorKind::OutOfSpace,
            error,
            nothing_sent: false,
        })
    }
}

struct Failure {
    error: Error,
    /// Whether it is certain that Triton saw nothing of the call.
    nothing_sent: bool,
    /// Whether the address is well all the same. What one caller's own records bring about must not
    /// close it to all others.
    alive: bool,
}

struct Endpoint {
    base: Url,
    label: String,
    breaker: Mutex<Breaker>,
}

pub(crate) struct Transport {
    client: reqwest::Client,
    endpoints: Vec<Endpoint>,
    settings: Settings,
}

impl Transport {
    pub(crate) fn new(settings: Settings) -> Result<Self, Invalid> {
        let client = settings.client()?;
        let breaker = || Breaker::new(settings.breaker_failures, settings.breaker_cool_down);
        let endpoints = settings
            .addresses
            .iter()
            .map(|base| Endpoint {
                base: base.clone(),
                label: label(base),
                breaker: Mutex::new(breaker()),
            })
            .collect();
        Ok(Self {
            client,
            endpoints,
            settings,
        })
    }

    /// When a call that begins now has to have ended.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.settings.call_timeout
    }

    /// Asks until somebody answers or the deadline is reached. Cancel-safe.
    pub(crate) async fn read(
        &self,
        call: &Call<'_>,
        deadline: Instant,
    ) -> Result<Answer<'_>, Error> {
        let mut pauses = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(self.settings.backoff)
            .with_max_times(self.settings.tries - 1)
            .build();
        loop {
            let error = match self
                .round(call, deadline, |failure| {
                    matches!(
                        failure.error.kind(),
                        ErrorKind::Unavailable | ErrorKind::Timeout
                    )
                })
                .await
            {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let Some(pause) = pauses.next().filter(|_| error.again) else {
                return Err(error.error);
            };
            if Instant::now() + pause >= deadline {
                return Err(error.error);
            }
            tracing::debug!(operation = call.operation, error = %error.error, "Triton is asked again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends once. Dropping it leaves open whether Triton saw it.
    pub(crate) async fn write(&self, call: &Call<'_>) -> Result<Answer<'_>, Error> {
        let deadline = self.deadline();
        self.round(call, deadline, |failure| failure.nothing_sent)
            .await
            .map_err(|ended| ended.error)
    }

    /// One turn through the addresses, as long as `goes_on` says that another one may be asked.
    async fn round(
        &self,
        call: &Call<'_>,
        deadline: Instant,
        goes_on: impl Fn(&Failure) -> bool,
    ) -> Result<Answer<'_>, Ended> {
        // What was really tried says more than an address that was passed over.
        let mut failed = None;
        let mut passed_over = None;
        for endpoint in &self.endpoints {
            let context = Context {
                operation: call.operation,
                address: &endpoint.label,
            };
            let limit = deadline.saturating_duration_since(Instant::now());
            if limit.is_zero() {
                break;
            }
            let mut passage = match endpoint.admit() {
                Ok(passage) => passage,
                Err(wait) => {
                    passed_over.get_or_insert_with(|| context.left_alone(wait));
                    continue;
                }
            };
            let limit = if call.method == Method::GET {
                limit.min(self.settings.try_timeout)
            } else {
                limit
            };
            let answered = self.exchange(endpoint, context, call, limit).await;
            let failure = match answered.and_then(Answer::unless_down) {
                Ok(answer) => {
                    passage.end(true);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            passage.end(failure.alive);
            if !goes_on(&failure) {
                return Err(Ended::for_good(failure.error));
            }
            failed = Some(failure.error);
        }
        // Where every address is left alone a second round would only wait: it fails at once.
        let again = failed.is_some();
        let error = failed.or(passed_over).unwrap_or_else(|| {
            let first = &self.endpoints[0].label;
            let context = Context {
                operation: call.operation,
                address: first,
            };
            context.too_slow(self.settings.call_timeout)
        });
        Err(Ended { error, again })
    }

    async fn exchange<'a>(
        &self,
        endpoint: &Endpoint,
        context: Context<'a>,
        call: &Call<'_>,
        limit: Duration,
    ) -> Result<Answer<'a>, Failure> {
        let headed = |error: Error| Failure {
            alive: error.kind() != ErrorKind::Timeout,
            error,
            nothing_sent: false,
        };
        let mut url = endpoint.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(&call.path);
        }
        let mut request = self
            .client
            .request(call.method.clone(), url)
            .query(&call.query)
            .timeout(limit)
            .header(
                reqwest::header::ACCEPT,
                "application/json, application/problem+json",
            );
        if let Some(token) = &self.settings.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(key) = &call.idempotency_key {
            request = request.header(HeaderName::from_static("idempotency-key"), key);
        }
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let mut response = request.send().await.map_err(|error| Failure {
            nothing_sent: error.is_connect(),
            error: context.no_answer(error),
            alive: false,
        })?;
        let max = self.settings.response_limit;
        if response
            .content_length()
            .is_some_and(|length| length > max as u64)
        {
            return Err(headed(context.too_long(max)));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| headed(context.cut_off(error)))?
        {
            if body.len() + chunk.len() > max {
                return Err(headed(context.too_long(max)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: response.status(),
            body: body.freeze(),
            replayed: response
                .headers()
                .get("idempotency-replayed")
                .is_some_and(|value| value == "true"),
            context,
        })
    }
}

/// How a round ended without an answer.
struct Ended {
    error: Error,
    /// Whether another round may help.
    again: bool,
}

impl Ended {
    fn for_good(error: Error) -> Self {
        Self {
            error,
            again: false,
        }
    }
}

impl Endpoint {
    fn admit(&self) -> Result<Passage<'_>, Duration> {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match breaker.admit(std::time::Instant::now()) {
            Admission::Go(pass) => Ok(Passage {
                endpoint: self,
                pass: Some(pass),
            }),
            Admission::Wait(wait) => Err(wait),
        }
    }
}

/// A call on its way; one that is dropped on it gives its place back.
struct Passage<'a> {
    endpoint: &'a Endpoint,
    pass: Option<Pass>,
}

impl Passage<'_> {
    fn end(&mut self, success: bool) {
        let Some(pass) = self.pass.take() else { return };
        let mut breaker = self
            .endpoint
            .breaker
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if success {
            breaker.succeeded(pass);
        } else {
            breaker.failed(pass, std::time::Instant::now());
        }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            let mut breaker = self
                .endpoint
                .breaker
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            breaker.abandoned(pass, std::time::Instant::now());
        }
    }
}
