//! A Triton behind TLS: whose certificates a gateway trusts.

use std::fs;
use std::sync::Arc;

use conch_harness::conch::Plan;
use conch_harness::{Persistence, Redis};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;

/// A server that ends TLS in front of a port of this machine. Ends with its handle.
struct Front {
    port: u16,
    task: JoinHandle<()>,
}

impl Front {
    /// With a certificate of that authority for 127.0.0.1.
    async fn start(authority: &Authority, target: u16) -> Self {
        authority.sign("triton", "127.0.0.1");
        let certificate = CertificateDer::from_pem_file(authority.file("triton.pem"));
        let key = PrivateKeyDer::from_pem_file(authority.file("triton.key"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.expect("PEM")], key.expect("PEM"))
            .expect("the key is the certificate's");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("the kernel has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that doesn't trust it breaks the handshake off.
                    let Ok(mut tls) = acceptor.accept(socket).await else {
                        return;
                    };
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await {
                        copy_bidirectional(&mut tls, &mut server).await.ok();
                    }
                });
            }
        });
        Self { port, task }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_triton_over_https_is_trusted_by_the_roots_that_the_system_names() {
    let authority = Authority::new();
    let ca = authority.text("ca.pem");
    // OpenSSL's way to keep roots: files with the hash of a name for a name.
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(&ca, folder.path().join("0a1b2c3d.0")).expect("copied");
    let folder = folder.path().to_str().expect("text");
    let redis = Redis::start(Persistence::None);
    let worker = Plan::worker(&redis).pace(10).start().await;
    let front = Front::start(&authority, worker.triton_port()).await;
    let url = format!("https://127.0.0.1:{}", front.port);

    for (name, value) in [("SSL_CERT_FILE", ca.as_str()), ("SSL_CERT_DIR", folder)] {
        let api = Plan::api(&redis, &url).env(name, value).start().await;
        let mare = api.mare();
        let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
        let events = mare.subscribe(&job_id).await.read_to_end().await;
        let end = events.last().expect("there are events");
        assert_eq!(end.kind(), "job:completed", "{name}");
    }
    // Any other roots don't vouch for it.
    let other = Authority::new();
    for roots in [None, Some(other.text("ca.pem"))] {
        let plan = Plan::api(&redis, &url);
        let api = match roots {
            Some(file) => plan.env("SSL_CERT_FILE", file),
            None => plan,
        };
        let api = api.start().await;
        let refused = api.mare().get("/clients").await;
        refused.expect_problem(502, "upstream-unavailable");
    }
}
