//! Connections: the pool for commands, the shared ones for cheap commands, a dedicated one for a subscription.
//! Every wait in here has a limit. Never logs an address: it may hold a password.

use std::sync::Arc;
use std::time::Duration;

use conch_ports::{Error, ErrorKind, Result};
use deadpool_redis::{Connection, Hook, HookError, Manager, Pool, Runtime};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult,
    ScriptInvocation,
};

pub(crate) use crate::errors::failed;
use crate::errors::{is_demoted, unreachable};
use crate::kind::Inspector;
use crate::run::Run;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::staging::Staged;
use crate::timing::timed;

/// A peer that vanished is given up after about this much silence, by the kernel.
const DEAD_PEER: Duration = Duration::from_secs(10);

/// A pool of connections to one Redis. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: Pool,
    shared: Arc<Shared>,
    client: Client,
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

impl Connections {
    /// `publishes` says whether events go through it, for the line that operators look for.
    pub(crate) fn new(client: Client, settings: &Settings, publishes: bool) -> Self {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.response_timeout));
        let address = client.get_connection_info().clone();
        let manager = Manager::new_with_config(address, config.clone())
            .expect("a parsed address makes a manager");
        let inspector = Inspector::new(publishes);
        let on_connect = {
            let inspector = inspector.clone();
            Hook::async_fn(move |connection, _| {
                let inspector = inspector.clone();
                Box::pin(async move {
                    let inspected = inspector.inspect(connection).await;
                    inspected.map(drop).map_err(HookError::message)
                })
            })
        };
        let limit = settings.connect_timeout;
        let shared = Shared::new(client.clone(), config, inspector, limit);
        let shared = Arc::new(shared);
        let is_kept = {
            let shared = Arc::clone(&shared);
            Hook::sync_fn(move |_, metrics| {
                if shared.gave_up_since(metrics.created) {
                    return Err(HookError::message(
                        "a write was refused since: no primary any more",
                    ));
                }
                Ok(())
            })
        };
        let pool = Pool::builder(manager)
            .max_size(settings.pool_size)
            .wait_timeout(Some(limit))
            .create_timeout(Some(limit))
            .recycle_timeout(Some(limit))
            .runtime(Runtime::Tokio1)
            .post_create(on_connect)
            .pre_recycle(is_kept)
            .build()
            .expect("timeouts have their runtime");
        Self {
            pool,
            shared,
            client,
            connect_timeout: limit,
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
        let call = async {
            let mut connection = self.checkout(operation).await?;
            let answer = command.query_async(&mut connection).await;
            self.check_in(connection, &answer);
            answer.map_err(|error| failed(operation, error))
        };
        timed(operation, call).await
    }

    /// Runs one cheap command, whose refusal the caller wants to look at, on a connection that all such
    /// commands of this runtime share: they go out together, without the PING that the pool sends at
    /// each checkout, and none of them waits for the pool. A connection that broke is replaced, and the
    /// command repeated on the new one: it must do no harm twice.
    pub(crate) async fn run_shared<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<RedisResult<T>> {
        timed(operation, self.shared.run(operation, command)).await
    }

    /// As [`Connections::run_shared`], where a refusal is an error.
    pub(crate) async fn ask_shared<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<T> {
        let answer = self.run_shared(operation, command).await?;
        answer.map_err(|error| failed(operation, error))
    }

    /// As [`Connections::run_shared`], for a script that does no harm twice.
    pub(crate) async fn script_shared<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T> {
        timed(operation, self.shared.script(operation, script)).await
    }

    /// Runs many commands at once on the shared connection, each of which may be refused by itself; see
    /// [`Connections::run_shared`]. They have to ignore errors.
    pub(crate) async fn all_shared<T: FromRedisValue>(
        &self,
        operation: &'static str,
        commands: &Pipeline,
    ) -> Result<Vec<RedisResult<T>>> {
        timed(operation, self.shared.all(operation, commands)).await
    }

    /// As [`Connections::script_shared`], for a script that is told which run of Redis it goes to. The bodies of the
    /// templates that it keeps are sent ahead of it.
    pub(crate) async fn script_of_run<'a>(
        &self,
        operation: &'static str,
        bodies: &[Staged<'_>],
        script: impl Fn(&Run) -> ScriptInvocation<'a>,
    ) -> Result<Vec<String>> {
        timed(
            operation,
            self.shared.script_of_run(operation, bodies, script),
        )
        .await
    }

    /// Runs a script by its digest, and loads it where Redis has forgotten it.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T> {
        let call = async {
            let mut connection = self.checkout(operation).await?;
            let answer = script.invoke_async(&mut connection).await;
            self.check_in(connection, &answer);
            answer.map_err(|error| failed(operation, error))
        };
        timed(operation, call).await
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
    fn check_in<T>(&self, connection: Connection, answer: &RedisResult<T>) {
        if let Err(error) = answer
            && is_demoted(error)
        {
            self.shared.give_up();
            drop(Connection::take(connection));
        }
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
