//! Heads of HTTP/1 messages: what hyper lets through and we don't, and the head of a stream.

use std::fmt::Write as _;
use std::time::SystemTime;

use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HOST, HeaderName, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Request, Uri, Version, response};
use axum::response::IntoResponse;
use bytes::{BufMut, Bytes, BytesMut};

use crate::problem::{Code, Problem};

/// Counts the lines that begin with `Content-Length:` in what a connection reads.
///
/// hyper (1.12, `proto/h1/role.rs`) drops `Content-Length` where `Transfer-Encoding` stands in the
/// same head, so that a handler can't see that there were both. But a proxy in front may have gone
/// by the other of the two, and then takes part of a body for a request of somebody else's.
#[derive(Debug, Default)]
pub(crate) struct LengthLines {
    /// Characters of the name that have matched in the present line; `SKIP` to its end.
    matched: usize,
}

const NAME: &[u8] = b"content-length:";
const SKIP: usize = usize::MAX;

impl LengthLines {
    /// How many such lines are completed by `bytes`, which follow those of the last call.
    pub(crate) fn count(&mut self, bytes: &[u8]) -> u32 {
        let mut found = 0;
        let mut matched = self.matched;
        for byte in bytes {
            if *byte == b'\n' {
                matched = 0;
            } else if matched != SKIP {
                if byte.to_ascii_lowercase() == NAME[matched] {
                    matched += 1;
                    if matched == NAME.len() {
                        found += 1;
                        matched = SKIP;
                    }
                } else {
                    matched = SKIP;
                }
            }
        }
        self.matched = matched;
        found
    }
}

/// Finds the ends of heads in what a connection reads: a blank line after one that isn't. Blank lines
/// before a head are part of it, as hyper keeps them until it is whole.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Whether the present line has anything in it.
    in_line: bool,
    /// Whether an earlier line of the present head had.
    in_head: bool,
}

impl Ends {
    /// How many of `bytes`, which follow those of the last call, come after the last end in them; none
    /// if no head ends in them.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut rest = None;
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if self.in_line => (self.in_line, self.in_head) = (false, true),
                b'\n' if self.in_head => {
                    self.in_head = false;
                    rest = Some(bytes.len() - at - 1);
                }
                b'\n' | b'\r' => {}
                _ => self.in_line = true,
            }
        }
        rest
    }
}

/// Why a request is refused before it is routed, if so; `hidden_length` says that its head may
/// have had a `Content-Length` that hyper dropped.
pub(super) fn objection<B>(request: &Request<B>, hidden_length: bool) -> Option<Problem> {
    let malformed = |words| Problem::new(Code::MalformedRequest, words);
    malformed_head(request, hidden_length)
        .map(malformed)
        .or_else(|| elsewhere(request.uri(), request.headers().get(HOST)))
        .or_else(|| transfer_coding(request.headers()))
}

/// The target of a request in absolute form counts and its `Host` doesn't (RFC 9112 §3.2.2); they must be
/// the same, so a request where they aren't was meant for another server or is to be taken for another one.
fn elsewhere(target: &Uri, host: Option<&HeaderValue>) -> Option<Problem> {
    // A bare word is read as an authority, too, but has no scheme and names no host.
    target.scheme()?;
    let authority = target.authority()?;
    let host: Authority = Authority::try_from(host?.as_bytes()).ok()?;
    let same_port = match (authority.port_u16(), host.port_u16()) {
        (Some(one), Some(other)) => one == other,
        // One of them leaves it out because it is the scheme's own.
        _ => true,
    };
    if authority.host().eq_ignore_ascii_case(host.host()) && same_port {
        return None;
    }
    let words = "The request's target names another host than its Host header; send the same.";
    Some(Problem::new(Code::MisdirectedRequest, words))
}

/// hyper takes a body if `chunked` is the last of its codings, and passes the others over.
fn transfer_coding(headers: &HeaderMap) -> Option<Problem> {
    let values = headers.get_all(TRANSFER_ENCODING).iter();
    let codings = values
        .map(HeaderValue::as_bytes)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty());
    let mut chunked = 0;
    for coding in codings {
        if !coding.eq_ignore_ascii_case(b"chunked") {
            let words = "The only transfer coding that this server knows is chunked.";
            return Some(Problem::new(Code::UnsupportedTransferCoding, words));
        }
        chunked += 1;
    }
    (chunked > 1).then(|| {
        let words = "The transfer coding chunked can be applied only once.";
        Problem::new(Code::MalformedRequest, words)
    })
}

fn malformed_head<B>(request: &Request<B>, hidden_length: bool) -> Option<&'static str> {
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 {
        return Some("The request has more than one Host header; send one.");
    }
    if hosts == 0 && request.version() == Version::HTTP_11 {
        return Some("The request has no Host header; HTTP/1.1 needs one.");
    }
    if request
        .headers()
        .get(HOST)
        .is_some_and(|host| !is_host(host.as_bytes()))
    {
        return Some("The request's Host header is not a host and perhaps a port.");
    }
    if hidden_length && request.headers().contains_key(TRANSFER_ENCODING) {
        return Some("The request has both Transfer-Encoding and Content-Length; send one.");
    }
    None
}

