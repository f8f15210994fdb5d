//! What a program consists of, put together as `app/src/wiring.rs` does it.

use std::sync::Arc;
use std::time::Duration;

use conch_ports::{Catalogue, TritonGateway};
use conch_services::mare::edge_cancel::EdgeCancel;
use conch_services::mare::hub;
use conch_services::mare::ingest::{self, ForeignEvents, Listeners};
use conch_services::mare::lookup;
use conch_services::mare::reconcile::Reconcile;
use conch_services::store_clock::StoreClock;
use conch_services::triton::cancel::Cancel;
use conch_services::triton::submit::Submit;
use conch_services::{Clock, subscription, worker};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Api, World};
use crate::generator::Composer;
use crate::plan;
use crate::planted;
use crate::process::Process;
use crate::triton::{Gateway, Service};

/// How long a program waits at its start for the store to tell its time.
const FIRST_LOOK_AT_THE_CLOCK: Duration = Duration::from_secs(1);
/// How long a worker that doesn't know the store's time claims nothing.
const LONGEST_WAIT_FOR_THE_CLOCK: Duration = Duration::from_secs(10);

impl World {
    pub(super) fn service(&self, process: &Arc<Process>, clock: &Clock) -> Arc<Service> {
        let gate = self.gate(process);
        let catalogue: Arc<dyn Catalogue> = Arc::new(gate.clone());
        let (log, queue, _) = planted::ports(&gate, self.planted);
        Arc::new(Service {
            submit: Submit::new(queue, Arc::clone(&catalogue), Arc::clone(clock)),
            cancel: Cancel::new(log, Arc::clone(&catalogue), Arc::clone(clock)),
            catalogue,
            underway: Mutex::new(JoinSet::new()),
        })
    }

    pub(super) async fn run_worker(
        self: Arc<Self>,
        process: Arc<Process>,
        clock: StoreClock,
        shutdown: CancellationToken,
    ) {
        let gate = self.gate(&process);
        let (log, queue, bus) = planted::ports(&gate, self.planted);
        clock.begin(&*log, FIRST_LOOK_AT_THE_CLOCK).await;
        let worker = worker::Settings {
            name: process.name.clone(),
            concurrency: 2,
            lease: plan::LEASE,
            max_attempts: plan::MAX_ATTEMPTS,
            template_tries: plan::TEMPLATE_TRIES,
            backoff: plan::BACKOFF,
            backoff_cap: plan::BACKOFF_CAP,
            poll: plan::POLL,
            drain: Duration::from_secs(3),
            ..worker::Settings::default()
        }
        .build(worker::Dependencies {
            log: Arc::clone(&log),
            queue,
            catalogue: Arc::new(gate),
            generator: Arc::new(Composer {
                pace: self.plan.pace,
                fails: self.plan.templates_fail,
                rng: Mutex::new(self.rng(process.role, 7)),
            }),
            clock: clock.clock(),
        });
        let keeps_time = clock.clone().keep(log, shutdown.clone());
        let keeps_time = AbortOnDropHandle::new(tokio::spawn(keeps_time));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = clock.known() => {}
            () = tokio::time::sleep(LONGEST_WAIT_FOR_THE_CLOCK) => {}
        }
        let mut subscription = subscription::Settings::default().build(bus.subscribe());
        let signals = subscription.listener("worker");
        let hears = AbortOnDropHandle::new(tokio::spawn(subscription.run()));
        worker.run(signals, shutdown).await;
        drop((keeps_time, hears));
        self.ended(&process);
    }

    pub(super) async fn run_api(
        self: Arc<Self>,
        n: usize,
        process: Arc<Process>,
        clock: StoreClock,
        shutdown: CancellationToken,
    ) {
        let gate = self.gate(&process);
        let (log, _, bus) = planted::ports(&gate, self.planted);
        clock.begin(&*log, FIRST_LOOK_AT_THE_CLOCK).await;
        let time = clock.clock();
        let gateway: Arc<dyn TritonGateway> = Arc::new(Gateway {
            process: Arc::clone(&process),
            board: Arc::clone(&self.board),
            services: Arc::clone(&self.services),
            foreign: Arc::clone(&self.foreign),
            history: Arc::clone(&self.history),
        });
        let reconcile = Reconcile::new(Arc::clone(&log), Arc::clone(&gateway), Arc::clone(&time));
        let hub = hub::Settings {
            position_check: planted::position_check(self.planted, plan::POSITION_CHECK),
            record_lost_after: plan::RECORD_LOST,
            history_limit: self.plan.history_limit,
            retry_ms: plan::RETRY.as_millis() as u64,
            ..hub::Settings::default()
        }
        .build(
            hub::Dependencies {
                log: Arc::clone(&log),
                cache: Arc::new(self.gate(&process)),
                gateway: Arc::clone(&gateway),
                reconcile: reconcile.clone(),
                clock: Arc::clone(&time),
            },
            shutdown.clone(),
        );
        let lookup = lookup::Settings {
            local_bytes: 1 << 20,
            ask_again_after: plan::POSITION_CHECK,
        }
        .build(lookup::Dependencies {
            cache: Arc::new(gate),
            log: Arc::clone(&log),
            gateway: Arc::clone(&gateway),
            reconcile: reconcile.clone(),
        });
        let mut subscription = subscription::Settings::default().build(bus.subscribe());
        let signals = subscription.listener("ingest");
        let hears = AbortOnDropHandle::new(tokio::spawn(subscription.run()));
        let ears = ingest::run(
            Arc::clone(&log),
            signals,
            Listeners {
                hub: hub.clone(),
                lookup: lookup.clone(),
                cache_results: false,
            },
            ForeignEvents::Accept {
                max_bytes: 64 * 1024,
                cap: conch_domain::EventCap::default(),
            },
            time,
            shutdown.clone(),
        );
        let ears = AbortOnDropHandle::new(tokio::spawn(ears));
        let keeps_time = AbortOnDropHandle::new(tokio::spawn(clock.keep(log, shutdown.clone())));
        let api = Api {
            process: Arc::clone(&process),
            edge_cancel: EdgeCancel::new(
                Arc::clone(&gateway),
                lookup.clone(),
                reconcile,
                hub.clone(),
            ),
            hub: hub.clone(),
            lookup,
            gateway,
            shutdown: shutdown.clone(),
        };
        self.slots.lock().apis.insert(n, Arc::new(api));
        shutdown.cancelled().await;
        // Streams are told to come back, requests in flight are answered.
        hub.stopped().await;
        drop(tokio::time::timeout(Duration::from_secs(2), ears).await);
        drop((keeps_time, hears));
        self.ended(&process);
    }
}
