//! The connections that all cheap commands share: one for each runtime that has asked, which drives it.
//! Through a connection that another runtime drives each command would wake that one's thread and be woken by
//! it. One that broke is replaced and the command repeated, so none goes through here that does harm twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conch_ports::{Error, ErrorKind, Result};
use deadpool_redis::{PoolError, TimeoutType};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult,
    ScriptInvocation,
};
use tokio::runtime;
use tokio::time::Instant;

use crate::errors::{count, failed, is_demoted, unreachable};
use crate::kind::Inspector;
use crate::run::{self, Known, Run};
use crate::staging::{self, Staged};

/// The connections of one Redis that are shared.
pub(crate) struct Shared {
    client: Client,
    config: AsyncConnectionConfig,
    inspector: Inspector,
    connect_timeout: Duration,
    of_runtimes: Mutex<HashMap<runtime::Id, Arc<OfRuntime>>>,
    /// How many were opened. They are numbered, so that a task that finds one broken does not throw away
    /// the one that replaced it.
    opened: AtomicU64,
    /// Those up to this number may lead to a Redis that is no primary any more. It refuses writes
    /// alone, so a task that only reads would not notice.
    demoted: AtomicU64,
    /// When that was noticed last.
    demoted_at: Mutex<Option<std::time::Instant>>,
}

/// One runtime's connection.
#[derive(Default)]
struct OfRuntime {
    current: Mutex<Option<Opened>>,
    /// Held while one is opened: all who share it wait for the same one.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Opened {
    number: u64,
    connection: MultiplexedConnection,
    known: Known,
}

impl Shared {
    /// Connects to nothing yet.
    pub(crate) fn new(
        client: Client,
        config: AsyncConnectionConfig,
        inspector: Inspector,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            client,
            config,
            inspector,
            connect_timeout,
            of_runtimes: Mutex::default(),
            opened: AtomicU64::default(),
            demoted: AtomicU64::default(),
            demoted_at: Mutex::default(),
        }
    }

    /// Runs one command, whose refusal the caller wants to look at.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<RedisResult<T>> {
        let run =
            |mut opened: Opened| async move { command.query_async(&mut opened.connection).await };
        self.repeat_if_broken(operation, run).await
    }

    /// Runs a script by its digest, and loads it where Redis has forgotten it.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T> {
        let run =
            |mut opened: Opened| async move { script.invoke_async(&mut opened.connection).await };
        let answer = self.repeat_if_broken(operation, run).await?;
        answer.map_err(|error| failed(operation, error))
    }

    /// Runs many commands at once, each of which may be refused by itself.
    pub(crate) async fn all<T: FromRedisValue>(
        &self,
        operation: &'static str,
        commands: &Pipeline,
    ) -> Result<Vec<RedisResult<T>>> {
        let run =
            |mut opened: Opened| async move { commands.query_async(&mut opened.connection).await };
        let answers = self.repeat_if_broken(operation, run).await?;
        answers.map_err(|error| failed(operation, error))
    }

    /// As [`Shared::script`], for one that is told which run of Redis it goes to. The bodies of the templates that
    /// it keeps are sent ahead of it.
    pub(crate) async fn script_of_run<'a>(
        &self,
        operation: &'static str,
        bodies: &[Staged<'_>],
        script: impl Fn(&Run) -> ScriptInvocation<'a>,
    ) -> Result<Vec<String>> {
        let script = &script;
        let run = |opened: Opened| async move { opened.run(bodies, script).await };
        let answer = self.repeat_if_broken(operation, run).await?;
        answer.map_err(|error| failed(operation, error))
    }

    /// Asks over this runtime's connection, and once more over a new one where that turns out to be broken.
    async fn repeat_if_broken<T, F: Future<Output = RedisResult<T>>>(
        &self,
        operation: &'static str,
        ask: impl Fn(Opened) -> F,
    ) -> Result<RedisResult<T>> {
        let opened = self.connection(operation, 0).await?;
        let number = opened.number;
        match ask(opened).await {
            Err(error) if self.is_broken(&error) => {}
            answer => return Ok(answer),
        }
        let fresh = self.connection(operation, number).await?;
        Ok(ask(fresh).await)
    }

    /// This runtime's connection, opened if there is none but those up to the number `broken`.
    async fn connection(&self, operation: &'static str, broken: u64) -> Result<Opened> {
        let ours = {
            let mut of_runtimes = self.of_runtimes.lock();
            let ours = of_runtimes.entry(runtime::Handle::current().id());
            Arc::clone(ours.or_default())
        };
        let current = || {
            let unusable = broken.max(self.demoted.load(Ordering::Acquire));
            let current = ours.current.lock().clone();
            current.filter(|opened| opened.number > unusable)
        };
        if let Some(usable) = current() {
            return Ok(usable);
        }
        let opening = tokio::time::timeout(self.connect_timeout, ours.opening.lock());
        let _opening = opening
            .await
            .map_err(|_| unreachable(operation, PoolError::Timeout(TimeoutType::Create)))?;
        if let Some(usable) = current() {
            return Ok(usable);
        }
        // Before it is opened: what is learnt meanwhile counts for it, too.
        let number = self.opened.fetch_add(1, Ordering::AcqRel) + 1;
        // Not one of the pool's: those may all be busy.
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&self.config)
            .await
            .map_err(|error| unreachable(operation, PoolError::Backend(error)))?;
        let info = self.inspector.inspect(&mut connection).await;
        let info =
            info.map_err(|objection| count(Error::new(ErrorKind::Refused, operation, objection)))?;
        let fresh = Opened {
            number,
            connection,
            known: Known::from_info(&info),
        };
        *ours.current.lock() = Some(fresh.clone());
        Ok(fresh)
    }

    /// Whether a connection is of no more use. A time-out counts: its peer may be gone.
    fn is_broken(&self, error: &RedisError) -> bool {
        if is_demoted(error) {
            self.give_up();
            return true;
        }
        error.is_timeout() || error.is_io_error() || error.is_unrecoverable_error()
    }

    /// Whether a connection that was opened then may lead to a Redis that refused a write since.
    pub(crate) fn gave_up_since(&self, opened: std::time::Instant) -> bool {
        self.demoted_at.lock().is_some_and(|at| opened <= at)
    }

    /// All that were opened so far may lead to the Redis that refused a write.
    pub(crate) fn give_up(&self) {
        *self.demoted_at.lock() = Some(std::time::Instant::now());
        let opened = self.opened.load(Ordering::Acquire);
        self.demoted.fetch_max(opened, Ordering::AcqRel);
    }
}

impl Opened {
    /// Runs a script that is told of the run of Redis. Where too little is known of it, it asks for itself, and
    /// what is known is renewed with it.
    async fn run<'a>(
        &self,
        bodies: &[Staged<'_>],
        script: impl Fn(&Run) -> ScriptInvocation<'a>,
    ) -> RedisResult<Vec<String>> {
        let now = Instant::now();
        let (known, asks) = self.known.run(now);
        let script = script(&known);
        let (mut one, mut other) = (self.connection.clone(), self.connection.clone());
        let answer = async {
            if bodies.is_empty() {
                return script.invoke_async(&mut one).await;
            }
            staging::run(&mut one, bodies, &script).await
        };
        if !asks {
            return answer.await;
        }
        let (answer, info) = tokio::join!(answer, run::info(&mut other));
        if let Ok(info) = info {
            self.known.note(&info, now);
        }
        answer
    }
}
