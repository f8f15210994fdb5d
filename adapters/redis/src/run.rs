//! Which run of Redis a connection leads to, told once and not with each append: a log notes it, and one that
//! was noted in another run may have lost its latest events. A connection ends with the server at its other
//! end, unless something between keeps it up: so what is known of it counts for a while only.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, pipe};
use tokio::time::Instant;

/// For how long an answer counts.
const COUNTS: Duration = Duration::from_secs(10);
/// How long after a question that was not answered the next one is.
const RETRY: Duration = Duration::from_secs(1);

/// One run of a redis-server. The default one isn't known: scripts then ask for themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Run {
    id: String,
    append_only: bool,
}

impl Run {
    /// Its id; empty: not known.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Whether an append-only file is written, as scripts read it.
    pub(crate) fn append_only(&self) -> u8 {
        u8::from(self.append_only)
    }

    /// As a server tells it.
    fn told(info: &str) -> Self {
        let field = |name: &str| {
            let mut lines = info.lines();
            lines.find_map(|line| line.strip_prefix(name).map(str::trim))
        };
        match (field("run_id:"), field("aof_enabled:")) {
            (Some(id), Some(append_only)) => Self {
                id: id.to_owned(),
                append_only: append_only == "1",
            },
            _ => Self::default(),
        }
    }
}

/// What a server says of itself and of its files. An error: the user may not ask, or the connection broke.
pub(crate) async fn info(connection: &mut MultiplexedConnection) -> RedisResult<String> {
    let mut both = pipe();
    both.cmd("INFO").arg("server");
    both.cmd("INFO").arg("persistence");
    let (server, persistence): (String, String) = both.query_async(connection).await?;
    Ok(server + &persistence)
}

/// What is known of the run at the other end of one connection.
#[derive(Clone)]
pub(crate) struct Known(Arc<Mutex<State>>);

struct State {
    run: Run,
    /// When it was told.
    told: Instant,
    /// When it was asked for.
    asked: Instant,
}

impl Known {
    /// What a new connection's server said of itself.
    pub(crate) fn from_info(info: &str) -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State {
            run: Run::told(info),
            told: now,
            asked: now,
        })))
    }

    /// The run, or the default one where what is known is too old; and whether the caller is to ask.
    pub(crate) fn run(&self, now: Instant) -> (Run, bool) {
        let mut state = self.0.lock();
        if now < state.told + COUNTS {
            return (state.run.clone(), false);
        }
        let asks = now >= state.asked + RETRY;
        if asks {
            state.asked = now;
        }
        (Run::default(), asks)
    }

    /// Notes what was answered to a question that was asked `at`.
    pub(crate) fn note(&self, info: &str, at: Instant) {
        let mut state = self.0.lock();
        state.run = Run::told(info);
        state.told = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nrun_id:0a1b\r\nos:x\r\n# Persistence\r\naof_enabled:1\r\n";

    #[test]
    fn a_run_is_what_the_server_tells_in_whole() {
        let run = Run::told(INFO);
        assert_eq!((run.id(), run.append_only()), ("0a1b", 1));
        let run = Run::told(&INFO.replace("enabled:1", "enabled:0"));
        assert_eq!((run.id(), run.append_only()), ("0a1b", 0));
        for part in ["", "run_id:0a1b\r\n", "aof_enabled:1\r\n"] {
            assert_eq!(Run::told(part), Run::default(), "{part:?}");
        }
    }

    #[test]
    fn what_is_known_counts_for_a_while_and_one_asks_anew() {
        let known = Known::from_info(INFO);
        let start = known.0.lock().told;
        let run = |seconds| known.run(start + Duration::from_secs(seconds));
        let first = run(0);
        assert_eq!(first, (Run::told(INFO), false));
        assert_eq!(known.run(start + Duration::from_millis(9_999)), first);
        assert_eq!(run(10), (Run::default(), true));
        assert_eq!(run(10), (Run::default(), false), "one asks");
        assert_eq!(run(11), (Run::default(), true), "it wasn't answered");
        known.note(
            &INFO.replace("0a1b", "2c3d"),
            start + Duration::from_secs(11),
        );
        assert_eq!(run(20).0.id(), "2c3d");
        assert_eq!(run(21), (Run::default(), true), "from when it was asked");
    }
}
