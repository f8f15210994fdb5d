//! A bearer token, from text to a [`Caller`], or why not. Everything about it is checked here, once:
//! its size, its head, its signature, its claims.
//!
//! Nothing in a token chooses how it is checked: the algorithm is the settings', the key is theirs, and
//! a head that names a place to fetch one from is refused. Never in here: a token in a log or an error.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conch_domain::{Caller, Clients, Identity, Scope, Scopes, Timestamp};
use jsonwebtoken::Validation;
use jsonwebtoken::errors::ErrorKind;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::Algorithm;
use super::key_source::Keys;

/// Longest token, in bytes.
pub(super) const TOKEN_MAX: usize = 8 * 1024;
/// By how much the clocks of issuer and edge may differ, in milliseconds.
const LEEWAY_MS: i64 = 5_000;
/// The last second that `exp` and `nbf` may name: the end of the year 9999. What is beyond is most
/// likely milliseconds.
const LAST_SECOND: f64 = 253_402_300_799.0;
/// Parameters of a head that would have us take a key from the token or fetch one, or that ask for
/// rules that nobody here knows.
const REFUSED_PARAMETERS: [&str; 5] = ["jku", "jwk", "x5u", "x5c", "crit"];

/// Why a token is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its time is over.
    Expired,
    /// Anything else, as what a metric calls it and in words.
    Invalid(&'static str, &'static str),
}

const MALFORMED: Refused = Refused::Invalid("malformed", "the token is no signed JWT");
const ALGORITHM: Refused = Refused::Invalid(
    "algorithm",
    "the token is signed by another algorithm than the one that is taken here",
);
const SIGNATURE: Refused = Refused::Invalid("signature", "the token's signature doesn't hold");

/// How tokens are checked.
pub(super) struct Verifier {
    algorithm: Algorithm,
    keys: Keys,
    validation: Validation,
    issuer: String,
    clients_claim: String,
}

impl Verifier {
    pub(super) fn new(
        algorithm: Algorithm,
        keys: Keys,
        issuer: String,
        audience: &str,
        clients_claim: String,
    ) -> Self {
        super::crypto::install();
        let mut validation = Validation::new(algorithm.into());
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation.set_issuer(&[&issuer]);
        validation.set_audience(&[audience]);
        // Looked at below, by the clock that all processes share.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self {
            algorithm,
            keys,
            validation,
            issuer,
            clients_claim,
        }
    }

    /// Whom the token stands for. Cancel-safe.
    pub(super) async fn caller(&self, token: &str, now: Timestamp) -> Result<Caller, Refused> {
        if token.len() > TOKEN_MAX {
            let words = "the token is longer than 8192 bytes";
            return Err(Refused::Invalid("too_long", words));
        }
        let (head, claims) = parts(token).ok_or(MALFORMED)?;
        let head = object(head).ok_or(MALFORMED)?;
        let kid = self.check_head(&head)?;
        let unknown = Refused::Invalid("key", "the token is signed by a key that isn't known here");
        let key = self.keys.find(kid).await.ok_or(unknown)?;
        jsonwebtoken::decode::<IgnoredAny>(token, &key, &self.validation).map_err(|e| {
            match e.kind() {
                ErrorKind::InvalidSignature | ErrorKind::Base64(_) => SIGNATURE,
                ErrorKind::InvalidAlgorithm => ALGORITHM,
                ErrorKind::InvalidIssuer => ISSUER,
                ErrorKind::InvalidAudience => AUDIENCE,
                ErrorKind::MissingRequiredClaim(_) => MISSING,
                _ => MALFORMED,
            }
        })?;
        let claims = object(claims).ok_or(MALFORMED)?;
        self.check_claims(&claims, now)
    }

    /// Answers the `kid`, if there is one.
    fn check_head<'a>(&self, head: &'a Map<String, Value>) -> Result<Option<&'a str>, Refused> {
        if head.get("alg").and_then(Value::as_str) != Some(self.algorithm.as_str()) {
            return Err(ALGORITHM);
        }
        if REFUSED_PARAMETERS
            .iter()
            .any(|name| head.contains_key(*name))
        {
            let words = "the token's head brings a key, or names where one is: that isn't followed";
            return Err(Refused::Invalid("head", words));
        }
        // Another kind of token of the same issuer is no access token (RFC 8725 §3.11).
        let typ = head.get("typ").map(Value::as_str);
        let is_access_token = typ.is_none_or(|typ| {
            let typ = typ.unwrap_or_default().to_ascii_lowercase();
            let typ = typ.strip_prefix("application/").unwrap_or(&typ);
            matches!(typ, "jwt" | "at+jwt")
        });
        if !is_access_token {
            let words = "the token is of another type: `JWT` and `at+jwt` are taken";
            return Err(Refused::Invalid("type", words));
        }
        match head.get("kid") {
            None => Ok(None),
            Some(kid) => kid.as_str().map(Some).ok_or(MALFORMED),
        }
    }

    fn check_claims(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Caller, Refused> {
        // The library would take a list in which the issuer is, too.
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(ISSUER);
        }
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if subject.is_empty() {
            return Err(MISSING);
        }
        let ends_at = moment(claims.get("exp").ok_or(MISSING)?)?.plus_millis(LEEWAY_MS);
        if now >= ends_at {
            return Err(Refused::Expired);
        }
        if let Some(begins_at) = claims.get("nbf")
            && now < moment(begins_at)?.plus_millis(-LEEWAY_MS)
        {
            let words = "the token isn't valid yet (`nbf`)";
            return Err(Refused::Invalid("not_yet", words));
        }
        let identity = Identity {
            issuer: self.issuer.clone(),
            subject: subject.to_owned(),
        };
        let clients = clients(claims.get(&self.clients_claim))?;
        Ok(Caller::new(identity, clients, scopes(claims)?, ends_at))
    }
}

