//! Connections: the pool for commands, a shared one per runtime for cheap ones, a dedicated one for a
//! subscription, and what their errors mean to a caller. Every wait in here has a limit. Never logs an
//! address: it may hold a password.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use conch_ports::{Error, ErrorKind, Result};
use deadpool_redis::{Connection, Hook, HookError, Manager, Pool, PoolError, Runtime, TimeoutType};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, ScriptInvocation,
    ServerErrorKind,
};
use tokio::runtime;

use crate::kind::{self, Inspector};
use crate::settings::Settings;
use crate::tls;

/// A peer that vanished is given up after about this much silence, by the kernel.
const DEAD_PEER: Duration = Duration::from_secs(10);

/// A pool of connections to one Redis. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: Pool,
    shared: Arc<Shared>,
    client: Client,
    config: AsyncConnectionConfig,
    greeting: Greeting,
    inspector: Inspector,
    connect_timeout: Duration,
}

/// How sockets to Redis are set.
pub(crate) fn tcp_settings() -> TcpSettings {
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(
            TcpKeepalive::new()
                .with_time(DEAD_PEER)
                .with_interval(DEAD_PEER / 4)
                .with_retries(3),
        )
        .set_user_timeout(DEAD_PEER)
}

/// The line that operators look for, at the first connection of all.
#[derive(Clone)]
struct Greeting {
    /// Whether it was said, or is not to be: events don't go through these connections.
    over: Arc<AtomicBool>,
}

impl Greeting {
    fn say(&self) {
        if !self.over.swap(true, Ordering::Relaxed) {
            tracing::info!("Event publisher connected to Redis");
        }
    }
}

/// The connections of [`Connections::run_shared`]: one for each runtime that has asked, which drives
/// it. Through a connection that another runtime drives each command would wake that one's thread
/// and be woken by it.
#[derive(Default)]
struct Shared {
    of_runtimes: Mutex<HashMap<runtime::Id, Arc<OfRuntime>>>,
    /// How many were opened. They are numbered, so that a task that finds one broken does not throw away
    /// the one that replaced it.
    opened: AtomicU64,
    /// Those up to this number may lead to a Redis that is no primary any more. It refuses writes
    /// alone, so a task that only reads would not notice.
    demoted: AtomicU64,
}

/// One runtime's connection.
#[derive(Default)]
struct OfRuntime {
    current: Mutex<Option<(u64, MultiplexedConnection)>>,
    /// Held while one is opened: all who share it wait for the same one.
    opening: tokio::sync::Mutex<()>,
}

