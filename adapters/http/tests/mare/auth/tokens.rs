//! Every token that isn't one, over real HTTP, and those that are.

use std::net::SocketAddr;

use axum::http::HeaderValue;
use conch_http::mare::auth;
use reqwest::Client;
use serde_json::{Value, json};

use super::mint::{ALL, Key, NOW, SECRET, claims, encode, good, raw, token};
use super::{by_secret, guarded};
use crate::edge::serve;

const PATH: &str = "/v1/triton/jobs/acme-job";

fn client() -> Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().no_proxy().build().unwrap()
}

/// Status, code and challenge of the answer to a request with that header.
async fn answer(client: &Client, to: SocketAddr, header: Option<Vec<u8>>) -> (u16, String, String) {
    let mut request = client.get(format!("http://{to}{PATH}"));
    if let Some(header) = header {
        request = request.header("authorization", HeaderValue::from_bytes(&header).unwrap());
    }
    let answer = request.send().await.unwrap();
    let challenge = answer.headers().get("www-authenticate");
    let challenge = challenge.map_or("", |v| v.to_str().unwrap()).to_owned();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    (status, code, challenge)
}

/// The claims of a good token, with some changed and, where the new value is null, taken away.
fn but(changes: &Value) -> Value {
    let mut all = claims(&json!("*"), ALL);
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        } else {
            all[name] = value.clone();
        }
    }
    all
}

fn by_us(head: &Value, claims: &Value) -> String {
    token(Key::Hs256(SECRET.as_bytes()), head, claims)
}

