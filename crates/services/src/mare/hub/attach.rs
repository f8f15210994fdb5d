//! How a stream begins: for whom, of what, from where on. What the caller may not know of is as absent.
//!
//! Never in here: what a stream says once it has begun.

use std::pin::Pin;
use std::sync::Arc;

use conch_domain::{Caller, Clients, JobId, Position};

use tokio::time::Sleep;

use super::follow::Paced;
use super::many::{ManyWatcher, NoStream};
use super::selection::{Selection, VisibleSelection};
use super::state::Phase;
use super::stream::Kind;
use super::topic::Topic;
use super::watcher::{Cursor, ENDED_ID, JobWatcher, LOST_ID};
use super::{Attached, Hub, Shared, reading};

impl Hub {
    /// [`Hub::watch_as`], for who may see every job.
    pub async fn watch(&self, job_id: &JobId, cursor: Option<&str>) -> Attached {
        self.watch_as(&Caller::unrestricted(), job_id, cursor).await
    }

    /// Attaches to one job. `cursor` is what the watcher says it has seen: `<epoch>-<sequence>`. A job
    /// that the caller may not know of is as absent, now and whenever it becomes known.
    ///
    /// Waits at most `attach_patience` for word of the job; if neither log nor Triton answers by
    /// then, the stream begins without. Cancel-safe.
    pub async fn watch_as(
        &self,
        caller: &Caller,
        job_id: &JobId,
        cursor: Option<&str>,
    ) -> Attached {
        let (shared, clients) = (&self.0, caller.clients());
        if cursor == Some(LOST_ID) {
            return Attached::Ended;
        }
        let cursor = match cursor {
            None => Cursor::Beginning,
            Some(ENDED_ID) => Cursor::Ended,
            Some(text) => text.parse::<Position>().map_or_else(
                // Only as much of a stranger's text as a cursor could have is kept.
                |_| Cursor::Unusable(text.chars().take(128).collect()),
                Cursor::After,
            ),
        };
        if shared.is_full() {
            return self.turn_away();
        }
        let place = match shared.callers.place(caller, std::slice::from_ref(job_id)) {
            Ok(place) => place,
            Err(too_many) => return self.turn_away_from_more(too_many),
        };
        let claimed = matches!(cursor, Cursor::After(_));
        let payer = place.as_ref().map(|place| Arc::clone(place.questions()));
        let Some(mut interest) = shared.interest(job_id, claimed, payer.as_ref(), None, Topic::new)
        else {
            return self.turn_away();
        };
        let patience = tokio::time::sleep(shared.settings.attach_patience);
        tokio::pin!(patience);
        let mut is_out_of_reach = false;
        if interest.topic().may_have_gone_on() {
            is_out_of_reach = !refreshed(shared, interest.topic(), patience.as_mut()).await;
        }
        loop {
            let word = tokio::select! {
                biased;
                word = interest.topic().wait_for(|topic| word_of(topic, &cursor, clients)) => word,
                () = &mut patience => break,
            };
            match word {
                Word::Known => break,
                // It may have gone on: a stream that closes without the 204 is asked for again.
                Word::AtTheEnd if is_out_of_reach => break,
                Word::AtTheEnd => return Attached::Ended,
                Word::Unknown => return Attached::Unknown,
                Word::Hidden => {
                    let Some(decoy) = shared.decoy(job_id, claimed, payer.as_ref(), None) else {
                        return self.turn_away();
                    };
                    interest = decoy;
                }
            }
        }
        if let Cursor::After(position) = cursor
            && !interest.topic().honours(position)
        {
            if !refreshed(shared, interest.topic(), patience.as_mut()).await {
                interest.topic().doubt();
            }
            let state = interest.topic().state();
            if matches!(state.phase_for(clients), Phase::Ended(_))
                && state.head() == Some(position)
                && !state.is_hidden_from(clients)
            {
                return Attached::Ended;
            }
        }
        let watcher = JobWatcher::new(Arc::clone(shared), interest, cursor, clients.clone());
        let paced = Paced::new(watcher);
        let due = shared.due(caller, paced.slot());
        Attached::Stream(shared.counted(Kind::Job(paced), due, place))
    }

