//! A real browser: Chromium without a window, showing `tests/interop/page.html` from an origin of the test's
//! own. The page does what the test tells it, and says what it saw.
//!
//! Never steered by a driver: what this page can't do, no user's page can.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

use crate::Process;
use crate::eventually::PATIENCE;

/// A browser that does nothing but what its page wants, on a machine that may have neither a display nor
/// a user namespace.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

const PAGE: &str = include_str!("../interop/page.html");

/// Longest request of the page, in bytes.
const REQUEST_MAX: u64 = 256 * 1024;

/// Steps that wait for the page, and sayings that wait for the test: whoever is ahead waits.
const AHEAD: usize = 64;

/// A browser with one page. Ends with its handle, its processes included.
#[derive(Debug)]
pub struct Browser {
    origin: String,
    steps: mpsc::Sender<Value>,
    said: mpsc::Receiver<Value>,
    server: JoinHandle<()>,
    process: Process,
    /// Last: nobody writes to it any more when it is deleted.
    _profile: TempDir,
}

impl Browser {
    /// Starts one with a fresh profile, and waits until its page runs.
    ///
    /// # Panics
    /// When there is none, or it doesn't show the page.
    pub async fn start() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        assert!(
            std::env::split_paths(&path).any(|directory| directory.join("chromium").exists()),
            "chromium is missing: `make test` installs it, or `scripts/set-up test`"
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("the kernel has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let origin = format!("http://127.0.0.1:{port}");
        let (steps, next) = mpsc::channel(AHEAD);
        let (say, said) = mpsc::channel(AHEAD);
        let server = tokio::spawn(serve(listener, next, say));

        let profile = tempfile::tempdir().expect("a temporary directory can be made");
        // A group of its own, to be killed as one; and should this process be killed itself, the kernel
        // ends the browser, and with it its children.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "chromium"])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(&origin)
            // For what it writes beside its profile.
            .env("HOME", profile.path())
            .process_group(0);
        let mut browser = Self {
            origin,
            steps,
            said,
            server,
            process: Process::start("chromium", &mut command),
            _profile: profile,
        };
        let first = browser.hear().await;
        assert_eq!(first["what"], "ready", "{first}");
        browser
    }

    /// The origin of its page, as browsers write it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Has the page do something once it has done what it was told before: the name of a step and what it
    /// is given, as a list.
    ///
    /// # Panics
    /// When the page is far behind.
    pub fn tell(&self, step: Value) {
        let taken = self.steps.try_send(step);
        taken.expect("the page is not that far behind");
    }

    /// What the page says next.
    ///
    /// # Panics
    /// When it says nothing in time, or that it failed.
    pub async fn hear(&mut self) -> Value {
        self.hear_until(|_| true).await.remove(0)
    }

    /// All that the page says up to what fits.
    ///
    /// # Panics
    /// When that doesn't come in time, however much else does, or the page says that it failed.
    pub async fn hear_until(&mut self, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        let mut all = Vec::new();
        loop {
            let said = timeout_at(deadline, self.said.recv()).await;
            let said = said.unwrap_or_else(|_| panic!("all that the page said in time: {all:#?}"));
            let said = said.expect("the server lives as long as this");
            assert_ne!(said["what"], "failed", "{said}");
            let last = fits(&said);
            all.push(said);
            if last {
                return all;
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.server.abort();
        let group = Pid::from_raw(self.process.pid() as i32);
        // An error says that none of it is left.
        let _nobody_left = killpg(group, Signal::SIGKILL).is_err();
    }
}

/// The page's own server, which knows no client but the page.
async fn serve(listener: TcpListener, next: mpsc::Receiver<Value>, said: mpsc::Sender<Value>) {
    let next = Arc::new(Mutex::new(next));
    // They end with this task.
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        let (next, said) = (next.clone(), said.clone());
        connections.spawn(async move {
            // Whoever hung up wants no answer.
            drop(answer(connection, &next, &said).await);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Answers one request, and closes.
async fn answer(
    connection: TcpStream,
    next: &Mutex<mpsc::Receiver<Value>>,
    said: &mpsc::Sender<Value>,
) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let (request, body) = read(&mut connection).await?;
    let found = match request.split(' ').take(2).collect::<Vec<_>>()[..] {
        ["GET", "/"] => Some(("text/html; charset=utf-8", PAGE.to_owned())),
        ["GET", "/next"] => {
            let step = next.lock().await.recv().await;
            step.map(|step| ("application/json", step.to_string()))
        }
        ["POST", "/said"] => {
            let heard = said.send(serde_json::from_slice(&body)?).await;
            heard.ok().map(|()| ("text/plain", String::new()))
        }
        // An icon, say.
        _ => None,
    };
    let status = if found.is_some() {
        "200 OK"
    } else {
        "404 Not Found"
    };
    let (kind, text) = found.unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    connection.write_all(answer.as_bytes()).await?;
    connection.shutdown().await
}

/// The first line of a request, and its body.
async fn read(connection: &mut BufReader<TcpStream>) -> io::Result<(String, Vec<u8>)> {
    let mut connection = connection.take(REQUEST_MAX);
    let (mut request, mut length) = (String::new(), 0);
    connection.read_line(&mut request).await?;
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = Vec::new();
    connection.take(length).read_to_end(&mut body).await?;
    Ok((request, body))
}
