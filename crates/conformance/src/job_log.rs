//! The laws of [`JobLog`](conch_ports::EventBus).

mod announcing;
mod appending;
mod bounds;
mod fencing;
mod latest;
mod reading;
mod reopening;
mod telling_time;
mod together;

pub use announcing::{announce_follows_append, effects_belong_to_the_append, shared_means_shared};
pub use appending::{
    append_is_compare_and_set, event_id_is_appended_once, nothing_follows_the_end,
    replacing_begins_an_epoch, sequences_have_no_gaps, what_may_have_lost_begins_anew,
};
pub use bounds::{a_full_log_is_trimmed, external_bytes_are_bounded, external_logs_are_bounded};
pub use fencing::fence_is_checked_in_the_step;
pub use latest::an_append_changes_its_buckets_stamp;
pub use reading::{
    a_lost_log_is_absent, positions_are_those_of_reads, read_is_one_moment, the_base_joins_on,
};
pub use reopening::an_external_job_goes_on;
pub use telling_time::now_is_the_lease_clock;
pub use together::a_commit_is_one_step;
