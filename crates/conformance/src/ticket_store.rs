//! The laws of [`TicketStore`](conch_ports::TicketStore).

use std::time::Duration;

use conch_domain::{Caller, Clients, Grant, Identity, Opens, Scope, StreamDigest, Timestamp};
use conch_ports::{ErrorKind, Result, TicketHash};

use crate::{Outcome, StoreSubject, build};

/// Longer than any law takes.
const LONG: Duration = Duration::from_mins(1);

fn hash(n: u8) -> TicketHash {
    TicketHash::new([n; 32])
}

/// What that caller got a ticket for.
fn grant(subject: &str, opens: Opens) -> Grant {
    let identity = Identity {
        issuer: "https://issuer.example".to_owned(),
        subject: subject.to_owned(),
    };
    let clients = Clients::only([build::client_id(), build::client_id()]).unwrap();
    let scopes = [Scope::EventsRead].into_iter().collect();
    let ends_at = Timestamp::from_micros(1_900_000_000_000_001);
    Grant {
        caller: Caller::new(identity, clients, scopes, ends_at),
        opens,
        fresh_until: Timestamp::from_micros(1_800_000_000_000_001),
        bound_to: None,
    }
}

fn is_refused(answer: Result<()>) -> bool {
    answer.is_err_and(|e| e.kind() == ErrorKind::QuotaExceeded)
}

/// A grant comes back whole each time, and to its own hash alone.
pub async fn opens_again_and_again(subject: &dyn StoreSubject) {
    let tickets = subject.tickets();
    let one = grant("a \"quoted\" one\n", Opens::Job(build::job_id()));
    let many = grant("another", Opens::ManyJobs);
    assert_eq!(tickets.get(hash(1)).await.unwrap(), None);
    tickets.put(hash(1), &one, LONG).await.unwrap();
    tickets.put(hash(2), &many, LONG).await.unwrap();
    for time in ["asked", "asked again", "asked once more"] {
        for (n, expected) in [(1, &one), (2, &many)] {
            let found = tickets.get(hash(n)).await.unwrap();
            assert_eq!(found.as_ref(), Some(expected), "another hash, or {time}");
        }
    }
    assert_eq!(tickets.get(hash(3)).await.unwrap(), None, "another hash");
}

/// A grant is gone after its time, asked for or not, and what it took is free again.
pub async fn a_ticket_ends(subject: &dyn StoreSubject) {
    let tickets = subject.tickets();
    let limits = subject.limits();
    let grant = grant("a", Opens::ManyJobs);
    let short = Duration::from_secs(1);
    for n in 0..limits.tickets_per_caller as u8 {
        tickets.put(hash(n), &grant, short).await.unwrap();
    }
    assert!(tickets.get(hash(0)).await.unwrap().is_some());
    subject.advance(short + Duration::from_millis(50)).await;
    for n in 0..limits.tickets_per_caller as u8 {
        let found = tickets.get(hash(n)).await.unwrap();
        assert_eq!(found, None, "a ticket outlived its time");
    }
    for n in 100..100 + limits.tickets_per_caller as u8 {
        let put = tickets.put(hash(n), &grant, short).await;
        put.expect("a ticket that has ended takes no place");
    }
}

/// A caller's bound holds for one caller, and refusing changes nothing.
pub async fn tickets_are_bounded_per_caller(subject: &dyn StoreSubject) {
    let tickets = subject.tickets();
    let limits = subject.limits();
    let greedy = grant("greedy", Opens::ManyJobs);
    for n in 0..limits.tickets_per_caller as u8 {
        tickets.put(hash(n), &greedy, LONG).await.unwrap();
    }
    let refused = tickets.put(hash(200), &greedy, LONG).await;
    assert!(is_refused(refused), "the caller's bound is not kept");
    assert_eq!(tickets.get(hash(200)).await.unwrap(), None);
    for n in 0..limits.tickets_per_caller as u8 {
        assert!(tickets.get(hash(n)).await.unwrap().is_some());
    }
    let other = grant("modest", Opens::ManyJobs);
    tickets.put(hash(201), &other, LONG).await.unwrap();
    // The same subject of another issuer is another caller.
    let identity = Identity {
        issuer: "https://elsewhere.example".to_owned(),
        subject: "greedy".to_owned(),
    };
    let namesake = Grant {
        caller: Caller::new(
            identity,
            Clients::ALL,
            greedy.caller.scopes(),
            Timestamp::from_micros(1_900_000_000_000_000),
        ),
        opens: Opens::ManyJobs,
        fresh_until: Timestamp::from_micros(1_800_000_000_000_000),
        bound_to: None,
    };
    tickets.put(hash(202), &namesake, LONG).await.unwrap();
}

/// The bound in total holds, however many callers there are.
pub async fn tickets_are_bounded_in_total(subject: &dyn StoreSubject) {
    let tickets = subject.tickets();
    let limits = subject.limits();
    for n in 0..limits.tickets as u8 {
        let grant = grant(&format!("caller {n}"), Opens::ManyJobs);
        tickets.put(hash(n), &grant, LONG).await.unwrap();
    }
    let late = grant("late", Opens::ManyJobs);
    let refused = tickets.put(hash(200), &late, LONG).await;
    assert!(is_refused(refused), "the bound in total is not kept");
    assert_eq!(tickets.get(hash(200)).await.unwrap(), None);
}

