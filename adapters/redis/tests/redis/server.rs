//! A redis-server of a test's own: on a free port, without persistence, killed on drop.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use conch_redis::{Settings, Stores};
use redis::{Cmd, FromRedisValue};

/// A running redis-server.
pub(crate) struct Server {
    process: Option<Child>,
    folder: tempfile::TempDir,
    append_only: bool,
    pub(crate) port: u16,
}

impl Server {
    /// On a port that was free, below those that outgoing connections are given.
    pub(crate) fn start() -> Self {
        let mut server = Self {
            process: None,
            // In memory where there is such a place: while the disk is busy, Redis puts writes to its append-only
            // file off, and loses them when a test kills it then.
            folder: tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .expect("a temporary folder"),
            append_only: false,
            port: 0,
        };
        for _ in 0..20 {
            server.port = rand::random_range(10_000..30_000);
            if TcpListener::bind(("127.0.0.1", server.port)).is_ok() && server.launch() {
                return server;
            }
        }
        panic!("no redis-server came up on any of 20 ports");
    }

    /// Writes an append-only file from now on, and loads it after a restart.
    #[allow(dead_code)] // only one of this crate's tests has use for it
    pub(crate) fn append_only(&mut self) {
        self.append_only = true;
        let _: String = self.run(&["CONFIG", "SET", "appendonly", "yes"]);
        while !self
            .run::<String>(&["INFO", "persistence"])
            .contains("aof_rewrite_in_progress:0")
        {
            std::thread::yield_now();
        }
    }

    /// Kills it, if it runs, and starts it anew on the same port, with what it had saved.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "redis-server did not come up again");
    }

    /// False when it ended at once: another process took the port.
    fn launch(&mut self) -> bool {
        let mut process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args([
                "--save",
                "",
                "--appendonly",
                if self.append_only { "yes" } else { "no" },
            ])
            .arg("--dir")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server must be installed (apt-get install redis-server)");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.answers(process.id()) {
            if process
                .try_wait()
                .expect("its status can be asked for")
                .is_some()
            {
                return false;
            }
            assert!(Instant::now() < deadline, "redis-server did not come up");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.process = Some(process);
        true
    }

    /// Whether it is really that process which answers on the port, and has loaded its data.
    fn answers(&self, process: u32) -> bool {
        self.client()
            .get_connection_with_timeout(Duration::from_secs(1))
            .and_then(|mut connection| {
                redis::cmd("INFO")
                    .arg("everything")
                    .query::<String>(&mut connection)
            })
            .is_ok_and(|info| {
                info.contains(&format!("process_id:{process}\r\n"))
                    && info.contains("\nloading:0\r\n")
            })
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it can be killed");
            process.wait().expect("it ends");
        }
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().expect("it runs").id();
        let status = Command::new("kill")
            .args(["-s", name, &id.to_string()])
            .status()
            .expect("kill is installed");
        assert!(status.success());
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).expect("a good address")
    }

    /// A connection that listens, as redis-cli SUBSCRIBE does.
    pub(crate) async fn listen(&self, channels: &[&str]) -> redis::aio::PubSub {
        let mut connection = self.client().get_async_pubsub().await.expect("it is up");
        connection.subscribe(channels).await.expect("it confirms");
        connection
    }

    /// Runs a command as redis-cli does.
    pub(crate) fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = Cmd::new();
        for word in words {
            command.arg(word);
        }
        let mut connection = self.client().get_connection().expect("it is up");
        command
            .query(&mut connection)
            .expect("it takes the command")
    }

    /// Ends every lifetime that a key has, as if nobody had come for that long.
    #[allow(dead_code)] // only one of this crate's tests has use for it
    pub(crate) fn outlive(&self) {
        for key in self.run::<Vec<String>>(&["KEYS", "*"]) {
            if self.run::<i64>(&["PTTL", &key]) >= 0 {
                let _: u64 = self.run(&["DEL", &key]);
            }
        }
    }

    /// SET with any bytes.
    #[allow(dead_code)] // only one of this crate's tests has use for it
    pub(crate) fn set(&self, key: &str, value: &[u8]) {
        let mut connection = self.client().get_connection().expect("it is up");
        let set: redis::RedisResult<()> =
            redis::cmd("SET").arg(key).arg(value).query(&mut connection);
        set.expect("it takes the command");
    }

    /// PUBLISH of any bytes.
    #[allow(dead_code)] // only one of this crate's tests has use for it
    pub(crate) fn publish(&self, channel: &str, bytes: &[u8]) {
        let mut connection = self.client().get_connection().expect("it is up");
        let mut publish = redis::cmd("PUBLISH");
        let heard: redis::RedisResult<u64> = publish.arg(channel).arg(bytes).query(&mut connection);
        heard.expect("it takes the command");
    }

    /// Settings with short waits.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::new(self.url());
        settings.probe_interval = Duration::from_millis(100);
        settings.probe_timeout = Duration::from_millis(500);
        settings.backoff_cap = Duration::from_millis(100);
        settings
    }

    pub(crate) fn stores(&self) -> Stores {
        self.settings().build().expect("good settings")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
