//! Every law of the store ports as a test that any adapter runs.
//!
//! The doc comments of [`JobLog`](conch_ports::JobLog), [`EventBus`](conch_ports::EventBus),
//! [`ResultCache`](conch_ports::ResultCache),
//! [`JobQueue`](conch_ports::JobQueue), [`Catalogue`](conch_ports::Catalogue) and
//! [`TicketStore`](conch_ports::TicketStore) state laws; here is one function of the same name for each. A law panics when it is broken.
//!
//! # Running it against an adapter
//! In the adapter's `tests/conformance.rs`, with `conch-conformance`, `tokio` (`macros`, `rt`) and
//! `async-trait` among the `dev-dependencies`:
//!
//! ```ignore
//! struct OnRedis { /* a server of its own, or a prefix of its own, and the adapters on it */ }
//!
//! #[async_trait::async_trait]
//! impl conch_conformance::StoreSubject for OnRedis { /* … */ }
//!
//! #[async_trait::async_trait]
//! impl conch_conformance::BusSubject for OnRedis { /* … */ }
//!
//! /// Called once per law: each gets a fresh, empty store.
//! async fn fresh() -> OnRedis { /* … */ }
//!
//! conch_conformance::store_conformance! { #[tokio::test(flavor = "multi_thread")] fresh }
//! conch_conformance::bus_conformance! { #[tokio::test(flavor = "multi_thread")] fresh }
//! ```
//!
//! A store and a bus are two subjects, since either may come without the other. That is one test per law, named
//! `job_log::append_is_compare_and_set` and so on. The attribute is the adapter's: a store on tokio's clock takes
//! `#[tokio::test(start_paused = true)]` and moves time in [`StoreSubject::advance`]; a server waits there. Build
//! the store with bounds as [`Limits`] says, so that waiting stays short. What keeps it alive (a process, a
//! directory) belongs into the subject, which is dropped when its law has ended.
//!
//! [`STORE_LAWS`] and [`BUS_LAWS`] list the same functions by name, for proving that a planted fault is found.
//!
//! Never in here: the name of a technology, a sleep but between two questions (time passes in
//! [`StoreSubject::advance`] alone).

// This crate is test code that happens to be a library: a broken law panics.
#![allow(clippy::unwrap_used)]

pub mod build;
pub mod catalogue;
pub mod event_bus;
pub mod job_log;
pub mod job_queue;
mod observe;
pub mod result_cache;
mod subject;
pub mod ticket_store;

use futures::future::BoxFuture;

pub use subject::{BusSubject, Cannot, ForeignBlob, Limits, Loss, Outcome, StoreSubject};

/// One law of a port of such a subject.
pub struct Law<S: ?Sized> {
    /// The port's module: `job_log`, `result_cache`, `job_queue`, `catalogue`, `ticket_store`; `event_bus`.
    pub port: &'static str,
    /// Its name in the port's docs.
    pub name: &'static str,
    /// Checks it; panics when it is broken.
    pub check: for<'a> fn(&'a S) -> BoxFuture<'a, Outcome>,
}

/// Hands the list of all laws of a bus to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! with_bus_laws {
    ($callback:path, $($context:tt)*) => {
        $callback! {
            [$($context)*]
            event_bus [
                subscription_starts_with_gap
                an_interruption_is_a_gap
                a_flood_is_heard_or_owed
                announced_is_heard
                long_lines_arrive_short
                ephemeral_where_declared
                announcements_keep_their_order
                external_bytes_arrive_untouched
                channels_stay_apart
                outages_are_told
                announcing_is_bounded
                ping_tells
                others_hear
            ]
        }
    };
}

