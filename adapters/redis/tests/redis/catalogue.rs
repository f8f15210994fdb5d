//! The catalogue's indexes, and the end of its records.

use std::time::Duration;

use conch_conformance::build;
use conch_domain::JobStatus::{Completed, Failed, Pending};
use conch_domain::{Audience, Category, Template, TemplateId};
use conch_ports::{ClientFilter, ErrorKind, JobFilter, Paging, PutTemplate, TemplateFilter};
use conch_redis::Stores;
use conch_wire::record;
use tokio::time::timeout;

use crate::jobs::{
    at, client, client_id, commit, completed, job_id, submission, template, value_proposition,
};
use crate::server::Server;

const MINUTE: Duration = Duration::from_mins(1);

fn paging(page: u32, page_size: u32) -> Paging {
    Paging { page, page_size }
}

async fn job_ids(stores: &Stores, filter: &JobFilter) -> Vec<String> {
    let page = stores.catalogue.jobs(filter, paging(1, 100)).await.unwrap();
    assert_eq!(page.total, page.items.len() as u64);
    page.items.iter().map(|job| job.id.to_string()).collect()
}

#[tokio::test]
async fn pages_are_newest_first_with_ties_by_id() {
    let server = Server::start();
    let catalogue = server.stores().catalogue;
    for (id, second) in [("b", 1), ("a", 1), ("c", 0), ("d", 2)] {
        catalogue
            .create_client(&client(id, Some("Health care"), second))
            .await
            .unwrap();
    }
    catalogue
        .create_client(&client("e", Some("Retail"), 3))
        .await
        .unwrap();
    let filter = ClientFilter {
        industry: Some("Health care".into()),
    };
    let mut seen = Vec::new();
    for page in 1..=3 {
        let page = catalogue.clients(&filter, paging(page, 2)).await.unwrap();
        assert_eq!(page.total, 4);
        seen.extend(page.items.iter().map(|client| client.id.to_string()));
    }
    assert_eq!(seen, ["d", "a", "b", "c"]);
    let all = catalogue
        .clients(&ClientFilter::default(), paging(1, 100))
        .await
        .unwrap();
    assert_eq!(all.total, 5);
    assert_eq!(all.items[0], client("e", Some("Retail"), 3));
}

#[tokio::test]
async fn a_job_moves_between_the_lists_of_its_states() {
    let server = Server::start();
    let stores = server.stores();
    for id in ["j-1", "j-2"] {
        stores.queue.submit(submission(id)).await.unwrap();
    }
    let queued = submission("j-1").commit.job;
    stores
        .log
        .append(commit(&queued, completed()))
        .await
        .unwrap();
    let of = |client: Option<&str>, status| JobFilter {
        client_id: client.map(client_id),
        status,
        updated_since: None,
    };
    let rows = [
        (of(None, None), vec!["j-1", "j-2"]),
        (of(None, Some(Pending)), vec!["j-2"]),
        (of(None, Some(Completed)), vec!["j-1"]),
        (of(Some("c-1"), None), vec!["j-1", "j-2"]),
        (of(Some("c-1"), Some(Pending)), vec!["j-2"]),
        (of(Some("c-1"), Some(Failed)), vec![]),
        (of(Some("c-2"), None), vec![]),
    ];
    for (filter, expected) in rows {
        assert_eq!(job_ids(&stores, &filter).await, expected, "{filter:?}");
    }
    let since = |second| JobFilter {
        updated_since: Some(at(second)),
        ..of(Some("c-1"), None)
    };
    assert_eq!(job_ids(&stores, &since(1)).await, ["j-1", "j-2"]);
    assert_eq!(job_ids(&stores, &since(2)).await, ["j-1"]);
    assert!(job_ids(&stores, &since(3)).await.is_empty());
}