    /// [`Hub::watch_many_as`], for who may see every job.
    pub async fn watch_many(&self, selection: Selection, cursor: Option<&str>) -> Attached {
        self.watch_many_as(&Caller::unrestricted(), selection, cursor)
            .await
    }

    /// Attaches to many jobs at once: states, not histories. `cursor` is `m-<milliseconds>`; what is
    /// no such thing counts as none. Of the selected jobs those that the caller may not know of are as
    /// absent. Cancel-safe.
    pub async fn watch_many_as(
        &self,
        caller: &Caller,
        selection: Selection,
        cursor: Option<&str>,
    ) -> Attached {
        let shared = &self.0;
        if shared.is_full() {
            return self.turn_away();
        }
        let place = match shared.callers.place(caller, &selection.job_ids) {
            Ok(place) => place,
            Err(too_many) => return self.turn_away_from_more(too_many),
        };
        let questions = place.as_ref().map(|place| Arc::clone(place.questions()));
        let selection = VisibleSelection::new(selection, caller.clients().clone());
        match ManyWatcher::attach(Arc::clone(shared), selection, cursor, questions).await {
            Ok(watcher) => {
                let paced = Paced::new(watcher);
                let due = shared.due(caller, paced.slot());
                Attached::Stream(shared.counted(Kind::Many(Box::new(paced)), due, place))
            }
            Err(NoStream::Ended) => Attached::Ended,
            Err(NoStream::Unknown) => Attached::Unknown,
            Err(NoStream::NoRoom) => self.turn_away(),
        }
    }
}

/// Whether the log could be read to its end within what is left of the patience.
async fn refreshed(shared: &Shared, topic: &Arc<Topic>, patience: Pin<&mut Sleep>) -> bool {
    tokio::select! {
        biased;
        refreshed = reading::refresh(shared, topic) => refreshed,
        () = patience => false,
    }
}

/// What is known of a job to one who attaches.
enum Word {
    /// Enough to begin the stream, or that nothing more will be.
    Known,
    /// The job has ended, and the cursor is there.
    AtTheEnd,
    /// There is no such job.
    Unknown,
    /// The job is none that the caller may know of.
    Hidden,
}

/// What is known of a job by now; none: not enough to answer.
fn word_of(topic: &Arc<Topic>, cursor: &Cursor, clients: &Clients) -> Option<Word> {
    let state = topic.state();
    if state.is_hidden_from(clients) {
        return Some(Word::Hidden);
    }
    if topic.is_broken_off() {
        return Some(Word::Known);
    }
    match (state.phase_for(clients), cursor) {
        (Phase::Ended(_), Cursor::After(at)) if Some(*at) == state.head() => Some(Word::AtTheEnd),
        // It was told of the end, however little is left of it.
        (Phase::Ended(_) | Phase::EndedWithoutLog(_) | Phase::Lost, Cursor::Ended) => {
            Some(Word::AtTheEnd)
        }
        (Phase::Live | Phase::Ended(_), cursor) if cursor.is_shelved(&state) => {
            drop(state);
            topic.unshelve();
            None
        }
        (Phase::Live | Phase::Ended(_) | Phase::EndedWithoutLog(_), _) => Some(Word::Known),
        // Well-formed, so the job did exist: wait for it on the stream.
        (Phase::Lost | Phase::Loading, Cursor::After(_)) => {
            state.absent.is_some().then_some(Word::Known)
        }
        (Phase::Lost, _) => Some(Word::Unknown),
        (Phase::Loading, cursor) => {
            let unknown = state.absent.is_some_and(|a| a.unknown_to_triton);
            unknown.then_some(match cursor {
                Cursor::Ended => Word::AtTheEnd,
                _ => Word::Unknown,
            })
        }
    }
}
