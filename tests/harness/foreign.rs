//! Programs of other people's making: Node, Python, a shell. Their sources lie in `tests/interop`.

use std::process::Command;

use serde_json::Value;

use crate::eventually::{eventually, eventually_blocking};
use crate::http::{Answer, client};
use crate::process::repository;
use crate::{Process, Redis, port};

/// The Python of the virtual environment that `scripts/set-up` makes.
///
/// # Panics
/// When it was not made.
pub fn python() -> Command {
    let path = repository().join(".tools/python/bin/python");
    assert!(
        path.exists(),
        "{} is missing: `make test` sets it up, or `scripts/set-up test`",
        path.display()
    );
    Command::new(path)
}

/// A program of `tests/interop`, by that interpreter.
pub fn script(mut interpreter: Command, name: &str) -> Command {
    interpreter.arg(repository().join("tests/interop").join(name));
    interpreter
}

/// Node, with the global `EventSource` that it has itself, or that of the package `undici`, which is
/// what Node's is.
///
/// # Panics
/// When there is neither.
pub fn node() -> Command {
    let own = Command::new("node")
        .args(["--experimental-eventsource", "-e", ""])
        .output()
        .expect("node is installed: `scripts/set-up test` sees to it");
    let mut node = Command::new("node");
    if own.status.success() {
        node.args(["--no-warnings", "--experimental-eventsource"]);
    } else {
        let package = repository().join("tests/interop/node_modules/undici");
        assert!(
            package.exists(),
            "this Node has no EventSource: `scripts/set-up test` installs one"
        );
        node.arg("--import");
        node.arg(repository().join("tests/interop/eventsource.mjs"));
    }
    node
}

/// A program that knows only the three events of old, and publishes what it is told, when it is told.
#[derive(Debug)]
pub struct OldPublisher {
    process: Process,
    published: usize,
}

impl OldPublisher {
    /// Starts it for one job.
    pub fn start(redis: &Redis, job_id: &str, client_id: &str) -> Self {
        let mut command = script(python(), "old_publisher.py");
        command.args([&redis.port().to_string(), job_id, client_id]);
        Self {
            process: Process::start("old_publisher.py", &mut command),
            published: 0,
        }
    }

    /// Has it publish one event (`started`, `data`, `completed`, `failed`) on both channels; returns once
    /// Redis has taken both.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn publish(&mut self, what: &str) {
        self.process.write_line(what);
        self.published += 1;
        let process = &mut self.process;
        eventually_blocking(&format!("{what} is published"), || {
            assert!(process.ended().is_none(), "{}", process.last_words());
            (process.stdout().lines().count() == self.published).then_some(())
        });
    }
}

/// A stub of the Python Triton.
#[derive(Debug)]
pub struct PythonTriton {
    port: u16,
    process: Process,
}

impl PythonTriton {
    /// Starts it on a free port and waits until it answers.
    ///
    /// # Panics
    /// When it doesn't.
    pub async fn start() -> Self {
        for _ in 0..5 {
            let port = port::free();
            let mut command = script(python(), "python_triton.py");
            command.arg(port.to_string());
            let process = Process::start("python_triton.py", &mut command);
            let mut triton = Self { port, process };
            let up = eventually("the Python Triton answers", async || {
                if triton.process.ended().is_some() {
                    return Some(false);
                }
                let health = client().get(format!("{}/health", triton.url()));
                Answer::attempt(health).await.ok().map(|_| true)
            })
            .await;
            if up {
                return triton;
            }
            let words = triton.process.last_words();
            assert!(words.contains("already in use"), "{words}");
        }
        panic!("five ports in turn were taken");
    }

    /// Where a gateway finds it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it at once: from now on nobody listens there.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Lets a job's state change, as the Python service does on its own: `running`, `completed`, `failed`.
    pub async fn set(&self, job_id: &str, status: &str) {
        let path = format!("{}/_control/jobs/{job_id}/{status}", self.url());
        Answer::to(client().post(path)).await.json(200);
    }

    /// The requests so far, as `METHOD path`, without those of this harness.
    pub async fn requests(&self) -> Vec<String> {
        let path = format!("{}/_control/requests", self.url());
        let list = Answer::to(client().get(path)).await.json(200);
        list.as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }
}
