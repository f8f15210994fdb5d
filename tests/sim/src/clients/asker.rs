//! Whoever submits, polls and cancels.

use std::time::Duration;

use conch_ports::{Cancelled, NewJob, Requested};
use rand::RngExt;

use super::Client;
use crate::history::Said;

impl Client {
    /// Submits one job under one key until it is acknowledged, and sometimes once more.
    pub(super) async fn submit(mut self, n: usize) {
        let spread = self.crowd.world.plan.spread.as_millis() as u64;
        self.pause(0, spread).await;
        let key = format!("key-{}", n + 1);
        let times = if self.now_and_then(3) { 2 } else { 1 };
        for _ in 0..times {
            while !self.submitted(&key).await {
                self.pause(300, 1500).await;
            }
            self.pause(0, 2000).await;
        }
    }

    async fn submitted(&mut self, key: &str) -> bool {
        let Some(api) = self.reach("POST generate-templates", key.to_owned()).await else {
            return false;
        };
        let new = NewJob {
            client_id: self.crowd.world.client.id.clone(),
            value_proposition_id: None,
            schedule: conch_domain::Schedule::default(),
            idempotency_key: Some(key.to_owned()),
        };
        let key = key.to_owned();
        match self.of(&api, api.gateway.submit(new)).await {
            Some(Ok(Requested::Accepted(job) | Requested::Repeated(job))) => {
                let name = self.name(&job.id);
                self.note(Said::Submitted { key, job: name });
                self.crowd.know(job.id.clone());
                true
            }
            Some(Ok(refused)) => {
                let why = format!("{refused:?}");
                self.note(Said::Refused { key, why });
                false
            }
            Some(Err(error)) => {
                let why = error.to_string();
                self.note(Said::Failed { of: "submit", why });
                false
            }
            None => false,
        }
    }

    /// Asks again and again for each job that is known.
    pub(super) async fn poll(mut self) {
        loop {
            self.pause(300, 1500).await;
            let known = self.crowd.known();
            if known.is_empty() {
                continue;
            }
            let job = known[self.rng.random_range(0..known.len())].clone();
            let name = self.name(&job);
            let Some(api) = self.reach("GET job", name.clone()).await else {
                continue;
            };
            match self.of(&api, api.lookup.job(&job)).await {
                Some(Ok(answer)) => self.note(Said::Polled { job: name, answer }),
                Some(Err(error)) => {
                    let why = error.to_string();
                    self.note(Said::Failed { of: "lookup", why });
                }
                None => {}
            }
        }
    }

    /// Asks for the end of one job.
    pub(super) async fn cancel(mut self) {
        let n = self.rng.random_range(0..self.crowd.world.plan.jobs);
        let job = self.nth(n).await;
        self.pause(0, 4000).await;
        let name = self.name(&job);
        loop {
            let Some(api) = self.reach("DELETE job", name.clone()).await else {
                self.pause(300, 1500).await;
                continue;
            };
            match self
                .of(
                    &api,
                    api.edge_cancel.cancel(&conch_domain::Clients::ALL, &job),
                )
                .await
            {
                Some(Ok(cancelled)) => {
                    let answer = match cancelled {
                        Cancelled::Requested => "requested",
                        Cancelled::AlreadyEnded => "already ended",
                        Cancelled::NotFound => "not found",
                    };
                    self.note(Said::Cancelled { job: name, answer });
                    return;
                }
                Some(Err(error)) => {
                    let why = error.to_string();
                    self.note(Said::Failed { of: "cancel", why });
                }
                None => {}
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
