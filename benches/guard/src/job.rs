//! A whole job in the hands of its worker, from the claim to the end, on the store in memory: seventeen
//! events, seven templates that are ready.
//!
//! One thread, so that a count doesn't depend on which thread was first.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use conch_conformance::build;
use conch_domain::{Client, Schedule, WrittenDraft};
use conch_ports::{Brief, NewJob, Requested, Signal, Signals, TemplateGenerator};
use conch_services::{
    triton::submit::Submit,
    worker::{Dependencies, Settings},
};
use conch_wire::draft;
use futures::StreamExt as _;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::deliver::clock;

/// A template of the right kind, at once.
struct Ready;

#[async_trait]
impl TemplateGenerator for Ready {
    async fn generate(&self, brief: &Brief) -> conch_ports::Result<WrittenDraft> {
        Ok(draft::written(build::draft(
            brief.item.category,
            brief.item.audience,
        )))
    }
}

pub(crate) fn run(times: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let memory = conch_memory::Settings::default().build();
    let (queue, catalogue) = (memory.queue(), memory.catalogue());
    let submit = Submit::new(Arc::clone(&queue), Arc::clone(&catalogue), clock());
    let client = runtime.block_on(async {
        let client = build::client("health", 0);
        catalogue.create_client(&client).await?;
        let value_proposition = build::value_proposition(&client.id, 0);
        catalogue.add_value_proposition(&value_proposition).await?;
        anyhow::Ok(client)
    })?;
    let worker = Settings::default().build(Dependencies {
        log: memory.log(),
        queue,
        catalogue,
        generator: Arc::new(Ready),
        clock: clock(),
    });
    let mut heard = memory.bus().subscribe();
    runtime.spawn(worker.run(memory.bus().subscribe(), CancellationToken::new()));
    // What is done once: the worker finds the queue empty.
    runtime.block_on(async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..times {
        runtime.block_on(submit_one(&submit, &client))?;
        let ended = counted_job(&runtime, &mut heard);
        ensure!(ended, "the bus fell silent before the job's end");
    }
    Ok(())
}

async fn submit_one(submit: &Submit, client: &Client) -> Result<()> {
    let new = NewJob {
        client_id: client.id.clone(),
        value_proposition_id: None,
        schedule: Schedule::default(),
        idempotency_key: None,
    };
    let requested = submit.submit(new, "guard").await.context("submitting")?;
    ensure!(matches!(requested, Requested::Accepted(_)), "not accepted");
    Ok(())
}

/// Waits until a job has ended.
#[inline(never)]
fn counted_job(runtime: &Runtime, heard: &mut Signals) -> bool {
    runtime.block_on(end(heard))
}

async fn end(heard: &mut Signals) -> bool {
    while let Some(signal) = heard.next().await {
        if let Signal::Message(message) = signal
            && is_end(&message.bytes)
        {
            return true;
        }
    }
    false
}

fn is_end(line: &[u8]) -> bool {
    line.starts_with(br#"{"event_type":"job:completed""#)
}
