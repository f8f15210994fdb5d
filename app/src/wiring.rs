//! Which part gets which other part. The only place that knows every backend, and the only `match`
//! on one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context;

use conch_domain::Timestamp;
use conch_generator::{builtin, command};
use conch_http::serve::{Handle, Router};
use conch_http::{body, mare, ops, serve, triton};
use conch_ports::{Catalogue, EventBus, JobQueue, ResultCache, TemplateGenerator};
use conch_services::cancel::Cancel;
use conch_services::edge_cancel::EdgeCancel;
use conch_services::hub::Hub;
use conch_services::ingest::{self, Listeners};
use conch_services::lookup;
use conch_services::reconcile::Reconcile;
use conch_services::records::Records;
use conch_services::store_clock::StoreClock;
use conch_services::submit::Submit;
use conch_services::{Clock, worker};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, Backend, Generator, Settings};
use crate::demo;
use crate::telemetry::Metrics;

/// Variables of ours that a generator's program has no business with.
const SECRETS: [&str; 4] = [
    "TRITON_TOKEN",
    "REDIS_URL",
    "REDIS_PASSWORD",
    "CACHE_REDIS_URL",
];

/// How long a start waits for the store to tell its time.
const FIRST_LOOK_AT_THE_CLOCK: Duration = Duration::from_secs(1);

/// The store ports of one backend.
struct Stores {
    bus: Arc<dyn EventBus>,
    cache: Arc<dyn ResultCache>,
    queue: Arc<dyn JobQueue>,
    catalogue: Arc<dyn Catalogue>,
    /// Whether a commit also caches the result.
    commit_caches: bool,
}

impl Stores {
    fn new(backend: Backend) -> anyhow::Result<Self> {
        Ok(match backend {
            Backend::Memory(settings) => {
                let memory = settings.build();
                Self {
                    bus: memory.bus(),
                    cache: memory.cache(),
                    queue: memory.queue(),
                    catalogue: memory.catalogue(),
                    commit_caches: true,
                }
            }
            Backend::Redis(settings) => {
                let commit_caches = settings.cache_url.is_none();
                let stores = settings.build()?;
                Self {
                    bus: stores.bus,
                    cache: stores.cache,
                    queue: stores.queue,
                    catalogue: stores.catalogue,
                    commit_caches,
                }
            }
        })
    }
}

/// UTC, from the system.
fn system_clock() -> Clock {
    Arc::new(|| {
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Timestamp::from_micros(i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX))
    })
}

/// A system that runs.
pub(crate) struct System {
    shutdown: CancellationToken,
    draining: Arc<AtomicBool>,
    drain: Duration,
    hub: Option<Hub>,
    servers: Vec<(&'static str, Handle)>,
    tasks: TaskTracker,
}

/// What the parts of one process share while they are put together.
struct Site {
    shutdown: CancellationToken,
    clock: Clock,
    ops: ops::Dependencies,
    max_connections: usize,
    write_stall: Duration,
    tasks: TaskTracker,
}

impl Site {
    async fn serve(
        &self,
        name: &'static str,
        address: SocketAddr,
        router: Router,
    ) -> anyhow::Result<Handle> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("{name} can't listen on {address}: is something else running there?")
        })?;
        let settings = serve::Settings {
            max_connections: self.max_connections,
            write_stall: self.write_stall,
            ..serve::Settings::default()
        };
        // Not the shutdown's own token: a server stops accepting only when it is drained.
        let handle = settings.serve(listener, router, &CancellationToken::new())?;
        tracing::info!("{name} listens on http://{}", handle.address());
        Ok(handle)
    }
}

