//! A private authority, for servers that speak TLS.
//!
//! Never one that this machine trusts: a program trusts it only where a test says so.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// An authority of its own, and what it signs, as files.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("written");
        Self { folder, issuer }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.file(name).to_str().expect("text").to_owned()
    }

    /// A certificate for that name or address, and its key: the files `<file>.pem` and `<file>.key`.
    pub(crate) fn sign(&self, file: &str, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        // Else it is called as its authority is, and OpenSSL takes it for one that signs itself.
        params.distinguished_name.push(DnType::CommonName, name);
        let signed = params.signed_by(&key, &self.issuer).expect("signed");
        fs::write(self.file(&format!("{file}.pem")), signed.pem()).expect("written");
        fs::write(self.file(&format!("{file}.key")), key.serialize_pem()).expect("written");
    }
}
