//! Triton's records as one caller sees them: lists, single records, submissions, tickets.

use std::sync::Arc;
use std::time::Duration;

use conch_domain::{
    Caller, Clients, Identity, Job, JobRecord, Opens, Scopes, TemplateId, Timestamp,
};
use conch_doubles::{FaultyMemory, ScriptedTriton};
use conch_memory::Settings;
use conch_ports::{ClientFilter, Document, ErrorKind, JobFilter, NewJob, Paging, TemplateFilter};
use conch_services::mare::access::{Access, NoPage, Submitted};
use conch_services::mare::submissions::SubmissionRate;
use conch_services::mare::tickets::Tickets;

use crate::world::{caller, client_id, clock, job_id};

const NEVER: Timestamp = Timestamp::from_micros(i64::MAX);

fn page(page: u32, page_size: u32) -> Paging {
    Paging { page, page_size }
}

/// Jobs j0, j1 … of clients a, b, c in turn, each a second newer than the one before.
fn triton(jobs: usize) -> (Arc<ScriptedTriton>, Access) {
    let triton = Arc::new(ScriptedTriton::new());
    for (i, client) in ["a", "b", "c"].into_iter().enumerate() {
        let text = format!(
            r#"{{"id":"{client}","industry":"{}","created_at":"2026-01-0{}T00:00:00Z"}}"#,
            if client == "b" { "other" } else { "health" },
            i + 1
        );
        triton.set_client(client_id(client), Document::from_json(text));
    }
    for i in 0..jobs {
        let client = ["a", "b", "c"][i % 3];
        let initial = Job::initial(
            job_id(&format!("j{i}")),
            "00000000".parse().expect("an epoch"),
            true,
        );
        let at = Timestamp::from_micros(1_800_000_000_000_000).plus_millis(i as i64 * 1000);
        triton.set_job(Job::restore(JobRecord {
            client_id: Some(client_id(client)),
            created_at: Some(at),
            ..(*initial).clone()
        }));
        let id: TemplateId = format!("t{i}").parse().expect("an id");
        let text = format!(
            r#"{{"id":"{id}","client_id":"{client}","created_at":"{}"}}"#,
            conch_wire::time::format(at)
        );
        triton.set_template(id, Document::from_json(text));
    }
    let access = Access::new(triton.clone(), SubmissionRate::unlimited());
    (triton, access)
}

async fn job_page(
    access: &Access,
    caller: &Caller,
    filter: &JobFilter,
    at: Paging,
) -> (u64, Vec<String>) {
    let page = access.jobs(caller, filter, at).await.expect("a page");
    let ids = page.items.iter().map(|job| job.id.to_string()).collect();
    (page.total, ids)
}

async fn template_page(access: &Access, caller: &Caller, at: Paging) -> (u64, Vec<String>) {
    let all = TemplateFilter::default();
    let page = access.templates(caller, &all, at).await.expect("a page");
    let ids = page.items.iter().map(|template| {
        conch_wire::document::look(template.as_json())
            .id
            .replace('t', "j")
    });
    (page.total, ids.collect())
}

#[tokio::test]
async fn pages_of_several_clients_are_merged_newest_first() {
    let (_, access) = triton(750);
    let ac = caller(&["a", "c"], NEVER);
    let expected: Vec<String> = (0..750)
        .rev()
        .filter(|i| i % 3 != 1)
        .map(|i| format!("j{i}"))
        .collect();
    let all = JobFilter::default();
    for size in [1, 7, 100] {
        for number in [1, 2, 5] {
            let at = page(number, size);
            let from = at.offset() as usize;
            let cut = expected[from..].iter().take(size as usize).cloned();
            let cut = (500, cut.collect::<Vec<_>>());
            assert_eq!(job_page(&access, &ac, &all, at).await, cut, "{at:?}");
            assert_eq!(template_page(&access, &ac, at).await, cut, "{at:?}");
        }
    }
    // Past the end, and past what is merged.
    let past = page(9, 100);
    assert_eq!(job_page(&access, &ac, &all, past).await, (500, Vec::new()));
    for too_deep in [page(11, 100), page(u32::MAX, 100), page(1001, 1)] {
        let answer = access.jobs(&ac, &all, too_deep).await;
        assert!(matches!(answer, Err(NoPage::TooDeep)), "{too_deep:?}");
    }
}

