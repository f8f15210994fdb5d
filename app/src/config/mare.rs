//! Mare's settings: where it listens, whose callers it lets in, and how it reaches Triton.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use conch_http::mare::auth::{self, Algorithm, KeySource};
use conch_http::origins::Origins;
use conch_http::pages::Hosts;
use conch_services::mare::ingest::ForeignEvents;
use conch_wire::event::MAX_EVENT_BYTES;

use super::{Error, Source, address, boolean, hosts, limits, number, one_of, seconds, store};

/// Mare's settings.
#[derive(Debug, Clone)]
pub struct Mare {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it serves its operations apart, if anywhere.
    pub ops_address: Option<SocketAddr>,
    /// Whose tokens callers must bring; none: everybody may see and do all.
    pub auth: Option<auth::Jwt>,
    /// How it reaches Triton.
    pub gateway: conch_triton::Settings,
    /// How events reach watchers.
    pub hub: conch_services::mare::hub::Settings,
    /// How often a caller may submit, or all together where they don't say who they are; none: as
    /// often as they like.
    pub submissions_per_minute: Option<NonZeroU32>,
    /// Whether external events are taken.
    pub foreign_events: ForeignEvents,
    /// Whose pages may read.
    pub cors_origins: Origins,
    /// By which names it is asked for.
    pub hosts: Hosts,
    /// Bytes of finished jobs kept in the process.
    pub local_results: u64,
}

pub(super) fn read(
    source: &Source,
    triton: Option<SocketAddr>,
    token: Option<&str>,
    history_limit: usize,
) -> Result<Mare, Error> {
    let default = SocketAddr::from(([127, 0, 0, 1], 16_000));
    let listen = source.parse("MARE_API_ADDR", default, address)?;
    let insecure = source.parse("INSECURE", false, boolean)?;
    let auth = jwt(source)?;
    let says_who = auth.is_some();
    if !listen.ip().is_loopback() && auth.is_none() && !insecure {
        return Err(Error::new(
            "MARE_API_ADDR",
            "is a public address, and nobody has to say who they are: set AUTH=jwt, listen on a \
             loopback address behind a proxy that authenticates, or pass --insecure",
        ));
    }
    let cors_origins = source.parse("CORS_ORIGINS", Origins::Loopback, str::parse)?;
    if cors_origins == Origins::Any && source.text("AUTH_COOKIE").is_some() {
        return Err(Error::new(
            "CORS_ORIGINS",
            "can't be `*` where AUTH_COOKIE is set: name the origins whose pages may use the cookie",
        ));
    }
    let gateway = gateway(source, triton, token)?;
    let accept = ForeignEvents::Accept {
        max_bytes: source.parse("MAX_EVENT_BYTES", 65_536, |t| {
            number(t, 1024, MAX_EVENT_BYTES as u64)
        })? as usize,
        cap: limits::events(source)?,
    };
    let hub = conch_services::mare::hub::Settings::default();
    let position_check = source.parse("POSITION_CHECK_SECONDS", hub.position_check, seconds)?;
    Ok(Mare {
        address: listen,
        ops_address: source.parse("MARE_OPS_ADDR", None, |t| address(t).map(Some))?,
        submissions_per_minute: limits::submissions(source, says_who)?,
        auth,
        gateway,
        hub: conch_services::mare::hub::Settings {
            position_check,
            heartbeat: source.parse("HEARTBEAT_SECONDS", hub.heartbeat, seconds)?,
            record_lost_after: source.parse("RECORD_LOST_SECONDS", position_check * 3, seconds)?,
            history_limit,
            external_history_bytes: store::external_job_kib(source)? << 10,
            max_streams_per_caller: limits::streams(source, says_who)?,
            max_watched_jobs_per_caller: limits::watched_jobs(source)?,
            stream_lifetime: limits::lifetime(source)?,
            retry_ms: source
                .parse(
                    "STREAM_RETRY_SECONDS",
                    Duration::from_millis(hub.retry_ms),
                    seconds,
                )?
                .as_millis() as u64,
            ..hub
        },
        foreign_events: source.parse("FOREIGN_EVENTS", accept, |text| {
            one_of(
                &[("accept", accept), ("ignore", ForeignEvents::Ignore)],
                text,
            )
        })?,
        cors_origins,
        hosts: hosts(source, listen)?,
        local_results: source.parse("LOCAL_RESULTS", 64, |t| number(t, 0, 1_048_576))? << 20,
    })
}

