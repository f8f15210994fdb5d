//! Ids, epochs, cursors and times.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conch_fuzz::wire::identifiers(bytes));
