//! An edge that wants to know who asks, and the tokens that it takes.
//!
//! Not in the harness, which the chaos program is built from: signing is for tests alone.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conch_harness::conch::Plan;
use ring::hmac;
use serde_json::{Value, json};

const SECRET: &str = "a secret of the tests, long enough";

/// What is added to a plan of an edge API.
pub(crate) fn guarded(plan: Plan) -> Plan {
    plan.env("AUTH", "jwt")
        .env("AUTH_JWT_ALGORITHM", "HS256")
        .env("AUTH_JWT_SECRET", SECRET)
        .env("AUTH_JWT_ISSUER", "https://issuer.example")
        .env("AUTH_JWT_AUDIENCE", "mare")
        .env("DEMO_CLIENT", "false")
        .env("RUST_LOG", "debug")
}

/// A token for those clients that expires in that many seconds; it counts for five more.
pub(crate) fn token(clients: &Value, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.expect("it is later than 1970").as_secs() as i64;
    let claims = json!({
        "iss": "https://issuer.example", "aud": "mare", "sub": clients.to_string(),
        "exp": now + seconds, "clients": clients, "scope": "jobs:read jobs:write events:read",
    });
    let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
    let head = encode(json!({"alg": "HS256", "typ": "JWT"}).to_string());
    let message = format!("{head}.{}", encode(claims.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let sign = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{sign}")
}
