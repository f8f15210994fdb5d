//! The laws of [`Catalogue`].

mod committed;
mod listing;

use std::time::Duration;

use conch_domain::Client;
use conch_ports::{
    Catalogue, ClientFilter, Error, ErrorKind, JobFilter, Lease, Paging, PutTemplate, Quota,
    TemplateFilter,
};

pub use listing::{filters_intersect, pages_are_newest_first};

use crate::build::{self, BEGINNING};
use crate::observe::{AFTER_SHORT, LONG, SHORT, append_all, claimed, log_of};
use crate::{Outcome, StoreSubject};

const ALL: Paging = Paging {
    page: 1,
    page_size: 100,
};

/// A client with a fresh id is stored and given back.
async fn stored_client(catalogue: &dyn Catalogue, industry: &str, seconds: i64) -> Client {
    let client = build::client(industry, seconds);
    catalogue.create_client(&client).await.unwrap();
    client
}

/// Every record comes back by its id as soon as it was written, equal in every field.
pub async fn reads_what_was_written(subject: &dyn StoreSubject) {
    let catalogue = subject.catalogue();
    let mut client = build::client("biotech", 1);
    assert_eq!(catalogue.client(&client.id).await.unwrap(), None);
    catalogue.create_client(&client).await.unwrap();
    assert_eq!(
        catalogue.client(&client.id).await.unwrap().as_ref(),
        Some(&client)
    );
    client.id = build::client_id();
    client.industry = None;
    catalogue.create_client(&client).await.unwrap();
    assert_eq!(
        catalogue.client(&client.id).await.unwrap().as_ref(),
        Some(&client)
    );

    let mut value_proposition = build::value_proposition(&client.id, 2);
    let id = value_proposition.id.clone();
    assert_eq!(catalogue.value_proposition(&id).await.unwrap(), None);
    assert!(
        catalogue
            .add_value_proposition(&value_proposition)
            .await
            .unwrap()
    );
    let found = catalogue.value_proposition(&id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&value_proposition));
    value_proposition.is_active = false;
    value_proposition.updated_at = BEGINNING.plus_millis(99_001);
    let set = catalogue
        .set_value_proposition_active(&client.id, &id, false, value_proposition.updated_at)
        .await
        .unwrap();
    assert_eq!(set.as_ref(), Some(&value_proposition));
    let found = catalogue.value_proposition(&id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&value_proposition));

    let (script, lease) = claimed(subject, LONG).await;
    assert_eq!(
        catalogue.job(script.id()).await.unwrap().as_ref(),
        Some(script.job())
    );
    assert_eq!(catalogue.job(&build::job_id()).await.unwrap(), None);
    let template = build::template(script.job(), 3);
    assert_eq!(catalogue.template(&template.id).await.unwrap(), None);
    let put = catalogue.put_template(&template, &lease).await.unwrap();
    assert_eq!(put, PutTemplate::Stored);
    assert_eq!(
        catalogue.template(&template.id).await.unwrap().as_ref(),
        Some(&template)
    );
    assert_eq!(
        catalogue.templates_of(script.id()).await.unwrap(),
        [template]
    );
}

/// Without its client a value proposition isn't stored, listed or switched.
pub async fn value_propositions_need_their_client(subject: &dyn StoreSubject) {
    let catalogue = subject.catalogue();
    let orphan = build::value_proposition(&build::client_id(), 1);
    assert!(!catalogue.add_value_proposition(&orphan).await.unwrap());
    assert_eq!(catalogue.value_proposition(&orphan.id).await.unwrap(), None);
    assert_eq!(
        catalogue
            .value_propositions(&orphan.client_id)
            .await
            .unwrap(),
        None
    );

    let client = stored_client(&*catalogue, "x", 1).await;
    let other = stored_client(&*catalogue, "x", 2).await;
    assert_eq!(
        catalogue.value_propositions(&client.id).await.unwrap(),
        Some(vec![])
    );
    let held = build::value_proposition(&client.id, 3);
    assert!(catalogue.add_value_proposition(&held).await.unwrap());
    assert_eq!(
        catalogue.value_propositions(&client.id).await.unwrap(),
        Some(vec![held.clone()])
    );
    assert_eq!(
        catalogue.value_propositions(&other.id).await.unwrap(),
        Some(vec![])
    );
    let now = BEGINNING;
    for (client_id, id) in [(&other.id, &held.id), (&client.id, &orphan.id)] {
        let set = catalogue
            .set_value_proposition_active(client_id, id, false, now)
            .await
            .unwrap();
        assert_eq!(set, None, "it isn't that client's");
    }
    assert_eq!(
        catalogue.value_proposition(&held.id).await.unwrap(),
        Some(held)
    );
}

