//! Builds the parts of a process and connects them.
//!
//! Never in here: what a store is; `stores` builds the one that is named.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context;

use conch_domain::Timestamp;
use conch_generator::{builtin, command};
use conch_http::serve::IoThreads;
use conch_http::{mare, ops, triton};
use conch_ports::TemplateGenerator;
use conch_services::mare::access::Access;
use conch_services::mare::edge_cancel::EdgeCancel;
use conch_services::mare::hub::{self, Hub};
use conch_services::mare::ingest::{self, Listeners};
use conch_services::mare::lookup;
use conch_services::mare::reconcile::Reconcile;
use conch_services::mare::submissions::SubmissionRate;
use conch_services::mare::tickets::Tickets;
use conch_services::places::Places;
use conch_services::store_clock::StoreClock;
use conch_services::subscription;
use conch_services::triton::cancel::Cancel;
use conch_services::triton::records::Records;
use conch_services::triton::submit::Submit;
use conch_services::{Clock, worker};
use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Generator, SETTINGS, Settings};
use crate::demo;
use crate::plant::Plant;
use crate::supervisor::Supervisor;
use crate::system::{MARE, System, TRITON};
use crate::telemetry::Metrics;

mod builder;
mod stores;
#[cfg(test)]
mod tests;

use builder::Builder;
pub use stores::Stores;

/// How long the start waits for the store's time.
const FIRST_LOOK_AT_THE_CLOCK: Duration = Duration::from_secs(1);
/// How long a worker that doesn't know the store's time waits before it claims a job.
const LONGEST_WAIT_FOR_THE_CLOCK: Duration = Duration::from_secs(10);

/// UTC, from the system.
fn system_clock() -> Clock {
    Arc::new(|| {
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Timestamp::from_micros(i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX))
    })
}

/// Builds and starts everything that the settings ask for.
///
/// # Errors
/// When an address can't be listened on, or a part can't be built from its settings.
pub(crate) async fn start(
    settings: Settings,
    metrics: Metrics,
    threads: &IoThreads,
    plant: &dyn Plant,
) -> anyhow::Result<System> {
    let stores = plant.stores(Stores::new(settings.store.clone(), settings.bus.clone())?);
    start_on(&stores, system_clock(), settings, metrics, threads, plant).await
}

async fn start_on(
    stores: &Stores,
    clock: Clock,
    settings: Settings,
    metrics: Metrics,
    threads: &IoThreads,
    plant: &dyn Plant,
) -> anyhow::Result<System> {
    let draining = Arc::new(AtomicBool::new(false));
    let store_clock = StoreClock::new(clock);
    // Before the first time stamp, if the store is up; the program also starts while it is down.
    store_clock
        .begin(&*stores.log, FIRST_LOOK_AT_THE_CLOCK)
        .await;
    let shutdown = CancellationToken::new();
    let supervisor = Supervisor::new(shutdown.clone());
    let mut builder = Builder {
        shutdown,
        clock: store_clock.clock(),
        store_clock: store_clock.clone(),
        ops: ops::Dependencies {
            metrics,
            readiness: readiness(supervisor.clone(), Arc::clone(&draining)),
        },
        body: settings.body,
        subscription: subscription::Settings::default().build(stores.bus.subscribe()),
        bound: Vec::new(),
        tasks: Vec::new(),
        one_shots: Vec::new(),
    };
    let keeps_time = store_clock.keep(Arc::clone(&stores.log), builder.shutdown.clone());
    builder.tasks.push(("clock", keeps_time.boxed()));
    let watched = threads.clone();
    builder.watch("http threads", async move { watched.failed().await });
    if let Some(worker) = settings.worker {
        add_worker(&mut builder, stores, worker, settings.drain, plant).await?;
    }
    let hub = match settings.mare {
        Some(mare) => Some(add_mare(&mut builder, stores, mare, plant).await?),
        None => None,
    };
    Ok(System {
        shutdown: builder.shutdown.clone(),
        draining,
        drain: settings.drain,
        hub,
        servers: builder.open(&settings.server, threads, &supervisor)?,
        supervisor,
    })
}

fn readiness(
    supervisor: Supervisor,
    draining: Arc<AtomicBool>,
) -> Arc<dyn Fn() -> Result<(), String> + Send + Sync> {
    Arc::new(move || {
        if let Some(why) = supervisor.failure() {
            Err(format!("{why}: this process is about to end"))
        } else if draining.load(Ordering::Acquire) {
            Err("draining: this process is about to end".to_owned())
        } else {
            Ok(())
        }
    })
}