/// Hands the list of all laws of a store, by port, to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! with_store_laws {
    ($callback:path, $($context:tt)*) => {
        $callback! {
            [$($context)*]
            job_log [
                append_is_compare_and_set
                a_commit_is_one_step
                sequences_have_no_gaps
                event_id_is_appended_once
                nothing_follows_the_end
                an_external_job_goes_on
                fence_is_checked_in_the_step
                announce_follows_append
                read_is_one_moment
                the_base_joins_on
                a_lost_log_is_absent
                positions_are_those_of_reads
                an_append_changes_its_buckets_stamp
                replacing_begins_an_epoch
                what_may_have_lost_begins_anew
                external_logs_are_bounded
                external_bytes_are_bounded
                a_full_log_is_trimmed
                effects_belong_to_the_append
                now_is_the_lease_clock
                shared_means_shared
            ]
            result_cache [
                gives_back_what_was_put
                results_expire
                foreign_blobs_are_only_bytes
                commit_caches_the_result
            ]
            job_queue [
                submission_is_one_step
                same_key_same_job
                recall_asks_for_the_key_alone
                one_holder
                claims_are_answered_again
                claims_bring_the_fold
                claims_rotate_over_clients
                who_comes_back_queues_up
                priority_within_a_client
                age_within_a_priority
                not_before_it_is_due
                requeued_keeps_its_priority
                places_are_those_of_claims
                requeued_not_before_its_time
                lease_runs_out
                waiting_jobs_never_expire
                lost_places_are_found
                broken_keys_block_no_other_job
                renewal_needs_the_lease
                attempts_count_up
                quotas_refuse_before_anything_changes
                restore_only_from_nothing
                restore_replaces_external_logs
            ]
            catalogue [
                reads_what_was_written
                pages_are_newest_first
                filters_intersect
                value_propositions_need_their_client
                quotas_refuse_before_anything_changes
                job_records_follow_the_log
                templates_are_fenced
                one_template_per_place
            ]
            ticket_store [
                opens_again_and_again
                a_ticket_ends
                tickets_are_bounded_per_caller
                tickets_are_bounded_in_total
                a_bound_ticket_lives_on
                bound_tickets_are_counted_apart
                a_ticket_can_be_cut_short
                tickets_open_elsewhere
            ]
        }
    };
}

macro_rules! list {
    ([$(#[$doc:meta])* $name:ident $subject:ident] $($port:ident [ $($law:ident)* ])*) => {
        $(#[$doc])*
        pub const $name: &[Law<dyn $subject>] = &[$($(
            Law {
                port: stringify!($port),
                name: stringify!($law),
                check: |subject| Box::pin(async move { $port::$law(subject).await.into() }),
            },
        )*)*];
    };
}

with_bus_laws! { list,
    /// All laws of a bus, in the order of the port's docs.
    BUS_LAWS BusSubject
}

with_store_laws! { list,
    /// All laws of a store, in the order of the ports' docs.
    STORE_LAWS StoreSubject
}

/// Port and name of each law there is.
pub fn laws() -> impl Iterator<Item = (&'static str, &'static str)> {
    let bus = BUS_LAWS.iter().map(|law| (law.port, law.name));
    let store = STORE_LAWS.iter().map(|law| (law.port, law.name));
    store.chain(bus)
}

/// Says what became of a law, and holds the subject to what it says that it can't.
///
/// # Panics
/// When the law was skipped and the subject doesn't name it, or was run though the subject does, or when
/// the subject names a law that there isn't.
#[allow(
    clippy::print_stderr,
    reason = "a skipped law is to be seen in the test's output"
)]
pub fn settle(cannot: &[Cannot], law: &str, outcome: Outcome) {
    for Cannot { law, .. } in cannot {
        let known = laws().any(|known| law.split_once("::") == Some(known));
        assert!(known, "there is no law {law}");
    }
    match (outcome, cannot.iter().find(|cannot| cannot.law == law)) {
        (Outcome::Held, None) => {}
        (Outcome::Skipped, Some(cannot)) => eprintln!("SKIPPED {law}: {}", cannot.why),
        (Outcome::Skipped, None) => {
            panic!("{law} was skipped, and the subject's `cannot` doesn't name it")
        }
        (Outcome::Held, Some(_)) => panic!("{law} was run, and the subject's `cannot` names it"),
    }
}

/// One test per law of a store, each on a fresh subject; see the crate's docs.
#[macro_export]
macro_rules! store_conformance {
    ($(#[$test:meta])* $fresh:ident) => {
        $crate::with_store_laws! { $crate::conformance_tests, StoreSubject $(#[$test])* $fresh }
    };
}

/// One test per law of a bus, each on a fresh subject; see the crate's docs.
#[macro_export]
macro_rules! bus_conformance {
    ($(#[$test:meta])* $fresh:ident) => {
        $crate::with_bus_laws! { $crate::conformance_tests, BusSubject $(#[$test])* $fresh }
    };
}

/// Expands to the modules and tests of [`store_conformance!`] and [`bus_conformance!`].
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($context:tt $($port:ident [ $($law:ident)* ])*) => {
        $($crate::conformance_port! { $context $port [$($law)*] })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_port {
    ($context:tt $port:ident [ $($law:ident)* ]) => {
        mod $port {
            $($crate::conformance_test! { $context $port $law })*
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_test {
    ([$kind:ident $(#[$test:meta])* $fresh:ident] $port:ident $law:ident) => {
        $(#[$test])*
        async fn $law() {
            let subject = super::$fresh().await;
            let outcome: $crate::Outcome = $crate::$port::$law(&subject).await.into();
            let law = concat!(stringify!($port), "::", stringify!($law));
            $crate::settle($crate::$kind::cannot(&subject), law, outcome);
        }
    };
}
