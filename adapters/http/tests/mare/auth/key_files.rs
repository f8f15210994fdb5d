//! Keys: which can work, which can't and how that is said, and sets that change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conch_http::mare::auth::{self, Algorithm, KeySource};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use serde_json::{Value, json};

use super::mint::{ALL, Key, SECRET, claims, token};
use super::{ask, by_secret, guarded};
use crate::edge::Edge;

fn file(name: &str) -> PathBuf {
    format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR")).into()
}

fn settings(algorithm: Algorithm, key: KeySource) -> auth::Settings {
    auth::Settings {
        algorithm,
        key,
        ..by_secret()
    }
}

/// A directory of this test's own.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_key_that_cannot_work_is_found_at_the_start_and_not_shown() {
    let directory = directory();
    let at = |name: &str, text: &[u8]| {
        let path = directory.path().join(name);
        write(&path, text);
        path
    };
    let pem = |path: PathBuf| KeySource::PublicKeyFile(path);
    let two = [
        &include_bytes!("../../keys/p256.pem")[..],
        include_bytes!("../../keys/p256.pem"),
    ]
    .concat();
    let cut = &include_bytes!("../../keys/rsa.pem")[..200];
    for (what, algorithm, key, says) in [
        (
            "31 bytes",
            Algorithm::Hs256,
            KeySource::Secret("x".repeat(31)),
            "32 bytes",
        ),
        (
            "a secret for RS256",
            Algorithm::Rs256,
            KeySource::Secret(SECRET.to_owned()),
            "HS256",
        ),
        (
            "a public key for HS256",
            Algorithm::Hs256,
            pem(file("rsa.pem")),
            "a secret",
        ),
        (
            "EC for RS256",
            Algorithm::Rs256,
            pem(file("p256.pem")),
            "another kind",
        ),
        (
            "RSA for ES256",
            Algorithm::Es256,
            pem(file("rsa.pem")),
            "another kind",
        ),
        (
            "P-384 for ES256",
            Algorithm::Es256,
            pem(file("p384.pem")),
            "another kind",
        ),
        (
            "RSA for EdDSA",
            Algorithm::EdDsa,
            pem(file("rsa.pem")),
            "another kind",
        ),
        (
            "1024 bits",
            Algorithm::Rs256,
            pem(file("rsa-1024.pem")),
            "2048",
        ),
        (
            "a private key",
            Algorithm::EdDsa,
            pem(file("ed25519-private.pem")),
            "PUBLIC KEY",
        ),
        (
            "two keys",
            Algorithm::Es256,
            pem(at("two", &two)),
            "one public key",
        ),
        (
            "nothing",
            Algorithm::Rs256,
            pem(at("empty", b"")),
            "PUBLIC KEY",
        ),
        (
            "half a key",
            Algorithm::Rs256,
            pem(at("cut", cut)),
            "PUBLIC KEY",
        ),
        (
            "no file",
            Algorithm::Rs256,
            pem(directory.path().join("absent")),
            "can't be read",
        ),
        (
            "a directory",
            Algorithm::Rs256,
            pem(directory.path().into()),
            "can't be read",
        ),
        (
            "a large file",
            Algorithm::Rs256,
            pem(at("large", &vec![b'x'; 300_000])),
            "256 KiB",
        ),
        (
            "no set",
            Algorithm::Rs256,
            KeySource::KeySetFile(at("a", b"{}")),
            "Key Set",
        ),
        (
            "no JSON",
            Algorithm::Rs256,
            KeySource::KeySetFile(at("b", b"keys")),
            "Key Set",
        ),
        (
            "an empty set",
            Algorithm::Rs256,
            KeySource::KeySetFile(at("c", br#"{"keys":[]}"#)),
            "no key",
        ),
        (
            "no set's file",
            Algorithm::Rs256,
            KeySource::KeySetFile(directory.path().join("absent")),
            "can't be read",
        ),
    ] {
        let shown = format!("{:?}", settings(algorithm, key.clone()));
        assert!(
            !shown.contains("long enough") && !shown.contains("xxx"),
            "{shown}"
        );
        let wrong = settings(algorithm, key)
            .build()
            .expect_err(what)
            .to_string();
        assert!(wrong.contains(says), "{what}: {wrong}");
        assert!(
            !wrong.contains("xxx") && !wrong.contains("long enough"),
            "{wrong}"
        );
        assert!(
            !wrong.contains(&*directory.path().to_string_lossy()),
            "{wrong}"
        );
    }
    let works = by_secret().build().unwrap();
    assert!(!format!("{works:?}").contains("long enough"));
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The public keys of the tests as an issuer publishes them.
fn jwk(key: Key<'_>, kid: &str) -> Value {
    let random = ring::rand::SystemRandom::new();
    let mut jwk = match key {
        Key::Hs256(secret) => json!({"kty": "oct", "k": encode(secret)}),
        Key::Rs256 => {
            let key = RsaKeyPair::from_pkcs8(include_bytes!("../../keys/rsa.pk8")).unwrap();
            let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(key.public());
            json!({"kty": "RSA", "n": encode(&public.n), "e": encode(&public.e)})
        }
        Key::Es256 => {
            let key = include_bytes!("../../keys/p256.pk8");
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let key = EcdsaKeyPair::from_pkcs8(algorithm, key, &random).unwrap();
            let (x, y) = key.public_key().as_ref()[1..].split_at(32);
            json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
        }
        Key::EdDsa => {
            let key = include_bytes!("../../keys/ed25519.pk8");
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).unwrap();
            json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref())})
        }
    };
    jwk["kid"] = kid.into();
    jwk
}

