//! Keys that tokens are checked with, each seen to fit the one algorithm before it is ever used: a key
//! that can't work is a mistake of the settings, not of every token.
//!
//! Never in here: a private key used, a key fetched from anywhere, a key chosen by what a token brings.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{SubjectPublicKeyInfoDer, alg_id};
use serde_json::{Map, Value};

/// Fewest bytes of a secret: as many as its hash has (RFC 7518 §3.2).
const SECRET_MIN: usize = 32;
/// Sizes of an RSA key, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Most keys of one set.
const KEYS_MAX: usize = 100;

/// A key that fits its algorithm.
pub(super) type Key = DecodingKey;

/// What is wrong with a key, in words that finish the sentence "it …"; never a part of it.
pub(super) type Wrong = &'static str;

/// A shared secret.
pub(super) fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Key, Wrong> {
    if algorithm != Algorithm::HS256 {
        return Err("is for HS256: give a public key for the other algorithms");
    }
    fitting(algorithm, DecodingKey::from_secret(secret))
}

/// A public key as PEM (`-----BEGIN PUBLIC KEY-----`).
pub(super) fn from_pem(algorithm: Algorithm, pem: &[u8]) -> Result<Key, Wrong> {
    const NO_KEY: Wrong = "must hold one public key as PEM, `-----BEGIN PUBLIC KEY-----`";
    let mut keys = SubjectPublicKeyInfoDer::pem_slice_iter(pem);
    let (Some(Ok(info)), None) = (keys.next(), keys.next()) else {
        return Err(NO_KEY);
    };
    let (identifier, bits) = public_key_info(&info).ok_or(NO_KEY)?;
    let is = |wanted: &alg_id::AlgorithmIdentifier| identifier == wanted.as_ref();
    let key = match algorithm {
        Algorithm::RS256 if is(&alg_id::RSA_ENCRYPTION) => {
            let (n, e) = rsa_public_key(bits).ok_or(NO_KEY)?;
            DecodingKey::from_rsa_raw_components(n, e)
        }
        Algorithm::ES256 if is(&alg_id::ECDSA_P256) => DecodingKey::from_ec_der(bits),
        Algorithm::EdDSA if is(&alg_id::ED25519) => DecodingKey::from_ed_der(bits),
        Algorithm::RS256 => return Err("holds another kind of key than RS256 needs: an RSA one"),
        Algorithm::ES256 => return Err("holds another kind of key than ES256 needs: one on P-256"),
        Algorithm::EdDSA => return Err("holds another kind of key than EdDSA needs: Ed25519"),
        _ => return Err("is no key for that algorithm: HS256 takes a secret"),
    };
    fitting(algorithm, key)
}

/// The keys of a set (RFC 7517) that are for this algorithm, by their `kid`. Those for others are
/// passed over, as sets are shared; what claims to be for this one and can't be is an error.
pub(super) fn from_set(algorithm: Algorithm, text: &[u8]) -> Result<HashMap<String, Key>, Wrong> {
    const NO_SET: Wrong = "must hold a JSON Web Key Set: {\"keys\": [ … ]}";
    let set = conch_wire::strict::parse(text).map_err(|_| NO_SET)?;
    let listed = set.get("keys").and_then(Value::as_array).ok_or(NO_SET)?;
    if listed.len() > KEYS_MAX {
        return Err("holds more than 100 keys");
    }
    let mut keys = HashMap::new();
    for jwk in listed {
        let jwk = jwk.as_object().ok_or(NO_SET)?;
        if !is_meant_for(algorithm, jwk) {
            continue;
        }
        let kid = text_of(jwk, "kid").ok_or("holds a key for this algorithm without a `kid`")?;
        let key = fitting(algorithm, from_jwk(algorithm, jwk)?)?;
        if keys.insert(kid.to_owned(), key).is_some() {
            return Err("holds two keys for this algorithm with the same `kid`");
        }
    }
    if keys.is_empty() {
        return Err("holds no key for this algorithm");
    }
    Ok(keys)
}