#[tokio::test]
async fn a_merged_page_asks_no_more_than_it_needs() {
    let (triton, access) = triton(750);
    let all = JobFilter::default();
    job_page(&access, &caller(&["a", "c"], NEVER), &all, page(1, 20)).await;
    assert_eq!(triton.calls("jobs"), 2);
    job_page(&access, &caller(&["a", "c"], NEVER), &all, page(5, 100)).await;
    // 500 records are looked through, 100 at a time, with one ahead in each list.
    assert!(
        triton.calls("jobs") <= 2 + 2 + 5,
        "{}",
        triton.calls("jobs")
    );
}

#[tokio::test]
async fn a_filter_by_a_foreign_client_is_one_by_an_absent_client() {
    let (triton, access) = triton(9);
    let of = |client: &str| JobFilter {
        client_id: Some(client_id(client)),
        ..JobFilter::default()
    };
    for clients in [&["a"][..], &["a", "c"], &[]] {
        let caller = caller(clients, NEVER);
        let before = triton.total_calls();
        let foreign = job_page(&access, &caller, &of("b"), page(1, 20)).await;
        let absent = job_page(&access, &caller, &of("nobody"), page(1, 20)).await;
        assert_eq!(foreign, absent);
        assert_eq!(foreign, (0, Vec::new()));
        assert_eq!(triton.total_calls(), before, "nobody is asked for either");
    }
    let own = job_page(&access, &caller(&["a"], NEVER), &of("a"), page(1, 2)).await;
    assert_eq!(own, (3, vec!["j6".to_owned(), "j3".to_owned()]));
    let unnamed = job_page(
        &access,
        &caller(&["a"], NEVER),
        &JobFilter::default(),
        page(1, 2),
    )
    .await;
    assert_eq!(own, unnamed);
    let nobody = job_page(
        &access,
        &caller(&[], NEVER),
        &JobFilter::default(),
        page(1, 2),
    )
    .await;
    assert_eq!(nobody, (0, Vec::new()));
    let everybody = job_page(
        &access,
        &Caller::unrestricted(),
        &JobFilter::default(),
        page(1, 2),
    )
    .await;
    assert_eq!(everybody, (9, vec!["j8".to_owned(), "j7".to_owned()]));
}