/// Builds and starts everything that the settings ask for.
///
/// # Errors
/// When an address can't be listened on, or a part can't be built from its settings.
pub(crate) async fn start(settings: Settings, metrics: Metrics) -> anyhow::Result<System> {
    let stores = Stores::new(settings.backend)?;
    #[cfg(feature = "sabotage")]
    let stores = {
        let (bus, queue, catalogue) =
            crate::sabotage::plant(stores.bus, stores.queue, stores.catalogue);
        Stores {
            bus,
            queue,
            catalogue,
            ..stores
        }
    };
    let draining = Arc::new(AtomicBool::new(false));
    let clock = StoreClock::new(system_clock());
    // Before anything is stamped, if the store is up; a program starts while it is down, too.
    if !matches!(
        tokio::time::timeout(FIRST_LOOK_AT_THE_CLOCK, clock.set(&*stores.bus)).await,
        Ok(Ok(()))
    ) {
        tracing::debug!("the store's clock can't be read yet");
    }
    let site = Site {
        shutdown: CancellationToken::new(),
        clock: clock.clock(),
        ops: ops::Dependencies {
            metrics,
            readiness: readiness(Arc::clone(&draining)),
        },
        max_connections: settings.max_connections,
        write_stall: settings.write_stall,
        tasks: TaskTracker::new(),
    };
    let mut system = System {
        shutdown: site.shutdown.clone(),
        draining,
        drain: settings.drain,
        hub: None,
        servers: Vec::new(),
        tasks: site.tasks.clone(),
    };
    let keeps_time = clock.keep(Arc::clone(&stores.bus), site.shutdown.clone());
    site.tasks.spawn(keeps_time);
    // Triton first: Mare's gateway finds it there.
    if let Some(worker) = settings.worker {
        start_worker(&site, &stores, worker, settings.drain, &mut system).await?;
    }
    if let Some(mare) = settings.mare {
        start_mare(&site, &stores, mare, &mut system).await?;
    }
    Ok(system)
}

fn readiness(draining: Arc<AtomicBool>) -> Arc<dyn Fn() -> Result<(), String> + Send + Sync> {
    Arc::new(move || {
        if draining.load(Ordering::Acquire) {
            Err("draining: this process is about to end".to_owned())
        } else {
            Ok(())
        }
    })
}

async fn start_worker(
    site: &Site,
    stores: &Stores,
    settings: config::Worker,
    drain: Duration,
    system: &mut System,
) -> anyhow::Result<()> {
    let clock = &site.clock;
    let records = Records::new(Arc::clone(&stores.catalogue), Arc::clone(clock));
    if settings.demo_client {
        site.tasks.spawn(demo::seed(
            records.clone(),
            Arc::clone(&stores.catalogue),
            site.shutdown.clone(),
        ));
    }
    let worker = worker::Settings {
        concurrency: settings.concurrency,
        lease: settings.lease,
        deadline: settings.deadline,
        max_attempts: settings.max_attempts,
        backoff: settings.backoff,
        backoff_cap: settings.backoff_cap,
        // Giving jobs back must be done before the program's own time is up.
        drain: drain.mul_f64(0.8),
        name: format!("conch-worker-{}", std::process::id()),
        ..worker::Settings::default()
    }
    .build(worker::Dependencies {
        bus: Arc::clone(&stores.bus),
        queue: Arc::clone(&stores.queue),
        catalogue: Arc::clone(&stores.catalogue),
        generator: generator(settings.generator)?,
        clock: Arc::clone(clock),
    });
    if let Some(address) = settings.address {
        let router = triton::Settings {
            token: settings.token.map(config::Secret::expose),
            body: body::Limits::default(),
        }
        .build(triton::Dependencies {
            submit: Submit::new(
                Arc::clone(&stores.queue),
                Arc::clone(&stores.catalogue),
                Arc::clone(clock),
            ),
            cancel: Cancel::new(
                Arc::clone(&stores.bus),
                Arc::clone(&stores.catalogue),
                Arc::clone(clock),
            ),
            records,
            catalogue: Arc::clone(&stores.catalogue),
            bus: Arc::clone(&stores.bus),
            ops: site.ops.clone(),
        });
        let handle = site.serve("Triton", address, router).await?;
        system.servers.push(("Triton", handle));
    } else if let Some(address) = settings.ops_address {
        let router = ops::router(site.ops.clone());
        let handle = site.serve("the worker's /readyz", address, router).await?;
        system.servers.push(("ops", handle));
    }
    // Last: a program whose port is taken must not have claimed a job.
    let shutdown = site.shutdown.clone();
    site.tasks.spawn(async move { worker.run(shutdown).await });
    Ok(())
}

