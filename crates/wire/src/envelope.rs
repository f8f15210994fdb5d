//! The sealed form of an announcement: the events themselves, and a digest that only a program could make
//! that may read the job's log.
//!
//! ```text
//!   {"event_type":…,"job_id":…,"sequence":…,"epoch":…,"v":1,"mac":…,"events":[…]}
//! ```
//!
//! It begins with the fields of the [short form](crate::announcement), of the last of its events, so that a
//! reader that knows nothing of seals takes it for a hint. Never in here: trust. Whether a log has such a
//! secret, and whether its events join on to what is known, the reader decides.

use std::borrow::Cow;

use bytes::Bytes;
use conch_domain::{JobId, LogSecret, Position};
use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::Sha256;

use crate::announcement::ENDS;
use crate::event::event_type;

/// The only version there is. Another one is no seal that this build knows, and so a hint.
const VERSION: u8 = 1;
/// Bytes of the digest that are kept of the 32.
const MAC_BYTES: usize = 16;
/// Most events of one seal.
pub const MAX_EVENTS: usize = 64;

/// Seals events of a log, the last of which is at `last`. Each is one JSON object on one line.
///
/// # Panics
/// Without an event.
pub fn seal<L: AsRef<[u8]>>(
    secret: &LogSecret,
    job_id: &JobId,
    last: Position,
    lines: &[L],
) -> Bytes {
    let latest = lines.last().expect("an announcement has events").as_ref();
    let latest_type = event_type(latest).unwrap_or(Cow::Borrowed("job:event"));
    let latest_type = serde_json::to_string(&latest_type).expect("text always serialises");
    let digest = digest(secret, job_id, last, lines).finalize().into_bytes();
    let length: usize = lines.iter().map(|line| line.as_ref().len() + 1).sum();
    let mut sealed = Vec::with_capacity(length + 256 + latest_type.len());
    let Position { epoch, sequence } = last;
    sealed.extend_from_slice(
        format!(
            r#"{{"event_type":{latest_type},"job_id":"{job_id}","sequence":{sequence},"epoch":"{epoch}","v":{VERSION},"mac":""#
        )
        .as_bytes(),
    );
    for byte in &digest[..MAC_BYTES] {
        for digit in [byte >> 4, byte & 15] {
            sealed.push(b"0123456789abcdef"[usize::from(digit)]);
        }
    }
    sealed.extend_from_slice(br#"","events":["#);
    for (n, line) in lines.iter().enumerate() {
        if n > 0 {
            sealed.push(b',');
        }
        sealed.extend_from_slice(line.as_ref());
    }
    sealed.extend_from_slice(b"]}");
    sealed.into()
}

/// What is digested: all that the reader goes by. No id and no line has a line break in it.
fn digest<L: AsRef<[u8]>>(
    secret: &LogSecret,
    job_id: &JobId,
    last: Position,
    lines: &[L],
) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key may have any length");
    let count = lines.len();
    mac.update(format!("conch announcement {VERSION}\n{job_id}\n{last}\n{count}").as_bytes());
    for line in lines {
        mac.update(b"\n");
        mac.update(line.as_ref());
    }
    mac
}

/// What came as a seal, and may be a forged one.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Whose events these are said to be.
    pub job_id: JobId,
    /// The place of the last of them.
    pub last: Position,
    /// The events, in the order of their places; at least one, at most [`MAX_EVENTS`].
    pub lines: Vec<Bytes>,
    /// Whether the last of them ends the job, as is said outside of the digest.
    pub ends: bool,
    mac: [u8; MAC_BYTES],
}

