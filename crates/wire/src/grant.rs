//! What a ticket stands for, as a store keeps it. What is encoded here decodes to an equal value; what
//! doesn't decode grants nothing.

use bytes::Bytes;
use conch_domain::{
    Caller, ClientId, Clients, Grant, Identity, JobId, Opens, Scope, StreamDigest, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{Invalid, to_bytes};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    issuer: String,
    subject: String,
    /// None: all.
    clients: Option<Vec<String>>,
    scopes: Vec<String>,
    ends_at_micros: i64,
    /// None: the stream over many jobs.
    job_id: Option<String>,
    /// None in what an earlier version wrote, which lives no longer.
    #[serde(default)]
    fresh_until_micros: Option<i64>,
    /// In hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bound_to: Option<String>,
}

/// Writes a grant down; none for a caller without an identity, who needs no ticket.
pub fn encode(grant: &Grant) -> Option<Bytes> {
    let Grant { caller, opens, .. } = grant;
    let identity = caller.identity()?;
    Some(to_bytes(&Record {
        issuer: identity.issuer.clone(),
        subject: identity.subject.clone(),
        clients: caller
            .clients()
            .named()
            .map(|ids| ids.iter().map(ToString::to_string).collect()),
        scopes: caller
            .scopes()
            .iter()
            .map(|scope| scope.as_str().to_owned())
            .collect(),
        ends_at_micros: caller.ends_at()?.as_micros(),
        job_id: match opens {
            Opens::Job(id) => Some(id.to_string()),
            Opens::ManyJobs => None,
        },
        fresh_until_micros: Some(grant.fresh_until.as_micros()),
        bound_to: grant.bound_to.map(|stream| hex(&stream.0)),
    }))
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// When it is something else.
pub fn decode(bytes: &[u8]) -> Result<Grant, Invalid> {
    let record: Record =
        serde_json::from_slice(bytes).map_err(|e| Invalid::new(format!("no grant: {e}")))?;
    let invalid = |what: &str| Invalid::new(format!("a grant with {what}"));
    let clients = match record.clients {
        None => Clients::ALL,
        Some(ids) => ids
            .iter()
            .map(|id| ClientId::parse(id))
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .and_then(|ids| Clients::only(ids).ok())
            .ok_or_else(|| invalid("unusable clients"))?,
    };
    let scopes = record
        .scopes
        .iter()
        .map(|scope| Scope::parse(scope))
        .collect::<Option<_>>()
        .ok_or_else(|| invalid("an unknown scope"))?;
    let opens = match record.job_id {
        None => Opens::ManyJobs,
        Some(id) => Opens::Job(JobId::parse(&id).map_err(|_| invalid("no usable job id"))?),
    };
    let identity = Identity {
        issuer: record.issuer,
        subject: record.subject,
    };
    let ends_at = Timestamp::from_micros(record.ends_at_micros);
    let fresh_until = record
        .fresh_until_micros
        .map_or(ends_at, Timestamp::from_micros);
    let bound_to = record
        .bound_to
        .map(|text| digest(&text).ok_or_else(|| invalid("no usable stream")))
        .transpose()?;
    Ok(Grant {
        fresh_until,
        bound_to,
        caller: Caller::new(identity, clients, scopes, ends_at),
        opens,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn digest(text: &str) -> Option<StreamDigest> {
    let digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    if text.len() != 64 || !text.as_bytes().iter().all(digit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, two) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(two).ok()?, 16).ok()?;
    }
    Some(StreamDigest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_reads_back_as_written() {
        let identity = Identity {
            issuer: "https://issuer".to_owned(),
            subject: "a \"b\"\n".to_owned(),
        };
        let end = Timestamp::from_micros(1_800_000_000_000_001);
        let ids = ["c2", "c1"].map(|id| ClientId::parse(id).expect("an id"));
        let some = Clients::only(ids).expect("few");
        let job = Opens::Job(JobId::parse("j").expect("an id"));
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(100..).for_each(|(byte, n)| *byte = n);
        let mut bound_to = Some(StreamDigest(bytes));
        for (clients, scopes, opens) in [
            (some, [Scope::EventsRead].into_iter().collect(), job),
            (
                Clients::ALL,
                Scope::ALL.into_iter().collect(),
                Opens::ManyJobs,
            ),
            (
                Clients::only([]).expect("none"),
                [].into_iter().collect(),
                Opens::ManyJobs,
            ),
        ] {
            let grant = Grant {
                caller: Caller::new(identity.clone(), clients, scopes, end),
                opens,
                fresh_until: end.plus_millis(-1),
                bound_to: bound_to.take(),
            };
            let bytes = encode(&grant).expect("it has an identity");
            assert_eq!(decode(&bytes), Ok(grant));
        }
        let anybody = Grant {
            caller: Caller::unrestricted(),
            opens: Opens::ManyJobs,
            fresh_until: end,
            bound_to: None,
        };
        assert_eq!(encode(&anybody), None);
    }

    #[test]
    fn what_is_no_grant_grants_nothing() {
        let whole = r#"{"issuer":"i","subject":"s","clients":null,"scopes":[],"ends_at_micros":1,"job_id":null}"#;
        assert!(decode(whole.as_bytes()).is_ok());
        for (part, instead) in [
            ("null,\"scopes", "[\"*\"],\"scopes"),
            ("[]", "[\"jobs:all\"]"),
            ("\"job_id\":null", "\"job_id\":\"all\""),
            ("\"ends_at_micros\":1,", ""),
            ("\"issuer\":\"i\",", ""),
            ("{", "{\"bound_to\":\"0\",\"fresh_until_micros\":1,"),
            ("{", "{\"more\":1,"),
        ] {
            let text = whole.replacen(part, instead, 1);
            assert!(decode(text.as_bytes()).is_err(), "{text}");
        }
    }
}