fn set(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}

async fn status(edge: &Edge, key: Key<'_>, kid: Option<&str>) -> u16 {
    let mut head = json!({"alg": key.name()});
    if let Some(kid) = kid {
        head["kid"] = kid.into();
    }
    let token = token(key, &head, &claims(&json!("*"), ALL));
    let answer = ask(edge, &token, "GET", "/v1/triton/jobs/acme-job").await;
    answer.status.as_u16()
}

#[tokio::test]
async fn a_key_is_found_in_a_set_by_its_kid() {
    let directory = directory();
    let path = directory.path().join("jwks.json");
    let secret = Key::Hs256(SECRET.as_bytes());
    let all = [secret, Key::Rs256, Key::Es256, Key::EdDsa].map(|key| jwk(key, key.name()));
    let mut for_encryption = jwk(Key::Rs256, "enc");
    for_encryption["use"] = "enc".into();
    let mut for_another = jwk(Key::Rs256, "ps");
    for_another["alg"] = "PS256".into();
    let others = [
        for_encryption,
        for_another,
        json!({"kty": "new", "kid": "new"}),
    ];
    write(&path, set(&[&all[..], &others].concat()));
    for (algorithm, key) in [
        (Algorithm::Hs256, secret),
        (Algorithm::Rs256, Key::Rs256),
        (Algorithm::Es256, Key::Es256),
        (Algorithm::EdDsa, Key::EdDsa),
    ] {
        let edge = guarded(settings(algorithm, KeySource::KeySetFile(path.clone()))).await;
        assert_eq!(status(&edge, key, Some(key.name())).await, 200, "{key:?}");
        // Without a kid, or with one of another kind of key, or of another use, it is nobody's.
        for kid in [
            None,
            Some(""),
            Some("absent"),
            Some("enc"),
            Some("ps"),
            Some("new"),
        ] {
            assert_eq!(status(&edge, key, kid).await, 401, "{key:?} {kid:?}");
        }
    }
}

#[test]
fn a_set_with_a_key_that_cannot_work_is_refused_whole() {
    let directory = directory();
    let path = directory.path().join("jwks.json");
    let good = jwk(Key::Es256, "a");
    let changed = |name: &str, value: Value| {
        let mut jwk = jwk(Key::Es256, "b");
        jwk[name] = value;
        jwk
    };
    let without_kid = {
        let mut jwk = jwk(Key::Es256, "b");
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    };
    for (bad, says) in [
        (without_kid, "without a `kid`"),
        (changed("kid", "a".into()), "same `kid`"),
        (changed("x", "AAAA".into()), "can't be read"),
        (changed("x", "***".into()), "can't be read"),
        (changed("y", Value::Null), "can't be read"),
        ("key".into(), "Key Set"),
    ] {
        write(&path, set(&[good.clone(), bad]));
        let built = settings(Algorithm::Es256, KeySource::KeySetFile(path.clone())).build();
        let wrong = built.expect_err(says).to_string();
        assert!(wrong.contains(says), "{wrong}");
    }
    let short = json!({"kty": "oct", "kid": "a", "k": "AAAA"});
    write(&path, set(&[short]));
    let built = settings(Algorithm::Hs256, KeySource::KeySetFile(path.clone())).build();
    assert!(built.expect_err("short").to_string().contains("32 bytes"));
}

/// Past the time after which a changed file is seen.
async fn a_while() {
    tokio::time::advance(Duration::from_secs(4)).await;
}

#[tokio::test(start_paused = true)]
async fn a_set_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
    let directory = directory();
    let path = directory.path().join("jwks.json");
    let (old, new) = (jwk(Key::Es256, "old"), jwk(Key::Es256, "new"));
    write(&path, set(std::slice::from_ref(&old)));
    let edge = guarded(settings(
        Algorithm::Es256,
        KeySource::KeySetFile(path.clone()),
    ))
    .await;
    let statuses = async || {
        let old = status(&edge, Key::Es256, Some("old")).await;
        (old, status(&edge, Key::Es256, Some("new")).await)
    };
    assert_eq!(statuses().await, (200, 401));
    write(&path, set(&[old.clone(), new.clone()]));
    assert_eq!(statuses().await, (200, 401), "not looked at each time");
    a_while().await;
    assert_eq!(statuses().await, (200, 200));
    for broken in [
        "",
        "{",
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"EC","crv":"P-256"}]}"#,
    ] {
        write(&path, broken);
        a_while().await;
        assert_eq!(statuses().await, (200, 200), "{broken}");
    }
    std::fs::remove_file(&path).unwrap();
    a_while().await;
    assert_eq!(statuses().await, (200, 200), "the file is gone");
    write(&path, set(&[new]));
    a_while().await;
    assert_eq!(
        statuses().await,
        (401, 200),
        "what is withdrawn counts no more"
    );
}