/// A host and perhaps a port, as they stand in a URI (RFC 9110 §7.2). An empty one is what an
/// absolute-form request without an authority has.
pub(crate) fn is_host(value: &[u8]) -> bool {
    let colon = value.iter().rposition(|byte| *byte == b':');
    let (host, port) = match colon {
        Some(at) if !value[at..].contains(&b']') => (&value[..at], &value[at + 1..]),
        _ => (value, &b""[..]),
    };
    let address = host
        .strip_prefix(b"[")
        .and_then(|rest| rest.strip_suffix(b"]"));
    // A comma is not among them, though a name might have one: that is how two hosts become one line.
    let (text, more) = address.map_or((host, &b"-._~!$&'()*+;=%"[..]), |text| (text, b":.%"));
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || more.contains(byte);
    text.iter().all(allowed) && port.iter().all(u8::is_ascii_digit)
}

/// The head of a stream, as bytes. Whatever it says of the connection and of the body's length is
/// replaced by what is true of a stream.
pub(crate) fn encode(parts: &response::Parts, version: Version) -> Bytes {
    let chunked = is_chunked(version);
    let mut head = BytesMut::with_capacity(512);
    let shown = if chunked { "HTTP/1.1" } else { "HTTP/1.0" };
    status_and_headers(&mut head, parts, shown);
    if chunked {
        line(&mut head, "transfer-encoding", b"chunked");
    }
    line(&mut head, "connection", b"close");
    head.put_slice(b"\r\n");
    head.freeze()
}

/// A problem as a whole answer, the connection's last.
pub(super) fn whole(problem: Problem) -> Bytes {
    let body = problem.body();
    let (parts, _) = problem.into_response().into_parts();
    let mut answer = BytesMut::with_capacity(512 + body.len());
    status_and_headers(&mut answer, &parts, "HTTP/1.1");
    line(
        &mut answer,
        "content-length",
        body.len().to_string().as_bytes(),
    );
    line(&mut answer, "connection", b"close");
    answer.put_slice(b"\r\n");
    answer.put_slice(&body);
    answer.freeze()
}

/// Whether a stream to such a client is sent in chunks. Otherwise its end is the connection's.
pub(super) fn is_chunked(version: Version) -> bool {
    version >= Version::HTTP_11
}

/// All of a head but what it says of the connection and of the body's length.
fn status_and_headers(head: &mut BytesMut, parts: &response::Parts, version: &str) {
    let reason = parts.status.canonical_reason().unwrap_or_default();
    write!(head, "{version} {} {reason}\r\n", parts.status.as_str())
        .expect("a buffer takes what is written");
    for (name, value) in &parts.headers {
        if !is_replaced(name) {
            line(head, name.as_str(), value.as_bytes());
        }
    }
    if !parts.headers.contains_key(DATE) {
        let date = httpdate::fmt_http_date(SystemTime::now());
        line(head, "date", date.as_bytes());
    }
}

fn is_replaced(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH
        || *name == TRANSFER_ENCODING
        || *name == CONNECTION
        || *name == UPGRADE
        || name.as_str() == "keep-alive"
}

fn line(head: &mut BytesMut, name: &str, value: &[u8]) {
    head.put_slice(name.as_bytes());
    head.put_slice(b": ");
    head.put_slice(value);
    head.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(reads: &[&str]) -> u32 {
        let mut lines = LengthLines::default();
        reads.iter().map(|read| lines.count(read.as_bytes())).sum()
    }

    #[test]
    fn length_lines_are_counted_wherever_a_read_ends() {
        let head = "POST /content-length: HTTP/1.1\r\nX-Content-Length: 1\r\nCONTENT-length:5\ncontent-length : 3\r\n\r\n";
        assert_eq!(count(&[head]), 1);
        for cut in 0..head.len() {
            assert_eq!(count(&[&head[..cut], &head[cut..]]), 1, "cut at {cut}");
        }
        let two = format!("{head}{head}");
        assert_eq!(count(&[&two]), 2);
    }

    #[test]
    fn a_heads_end_is_found_wherever_a_read_ends() {
        for (text, rest) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nbody", Some(4)),
            ("GET / HTTP/1.1\nHost: a\n\n", Some(0)),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Some(0)),
            ("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\nGE", Some(2)),
            ("GET / HTTP/1.1\r\nHost: a\r\n", None),
            ("\r\n\r\n\r\n\r\n", None),
        ] {
            assert_eq!(Ends::default().find(text.as_bytes()), rest, "{text:?}");
            for cut in 0..text.len() {
                let mut ends = Ends::default();
                let (first, second) = text.as_bytes().split_at(cut);
                let before = ends.find(first);
                let after = ends.find(second);
                let both = after.or(before.map(|rest| rest + second.len()));
                assert_eq!(both, rest, "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for (value, expected) in [
            ("", true),
            ("a", true),
            ("localhost:16000", true),
            ("a.b-c_d.example", true),
            ("127.0.0.1:", true),
            ("[::1]:80", true),
            ("[::ffff:10.0.0.1]", true),
            ("a b", false),
            ("a,b", false),
            ("a/b", false),
            ("a?b", false),
            ("a#b", false),
            ("user@a", false),
            ("a:b", false),
            ("a:1:2", false),
            ("::1", false),
            ("[::1", false),
            ("[::1]x", false),
            ("\u{e9}", false),
        ] {
            assert_eq!(is_host(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn a_heads_own_framing_is_replaced() {
        let response = axum::http::Response::builder()
            .header("content-length", "0")
            .header("connection", "keep-alive")
            .header("date", "Thu, 01 Jan 1970 00:00:00 GMT")
            .header("x-request-id", "7")
            .body(())
            .expect("a response");
        let (parts, ()) = response.into_parts();
        assert_eq!(
            encode(&parts, Version::HTTP_11),
            "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\nx-request-id: 7\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(
            encode(&parts, Version::HTTP_10),
            "HTTP/1.0 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\nx-request-id: 7\r\n\
             connection: close\r\n\r\n"
        );
    }
}
