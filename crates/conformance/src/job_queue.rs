//! The laws of [`JobQueue`](conch_ports::JobQueue).

mod claiming;
mod fairness;
mod leasing;
mod lost;
mod restoring;
mod submitting;

use conch_ports::Paging;

use crate::StoreSubject;

pub use claiming::{attempts_count_up, one_holder, requeued_not_before_its_time};
pub use fairness::{
    age_within_a_priority, claims_rotate_over_clients, not_before_it_is_due,
    places_are_those_of_claims, priority_within_a_client, requeued_keeps_its_priority,
    who_comes_back_queues_up,
};
pub use leasing::{
    claims_bring_the_fold, lease_runs_out, renewal_needs_the_lease, waiting_jobs_never_expire,
};
pub use lost::{broken_keys_block_no_other_job, claims_are_answered_again, lost_places_are_found};
pub use restoring::{restore_only_from_nothing, restore_replaces_external_logs};
pub use submitting::{
    quotas_refuse_before_anything_changes, recall_asks_for_the_key_alone, same_key_same_job,
    submission_is_one_step,
};

const ALL: Paging = Paging {
    page: 1,
    page_size: 100,
};

async fn records(subject: &dyn StoreSubject) -> u64 {
    let jobs = subject
        .catalogue()
        .jobs(&conch_ports::JobFilter::default(), ALL)
        .await;
    jobs.unwrap().total
}