/// Bad tokens where HS256 is taken, each with what it is and the code of the answer.
fn bad_tokens() -> Vec<(&'static str, String, &'static str)> {
    const INVALID: &str = "invalid-token";
    let head = json!({"alg": "HS256", "typ": "JWT"});
    let good_claims = claims(&json!("*"), ALL);
    let ours = good(&json!("*"), ALL);
    let parts: Vec<&str> = ours.split('.').collect();
    let [h, c, s] = parts[..] else {
        panic!("{ours}")
    };
    let unsigned = |head: &Value| {
        let head = encode(head.to_string());
        (format!("{head}.{c}."), format!("{head}.{c}.{s}"))
    };
    let (none, none_signed) = unsigned(&json!({"alg": "none"}));
    let (nothing, _) = unsigned(&json!({"typ": "JWT"}));
    let flipped = {
        let first = if s.starts_with('A') { "B" } else { "A" };
        format!("{h}.{c}.{first}{}", &s[1..])
    };
    let more_rights = encode(claims(&json!("*"), "jobs:read jobs:write admin").to_string());
    let expired = |exp: i64| by_us(&head, &but(&json!({"exp": exp})));
    let with_claims = |changes: Value| by_us(&head, &but(&changes));
    let with_head = |head: Value| by_us(&head, &good_claims);
    let clients: Vec<String> = (0..101).map(|i| format!("c{i}")).collect();
    let raw_claims = |claims: &str| raw(Key::Hs256(SECRET.as_bytes()), &head.to_string(), claims);
    let twice = good_claims
        .to_string()
        .replacen('{', r#"{"sub":"root","#, 1);
    let long = |bytes: usize| with_claims(json!({"filler": "x".repeat(bytes)}));
    vec![
        // The list of reliability.md.
        ("alg none, unsigned", none, INVALID),
        ("alg none, with a signature", none_signed, INVALID),
        (
            "HS256 by a public key",
            token(
                Key::Hs256(include_bytes!("../../keys/rsa.pem")),
                &head,
                &good_claims,
            ),
            INVALID,
        ),
        ("no exp", with_claims(json!({"exp": null})), INVALID),
        ("expired", expired(NOW - 6), "expired-token"),
        ("wrong aud", with_claims(json!({"aud": "another"})), INVALID),
        (
            "wrong iss",
            with_claims(json!({"iss": "https://evil.example"})),
            INVALID,
        ),
        (
            "jku",
            with_head(json!({"alg": "HS256", "jku": "https://evil.example/keys"})),
            INVALID,
        ),
        ("12 KiB", long(8 * 1024), INVALID),
        // As many again.
        ("no alg", nothing, INVALID),
        ("alg nOnE", with_head(json!({"alg": "nOnE"})), INVALID),
        (
            "alg as a list",
            with_head(json!({"alg": ["HS256"]})),
            INVALID,
        ),
        ("another HMAC", with_head(json!({"alg": "HS512"})), INVALID),
        (
            "an alg nobody knows",
            with_head(json!({"alg": "XS999"})),
            INVALID,
        ),
        (
            "RS256 where HS256 is taken",
            token(Key::Rs256, &json!({"alg": "RS256"}), &good_claims),
            INVALID,
        ),
        (
            "EdDSA where HS256 is taken",
            token(Key::EdDsa, &json!({"alg": "EdDSA"}), &good_claims),
            INVALID,
        ),
        (
            "EdDSA that says HS256",
            token(Key::EdDsa, &head, &good_claims),
            INVALID,
        ),
        (
            "another secret",
            token(
                Key::Hs256(b"another secret, also long enough"),
                &head,
                &good_claims,
            ),
            INVALID,
        ),
        (
            "an empty secret",
            token(Key::Hs256(b""), &head, &good_claims),
            INVALID,
        ),
        ("a signature with one bit changed", flipped, INVALID),
        ("no signature", format!("{h}.{c}."), INVALID),
        ("half a signature", format!("{h}.{c}.{}", &s[..20]), INVALID),
        ("a longer signature", format!("{h}.{c}.{s}AAAA"), INVALID),
        (
            "other claims under the signature",
            format!("{h}.{more_rights}.{s}"),
            INVALID,
        ),
        (
            "another head under the signature",
            format!("{}.{c}.{s}", encode(r#"{"alg":"HS256"}"#)),
            INVALID,
        ),
        ("two parts", format!("{h}.{c}"), INVALID),
        ("four parts", format!("{ours}.x"), INVALID),
        ("five parts", "a.b.c.d.e".to_owned(), INVALID),
        ("dots alone", "..".to_owned(), INVALID),
        ("a word", "token".to_owned(), INVALID),
        ("padding", format!("{h}=.{c}.{s}"), INVALID),
        ("plain base64", ours.replace(['_', '-'], "+"), INVALID),
        ("a space within", format!("{h}. {c}.{s}"), INVALID),
        (
            "a head that is no JSON",
            format!("{}.{c}.{s}", encode("nonsense")),
            INVALID,
        ),
        (
            "a head that is a list",
            format!("{}.{c}.{s}", encode("[]")),
            INVALID,
        ),
        (
            "a head with two algs",
            raw(
                Key::Hs256(SECRET.as_bytes()),
                r#"{"alg":"none","alg":"HS256"}"#,
                &good_claims.to_string(),
            ),
            INVALID,
        ),
        (
            "jwk",
            with_head(json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}})),
            INVALID,
        ),
        (
            "x5u",
            with_head(json!({"alg": "HS256", "x5u": "https://evil.example"})),
            INVALID,
        ),
        (
            "x5c",
            with_head(json!({"alg": "HS256", "x5c": ["MIIB"]})),
            INVALID,
        ),
        (
            "crit",
            with_head(json!({"alg": "HS256", "crit": ["b64"], "b64": false})),
            INVALID,
        ),
        (
            "an id token's type",
            with_head(json!({"alg": "HS256", "typ": "id+jwt"})),
            INVALID,
        ),
        (
            "a type that is no text",
            with_head(json!({"alg": "HS256", "typ": 7})),
            INVALID,
        ),
        (
            "a kid that is no text",
            with_head(json!({"alg": "HS256", "kid": 7})),
            INVALID,
        ),
        ("no claims", raw_claims("{}"), INVALID),
        ("claims that are a list", raw_claims("[]"), INVALID),
        ("claims that are no JSON", raw_claims("{"), INVALID),
        ("a claim twice", raw_claims(&twice), INVALID),
        ("no aud", with_claims(json!({"aud": null})), INVALID),
        ("no iss", with_claims(json!({"iss": null})), INVALID),
        ("no sub", with_claims(json!({"sub": null})), INVALID),
        ("an empty sub", with_claims(json!({"sub": ""})), INVALID),
        (
            "a sub that is a number",
            with_claims(json!({"sub": 1})),
            INVALID,
        ),
        (
            "an aud in other letters",
            with_claims(json!({"aud": "MARE"})),
            INVALID,
        ),
        (
            "an aud that begins like ours",
            with_claims(json!({"aud": "mare2"})),
            INVALID,
        ),
        (
            "other auds",
            with_claims(json!({"aud": ["a", "b"]})),
            INVALID,
        ),
        (
            "no aud in the list",
            with_claims(json!({"aud": []})),
            INVALID,
        ),
        (
            "an aud that is no text",
            with_claims(json!({"aud": ["mare", 1]})),
            INVALID,
        ),
        (
            "an iss with a slash more",
            with_claims(json!({"iss": "https://issuer.example/"})),
            INVALID,
        ),
        (
            "a list of issuers",
            with_claims(json!({"iss": ["https://issuer.example"]})),
            INVALID,
        ),
        (
            "exp as a text",
            with_claims(json!({"exp": "9999999999"})),
            INVALID,
        ),
        (
            "exp in milliseconds",
            with_claims(json!({"exp": (NOW + 600) * 1000})),
            INVALID,
        ),
        ("a negative exp", expired(-1), INVALID),
        ("exp 0", expired(0), "expired-token"),
        ("exp true", with_claims(json!({"exp": true})), INVALID),
        ("just expired", expired(NOW - 5), "expired-token"),
        (
            "expired, with another iss",
            with_claims(json!({"exp": 1, "iss": "x"})),
            INVALID,
        ),
        (
            "not valid yet",
            with_claims(json!({"nbf": NOW + 10})),
            INVALID,
        ),
        ("nbf as a text", with_claims(json!({"nbf": "0"})), INVALID),
        ("no clients", with_claims(json!({"clients": null})), INVALID),
        (
            "clients as a text",
            with_claims(json!({"clients": "acme"})),
            INVALID,
        ),
        (
            "a star in a list",
            with_claims(json!({"clients": ["*"]})),
            INVALID,
        ),
        (
            "clients that are no ids",
            with_claims(json!({"clients": ["a b"]})),
            INVALID,
        ),
        (
            "clients that are numbers",
            with_claims(json!({"clients": [1]})),
            INVALID,
        ),
        (
            "clients as an object",
            with_claims(json!({"clients": {"acme": true}})),
            INVALID,
        ),
        (
            "101 clients",
            with_claims(json!({"clients": clients})),
            INVALID,
        ),
        (
            "scope as a list",
            with_claims(json!({"scope": ["jobs:read"]})),
            INVALID,
        ),
        (
            "scopes as a text",
            with_claims(json!({"scopes": "jobs:read"})),
            INVALID,
        ),
        (
            "scopes that are no texts",
            with_claims(json!({"scopes": [1]})),
            INVALID,
        ),
    ]
}

