//! Proves the conformance suite: an adapter with a planted fault breaks the law that forbids it.

mod broken;
#[path = "../subject/mod.rs"]
mod subject;

use std::panic::AssertUnwindSafe;

use conch_conformance::{BUS_LAWS, Outcome, STORE_LAWS, laws};
use futures::FutureExt;

use broken::Broken;

/// What is wrong with an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// None: the wrapper itself breaks nothing.
    Honest,
    AnnounceBeforeAppend,
    AnnounceOtherBytes,
    AnnounceFenced,
    LoseOrder,
    AnnouncesElsewhere,
    AnnounceNothing,
    /// Half of the line.
    AnnounceCut,
    AnnounceOutOfTurn,
    DropLongLines,
    EphemeralOnPublic,
    /// While there is no server, announcing says that it was done.
    OutageInSilence,
    /// While there is no server, ping says that there is one.
    AnswersFromNowhere,
    /// While the server hangs, announcing waits for it.
    WaitForTheServer,
    /// While the server hangs, ping says that it answers.
    AnswersForWhatHangs,
    /// What other programs send comes as ours where it looks like ours.
    OwnFromPublic,
    BeginInSilence,
    DropWhatIsNoEvent,
    NowOfAnotherClock,
    LapseInSilence,
    OverflowInSilence,
    ForgetHeldFence,
    ForgetExpiredFence,
    ForgetForeignFence,
    AppendAnywhere,
    AppendDuplicates,
    FenceBeforeEventId,
    AppendAfterTheEnd,
    /// The middle one of a commit's events isn't appended.
    AppendAllButOne,
    /// Each event is a step of its own.
    AppendOneByOne,
    AnnounceOnlyTheLast,
    KeepTheOldResult,
    RenumberOnRead,
    TrimTheState,
    EmptyLogForNone,
    PassOverAbsentLogs,
    /// A bucket's stamp stays the first one.
    KeepStamps,
    ReplaceAnyLog,
    GoOnAfterALoss,
    LoseTheBase,
    KeepQueueEntry,
    CacheNothing,
    CacheForEver,
    CacheOnlyJson,
    LoseAField,
    LoseCatalogueRecord,
    ClaimForTwo,
    ClaimNewestFirst,
    /// All jobs are one client's.
    OneTurnForAll,
    /// The job of a client that comes back is given out first.
    ReturnAtTheHead,
    ForgetPriority,
    DueAtOnce,
    RequeuedGoLast,
    PlacesByAge,
    PlacesForAll,
    ClaimAnotherWhenAskedAgain,
    ClaimsBringTheFirstFold,
    FindNothing,
    RenewOnlyWhatIsListed,
    BrokenEntryStopsClaims,
    RequeueAtOnce,
    LeaseNeverExpires,
    ForgetWhoHasNoLog,
    RenewAnything,
    AttemptsStay,
    RestoreAlways,
    RestoreRespectsExternalLogs,
    IgnoreQuotas,
    MuteFullLogs,
    WriteBeforeTheQuota,
    ForgetKeys,
    RecallNothing,
    RefuseResubmission,
    IgnoreFilters,
    PagesRepeat,
    AdoptOrphans,
    TemplatesUnfenced,
    ReplaceTemplates,
    /// A commit that has templates is taken, whoever it is from.
    TemplatesOfAnyCommit,
    /// A commit is taken without the templates whose places are taken.
    DropTakenTemplates,
    /// A commit's templates are there before its events, and stay.
    TemplatesBeforeTheCommit,
    ForgetTemplatesOfCommits,
    ClaimsToBeShared,
    OpenOnce,
    /// `bind` says that it did, and does nothing.
    BindNothing,
    /// `bind` says that it did, whether it did or not.
    BindWhereThereIsNoRoom,
    /// `shorten` does nothing.
    NeverCutShort,
    OpenToAnyHash,
    OpenForEver,
    StoreAnyTicket,
}

