//! Bounds on what others may send, hold and take: read here, kept by the component that they are handed to.

use std::num::{NonZero, NonZeroU32};
use std::thread;
use std::time::Duration;

use conch_domain::EventCap;
use conch_http::{body, serve};

use super::{Error, Source, number, seconds};

/// Of every listener.
pub(super) fn server(source: &Source) -> Result<serve::Settings, Error> {
    let usual = serve::Settings::default();
    Ok(serve::Settings {
        max_connections: source.parse("MAX_CONNECTIONS", usual.max_connections, |t| {
            number(t, 1, 10_000_000).map(|n| n as usize)
        })?,
        // Below that hyper reads no head; above it a crowd's heads are gigabytes.
        max_head: source.parse("MAX_HEAD_BYTES", usual.max_head, |t| {
            number(t, 8192, 65_536).map(|n| n as usize)
        })?,
        head_timeout: source.parse("HEAD_TIMEOUT_SECONDS", usual.head_timeout, seconds)?,
        write_stall: source.parse("WRITE_STALL_SECONDS", usual.write_stall, seconds)?,
        ..usual
    })
}

/// Threads that answer the requests of all listeners.
pub(super) fn http_threads(source: &Source) -> Result<NonZero<usize>, Error> {
    let usual = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    source.parse("HTTP_THREADS", usual, |text| {
        number(text, 1, 1024).map(|n| NonZero::new(n as usize).expect("1 at least"))
    })
}

/// Of every request.
pub(super) fn body(source: &Source) -> Result<body::Limits, Error> {
    let usual = body::Limits::default();
    Ok(body::Limits {
        // Half of what the gateway reads of an answer that shows it again.
        bytes: source.parse("MAX_BODY_BYTES", usual.bytes, |t| {
            number(t, 1024, 4 << 20).map(|n| n as usize)
        })?,
        time: source.parse("BODY_TIMEOUT_SECONDS", usual.time, seconds)?,
    })
}

/// Streams of one caller; none: any number. Callers are told apart only where they say who they are.
pub(super) fn streams(source: &Source, says_who: bool) -> Result<Option<usize>, Error> {
    let most = source.parse("MAX_STREAMS_PER_CALLER", 100, |t| number(t, 0, 100_000))?;
    Ok((says_who && most > 0).then_some(most as usize))
}

/// Jobs that the streams of one caller name; none: any number. Who doesn't say who it is goes by its
/// address.
pub(super) fn watched_jobs(source: &Source) -> Result<Option<usize>, Error> {
    let most = source.parse("MAX_WATCHED_JOBS_PER_CALLER", 5000, |t| {
        number(t, 0, 1_000_000)
    })?;
    Ok((most > 0).then_some(most as usize))
}

/// Of one stream; none: as long as its jobs.
pub(super) fn lifetime(source: &Source) -> Result<Option<Duration>, Error> {
    source.parse("STREAM_LIFETIME_SECONDS", None, |text| {
        if text.parse() == Ok(0.0) {
            return Ok(None);
        }
        // Ends are looked at by the second.
        seconds(text)
            .ok()
            .filter(|lifetime| *lifetime >= Duration::from_secs(1))
            .map(Some)
            .ok_or("must be 0 or a number of seconds from 1 to 31536000")
    })
}

/// Of one caller, or of all together where they don't say who they are; none: any number.
pub(super) fn submissions(source: &Source, says_who: bool) -> Result<Option<NonZeroU32>, Error> {
    let default = if says_who { 60 } else { 0 };
    let most = source.parse("SUBMISSIONS_PER_MINUTE", default, |t| {
        number(t, 0, 1_000_000)
    })?;
    Ok(NonZeroU32::new(most as u32))
}

/// Of one job; ours have some sixty at most.
pub(super) fn events(source: &Source) -> Result<EventCap, Error> {
    source.parse("MAX_EVENTS_PER_JOB", EventCap::default(), |t| {
        number(t, 100, 1_000_000).map(EventCap::new)
    })
}