#[tokio::test]
async fn a_token_that_is_none() {
    let edge = guarded(by_secret()).await;
    let server = serve(&edge).await;
    let client = client();
    for (what, token, code) in bad_tokens() {
        let header = format!("Bearer {token}").into_bytes();
        let (status, said, challenge) = answer(&client, server.address(), Some(header)).await;
        assert_eq!((status, said.as_str()), (401, code), "{what}");
        assert_eq!(challenge, r#"Bearer error="invalid_token""#, "{what}");
    }
    // The head as a whole may have 56 KiB; a longer token doesn't even get here.
    let header = format!("Bearer {}", "x".repeat(56 * 1024)).into_bytes();
    let request = client.get(format!("http://{}{PATH}", server.address()));
    let answer = request
        .header("authorization", HeaderValue::from_bytes(&header).unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 431);
}

#[tokio::test]
async fn no_token_at_all() {
    let edge = guarded(by_secret()).await;
    let server = serve(&edge).await;
    let client = client();
    let good = good(&json!("*"), ALL);
    for header in [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(good.clone()),
        Some(format!("Basic {good}")),
        Some(format!("Token {good}")),
        Some(format!("Bearer:{good}")),
    ] {
        let shown = header.clone();
        let header = header.map(String::into_bytes);
        let (status, code, challenge) = answer(&client, server.address(), header).await;
        assert_eq!((status, code.as_str()), (401, "unauthorized"), "{shown:?}");
        assert_eq!(challenge, "Bearer", "{shown:?}");
    }
    let header = Some(b"Bearer \xff\xfe".to_vec());
    assert_eq!(answer(&client, server.address(), header).await.0, 401);
    // Two of them: which one would count?
    let request = client.get(format!("http://{}{PATH}", server.address()));
    let twice = request.bearer_auth(&good).bearer_auth(&good);
    assert_eq!(twice.send().await.unwrap().status(), 401);
    // A token elsewhere than in the header is no token.
    for query in ["access_token", "token", "ticket", "authorization"] {
        let url = format!("http://{}{PATH}?{query}={good}", server.address());
        assert_eq!(client.get(url).send().await.unwrap().status(), 401);
    }
}

#[tokio::test]
async fn tokens_that_are_taken() {
    let edge = guarded(by_secret()).await;
    let server = serve(&edge).await;
    let client = client();
    let head = json!({"alg": "HS256", "typ": "JWT"});
    let hundred: Vec<String> = (0..99)
        .map(|i| format!("c{i}"))
        .chain(["acme".to_owned()])
        .collect();
    for (what, token) in [
        ("as it should be", good(&json!("*"), ALL)),
        ("its own client", good(&json!(["acme"]), "jobs:read")),
        ("a hundred clients", good(&json!(hundred), "jobs:read")),
        (
            "scopes as a list",
            by_us(
                &head,
                &but(&json!({"scope": null, "scopes": ["x", "jobs:read"]})),
            ),
        ),
        (
            "in the leeway",
            by_us(&head, &but(&json!({"exp": NOW - 4}))),
        ),
        (
            "a fraction of a second",
            by_us(&head, &but(&json!({"exp": NOW as f64 - 4.5}))),
        ),
        (
            "nbf in the leeway",
            by_us(&head, &but(&json!({"nbf": NOW + 4}))),
        ),
        ("nbf in the past", by_us(&head, &but(&json!({"nbf": 0})))),
        (
            "ours among the auds",
            by_us(&head, &but(&json!({"aud": ["x", "mare"]}))),
        ),
        (
            "without a type",
            by_us(&json!({"alg": "HS256"}), &but(&json!({}))),
        ),
        (
            "as RFC 9068 has it",
            by_us(&json!({"alg": "HS256", "typ": "at+jwt"}), &but(&json!({}))),
        ),
        (
            "a kid that nobody asked for",
            by_us(
                &json!({"alg": "HS256", "kid": "7", "x5t": "a"}),
                &but(&json!({})),
            ),
        ),
        (
            "nearly 8 KiB",
            by_us(&head, &but(&json!({"filler": "x".repeat(5800)}))),
        ),
    ] {
        let header = format!("bearer {token}").into_bytes();
        let (status, code, _) = answer(&client, server.address(), Some(header)).await;
        assert_eq!(status, 200, "{what}: {code}");
    }
}

#[tokio::test]
async fn each_algorithm_takes_its_own_and_no_other() {
    let pem = |name: &str| {
        let path = format!("{}/tests/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        auth::KeySource::PublicKeyFile(path.into())
    };
    let client = client();
    let keys = [
        Key::Hs256(SECRET.as_bytes()),
        Key::Rs256,
        Key::Es256,
        Key::EdDsa,
    ];
    for (algorithm, key) in [
        (auth::Algorithm::Hs256, by_secret().key),
        (auth::Algorithm::Rs256, pem("rsa")),
        (auth::Algorithm::Es256, pem("p256")),
        (auth::Algorithm::EdDsa, pem("ed25519")),
    ] {
        let edge = guarded(auth::Settings {
            algorithm,
            key,
            ..by_secret()
        })
        .await;
        let server = serve(&edge).await;
        for key in keys {
            for says in keys {
                let head = json!({"alg": says.name()});
                let token = token(key, &head, &claims(&json!("*"), ALL));
                let header = format!("Bearer {token}").into_bytes();
                let (status, ..) = answer(&client, server.address(), Some(header)).await;
                let own = key.name() == algorithm.as_str() && says.name() == algorithm.as_str();
                let expected = if own { 200 } else { 401 };
                assert_eq!(status, expected, "{algorithm:?}: {key:?} as {says:?}");
            }
        }
        // The public key as the secret of an HMAC, the forgery of old.
        let public = match algorithm {
            auth::Algorithm::Es256 => &include_bytes!("../../keys/p256.pem")[..],
            auth::Algorithm::EdDsa => include_bytes!("../../keys/ed25519.pem"),
            _ => include_bytes!("../../keys/rsa.pem"),
        };
        for says in [algorithm.as_str(), "HS256"] {
            let head = json!({"alg": says});
            let token = token(Key::Hs256(public), &head, &claims(&json!("*"), ALL));
            let header = format!("Bearer {token}").into_bytes();
            let (status, ..) = answer(&client, server.address(), Some(header)).await;
            assert_eq!(status, 401, "{algorithm:?} by its public key as {says}");
        }
    }
}

#[tokio::test]
async fn the_claim_that_names_clients_is_a_setting() {
    let edge = guarded(auth::Settings {
        clients_claim: "https://conch.example/tenants".to_owned(),
        ..by_secret()
    })
    .await;
    let head = json!({"alg": "HS256"});
    let theirs = but(&json!({"clients": "*", "https://conch.example/tenants": ["rival"]}));
    let answer = super::ask(&edge, &by_us(&head, &theirs), "GET", PATH).await;
    answer.is_problem(404, "job-not-found");
    let ours = but(&json!({"clients": null, "https://conch.example/tenants": ["acme"]}));
    let answer = super::ask(&edge, &by_us(&head, &ours), "GET", PATH).await;
    assert_eq!(answer.status, 200);
}