/// Every fault with the law that must find it, as `port::law`, and what that says.
const FOUND_BY: &[(Fault, &str, &str)] = &[
    (
        Fault::ClaimAnotherWhenAskedAgain,
        "job_queue::claims_are_answered_again",
        "a claim's token is its lease's",
    ),
    (
        Fault::ClaimsBringTheFirstFold,
        "job_queue::claims_bring_the_fold",
        "asked again",
    ),
    (
        Fault::FindNothing,
        "job_queue::lost_places_are_found",
        "of one that",
    ),
    (
        Fault::RenewOnlyWhatIsListed,
        "job_queue::lost_places_are_found",
        "its worker renews",
    ),
    (
        Fault::BrokenEntryStopsClaims,
        "job_queue::broken_keys_block_no_other_job",
        "holds up the next job",
    ),
    (
        Fault::AnnounceBeforeAppend,
        "job_log::announce_follows_append",
        "before it was appended",
    ),
    (
        Fault::AnnounceOtherBytes,
        "job_log::announce_follows_append",
        "other bytes were announced",
    ),
    (
        Fault::AnnounceFenced,
        "job_log::announce_follows_append",
        "a fenced event was announced",
    ),
    (
        Fault::LoseOrder,
        "job_log::announce_follows_append",
        "heard in this order",
    ),
    (
        Fault::AnnouncesElsewhere,
        "job_log::announce_follows_append",
        "the declaration is wrong",
    ),
    (
        Fault::AnnounceNothing,
        "event_bus::announced_is_heard",
        "an announcement didn't come",
    ),
    (
        Fault::AnnounceCut,
        "event_bus::announced_is_heard",
        "an announcement didn't come",
    ),
    (
        Fault::AnnounceOutOfTurn,
        "event_bus::announcements_keep_their_order",
        "heard in this order",
    ),
    (
        Fault::DropLongLines,
        "event_bus::long_lines_arrive_short",
        "the long one wasn't heard",
    ),
    (
        Fault::EphemeralOnPublic,
        "event_bus::ephemeral_where_declared",
        "Public",
    ),
    (
        Fault::OutageInSilence,
        "event_bus::outages_are_told",
        "that nothing can be announced didn't come",
    ),
    (
        Fault::AnswersFromNowhere,
        "event_bus::outages_are_told",
        "that nothing answers didn't come",
    ),
    (
        Fault::WaitForTheServer,
        "event_bus::announcing_is_bounded",
        "while the backend hangs didn't come",
    ),
    (
        Fault::AnswersForWhatHangs,
        "event_bus::ping_tells",
        "is said to answer",
    ),
    (
        Fault::OwnFromPublic,
        "event_bus::channels_stay_apart",
        "Own",
    ),
    (
        Fault::ClaimsToBeShared,
        "event_bus::others_hear",
        "the declaration is wrong",
    ),
    (
        Fault::BeginInSilence,
        "event_bus::subscription_starts_with_gap",
        "the first signal didn't come",
    ),
    (
        Fault::DropWhatIsNoEvent,
        "event_bus::external_bytes_arrive_untouched",
        "what was sent didn't come",
    ),
    (
        Fault::NowOfAnotherClock,
        "job_log::now_is_the_lease_clock",
        "expired at",
    ),
    (
        Fault::LapseInSilence,
        "event_bus::an_interruption_is_a_gap",
        "a gap after an interruption",
    ),
    (
        Fault::OverflowInSilence,
        "event_bus::a_flood_is_heard_or_owed",
        "lost in silence",
    ),
    (
        Fault::ForgetHeldFence,
        "job_log::fence_is_checked_in_the_step",
        "Held(",
    ),
    (
        Fault::ForgetExpiredFence,
        "job_log::fence_is_checked_in_the_step",
        "Expired(",
    ),
    (
        Fault::ForgetForeignFence,
        "job_log::fence_is_checked_in_the_step",
        "Foreign with",
    ),
    (
        Fault::AppendAnywhere,
        "job_log::append_is_compare_and_set",
        "a place left out",
    ),
    (
        Fault::AppendDuplicates,
        "job_log::event_id_is_appended_once",
        "[Appended, Appended",
    ),
    (
        Fault::FenceBeforeEventId,
        "job_log::event_id_is_appended_once",
        "fence before id",
    ),
    (
        Fault::AppendAfterTheEnd,
        "job_log::nothing_follows_the_end",
        "the next place",
    ),
    (
        Fault::KeepTheOldResult,
        "job_log::an_external_job_goes_on",
        "the result of the old end",
    ),
    (
        Fault::AppendAllButOne,
        "job_log::a_commit_is_one_step",
        "an event of a commit is missing",
    ),
    (
        Fault::AppendOneByOne,
        "job_log::a_commit_is_one_step",
        "its first place is taken",
    ),
    (
        Fault::AnnounceOnlyTheLast,
        "job_log::a_commit_is_one_step",
        "each event is announced",
    ),
    (
        Fault::RenumberOnRead,
        "job_log::sequences_have_no_gaps",
        "not what was appended",
    ),
    (
        Fault::TrimTheState,
        "job_log::read_is_one_moment",
        "the state isn't the fold",
    ),
    (
        Fault::EmptyLogForNone,
        "job_log::a_lost_log_is_absent",
        "is_none()",
    ),
    (
        Fault::KeepStamps,
        "job_log::an_append_changes_its_buckets_stamp",
        "the stamp of an earlier commit",
    ),
    (
        Fault::PassOverAbsentLogs,
        "job_log::positions_are_those_of_reads",
        "not what reads say",
    ),
    (
        Fault::ReplaceAnyLog,
        "job_log::replacing_begins_an_epoch",
        "replaces Some",
    ),
    (
        Fault::GoOnAfterALoss,
        "job_log::what_may_have_lost_begins_anew",
        "Doubtful",
    ),
    (
        Fault::LoseTheBase,
        "job_log::the_base_joins_on",
        "the log began in mid-life",
    ),
    (
        Fault::KeepQueueEntry,
        "job_log::effects_belong_to_the_append",
        "the lease has ended",
    ),
    (
        Fault::ClaimsToBeShared,
        "job_log::shared_means_shared",
        "the declaration is wrong",
    ),
    (
        Fault::CacheNothing,
        "result_cache::commit_caches_the_result",
        "left: None",
    ),
    (
        Fault::CacheNothing,
        "result_cache::gives_back_what_was_put",
        "left: None",
    ),
    (
        Fault::CacheForEver,
        "result_cache::results_expire",
        "outlived its time",
    ),
    (
        Fault::CacheOnlyJson,
        "result_cache::foreign_blobs_are_only_bytes",
        "left: None",
    ),
    (
        Fault::LoseAField,
        "catalogue::reads_what_was_written",
        "meta_data",
    ),
    (
        Fault::LoseCatalogueRecord,
        "catalogue::job_records_follow_the_log",
        "left: None",
    ),
    (
        Fault::ClaimForTwo,
        "job_queue::one_holder",
        "claimed twice or never",
    ),
    (
        Fault::OneTurnForAll,
        "job_queue::claims_rotate_over_clients",
        "the first round",
    ),
    (
        Fault::ReturnAtTheHead,
        "job_queue::who_comes_back_queues_up",
        "who waited when it came back",
    ),
    (
        Fault::ForgetPriority,
        "job_queue::priority_within_a_client",
        "9 first",
    ),
    (
        Fault::OneTurnForAll,
        "job_queue::priority_within_a_client",
        "the other client's turn",
    ),
    (
        Fault::ClaimNewestFirst,
        "job_queue::age_within_a_priority",
        "the oldest",
    ),
    (
        Fault::DueAtOnce,
        "job_queue::not_before_it_is_due",
        "claimed before its time",
    ),
    (
        Fault::RequeuedGoLast,
        "job_queue::requeued_keeps_its_priority",
        "requeued at once",
    ),
    (
        Fault::PlacesByAge,
        "job_queue::places_are_those_of_claims",
        "another one was next",
    ),
    (
        Fault::PlacesForAll,
        "job_queue::places_are_those_of_claims",
        "held, not due, ended, unknown",
    ),
    (
        Fault::RequeueAtOnce,
        "job_queue::requeued_not_before_its_time",
        "claimed before its time",
    ),
    (
        Fault::LeaseNeverExpires,
        "job_queue::lease_runs_out",
        "oldest first",
    ),
    (
        Fault::ForgetWhoHasNoLog,
        "job_queue::waiting_jobs_never_expire",
        "who waits is claimed",
    ),
    (
        Fault::RenewAnything,
        "job_queue::renewal_needs_the_lease",
        "another token",
    ),
    (
        Fault::AttemptsStay,
        "job_queue::attempts_count_up",
        "after Error",
    ),
    (
        Fault::RestoreAlways,
        "job_queue::restore_only_from_nothing",
        "it waits here",
    ),
    (
        Fault::RestoreRespectsExternalLogs,
        "job_queue::restore_replaces_external_logs",
        "kept it from its worker",
    ),
    (
        Fault::IgnoreQuotas,
        "job_queue::quotas_refuse_before_anything_changes",
        "one more than there may be",
    ),
    (
        Fault::WriteBeforeTheQuota,
        "job_queue::quotas_refuse_before_anything_changes",
        "left a log",
    ),
    (
        Fault::IgnoreQuotas,
        "job_log::external_logs_are_bounded",
        "one more log than there may be",
    ),
    (
        Fault::IgnoreQuotas,
        "job_log::external_bytes_are_bounded",
        "more bytes than there may be",
    ),
    (
        Fault::MuteFullLogs,
        "job_log::a_full_log_is_trimmed",
        "MAX_FOREIGN_JOB_KIB",
    ),
    (
        Fault::IgnoreQuotas,
        "job_log::a_full_log_is_trimmed",
        "bytes are kept at",
    ),
    (
        Fault::IgnoreQuotas,
        "catalogue::quotas_refuse_before_anything_changes",
        "one client more",
    ),
    (Fault::ForgetKeys, "job_queue::same_key_same_job", "New"),
    (
        Fault::RecallNothing,
        "job_queue::recall_asks_for_the_key_alone",
        "right: Some(Existing",
    ),
    (
        Fault::RefuseResubmission,
        "job_queue::submission_is_one_step",
        "a hidden success",
    ),
    (
        Fault::IgnoreFilters,
        "catalogue::filters_intersect",
        "pending",
    ),
    (
        Fault::PagesRepeat,
        "catalogue::pages_are_newest_first",
        "by pages of",
    ),
    (
        Fault::AdoptOrphans,
        "catalogue::value_propositions_need_their_client",
        "add_value_proposition",
    ),
    (
        Fault::TemplatesUnfenced,
        "catalogue::templates_are_fenced",
        "right: Fenced",
    ),
    (
        Fault::ReplaceTemplates,
        "catalogue::one_template_per_place",
        "right: Taken",
    ),
    (
        Fault::TemplatesOfAnyCommit,
        "catalogue::templates_are_fenced",
        "a stranger's template",
    ),
    (
        Fault::DropTakenTemplates,
        "catalogue::one_template_per_place",
        "two were kept at one place",
    ),
    (
        Fault::TemplatesBeforeTheCommit,
        "job_log::a_commit_is_one_step",
        "a template of a refused commit",
    ),
    (
        Fault::ForgetTemplatesOfCommits,
        "job_log::a_commit_is_one_step",
        "a commit's templates are kept",
    ),
    (
        Fault::OpenOnce,
        "ticket_store::opens_again_and_again",
        "asked again",
    ),
    (
        Fault::OpenToAnyHash,
        "ticket_store::opens_again_and_again",
        "another hash",
    ),
    (
        Fault::OpenForEver,
        "ticket_store::a_ticket_ends",
        "outlived its time",
    ),
    (
        Fault::StoreAnyTicket,
        "ticket_store::tickets_are_bounded_per_caller",
        "the caller's bound",
    ),
    (
        Fault::StoreAnyTicket,
        "ticket_store::tickets_are_bounded_in_total",
        "the bound in total",
    ),
    (
        Fault::BindNothing,
        "ticket_store::a_bound_ticket_lives_on",
        "it was bound twice",
    ),
    (
        Fault::BindWhereThereIsNoRoom,
        "ticket_store::bound_tickets_are_counted_apart",
        "the bound in total",
    ),
    (
        Fault::NeverCutShort,
        "ticket_store::a_ticket_can_be_cut_short",
        "outlived its time",
    ),
    (
        Fault::ClaimsToBeShared,
        "ticket_store::tickets_open_elsewhere",
        "the declaration is wrong",
    ),
];

