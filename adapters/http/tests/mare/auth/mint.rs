//! Tokens as an issuer makes them, and as a forger does: signed with ring, without the library that
//! checks them, so that a mistake made on both sides can't cancel out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use ring::{hmac, signature};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const AUDIENCE: &str = "mare";
pub(crate) const SECRET: &str = "a secret of the tests, long enough";
/// What the edge's clock says, in seconds.
pub(crate) const NOW: i64 = 1_764_579_349;

/// Who signs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key<'a> {
    Hs256(&'a [u8]),
    Rs256,
    Es256,
    EdDsa,
}

impl Key<'_> {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Key::Hs256(_) => "HS256",
            Key::Rs256 => "RS256",
            Key::Es256 => "ES256",
            Key::EdDsa => "EdDSA",
        }
    }

    pub(crate) fn sign(self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Key::Hs256(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Key::Rs256 => {
                let key = RsaKeyPair::from_pkcs8(include_bytes!("../../keys/rsa.pk8")).unwrap();
                let mut sign = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut sign)
                    .unwrap();
                sign
            }
            Key::Es256 => {
                let key = include_bytes!("../../keys/p256.pk8");
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let key = EcdsaKeyPair::from_pkcs8(algorithm, key, &random).unwrap();
                key.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Key::EdDsa => {
                let key = include_bytes!("../../keys/ed25519.pk8");
                let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).unwrap();
                let sign: signature::Signature = key.sign(message);
                sign.as_ref().to_vec()
            }
        }
    }
}

pub(crate) fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// A token of these very texts.
pub(crate) fn raw(key: Key<'_>, head: &str, claims: &str) -> String {
    let message = format!("{}.{}", encode(head), encode(claims));
    let sign = encode(key.sign(message.as_bytes()));
    format!("{message}.{sign}")
}

/// A token with this head and these claims.
pub(crate) fn token(key: Key<'_>, head: &Value, claims: &Value) -> String {
    raw(key, &head.to_string(), &claims.to_string())
}

/// What a good token says.
pub(crate) fn claims(clients: &Value, scope: &str) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "somebody", "exp": NOW + 600,
        "clients": clients, "scope": scope,
    })
}

/// A good token, by the secret.
pub(crate) fn good(clients: &Value, scope: &str) -> String {
    let head = json!({"alg": "HS256", "typ": "JWT"});
    token(
        Key::Hs256(SECRET.as_bytes()),
        &head,
        &claims(clients, scope),
    )
}

/// Every scope that there is.
pub(crate) const ALL: &str = "jobs:read jobs:write events:read";