/// As many clients, and as many value propositions of one client, as may be; one more is refused in
/// words that name the setting, and is nowhere. What is there can be changed, and other clients have
/// room of their own.
pub async fn quotas_refuse_before_anything_changes(subject: &dyn StoreSubject) {
    let (catalogue, quotas) = (subject.catalogue(), subject.limits().quotas);
    let refused = |error: Error, quota: Quota| {
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
        assert!(error.message().contains(quota.setting()), "{error}");
    };
    let mut clients = Vec::new();
    for seconds in 0..quotas.clients {
        clients.push(stored_client(&*catalogue, "x", seconds as i64).await);
    }
    let over = build::client("another", 1);
    let answer = catalogue.create_client(&over).await;
    refused(
        answer.expect_err("one client more than there may be"),
        Quota::Clients,
    );
    assert_eq!(catalogue.client(&over.id).await.unwrap(), None);
    for (industry, total) in [(None, quotas.clients), (over.industry, 0)] {
        let filter = ClientFilter { industry };
        let page = catalogue.clients(&filter, ALL).await.unwrap();
        assert_eq!(page.total, total as u64, "{filter:?}");
    }

    let of = &clients[0].id;
    let mut held = Vec::new();
    for seconds in 0..quotas.value_propositions {
        let value_proposition = build::value_proposition(of, seconds as i64);
        let added = catalogue.add_value_proposition(&value_proposition).await;
        assert!(added.unwrap());
        held.insert(0, value_proposition);
    }
    let over = build::value_proposition(of, 99);
    let answer = catalogue.add_value_proposition(&over).await;
    refused(
        answer.expect_err("one value proposition more than there may be"),
        Quota::ValuePropositions,
    );
    assert_eq!(catalogue.value_proposition(&over.id).await.unwrap(), None);
    let listed = catalogue.value_propositions(of).await.unwrap();
    assert_eq!(listed.as_ref(), Some(&held));
    let switched = catalogue
        .set_value_proposition_active(of, &held[0].id, false, BEGINNING.plus_millis(99_000))
        .await
        .unwrap();
    assert!(switched.is_some_and(|switched| !switched.is_active));
    let other = build::value_proposition(&clients[1].id, 1);
    assert!(catalogue.add_value_proposition(&other).await.unwrap());
    let orphan = build::value_proposition(&build::client_id(), 1);
    let added = catalogue.add_value_proposition(&orphan).await;
    assert!(!added.unwrap(), "its client isn't there");
}

/// The record of an own job is the fold of its log after every commit, and outlives the log.
pub async fn job_records_follow_the_log(subject: &dyn StoreSubject) -> Outcome {
    let (logs, catalogue) = (subject.log(), subject.catalogue());
    if !logs.guarantees().caches_results {
        return Outcome::Skipped;
    }
    let (mut script, _) = claimed(subject, LONG).await;
    let template = build::template(script.job(), 1);
    for step in 1..=4 {
        let commit = match step {
            1 => script.started(),
            2 => script.template_completed(&template),
            3 => script.progress(14),
            _ => script.completed(),
        };
        append_all(&*logs, [commit]).await;
        let record = catalogue.job(script.id()).await.unwrap();
        assert_eq!(record.as_ref(), Some(script.job()));
        assert_eq!(log_of(&*logs, script.id()).await.job, *script.job());
    }
    let page = catalogue.jobs(&JobFilter::default(), ALL).await.unwrap();
    assert_eq!(
        (page.total, page.items),
        (1, vec![script.job().clone()]),
        "one record, not five"
    );

    subject
        .advance(subject.limits().ended_log_ttl + Duration::from_millis(50))
        .await;
    assert!(
        logs.read(script.id(), 0, 1).await.unwrap().is_none(),
        "the log has run out"
    );
    assert_eq!(
        catalogue.job(script.id()).await.unwrap().as_ref(),
        Some(script.job())
    );
    Outcome::Held
}

