//! Records of a store, and what a generator prints.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conch_fuzz::wire::records(bytes));
