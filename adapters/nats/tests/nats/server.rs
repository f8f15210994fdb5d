//! A nats-server of a test's own: on a free port, killed on drop.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use conch_nats::Settings;
use conch_ports::{EventBus, Message, Signal, Signals};
use futures::StreamExt;
use tokio::time::timeout;

/// What the contract's three kinds of users may do, and no more.
pub(crate) const RIGHTS: &str = r#"
authorization {
  users: [
    { user: conch, password: "p@ss:/word", permissions: {
        publish: ["triton.own.*", "triton.probe.*"], subscribe: ["triton.*.*"] } }
    { user: publisher, password: x, permissions: {
        publish: ["triton.jobs.*"], subscribe: { deny: ">" } } }
    { user: mute, password: x, permissions: {
        publish: { deny: ">" }, subscribe: ["triton.*.*"] } }
    { user: reader, password: x, permissions: {
        publish: { deny: ">" }, subscribe: ["triton.jobs.*", "triton.own.*"] } }
  ]
}
"#;

/// A running nats-server.
pub(crate) struct Server {
    process: Option<Child>,
    folder: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(RIGHTS)
    }

    /// With that in its configuration.
    pub(crate) fn with(configuration: &str) -> Self {
        let mut server = Self {
            process: None,
            folder: tempfile::tempdir().expect("a temporary folder"),
            port: 0,
        };
        for _ in 0..20 {
            // Below the ports that outgoing connections are given.
            server.port = rand::random_range(10_000..30_000);
            server.configure(configuration);
            if TcpListener::bind(("127.0.0.1", server.port)).is_ok() && server.launch() {
                return server;
            }
        }
        panic!("no nats-server came up on any of 20 ports");
    }

    /// A file in its folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes its configuration anew. It knows only after [`Server::reload`].
    pub(crate) fn configure(&self, configuration: &str) {
        let text = format!("listen: \"127.0.0.1:{}\"\n{configuration}", self.port);
        std::fs::write(self.file("nats.conf"), text).expect("the folder can be written to");
    }

    pub(crate) fn reload(&self) {
        self.signal("HUP");
    }

    /// Kills it, if it runs, and starts it anew on the same port.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "nats-server did not come up again");
    }

    /// False when it ended at once: the port was taken.
    fn launch(&mut self) -> bool {
        // Debian puts it where not every user's path leads.
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let program = std::env::var("NATS_SERVER_BIN").unwrap_or("nats-server".to_owned());
        let mut process = Command::new(program)
            .env("PATH", path)
            .arg("--config")
            .arg(self.file("nats.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server must be installed (apt-get install nats-server)");
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if process
                .try_wait()
                .expect("its status can be asked for")
                .is_some()
            {
                return false;
            }
            assert!(Instant::now() < deadline, "nats-server did not come up");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.process = Some(process);
        true
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it can be killed");
            process.wait().expect("it ends");
        }
    }

    /// SIGSTOP, SIGCONT or SIGHUP.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().expect("it runs").id();
        let status = Command::new("kill")
            .args(["-s", name, &id.to_string()])
            .status()
            .expect("kill is installed");
        assert!(status.success());
    }

    pub(crate) fn bus(&self) -> Arc<dyn EventBus> {
        let settings = settings(&url(self.port));
        settings.build().expect("they can work")
    }

    /// Another program than ours.
    pub(crate) async fn client(&self, user: &str) -> Client {
        client(self.port, user).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Another program than ours, at the server on that port.
pub(crate) async fn client(port: u16, user: &str) -> Client {
    async_nats::ConnectOptions::with_user_and_password(user.to_owned(), "x".to_owned())
        .connect(format!("nats://127.0.0.1:{port}"))
        .await
        .expect("it is let in")
}

/// The address for our programs of what listens on that port.
pub(crate) fn url(port: u16) -> String {
    format!("nats://conch:p%40ss%3A%2Fword@127.0.0.1:{port}")
}

/// NATS at `url`, tested more often than an operator would.
pub(crate) fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        credentials: None,
        authorities: None,
        prefix: "triton".to_owned(),
        kit: conch_bus_kit::Settings {
            probe_interval: Duration::from_millis(200),
            probe_timeout: Duration::from_secs(1),
            backoff_cap: Duration::from_millis(200),
            ..conch_bus_kit::Settings::default()
        },
    }
}

pub(crate) async fn next(signals: &mut Signals) -> Signal {
    timeout(Duration::from_secs(20), signals.next())
        .await
        .expect("a signal in time")
        .expect("a subscription never ends")
}

/// The next message: gaps go by, as one may follow any other.
pub(crate) async fn heard(signals: &mut Signals) -> Message {
    loop {
        if let Signal::Message(message) = next(signals).await {
            return message;
        }
    }
}