#[tokio::test]
async fn clients_are_those_of_the_caller() {
    let (triton, access) = triton(0);
    let list = async |clients: &[&str], industry: Option<&str>, at: Paging| {
        let filter = ClientFilter {
            industry: industry.map(str::to_owned),
        };
        let page = access
            .clients(&caller(clients, NEVER), &filter, at)
            .await
            .expect("a page");
        let ids: Vec<String> = page
            .items
            .iter()
            .map(|client| conch_wire::document::look(client.as_json()).id)
            .collect();
        (page.total, ids.join(" "))
    };
    let all = page(1, 20);
    for (clients, industry, at, expected) in [
        (&["a", "b", "c"][..], None, all, (3, "c b a")),
        (&["a", "b", "c"], None, page(2, 2), (3, "a")),
        (&["a", "b", "c"], Some("health"), all, (2, "c a")),
        (&["b"], Some("health"), all, (0, "")),
        (&["b", "nobody"], None, all, (1, "b")),
        (&[], None, all, (0, "")),
    ] {
        let (total, ids) = list(clients, industry, at).await;
        assert_eq!((total, ids.as_str()), expected, "{clients:?} {industry:?}");
    }
    let before = triton.total_calls();
    let only_a = caller(&["a"], NEVER);
    let body = Document::from_json(r#"{"name":"x"}"#);
    for id in ["b", "nobody"] {
        let id = client_id(id);
        let client = access.client(&only_a, &id).await;
        assert_eq!(client.expect("an answer"), None);
        let all = access.value_propositions(&only_a, &id).await;
        assert_eq!(all.expect("an answer"), None);
        let added = access.create_value_proposition(&only_a, &id, body.clone());
        assert_eq!(added.await.expect("an answer"), None);
        let new = NewJob {
            client_id: id,
            value_proposition_id: None,
            schedule: conch_domain::Schedule::default(),
            idempotency_key: None,
        };
        let submitted = access.submit(&only_a, new).await;
        assert_eq!(submitted.expect("an answer"), Submitted::NoClient);
    }
    let created = access.create_client(&only_a, body.clone()).await;
    assert_eq!(created.expect("an answer"), None);
    assert_eq!(triton.total_calls(), before, "nothing of it reaches Triton");
    assert!(triton.submitted().is_empty());
    let all_of_them = Caller::new(
        Identity::clone(only_a.identity().expect("it has one")),
        Clients::ALL,
        Scopes::all(),
        NEVER,
    );
    let created = access.create_client(&all_of_them, body).await;
    assert!(created.expect("an answer").is_some());
}

#[tokio::test]
async fn a_template_is_its_client_s() {
    let (triton, access) = triton(3);
    let nobody_s: TemplateId = "t9".parse().expect("an id");
    triton.set_template(nobody_s, Document::from_json(r#"{"id":"t9"}"#));
    for (clients, id, seen) in [
        (Some(&["a"][..]), "t0", true),
        (Some(&["a"]), "t1", false),
        (Some(&["a"]), "t9", false),
        (Some(&["a"]), "absent", false),
        (None, "t1", true),
        (None, "t9", true),
    ] {
        let caller = clients.map_or_else(Caller::unrestricted, |clients| caller(clients, NEVER));
        let before = triton.calls("template");
        let found = access.template(&caller, &id.parse().expect("an id")).await;
        assert_eq!(
            found.expect("an answer").is_some(),
            seen,
            "{clients:?} {id}"
        );
        assert_eq!(triton.calls("template"), before + 1, "whatever it is");
    }
}

#[tokio::test]
async fn an_idempotency_key_counts_for_its_caller() {
    let (triton, access) = triton(0);
    let submit = async |caller: &Caller| {
        let new = NewJob {
            client_id: client_id("a"),
            value_proposition_id: None,
            schedule: conch_domain::Schedule::default(),
            idempotency_key: Some("key".to_owned()),
        };
        let submitted = access.submit(caller, new).await.expect("an answer");
        assert!(matches!(submitted, Submitted::Accepted(_)));
        let last = triton.submitted().pop().expect("it came");
        last.idempotency_key.expect("with its key")
    };
    let one = caller(&["a"], NEVER);
    let other = Caller::new(
        Identity {
            subject: "somebody else".to_owned(),
            ..Identity::clone(one.identity().expect("it has one"))
        },
        one.clients().clone(),
        one.scopes(),
        NEVER,
    );
    assert_eq!(submit(&one).await, submit(&one).await);
    assert_ne!(submit(&one).await, submit(&other).await);
    assert_eq!(submit(&Caller::unrestricted()).await, "key");
}

/// Whom a ticket stands for, at the stream without any parameters.
async fn caller_by(
    tickets: &Tickets,
    text: &str,
    opens: &Opens,
) -> conch_ports::Result<Option<Caller>> {
    let held = tickets.holder(text, opens, std::iter::empty()).await?;
    Ok(held.map(|held| held.caller().clone()))
}

fn tickets(settings: Settings) -> (FaultyMemory, Tickets) {
    let memory = FaultyMemory::new(settings);
    let tickets = Tickets::new(memory.tickets(), clock());
    (memory, tickets)
}

#[tokio::test(start_paused = true)]
async fn a_ticket_opens_what_it_is_for_and_for_a_minute() {
    let (_, tickets) = tickets(Settings::default());
    let holder = caller(&["a"], NEVER);
    let job = Opens::Job(job_id("j"));
    let ticket = tickets.give_out(&holder, job.clone()).await.expect("one");
    assert_eq!(ticket.text.len(), 64);
    let other = tickets
        .give_out(&holder, Opens::ManyJobs)
        .await
        .expect("one");
    assert_ne!(ticket.text, other.text);
    for _ in 0..3 {
        let found = caller_by(&tickets, &ticket.text, &job).await;
        assert_eq!(found.expect("an answer"), Some(holder.clone()));
    }
    for (text, opens) in [
        (ticket.text.as_str(), Opens::ManyJobs),
        (&ticket.text, Opens::Job(job_id("k"))),
        (&other.text, job.clone()),
        (&ticket.text[1..], job.clone()),
        (&ticket.text.to_uppercase(), job.clone()),
        (&"0".repeat(64), job.clone()),
        ("", job.clone()),
    ] {
        let found = caller_by(&tickets, text, &opens).await;
        assert_eq!(found.expect("an answer"), None, "{text} {opens:?}");
    }
    tokio::time::advance(Duration::from_millis(59_900)).await;
    assert!(
        caller_by(&tickets, &ticket.text, &job)
            .await
            .expect("an answer")
            .is_some()
    );
    tokio::time::advance(Duration::from_millis(200)).await;
    assert!(
        caller_by(&tickets, &ticket.text, &job)
            .await
            .expect("an answer")
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_never_more_than_what_it_was_given_out_for() {
    let (memory, tickets) = tickets(Settings {
        max_tickets_per_caller: 2,
        ..Settings::default()
    });
    let end = clock()().plus_millis(10_000);
    let holder = caller(&["a"], end);
    let ticket = tickets
        .give_out(&holder, Opens::ManyJobs)
        .await
        .expect("one");
    assert_eq!(ticket.ends_at, end);
    let found = caller_by(&tickets, &ticket.text, &Opens::ManyJobs).await;
    assert_eq!(
        found.expect("an answer").and_then(|c| c.ends_at()),
        Some(end)
    );
    tickets
        .give_out(&holder, Opens::ManyJobs)
        .await
        .expect("another");
    let refused = tickets.give_out(&holder, Opens::ManyJobs).await;
    assert_eq!(
        refused.err().map(|e| e.kind()),
        Some(ErrorKind::QuotaExceeded)
    );
    tokio::time::advance(Duration::from_millis(10_001)).await;
    let found = caller_by(&tickets, &ticket.text, &Opens::ManyJobs).await;
    assert_eq!(found.expect("an answer"), None);
    // Who needs no credentials needs no ticket: it is made, and kept nowhere.
    let puts = memory.faults().calls("ticket_store.put");
    let anybody = Caller::unrestricted();
    tickets
        .give_out(&anybody, Opens::ManyJobs)
        .await
        .expect("one");
    assert_eq!(memory.faults().calls("ticket_store.put"), puts);
}

/// What a ticket opened first it opens again for a day, whatever the process; nothing else.
#[tokio::test(start_paused = true)]
async fn a_ticket_that_opened_a_stream_opens_it_again() {
    let time = clock();
    let (memory, tickets) = tickets(Settings::default());
    let holder = caller(&["a"], NEVER);
    let stream = |status: &'static str| [("job_id", "j"), ("status", status)].into_iter();
    let ticket = tickets
        .give_out(&holder, Opens::ManyJobs)
        .await
        .expect("one");
    let held = async |tickets: &Tickets, status| {
        let held = tickets
            .holder(&ticket.text, &Opens::ManyJobs, stream(status))
            .await;
        held.expect("an answer")
    };
    tickets
        .opened(&held(&tickets, "a").await.expect("fresh"))
        .await;
    // Another stream within its minute doesn't take the place of the first.
    tickets
        .opened(&held(&tickets, "b").await.expect("fresh"))
        .await;
    // Nor is the end of that one the end of the first.
    tickets
        .ended(&held(&tickets, "b").await.expect("fresh"))
        .await;
    tokio::time::advance(Duration::from_hours(1)).await;
    let restarted = Tickets::new(memory.tickets(), time);
    for tickets in [&tickets, &restarted] {
        assert!(held(tickets, "a").await.is_some());
        assert!(held(tickets, "b").await.is_none(), "another stream");
        let other = tickets
            .holder(&ticket.text, &Opens::Job(job_id("j")), stream("a"))
            .await;
        assert!(other.expect("an answer").is_none());
    }
    tokio::time::advance(Duration::from_hours(22)).await;
    let last = held(&tickets, "a").await.expect("less than a day");
    tickets.ended(&last).await;
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(
        held(&tickets, "a").await.is_some(),
        "time to be told of the end"
    );
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(held(&tickets, "a").await.is_none());

    let ticket = tickets
        .give_out(&holder, Opens::ManyJobs)
        .await
        .expect("one");
    let held = tickets
        .holder(&ticket.text, &Opens::ManyJobs, stream("a"))
        .await;
    tickets
        .opened(&held.expect("an answer").expect("fresh"))
        .await;
    tokio::time::advance(Duration::from_hours(24) - Duration::from_secs(1)).await;
    let held = tickets
        .holder(&ticket.text, &Opens::ManyJobs, stream("a"))
        .await;
    assert!(held.expect("an answer").is_some());
    tokio::time::advance(Duration::from_secs(2)).await;
    let held = tickets
        .holder(&ticket.text, &Opens::ManyJobs, stream("a"))
        .await;
    assert!(held.expect("an answer").is_none(), "a day is the most");
}
