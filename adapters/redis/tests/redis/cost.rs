//! What a page of a list costs Redis: what is on it, however many records there are. Told by the
//! commands that Redis counts, those of scripts included, each of which touches as much as it says.

use std::collections::BTreeMap;
use std::time::Duration;

use conch_conformance::build::Script;
use conch_domain::JobStatus::Pending;
use conch_domain::{Audience, Category, JobId, Template};
use conch_ports::{JobFilter, Lease, Paging, PutTemplate, QueuePlace, TemplateFilter};
use conch_redis::Stores;
use futures::StreamExt;
use futures::stream;

use crate::jobs::{at, client_id, commit, job_id, progress, submission, template};
use crate::server::Server;

/// More than any page, and than what a list by change looks at.
const MANY: usize = 5_000;
const PAGE: Paging = Paging {
    page: 3,
    page_size: 10,
};

type Commands<'a> = BTreeMap<&'a str, u64>;

/// Every command since the last time but a test's own, those of scripts included, and how often each.
pub(crate) fn every_command(server: &Server) -> BTreeMap<String, u64> {
    let stats: String = server.run(&["INFO", "commandstats"]);
    let _: String = server.run(&["CONFIG", "RESETSTAT"]);
    let mut commands = BTreeMap::new();
    for line in stats.lines() {
        let Some((name, numbers)) = line
            .strip_prefix("cmdstat_")
            .and_then(|line| line.split_once(":calls="))
        else {
            continue;
        };
        let calls = numbers.split(',').next().expect("a number");
        if !["config|resetstat", "client|setinfo"].contains(&name) {
            commands.insert(name.to_owned(), calls.parse().expect("a number"));
        }
    }
    commands
}

/// The commands that read the catalogue since the last time, and how often each.
fn commands(server: &Server) -> BTreeMap<String, u64> {
    let mut commands = every_command(server);
    let around = ["ping", "unwatch", "info", "evalsha", "script|load"];
    commands.retain(|name, _| !around.contains(&name.as_str()));
    commands
}

fn assert_cost(what: &str, commands: &BTreeMap<String, u64>, expected: &Commands<'_>) {
    let found: Commands<'_> = commands.iter().map(|(n, c)| (n.as_str(), *c)).collect();
    assert_eq!(found, *expected, "{what}");
}

/// Makes one of each, sixteen at a time.
async fn each<F: Future<Output = ()>>(
    of: impl IntoIterator<Item = usize>,
    make: impl Fn(usize) -> F,
) {
    stream::iter(of)
        .map(make)
        .buffer_unordered(16)
        .collect::<()>()
        .await;
}

async fn put(stores: &Stores, template: &Template, lease: &Lease) {
    let put = stores.catalogue.put_template(template, lease).await;
    assert_eq!(put.unwrap(), PutTemplate::Stored);
}