/// The same grant, bound to a stream.
fn bound(grant: &Grant, stream: u8) -> Grant {
    Grant {
        bound_to: Some(StreamDigest([stream; 32])),
        ..grant.clone()
    }
}

/// A ticket is bound once, to what it opened first, and then lives as long as it was bound for.
pub async fn a_bound_ticket_lives_on(subject: &dyn StoreSubject) {
    let tickets = subject.tickets();
    let grant = grant("a", Opens::Job(build::job_id()));
    let first = bound(&grant, 1);
    let short = Duration::from_secs(1);
    let absent = tickets.bind(hash(1), &first, LONG).await.unwrap();
    assert!(!absent, "there is no such ticket");
    assert_eq!(tickets.get(hash(1)).await.unwrap(), None);
    for n in [1, 2] {
        tickets.put(hash(n), &grant, short).await.unwrap();
    }
    assert!(tickets.bind(hash(1), &first, LONG).await.unwrap());
    let again = tickets
        .bind(hash(1), &bound(&grant, 2), LONG)
        .await
        .unwrap();
    assert!(!again, "it was bound twice");
    subject.advance(short + Duration::from_millis(50)).await;
    let found = tickets.get(hash(1)).await.unwrap();
    assert_eq!(found, Some(first.clone()), "a bound ticket lives on");
    assert_eq!(tickets.get(hash(2)).await.unwrap(), None);
    let late = tickets.bind(hash(2), &first, LONG).await.unwrap();
    assert!(!late, "it had ended");
    assert_eq!(tickets.get(hash(2)).await.unwrap(), None);
}

/// Bound tickets have room of their own; a caller's next one takes the place of the one that ends first.
pub async fn bound_tickets_are_counted_apart(subject: &dyn StoreSubject) {
    let tickets = subject.tickets();
    let limits = subject.limits();
    let most = limits.tickets_per_caller as u8;
    let grant = grant("a", Opens::ManyJobs);
    let bind = async |n: u8, grant: &Grant| {
        tickets
            .put(hash(n), grant, LONG)
            .await
            .expect("bound tickets take no room of others");
        let lifetime = LONG + Duration::from_secs(u64::from(n));
        tickets
            .bind(hash(n), &bound(grant, n), lifetime)
            .await
            .unwrap()
    };
    for n in 0..=most {
        assert!(
            bind(n, &grant).await,
            "there is always room for a caller's latest"
        );
    }
    let first = tickets.get(hash(0)).await.unwrap();
    assert_eq!(first, None, "the one that ends first makes room");
    for n in 1..=most {
        assert!(tickets.get(hash(n)).await.unwrap().is_some(), "{n}");
    }
    let others: Vec<u8> = (0..limits.tickets as u8 - most).map(|n| 50 + n).collect();
    for n in &others {
        let other = self::grant(&format!("caller {n}"), Opens::ManyJobs);
        assert!(bind(*n, &other).await);
    }
    let late = self::grant("late", Opens::ManyJobs);
    assert!(
        !bind(100, &late).await,
        "the bound in total is not kept for bound tickets"
    );
    assert_eq!(
        tickets.get(hash(100)).await.unwrap(),
        Some(late),
        "it is as it was"
    );
}

/// A bound ticket that is cut short ends then; one that ends sooner doesn't last longer for it.
pub async fn a_ticket_can_be_cut_short(subject: &dyn StoreSubject) {
    let tickets = subject.tickets();
    let grant = grant("a", Opens::Job(build::job_id()));
    let (one, two) = (bound(&grant, 1), bound(&grant, 2));
    let short = Duration::from_secs(1);
    for (n, grant, lifetime) in [(1, &one, LONG), (2, &two, short)] {
        tickets.put(hash(n), grant, LONG).await.unwrap();
        assert!(tickets.bind(hash(n), grant, lifetime).await.unwrap());
    }
    tickets.shorten(hash(1), &one, short).await.unwrap();
    tickets.shorten(hash(2), &two, LONG).await.unwrap();
    tickets.shorten(hash(3), &two, LONG).await.unwrap();
    assert_eq!(tickets.get(hash(1)).await.unwrap(), Some(one));
    subject.advance(short + Duration::from_millis(50)).await;
    for n in [1, 2, 3] {
        let found = tickets.get(hash(n)).await.unwrap();
        assert_eq!(found, None, "{n} outlived its time");
    }
}

/// What one process stored, another finds, and the bounds are the same ones.
pub async fn tickets_open_elsewhere(subject: &dyn StoreSubject) -> Outcome {
    let shared = subject.log().guarantees().shared;
    let elsewhere = subject.tickets_elsewhere();
    assert_eq!(shared, elsewhere.is_some(), "the declaration is wrong");
    let Some(elsewhere) = elsewhere else {
        return Outcome::Skipped;
    };
    let here = subject.tickets();
    let grant = grant("a", Opens::Job(build::job_id()));
    here.put(hash(1), &grant, LONG).await.unwrap();
    assert_eq!(elsewhere.get(hash(1)).await.unwrap(), Some(grant.clone()));
    for n in 2..=subject.limits().tickets_per_caller as u8 {
        elsewhere.put(hash(n), &grant, LONG).await.unwrap();
    }
    assert!(is_refused(here.put(hash(100), &grant, LONG).await));
    Outcome::Held
}
