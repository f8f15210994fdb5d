//! TLS, and no way around it.

use std::path::PathBuf;

use conch_ports::Signal;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::server::{Server, next, settings};

/// A server with a certificate for this machine, and the file of the authority that signed it.
fn server() -> (Server, PathBuf) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).expect("a good name");
    let certificate = certificate.signed_by(&key, &authority).expect("signed");
    let mut server = Server::with("");
    let write = |name, pem: String| {
        let path = server.file(name);
        std::fs::write(&path, pem).expect("the folder can be written to");
        path
    };
    let certificate = write("server.pem", certificate.pem());
    let key = write("server.key", key.serialize_pem());
    let authority = write("authority.pem", authority.pem());
    let (certificate, key) = (certificate.display(), key.display());
    let tls = format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}\n");
    server.configure(&tls);
    server.restart();
    (server, authority)
}

#[tokio::test]
async fn a_server_is_trusted_for_its_authority() {
    let (server, authority) = server();
    for scheme in ["tls", "nats"] {
        let mut settings = settings(&format!("{scheme}://localhost:{}", server.port));
        settings.authorities = Some(authority.clone());
        let bus = settings.build().unwrap();
        bus.ping().await.unwrap();
        assert_eq!(next(&mut bus.subscribe()).await, Signal::Gap);
    }
    let stranger = settings(&format!("tls://localhost:{}", server.port));
    stranger
        .build()
        .unwrap()
        .ping()
        .await
        .expect_err("its authority is not trusted");
}

#[tokio::test]
async fn no_server_is_spoken_to_without_tls_where_one_must_have_it() {
    let server = Server::with("");
    let plain = format!("nats://localhost:{}", server.port);
    settings(&plain).build().unwrap().ping().await.unwrap();
    for url in [
        plain.replace("nats", "tls"),
        format!("{plain},tls://localhost:1"),
    ] {
        settings(&url)
            .build()
            .unwrap()
            .ping()
            .await
            .expect_err("it has no TLS");
    }
}
