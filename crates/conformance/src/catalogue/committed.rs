//! The laws of templates, for those that come with the commit of their events.

use conch_domain::{JobId, Template};
use conch_ports::{Appended, Catalogue, Commit, ErrorKind, Fence, TemplateFilter};

use super::ALL;
use crate::StoreSubject;
use crate::build::{self, Script, together, with_templates};
use crate::observe::{AFTER_SHORT, LONG, SHORT, append_all, claimed, log_of};

/// The event that names a template, with it.
fn completed(script: &mut Script, template: &Template) -> Commit {
    with_templates([template], script.template_completed(template))
}

/// The job has these templates, and no other; `refused` is one that isn't kept.
async fn has(catalogue: &dyn Catalogue, job_id: &JobId, kept: &[&Template], refused: &Template) {
    let found = catalogue.templates_of(job_id).await.unwrap();
    assert!(found.iter().eq(kept.iter().copied()), "{found:#?}");
    let found = catalogue.template(&refused.id).await.unwrap();
    assert_eq!(found, None, "a refused commit's template is there");
    let filter = TemplateFilter {
        job_id: Some(job_id.clone()),
        ..TemplateFilter::default()
    };
    for filter in [filter, TemplateFilter::default()] {
        let page = catalogue.templates(&filter, ALL).await.unwrap();
        let of_it = page.items.iter().filter(|found| found.job_id == *job_id);
        assert_eq!(of_it.count(), kept.len(), "a list has others");
    }
}

pub(super) async fn those_of_a_commit_are_fenced(subject: &dyn StoreSubject) {
    let (logs, catalogue) = (subject.log(), subject.catalogue());
    let (mut script, _) = claimed(subject, LONG).await;
    let id = script.id().clone();
    let template = build::template(script.job(), 1);
    let commit = completed(&mut script, &template);
    let stranger = Commit {
        fence: Fence::Held(build::token()),
        ..commit.clone()
    };
    assert_eq!(
        logs.append(stranger).await.unwrap(),
        Appended::Fenced,
        "a stranger's template"
    );
    has(&*catalogue, &id, &[], &template).await;
    for fence in [Fence::Open, Fence::Unclaimed, Fence::Foreign] {
        let unheld = Commit {
            fence,
            ..commit.clone()
        };
        let refused = logs
            .append(unheld)
            .await
            .expect_err("no lease, no templates");
        assert_eq!(refused.kind(), ErrorKind::Refused, "{refused}");
    }
    has(&*catalogue, &id, &[], &template).await;
    append_all(&*logs, [commit]).await;
    let never = build::template(script.job(), 7);
    has(&*catalogue, &id, &[&template], &never).await;

    let (mut late, _) = claimed(subject, SHORT).await;
    subject.advance(AFTER_SHORT).await;
    let template = build::template(late.job(), 1);
    let commit = completed(&mut late, &template);
    assert_eq!(
        logs.append(commit).await.unwrap(),
        Appended::Fenced,
        "a late template"
    );
    has(&*catalogue, late.id(), &[], &template).await;

    let (mut ended, _) = claimed(subject, LONG).await;
    let mut other = ended.clone();
    append_all(&*logs, [ended.failed()]).await;
    let template = build::template(ended.job(), 1);
    let commit = completed(&mut other, &template);
    assert_eq!(logs.append(commit).await.unwrap(), Appended::Ended);
    has(&*catalogue, ended.id(), &[], &template).await;
}

pub(super) async fn the_first_committed_stays(subject: &dyn StoreSubject) {
    let (logs, catalogue) = (subject.log(), subject.catalogue());
    let (mut script, _) = claimed(subject, LONG).await;
    let id = script.id().clone();
    append_all(&*logs, [script.started()]).await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let logs = subject.log();
        let mut script = script.clone();
        tasks.push(tokio::spawn(async move {
            // Each time the log went on, after that.
            loop {
                let template = build::template(script.job(), 1);
                let commit = completed(&mut script.clone(), &template);
                match logs.append(commit).await.expect("the store answers") {
                    Appended::Conflict(_) => {
                        let log = log_of(&*logs, script.id()).await;
                        script = script.onto(log.job);
                    }
                    answer => return (template, answer),
                }
            }
        }));
    }
    let mut first = None;
    let mut rivals = Vec::new();
    for task in tasks {
        match task.await.expect("appending doesn't panic") {
            (template, Appended::Appended) => {
                let before = first.replace(template);
                assert!(before.is_none(), "two were kept at one place");
            }
            (template, answer) => {
                assert_eq!(answer, Appended::PlaceTaken(1), "its place has another");
                rivals.push(template);
            }
        }
    }
    let first = first.expect("one is kept");
    for rival in &rivals {
        has(&*catalogue, &id, &[&first], rival).await;
    }

    let before = log_of(&*logs, &id).await.job;
    let mut script = script.onto(before.clone());
    let second = build::template(&before, 2);
    let mut both = script.clone();
    let both = together([
        completed(&mut both, &second),
        completed(&mut both, &rivals[0]),
    ]);
    let answer = logs.append(both).await.unwrap();
    assert_eq!(
        answer,
        Appended::PlaceTaken(1),
        "the one of the two that is taken"
    );
    has(&*catalogue, &id, &[&first], &second).await;
    assert_eq!(
        log_of(&*logs, &id).await.job,
        before,
        "its events are there"
    );

    let third = build::template(&before, 2);
    let two = with_templates([&second, &third], script.clone().progress(20));
    let refused = logs.append(two).await.expect_err("two at one place");
    assert_eq!(refused.kind(), ErrorKind::Refused, "{refused}");
    has(&*catalogue, &id, &[&first], &second).await;

    append_all(&*logs, [completed(&mut script, &second)]).await;
    // After a loss, as it were: it is said again, and is there.
    let again = with_templates([&first, &second], script.progress(30));
    append_all(&*logs, [again]).await;
    has(&*catalogue, &id, &[&first, &second], &rivals[0]).await;
}
