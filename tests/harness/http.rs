//! Plain HTTP as a script would do it, and the few calls that every test of the edge needs.

use std::sync::Once;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::eventually::eventually;
use crate::{Stream, Watcher};

/// Upper bound of any single answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// A client that never asks a proxy and never follows a redirect.
///
/// # Panics
/// When TLS can't be set up; none is used.
pub fn client() -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error says that another test of this process was first.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
    Client::builder()
        // No test speaks TLS, and to read the machine's certificates takes a while each time.
        .tls_certs_only([])
        .no_proxy()
        // A connection that has idled for `HEAD_TIMEOUT_SECONDS`, ten, is closed: not while a request is on
        // its way.
        .pool_idle_timeout(Duration::from_secs(5))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("the settings are fixed")
}

/// A figure of a process, by the name and labels that its line of `/metrics` begins with; 0 before it
/// first moves.
pub async fn metric(port: u16, name: &str) -> f64 {
    let url = format!("http://127.0.0.1:{port}/metrics");
    let metrics = Answer::to(client().get(&url)).await.body;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or(0.0)
}

/// Waits until a figure is such.
pub async fn until_metric(port: u16, name: &str, fits: impl Fn(f64) -> bool) {
    eventually(&format!("{name} is as it should be"), async || {
        fits(metric(port, name).await).then_some(())
    })
    .await;
}

/// Waits until so many streams are open at an API, as its metrics tell.
pub async fn until_streams(port: u16, streams: u64) {
    until_metric(port, "conch_streams", |open| open >= streams as f64).await;
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: reqwest::header::HeaderMap,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// Sends a request and reads its answer.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn to(request: RequestBuilder) -> Self {
        Self::attempt(request)
            .await
            .unwrap_or_else(|e| panic!("no answer: {e:?}"))
    }

    /// As [`Answer::to`], for servers that may not be there.
    pub async fn attempt(request: RequestBuilder) -> reqwest::Result<Self> {
        let response = request.timeout(ANSWER_LIMIT).send().await?;
        Ok(Self {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.text().await?,
        })
    }

    /// The body as JSON, if the status is the expected one.
    ///
    /// # Panics
    /// When it isn't, or the body is no JSON.
    pub fn json(&self, expected: u16) -> Value {
        assert_eq!(self.status.as_u16(), expected, "{}", self.body);
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// A header as text, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    /// Checks that it is a problem (RFC 9457) with this status and code.
    ///
    /// # Panics
    /// When it isn't.
    pub fn expect_problem(&self, status: u16, code: &str) -> Value {
        let problem = self.json(status);
        assert!(
            self.header("content-type")
                .starts_with("application/problem+json"),
            "{:?}",
            self.headers
        );
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        problem
    }
}

/// The edge API of one process.
#[derive(Debug, Clone)]
pub struct Mare {
    base: String,
    client: Client,
}

impl Mare {
    /// The edge API on that port of the loopback.
    pub fn on(port: u16) -> Self {
        Self {
            base: format!("http://127.0.0.1:{port}"),
            client: client(),
        }
    }

    /// The address of a path below `/v1/triton`.
    pub fn url(&self, path: &str) -> String {
        format!("{}/v1/triton{path}", self.base)
    }

    /// A request for a path below `/v1/triton`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// `GET` of a path below `/v1/triton`.
    pub async fn get(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, path)).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(Method::POST, path).json(body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::DELETE, path)).await
    }

    /// A new client with a value proposition; its id.
    pub async fn new_client(&self, name: &str) -> String {
        let body = json!({ "name": name, "industry": "Musculoskeletal Care" });
        let client = self.post("/clients", &body).await.json(201);
        let id = client["id"]
            .as_str()
            .expect("a client has an id")
            .to_owned();
        let content = "Cuts surgery costs by 30 % and brings members back to work sooner.";
        self.post(
            &format!("/clients/{id}/value-propositions"),
            &json!({ "content": content }),
        )
        .await
        .json(201);
        id
    }

    /// Submits a job; its id.
    pub async fn submit(&self, client_id: &str) -> String {
        let path = format!("/clients/{client_id}/generate-templates");
        let answer = Answer::to(self.request(Method::POST, &path)).await;
        let job = answer.json(202);
        assert_eq!(job["status"], "pending", "{job}");
        assert_eq!(job["id"], job["job_id"], "{job}");
        job["job_id"].as_str().expect("a job has an id").to_owned()
    }

    /// Submits a job of a new client and watches it until it has started.
    pub async fn started_job(&self) -> Stream {
        let job_id = self.submit(&self.new_client("Fabrikam Health").await).await;
        let mut stream = self.subscribe(&job_id).await;
        stream.read_until(|e| e.kind() == "job:started").await;
        stream
    }

    /// Looks a job up.
    pub async fn job(&self, job_id: &str) -> Value {
        self.get(&format!("/jobs/{job_id}")).await.json(200)
    }

    /// The address of a job's stream.
    pub fn subscribe_url(&self, job_id: &str) -> String {
        self.url(&format!("/jobs/{job_id}/subscribe"))
    }

    /// Opens a job's stream from its beginning.
    pub async fn subscribe(&self, job_id: &str) -> Stream {
        Stream::open(&self.subscribe_url(job_id), None).await
    }

    /// Watches a job as a browser does: through every loss of the connection, until 204.
    pub fn watch(&self, job_id: &str) -> Watcher {
        Watcher::start(self.subscribe_url(job_id))
    }

    /// Opens a job's stream once the job is known: an id that was announced on a channel a moment ago
    /// may not have arrived.
    pub async fn subscribe_once_known(&self, job_id: &str) -> Stream {
        let url = self.subscribe_url(job_id);
        eventually(&format!("{url} is no longer 404"), async || {
            Stream::attempt(&url, None).await.ok()
        })
        .await
    }

    /// Waits until a lookup shows that status.
    pub async fn until_status(&self, job_id: &str, status: &str) -> Value {
        eventually(&format!("job {job_id} is {status}"), async || {
            let answer = self.get(&format!("/jobs/{job_id}")).await;
            let job: Value = serde_json::from_str(&answer.body).ok()?;
            (job["status"] == status).then_some(job)
        })
        .await
    }
}
