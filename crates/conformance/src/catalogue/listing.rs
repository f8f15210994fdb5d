//! Laws of lists: their order, their pages, their filters.

use conch_domain::{Audience, Category, JobStatus, Template};
use conch_ports::{ClientFilter, JobFilter, Page, Paging, PutTemplate, TemplateFilter};

use super::{ALL, stored_client};
use crate::StoreSubject;
use crate::build::{self, Script};
use crate::observe::{LONG, append_all, claimed, submitted};

fn ids<T>(page: &Page<T>, id: impl Fn(&T) -> String) -> Vec<String> {
    page.items.iter().map(id).collect()
}

/// Newest first, ties by id; pages neither repeat nor leave out, also while records are added.
pub async fn pages_are_newest_first(subject: &dyn StoreSubject) {
    let catalogue = subject.catalogue();
    let mut made = Vec::new();
    // Made in no order, four of them at one moment.
    for seconds in [5, 1, 9, 3, 7, 3, 3, 3, 2, 8] {
        made.push(stored_client(&*catalogue, "x", seconds).await);
    }
    let filter = ClientFilter::default();
    let page = catalogue.clients(&filter, ALL).await.unwrap();
    assert_eq!((page.total, page.items.len()), (10, 10));
    let times: Vec<_> = page.items.iter().map(|client| client.created_at).collect();
    assert!(
        times.iter().rev().is_sorted(),
        "not newest first: {times:?}"
    );
    let ties: Vec<_> = page.items[4..8]
        .iter()
        .map(|client| client.id.as_str())
        .collect();
    let by_id = ties.iter().is_sorted() || ties.iter().rev().is_sorted();
    assert!(by_id, "ties aren't ordered by id: {ties:?}");

    let all = ids(&page, |client| client.id.to_string());
    for page_size in [1, 3, 4, 10, 11] {
        let mut joined = Vec::new();
        for page in 1..=(10_u32.div_ceil(page_size)) {
            let paging = Paging { page, page_size };
            let page = catalogue.clients(&filter, paging).await.unwrap();
            assert_eq!(page.total, 10, "total counts all that match");
            joined.extend(ids(&page, |client| client.id.to_string()));
        }
        assert_eq!(joined, all, "by pages of {page_size}");
    }
    for page in [5, u32::MAX] {
        let paging = Paging {
            page,
            page_size: 100,
        };
        let past = catalogue.clients(&filter, paging).await.unwrap();
        assert_eq!((past.total, past.items.len()), (10, 0), "past the end");
    }

    // What comes while somebody pages is newer than all: what was there moves on, never out.
    let mut walked = Vec::new();
    for page in 1..=7 {
        let paging = Paging { page, page_size: 2 };
        walked.extend(ids(
            &catalogue.clients(&filter, paging).await.unwrap(),
            |c| c.id.to_string(),
        ));
        if page < 3 {
            stored_client(&*catalogue, "x", 100 + i64::from(page)).await;
        }
    }
    for id in &all {
        assert!(walked.contains(id), "left out: {id}");
    }

    let of = &made[0].id;
    let mut contents = Vec::new();
    for seconds in [4, 6, 5] {
        let value_proposition = build::value_proposition(of, seconds);
        contents.push((seconds, value_proposition.id.clone()));
        assert!(
            catalogue
                .add_value_proposition(&value_proposition)
                .await
                .unwrap()
        );
    }
    let listed = catalogue
        .value_propositions(of)
        .await
        .unwrap()
        .expect("the client is there");
    let listed: Vec<_> = listed.into_iter().map(|v| v.id).collect();
    assert_eq!(
        listed,
        [&contents[1].1, &contents[2].1, &contents[0].1].map(Clone::clone)
    );

    let (script, lease) = claimed(subject, LONG).await;
    for index in [2, 7, 1] {
        let template = build::template(script.job(), index);
        catalogue.put_template(&template, &lease).await.unwrap();
    }
    let by_place = catalogue.templates_of(script.id()).await.unwrap();
    assert_eq!(
        by_place.iter().map(|t| t.index).collect::<Vec<_>>(),
        [1, 2, 7],
        "the plan's order"
    );
    let newest = catalogue
        .templates(&TemplateFilter::default(), ALL)
        .await
        .unwrap();
    assert_eq!(
        newest.items.iter().map(|t| t.index).collect::<Vec<_>>(),
        [7, 2, 1],
        "newest first"
    );
}

/// A list has exactly the records that meet every filter that is given.
pub async fn filters_intersect(subject: &dyn StoreSubject) {
    let catalogue = subject.catalogue();
    let insurer = stored_client(&*catalogue, "Insurance", 1).await;
    stored_client(&*catalogue, "insurance", 2).await;
    let filter = |industry: &str| ClientFilter {
        industry: Some(industry.to_owned()),
    };
    let page = catalogue.clients(&filter("Insurance"), ALL).await.unwrap();
    assert_eq!(
        (page.total, page.items),
        (1, vec![insurer]),
        "compared as it was written"
    );
    assert_eq!(
        catalogue
            .clients(&filter("Insur*"), ALL)
            .await
            .unwrap()
            .total,
        0
    );

    jobs_by_filter(subject).await;
    templates_by_filter(subject).await;
}

