//! Redis over TLS, and what only looks like a Redis that works: a node of a cluster, a Sentinel.

use std::fs;
use std::process::Command;

use conch_harness::conch::{Conch, Plan};
use conch_harness::eventually::eventually;
use conch_harness::{Mare, Process, port};
use serde_json::Value;
use tempfile::TempDir;

use crate::authority::Authority;

/// A redis-server that is started with these arguments.
struct Server {
    process: Process,
    port: u16,
    _folder: TempDir,
}

impl Server {
    fn start(arguments: impl Fn(u16) -> Vec<String>) -> Self {
        Self::start_on(port::free(), arguments)
    }

    fn start_on(port: u16, arguments: impl Fn(u16) -> Vec<String>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut command = Command::new("redis-server");
        command
            .args(arguments(port))
            .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(folder.path());
        Self {
            process: Process::start("redis-server", &mut command),
            port,
            _folder: folder,
        }
    }

    /// Over TLS alone, with a certificate of that authority for that name.
    async fn over_tls(authority: &Authority, name: &str, asks_for_one: bool) -> Self {
        authority.sign("redis", name);
        let server = Self::start(|port| {
            let path = |file| authority.text(file);
            let asks = if asks_for_one { "yes" } else { "no" };
            let arguments = ["--port", "0", "--tls-port", &port.to_string()].map(str::to_owned);
            let tls = ["--tls-auth-clients", asks].map(str::to_owned);
            let files = [
                ("--tls-cert-file", path("redis.pem")),
                ("--tls-key-file", path("redis.key")),
                ("--tls-ca-cert-file", path("ca.pem")),
            ];
            let files = files
                .into_iter()
                .flat_map(|(flag, path)| [flag.to_owned(), path]);
            arguments.into_iter().chain(tls).chain(files).collect()
        });
        server.until_ready().await;
        server
    }

    async fn until_ready(&self) {
        eventually("redis-server is ready", async || {
            self.process
                .stdout()
                .contains("Ready to accept connections")
                .then_some(())
        })
        .await;
    }

    fn tls_url(&self) -> String {
        format!("rediss://127.0.0.1:{}/0", self.port)
    }
}

async fn health(mare: &Mare) -> Value {
    mare.get("/health").await.json(200)
}