const ISSUER: Refused = Refused::Invalid("issuer", "the token is by another issuer (`iss`)");
const AUDIENCE: Refused = Refused::Invalid("audience", "the token is for another audience (`aud`)");
const MISSING: Refused = Refused::Invalid(
    "claims",
    "the token must have `exp`, `aud`, `iss` and `sub`",
);

/// Head and claims, still encoded.
fn parts(token: &str) -> Option<(&str, &str)> {
    let mut parts = token.split('.');
    let (head, claims) = (parts.next()?, parts.next()?);
    (parts.next().is_some() && parts.next().is_none()).then_some((head, claims))
}

/// A part of a token as a JSON object in which no name comes twice.
fn object(part: &str) -> Option<Map<String, Value>> {
    let text = URL_SAFE_NO_PAD.decode(part).ok()?;
    match conch_wire::strict::parse(&text).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// A NumericDate (RFC 7519 §2).
fn moment(value: &Value) -> Result<Timestamp, Refused> {
    let seconds = value
        .as_f64()
        .filter(|seconds| (0.0..=LAST_SECOND).contains(seconds));
    let words = "`exp` and `nbf` must be seconds since 1970";
    let seconds = seconds.ok_or(Refused::Invalid("claims", words))?;
    Ok(Timestamp::from_micros((seconds * 1e6) as i64))
}

/// Whose records: `*`, or a list of ids. Without one nobody knows, so it is required.
fn clients(claim: Option<&Value>) -> Result<Clients, Refused> {
    let words = "the token must say whose records it is for: a list of client ids, or `*`";
    let wrong = Refused::Invalid("clients", words);
    match claim {
        Some(Value::String(all)) if all == "*" => Ok(Clients::ALL),
        Some(Value::Array(ids)) => {
            let parse = |id: &Value| id.as_str().and_then(|id| id.parse().ok());
            let ids: Option<Vec<_>> = ids.iter().map(parse).collect();
            Clients::only(ids.ok_or(wrong)?)
                .map_err(|_| Refused::Invalid("clients", "the token names more than 100 clients"))
        }
        _ => Err(wrong),
    }
}

/// What is granted: `scope` as a text (RFC 9068 §2.2.3), `scopes` as a list. Other issuers' scopes
/// mean nothing here.
fn scopes(claims: &Map<String, Value>) -> Result<Scopes, Refused> {
    let words = "`scope` must be names with spaces between, `scopes` a list of names";
    let wrong = Refused::Invalid("scopes", words);
    let mut names: Vec<&str> = match claims.get("scope") {
        None => Vec::new(),
        Some(text) => text.as_str().ok_or(wrong)?.split(' ').collect(),
    };
    if let Some(list) = claims.get("scopes") {
        for name in list.as_array().ok_or(wrong)? {
            names.push(name.as_str().ok_or(wrong)?);
        }
    }
    Ok(names.into_iter().filter_map(Scope::parse).collect())
}
