//! Tokens and the files that hold keys. Up to the first line end is a head, the rest claims.
#![no_main]

use conch_http::claims;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    claims::unsigned_token(&String::from_utf8_lossy(bytes));
    claims::key_file(bytes);
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (head, rest) = bytes.split_at(end.unwrap_or(0));
    claims::signed_token(head, rest);
    claims::signed_token(br#"{"alg":"HS256"}"#, rest);
});
