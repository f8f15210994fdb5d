//! Looks up many jobs at once, those that one stream names and the unused ids in place of those that it may
//! not know of, for the first time and again: whether each has a log, one question for hundreds of them.
//! What has one is then read by itself.
//!
//! A topic takes hints before it is looked for, so nothing is missed in between (law 4).

use std::collections::VecDeque;
use std::sync::Arc;

use conch_domain::JobId;
use conch_ports::MAX_POSITIONS;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::Shared;
use super::asking::positions;

/// From how many jobs on a stream has them looked for together.
pub(super) const MANY: usize = 16;

/// What a topic waits for: whether its log is absent. Fails when that can't be learned.
pub(super) type Look = oneshot::Receiver<bool>;

/// A job to look for, and where the answer goes.
pub(super) struct Request {
    job_id: JobId,
    answer: oneshot::Sender<bool>,
}

impl Request {
    pub(super) fn new(job_id: JobId) -> (Self, Look) {
        let (answer, look) = oneshot::channel();
        (Self { job_id, answer }, look)
    }
}

/// Jobs that wait to be looked for; as many at most as there are topics.
#[derive(Default)]
pub(super) struct Looks {
    waiting: Mutex<VecDeque<Request>>,
    arrived: Notify,
}

impl Looks {
    pub(super) fn request(&self, requests: Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock();
        // Before it grows: requests of topics that are gone are dropped. There may be any number of them
        // while the store doesn't answer.
        if waiting.len() + requests.len() > waiting.capacity() {
            waiting.retain(|request| !request.answer.is_closed());
        }
        waiting.extend(requests);
        drop(waiting);
        self.arrived.notify_one();
    }

    fn take(&self) -> Vec<Request> {
        let mut waiting = self.waiting.lock();
        let mut batch = Vec::new();
        while batch.len() < MAX_POSITIONS
            && let Some(request) = waiting.pop_front()
        {
            // The topic that asked may be gone.
            if !request.answer.is_closed() {
                batch.push(request);
            }
        }
        if waiting.is_empty() {
            *waiting = VecDeque::new();
        }
        batch
    }
}

/// Answers those that wait, until the shutdown.
pub(super) async fn answer(shared: Arc<Shared>) {
    tokio::select! {
        biased;
        () = shared.shutdown.cancelled() => {}
        () = keep_answering(&shared) => {}
    }
}

async fn keep_answering(shared: &Shared) {
    loop {
        shared.looks.arrived.notified().await;
        loop {
            let batch = shared.looks.take();
            if batch.is_empty() {
                break;
            }
            let job_ids: Vec<_> = batch.iter().map(|r| r.job_id.clone()).collect();
            match positions(shared, &job_ids).await {
                Ok(positions) => {
                    for (request, position) in batch.into_iter().zip(positions) {
                        // It may have gone meanwhile.
                        request.answer.send(position.is_none()).ok();
                    }
                }
                // Each of them reads its log by itself, and tries again for as long as it takes.
                Err(error) => tracing::debug!(%error, "many jobs could not be looked for at once"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_have_gone_take_no_room() {
        let looks = Looks::default();
        let mut waiting = Vec::new();
        for round in 0..1000 {
            let mut requests = Vec::new();
            for n in 0..100 {
                let job_id = JobId::parse(&format!("j{round}-{n}")).expect("an id");
                let (request, look) = Request::new(job_id);
                requests.push(request);
                // Of each hundred one stays.
                if n == 0 {
                    waiting.push(look);
                }
            }
            looks.request(requests);
        }
        let queued = looks.waiting.lock().len();
        assert!(queued < 5000, "{queued}");
        assert_eq!(looks.take().len(), MAX_POSITIONS);
        assert_eq!(looks.take().len(), waiting.len() - MAX_POSITIONS);
        assert!(looks.take().is_empty());
    }
}
