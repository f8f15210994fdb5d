//! What a process does when one of its parts fails.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;

use conch_doubles::{Faults, FaultyMemory};

use super::*;
use crate::config::{Program, Source};
use crate::{install_tls, operate};

/// A complete system on a store with injected faults, with a clock that can fail.
struct Victim {
    system: System,
    faults: Faults,
    clock_is_broken: Arc<AtomicBool>,
}

impl Victim {
    async fn start() -> Self {
        let mut settings = settings(&[]);
        if let Some(worker) = &mut settings.worker {
            // Only the part that is to fail reads the time.
            worker.demo_client = false;
        }
        let memory = FaultyMemory::new(conch_memory::Settings::default());
        let clock_is_broken = Arc::new(AtomicBool::new(false));
        let clock: Clock = {
            let (time, broken) = (system_clock(), Arc::clone(&clock_is_broken));
            Arc::new(move || {
                assert!(!broken.load(Ordering::Relaxed), "a clock that is broken");
                time()
            })
        };
        let system = start_on(
            &on(&memory),
            clock,
            settings,
            no_metrics(),
            &IoThreads::on_current(),
            &(),
        )
        .await;
        Self {
            system: system.expect("free ports"),
            faults: memory.faults(),
            clock_is_broken,
        }
    }
}

fn on(memory: &FaultyMemory) -> Stores {
    Stores {
        log: memory.log(),
        bus: memory.bus(),
        cache: memory.cache(),
        queue: memory.queue(),
        catalogue: memory.catalogue(),
        tickets: memory.tickets(),
    }
}

/// Everything in one process, on free ports unless given.
fn settings(env: &[(&str, &str)]) -> Settings {
    install_tls();
    let usual = [
        ("MARE_API_ADDR", "127.0.0.1:0"),
        ("TRITON_API_ADDR", "127.0.0.1:0"),
        ("TRITON_BASE_URL", "http://127.0.0.1:1"),
        ("LEASE_SECONDS", "1"),
        ("POSITION_CHECK_SECONDS", "1"),
    ];
    let flags = config::command(clap::Command::new("test"), Program::AllInOne);
    let source = Source::read(
        Program::AllInOne,
        &flags.get_matches_from(["test"]),
        // The last value of a name counts.
        usual
            .iter()
            .chain(env)
            .map(|(name, value)| (name.into(), value.into())),
        config::EnvFile::default(),
    )
    .expect("all of it is text");
    Settings::new(Program::AllInOne, &source).expect("good settings")
}

fn no_metrics() -> Metrics {
    Arc::new(String::new)
}

/// The calls that were made on the store, once every task that can run has run.
async fn calls_of(memory: &FaultyMemory, operation: &str) -> u64 {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    memory.faults().calls(operation)
}

#[tokio::test]
async fn a_program_that_cannot_start_has_claimed_and_created_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("it is bound");
    let taken = taken.to_string();
    let memory = FaultyMemory::new(conch_memory::Settings::default());
    let start = async |env: &[(&str, &str)]| {
        start_on(
            &on(&memory),
            system_clock(),
            settings(env),
            no_metrics(),
            &IoThreads::on_current(),
            &(),
        )
        .await
    };
    for name in ["MARE_API_ADDR", "MARE_OPS_ADDR"] {
        let error = start(&[(name, &taken)]).await.err().expect("it is taken");
        let error = format!("{error:#}");
        assert!(error.contains("Mare") && error.contains(&taken), "{error}");
        for operation in ["job_queue.claim", "catalogue.clients"] {
            assert_eq!(calls_of(&memory, operation).await, 0, "{operation}");
        }
    }
    // So these are the calls of a started program.
    let system = start(&[]).await.expect("free ports");
    for operation in ["job_queue.claim", "catalogue.clients"] {
        assert_ne!(calls_of(&memory, operation).await, 0, "{operation}");
    }
    assert!(system.drain().await);
}

/// The answers of all listeners to `GET /readyz`, with their headers.
async fn readiness_of(system: &System) -> Vec<String> {
    let addresses: Vec<_> = system.servers.iter().map(|(_, s)| s.address()).collect();
    let ask = move |address| {
        let mut connection = TcpStream::connect(address).expect("it listens");
        let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        connection.write_all(request).expect("it reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("it answers");
        answer
    };
    let asked = tokio::task::spawn_blocking(move || addresses.into_iter().map(ask).collect());
    asked.await.expect("they answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_gone_ends_the_process() {
    type Hurt = fn(&Victim);
    let rows: [(&str, Hurt); 3] = [
        ("worker", |victim| {
            victim.faults.panic_next("job_queue.expired", 1);
        }),
        ("ingest", |victim| {
            victim.faults.panic_next("job_log.read", 1);
            let foreign = r#"{"event_type":"job:started","job_id":"f"}"#;
            victim.faults.announce_raw(foreign);
        }),
        ("hub", |victim| {
            victim.clock_is_broken.store(true, Ordering::Relaxed);
        }),
    ];
    for (part, hurt) in rows {
        let victim = Victim::start().await;
        for answer in readiness_of(&victim.system).await {
            assert!(answer.starts_with("HTTP/1.1 200"), "{part}: {answer}");
        }
        hurt(&victim);
        tokio::time::timeout(Duration::from_secs(20), victim.system.failed())
            .await
            .expect(part);
        let answers = readiness_of(&victim.system).await;
        assert_eq!(answers.len(), 2, "Mare and Triton");
        for answer in answers {
            assert!(answer.starts_with("HTTP/1.1 503"), "{part}: {answer}");
            let why = format!("the task '{part}' ended before its time");
            assert!(answer.contains(&why), "{part}: {answer}");
        }
        let code = operate(victim.system, &CancellationToken::new()).await;
        let software = ExitCode::from(70);
        assert_eq!(format!("{code:?}"), format!("{software:?}"), "{part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_that_was_asked_for_is_a_success() {
    let victim = Victim::start().await;
    let asked_to_end = CancellationToken::new();
    asked_to_end.cancel();
    let code = operate(victim.system, &asked_to_end).await;
    let success = ExitCode::SUCCESS;
    assert_eq!(format!("{code:?}"), format!("{success:?}"));
}
