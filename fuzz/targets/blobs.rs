//! Cached results, and job objects of an upstream.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conch_fuzz::wire::blob(bytes));
