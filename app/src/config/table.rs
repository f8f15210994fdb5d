//! Every setting there is: its name, its default, who takes it, what it means. `--help`, the reading
//! and the warnings about misspellings all come from this one table.

use super::Program;

/// One setting: an environment variable and a flag of the same name.
#[derive(Debug)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// The default as `--help` shows it.
    pub default: &'static str,
    /// The programs that take it.
    pub who: &'static [Program],
    /// What it means.
    pub help: &'static str,
    /// It is a secret or may hold one: no program that this process starts inherits it.
    pub secret: bool,
}

impl Setting {
    /// The flag without its dashes.
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }

    /// The variable that names a file with the value, where that may be a secret.
    pub fn file_name(&self) -> Option<String> {
        self.secret.then(|| format!("{}_FILE", self.name))
    }

    /// Whether a variable says it, itself or by a file.
    pub fn is_said_by(&self, variable: &str) -> bool {
        let file = || variable.strip_suffix("_FILE") == Some(self.name) && self.secret;
        self.name == variable || file()
    }
}

const API: &[Program] = &[Program::Api, Program::AllInOne];
const WORKER: &[Program] = &[Program::Worker, Program::AllInOne];
const ALL: &[Program] = &[Program::Api, Program::Worker, Program::AllInOne];

const fn setting(
    name: &'static str,
    default: &'static str,
    who: &'static [Program],
    help: &'static str,
) -> Setting {
    Setting {
        name,
        default,
        who,
        help,
        secret: false,
    }
}

const fn secret(
    name: &'static str,
    default: &'static str,
    who: &'static [Program],
    help: &'static str,
) -> Setting {
    Setting {
        secret: true,
        ..setting(name, default, who, help)
    }
}

