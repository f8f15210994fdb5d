//! Conch's worker as it is, but for its generator: that one answers with what is ready, or makes its jobs
//! wait until the bench lets one of them say something.
//!
//! A process of its own, which takes its settings from its environment like `conch-worker`. Nothing here
//! may spare the worker a step: everything beyond the generator is the product's own wiring.

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use clap::ValueEnum;
use conch::Plant;
use conch::config::{Program, Settings};
use conch_domain::WrittenDraft;
use conch_generator::builtin;
use conch_ports::{Brief, Error, ErrorKind, TemplateGenerator};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::{process::monotonic_nanos, watchers::stamp};

/// The client says: let one job have an event.
pub(crate) const RELEASE: u8 = b'+';
/// The client asks how many jobs wait to be let go; the answer is a line with a number.
pub(crate) const WAITING: u8 = b'?';

/// What the generator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// No job is claimed: a job service alone.
    Service,
    /// Each template waits until it is let go, and then can't be made: one event of the job and nothing
    /// else. The one that waits longest is let go first.
    Gated,
    /// Each template is ready.
    Ready,
}

/// Runs until it is told to end.
pub(crate) fn serve(
    mode: Mode,
    concurrency: usize,
    pace: Duration,
    control: SocketAddr,
) -> Result<ExitCode> {
    let flags = conch::command(
        "conch-bench-worker",
        "The worker of a bench.",
        Program::Worker,
    )
    .try_get_matches_from(["conch-bench-worker", "--env-file="])?;
    let generator: Arc<dyn TemplateGenerator> = match mode {
        Mode::Service | Mode::Ready => Arc::new(Ready {
            composer: builtin::Settings::default().build(),
            drafts: std::array::from_fn(|_| OnceLock::new()),
            pace,
        }),
        Mode::Gated => {
            let gate = Arc::new(Gate {
                released: Semaphore::new(0),
                waiting: AtomicUsize::new(0),
            });
            listen(control, Arc::clone(&gate))?;
            gate
        }
    };
    let plant = Instead {
        generator,
        // More than the variable takes, or none at all.
        concurrency: if mode == Mode::Service {
            0
        } else {
            concurrency
        },
    };
    Ok(conch::main_with(Program::Worker, &flags, |_| None, &plant))
}

/// What the bench has the worker do instead.
struct Instead {
    generator: Arc<dyn TemplateGenerator>,
    concurrency: usize,
}

impl Plant for Instead {
    fn settings(&self, settings: &mut Settings) {
        let worker = settings.worker.as_mut().expect("a worker has them");
        worker.concurrency = self.concurrency;
    }

    fn generator(&self, _: Arc<dyn TemplateGenerator>) -> Arc<dyn TemplateGenerator> {
        Arc::clone(&self.generator)
    }
}

/// Composes each template of the plan once, and answers with it ever after.
struct Ready {
    composer: Arc<dyn TemplateGenerator>,
    drafts: [OnceLock<WrittenDraft>; 7],
    /// How long each takes.
    pace: Duration,
}

#[async_trait]
impl TemplateGenerator for Ready {
    async fn generate(&self, brief: &Brief) -> conch_ports::Result<WrittenDraft> {
        if !self.pace.is_zero() {
            tokio::time::sleep(self.pace).await;
        }
        let ready = &self.drafts[brief.index as usize - 1];
        if let Some(draft) = ready.get() {
            return Ok(draft.clone());
        }
        let draft = self.composer.generate(brief).await?;
        Ok(ready.get_or_init(|| draft).clone())
    }
}

/// Lets jobs have an event when it is told to.
struct Gate {
    released: Semaphore,
    waiting: AtomicUsize,
}

#[async_trait]
impl TemplateGenerator for Gate {
    async fn generate(&self, _: &Brief) -> conch_ports::Result<WrittenDraft> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let released = self.released.acquire().await;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        released.expect("the gate is never closed").forget();
        let now = monotonic_nanos().expect("the clock runs");
        Err(Error::new(
            ErrorKind::Refused,
            "template_generator.generate",
            stamp(now),
        ))
    }
}

/// Takes orders in a thread of its own, whose runtime the program's parts don't share.
fn listen(address: SocketAddr, gate: Arc<Gate>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .with_context(|| format!("binding {address}"))?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(obey(stream, Arc::clone(&gate)));
            }
        });
    });
    Ok(())
}

async fn obey(mut stream: TcpStream, gate: Arc<Gate>) -> std::io::Result<()> {
    let mut orders = [0; 256];
    loop {
        let count = stream.read(&mut orders).await?;
        if count == 0 {
            return Ok(());
        }
        for order in &orders[..count] {
            if *order == RELEASE {
                gate.released.add_permits(1);
            } else {
                let waiting = gate.waiting.load(Ordering::SeqCst);
                stream.write_all(format!("{waiting}\n").as_bytes()).await?;
            }
        }
    }
}