/// An API that nothing but that Redis is there for.
async fn api(url: &str, env: &[(&str, &str)]) -> Conch {
    let plan = Plan::api_at(url, "http://127.0.0.1:9");
    env.iter()
        .fold(plan, |plan, (name, value)| plan.env(name, *value))
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_from_its_submission_to_its_end_over_tls_with_a_private_authority() {
    let authority = Authority::new();
    let redis = Server::over_tls(&authority, "127.0.0.1", false).await;
    let ca = authority.text("ca.pem");
    let worker = Plan::worker_at(&redis.tls_url())
        .env("REDIS_CA_FILE", &ca)
        .env("CACHE_REDIS_URL", redis.tls_url())
        .start()
        .await;
    let api = Plan::api_at(&redis.tls_url(), &worker.triton_url())
        .env("SSL_CERT_FILE", &ca)
        .env("CACHE_REDIS_URL", redis.tls_url())
        .start()
        .await;
    let mare = api.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let events = mare.subscribe(&job_id).await.read_to_end().await;
    let end = events.last().expect("there are events");
    assert_eq!(end.kind(), "job:completed");
    assert_eq!(mare.job(&job_id).await["status"], "completed");
    let health = health(&mare).await;
    assert_eq!(health["checks"]["bus"]["status"], "ok", "{health}");
    assert_eq!(health["checks"]["cache"]["status"], "ok", "{health}");
    assert!(
        api.log()
            .contains("Triton event subscriber started successfully")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_certificate_is_said() {
    let (authority, other) = (Authority::new(), Authority::new());
    let ca = authority.text("ca.pem");
    let here = Server::over_tls(&authority, "127.0.0.1", false).await;
    let elsewhere = Authority::new();
    let named = Server::over_tls(&elsewhere, "redis.example", false).await;
    let not_trusted = "Redis's certificate isn't signed by an authority that is trusted here";
    let other_name = "Redis's certificate is for another name than the one in its address";
    for (url, file, said) in [
        (here.tls_url(), Some(other.text("ca.pem")), not_trusted),
        (here.tls_url(), None, not_trusted),
        (named.tls_url(), Some(elsewhere.text("ca.pem")), other_name),
    ] {
        let env: Vec<_> = file.iter().map(|f| ("REDIS_CA_FILE", f.as_str())).collect();
        let api = api(&url, &env).await;
        let health = health(&api.mare()).await;
        let bus = &health["checks"]["bus"];
        assert_eq!(health["status"], "degraded", "{health}");
        let detail = bus["detail"].as_str().expect("in words");
        assert!(detail.starts_with(said), "{health}");
        eventually("the log says it", async || {
            api.log().contains(said).then_some(())
        })
        .await;
    }
    let api = api(&here.tls_url(), &[("REDIS_CA_FILE", &ca)]).await;
    assert_eq!(health(&api.mare()).await["checks"]["bus"]["status"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_asks_for_a_certificate_is_shown_one() {
    let authority = Authority::new();
    let redis = Server::over_tls(&authority, "127.0.0.1", true).await;
    authority.sign("conch", "conch.example");
    let (ca, certificate, key) = (
        authority.text("ca.pem"),
        authority.text("conch.pem"),
        authority.text("conch.key"),
    );
    let trusted = ("REDIS_CA_FILE", ca.as_str());
    let shown = [
        trusted,
        ("REDIS_CERT_FILE", &certificate),
        ("REDIS_KEY_FILE", &key),
    ];
    for (env, status) in [(&shown[..], "ok"), (&[trusted], "unreachable")] {
        let api = api(&redis.tls_url(), env).await;
        let health = health(&api.mare()).await;
        assert_eq!(health["checks"]["bus"]["status"], status, "{health}");
    }
}

/// What a program says of a server that it can't use, and that it works once another is there.
async fn is_refused_until_replaced(server: Server, said: &str) {
    let url = format!("redis://127.0.0.1:{}/0", server.port);
    let worker = Plan::worker_at(&url).start().await;
    let api = Plan::api_at(&url, &worker.triton_url()).start().await;
    let mare = api.mare();
    for _ in 0..5 {
        let health = health(&mare).await;
        assert_eq!(health["status"], "degraded", "{health}");
        let detail = health["checks"]["bus"]["detail"]
            .as_str()
            .expect("in words");
        assert!(detail.starts_with(said), "{health}");
        let answer = mare.get("/jobs/00000000-0000-7000-8000-000000000000");
        assert!(answer.await.status.is_server_error());
    }
    for program in [&api, &worker] {
        let log = program.log();
        let errors: Vec<_> = log.lines().filter(|l| l.contains(" ERROR ")).collect();
        let told = errors.iter().filter(|line| line.contains(said)).count();
        assert_eq!((told, errors.len()), (1, 1), "{log}");
    }

    let port = server.port;
    drop(server);
    let plain = Server::start_on(port, |port| vec!["--port".to_owned(), port.to_string()]);
    plain.until_ready().await;
    eventually("the API has found the new Redis", async || {
        (health(&mare).await["status"] == "ok").then_some(())
    })
    .await;
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let events = mare.subscribe(&job_id).await.read_to_end().await;
    assert_eq!(events.last().expect("events").kind(), "job:completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_redis_cluster_is_called_so() {
    // By default its other port is 10,000 higher, where it may be anybody's.
    let bus = port::free().to_string();
    let server = Server::start(|port| {
        let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus];
        let arguments = ["--port", &port.to_string()];
        arguments
            .into_iter()
            .chain(cluster)
            .map(str::to_owned)
            .collect()
    });
    server.until_ready().await;
    let slots = Command::new("redis-cli")
        .args([
            "-p",
            &server.port.to_string(),
            "CLUSTER",
            "ADDSLOTSRANGE",
            "0",
            "16383",
        ])
        .output()
        .expect("redis-cli");
    assert!(slots.stdout.starts_with(b"OK"), "{slots:?}");
    is_refused_until_replaced(server, "a node of a Redis Cluster answers at this address").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_is_called_so() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("sentinel.conf");
    fs::write(&file, "").expect("written");
    let server = Server::start(|port| {
        let file = file.to_str().expect("text");
        let arguments = [file, "--sentinel", "--port", &port.to_string()];
        arguments.map(str::to_owned).to_vec()
    });
    until_sentinel(&server).await;
    is_refused_until_replaced(server, "a Redis Sentinel answers at this address").await;
}

async fn until_sentinel(server: &Server) {
    eventually("the Sentinel answers", async || {
        let port = server.port.to_string();
        let output = Command::new("redis-cli")
            .args(["-p", &port, "PING"])
            .output();
        output
            .expect("redis-cli")
            .stdout
            .starts_with(b"PONG")
            .then_some(())
    })
    .await;
}
