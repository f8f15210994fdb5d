//! What is ours of reading and writing heads. The first byte says where the rest is cut in two.
#![no_main]

use conch_http::claims;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((cut, rest)) = bytes.split_first() else {
        return;
    };
    let (first, second) = rest.split_at(rest.len().min(usize::from(*cut)));
    claims::length_lines(first, second);
    claims::host(rest);
    claims::idempotency_key(rest);
    claims::stream_head(first, second);
});