impl Connections {
    /// `publishes` says whether events go through it, for the line that operators look for.
    pub(crate) fn new(client: Client, settings: &Settings, publishes: bool) -> Self {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.response_timeout));
        let address = client.get_connection_info().clone();
        let manager = Manager::new_with_config(address, config.clone())
            .expect("a parsed address makes a manager");
        let greeting = Greeting {
            over: Arc::new(AtomicBool::new(!publishes)),
        };
        let inspector = Inspector::default();
        let on_connect = {
            let (greeting, inspector) = (greeting.clone(), inspector.clone());
            Hook::async_fn(move |connection, _| {
                let (greeting, inspector) = (greeting.clone(), inspector.clone());
                Box::pin(async move {
                    if let Some(objection) = inspector.objection(connection).await {
                        return Err(HookError::message(objection));
                    }
                    greeting.say();
                    Ok(())
                })
            })
        };
        let limit = Some(settings.connect_timeout);
        let pool = Pool::builder(manager)
            .max_size(settings.pool_size)
            .wait_timeout(limit)
            .create_timeout(limit)
            .recycle_timeout(limit)
            .runtime(Runtime::Tokio1)
            .post_create(on_connect)
            .build()
            .expect("timeouts have their runtime");
        Self {
            pool,
            shared: Arc::default(),
            client,
            config,
            greeting,
            inspector,
            connect_timeout: settings.connect_timeout,
        }
    }

    async fn checkout(&self, operation: &'static str) -> Result<Connection> {
        self.pool
            .get()
            .await
            .map_err(|error| unreachable(operation, error))
    }

    /// Runs one command.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<T> {
        let mut connection = self.checkout(operation).await?;
        let answer = command.query_async(&mut connection).await;
        self.check_in(connection, &answer);
        answer.map_err(|error| failed(operation, error))
    }

    /// Runs one cheap command, whose refusal the caller wants to look at, on a connection that all such
    /// commands of this runtime share: they go out together, without the PING that the pool sends at
    /// each checkout, and none of them waits for the pool. A connection that broke is replaced, and the
    /// command repeated on the new one: it must do no harm twice.
    pub(crate) async fn run_shared<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<redis::RedisResult<T>> {
        let (number, mut connection) = self.shared(operation, 0).await?;
        match command.query_async(&mut connection).await {
            Err(error) if self.is_broken(&error) => {}
            answer => return Ok(answer),
        }
        let (_, mut fresh) = self.shared(operation, number).await?;
        Ok(command.query_async(&mut fresh).await)
    }

    /// As [`Connections::run_shared`], for a script that does no harm twice.
    pub(crate) async fn script_shared<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T> {
        let (number, mut connection) = self.shared(operation, 0).await?;
        let answer = match script.invoke_async(&mut connection).await {
            Err(error) if self.is_broken(&error) => {
                let (_, mut fresh) = self.shared(operation, number).await?;
                script.invoke_async(&mut fresh).await
            }
            answer => answer,
        };
        answer.map_err(|error| failed(operation, error))
    }

    /// This runtime's shared connection, opened if there is none but those up to the number `broken`.
    async fn shared(
        &self,
        operation: &'static str,
        broken: u64,
    ) -> Result<(u64, MultiplexedConnection)> {
        let ours = {
            let mut of_runtimes = self.shared.of_runtimes.lock();
            let ours = of_runtimes.entry(runtime::Handle::current().id());
            Arc::clone(ours.or_default())
        };
        let current = || {
            let unusable = broken.max(self.shared.demoted.load(Ordering::Acquire));
            let current = ours.current.lock().clone();
            current.filter(|(number, _)| *number > unusable)
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
        let number = self.shared.opened.fetch_add(1, Ordering::AcqRel) + 1;
        // Not one of the pool's: those may all be busy.
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&self.config)
            .await
            .map_err(|error| unreachable(operation, PoolError::Backend(error)))?;
        if let Some(objection) = self.inspector.objection(&mut connection).await {
            return Err(count(Error::new(ErrorKind::Refused, operation, objection)));
        }
        self.greeting.say();
        let fresh = (number, connection);
        *ours.current.lock() = Some(fresh.clone());
        Ok(fresh)
    }

    /// Runs a script by its digest, and loads it where Redis has forgotten it.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T> {
        let mut connection = self.checkout(operation).await?;
        let answer = script.invoke_async(&mut connection).await;
        self.check_in(connection, &answer);
        answer.map_err(|error| failed(operation, error))
    }

    /// Whether Redis answers.
    pub(crate) async fn ping(&self, operation: &'static str) -> Result<()> {
        let answer: String = self.run(operation, &redis::cmd("PING")).await?;
        if answer == "PONG" {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::BadResponse,
                operation,
                "Redis answered PING with something else",
            ))
        }
    }

    /// Gives a connection back to the pool, but not one to a Redis that is no primary any more: it answers
    /// the pool's PING, so it would be handed out for ever, though the name leads elsewhere by now.
    fn check_in<T>(&self, connection: Connection, answer: &redis::RedisResult<T>) {
        if let Err(error) = answer
            && is_demoted(error)
        {
            self.give_up_shared();
            drop(Connection::take(connection));
        }
    }

    /// Whether a shared connection is of no more use. A time-out counts: its peer may be gone.
    fn is_broken(&self, error: &RedisError) -> bool {
        if is_demoted(error) {
            self.give_up_shared();
            return true;
        }
        error.is_timeout() || error.is_io_error() || error.is_unrecoverable_error()
    }

    /// All that were opened so far may lead to the Redis that refused a write.
    fn give_up_shared(&self) {
        let opened = self.shared.opened.load(Ordering::Acquire);
        self.shared.demoted.fetch_max(opened, Ordering::AcqRel);
    }

    /// A connection of its own that receives what is published on `channels`.
    pub(crate) async fn subscription(
        &self,
        operation: &'static str,
        channels: &[String],
    ) -> Result<redis::aio::PubSub> {
        let subscribe = async {
            let mut connection = self.client.get_async_pubsub().await?;
            connection.subscribe(channels).await?;
            Ok::<_, RedisError>(connection)
        };
        // The library itself waits without a limit here, for the connection as for the answer.
        match tokio::time::timeout(self.connect_timeout, subscribe).await {
            Ok(connection) => connection.map_err(|error| failed(operation, error)),
            Err(elapsed) => Err(Error::new(
                ErrorKind::Timeout,
                operation,
                "Redis did not confirm the subscription in time",
            )
            .with_source(elapsed)),
        }
    }
}

