//! Query parameters.
#![no_main]

libfuzzer_sys::fuzz_target!(
    |bytes: &[u8]| conch_http::claims::query(&String::from_utf8_lossy(bytes))
);
