//! Where settings come from, seen from outside: the file `.env`, and who else can read what they hold.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use conch_harness::conch::{Plan, program};
use conch_harness::sse::assert_whole;
use conch_harness::{Persistence, Redis};
use nix::unistd::Uid;
use tempfile::TempDir;

/// A folder with that `.env`.
fn folder(content: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join(".env");
    fs::write(&file, content).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
    folder
}

fn within(folder: &Path) -> String {
    format!("cd '{}' && exec \"$@\"", folder.display())
}

/// As the existing Python service has it beside its programs.
#[tokio::test(flavor = "multi_thread")]
async fn the_env_file_of_the_working_directory_says_where_redis_is() {
    let redis = Redis::start(Persistence::None);
    let port = redis.port();
    let folder = folder(&format!(
        "REDIS_HOST=127.0.0.1\nREDIS_PORT={port}\nREDIS_PASSWORD=  # Optional: a password\n\
         LEASE_SECONDS=0\n"
    ));
    // What the environment says wins: no lease of 0 seconds.
    let mut worker = Plan::worker(&redis)
        .env("REDIS_URL", "")
        .shell(within(folder.path()))
        .start()
        .await;
    let log = worker.log();
    assert!(log.contains("read .env: it names 4 settings"), "{log}");
    assert!(!log.contains("Optional"), "{log}");
    worker.stop();
}

/// The newer names of what joins an API and a worker: one by a file, as a secret is.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_and_its_bus_are_found_by_their_urls() {
    let redis = Redis::start(Persistence::None);
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("store");
    fs::write(&file, format!("{}\n", redis.url())).expect("written");
    let worker = Plan::worker(&redis)
        .env("REDIS_URL", "")
        .env("STORE_URL_FILE", file.to_str().expect("text"))
        .start()
        .await;
    let api = Plan::api(&redis, &worker.triton_url())
        .env("REDIS_URL", "")
        .env("STORE_URL", redis.url())
        .env("BUS_URL", redis.url())
        .start()
        .await;
    let mare = api.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    assert_whole(&mare.subscribe(&job_id).await.read_to_end().await, 1);
    assert_eq!(
        redis.cli(&["PUBSUB", "NUMSUB", "triton:jobs:all"]),
        "triton:jobs:all\n2"
    );
}

#[test]
fn an_env_file_that_others_may_write_stops_the_program() {
    for name in ["conch-api", "conch-worker", "conch"] {
        let folder = folder("TRITON_TOKEN=s3cret\n");
        let mode = fs::Permissions::from_mode(0o666);
        fs::set_permissions(folder.path().join(".env"), mode).expect("ours");
        let start = |flag: &str| {
            let mut command = program(name);
            if name == "conch" {
                command.arg("run");
            }
            // It ends before it listens anywhere.
            command
                .args([flag, "--history-limit=0"])
                .current_dir(folder.path());
            let output = command.output().expect("it starts");
            assert_eq!(output.status.code(), Some(78), "{output:?}");
            String::from_utf8(output.stderr).expect("text")
        };
        let error = start("--drain-seconds=1");
        assert!(
            error.starts_with(".env in the working directory may be written"),
            "{error}"
        );
        assert!(!error.contains("s3cret"), "{error}");
        assert!(start("--env-file=").starts_with("HISTORY_LIMIT"));
        let error = start("--env-file=elsewhere");
        assert!(
            error.starts_with("--env-file names a file that does not exist"),
            "{error}"
        );
    }
}

/// A program of the worker's own user, so that nothing but the worker's care keeps them apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_generator_cannot_read_the_workers_environment() {
    let redis = Redis::start(Persistence::None);
    let folder = TempDir::new().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    // Root may read everything, so it must not be root who runs it.
    let copy = folder.path().join("conch-worker");
    let copied = format!("cp \"$1\" '{copy}' && shift && exec", copy = copy.display());
    let lowered = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let lowered = if Uid::effective().is_root() {
        lowered
    } else {
        ""
    };
    let spies = "sh -c 'id -u >&2; tr \"\\0\" \" \" </proc/$PPID/environ >&2; exit 3'";
    let worker = Plan::worker(&redis)
        .env("GENERATOR", "command")
        .env("GENERATOR_COMMAND", spies)
        .env("MAX_ATTEMPTS", "1")
        .env("TRITON_TOKEN", "s3cret-token")
        .shell(format!("{copied} {lowered} '{}' \"$@\"", copy.display()))
        .start()
        .await;
    let api = Plan::api(&redis, &worker.triton_url())
        .env("TRITON_TOKEN", "s3cret-token")
        .start()
        .await;
    let mare = api.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    mare.until_status(&job_id, "failed").await;

    let log = worker.log();
    assert!(!log.contains("s3cret-token"), "{log}");
    let line = log.lines().find(|line| line.contains("/environ"));
    let line = line.expect("the log tells what the generator found");
    assert!(line.contains("Permission denied"), "{line}");
}