fn text_of<'a>(jwk: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    jwk.get(name)?.as_str()
}

fn is_meant_for(algorithm: Algorithm, jwk: &Map<String, Value>) -> bool {
    let (kty, crv, alg) = match algorithm {
        Algorithm::HS256 => ("oct", None, "HS256"),
        Algorithm::RS256 => ("RSA", None, "RS256"),
        Algorithm::ES256 => ("EC", Some("P-256"), "ES256"),
        _ => ("OKP", Some("Ed25519"), "EdDSA"),
    };
    let absent_or = |name: &str, wanted: &str| {
        jwk.get(name)
            .is_none_or(|value| value.as_str() == Some(wanted))
    };
    text_of(jwk, "kty") == Some(kty)
        && text_of(jwk, "crv") == crv
        && absent_or("alg", alg)
        && absent_or("use", "sig")
}

fn from_jwk(algorithm: Algorithm, jwk: &Map<String, Value>) -> Result<Key, Wrong> {
    const UNREADABLE: Wrong = "holds a key for this algorithm that can't be read";
    let bytes = |name: &str| {
        let text = text_of(jwk, name).ok_or(UNREADABLE)?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| UNREADABLE)
    };
    Ok(match algorithm {
        Algorithm::HS256 => DecodingKey::from_secret(&bytes("k")?),
        Algorithm::RS256 => DecodingKey::from_rsa_raw_components(&bytes("n")?, &bytes("e")?),
        Algorithm::ES256 => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            if (x.len(), y.len()) != (32, 32) {
                return Err(UNREADABLE);
            }
            DecodingKey::from_ec_der(&[&[4][..], &x, &y].concat())
        }
        _ => DecodingKey::from_ed_der(&bytes("x")?),
    })
}

/// The key, if signatures of that algorithm can be checked with it at all.
fn fitting(algorithm: Algorithm, key: Key) -> Result<Key, Wrong> {
    match (algorithm, key.kind()) {
        (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) => {
            if secret.len() < SECRET_MIN {
                return Err("must have at least 32 bytes");
            }
        }
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            let (n, e) = (without_zeros(n), without_zeros(e));
            let bits = n.len() * 8 - n.first().map_or(0, |b| b.leading_zeros() as usize);
            if !RSA_BITS.contains(&bits) || e.is_empty() {
                return Err("holds an RSA key of a size that isn't taken: 2048 to 8192 bits");
            }
            return Ok(DecodingKey::from_rsa_raw_components(n, e));
        }
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
            if point.len() != 65 {
                return Err("holds a key on P-256 that isn't written as a whole point");
            }
        }
        (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => {
            if point.len() != 32 {
                return Err("holds an Ed25519 key that hasn't 32 bytes");
            }
        }
        _ => return Err("is no key for that algorithm"),
    }
    Ok(key)
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// `SEQUENCE { SEQUENCE identifier, BIT STRING key }` (RFC 5280 §4.1.2.7): the inside of the
/// identifier, and the key.
fn public_key_info(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (inside, []) = element(der, 0x30)? else {
        return None;
    };
    let (identifier, rest) = element(inside, 0x30)?;
    let (bits, []) = element(rest, 0x03)? else {
        return None;
    };
    // The first byte says how many bits of the last one don't count.
    Some((identifier, bits.strip_prefix(&[0])?))
}

/// `SEQUENCE { INTEGER n, INTEGER e }` (RFC 8017 §A.1.1).
fn rsa_public_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (inside, []) = element(der, 0x30)? else {
        return None;
    };
    let (n, rest) = element(inside, 0x02)?;
    let (e, []) = element(rest, 0x02)? else {
        return None;
    };
    Some((n, e))
}

/// The inside of the DER element with that tag, and what comes after it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (bytes, rest) = rest.split_at_checked(2)?;
            (usize::from(bytes[0]) << 8 | usize::from(bytes[1]), rest)
        }
        // Nothing that is read here is longer.
        _ => return None,
    };
    rest.split_at_checked(length)
}