async fn add_worker(
    builder: &mut Builder,
    stores: &Stores,
    settings: config::Worker,
    drain: Duration,
    plant: &dyn Plant,
) -> anyhow::Result<()> {
    let clock = &builder.clock;
    let records = Records::new(Arc::clone(&stores.catalogue), Arc::clone(clock));
    if settings.demo_client {
        let seed = demo::seed(
            records.clone(),
            Arc::clone(&stores.catalogue),
            builder.shutdown.clone(),
        );
        builder.one_shots.push(seed.boxed());
    }
    let worker = worker::Settings {
        concurrency: settings.concurrency,
        lease: settings.lease,
        sweep: settings.sweep,
        deadline: settings.deadline,
        cap: settings.events,
        max_attempts: settings.max_attempts,
        template_tries: settings.template_tries,
        backoff: settings.backoff,
        backoff_cap: settings.backoff_cap,
        // Jobs must be given back before the program's own time limit.
        drain: drain.mul_f64(0.8),
        name: format!("conch-worker-{}", std::process::id()),
        ..worker::Settings::default()
    }
    .build(worker::Dependencies {
        log: Arc::clone(&stores.log),
        queue: Arc::clone(&stores.queue),
        catalogue: Arc::clone(&stores.catalogue),
        generator: plant.generator(generator(settings.generator)?),
        clock: Arc::clone(clock),
    });
    if let Some(address) = settings.address {
        let router = triton::Settings {
            hosts: settings.hosts,
            token: settings.token.map(config::Secret::expose),
            body: builder.body,
        }
        .build(triton::Dependencies {
            submit: Submit::new(
                Arc::clone(&stores.queue),
                Arc::clone(&stores.catalogue),
                Arc::clone(clock),
            ),
            cancel: Cancel::new(
                Arc::clone(&stores.log),
                Arc::clone(&stores.catalogue),
                Arc::clone(clock),
            ),
            records,
            places: Places::new(Arc::clone(&stores.queue)),
            catalogue: Arc::clone(&stores.catalogue),
            log: Arc::clone(&stores.log),
            bus: Arc::clone(&stores.bus),
            ops: builder.ops.clone(),
        });
        builder.bind(TRITON, address, router).await?;
    } else if let Some(address) = settings.ops_address {
        let router = ops::router(builder.ops.clone());
        builder
            .bind("the worker's /readyz", address, router)
            .await?;
    }
    let signals = builder.listener("worker");
    let (shutdown, store_clock) = (builder.shutdown.clone(), builder.store_clock.clone());
    let work = async move {
        // The store may answer a claim although reading its time has just failed. Events whose time stamps
        // are an hour off would be missed by readers that look for recent changes.
        tokio::select! {
            () = store_clock.known() => {}
            () = tokio::time::sleep(LONGEST_WAIT_FOR_THE_CLOCK) => {
                tracing::warn!("the store doesn't tell its time: events are stamped by this machine's clock");
            }
            () = shutdown.cancelled() => {}
        }
        worker.run(signals, shutdown).await;
    };
    builder.tasks.push(("worker", work.boxed()));
    Ok(())
}

/// Our variables that a generator's program must not inherit.
fn secrets() -> impl Iterator<Item = String> {
    let secrets = SETTINGS.iter().filter(|s| s.secret);
    secrets.flat_map(|s| {
        [Some(s.name.to_owned()), s.file_name()]
            .into_iter()
            .flatten()
    })
}

fn generator(settings: Generator) -> anyhow::Result<Arc<dyn TemplateGenerator>> {
    Ok(match settings {
        Generator::Builtin { pace } => builtin::Settings { pace }.build(),
        Generator::Command {
            command,
            timeout,
            output_limit,
        } => command::Settings {
            timeout,
            output_limit,
            withheld: secrets().collect(),
            ..command::Settings::new(command)
        }
        .build()
        .context("GENERATOR_COMMAND")?,
    })
}

async fn add_mare(
    builder: &mut Builder,
    stores: &Stores,
    settings: config::Mare,
    plant: &dyn Plant,
) -> anyhow::Result<Hub> {
    let gateway = settings.gateway.build().context("TRITON_BASE_URL")?;
    let log = &stores.log;
    let reconcile = Reconcile::new(
        Arc::clone(log),
        Arc::clone(&gateway),
        Arc::clone(&builder.clock),
    );
    let lookups = lookup::Settings {
        local_bytes: settings.local_results,
        ask_again_after: settings.hub.position_check,
    };
    let hub = settings.hub.build(
        hub::Dependencies {
            log: Arc::clone(log),
            cache: Arc::clone(&stores.cache),
            gateway: Arc::clone(&gateway),
            reconcile: reconcile.clone(),
            clock: plant.clock(Arc::clone(&builder.clock)),
        },
        builder.shutdown.clone(),
    );
    let lookup = lookups.build(lookup::Dependencies {
        cache: Arc::clone(&stores.cache),
        log: Arc::clone(log),
        gateway: Arc::clone(&gateway),
        reconcile: reconcile.clone(),
    });
    let ingest = ingest::run(
        Arc::clone(log),
        builder.listener("ingest"),
        Listeners {
            hub: hub.clone(),
            lookup: lookup.clone(),
            cache_results: !log.guarantees().caches_results,
        },
        settings.foreign_events,
        Arc::clone(&builder.clock),
        builder.shutdown.clone(),
    );
    builder.tasks.push(("ingest", ingest.boxed()));
    let watched = hub.clone();
    builder.watch("hub", async move { watched.failed().await });
    let rate = settings
        .submissions_per_minute
        .map_or_else(SubmissionRate::unlimited, SubmissionRate::per_minute);
    let router = mare::Settings {
        hosts: settings.hosts,
        auth: settings.auth,
        cors_origins: settings.cors_origins,
        body: builder.body,
    }
    .build(mare::Dependencies {
        edge_cancel: EdgeCancel::new(Arc::clone(&gateway), lookup.clone(), reconcile, hub.clone()),
        hub: hub.clone(),
        lookup,
        access: Access::new(Arc::clone(&gateway), rate),
        places: Places::new(Arc::clone(&stores.queue)),
        tickets: Tickets::new(Arc::clone(&stores.tickets), Arc::clone(&builder.clock)),
        clock: Arc::clone(&builder.clock),
        gateway,
        log: Arc::clone(&stores.log),
        bus: Arc::clone(&stores.bus),
        cache: Arc::clone(&stores.cache),
        ops: builder.ops.clone(),
    });
    builder
        .bind(MARE, settings.address, plant.router(router))
        .await?;
    if let Some(address) = settings.ops_address {
        let router = ops::router(builder.ops.clone());
        builder.bind("Mare's /metrics", address, router).await?;
    }
    Ok(hub)
}
