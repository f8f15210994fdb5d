//! Whoever watches, as an EventSource does: reads until the stream ends or breaks, comes back after
//! `retry` with the last id, and stops at 204 or 404.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conch_domain::JobId;
use conch_services::mare::hub::{Attached, Next, Selection, Watcher};
use rand::RngExt;
use tokio::sync::Notify;

use super::Client;
use crate::history::{Done, Said, StreamEvent, Subject, What};
use crate::plan;
use crate::planted;
use crate::sse::{Item, Reader};
use crate::world::Api;

/// How a connection ended.
enum End {
    Broken,
    Over,
    NothingLeft,
    Unknown,
}

/// What an EventSource remembers from one connection to the next.
struct Memory {
    last_id: Option<String>,
    retry: u64,
}

/// Whom the stream is about.
#[derive(Clone)]
enum Wanted {
    One(JobId),
    Many(Vec<JobId>),
}

impl Client {
    pub(super) async fn watch_one(mut self, n: usize) {
        let job = self.nth(n).await;
        self.before_watching(&job).await;
        let garbage = self.now_and_then(20);
        let cursor = garbage.then(|| "nonsense".to_owned());
        let foreign = job.as_str().starts_with("foreign");
        loop {
            let how = self.watch(Wanted::One(job.clone()), cursor.clone()).await;
            // Whom nobody has heard of yet may come.
            if how == Done::Unknown && foreign {
                self.pause(500, 1000).await;
                continue;
            }
            self.note(Said::Done { how });
            return;
        }
    }

    pub(super) async fn watch_named(mut self, jobs: usize) {
        let mut named = Vec::new();
        for n in 0..jobs {
            named.push(self.nth(n).await);
        }
        self.before_watching(&named[0]).await;
        let how = self.watch(Wanted::Many(named), None).await;
        self.note(Said::Done { how });
    }

    pub(super) async fn watch_every(mut self) {
        self.pause(0, 3000).await;
        let how = self.watch(Wanted::Many(Vec::new()), None).await;
        self.note(Said::Done { how });
    }

    async fn watch(&mut self, wanted: Wanted, cursor: Option<String>) -> Done {
        let mut memory = Memory {
            last_id: cursor,
            retry: plan::RETRY.as_millis() as u64,
        };
        loop {
            match self.connect(&wanted, &mut memory).await {
                End::NothingLeft => return Done::Told,
                End::Unknown => return Done::Unknown,
                End::Broken | End::Over => {}
            }
            let jitter = self.rng.random_range(0..=200);
            tokio::time::sleep(Duration::from_millis(memory.retry + jitter)).await;
        }
    }

    async fn connect(&mut self, wanted: &Wanted, memory: &mut Memory) -> End {
        let about = match wanted {
            Wanted::One(job) => self.name(job),
            Wanted::Many(jobs) => format!("{} jobs", jobs.len()),
        };
        let Some(api) = self.reach("GET subscribe", about).await else {
            return End::Broken;
        };
        let history = Arc::clone(&self.crowd.world.history);
        let stream = history.next_stream();
        let slow = self.now_and_then(8);
        let n = match api.process.role {
            crate::process::Role::Api(n) => n,
            _ => 0,
        };
        let note = |event| history.note(What::Stream { stream, event });
        note(StreamEvent::Asked {
            client: self.index,
            api: n,
            subject: match wanted {
                Wanted::One(job) => Subject::One(self.name(job)),
                Wanted::Many(jobs) if jobs.is_empty() => Subject::Every,
                Wanted::Many(jobs) => Subject::Named(jobs.iter().map(|j| self.name(j)).collect()),
            },
            cursor: memory.last_id.clone(),
            slow,
        });
        let cut = Arc::new(Notify::new());
        self.crowd.cuts.lock().push((self.index, Arc::clone(&cut)));
        let end = tokio::select! {
            biased;
            () = api.process.gone.cancelled() => End::Broken,
            () = cut.notified() => End::Broken,
            end = self.follow(&api, wanted, memory, slow, &note) => end,
        };
        self.crowd
            .cuts
            .lock()
            .retain(|(_, known)| !Arc::ptr_eq(known, &cut));
        note(match end {
            End::Broken => StreamEvent::Cut,
            End::Over => StreamEvent::Ended,
            End::NothingLeft => StreamEvent::NothingLeft,
            End::Unknown => StreamEvent::Unknown,
        });
        end
    }

    async fn follow(
        &self,
        api: &Api,
        wanted: &Wanted,
        memory: &mut Memory,
        slow: bool,
        note: &(impl Fn(StreamEvent) + Sync),
    ) -> End {
        let planted = self.crowd.world.planted;
        let cursor = planted::cursor(planted, memory.last_id.as_deref());
        let attached = match wanted {
            Wanted::One(job) => api.hub.watch(job, cursor.as_deref()).await,
            Wanted::Many(jobs) => {
                let selection = Selection {
                    job_ids: jobs.clone(),
                    client_ids: Vec::new(),
                };
                api.hub.watch_many(selection, cursor.as_deref()).await
            }
        };
        let mut watcher = match attached {
            Attached::Ended => return End::NothingLeft,
            Attached::Unknown => return End::Unknown,
            Attached::Stream(watcher) | Attached::Full(watcher) => watcher,
        };
        note(StreamEvent::Opened);
        let mut reader = Reader::default();
        loop {
            let (frames, next) = frames(&mut watcher).await;
            for frame in frames
                .iter()
                .filter(|frame| planted::passes(planted, frame))
            {
                for item in reader.read(frame) {
                    match &item {
                        Item::Event { id, .. } => memory.last_id = Some(id.clone()),
                        Item::Retry(millis) => memory.retry = *millis,
                        Item::Comment(_) | Item::Phantom => {}
                    }
                    note(StreamEvent::Heard(item));
                }
            }
            if next == Next::End {
                return End::Over;
            }
            if slow {
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
        }
    }
}

async fn frames(watcher: &mut Watcher) -> (Vec<Bytes>, Next) {
    let mut out = Vec::new();
    let next = poll_fn(|cx| watcher.poll_frames(cx, &mut out)).await;
    (out, next)
}
