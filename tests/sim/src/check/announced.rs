//! What a process knows to be in a log that announces nothing by itself, it announces: at once, or, of a
//! submission, after a look at where the log stands. The position check would hide that it doesn't. (Law 1.)

use super::Court;
use crate::history::{Change, Fault, Millis, Record, What};
use crate::process::Role;

/// How long a look takes, if nothing is in its way.
const A_LOOK: Millis = 1500;

pub(crate) fn judge(court: &mut Court<'_>) {
    let mut found = Vec::new();
    let end = court.records.last().map_or(0, |record| record.at);
    for (n, record) in court.records.iter().enumerate() {
        let What::Owed {
            by,
            job,
            place,
            at_once,
        } = &record.what
        else {
            continue;
        };
        let is_it = |next: &&Record| {
            matches!(&next.what, What::Announced { by: who, job: whose, place: at }
                if who == by && whose == job && at == place)
        };
        let later = &court.records[n + 1..];
        let by_then = || {
            later
                .iter()
                .take_while(|next| next.at <= record.at + A_LOOK)
        };
        let is_announced = if *at_once {
            later.first().as_ref().is_some_and(is_it)
        } else {
            by_then().any(|next| is_it(&next) || excuses(next, *by, job))
                || end <= record.at + A_LOOK
        };
        if !is_announced {
            found.push((record.at, format!("{by:?} doesn't announce {job} {place}")));
        }
    }
    for (at, what) in found {
        court.blame("announced", at, what);
    }
}

/// Whether something was in the way of a look.
fn excuses(record: &Record, by: Role, job: &str) -> bool {
    match &record.what {
        What::Disturbed { who } | What::Fault(Fault::Crashed(who) | Fault::Drained(who)) => {
            *who == by
        }
        What::Fault(Fault::Unreachable(_) | Fault::Stood) => true,
        // It stands elsewhere than it did.
        What::Log { job: of, change } => {
            of == job
                && matches!(
                    change,
                    Change::Began { .. } | Change::Shrank { .. } | Change::Gone
                )
        }
        _ => false,
    }
}