/// Only the holder of the job's lease stores its templates, and only while it holds.
pub async fn templates_are_fenced(subject: &dyn StoreSubject) {
    those_put_are_fenced(subject).await;
    committed::those_of_a_commit_are_fenced(subject).await;
}

async fn those_put_are_fenced(subject: &dyn StoreSubject) {
    let catalogue = subject.catalogue();
    let (script, lease) = claimed(subject, LONG).await;
    let template = build::template(script.job(), 1);
    let stranger = Lease {
        token: build::token(),
        ..lease.clone()
    };
    assert_eq!(
        catalogue.put_template(&template, &stranger).await.unwrap(),
        PutTemplate::Fenced
    );
    let (other, other_lease) = claimed(subject, LONG).await;
    assert_eq!(
        catalogue
            .put_template(&template, &other_lease)
            .await
            .unwrap(),
        PutTemplate::Fenced
    );
    assert_eq!(
        catalogue.template(&template.id).await.unwrap(),
        None,
        "a fenced one was stored"
    );
    assert_eq!(catalogue.templates_of(other.id()).await.unwrap(), []);
    assert_eq!(
        catalogue.put_template(&template, &lease).await.unwrap(),
        PutTemplate::Stored
    );

    let (late, late_lease) = claimed(subject, SHORT).await;
    subject.advance(AFTER_SHORT).await;
    let template = build::template(late.job(), 1);
    assert_eq!(
        catalogue
            .put_template(&template, &late_lease)
            .await
            .unwrap(),
        PutTemplate::Fenced
    );
    assert_eq!(
        catalogue.templates_of(late.id()).await.unwrap(),
        [],
        "a late one was stored"
    );

    let (mut ended, ended_lease) = claimed(subject, LONG).await;
    append_all(&*subject.log(), [ended.failed()]).await;
    let template = build::template(ended.job(), 1);
    assert_eq!(
        catalogue
            .put_template(&template, &ended_lease)
            .await
            .unwrap(),
        PutTemplate::Fenced
    );
}

/// The first template at a place stays, also when eight come at once; the late ones are answered with it, or have
/// to ask for it.
pub async fn one_template_per_place(subject: &dyn StoreSubject) {
    the_first_put_stays(subject).await;
    committed::the_first_committed_stays(subject).await;
}

async fn the_first_put_stays(subject: &dyn StoreSubject) {
    let catalogue = subject.catalogue();
    let (script, lease) = claimed(subject, LONG).await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (catalogue, lease) = (subject.catalogue(), lease.clone());
        let template = build::template(script.job(), 1);
        tasks.push(tokio::spawn(async move {
            let put = catalogue.put_template(&template, &lease).await;
            (template, put.expect("the store answers"))
        }));
    }
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("storing doesn't panic"));
    }
    let kept = catalogue.templates_of(script.id()).await.unwrap();
    assert_eq!(kept.len(), 1, "a place holds one template");
    for (template, put) in answers {
        if template == kept[0] {
            assert_eq!(put, PutTemplate::Stored);
        } else {
            assert_eq!(put, PutTemplate::Taken(Box::new(kept[0].clone())));
            assert_eq!(catalogue.template(&template.id).await.unwrap(), None);
        }
    }
    let page = catalogue
        .templates(&TemplateFilter::default(), ALL)
        .await
        .unwrap();
    assert_eq!((page.total, page.items), (1, kept));
    let second = build::template(script.job(), 2);
    for what in ["another place", "the same once more"] {
        let put = catalogue.put_template(&second, &lease).await.unwrap();
        assert_eq!(put, PutTemplate::Stored, "{what}");
    }
}