async fn jobs_by_filter(subject: &dyn StoreSubject) {
    let (logs, catalogue) = (subject.log(), subject.catalogue());
    let waits = submitted(subject).await;
    let mut runs = submitted(subject).await;
    let mut fails = submitted(subject).await;
    append_all(&*logs, [runs.started(), runs.progress(10), fails.failed()]).await;
    let owner = |script: &Script| script.job().client_id.clone();
    let status = |status| JobFilter {
        status: Some(status),
        ..JobFilter::default()
    };
    let rows: [(&str, JobFilter, Vec<&Script>); 7] = [
        ("pending", status(JobStatus::Pending), vec![&waits]),
        ("running", status(JobStatus::Running), vec![&runs]),
        ("failed", status(JobStatus::Failed), vec![&fails]),
        ("completed", status(JobStatus::Completed), vec![]),
        (
            "client",
            JobFilter {
                client_id: owner(&runs),
                ..JobFilter::default()
            },
            vec![&runs],
        ),
        (
            "client and another status",
            JobFilter {
                client_id: owner(&runs),
                ..status(JobStatus::Failed)
            },
            vec![],
        ),
        (
            "changed since, that moment included",
            JobFilter {
                updated_since: fails.job().updated_at,
                ..JobFilter::default()
            },
            vec![&runs, &fails],
        ),
    ];
    for (what, filter, wanted) in rows {
        let page = catalogue.jobs(&filter, ALL).await.unwrap();
        assert_eq!(page.total, wanted.len() as u64, "{what}");
        for script in wanted {
            assert!(page.items.contains(script.job()), "{what}: {page:?}");
        }
    }
    let since = JobFilter {
        updated_since: runs.job().updated_at.map(|latest| latest.plus_millis(1)),
        ..JobFilter::default()
    };
    assert_eq!(
        catalogue.jobs(&since, ALL).await.unwrap().total,
        0,
        "nothing changed since"
    );
    append_all(&*logs, [Script::of(waits.job().clone()).cancelled()]).await;
    assert_eq!(
        catalogue
            .jobs(&status(JobStatus::Pending), ALL)
            .await
            .unwrap()
            .total,
        0
    );
    append_all(&*logs, [runs.cancelled()]).await;
}

/// Templates of two jobs by each combination of filters, with values that one template has, and with
/// one value that it has not.
async fn templates_by_filter(subject: &dyn StoreSubject) {
    let catalogue = subject.catalogue();
    let mut made: Vec<Template> = Vec::new();
    for plan in [
        [
            (Category::RoiFocused, Audience::Broker),
            (Category::RoiFocused, Audience::HealthPlan),
            (Category::Comprehensive, Audience::Broker),
        ],
        [
            (Category::RoiFocused, Audience::Broker),
            (Category::ClinicalOutcomes, Audience::MedicalManagement),
            (Category::ClinicalOutcomes, Audience::HealthPlan),
        ],
    ] {
        let (script, lease) = claimed(subject, LONG).await;
        for ((category, audience), index) in plan.into_iter().zip(1..) {
            let template = build::template_of(script.job(), index, category, audience);
            let put = catalogue.put_template(&template, &lease).await.unwrap();
            assert_eq!(put, PutTemplate::Stored);
            made.insert(0, template);
        }
    }
    let mut filters = Vec::new();
    for template in &made {
        for combination in 0..16 {
            let is_in = |bit: u8| combination & bit != 0;
            filters.push(TemplateFilter {
                client_id: is_in(1).then(|| template.client_id.clone()),
                job_id: is_in(2).then(|| template.job_id.clone()),
                category: is_in(4).then_some(template.category),
                target_audience: is_in(8).then_some(template.target_audience),
            });
        }
    }
    let mut strange = filters.clone();
    for (filter, n) in strange.iter_mut().zip(0..) {
        match n % 4 {
            0 => filter.client_id = Some(build::client_id()),
            1 => filter.job_id = Some(build::job_id()),
            2 => filter.category = Some(Category::CompetitivePositioning),
            _ => filter.target_audience = Some(Audience::Tpa),
        }
    }
    for filter in filters.into_iter().chain(strange) {
        let wanted: Vec<&Template> = made.iter().filter(|t| is_met(&filter, t)).collect();
        let mut found = Vec::new();
        for page in 1..=2 {
            let paging = Paging { page, page_size: 4 };
            let page = catalogue.templates(&filter, paging).await.unwrap();
            assert_eq!(page.total, wanted.len() as u64, "{filter:?}");
            found.extend(page.items);
        }
        assert_eq!(found.len(), wanted.len(), "{filter:?}");
        for template in wanted {
            assert!(found.contains(template), "{filter:?}");
        }
        let times: Vec<_> = found.iter().map(|t| t.created_at).collect();
        assert!(times.iter().rev().is_sorted(), "{filter:?}: {times:?}");
    }
}

fn is_met(filter: &TemplateFilter, template: &Template) -> bool {
    let TemplateFilter {
        client_id,
        job_id,
        category,
        target_audience,
    } = filter;
    client_id
        .as_ref()
        .is_none_or(|id| *id == template.client_id)
        && job_id.as_ref().is_none_or(|id| *id == template.job_id)
        && category.is_none_or(|category| category == template.category)
        && target_audience.is_none_or(|audience| audience == template.target_audience)
}
