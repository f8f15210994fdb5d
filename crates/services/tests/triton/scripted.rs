//! A worker with a scripted generator: each call, in order, with what it is told; one call more or less
//! fails the test.

use std::sync::Arc;

use conch_conformance::build;
use conch_domain::JobStatus;
use conch_ports::{Brief, Error, ErrorKind, MockTemplateGenerator};
use conch_services::worker::Settings;
use mockall::Sequence;

use crate::system::{System, settings};

fn fails(kind: ErrorKind) -> Error {
    Error::new(
        kind,
        "template_generator.generate",
        "name: must have 5 to 100 characters",
    )
}

/// The second template needs three tries; no other is tried twice.
#[tokio::test(start_paused = true)]
async fn a_bad_answer_is_tried_again_with_what_was_wrong_and_the_names_so_far() {
    let system = System::new().await;
    let mut generator = MockTemplateGenerator::new();
    let mut order = Sequence::new();
    let mut script = |index: u32, try_number: u32, answers: bool| {
        generator
            .expect_generate()
            .times(1)
            .in_sequence(&mut order)
            .withf(move |brief: &Brief| {
                let told = brief.last_failure.as_deref().unwrap_or_default();
                brief.index == index
                    && brief.try_number == try_number
                    && told.contains("name: must have") == (try_number > 1)
                    && brief.names.len() == index as usize - 1
            })
            .returning(move |brief| {
                if answers {
                    let draft = build::draft(brief.item.category, brief.item.audience);
                    Ok(conch_wire::draft::written(draft))
                } else {
                    Err(fails(ErrorKind::BadResponse))
                }
            });
    };
    script(1, 1, true);
    script(2, 1, false);
    script(2, 2, false);
    script(2, 3, true);
    for index in 3..=7 {
        script(index, 1, true);
    }
    let settings = Settings {
        template_tries: 3,
        ..settings("w")
    };
    let _worker = system.worker_asking(settings, Arc::new(generator));
    let id = system.submitted().await;
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(log.job.template_ids.len(), 7);
}