/// The table.
pub const SETTINGS: &[Setting] = &[
    setting(
        "MARE_API_ADDR",
        "127.0.0.1:16000",
        API,
        "address on which the edge API listens",
    ),
    setting(
        "TRITON_API_ADDR",
        "127.0.0.1:8000",
        WORKER,
        "address on which the job service listens; `off`: no HTTP except on WORKER_OPS_ADDR",
    ),
    setting(
        "WORKER_OPS_ADDR",
        "",
        WORKER,
        "address for /livez, /readyz and /metrics when TRITON_API_ADDR=off",
    ),
    secret(
        "TRITON_BASE_URL",
        "http://127.0.0.1:8000",
        API,
        "base URL of the job service; several, comma-separated, are tried in order",
    ),
    secret(
        "TRITON_TOKEN",
        "",
        ALL,
        "bearer token between Mare and Triton; required when Triton's address isn't loopback",
    ),
    setting(
        "TRITON_TIMEOUT_SECONDS",
        "5",
        API,
        "time limit of one call to Triton, retries included",
    ),
    setting(
        "TRITON_COOL_DOWN_SECONDS",
        "5",
        API,
        "how long a Triton address is skipped after repeated failures",
    ),
    secret(
        "STORE_URL",
        "what EVENT_BUS and REDIS_URL say",
        ALL,
        "where jobs and events are stored: `memory:`, or the URL of Redis",
    ),
    secret(
        "BUS_URL",
        "the store's own",
        ALL,
        "where events are announced: the same as STORE_URL, or the URL of NATS, `nats://` or `tls://`",
    ),
    secret(
        "NATS_CREDENTIALS",
        "",
        ALL,
        "content of a NATS credentials file (a user's JWT and seed)",
    ),
    setting(
        "NATS_CA_FILE",
        "the system's",
        ALL,
        "PEM file of the certificate authorities trusted for `tls://` to NATS",
    ),
    setting(
        "NATS_TIMEOUT_SECONDS",
        "3",
        ALL,
        "how long NATS may take to connect, or to return a message that a process sent to itself",
    ),
    setting(
        "NATS_PROBE_SECONDS",
        "5",
        ALL,
        "interval at which each process tests its subscription at NATS by publishing a message to itself",
    ),
    setting(
        "EVENT_BUS",
        "memory for `conch run`, else redis",
        ALL,
        "kind of store, when STORE_URL is unset: `memory` or `redis`",
    ),
    secret(
        "REDIS_URL",
        "redis://127.0.0.1:6379/0",
        ALL,
        "URL of Redis, when STORE_URL is unset; `rediss://` for TLS",
    ),
    setting(
        "REDIS_HOST",
        "",
        ALL,
        "host name of Redis, when STORE_URL and REDIS_URL are unset",
    ),
    setting(
        "REDIS_PORT",
        "",
        ALL,
        "port of Redis, when STORE_URL and REDIS_URL are unset",
    ),
    setting(
        "REDIS_DB",
        "",
        ALL,
        "database number in Redis, when STORE_URL and REDIS_URL are unset",
    ),
    secret(
        "REDIS_PASSWORD",
        "",
        ALL,
        "password for Redis, when STORE_URL and REDIS_URL are unset",
    ),
    setting(
        "REDIS_CA_FILE",
        "",
        ALL,
        "PEM file of the certificate authorities trusted for `rediss://`; unset: those of SSL_CERT_FILE",
    ),
    setting(
        "REDIS_CERT_FILE",
        "",
        ALL,
        "PEM file of the client certificate, with its chain, for a Redis that requires one",
    ),
    setting(
        "REDIS_KEY_FILE",
        "",
        ALL,
        "PEM file of the private key for REDIS_CERT_FILE",
    ),
    setting(
        "SSL_CERT_FILE",
        "the system's",
        ALL,
        "PEM file of the certificate authorities trusted for TLS to Redis and Triton",
    ),
    setting(
        "REDIS_TIMEOUT_SECONDS",
        "2",
        ALL,
        "time limit for connecting to Redis, and for each reply",
    ),
    setting(
        "REDIS_PROBE_SECONDS",
        "5",
        ALL,
        "interval at which each process tests its subscription by publishing a message to itself",
    ),
    setting(
        "REDIS_BACKOFF_CAP_SECONDS",
        "2",
        ALL,
        "longest delay between two attempts to resubscribe, before jitter",
    ),
    secret(
        "CACHE_REDIS_URL",
        "the store's Redis",
        ALL,
        "Redis for cached results, if it is another one",
    ),
    setting(
        "RESULT_TTL_SECONDS",
        "3600",
        ALL,
        "how long a result is cached",
    ),
    setting("HISTORY_LIMIT", "100", ALL, "events kept per job"),
    setting(
        "HISTORY_TTL_SECONDS",
        "86400",
        ALL,
        "how long Redis keeps a job's log after the job has ended; RESULT_TTL_SECONDS if that is longer",
    ),
    setting(
        "RETENTION_DAYS",
        "0",
        ALL,
        "days for which the catalogue keeps its records; 0: for ever",
    ),
    setting(
        "MAX_QUEUED_JOBS",
        "10000",
        WORKER,
        "most jobs waiting or running; further submissions are answered 429",
    ),
    setting(
        "MAX_JOBS",
        "1000000 on Redis, 25000 in memory",
        WORKER,
        "most job records kept; further submissions are answered 429",
    ),
    setting(
        "MAX_CLIENTS",
        "10000",
        WORKER,
        "most clients kept; creating another is answered 429",
    ),
    setting(
        "MAX_VALUE_PROPOSITIONS",
        "100",
        WORKER,
        "most value propositions per client, also in a list of them; adding another is answered 429",
    ),
    setting(
        "CHANNEL_PREFIX",
        "triton",
        ALL,
        "prefix of every channel and key",
    ),
    setting(
        "POSITION_CHECK_SECONDS",
        "10",
        API,
        "how long a watched job may be silent before its log is read again",
    ),
    setting(
        "RECORD_LOST_SECONDS",
        "3 position checks",
        API,
        "how long a job may be missing from both its log and Triton before its watchers are told that its record is lost",
    ),
    setting(
        "HEARTBEAT_SECONDS",
        "4",
        API,
        "interval between two heartbeats on a stream",
    ),
    setting(
        "STREAM_RETRY_SECONDS",
        "2",
        API,
        "reconnection delay that `retry:` tells a stream's client; varied per stream from half to twice this value",
    ),
    setting(
        "CORS_ORIGINS",
        "loopback origins, any port",
        API,
        "comma-separated origins whose pages may read responses",
    ),
    setting(
        "ALLOWED_HOSTS",
        "",
        ALL,
        "comma-separated host names accepted besides `localhost` where no credentials are required; checked on loopback listeners, and on all once set; `*`: any",
    ),
    setting(
        "FOREIGN_EVENTS",
        "accept",
        API,
        "`accept` events of external publishers, or `ignore` every event on the channels that no log confirms",
    ),
    setting(
        "MAX_FOREIGN_JOBS",
        "10000",
        API,
        "most unfinished jobs of external publishers; events of further jobs are dropped",
    ),
    setting(
        "MAX_FOREIGN_JOB_KIB",
        "1024",
        API,
        "KiB of events kept per external job; beyond that, the oldest are trimmed",
    ),
    setting(
        "MAX_FOREIGN_MIB",
        "256",
        API,
        "MiB of events kept for all external jobs together; beyond that, no new job is accepted, and lifecycle events may use a quarter more",
    ),
    setting(
        "MAX_EVENT_BYTES",
        "65536",
        API,
        "size limit of an external event, in bytes; a larger one is dropped",
    ),
    setting(
        "LOCAL_RESULTS",
        "64",
        API,
        "MiB of finished jobs cached in the process; 0: every lookup asks the shared cache",
    ),
    setting(
        "MAX_EVENTS_PER_JOB",
        "1000",
        ALL,
        "events after which a job accepts no more progress; after twice as many, no more events about single templates",
    ),
    setting(
        "MAX_CONNECTIONS",
        "100000",
        ALL,
        "most concurrent connections per listener",
    ),
    setting(
        "HTTP_THREADS",
        "one per processor",
        ALL,
        "threads that serve requests; each has its own connection to Redis for short commands",
    ),
    setting(
        "MAX_HEAD_BYTES",
        "57344",
        ALL,
        "size limit of a request's header section, in bytes; a larger one is answered 431",
    ),
    setting(
        "HEAD_TIMEOUT_SECONDS",
        "10",
        ALL,
        "time limit for receiving a request's header section, and for an idle connection; then the connection is closed",
    ),
    setting(
        "MAX_BODY_BYTES",
        "262144",
        ALL,
        "size limit of a request's body, in bytes; a larger one is answered 413",
    ),
    setting(
        "BODY_TIMEOUT_SECONDS",
        "30",
        ALL,
        "time limit for receiving a request's body; then it is answered 408",
    ),
    setting(
        "WRITE_STALL_SECONDS",
        "30",
        ALL,
        "how long a peer may accept no data before its connection is closed",
    ),
    setting(
        "MAX_STREAMS_PER_CALLER",
        "100",
        API,
        "most concurrent streams per caller with AUTH=jwt; a further one is told to come back much later; 0: no limit",
    ),
    setting(
        "MAX_WATCHED_JOBS_PER_CALLER",
        "5000",
        API,
        "most jobs named by all streams of one caller (without AUTH=jwt: of one client address); a stream beyond that is told to come back much later; 0: no limit",
    ),
    setting(
        "STREAM_LIFETIME_SECONDS",
        "0",
        API,
        "lifetime of a stream, give or take a tenth, after which its client is told to reconnect; 0: as long as its jobs",
    ),
    setting(
        "SUBMISSIONS_PER_MINUTE",
        "60 with AUTH=jwt, else 0",
        API,
        "most jobs that one caller may submit per minute, and in one burst (without AUTH=jwt: all callers together); more are answered 429; 0: no limit",
    ),
    setting(
        "MARE_OPS_ADDR",
        "",
        API,
        "address of a separate listener for /livez, /readyz and /metrics",
    ),
    setting(
        "AUTH",
        "off",
        API,
        "`off`, or `jwt`: every request needs a token, which limits what it may see and do",
    ),
    setting(
        "AUTH_JWT_ALGORITHM",
        "",
        API,
        "how tokens are signed: `HS256`, `RS256`, `ES256` or `EdDSA`; no other is accepted",
    ),
    secret(
        "AUTH_JWT_SECRET",
        "",
        API,
        "shared secret for HS256, at least 32 bytes",
    ),
    setting(
        "AUTH_JWT_PUBLIC_KEY_FILE",
        "",
        API,
        "PEM file of the public key for the other algorithms",
    ),
    setting(
        "AUTH_JWKS_FILE",
        "",
        API,
        "file with a JSON Web Key Set, instead of a single key; read again when it changes",
    ),
    setting(
        "AUTH_JWT_ISSUER",
        "",
        API,
        "required value of a token's `iss`",
    ),
    setting(
        "AUTH_JWT_AUDIENCE",
        "",
        API,
        "value that a token's `aud` must be or contain",
    ),
    setting(
        "AUTH_CLIENTS_CLAIM",
        "clients",
        API,
        "claim that holds the ids of the clients that a token gives access to, or `*`",
    ),
    setting(
        "AUTH_COOKIE",
        "",
        API,
        "name of a cookie that may carry the token; unset: no cookie is accepted",
    ),
    setting(
        "INSECURE",
        "false",
        API,
        "listen on a public address without authentication",
    ),
    setting(
        "WORKER_CONCURRENCY",
        "2",
        WORKER,
        "jobs that a worker runs at once",
    ),
    setting(
        "LEASE_SECONDS",
        "30",
        WORKER,
        "how long a claimed job stays with its worker without a renewal",
    ),
    setting(
        "QUEUE_SWEEP_SECONDS",
        "10",
        WORKER,
        "interval between two searches for jobs that the queue has lost; each looks at 500 unfinished jobs",
    ),
    setting(
        "MAX_ATTEMPTS",
        "3",
        WORKER,
        "most attempts at a template that takes its worker down, and at a job that ends with an error",
    ),
    setting(
        "TEMPLATE_TRIES",
        "3",
        WORKER,
        "tries per template within one attempt, while the generator's answers are not valid templates",
    ),
    setting(
        "RETRY_BACKOFF_SECONDS",
        "1",
        WORKER,
        "delay before a job's second attempt; doubles with each further one",
    ),
    setting(
        "RETRY_BACKOFF_CAP_SECONDS",
        "30",
        WORKER,
        "longest delay between two attempts",
    ),
    setting(
        "JOB_DEADLINE_SECONDS",
        "86400",
        WORKER,
        "time after its submission, or its `run_at`, at which a job is ended with the templates made so far",
    ),
    setting(
        "GENERATOR",
        "builtin",
        WORKER,
        "`builtin`, or `command`: a program of yours",
    ),
    setting(
        "GENERATOR_COMMAND",
        "",
        WORKER,
        "command line that GENERATOR=command runs for each template",
    ),
    setting(
        "GENERATOR_TIMEOUT_SECONDS",
        "300",
        WORKER,
        "time limit of that command, per template",
    ),
    setting(
        "GENERATOR_OUTPUT_BYTES",
        "1048576",
        WORKER,
        "size limit of that command's output, in bytes, per template",
    ),
    setting(
        "BUILTIN_PACE_MS",
        "0",
        WORKER,
        "time that the built-in generator takes per template, in milliseconds",
    ),
    setting(
        "DEMO_CLIENT",
        "true, unless TRITON_API_ADDR=off",
        WORKER,
        "create a client with a value proposition when there are no clients",
    ),
    setting(
        "DRAIN_SECONDS",
        "10",
        ALL,
        "time limit of a graceful shutdown",
    ),
    setting(
        "LOG_FORMAT",
        "text",
        ALL,
        "`text` or `json`; logs go to standard error",
    ),
    setting("RUST_LOG", "info", ALL, "log filter, by level and module"),
];
