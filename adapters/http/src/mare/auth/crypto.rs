//! What `jsonwebtoken` checks signatures with: ring, which TLS uses already. It checks and never signs.
//!
//! A key reaches this only after `keys.rs` has seen that it fits its algorithm.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::hmac;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    verifier_factory: |algorithm, key| {
        let check = Check::new(*algorithm, key)?;
        Ok(Box::new(Verifier {
            algorithm: *algorithm,
            check,
        }))
    },
    // For making JWKs out of keys, which nothing here does.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes this the process's one provider; again and again does no harm.
pub(super) fn install() {
    if PROVIDER.install_default().is_err() {
        tracing::trace!("the provider for tokens was installed already");
    }
}

/// A key, ready to check a signature with.
enum Check {
    Hmac(hmac::Key),
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Check {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self> {
        // A key is for one family, whatever the token's head says (RFC 8725 §3.1).
        let bytes = |family: AlgorithmFamily| match key.kind() {
            DecodingKeyKind::SecretOrDer(bytes) if key.family() == family => Ok(bytes),
            _ => Err(new_error(ErrorKind::InvalidKeyFormat)),
        };
        Ok(match algorithm {
            Algorithm::HS256 => Self::Hmac(hmac::Key::new(
                hmac::HMAC_SHA256,
                bytes(AlgorithmFamily::Hmac)?,
            )),
            Algorithm::ES256 => Self::P256(bytes(AlgorithmFamily::Ec)?.clone()),
            Algorithm::EdDSA => Self::Ed25519(bytes(AlgorithmFamily::Ed)?.clone()),
            Algorithm::RS256 => match key.kind() {
                DecodingKeyKind::RsaModulusExponent { n, e } => Self::Rsa {
                    n: n.clone(),
                    e: e.clone(),
                },
                DecodingKeyKind::SecretOrDer(_) => {
                    return Err(new_error(ErrorKind::InvalidKeyFormat));
                }
            },
            _ => return Err(new_error(ErrorKind::UnsupportedAlgorithm)),
        })
    }

    fn holds(&self, message: &[u8], sign: &[u8]) -> bool {
        match self {
            Self::Hmac(key) => hmac::verify(key, message, sign).is_ok(),
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, sign)
                .is_ok(),
            Self::P256(point) => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                .verify(message, sign)
                .is_ok(),
            Self::Ed25519(point) => UnparsedPublicKey::new(&signature::ED25519, point)
                .verify(message, sign)
                .is_ok(),
        }
    }
}

struct Verifier {
    algorithm: Algorithm,
    check: Check,
}

impl ::signature::Verifier<Vec<u8>> for Verifier {
    fn verify(
        &self,
        message: &[u8],
        sign: &Vec<u8>,
    ) -> std::result::Result<(), ::signature::Error> {
        if self.check.holds(message, sign) {
            Ok(())
        } else {
            Err(::signature::Error::new())
        }
    }
}

impl JwtVerifier for Verifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