/// How Triton is reached. `triton` is where it listens in the same process, if it does.
fn gateway(
    source: &Source,
    triton: Option<SocketAddr>,
    token: Option<&str>,
) -> Result<conch_triton::Settings, Error> {
    // In one process the gateway finds Triton where it was just told to listen.
    let base = match (source.text("TRITON_BASE_URL"), triton) {
        (Some(base), _) => base.to_owned(),
        (None, Some(address)) => format!("http://{}", reachable(address)),
        (None, None) => "http://127.0.0.1:8000".to_owned(),
    };
    let mut gateway =
        conch_triton::Settings::new(&base).map_err(|e| Error::new("TRITON_BASE_URL", e))?;
    gateway.call_timeout = source.parse("TRITON_TIMEOUT_SECONDS", gateway.call_timeout, seconds)?;
    gateway.try_timeout = gateway.try_timeout.min(gateway.call_timeout);
    gateway.breaker_cool_down = source.parse(
        "TRITON_COOL_DOWN_SECONDS",
        gateway.breaker_cool_down,
        seconds,
    )?;
    // Other programs' variable, too: what it says matters only where it is used.
    if gateway.uses_tls()
        && let Some(pem) = source.file("SSL_CERT_FILE")?
    {
        let authorities = conch_triton::Authorities::parse(&pem);
        gateway.authorities = Some(authorities.map_err(|e| Error::new("SSL_CERT_FILE", e))?);
    }
    if !gateway.is_loopback() && gateway.has_credentials() {
        return Err(Error::new(
            "TRITON_BASE_URL",
            "may hold a user or a password only where it is a loopback address: elsewhere \
             TRITON_TOKEN is what Triton asks for",
        ));
    }
    if !gateway.is_loopback() && token.is_none() {
        return Err(Error::new(
            "TRITON_TOKEN",
            "is required when TRITON_BASE_URL isn't a loopback address",
        ));
    }
    if let Some(token) = token {
        let token = conch_triton::Token::parse(token).map_err(|e| Error::new("TRITON_TOKEN", e))?;
        gateway.token = Some(token);
    }
    // Building connects to nothing: it is how the adapter checks what it is given.
    gateway
        .clone()
        .build()
        .map_err(|e| Error::new("TRITON_BASE_URL", e))?;
    Ok(gateway)
}

/// Whose tokens are taken; none: no token is required.
fn jwt(source: &Source) -> Result<Option<auth::Jwt>, Error> {
    let wanted = source.parse("AUTH", false, |text| {
        one_of(&[("off", false), ("jwt", true)], text)
    })?;
    if !wanted {
        return Ok(None);
    }
    let required = |name: &'static str| {
        let text = source.text(name).map(str::trim).filter(|t| !t.is_empty());
        text.map(str::to_owned)
            .ok_or_else(|| Error::new(name, "is required when AUTH=jwt"))
    };
    required("AUTH_JWT_ALGORITHM")?;
    let algorithms = Algorithm::ALL.map(|algorithm| (algorithm.as_str(), algorithm));
    let algorithm = source.parse("AUTH_JWT_ALGORITHM", Algorithm::Hs256, |text| {
        one_of(&algorithms, text)
    })?;
    let (name, key) = key_source(source, algorithm)?;
    let settings = auth::Settings {
        algorithm,
        key,
        issuer: required("AUTH_JWT_ISSUER")?,
        audience: required("AUTH_JWT_AUDIENCE")?,
        clients_claim: source
            .text("AUTH_CLIENTS_CLAIM")
            .unwrap_or("clients")
            .to_owned(),
        cookie: source.parse("AUTH_COOKIE", None, |text| text.parse().map(Some))?,
    };
    // Building reads the keys: it is how the adapter checks what it is given.
    settings.build().map(Some).map_err(|e| Error::new(name, e))
}

/// The one key, and the variable that names it.
fn key_source(source: &Source, algorithm: Algorithm) -> Result<(&'static str, KeySource), Error> {
    const SECRET: &str = "AUTH_JWT_SECRET";
    const PUBLIC_KEY: &str = "AUTH_JWT_PUBLIC_KEY_FILE";
    const KEY_SET: &str = "AUTH_JWKS_FILE";
    let given: Vec<_> = [SECRET, PUBLIC_KEY, KEY_SET]
        .into_iter()
        .filter_map(|name| Some((name, source.text(name)?)))
        .collect();
    match given[..] {
        [(name @ SECRET, text)] => Ok((name, KeySource::Secret(text.to_owned()))),
        [(name @ PUBLIC_KEY, path)] => Ok((name, KeySource::PublicKeyFile(path.into()))),
        [(name, path)] => Ok((name, KeySource::KeySetFile(path.into()))),
        [(first, _), (second, _), ..] => Err(Error::new(
            second,
            format!("can't be set beside {first}: give one key"),
        )),
        [] => Err(Error::new(
            match algorithm {
                Algorithm::Hs256 => SECRET,
                _ => PUBLIC_KEY,
            },
            "or AUTH_JWKS_FILE is required when AUTH=jwt",
        )),
    }
}

/// The address under which a listener is reached from this machine.
pub fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}
