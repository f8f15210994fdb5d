//! Builds a process: binds its addresses and collects its tasks. Nothing runs or answers before
//! [`Builder::open`].
//!
//! Never in here: which parts a process has.

use std::net::SocketAddr;

use anyhow::Context;
use conch_http::serve::{Handle, IoThreads, Router};
use conch_http::{body, ops, serve};
use conch_ports::Signals;
use conch_services::Clock;
use conch_services::store_clock::StoreClock;
use conch_services::subscription::{Ended, Subscription};
use futures::future::{BoxFuture, ready};
use futures::{StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::supervisor::Supervisor;

/// What the parts of one process share while they are built. Nothing runs or answers before
/// [`Builder::open`]: a program that can't start must not have claimed a job or accepted one.
pub(super) struct Builder {
    pub(super) shutdown: CancellationToken,
    pub(super) clock: Clock,
    pub(super) store_clock: StoreClock,
    pub(super) ops: ops::Dependencies,
    pub(super) body: body::Limits,
    /// Listeners must be added before it runs.
    pub(super) subscription: Subscription,
    pub(super) bound: Vec<Bound>,
    pub(super) tasks: Vec<(&'static str, BoxFuture<'static, ()>)>,
    pub(super) one_shots: Vec<BoxFuture<'static, ()>>,
}

/// A bound address, and the routes to serve there.
pub(super) struct Bound {
    name: &'static str,
    listener: TcpListener,
    router: Router,
}

impl Builder {
    /// Binds the address.
    pub(super) async fn bind(
        &mut self,
        name: &'static str,
        address: SocketAddr,
        router: Router,
    ) -> anyhow::Result<()> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("{name} can't listen on {address}: is something else running there?")
        })?;
        self.bound.push(Bound {
            name,
            listener,
            router,
        });
        Ok(())
    }

    /// The subscription's signals, for one part. After the subscription has ended, this stream stays silent
    /// until the shutdown: if it ended, the part would end too and be reported instead of the subscription.
    pub(super) fn listener(&mut self, name: &'static str) -> Signals {
        let over = self.shutdown.clone().cancelled_owned();
        let over = stream::once(over).filter_map(|()| ready(None));
        self.subscription.listener(name).chain(over).boxed()
    }

    /// Adds a part with its own tasks; `failed` completes when one of them has ended too early.
    pub(super) fn watch(
        &mut self,
        name: &'static str,
        failed: impl Future<Output = ()> + Send + 'static,
    ) {
        let shutdown = self.shutdown.clone();
        let watch = async move {
            shutdown.run_until_cancelled(failed).await;
        };
        self.tasks.push((name, Box::pin(watch)));
    }

    /// Starts everything that was bound and built.
    pub(super) fn open(
        self,
        server: &serve::Settings,
        threads: &IoThreads,
        supervisor: &Supervisor,
    ) -> anyhow::Result<Vec<(&'static str, Handle)>> {
        let mut servers = Vec::new();
        for bound in self.bound {
            // Not the shutdown token: a server stops accepting only when it is drained.
            let never = CancellationToken::new();
            let server = server.clone();
            let handle = server.serve(bound.listener, bound.router, threads, &never)?;
            tracing::info!("{} listens on http://{}", bound.name, handle.address());
            servers.push((bound.name, handle));
        }
        for task in self.one_shots {
            supervisor.spawn_one_shot(task);
        }
        for (name, task) in self.tasks {
            supervisor.spawn(name, task);
        }
        let (subscription, shutdown) = (self.subscription, self.shutdown);
        supervisor.spawn("subscription", async move {
            // If the listeners are gone, their part has ended, and that part is the one to be reported.
            if subscription.run().await == Ended::WithListeners {
                shutdown.cancelled().await;
            }
        });
        Ok(servers)
    }
}