impl Sealed {
    /// Reads a message; none if it isn't a seal of this version.
    pub fn read(message: &Bytes) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow)]
            event_type: Cow<'a, str>,
            #[serde(borrow)]
            job_id: Cow<'a, str>,
            sequence: u64,
            #[serde(borrow)]
            epoch: Cow<'a, str>,
            v: u8,
            #[serde(borrow)]
            mac: Cow<'a, str>,
            #[serde(borrow)]
            events: Vec<&'a RawValue>,
        }
        let fields: Fields<'_> = serde_json::from_slice(message).ok()?;
        let number = Some(&fields.mac).filter(|mac| mac.len() == 2 * MAC_BYTES)?;
        let count = fields.events.len();
        if fields.v != VERSION || count == 0 || count > MAX_EVENTS || count as u64 > fields.sequence
        {
            return None;
        }
        let lines = fields
            .events
            .iter()
            .map(|line| message.slice_ref(line.get().as_bytes()));
        Some(Self {
            job_id: fields.job_id.parse().ok()?,
            last: Position {
                epoch: fields.epoch.parse().ok()?,
                sequence: fields.sequence,
            },
            lines: lines.collect(),
            ends: ENDS.contains(&fields.event_type.as_ref()),
            mac: u128::from_str_radix(number, 16).ok()?.to_be_bytes(),
        })
    }

    /// The place of the first event.
    pub fn first(&self) -> Position {
        Position {
            sequence: self.last.sequence - (self.lines.len() as u64 - 1),
            ..self.last
        }
    }

    /// Whether it was made with that secret. Takes as long for any wrong digest.
    pub fn is_made_with(&self, secret: &LogSecret) -> bool {
        digest(secret, &self.job_id, self.last, &self.lines)
            .verify_truncated_left(&self.mac)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use conch_domain::{EventKind, Timestamp};

    use super::*;
    use crate::event::decode;

    const SECRET: [u8; 16] = [7; 16];

    fn sealed(lines: &[&str]) -> Bytes {
        let secret = LogSecret::from_random(SECRET);
        let job_id = "j-1".parse().expect("an id");
        let last = "5f3a9c1e-12".parse().expect("a position");
        seal(&secret, &job_id, last, lines)
    }

    const LINES: [&str; 2] = [
        r#"{"event_type":"job:progress","a":"\u20ac] , [{"}"#,
        r#"{"event_type":"job:cancel_requested","b":[1,{"c":"ü"}]}"#,
    ];

    #[test]
    fn it_is_read_as_it_was_sealed() {
        let message = sealed(&LINES);
        let read = Sealed::read(&message).expect("a seal");
        assert_eq!(read.lines, LINES);
        assert_eq!(read.job_id.as_str(), "j-1");
        assert_eq!(read.first().to_string(), "5f3a9c1e-11");
        assert_eq!(read.last.to_string(), "5f3a9c1e-12");
        assert!(read.is_made_with(&LogSecret::from_random(SECRET)));
        assert!(!read.is_made_with(&LogSecret::from_random([8; 16])));
    }

    #[test]
    fn a_reader_of_events_takes_it_for_a_hint() {
        let incoming = decode(&sealed(&LINES), Timestamp::from_micros(0)).expect("readable");
        assert!(incoming.is_numbered());
        assert_eq!(incoming.sequence, Some(12));
        assert!(matches!(
            incoming.event.kind,
            EventKind::CancelRequested { .. }
        ));
        for line in ["{}", r#"{"event_type":7}"#] {
            let incoming = decode(&sealed(&[line]), Timestamp::from_micros(0)).expect("readable");
            assert_eq!(incoming.event.kind.event_type(), "job:event");
        }
    }

    /// Whatever is changed, or taken from another seal, doesn't go with the digest.
    #[test]
    fn every_part_is_under_the_seal() {
        let message = String::from_utf8(sealed(&LINES).to_vec()).expect("UTF-8");
        let same = |text: &str| {
            let read = Sealed::read(&Bytes::copy_from_slice(text.as_bytes()));
            read.is_some_and(|read| read.is_made_with(&LogSecret::from_random(SECRET)))
        };
        assert!(same(&message));
        let first = format!("{},", LINES[0]);
        for (was, is) in [
            ("\"j-1\"", "\"j-2\""),
            ("\"sequence\":12", "\"sequence\":13"),
            ("5f3a9c1e", "5f3a9c1f"),
            ("\"v\":1", "\"v\":2"),
            ("[1,", "[2,"),
            ("},{", "}, {\"d\":1},{"),
            (first.as_str(), ""),
            ("[1,", "[ 1,"),
        ] {
            let changed = message.replacen(was, is, 1);
            assert_ne!(changed, message, "{was}");
            assert!(!same(&changed), "{was} as {is}");
        }
        let at = message.find("\"mac\":\"").expect("a digest") + 7;
        for digit in 0..32 {
            let mut changed = message.clone().into_bytes();
            changed[at + digit] = if changed[at + digit] == b'0' {
                b'1'
            } else {
                b'0'
            };
            assert!(
                !same(std::str::from_utf8(&changed).expect("UTF-8")),
                "digit {digit}"
            );
        }
    }

    #[test]
    fn what_is_no_seal_is_none() {
        let message = String::from_utf8(sealed(&LINES).to_vec()).expect("UTF-8");
        let events = message.find("\"events\"").expect("events");
        for text in [
            String::new(),
            "{}".to_owned(),
            LINES[0].to_owned(),
            format!("{}\"events\":[]}}", &message[..events]),
            message.replacen("\"sequence\":12", "\"sequence\":1", 1),
            message.replacen("\"sequence\":12", "\"sequence\":-1", 1),
            message.replacen("\"mac\":\"", "\"mac\":\"0", 1),
            message.replacen("\"j-1\"", "\"all\"", 1),
            message[..message.len() - 1].to_owned(),
        ] {
            assert!(Sealed::read(&Bytes::from(text.clone())).is_none(), "{text}");
        }
    }
}
