//! What holds for any token and any key set: claims as those in `crate::claims`, about what is private
//! here. Part of no program.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conch_domain::Timestamp;
use futures::FutureExt as _;
use ring::hmac;
use serde_json::Value;

use super::Algorithm;
use super::key_source::Keys;
use super::keys;
use super::token::Verifier;

const SECRET: &[u8] = b"a secret that nobody who makes up input has";
/// 2026-11-25, in seconds.
const NOW: i64 = 1_795_000_000;
/// What `LEEWAY_MS` forgives.
const LEEWAY: f64 = 5.0;

fn verifier() -> Verifier {
    let key = keys::from_secret(jsonwebtoken::Algorithm::HS256, SECRET).expect("it is long enough");
    let clients_claim = "clients".to_owned();
    Verifier::new(
        Algorithm::Hs256,
        Keys::One(key),
        "issuer".to_owned(),
        "audience",
        clients_claim,
    )
}

/// Any text is no token of ours: it isn't signed by our key.
///
/// # Panics
/// When it is taken for one.
pub fn unsigned_token(text: &str) {
    let now = Timestamp::from_micros(NOW * 1_000_000);
    let refused = verifier().caller(text, now).now_or_never();
    assert!(refused.expect("one key is at hand").is_err(), "{text}");
}

fn sign(head: &[u8], claims: &[u8]) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(head),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let tag = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// Any head and claims, signed by our key: whom the token stands for is what its claims say, and it is
/// refused where they say too little.
///
/// # Panics
/// When it isn't so.
pub fn signed_token(head: &[u8], claims: &[u8]) {
    let token = sign(head, claims);
    let now = Timestamp::from_micros(NOW * 1_000_000);
    let caller = verifier().caller(&token, now).now_or_never();
    let Ok(caller) = caller.expect("one key is at hand") else {
        return;
    };
    let head: Value = serde_json::from_slice(head).expect("it was read");
    assert_eq!(head["alg"], "HS256");
    assert!(head.get("jwk").is_none() && head.get("crit").is_none());
    let claims: Value = serde_json::from_slice(claims).expect("they were read");
    assert_eq!(claims["iss"], "issuer");
    let audience = &claims["aud"];
    let named = audience
        .as_array()
        .is_some_and(|all| all.contains(&"audience".into()));
    assert!(*audience == "audience" || named, "{audience}");
    assert!(claims["exp"].as_f64().expect("a number") + LEEWAY > NOW as f64);
    let begins = claims.get("nbf").map(|nbf| nbf.as_f64().expect("a number"));
    assert!(begins.is_none_or(|begins| begins - LEEWAY <= NOW as f64));
    let identity = caller.identity().expect("a token names somebody");
    assert_eq!(claims["sub"], identity.subject);
    match caller.clients().named() {
        None => assert_eq!(claims["clients"], "*"),
        Some(ids) => {
            let said = claims["clients"].as_array().expect("a list");
            let are_said = |id: &conch_domain::ClientId| said.contains(&id.as_str().into());
            assert!(ids.iter().all(are_said) && (!ids.is_empty() || said.is_empty()));
        }
    }
    for scope in caller.scopes().iter() {
        let scope = scope.as_str();
        let listed = claims["scopes"]
            .as_array()
            .is_some_and(|all| all.contains(&scope.into()));
        let text = claims["scope"].as_str().unwrap_or_default();
        assert!(
            listed || text.split(' ').any(|name| name == scope),
            "{scope}"
        );
    }
}

/// Any file is a key set with keys that can work, or is refused in words.
///
/// # Panics
/// When it is neither.
pub fn key_file(bytes: &[u8]) {
    for algorithm in Algorithm::ALL {
        if let Ok(keys) = keys::from_set(algorithm.into(), bytes) {
            assert!(!keys.is_empty());
        }
        drop(keys::from_pem(algorithm.into(), bytes));
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    const GOOD_HEAD: &str = r#"{"alg":"HS256"}"#;

    /// The names of a head, right and wrong.
    const HEAD: &str = r#"\{"alg":"(HS256|HS512|none|RS256)"(,"(typ|kid|jwk|crit|alg)":("JWT"|"at\+jwt"|"x"|1|\{\}|\[\])){0,2}\}"#;
    const CLAIMS: &str = r#"\{("(iss|aud|sub|exp|nbf|clients|scope|scopes)":("issuer"|"audience"|\["audience"\]|"\*"|"jobs:read x"|\["jobs:read"\]|\["a","b"\]|17950000[0-9]{2}|1e99|-1|null|""),?){0,8}\}"#;

    fn good(exp: i64, clients: &str) -> String {
        format!(
            r#"{{"iss":"issuer","aud":["audience"],"sub":"me","exp":{exp},"clients":{clients},"scope":"jobs:read"}}"#
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn unsigned_token(text in "[A-Za-z0-9_.-]{0,80}|\\PC{0,40}") {
            super::unsigned_token(&text);
        }

        #[test]
        fn signed_token(head in HEAD, claims in CLAIMS, exp in 1_794_999_990_i64..1_795_000_010) {
            super::signed_token(head.as_bytes(), claims.as_bytes());
            super::signed_token(GOOD_HEAD.as_bytes(), claims.as_bytes());
            super::signed_token(head.as_bytes(), good(exp, r#"["a"]"#).as_bytes());
            super::signed_token(head.as_bytes(), good(exp, "\"*\"").as_bytes());
        }

        #[test]
        fn key_file(bytes in vec(any::<u8>(), 0..200)) {
            super::key_file(&bytes);
        }
    }

    /// Else the claims would be about nothing.
    #[test]
    fn a_good_token_is_taken() {
        let now = conch_domain::Timestamp::from_micros(super::NOW * 1_000_000);
        let message = super::sign(GOOD_HEAD.as_bytes(), good(super::NOW, "\"*\"").as_bytes());
        let verifier = super::verifier();
        let caller = verifier.caller(&message, now);
        let caller = futures::executor::block_on(caller).expect("it is good");
        assert!(caller.clients().are_all());
    }
}