#[tokio::test]
async fn a_page_of_templates_costs_the_page() {
    let server = Server::start();
    let stores = server.stores();
    let minute = Duration::from_mins(1);
    let mut leases = Vec::new();
    for job in ["j-1", "j-2"] {
        stores.queue.submit(submission(job)).await.unwrap();
        leases.push(
            stores
                .queue
                .claim("w", &conch_conformance::build::token(), 5 * minute)
                .await
                .unwrap()
                .unwrap(),
        );
    }
    each(1..=MANY, |n| {
        let index = u32::try_from(n).expect("few");
        let made = template(&format!("t-{n}"), "j-1", index, Category::RoiFocused);
        let (stores, lease) = (&stores, &leases[0]);
        async move { put(stores, &made, lease).await }
    })
    .await;
    for index in 1..=7 {
        let made = template(&format!("u-{index}"), "j-2", index, Category::RoiFocused);
        put(&stores, &made, &leases[1]).await;
    }
    commands(&server);
    for combination in 0..8 {
        let is_in = |bit: u8| combination & bit != 0;
        let filter = TemplateFilter {
            client_id: is_in(1).then(|| client_id("c-1")),
            job_id: None,
            category: is_in(2).then_some(Category::RoiFocused),
            target_audience: is_in(4).then_some(Audience::MedicalManagement),
        };
        let page = stores.catalogue.templates(&filter, PAGE).await.unwrap();
        assert_eq!((page.total, page.items.len()), (MANY as u64 + 7, 10));
        // Of each way in which category and audience are left open it is known how many there are.
        let ways = |is_asked: bool, all: u64| if is_asked { 1 } else { all };
        let ways = ways(is_in(2), 5) * ways(is_in(4), 5);
        let expected = [("zcard", ways), ("zrange", 1), ("get", 10)].into();
        assert_cost(&format!("{filter:?}"), &commands(&server), &expected);

        let of_a_job = TemplateFilter {
            job_id: Some(job_id("j-2")),
            ..filter
        };
        let first = Paging { page: 1, ..PAGE };
        let page = stores.catalogue.templates(&of_a_job, first).await.unwrap();
        assert_eq!((page.total, page.items.len()), (7, 7));
        let expected = [("hgetall", 1), ("get", 7)].into();
        assert_cost(&format!("{of_a_job:?}"), &commands(&server), &expected);
    }
}

/// However deep a page is, what is before it is counted, not read.
#[tokio::test]
async fn a_deep_page_of_templates_costs_little_more() {
    let server = Server::start();
    let stores = server.stores();
    stores.queue.submit(submission("j-1")).await.unwrap();
    let token = conch_conformance::build::token();
    let minute = Duration::from_mins(1);
    let lease = stores.queue.claim("w", &token, 5 * minute).await.unwrap();
    let lease = lease.unwrap().lease;
    let categories = [Category::RoiFocused, Category::Comprehensive];
    each(1..=2_000, |n| {
        let index = u32::try_from(n).expect("few");
        let made = template(&format!("t-{n}"), "j-1", index, categories[n % 2]);
        let (stores, lease) = (&stores, &lease);
        async move { put(stores, &made, lease).await }
    })
    .await;
    commands(&server);
    for page in [1, 100, 200] {
        let paging = Paging { page, ..PAGE };
        let filter = TemplateFilter::default();
        let found = stores.catalogue.templates(&filter, paging).await.unwrap();
        assert_eq!((found.total, found.items.len()), (2_000, 10));
        let commands = commands(&server);
        let counts = commands.get("zcount").copied().unwrap_or(0);
        assert!(
            (page > 6) == (counts > 0) && counts <= 2 * 60,
            "{commands:?}"
        );
        assert!(commands["zrange"] <= 2 * 3, "{commands:?}");
    }
}

#[tokio::test]
async fn a_page_of_jobs_costs_the_page_and_by_change_the_newest_changes() {
    let server = Server::start();
    let stores = server.stores();
    each(1..=MANY, |n| {
        let queue = stores.queue.clone();
        async move {
            let submitted = queue.submit(submission(&format!("j-{n:04}"))).await;
            submitted.expect("there is room");
        }
    })
    .await;
    commands(&server);
    let rows = [
        (None, None),
        (Some("c-1"), None),
        (None, Some(Pending)),
        (Some("c-1"), Some(Pending)),
    ];
    for (client, status) in rows {
        let filter = JobFilter {
            client_id: client.map(client_id),
            status,
            updated_since: None,
        };
        let page = stores.catalogue.jobs(&filter, PAGE).await.unwrap();
        assert_eq!((page.total, page.items.len()), (MANY as u64, 10));
        let expected = [("zcard", 1), ("zrange", 1), ("hget", 10)].into();
        assert_cost(&format!("{filter:?}"), &commands(&server), &expected);

        let changed = JobFilter {
            updated_since: Some(at(-1_000_000)),
            ..filter
        };
        let page = stores.catalogue.jobs(&changed, PAGE).await.unwrap();
        let most = JobFilter::NEWEST_CHANGES as u64;
        assert_eq!((page.total, page.items.len()), (most, 10));
        let expected = [("zrange", 1), ("zmscore", 1), ("hget", 10)].into();
        assert_cost(&format!("{changed:?}"), &commands(&server), &expected);
    }
}

