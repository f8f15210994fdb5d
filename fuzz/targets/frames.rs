//! Data of an event stream, encoded and parsed by an independent parser.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conch_fuzz::wire::one_event(bytes));