/// Whether a replica refused a write.
fn is_demoted(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(ServerErrorKind::ReadOnly)
}

fn unreachable(operation: &'static str, error: PoolError) -> Error {
    let error = match error {
        PoolError::Backend(error) if !error.is_timeout() => failed(operation, error),
        PoolError::PostCreateHook(HookError::Message(objection)) => {
            Error::new(ErrorKind::Refused, operation, objection)
        }
        PoolError::Timeout(TimeoutType::Wait) => Error::new(
            ErrorKind::Timeout,
            operation,
            "all connections to Redis are busy: is it slow, or the pool too small?",
        )
        .with_source(error),
        _ => Error::new(
            ErrorKind::Unavailable,
            operation,
            "no connection to Redis in time: is it up, and the network between?",
        )
        .with_source(error),
    };
    count(error)
}

/// Whether a script was refused what its user has no right to: such an error has no code of its own.
fn lacks_a_right_in_a_script(error: &RedisError) -> bool {
    let text = error.to_string();
    // Up to Redis 7.0, and since.
    text.contains("user executing the script can't") || text.contains("ACL failure in script")
}

/// What an error of the driver means to the caller of a port.
pub(crate) fn failed(operation: &'static str, error: RedisError) -> Error {
    use redis::ErrorKind as Driver;
    if let Some(objection) = kind::betrayed(&error).or_else(|| tls::objection(&error)) {
        return count(Error::new(ErrorKind::Refused, operation, objection).with_source(error));
    }
    let (kind, message) = match (error.kind(), error.code()) {
        _ if error.is_timeout() => (ErrorKind::Timeout, "Redis did not answer in time"),
        (_, Some("OOM")) => (
            ErrorKind::OutOfSpace,
            "Redis is out of memory: raise its maxmemory or free some",
        ),
        (_, Some("MISCONF")) => (
            ErrorKind::OutOfSpace,
            "Redis cannot save to its disk and takes no writes: see its log",
        ),
        (Driver::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => (
            ErrorKind::Refused,
            "Redis refuses this user: check the password and its ACL",
        ),
        _ if lacks_a_right_in_a_script(&error) => (
            ErrorKind::Refused,
            "Redis refuses this user a command or key: check its ACL",
        ),
        (_, Some("BUSY")) => (ErrorKind::Unavailable, "Redis is busy with a long script"),
        (Driver::Io | Driver::ClusterConnectionNotFound, _) => (
            ErrorKind::Unavailable,
            "Redis is out of reach or closed the connection",
        ),
        (
            Driver::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::TryAgain,
            ),
            _,
        ) => (
            ErrorKind::Unavailable,
            "Redis is not ready: it loads its data, or is no primary",
        ),
        (_, Some("WRONGTYPE")) => (
            ErrorKind::BadResponse,
            "a key of ours is of another type: does another program use this prefix?",
        ),
        (Driver::InvalidClientConfig, _) => (ErrorKind::Refused, "the driver refuses its settings"),
        _ => (
            ErrorKind::BadResponse,
            "Redis answered something unexpected",
        ),
    };
    count(Error::new(kind, operation, message).with_source(error))
}

fn count(error: Error) -> Error {
    metrics::counter!(
        "conch_redis_errors_total",
        "operation" => error.operation(),
        "kind" => format!("{:?}", error.kind()),
    )
    .increment(1);
    error
}