#[tokio::test]
async fn templates_are_fenced_and_one_per_place() {
    let server = Server::start();
    let stores = server.stores();
    stores.queue.submit(submission("j-1")).await.unwrap();
    let lease = stores
        .queue
        .claim("w", &conch_conformance::build::token(), MINUTE)
        .await
        .unwrap()
        .unwrap()
        .lease;
    let first = template("t-1", "j-1", 1, Category::Comprehensive);
    let mut stranger = lease.clone();
    stranger.token = conch_domain::LeaseToken::parse("stranger").unwrap();
    let put = |template, lease| {
        let catalogue = stores.catalogue.clone();
        async move { catalogue.put_template(&template, &lease).await.unwrap() }
    };
    assert_eq!(put(first.clone(), stranger).await, PutTemplate::Fenced);
    assert!(
        stores
            .catalogue
            .template(&first.id)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(put(first.clone(), lease.clone()).await, PutTemplate::Stored);
    assert_eq!(put(first.clone(), lease.clone()).await, PutTemplate::Stored);
    let rival = template("t-2", "j-1", 1, Category::RoiFocused);
    assert_eq!(
        put(rival, lease.clone()).await,
        PutTemplate::Taken(Box::new(first.clone()))
    );
    for (id, place) in [("t-10", 10), ("t-9", 9)] {
        let more = template(id, "j-1", place, Category::RoiFocused);
        assert_eq!(put(more, lease.clone()).await, PutTemplate::Stored);
    }
    let plan = stores.catalogue.templates_of(&job_id("j-1")).await.unwrap();
    let places: Vec<u32> = plan.iter().map(|template| template.index).collect();
    assert_eq!(places, [1, 9, 10]);

    assert!(
        stores
            .queue
            .renew(&lease, Duration::from_micros(1))
            .await
            .unwrap()
    );
    let late = template("t-3", "j-1", 3, Category::RoiFocused);
    assert_eq!(
        put(late, lease).await,
        PutTemplate::Fenced,
        "the lease has run out"
    );
}

#[tokio::test]
async fn template_filters_intersect() {
    let server = Server::start();
    let stores = server.stores();
    for job in ["j-1", "j-2"] {
        stores.queue.submit(submission(job)).await.unwrap();
        let lease = stores
            .queue
            .claim("w", &conch_conformance::build::token(), MINUTE)
            .await
            .unwrap()
            .unwrap()
            .lease;
        for (n, category) in [(1, Category::RoiFocused), (2, Category::Comprehensive)] {
            let template = template(&format!("{job}-{n}"), job, n, category);
            stores
                .catalogue
                .put_template(&template, &lease)
                .await
                .unwrap();
        }
    }
    let list = async |filter: TemplateFilter, page| {
        let page = stores
            .catalogue
            .templates(&filter, paging(page, 1))
            .await
            .unwrap();
        let ids: Vec<String> = page.items.iter().map(|t| t.id.to_string()).collect();
        (page.total, ids.join(" "))
    };
    let all = TemplateFilter::default();
    assert_eq!(list(all.clone(), 1).await, (4, "j-1-2".into()));
    assert_eq!(list(all.clone(), 2).await, (4, "j-2-2".into()));
    let roi = TemplateFilter {
        client_id: Some(client_id("c-1")),
        category: Some(Category::RoiFocused),
        target_audience: Some(Audience::MedicalManagement),
        ..all
    };
    assert_eq!(list(roi.clone(), 2).await, (2, "j-2-1".into()));
    assert_eq!(list(roi.clone(), 3).await, (2, String::new()));
    let one = TemplateFilter {
        job_id: Some(job_id("j-1")),
        ..roi.clone()
    };
    assert_eq!(list(one, 1).await, (1, "j-1-1".into()));
    let none = TemplateFilter {
        target_audience: Some(Audience::Broker),
        ..roi
    };
    assert_eq!(list(none, 1).await, (0, String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn value_propositions_keep_their_client_and_their_bytes() {
    let server = Server::start();
    let catalogue = server.stores().catalogue;
    let value = value_proposition("v-1", "c-1", 1);
    assert!(!catalogue.add_value_proposition(&value).await.unwrap());
    assert_eq!(catalogue.value_proposition(&value.id).await.unwrap(), None);
    assert_eq!(
        catalogue
            .value_propositions(&client_id("c-1"))
            .await
            .unwrap(),
        None
    );
    catalogue
        .create_client(&client("c-1", None, 0))
        .await
        .unwrap();
    assert_eq!(
        catalogue
            .value_propositions(&client_id("c-1"))
            .await
            .unwrap(),
        Some(vec![])
    );
    assert!(catalogue.add_value_proposition(&value).await.unwrap());
    assert!(
        catalogue
            .add_value_proposition(&value_proposition("v-2", "c-1", 2))
            .await
            .unwrap()
    );
    let ids: Vec<String> = catalogue
        .value_propositions(&client_id("c-1"))
        .await
        .unwrap()
        .unwrap()
        .iter()
        .map(|value| value.id.to_string())
        .collect();
    assert_eq!(ids, ["v-2", "v-1"]);

    let switch = |client: &str, active| {
        let (catalogue, client, id) = (catalogue.clone(), client_id(client), value.id.clone());
        async move {
            catalogue
                .set_value_proposition_active(&client, &id, active, at(50))
                .await
                .unwrap()
        }
    };
    assert_eq!(switch("c-2", false).await, None, "another client's");
    let answers = futures::future::join_all((0..6).map(|_| switch("c-1", false))).await;
    assert!(
        answers
            .iter()
            .all(|value| value.as_ref().is_some_and(|v| !v.is_active))
    );
    let off = catalogue
        .value_proposition(&value.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((off.is_active, off.updated_at), (false, at(50)));
    assert_eq!(off.meta_data, value.meta_data);
}

#[tokio::test]
async fn records_go_with_their_retention_and_leave_no_index_behind() {
    let server = Server::start();
    let mut settings = server.settings();
    settings.retention = Some(Duration::from_millis(300));
    let stores = settings.build().unwrap();
    stores
        .catalogue
        .create_client(&client("c-1", Some("Retail"), 0))
        .await
        .unwrap();
    stores.queue.submit(submission("j-1")).await.unwrap();
    assert_eq!(job_ids(&stores, &JobFilter::default()).await, ["j-1"]);
    timeout(Duration::from_secs(10), async {
        while !job_ids(&stores, &JobFilter::default()).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the record goes");
    assert!(
        stores
            .catalogue
            .client(&client_id("c-1"))
            .await
            .unwrap()
            .is_none()
    );
    let left: Vec<String> = server.run(&["KEYS", "triton:catalogue:*"]);
    assert!(left.is_empty(), "{left:?}");

    let forever = server.stores().catalogue;
    forever
        .create_client(&client("c-2", None, 0))
        .await
        .unwrap();
    assert_eq!(
        server.run::<i64>(&["TTL", "triton:catalogue:client:c-2"]),
        -1
    );
    assert!(!server.run::<bool>(&["EXISTS", "triton:catalogue:retention"]));
}

#[tokio::test]
async fn what_is_due_to_go_makes_room_before_a_quota_refuses() {
    let server = Server::start();
    let mut settings = server.settings();
    settings.retention = Some(Duration::from_millis(100));
    settings.quotas.clients = 1;
    settings.quotas.jobs = 1;
    let stores = settings.build().unwrap();
    let create = async |id| stores.catalogue.create_client(&client(id, None, 0)).await;
    create("c-1").await.unwrap();
    assert_eq!(
        create("c-2").await.unwrap_err().kind(),
        ErrorKind::QuotaExceeded
    );
    stores.queue.submit(submission("j-1")).await.unwrap();
    let due = async || {
        let now: Vec<String> = server.run(&["TIME"]);
        let last: Vec<String> = server.run(&[
            "ZRANGE",
            "triton:catalogue:retention",
            "-1",
            "-1",
            "WITHSCORES",
        ]);
        let seconds = |text: &str| text.parse::<f64>().unwrap();
        seconds(&last[1]) <= seconds(&now[0]) * 1e6 + seconds(&now[1])
    };
    timeout(Duration::from_secs(10), async {
        while !due().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("both are due");

    // Removing is never refused, and what a script writes after it isn't either: not here.
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(
        create("c-2").await.unwrap_err().kind(),
        ErrorKind::OutOfSpace
    );
    let error = stores.queue.submit(submission("j-2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfSpace);
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "0"]);
    create("c-2").await.unwrap();
    stores.queue.submit(submission("j-2")).await.unwrap();
}

/// Pages of templates that several indexes list are those of one list: newest first, ties by id, none twice and
/// none left out, at any depth.
#[tokio::test]
async fn pages_of_templates_join_on() {
    let server = Server::start();
    let stores = server.stores();
    stores.queue.submit(submission("j-1")).await.unwrap();
    let token = build::token();
    let minute = Duration::from_mins(1);
    let lease = stores.queue.claim("w", &token, 5 * minute).await.unwrap();
    let lease = lease.unwrap().lease;
    let mut made = Vec::new();
    for n in 0..240_u32 {
        let category = Category::ALL[n as usize % 3];
        let audience = Audience::ALL[n as usize % 4];
        let heading = record::Heading {
            id: TemplateId::parse(&format!("t-{}", (n * 89) % 240)).unwrap(),
            job_id: job_id("j-1"),
            client_id: client_id("c-1"),
            index: n,
            // Many at one moment.
            created_at: at(i64::from(n / 30)),
        };
        let template = record::template(
            heading,
            &conch_wire::draft::written(build::draft(category, audience)),
        );
        let put = stores.catalogue.put_template(&template, &lease).await;
        assert_eq!(put.unwrap(), PutTemplate::Stored);
        made.push(template);
    }
    made.sort_by(|a, b| (b.created_at, &a.id).cmp(&(a.created_at, &b.id)));
    for (category, audience) in [
        (None, None),
        (Some(Category::ALL[1]), None),
        (None, Some(Audience::ALL[2])),
        (Some(Category::ALL[0]), Some(Audience::ALL[0])),
        (Some(Category::ALL[4]), None),
    ] {
        let filter = TemplateFilter {
            category,
            target_audience: audience,
            ..TemplateFilter::default()
        };
        let is_asked = |template: &&Template| {
            category.is_none_or(|asked| asked == template.category)
                && audience.is_none_or(|asked| asked == template.target_audience)
        };
        let expected: Vec<_> = made.iter().filter(is_asked).cloned().collect();
        let mut found = Vec::new();
        for page in 1..=240 / 7 + 2 {
            let paging = Paging { page, page_size: 7 };
            let listed = stores.catalogue.templates(&filter, paging).await.unwrap();
            assert_eq!(listed.total, expected.len() as u64);
            found.extend(listed.items);
        }
        assert!(found == expected, "{category:?} {audience:?}");
    }

    // What is gone is in no page and no total, wherever it stood.
    let all = TemplateFilter::default();
    let gone = made.remove(100);
    let _: u64 = server.run(&["DEL", &format!("triton:catalogue:template:{}", gone.id)]);
    let around = Paging {
        page: 10,
        page_size: 10,
    };
    for page in [11, around.page] {
        let paging = Paging { page, ..around };
        let listed = stores.catalogue.templates(&all, paging).await.unwrap();
        let from = (page as usize - 1) * 10;
        assert_eq!(listed.total, 239);
        assert!(listed.items == made[from..from + 10], "page {page}");
    }
}
