//! TLS to Redis: whose certificates are trusted, and which is shown. Read once, when the adapter is
//! built.
//!
//! Never in here: a way to trust a server without a check.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conch_bus_kit::InvalidSettings;
use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, RedisError, TlsCertificates};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, RootCertStore};

/// Whom to trust, and who we are, for addresses that begin with `rediss://`.
#[derive(Clone, Default)]
pub struct Tls {
    /// The certificates of the authorities that are trusted, as PEM; none: the system's, or those that are
    /// built in where the system has none.
    pub authorities: Option<Vec<u8>>,
    /// The certificate, with its chain, that is shown to Redis, and its key.
    pub identity: Option<Identity>,
}

/// A certificate, with its chain, and its private key, both as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate first, then its chain.
    pub certificates: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

fn wrong(setting: &'static str, reason: &'static str) -> InvalidSettings {
    InvalidSettings::new(setting, reason)
}

/// A client for that address. Connects to nothing.
pub(crate) fn client(
    setting: &'static str,
    address: ConnectionInfo,
    tls: &Tls,
) -> Result<Client, InvalidSettings> {
    let ConnectionAddr::TcpTls { insecure, .. } = address.addr() else {
        return Ok(Client::open(address).expect("a parsed address makes a client"));
    };
    if *insecure {
        return Err(wrong(
            setting,
            "can't end in #insecure: certificates are always checked. Name the authority that signed \
             Redis's instead (REDIS_CA_FILE)",
        ));
    }
    let root_cert = match &tls.authorities {
        Some(pem) => Some(checked_authorities(pem)?),
        None => authorities_of_the_system(),
    };
    let client_tls = tls.identity.as_ref().map(checked_identity).transpose()?;
    let certificates = TlsCertificates {
        client_tls,
        root_cert,
    };
    Client::build_with_tls(address, certificates)
        .map_err(|_| wrong("tls", "can't be used: the driver refuses it"))
}

fn checked_authorities(pem: &[u8]) -> Result<Vec<u8>, InvalidSettings> {
    let mut store = RootCertStore::empty();
    let reason = "must name a file with certificates of authorities, as PEM";
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| wrong("tls.authorities", reason))?;
        store
            .add(certificate)
            .map_err(|_| wrong("tls.authorities", reason))?;
    }
    if store.is_empty() {
        return Err(wrong("tls.authorities", reason));
    }
    Ok(pem.to_vec())
}

fn checked_identity(identity: &Identity) -> Result<ClientTlsConfig, InvalidSettings> {
    let certificates = CertificateDer::pem_slice_iter(&identity.certificates)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| {
            wrong(
                "tls.certificate",
                "must name a file with a certificate and its chain, as PEM",
            )
        })?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key)
        .map_err(|_| wrong("tls.key", "must name a file with a private key, as PEM"))?;
    rustls::ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(certificates, key)
        .map_err(|_| wrong("tls.key", "must name the private key of REDIS_CERT_FILE"))?;
    Ok(ClientTlsConfig {
        client_cert: identity.certificates.clone(),
        client_key: identity.key.clone(),
    })
}

/// Those of the system that can be read, as PEM; none: the driver's own are used.
fn authorities_of_the_system() -> Option<Vec<u8>> {
    let mut store = RootCertStore::empty();
    let pem = rustls_native_certs::load_native_certs()
        .certs
        .into_iter()
        .filter(|certificate| store.add(certificate.clone()).is_ok())
        .fold(String::new(), |pem, certificate| {
            let text = STANDARD.encode(&certificate);
            pem + "-----BEGIN CERTIFICATE-----\n" + &text + "\n-----END CERTIFICATE-----\n"
        });
    (!pem.is_empty()).then(|| pem.into_bytes())
}

/// What was wrong with TLS, in words; none: it wasn't TLS that failed.
pub(crate) fn objection(error: &RedisError) -> Option<&'static str> {
    let source = error.source()?;
    let shared = source.downcast_ref::<Arc<dyn StdError + Send + Sync>>();
    let source: &(dyn StdError + 'static) = match shared {
        Some(shared) => &**shared,
        None => source,
    };
    let failure = source.downcast_ref::<io::Error>()?.get_ref()?;
    Some(match failure.downcast_ref()? {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "Redis's certificate is for another name than the one in its address",
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "Redis's certificate has expired: renew it, or set this machine's clock",
        rustls::Error::InvalidCertificate(_) => {
            "Redis's certificate isn't signed by an authority that is trusted here: REDIS_CA_FILE \
             names its own"
        }
        rustls::Error::AlertReceived(_) => {
            "Redis broke the TLS handshake off: REDIS_CERT_FILE may be missing, or not be trusted there"
        }
        _ => "Redis doesn't speak TLS at this address, or not as it should",
    })
}