/// Checks the law, `port::law`, of an adapter with the fault.
async fn check(law: &str, broken: &Broken) -> Outcome {
    let law = law.split_once("::").expect("port::law");
    let store = STORE_LAWS
        .iter()
        .find(|known| (known.port, known.name) == law);
    let bus = BUS_LAWS
        .iter()
        .find(|known| (known.port, known.name) == law);
    match (store, bus) {
        (Some(law), None) => (law.check)(broken).await,
        (None, Some(law)) => (law.check)(broken).await,
        _ => panic!("there is no law {law:?}, or there are two"),
    }
}

/// What the law says of an adapter with the fault; nothing when it holds.
async fn complaint(law: &str, fault: Fault) -> Option<String> {
    let broken = Broken::new(fault);
    let panic = AssertUnwindSafe(check(law, &broken))
        .catch_unwind()
        .await
        .err()?;
    Some(match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a panic says why")).to_owned(),
    })
}

#[tokio::test(start_paused = true)]
async fn every_planted_fault_breaks_its_law() {
    let mut missed = Vec::new();
    for (fault, law, says) in FOUND_BY {
        match complaint(law, *fault).await {
            Some(text) if text.contains(says) => {}
            other => missed.push((fault, law, says, other)),
        }
    }
    assert!(
        missed.is_empty(),
        "not found, or for another reason: {missed:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_wrapper_itself_breaks_no_law() {
    for (port, name) in laws() {
        let name = format!("{port}::{name}");
        assert_eq!(complaint(&name, Fault::Honest).await, None, "{name}");
    }
}

/// No law is unproven.
#[test]
fn every_law_has_a_fault_that_breaks_it() {
    let unproven: Vec<_> = laws()
        .map(|(port, name)| format!("{port}::{name}"))
        .filter(|law| !FOUND_BY.iter().any(|(_, by, _)| by == law))
        .collect();
    assert_eq!(unproven, Vec::<String>::new());
}
