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
        "where the edge API listens",
    ),
    setting(
        "TRITON_API_ADDR",
        "127.0.0.1:8000",
        WORKER,
        "where the job service listens; `off`: no HTTP but WORKER_OPS_ADDR's",
    ),
    setting(
        "WORKER_OPS_ADDR",
        "",
        WORKER,
        "where a worker without HTTP serves /livez, /readyz and /metrics",
    ),
    secret(
        "TRITON_BASE_URL",
        "http://127.0.0.1:8000",
        API,
        "where the gateway finds Triton; several, comma-separated, are tried in turn",
    ),
    secret(
        "TRITON_TOKEN",
        "",
        ALL,
        "the bearer between Mare and Triton; required when Triton's address isn't loopback",
    ),
    setting(
        "TRITON_TIMEOUT_SECONDS",
        "5",
        API,
        "how long one call to Triton may take, its retries included",
    ),
    setting(
        "TRITON_COOL_DOWN_SECONDS",
        "5",
        API,
        "how long an address of Triton's that failed again and again is left alone",
    ),
    setting(
        "EVENT_BUS",
        "memory for `conch run`, else redis",
        ALL,
        "`memory` or `redis`",
    ),
    secret(
        "REDIS_URL",
        "redis://127.0.0.1:6379/0",
        ALL,
        "where Redis is; `rediss://` for TLS",
    ),
    setting(
        "REDIS_HOST",
        "",
        ALL,
        "Redis' host, when REDIS_URL is unset",
    ),
    setting("REDIS_PORT", "", ALL, "Redis' port, likewise"),
    setting("REDIS_DB", "", ALL, "Redis' database number, likewise"),
    secret("REDIS_PASSWORD", "", ALL, "Redis' password, likewise"),
    setting(
        "REDIS_CA_FILE",
        "",
        ALL,
        "a file with the certificates of the authorities that `rediss://` addresses are trusted by, as PEM; unset: SSL_CERT_FILE's",
    ),
    setting(
        "REDIS_CERT_FILE",
        "",
        ALL,
        "a file with the certificate, and its chain, to show to a Redis that asks for one, as PEM",
    ),
    setting(
        "REDIS_KEY_FILE",
        "",
        ALL,
        "a file with the private key of REDIS_CERT_FILE, as PEM",
    ),
    setting(
        "SSL_CERT_FILE",
        "the system's",
        ALL,
        "a file with the certificates of the authorities that Redis and Triton are trusted by over TLS, as PEM",
    ),
    setting(
        "REDIS_TIMEOUT_SECONDS",
        "2",
        ALL,
        "how long Redis may take to be connected to, and to answer",
    ),
    setting(
        "REDIS_PROBE_SECONDS",
        "5",
        ALL,
        "how often the subscription is tried through the real path",
    ),
    setting(
        "REDIS_BACKOFF_CAP_SECONDS",
        "2",
        ALL,
        "the longest pause between two tries to subscribe again, before jitter",
    ),
    secret(
        "CACHE_REDIS_URL",
        "the bus's Redis",
        ALL,
        "where results are cached, if elsewhere",
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
        "how long a log is kept after its end on Redis, if RESULT_TTL_SECONDS isn't longer",
    ),
    setting(
        "RETENTION_DAYS",
        "0",
        ALL,
        "days that the catalogue keeps its records; 0: for ever",
    ),
    setting(
        "MAX_QUEUED_JOBS",
        "10000",
        WORKER,
        "jobs that wait or run at once; one more is answered with 429",
    ),
    setting(
        "MAX_JOBS",
        "1000000 on Redis, 25000 in memory",
        WORKER,
        "job records that are kept; one more is answered with 429",
    ),
    setting(
        "MAX_CLIENTS",
        "10000",
        WORKER,
        "clients that are kept; one more is answered with 429",
    ),
    setting(
        "MAX_VALUE_PROPOSITIONS",
        "100",
        WORKER,
        "value propositions of one client, of which as many are listed; one more is answered with 429",
    ),
    setting(
        "CHANNEL_PREFIX",
        "triton",
        ALL,
        "what every channel and key begins with",
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
        "how long a job's record may be nowhere to be found before its watchers are told that it is lost",
    ),
    setting(
        "HEARTBEAT_SECONDS",
        "4",
        API,
        "between two heartbeats of a stream",
    ),
    setting(
        "STREAM_RETRY_SECONDS",
        "2",
        API,
        "about how long `retry:` tells a stream's client to wait before it reconnects: each stream another time, from half of this to twice as long",
    ),
    setting(
        "CORS_ORIGINS",
        "loopback origins, any port",
        API,
        "comma-separated origins whose pages may read the answers",
    ),
    setting(
        "ALLOWED_HOSTS",
        "",
        ALL,
        "where no credentials are asked for: names besides `localhost`, comma-separated, by which a listener on a loopback address, and once this is set any, may be asked for; `*`: any",
    ),
    setting(
        "FOREIGN_EVENTS",
        "accept",
        API,
        "`accept`, or `ignore`: take nothing from the channels that the log doesn't confirm",
    ),
    setting(
        "MAX_FOREIGN_JOBS",
        "10000",
        API,
        "jobs of foreign publishers that are unfinished at once; events of one more are dropped",
    ),
    setting(
        "MAX_FOREIGN_JOB_KIB",
        "1024",
        API,
        "KiB of events that are kept of one external job; beyond, only what changes its life is taken",
    ),
    setting(
        "MAX_FOREIGN_MIB",
        "256",
        API,
        "MiB of events that are kept of all external jobs; beyond, no job begins, and ends have a quarter more",
    ),
    setting(
        "MAX_EVENT_BYTES",
        "65536",
        API,
        "bytes of one foreign event; a longer one is dropped",
    ),
    setting(
        "LOCAL_RESULTS",
        "64",
        API,
        "MiB of finished jobs kept in the process; 0: every lookup asks the cache",
    ),
    setting(
        "MAX_EVENTS_PER_JOB",
        "1000",
        ALL,
        "events after which a job takes no more progress; after twice as many no more news of single templates",
    ),
    setting(
        "MAX_CONNECTIONS",
        "100000",
        ALL,
        "connections at once per listener",
    ),
    setting(
        "HTTP_THREADS",
        "one per processor",
        ALL,
        "threads that answer requests; each keeps a connection to Redis for what is cheap",
    ),
    setting(
        "MAX_HEAD_BYTES",
        "57344",
        ALL,
        "bytes of a request's head; a longer one is answered with 431",
    ),
    setting(
        "HEAD_TIMEOUT_SECONDS",
        "10",
        ALL,
        "how long a request's head may take, and a connection be idle before the next; then it is closed",
    ),
    setting(
        "MAX_BODY_BYTES",
        "262144",
        ALL,
        "bytes of a request's body; a longer one is answered with 413",
    ),
    setting(
        "BODY_TIMEOUT_SECONDS",
        "30",
        ALL,
        "how long a request's body may take; then it is answered with 408",
    ),
    setting(
        "WRITE_STALL_SECONDS",
        "30",
        ALL,
        "how long a peer may take nothing of what it is sent; then it is cut",
    ),
    setting(
        "MAX_STREAMS_PER_CALLER",
        "100",
        API,
        "streams of one caller at once, where AUTH=jwt; one more is told to come back much later; 0: any number",
    ),
    setting(
        "MAX_WATCHED_JOBS_PER_CALLER",
        "5000",
        API,
        "jobs that the streams of one caller (without AUTH=jwt: of one peer address) name together; a stream that names more is told to come back much later; 0: any number",
    ),
    setting(
        "STREAM_LIFETIME_SECONDS",
        "0",
        API,
        "how long a stream lasts, give or take a tenth, before its watcher is told to come back; 0: as long as its jobs",
    ),
    setting(
        "SUBMISSIONS_PER_MINUTE",
        "60 where AUTH=jwt, else 0",
        API,
        "jobs that one caller may submit at once, and over each minute; without AUTH=jwt all together; more are answered with 429; 0: any number",
    ),
    setting(
        "MARE_OPS_ADDR",
        "",
        API,
        "where /livez, /readyz and /metrics are served on a listener of their own",
    ),
    setting(
        "AUTH",
        "off",
        API,
        "`off`, or `jwt`: every call needs a token, and shows and does what the token allows",
    ),
    setting(
        "AUTH_JWT_ALGORITHM",
        "",
        API,
        "how tokens are signed: `HS256`, `RS256`, `ES256` or `EdDSA`; no other is taken",
    ),
    secret(
        "AUTH_JWT_SECRET",
        "",
        API,
        "the secret of HS256, at least 32 bytes",
    ),
    setting(
        "AUTH_JWT_PUBLIC_KEY_FILE",
        "",
        API,
        "a file with the public key of the other algorithms, as PEM",
    ),
    setting(
        "AUTH_JWKS_FILE",
        "",
        API,
        "a file with a JSON Web Key Set in place of one key; read again when it changes",
    ),
    setting("AUTH_JWT_ISSUER", "", API, "what a token's `iss` must be"),
    setting(
        "AUTH_JWT_AUDIENCE",
        "",
        API,
        "what a token's `aud` must be or hold",
    ),
    setting(
        "AUTH_CLIENTS_CLAIM",
        "clients",
        API,
        "the claim with the ids of the clients that a token is for, or `*`",
    ),
    setting(
        "AUTH_COOKIE",
        "",
        API,
        "the name of a cookie that may hold a token; unset: none may",
    ),
    setting(
        "INSECURE",
        "false",
        API,
        "listen on a public address without authentication",
    ),
    setting("WORKER_CONCURRENCY", "2", WORKER, "jobs at once"),
    setting(
        "LEASE_SECONDS",
        "30",
        WORKER,
        "how long a job stays claimed without a renewal",
    ),
    setting(
        "QUEUE_SWEEP_SECONDS",
        "10",
        WORKER,
        "time between two looks for jobs that the queue has lost, 500 unfinished ones at a time",
    ),
    setting(
        "MAX_ATTEMPTS",
        "3",
        WORKER,
        "attempts that a template gets whose making ends its worker, and a job that ends with an error",
    ),
    setting(
        "TEMPLATE_TRIES",
        "3",
        WORKER,
        "how often a template is tried within an attempt while the generator's answers are none",
    ),
    setting(
        "RETRY_BACKOFF_SECONDS",
        "1",
        WORKER,
        "the wait before a job's second attempt; doubles with each further one",
    ),
    setting(
        "RETRY_BACKOFF_CAP_SECONDS",
        "30",
        WORKER,
        "the longest wait between two attempts",
    ),
    setting(
        "JOB_DEADLINE_SECONDS",
        "86400",
        WORKER,
        "how long after its submission a job is ended with the templates that there are",
    ),
    setting("GENERATOR", "builtin", WORKER, "`builtin` or `command`"),
    setting(
        "GENERATOR_COMMAND",
        "",
        WORKER,
        "the program that GENERATOR=command runs for each template",
    ),
    setting(
        "GENERATOR_TIMEOUT_SECONDS",
        "300",
        WORKER,
        "how long that program may take",
    ),
    setting(
        "GENERATOR_OUTPUT_BYTES",
        "1048576",
        WORKER,
        "bytes that that program may print for a template",
    ),
    setting(
        "BUILTIN_PACE_MS",
        "0",
        WORKER,
        "time that the built-in generator takes per template",
    ),
    setting(
        "DEMO_CLIENT",
        "true, but where TRITON_API_ADDR=off",
        WORKER,
        "create a client with a value proposition when there is none",
    ),
    setting(
        "DRAIN_SECONDS",
        "10",
        ALL,
        "how long the end of the program may take",
    ),
    setting(
        "LOG_FORMAT",
        "text",
        ALL,
        "`text` or `json`, on standard error",
    ),
    setting(
        "RUST_LOG",
        "info",
        ALL,
        "which log lines are written, by level and module",
    ),
];