fn generator(settings: Generator) -> anyhow::Result<Arc<dyn TemplateGenerator>> {
    Ok(match settings {
        Generator::Builtin { pace } => builtin::Settings { pace }.build(),
        Generator::Command { command, timeout } => command::Settings {
            timeout,
            withheld: SECRETS.map(str::to_owned).to_vec(),
            ..command::Settings::new(command)
        }
        .build()
        .context("GENERATOR_COMMAND")?,
    })
}

async fn start_mare(
    site: &Site,
    stores: &Stores,
    settings: config::Mare,
    system: &mut System,
) -> anyhow::Result<()> {
    let gateway = settings.gateway.build().context("TRITON_BASE_URL")?;
    let bus = &stores.bus;
    let reconcile = Reconcile::new(
        Arc::clone(bus),
        Arc::clone(&gateway),
        Arc::clone(&site.clock),
    );
    let lookups = lookup::Settings {
        local_bytes: settings.local_results,
        ask_again_after: settings.hub.position_check,
    };
    let hub = settings.hub.build(
        Arc::clone(bus),
        Arc::clone(&gateway),
        reconcile.clone(),
        Arc::clone(&site.clock),
        site.shutdown.clone(),
    );
    let lookup = lookups.build(lookup::Dependencies {
        cache: Arc::clone(&stores.cache),
        bus: Arc::clone(bus),
        gateway: Arc::clone(&gateway),
        reconcile: reconcile.clone(),
    });
    site.tasks.spawn(ingest::run(
        Arc::clone(bus),
        Listeners {
            hub: hub.clone(),
            cache_results: (!stores.commit_caches).then(|| lookup.clone()),
        },
        settings.foreign_events,
        Arc::clone(&site.clock),
        site.shutdown.clone(),
    ));
    let router = mare::Settings {
        cors_origins: settings.cors_origins,
        body: body::Limits::default(),
    }
    .build(mare::Dependencies {
        edge_cancel: EdgeCancel::new(Arc::clone(&gateway), reconcile, hub.clone()),
        hub: hub.clone(),
        lookup,
        gateway,
        bus: Arc::clone(bus),
        cache: Arc::clone(&stores.cache),
        ops: site.ops.clone(),
    });
    #[cfg(feature = "sabotage")]
    let router = crate::sabotage::plant_http(router);
    let handle = site.serve("Mare", settings.address, router).await?;
    system.servers.push(("Mare", handle));
    system.hub = Some(hub);
    Ok(())
}

impl System {
    /// Ends everything within the drain time: not ready any more, streams told to come back, requests
    /// answered, jobs given back. What is still open then is cut.
    pub(crate) async fn drain(self) {
        self.draining.store(true, Ordering::Release);
        let deadline = tokio::time::Instant::now() + self.drain;
        self.shutdown.cancel();
        self.tasks.close();
        let servers = async {
            futures::future::join_all(self.servers.iter().map(|(name, server)| async move {
                let cut = server.drain(self.drain).await;
                if cut > 0 {
                    tracing::warn!("{name} cut {cut} connections that would not end");
                }
            }))
            .await;
        };
        let tasks = async {
            self.tasks.wait().await;
            if let Some(hub) = &self.hub {
                hub.stopped().await;
            }
        };
        let all = async { tokio::join!(servers, tasks) };
        if tokio::time::timeout_at(deadline + Duration::from_millis(200), all)
            .await
            .is_err()
        {
            tracing::warn!("the drain took longer than DRAIN_SECONDS: ending anyway");
        }
    }
}