#[tokio::test]
async fn a_list_by_change_looks_at_the_newest_changes_alone() {
    let server = Server::start();
    let stores = server.stores();
    let most = JobFilter::NEWEST_CHANGES;
    each(0..=most, |n| {
        let queue = stores.queue.clone();
        async move {
            let submitted = queue.submit(submission(&format!("j-{n:04}"))).await;
            submitted.expect("there is room");
        }
    })
    .await;
    let since = |second| JobFilter {
        updated_since: Some(at(second)),
        client_id: Some(client_id("c-1")),
        status: None,
    };
    let paging = Paging {
        page: 1,
        page_size: 2,
    };
    let list = async |second| {
        let page = stores.catalogue.jobs(&since(second), paging).await.unwrap();
        let ids: Vec<_> = page.items.iter().map(|job| job.id.to_string()).collect();
        (page.total, ids.join(" "))
    };
    let most = most as u64;
    // All changed at one moment: the greatest ids count as the last ones.
    assert_eq!(list(0).await, (most, "j-0001 j-0002".to_owned()));
    let queued = submission("j-0000").commit.job;
    let change = commit(&queued, progress(1));
    stores.log.append(change).await.unwrap();
    assert_eq!(list(0).await, (most, "j-0000 j-0002".to_owned()));
    assert_eq!(list(2).await, (1, "j-0000".to_owned()), "changed since");
}

/// The places of a page cost a few hundred commands, however many jobs wait for however many clients: those that
/// are exact, and those that are estimated.
#[tokio::test]
async fn the_places_of_a_page_cost_the_page() {
    let server = Server::start();
    let stores = server.stores();
    let submit = async |clients: usize, jobs: usize| -> Vec<JobId> {
        let ids = parking_lot::Mutex::new(Vec::new());
        each(0..jobs, |n| {
            let (queue, ids) = (stores.queue.clone(), &ids);
            async move {
                let client = client_id(&format!("client-{}", n % clients));
                let mut script = Script::of_client(&client);
                let submitted = queue.submit(script.submission()).await;
                submitted.expect("there is room");
                ids.lock().push((n, script.id().clone()));
            }
        })
        .await;
        let mut ids = ids.into_inner();
        ids.sort_by_key(|(n, _)| *n);
        ids.into_iter().map(|(_, id)| id).collect()
    };
    let few = submit(100, 400).await;
    commands(&server);
    let page = &few[300..];
    let places = stores.queue.places(page).await.unwrap();
    let rounds = [
        ("zcard", 102),
        ("zrange", 1),
        ("zmscore", 1),
        ("hget", 100),
        ("zrank", 100),
    ];
    assert_cost("of a hundred clients", &commands(&server), &rounds.into());
    let mut numbers: Vec<QueuePlace> = places.into_iter().flatten().collect();
    numbers.sort_unstable();
    let exact: Vec<_> = (301..=400).map(QueuePlace::Exact).collect();
    assert_eq!(numbers, exact, "the last round");

    let many = submit(500, 9_600).await;
    commands(&server);
    let page = &many[9_500..];
    let places = stores.queue.places(page).await.unwrap();
    let rounds = [("zcard", 2), ("zmscore", 1), ("hget", 100), ("zrank", 200)];
    assert_cost(
        "of five hundred clients",
        &commands(&server),
        &rounds.into(),
    );
    for place in places {
        let Some(QueuePlace::About(number)) = place else {
            panic!("{place:?}: about the last of ten thousand");
        };
        assert!((9_000..=10_000).contains(&number), "{number}");
    }
    let places = stores.queue.places(&many[400..500]).await.unwrap();
    let exact =
        |place: &Option<QueuePlace>| matches!(place, Some(QueuePlace::Exact(n)) if *n <= 500);
    assert!(
        places.iter().all(exact),
        "first of their clients: {places:?}"
    );
}
