//! What holds for any input at all, as claims about bytes: each function panics where its claim doesn't
//! hold. Tried in every test run on what proptest makes, and by `fuzz/` on what a fuzzer finds; part of no
//! program.

use axum::http::{HeaderName, HeaderValue, Version};
use conch_domain::{ClientId, JobId, TemplateId};

use crate::idempotency_key;
pub use crate::mare::auth::claims::{key_file, signed_token, unsigned_token};
use crate::query::Query;
use crate::serve::head::{LengthLines, encode, is_host};

/// Query text: read within its bounds, or refused.
///
/// # Panics
/// When it isn't so.
pub fn query(text: &str) {
    let query = Query::parse(text);
    if let Ok(paging) = query.paging() {
        assert!(paging.page >= 1);
        assert!((1..=100).contains(&paging.page_size));
        assert!(paging.offset() <= u64::from(u32::MAX) * 100);
    }
    let few = query.ids::<JobId>(3);
    assert!(few.is_err() || few.is_ok_and(|ids| ids.len() <= 3));
    drop((query.id::<ClientId>(), query.id::<TemplateId>()));
    drop((query.job_filter(), query.template_filter()));
    let industry = query.client_filter().industry;
    assert!(industry.is_none_or(|industry| !industry.is_empty()));
}

/// What a connection reads, in two pieces: the lines with a length are counted wherever it is cut.
///
/// # Panics
/// When they aren't.
pub fn length_lines(first: &[u8], second: &[u8]) {
    const NAME: &[u8] = b"content-length:";
    let all = [first, second].concat();
    let is_length = |line: &&[u8]| {
        let name = line.get(..NAME.len());
        name.is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    };
    let expected = all.split(|byte| *byte == b'\n').filter(is_length).count();
    let mut lines = LengthLines::default();
    let found = lines.count(first) + lines.count(second);
    assert_eq!(found as usize, expected);
}

/// A `Host`: what is let through is an authority without a user for everybody who reads URIs.
///
/// # Panics
/// When it isn't.
pub fn host(value: &[u8]) {
    if !is_host(value) || value.is_empty() {
        return;
    }
    assert!(
        value
            .iter()
            .all(|byte| byte.is_ascii_graphic() && !b"@/?#,\\".contains(byte))
    );
    let text = str::from_utf8(value).expect("it is ASCII");
    // Stricter readers than this one may refuse it; none may read something else.
    if let Ok(authority) = text.parse::<http::uri::Authority>() {
        assert_eq!(authority.as_str(), text);
        let port = authority.port_u16().map(|port| format!(":{port}"));
        let rest = text
            .strip_prefix(authority.host())
            .expect("it begins with it");
        let zeros = rest.trim_start_matches(':').trim_start_matches('0');
        assert!(port.is_none_or(|port| port[1..] == *zeros || zeros.is_empty()));
    }
}

/// A header that a handler sets: the head of a stream has it on one line, and one end.
///
/// # Panics
/// When it hasn't.
pub fn stream_head(name: &[u8], value: &[u8]) {
    let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
    else {
        return;
    };
    let response = axum::http::Response::builder().header(name, value).body(());
    let (parts, ()) = response.expect("a response").into_parts();
    for version in [Version::HTTP_10, Version::HTTP_11] {
        let head = encode(&parts, version);
        let ends = head.windows(4).filter(|end| *end == b"\r\n\r\n").count();
        assert!(ends == 1 && head.ends_with(b"\r\n\r\n"), "{head:?}");
        let lines = head.split(|byte| *byte == b'\n').count();
        // The status, the header or what it is replaced by, `date`, `transfer-encoding`,
        // `connection`, the empty line and what is after it.
        assert!((5..=7).contains(&lines), "{head:?}");
    }
}

/// An `Idempotency-Key`: what is taken can be sent on as it came.
///
/// # Panics
/// When it can't.
pub fn idempotency_key(value: &[u8]) {
    if let Some(key) = idempotency_key::parse(value) {
        assert_eq!(key.as_bytes(), value);
        assert!((1..=255).contains(&key.len()));
        assert!(HeaderValue::from_str(key).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// The names and separators of a query, and some text.
    const QUERY: &str = "((page|page_size|status|updated_since|client_id|job_id|category|\
        target_audience|industry|after|x)(\\[\\])?[=&;]?|[0-9]{1,12}|[+%&=-]|%[0-9a-fA-F]{2}|\\PC){0,12}";

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn query(text in QUERY) {
            super::query(&text);
        }

        #[test]
        fn length_lines(
            text in "(POST / HTTP/1.1|content-length|Content-Length|CONTENT-|length|x|:| |5|\r\n|\n){0,20}",
            cut in any::<prop::sample::Index>(),
        ) {
            let (first, second) = text.as_bytes().split_at(cut.index(text.len() + 1));
            super::length_lines(first, second);
        }

        #[test]
        fn host(value in prop_oneof![vec(any::<u8>(), 0..20), "[a-z0-9:@/?#,%_.\\[\\]-]{0,20}".prop_map(String::into_bytes)]) {
            super::host(&value);
        }

        #[test]
        fn stream_head(name in "[a-zA-Z:\r\n -]{0,20}", value in vec(any::<u8>(), 0..40)) {
            super::stream_head(name.as_bytes(), &value);
            super::stream_head(b"x-any", &value);
            super::stream_head(b"connection", &value);
        }

        #[test]
        fn idempotency_key(value in vec(any::<u8>(), 0..300)) {
            super::idempotency_key(&value);
        }
    }
}
