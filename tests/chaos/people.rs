//! Those who use the system while it is hurt: who submits, who polls, who cancels. As clients do, they
//! try again until they have an answer, and write down every answer.

use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Dice;
use super::history::History;

/// One answer may take so long.
const ANSWER: Duration = Duration::from_secs(4);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(100);
/// After this nobody tries any more.
const PATIENCE: Duration = Duration::from_secs(40);

/// A person with a browser or a script.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) http: Client,
    pub(super) history: History,
    pub(super) ports: Vec<u16>,
    pub(super) dice: Dice,
}

impl Person {
    fn url(&mut self, path: &str) -> String {
        let port = self.ports[self.dice.place(self.ports.len())];
        format!("http://127.0.0.1:{port}/v1/triton{path}")
    }

    /// Submits under a key until it is acknowledged; none when it never is. Each try goes anywhere.
    pub(super) async fn submit(&mut self, client: &str, key: &str) -> Option<String> {
        let by = Instant::now() + PATIENCE;
        self.history
            .note("submitting", json!({ "key": key, "client": client }));
        while Instant::now() < by {
            let url = self.url(&format!("/clients/{client}/generate-templates"));
            let request = self
                .http
                .post(url)
                .header("idempotency-key", key)
                .timeout(ANSWER);
            if let Ok(response) = request.send().await {
                let status = response.status().as_u16();
                let job: Value = response.json().await.unwrap_or_default();
                if let (202, Some(id)) = (status, job["job_id"].as_str()) {
                    let fields = json!({ "key": key, "client": client, "job": id });
                    self.history.note("accepted", fields);
                    return Some(id.to_owned());
                }
                let fields = json!({ "key": key, "status": status, "code": job["code"] });
                self.history.note("refused", fields);
                if status == 404 {
                    // The store has forgotten the client.
                    return None;
                }
            }
            sleep(AGAIN).await;
        }
        None
    }

    /// Makes a client with a value proposition, once; none when it didn't work.
    pub(super) async fn new_client(&mut self) -> Option<String> {
        let url = self.url("/clients");
        let body = json!({ "name": "Northwind Health" });
        let made = self
            .http
            .post(url)
            .json(&body)
            .timeout(ANSWER)
            .send()
            .await
            .ok()?;
        let client: Value = made.json().await.ok()?;
        let id = client["id"].as_str()?.to_owned();
        let url = self.url(&format!("/clients/{id}/value-propositions"));
        let body = json!({ "content": "Brings members back to work sooner, and says so." });
        let added = self
            .http
            .post(url)
            .json(&body)
            .timeout(ANSWER)
            .send()
            .await
            .ok()?;
        (added.status() == 201).then_some(id)
    }

    /// Asks for a job's state, once.
    pub(super) async fn look_up(&mut self, by: &str, job: &str) {
        let url = self.url(&format!("/jobs/{job}"));
        if let Ok(response) = self.http.get(url).timeout(ANSWER).send().await {
            let status = response.status().as_u16();
            let body: Value = response.json().await.unwrap_or_default();
            let fields = json!({ "by": by, "job": job, "status": status, "body": body });
            self.history.note("lookup", fields);
        }
    }

    /// Whether a lookup finds the job.
    pub(super) async fn knows(&mut self, job: &str) -> bool {
        let url = self.url(&format!("/jobs/{job}"));
        let answer = self.http.get(url).timeout(ANSWER).send().await;
        answer.is_ok_and(|response| response.status() == 200)
    }

    /// Asks for a job's history, once.
    pub(super) async fn read_history(&mut self, job: &str) -> u16 {
        let url = self.url(&format!("/jobs/{job}/events"));
        let Ok(response) = self.http.get(url).timeout(ANSWER).send().await else {
            return 0;
        };
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap_or_default();
        let fields = json!({ "job": job, "status": status, "events": body["events"] });
        self.history.note("history", fields);
        status
    }

    /// Asks for a job's end, until somebody has heard it.
    pub(super) async fn cancel(&mut self, job: &str) {
        let by = Instant::now() + PATIENCE;
        while Instant::now() < by {
            let url = self.url(&format!("/jobs/{job}"));
            if let Ok(response) = self.http.delete(url).timeout(ANSWER).send().await {
                let status = response.status().as_u16();
                let fields = json!({ "job": job, "status": status });
                self.history.note("cancel", fields);
                if matches!(status, 202 | 404 | 409) {
                    return;
                }
            }
            sleep(AGAIN).await;
        }
    }
}
